//! A record joined with its owner.

use std::{fmt, sync::Arc};

use crate::key::{
    owner::Owner,
    record::{KeyRecord, RecordError},
};

/// A key as a store returns it: a record joined with its owner. Clones share both.
///
/// One allocation holds the record, so that a request touches as little memory as possible.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey(Arc<Joined>);

#[derive(PartialEq, Eq)]
#[repr(C)]
struct Joined {
    owner: Arc<Owner>,
    /// Whether the owner is suspended, here so that deciding reads no other memory.
    owner_is_suspended: bool,
    record: KeyRecord,
}

impl StoredKey {
    /// Joins a record with its owner.
    ///
    /// # Errors
    ///
    /// [`RecordError::ForeignOwner`] if `owner` is not the record's owner. The tables of the store contradict
    /// each other then, and the store returns an error of its own.
    pub fn join(record: KeyRecord, owner: Arc<Owner>) -> Result<Self, RecordError> {
        if owner.id != *record.owner() {
            return Err(RecordError::ForeignOwner);
        }
        Ok(Self::new(record, owner))
    }

    /// Joins a record with the owner that the caller looked up by [`KeyRecord::owner`].
    pub(crate) fn new(record: KeyRecord, owner: Arc<Owner>) -> Self {
        let owner_is_suspended = owner.state.is_suspended();
        Self(Arc::new(Joined { record, owner_is_suspended, owner }))
    }

    /// Returns the record.
    #[inline]
    pub fn record(&self) -> &KeyRecord {
        &self.0.record
    }

    /// Returns whether this is shared, which is true of every key in a table. Called before a
    /// clone, it fetches the memory of the count together with the record's and not after it.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 0
    }

    /// Returns whether the owner was suspended at the time of the lookup.
    #[inline]
    pub(crate) fn is_owner_suspended(&self) -> bool {
        self.0.owner_is_suspended
    }

    /// Returns the record's owner as of the time of the lookup.
    pub fn owner(&self) -> &Arc<Owner> {
        &self.0.owner
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey")
            .field("record", self.record())
            .field("owner", self.owner())
            .finish()
    }
}
