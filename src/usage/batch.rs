//! Usage of keys as data.

use std::{iter::Copied, slice, vec};

use crate::{clock::timestamp::Timestamp, key::id::KeyId};

/// The number of requests of a key and its last use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The number of requests. It saturates at `u64::MAX`.
    pub requests: u64,
    /// The instant of the latest request; `None` if there was none.
    pub last_used_at: Option<Timestamp>,
}

impl Usage {
    /// Builds a usage of `requests`, the last one at `last_used_at`.
    pub const fn new(requests: u64, last_used_at: Option<Timestamp>) -> Self {
        Self { requests, last_used_at }
    }

    /// Adds two usages: counts add up, and the later use is the last one.
    ///
    /// A listing merges the saved usage with that of
    /// [`UsageLedger::get`](crate::usage::UsageLedger::get).
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            // `None` is less than any instant.
            last_used_at: self.last_used_at.max(other.last_used_at),
        }
    }
}

/// The usage of some keys, taken out of a [`UsageLedger`](crate::usage::UsageLedger) to be saved.
///
/// A key occurs once for each minute in which it was used, which is that of its
/// [`Usage::last_used_at`].
///
/// It is not `Clone`, so that it is not counted twice by mistake. If only a part was saved, iterate
/// over the batch and collect the rest into a batch to give back.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "a batch that is neither saved nor given back is lost"]
pub struct UsageBatch(pub(super) Vec<(KeyId, Usage)>);

impl UsageBatch {
    /// Returns the number of entries. A key has one for each minute in which it was used.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the batch has no entries.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the entries: keys with their usage in one minute.
    pub fn iter(&self) -> Copied<slice::Iter<'_, (KeyId, Usage)>> {
        self.0.iter().copied()
    }
}

impl IntoIterator for UsageBatch {
    type Item = (KeyId, Usage);
    type IntoIter = vec::IntoIter<(KeyId, Usage)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a UsageBatch {
    type Item = (KeyId, Usage);
    type IntoIter = Copied<slice::Iter<'a, (KeyId, Usage)>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<(KeyId, Usage)> for UsageBatch {
    fn from_iter<I: IntoIterator<Item = (KeyId, Usage)>>(usages: I) -> Self {
        Self(usages.into_iter().collect())
    }
}
