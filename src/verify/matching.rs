//! Which secret of a record was presented, found in constant time.

use subtle::ConstantTimeEq;

use crate::{
    clock::timestamp::Timestamp,
    key::{hash::KeyHash, record::KeyRecord, secret::StoredSecret},
    store::lookup::Lookup,
    verify::error::VerifyError,
};

/// Returns which hashes equal one of the candidates: one bit for each, the lowest for the first.
///
/// It compares all of them, each in constant time, and never branches: the stored digest is secret.
/// The presented key is known to the client that sent it, and nobody can steer its digest.
#[inline]
pub(super) fn matches<'r>(lookup: &Lookup, hashes: impl Iterator<Item = &'r KeyHash>) -> u32 {
    let mut matches = 0;
    for (place, hash) in (0..).zip(hashes) {
        let mut equal = lookup.current().ct_eq(hash);
        for older in lookup.older() {
            equal |= older.ct_eq(hash);
        }
        matches |= u32::from(equal.unwrap_u8()).wrapping_shl(place);
    }
    matches
}

/// Returns the place of the secret that matches: 0 is the current one, then come the retiring ones.
///
/// The place is the verdict, which the response shows. So this function may branch on it, and
/// nothing before it may. `.ci/constant-time` enforces this by the name of this function. It counts
/// up to the place instead of computing it, so that nothing after it depends on the digests.
#[inline]
pub(super) fn proved(record: &KeyRecord, matches: u32) -> Result<u8, VerifyError> {
    if matches & 1 != 0 {
        return Ok(0);
    }
    let mut rest = matches;
    for (place, _) in (1_u8..).zip(record.retiring()) {
        rest >>= 1;
        if rest & 1 != 0 {
            return Ok(place);
        }
    }
    Err(VerifyError::Mismatch)
}

/// Returns the secret at a place, as [`proved`] counts them, and for a retiring one its deadline.
#[inline]
pub(super) fn secret_at(record: &KeyRecord, place: u8) -> (&StoredSecret, Option<Timestamp>) {
    let retiring = usize::from(place).checked_sub(1).and_then(|at| record.retiring().get(at));
    match retiring {
        None => (record.current(), None),
        Some(retiring) => (&retiring.secret, Some(retiring.valid_until)),
    }
}
