//! Where keys and limits meet: limits hang on a key's id or its owner's.
//!
//! The limiter knows nothing of keys and keys know nothing of the limiter; this joins them.

use crate::{
    key::{id::KeyId, owner::OwnerId},
    limit::key::LimitKey,
};

/// The limit of one key. Rotating does not change the id, so it doubles nobody's quota.
impl From<KeyId> for LimitKey {
    fn from(id: KeyId) -> Self {
        Self::key(*id.as_bytes())
    }
}

/// The limit that all keys of one owner share.
impl From<&OwnerId> for LimitKey {
    fn from(id: &OwnerId) -> Self {
        Self::owner(id.as_str())
    }
}
