//! What a query asks the store for.

use keyward::{
    key::KeyId,
    store::{Lookup, StoredKey},
};

use crate::{changes::Changes, changes::Moment, digest::word};

/// A lookup by secrets, or an id.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    Secret(Lookup),
    Id(KeyId),
}

impl Question {
    /// Returns where queries with this question are kept. Two questions may share a place.
    pub(crate) fn place(&self) -> u64 {
        match self {
            Self::Secret(lookup) => {
                lookup.hashes().fold(0, |place, hash| place.rotate_left(1) ^ word(hash))
            }
            Self::Id(id) => {
                let words = id.as_bytes().as_chunks::<8>().0.iter();
                words.fold(0, |place: u64, word| place.rotate_left(1) ^ u64::from_le_bytes(*word))
            }
        }
    }

    /// Returns whether an answer to `other` answers this question.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Secret(one), Self::Secret(other)) => {
                one.kind() == other.kind() && one.hashes().eq(other.hashes())
            }
            (Self::Id(one), Self::Id(other)) => one == other,
            (Self::Secret(_), Self::Id(_)) | (Self::Id(_), Self::Secret(_)) => false,
        }
    }

    /// Returns whether a key answers this question.
    pub(crate) fn is_answered_by(&self, found: &StoredKey) -> bool {
        match self {
            Self::Secret(lookup) => lookup.hashes().any(|hash| found.record().holds(hash)),
            Self::Id(id) => found.record().id() == *id,
        }
    }

    /// Returns whether no change since a moment can have added a key that answers this question.
    pub(crate) fn is_untouched(&self, changes: &Changes, since: Moment) -> bool {
        match self {
            Self::Secret(lookup) => {
                lookup.hashes().all(|hash| changes.untouched(changes.place(hash), since))
            }
            Self::Id(id) => changes.untouched(changes.place(id), since),
        }
    }
}
