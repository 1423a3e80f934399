//! Keys: their formats, hashes and records, and the changes of their life.

pub(crate) mod alphabet;
pub(crate) mod catalog;
pub(crate) mod draft;
pub(crate) mod format;
pub(crate) mod formats;
pub(crate) mod grace;
pub(crate) mod hash;
pub(crate) mod hasher;
pub(crate) mod hint;
pub(crate) mod id;
pub(crate) mod kind;
pub(crate) mod legacy;
#[cfg(feature = "serde")]
mod legacy_data;
pub(crate) mod name;
pub(crate) mod owner;
pub(crate) mod parse;
pub(crate) mod parts;
pub(crate) mod plaintext;
pub(crate) mod presented;
pub(crate) mod record;
pub(crate) mod scanner;
pub(crate) mod scope;
pub(crate) mod secret;
mod shape;
pub(crate) mod state;
pub(crate) mod transitions;

pub use self::{
    alphabet::Alphabet,
    catalog::{GrantError, ScopeCatalog},
    draft::KeyDraft,
    format::KeyFormat,
    formats::KeyFormats,
    grace::Grace,
    hash::{HashScheme, KeyHash},
    hasher::KeyHasher,
    hint::KeyHint,
    id::KeyId,
    kind::KeyKind,
    legacy::LegacyFormat,
    name::KeyName,
    owner::{Owner, OwnerId, Tier},
    parse::ParseError,
    parts::KeyRecordParts,
    plaintext::{MintError, PlaintextKey},
    presented::PresentedKey,
    record::{KeyRecord, RecordError},
    scanner::ScannerRule,
    scope::{Scope, ScopeSet},
    secret::{RetiringSecret, StoredSecret},
    state::{KeyState, KeyStatus},
    transitions::TransitionError,
};
/// The trait of a random generator that minting requires, from the version of `rand` that this
/// crate uses.
pub use ::rand::TryCryptoRng;
