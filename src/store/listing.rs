//! Listings of keys in pages.

use std::{borrow::Cow, fmt, str::FromStr};

use crate::{
    clock::timestamp::Timestamp,
    error::InvalidText,
    key::{id::KeyId, record::KeyRecord},
    store::stored_key::StoredKey,
};

/// A position in a listing: the creation time and the id of a key.
///
/// Listings are in ascending order of it, oldest key first. Neither part changes during the life
/// of a key, so paging skips no key and repeats none while others are added and removed. The text
/// of a cursor is safe in URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The time at which the key was created.
    pub created_at: Timestamp,
    /// The id of the key.
    pub id: KeyId,
}

impl Cursor {
    /// Returns the position of a record.
    pub const fn of(record: &KeyRecord) -> Self {
        Self { created_at: record.created_at(), id: record.id() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.created_at.as_unix_millis(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (millis, id) = text.split_once('-').ok_or(NO_CURSOR)?;
        let cursor = Self {
            created_at: Timestamp::from_unix_millis(millis.parse().map_err(|_| NO_CURSOR)?),
            id: id.parse().map_err(|_| NO_CURSOR)?,
        };
        // A position has one text: no sign, no leading zero, nothing beyond the last timestamp.
        if cursor.to_string() == text { Ok(cursor) } else { Err(NO_CURSOR) }
    }
}

const NO_CURSOR: InvalidText = InvalidText::new("a cursor that a page of a listing returned");

/// The part of a listing to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRequest {
    after: Option<Cursor>,
    size: u16,
}

impl PageRequest {
    /// The largest number of records in a page.
    pub const MAX_SIZE: u16 = 1_000;

    /// Requests the first `size` records. A size of 0 counts as 1, and one above
    /// [`PageRequest::MAX_SIZE`] as that.
    pub const fn first(size: u16) -> Self {
        let size = if size > Self::MAX_SIZE { Self::MAX_SIZE } else { size };
        Self { after: None, size: if size == 0 { 1 } else { size } }
    }

    /// Requests the page after `cursor`, of the same size.
    #[must_use]
    pub const fn after(self, cursor: Cursor) -> Self {
        Self { after: Some(cursor), ..self }
    }

    /// Returns the position after which the page begins, if it is not the first.
    pub const fn cursor(&self) -> Option<Cursor> {
        self.after
    }

    /// Returns the requested number of records, at least 1.
    pub const fn size(&self) -> usize {
        self.size as usize
    }
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The keys, oldest first, each with its owner.
    pub keys: Vec<StoredKey>,
    /// The keys of this page whose stored data does not form a record. They are not in `keys`, and
    /// hide no other key.
    pub damaged: Vec<DamagedKey>,
    /// The position after which the next page begins; `None` if this is the last page.
    pub next: Option<Cursor>,
}

impl Listing {
    /// Builds a page of these keys, of which none is damaged.
    pub const fn new(keys: Vec<StoredKey>, next: Option<Cursor>) -> Self {
        Self { keys, damaged: Vec::new(), next }
    }

    /// Builds a page from a query for one record more than `page` requests. The extra record
    /// shows that there is a next page.
    pub fn from_one_more(mut keys: Vec<StoredKey>, page: PageRequest) -> Self {
        let more = keys.len() > page.size();
        keys.truncate(page.size());
        let next = keys.last().filter(|_| more).map(|found| Cursor::of(found.record()));
        Self::new(keys, next)
    }

    /// Sets the damaged keys of the page.
    #[must_use]
    pub fn with_damaged(self, damaged: Vec<DamagedKey>) -> Self {
        Self { damaged, ..self }
    }
}

/// A key in a listing whose stored data does not form a record.
///
/// It is refused where it is presented. [`KeyRegistry::revoke`](crate::store::KeyRegistry::revoke)
/// revokes it by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedKey {
    /// The key; `None` if what is stored as its id is not one.
    pub id: Option<KeyId>,
    /// The place of the damage in the store, such as a table and a column. It contains no stored
    /// data.
    pub column: Cow<'static, str>,
}

impl DamagedKey {
    /// Builds the report of a damaged key.
    pub fn new(id: Option<KeyId>, column: impl Into<Cow<'static, str>>) -> Self {
        Self { id, column: column.into() }
    }
}
