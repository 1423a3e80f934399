//! From a presented key to an authorized caller: hash, compare, decide, authorize.

pub(crate) mod access;
pub(crate) mod error;
pub(crate) mod in_force;
mod matching;
pub(crate) mod prove;
pub(crate) mod required_scope;
pub(crate) mod verified;
pub(crate) mod verifier;

pub use self::{
    access::{Access, Forbidden},
    error::VerifyError,
    required_scope::RequiredScope,
    verified::{KeyCaller, MatchedSecret, Rehash, Verified},
    verifier::Verifier,
};
