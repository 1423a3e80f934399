//! Keys: their formats, hashes and records, and the changes of their life.

pub(crate) mod actor;
pub(crate) mod allowlist;
pub(crate) mod alphabet;
pub(crate) mod catalog;
pub(crate) mod draft;
pub(crate) mod format;
pub(crate) mod formats;
pub(crate) mod grace;
pub(crate) mod grant_error;
pub(crate) mod hash;
pub(crate) mod hasher;
pub(crate) mod hint;
pub(crate) mod id;
pub(crate) mod kind;
pub(crate) mod legacy;
#[cfg(feature = "serde")]
mod legacy_data;
pub(crate) mod metadata;
pub(crate) mod name;
pub(crate) mod network;
pub(crate) mod nonce;
pub(crate) mod origin;
pub(crate) mod owner;
pub(crate) mod parse;
pub(crate) mod plaintext;
pub(crate) mod presented;
pub(crate) mod record;
pub(crate) mod scanner;
pub(crate) mod scope;
pub(crate) mod scope_pattern;
pub(crate) mod secret;
mod shape;
pub(crate) mod state;
pub(crate) mod stored;
pub(crate) mod transition_error;
mod transitions;
pub(crate) mod view;

pub use self::{
    actor::Actor,
    allowlist::Allowlist,
    alphabet::Alphabet,
    catalog::ScopeCatalog,
    draft::KeyDraft,
    format::KeyFormat,
    formats::KeyFormats,
    grace::Grace,
    grant_error::GrantError,
    hash::{HashScheme, KeyHash},
    hasher::KeyHasher,
    hint::KeyHint,
    id::KeyId,
    kind::KeyKind,
    legacy::LegacyFormat,
    metadata::KeyMetadata,
    name::KeyName,
    network::IpNetwork,
    nonce::CreationNonce,
    origin::Origin,
    owner::{Owner, OwnerChange, OwnerId, Tier},
    parse::ParseError,
    plaintext::{MintError, PlaintextKey},
    presented::PresentedKey,
    record::{KeyRecord, RecordError},
    scanner::ScannerRule,
    scope::{Scope, ScopeSet},
    scope_pattern::ScopePattern,
    secret::{RetiringSecret, StoredSecret},
    state::{KeyState, KeyStatus, OwnerState, Revocation, RevocationReason},
    stored::StoredRecord,
    transition_error::TransitionError,
    view::{KeyView, RetiringView},
};
/// The trait of a random generator that minting requires, from the version of `rand` that this
/// crate uses.
pub use ::rand::TryCryptoRng;
