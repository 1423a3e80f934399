//! What was read, and for how long it may be answered.

use std::{sync::Arc, time::Duration};

use keyward::{
    Timestamp,
    key::{KeyHash, KeyRecord},
    store::{Lookup, StoredKey},
};

use crate::changes::{Changes, Moment, Place};

/// When something was read: from before the query was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAt {
    pub(crate) moment: Moment,
    pub(crate) now: Timestamp,
}

impl ReadAt {
    /// Whether what was read then is younger than `staleness`. A clock that was set back says
    /// nothing about age, so then it is not.
    pub(crate) fn is_fresh(self, staleness: Duration, now: Timestamp) -> bool {
        self.now <= now && now < self.now.saturating_add(staleness)
    }
}

/// A record as it was read, shared by all of its secrets.
#[derive(Debug)]
pub(crate) struct Known {
    found: StoredKey,
    read: ReadAt,
    until: Timestamp,
    key: Place,
    owner: Place,
}

impl Known {
    pub(crate) fn new(
        found: StoredKey,
        read: ReadAt,
        staleness: Duration,
        changes: &Changes,
    ) -> Self {
        let record = found.record();
        let stale = read.now.saturating_add(staleness);
        let until = next_deadline(record, read.now).map_or(stale, |deadline| deadline.min(stale));
        let (key, owner) = (changes.place(record.id()), changes.place(record.owner()));
        Self { read, until, key, owner, found }
    }

    pub(crate) fn found(&self) -> &StoredKey {
        &self.found
    }

    /// Whether nothing that is known of has changed it since it was read.
    #[inline]
    pub(crate) fn is_untouched(&self, changes: &Changes) -> bool {
        let since = self.read.moment;
        changes.untouched(self.key, since) && changes.untouched(self.owner, since)
    }

    #[inline]
    pub(crate) fn serves(&self, changes: &Changes, now: Timestamp) -> bool {
        self.read.now <= now && now < self.until && self.is_untouched(changes)
    }

    /// Whether the record has this secret. StoredKey by a hash that nobody can steer, this branches
    /// on it as a table would; the proof is the verifier's.
    #[inline]
    pub(crate) fn has(&self, hash: &KeyHash) -> bool {
        let same =
            |held: &KeyHash| held.digest() == hash.digest() && held.scheme() == hash.scheme();
        let record = self.found.record();
        same(&record.current().hash)
            || record.retiring().iter().any(|retiring| same(&retiring.secret.hash))
    }
}

/// The earliest instant after `now` from which the record is to be judged otherwise.
fn next_deadline(record: &KeyRecord, now: Timestamp) -> Option<Timestamp> {
    let graces = record.retiring().iter().map(|retiring| retiring.valid_until);
    graces.chain(record.expires_at()).filter(|deadline| *deadline > now).min()
}

/// That no key has a hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absent {
    read: ReadAt,
    until: Timestamp,
    place: Place,
}

impl Absent {
    pub(crate) fn new(
        hash: &KeyHash,
        read: ReadAt,
        staleness: Duration,
        changes: &Changes,
    ) -> Self {
        Self { read, until: read.now.saturating_add(staleness), place: changes.place(hash) }
    }

    pub(crate) fn serves(&self, changes: &Changes, now: Timestamp) -> bool {
        self.read.now <= now && now < self.until && changes.untouched(self.place, self.read.moment)
    }
}

/// What a query has brought.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Known(Arc<Known>),
    /// A record that has none of the hashes asked for: a store's mistake, or a secret rotated
    /// out under its hands. The verifier refuses it, and nothing is kept of it.
    Stray(StoredKey),
    Absent(ReadAt),
}

impl Answer {
    pub(crate) fn is_untouched(&self, lookup: &Lookup, changes: &Changes) -> bool {
        match self {
            Self::Known(known) => known.is_untouched(changes),
            Self::Stray(_) => true,
            Self::Absent(read) => {
                let untouched = |hash| changes.untouched(changes.place(hash), read.moment);
                lookup.hashes().all(untouched)
            }
        }
    }

    pub(crate) fn into_found(self) -> Option<StoredKey> {
        match self {
            Self::Known(known) => Some(known.found().clone()),
            Self::Stray(found) => Some(found),
            Self::Absent(_) => None,
        }
    }
}
