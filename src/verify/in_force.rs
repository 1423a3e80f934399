//! Whether a key is in force, apart from its secrets.

use crate::{
    clock::timestamp::Timestamp,
    key::{record::KeyRecord, state::KeyStatus},
    verify::error::VerifyError,
};

/// Checks that a key is in force, whatever its secrets are.
#[inline]
pub(crate) fn in_force(record: &KeyRecord, now: Timestamp) -> Result<(), VerifyError> {
    if record.is_ahead_of(now) {
        return Err(VerifyError::ClockBehind);
    }
    match record.status(now) {
        KeyStatus::Active => Ok(()),
        KeyStatus::Suspended => Err(VerifyError::Suspended),
        KeyStatus::Expired => Err(VerifyError::Expired),
        KeyStatus::Revoked => Err(VerifyError::Revoked),
    }
}
