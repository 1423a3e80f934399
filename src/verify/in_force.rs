//! Whether a key is in force, apart from its secrets.

use crate::{
    clock::timestamp::Timestamp, key::state::KeyStatus, store::stored_key::StoredKey,
    verify::error::VerifyError,
};

/// Checks that a key and its owner are in force, whatever the key's secrets are.
#[inline]
pub(crate) fn in_force(found: &StoredKey, now: Timestamp) -> Result<(), VerifyError> {
    let record = found.record();
    if record.is_ahead_of(now) {
        return Err(VerifyError::ClockBehind);
    }
    match record.status(now) {
        KeyStatus::Active if found.is_owner_suspended() => Err(VerifyError::OwnerSuspended),
        KeyStatus::Active => Ok(()),
        KeyStatus::Suspended => Err(VerifyError::Suspended),
        KeyStatus::Expired => Err(VerifyError::Expired),
        KeyStatus::Revoked => Err(VerifyError::Revoked),
    }
}
