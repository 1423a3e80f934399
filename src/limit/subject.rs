//! Limit keys of API keys and owners.
//!
//! The limiter knows nothing of keys, and keys know nothing of the limiter. This file joins them.

use crate::{
    key::{id::KeyId, owner::OwnerId},
    limit::key::LimitKey,
};

/// The limit of one API key. Rotation keeps the id, so it doubles no quota.
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
