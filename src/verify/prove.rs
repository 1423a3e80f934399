//! Which secret of a record a key is, whatever the state of the record.

use crate::{
    key::record::KeyRecord,
    store::lookup::Lookup,
    verify::{
        matching::{matches, proved, secret_at},
        verified::MatchedSecret,
    },
};

/// Returns the secret of the record that was looked up, also if it is no longer accepted; `None` if it
/// is none of them.
pub(crate) fn prove(lookup: &Lookup, record: &KeyRecord) -> Option<MatchedSecret> {
    let place = proved(record, matches(lookup, record.hashes())).ok()?;
    let (secret, valid_until) = secret_at(record, place);
    (secret.kind == lookup.kind()).then_some(match valid_until {
        None => MatchedSecret::Current,
        Some(valid_until) => MatchedSecret::Retiring { valid_until },
    })
}
