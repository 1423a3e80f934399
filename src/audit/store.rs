//! The trait of stores that keep events.

use std::{borrow::Cow, error::Error, fmt, future::Future, str::FromStr, sync::Arc};

use crate::{
    audit::entry::AuditEntry,
    clock::timestamp::Timestamp,
    error::InvalidText,
    key::{id::KeyId, owner::OwnerId},
};

/// Keeps events, and returns those of an owner, of a key or of a time.
///
/// `keyward::testing` (feature `testing`) has a suite that shows whether an implementation keeps these
/// promises. [`MemoryAuditStore`](crate::audit::MemoryAuditStore) and the stores of `keyward-sqlx`
/// implement it.
pub trait AuditStore: Send + Sync {
    /// The error of this store.
    type Error: Error + Send + Sync + 'static;

    /// Appends entries, all of them or none. Of entries with the same instant, later ones in the slice
    /// count as later.
    fn append(
        &self,
        entries: &[AuditEntry],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns at most `size` entries that a filter admits, the latest first. `after` is
    /// [`AuditPage::next`] of the page before. A size of 0 counts as 1, and one above
    /// [`AuditPage::MAX_SIZE`] as that.
    ///
    /// Entries have fixed positions. So paging repeats none and skips none that was there before,
    /// while others are appended. An entry that cannot be read is in [`AuditPage::damaged`], and
    /// counts towards `size`.
    fn page(
        &self,
        filter: &AuditFilter,
        after: Option<AuditCursor>,
        size: u16,
    ) -> impl Future<Output = Result<AuditPage, Self::Error>> + Send;

    /// Removes at most `limit` entries from before an instant, the earliest first, and returns their
    /// number. A smaller number than `limit` means that no such entry remains.
    fn remove_before(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send;
}

/// The entries to return. All stated conditions must hold.
///
/// ```
/// use keyward::{audit::AuditFilter, key::OwnerId, Timestamp};
///
/// let yesterday = Timestamp::from_unix_secs(1_700_000_000);
/// let filter = AuditFilter::all().with_owner(OwnerId::from_static("customer-7")).since(yesterday);
/// # let _ = filter;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditFilter {
    /// The owner of the key.
    pub owner: Option<OwnerId>,
    /// The key.
    pub key: Option<KeyId>,
    /// The earliest instant.
    pub since: Option<Timestamp>,
    /// The instant before which the entries are.
    pub before: Option<Timestamp>,
}

impl AuditFilter {
    /// Admits every entry.
    pub const fn all() -> Self {
        Self { owner: None, key: None, since: None, before: None }
    }

    /// Admits only entries of this owner.
    #[must_use]
    pub fn with_owner(self, owner: OwnerId) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// Admits only entries of this key.
    #[must_use]
    pub fn with_key(self, key: KeyId) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Admits only entries from this instant on.
    #[must_use]
    pub fn since(self, since: Timestamp) -> Self {
        Self { since: Some(since), ..self }
    }

    /// Admits only entries from before this instant.
    #[must_use]
    pub fn before(self, before: Timestamp) -> Self {
        Self { before: Some(before), ..self }
    }

    /// Returns whether an entry is admitted.
    pub fn admits(&self, entry: &AuditEntry) -> bool {
        (self.owner.is_none() || self.owner == entry.owner)
            && (self.key.is_none() || self.key == entry.key)
            && self.since.is_none_or(|since| since <= entry.at)
            && self.before.is_none_or(|before| entry.at < before)
    }
}

/// The position of an entry: its instant, and a number that its store gave it. The text of a cursor
/// is safe in URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditCursor {
    /// The time of the event.
    pub at: Timestamp,
    /// The number of the entry, which is higher for later ones of the same instant.
    pub number: u64,
}

impl fmt::Display for AuditCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.as_unix_millis(), self.number)
    }
}

impl FromStr for AuditCursor {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (at, number) = text.split_once('-').ok_or(NO_CURSOR)?;
        let cursor = Self {
            at: Timestamp::from_unix_millis(at.parse().map_err(|_| NO_CURSOR)?),
            number: number.parse().map_err(|_| NO_CURSOR)?,
        };
        // A position has one text: no sign, no leading zero, nothing beyond the last timestamp.
        if cursor.to_string() == text { Ok(cursor) } else { Err(NO_CURSOR) }
    }
}

const NO_CURSOR: InvalidText = InvalidText::new("a cursor that a page of an audit log returned");

/// One page of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditPage {
    /// The entries, the latest first.
    pub entries: Vec<AuditEntry>,
    /// The entries of this page whose stored data does not form an entry. They are not in `entries`,
    /// and hide no other entry.
    pub damaged: Vec<DamagedEntry>,
    /// The position after which the next page begins; `None` if this is the last page.
    pub next: Option<AuditCursor>,
}

impl AuditPage {
    /// The largest number of entries of a page.
    pub const MAX_SIZE: u16 = 1_000;

    /// Builds a page of these entries, of which none is damaged.
    pub const fn new(entries: Vec<AuditEntry>, next: Option<AuditCursor>) -> Self {
        Self { entries, damaged: Vec::new(), next }
    }

    /// Sets the damaged entries of the page.
    #[must_use]
    pub fn with_damaged(self, damaged: Vec<DamagedEntry>) -> Self {
        Self { damaged, ..self }
    }

    /// Returns the number of entries of a page for which `size` was asked.
    pub const fn size(size: u16) -> usize {
        let size = if size > Self::MAX_SIZE { Self::MAX_SIZE } else { size };
        if size == 0 { 1 } else { size as usize }
    }

    /// Builds a page from a query for one entry more than [`AuditPage::size`]. The extra one shows
    /// that there is a next page.
    pub fn from_one_more(mut entries: Vec<(AuditCursor, AuditEntry)>, size: u16) -> Self {
        let size = Self::size(size);
        let more = entries.len() > size;
        entries.truncate(size);
        let next = entries.last().filter(|_| more).map(|(cursor, _)| *cursor);
        Self::new(entries.into_iter().map(|(_, entry)| entry).collect(), next)
    }
}

/// An entry of a page whose stored data does not form an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedEntry {
    /// The position of the entry; `None` if what is stored as its position is not one.
    pub position: Option<AuditCursor>,
    /// The place of the damage in the store, such as a table and a column. It contains no stored
    /// data.
    pub column: Cow<'static, str>,
}

impl DamagedEntry {
    /// Builds the report of a damaged entry.
    pub fn new(position: Option<AuditCursor>, column: impl Into<Cow<'static, str>>) -> Self {
        Self { position, column: column.into() }
    }
}

/// Implements the trait for a pointer to a store.
macro_rules! through_pointer {
    ($($pointer:ty),*) => {$(
        impl<S: AuditStore + ?Sized> AuditStore for $pointer {
            type Error = S::Error;

            fn append(
                &self,
                entries: &[AuditEntry],
            ) -> impl Future<Output = Result<(), Self::Error>> + Send {
                (**self).append(entries)
            }

            fn page(
                &self,
                filter: &AuditFilter,
                after: Option<AuditCursor>,
                size: u16,
            ) -> impl Future<Output = Result<AuditPage, Self::Error>> + Send {
                (**self).page(filter, after, size)
            }

            fn remove_before(
                &self,
                before: Timestamp,
                limit: u32,
            ) -> impl Future<Output = Result<u64, Self::Error>> + Send {
                (**self).remove_before(before, limit)
            }
        }
    )*};
}

through_pointer!(&S, Arc<S>, Box<S>);
