//! Keys: their text, what a store keeps of them, and their life.

pub(crate) mod catalog;
pub(crate) mod format;
pub(crate) mod grace;
pub(crate) mod hash;
pub(crate) mod hint;
pub(crate) mod id;
pub(crate) mod kind;
pub(crate) mod name;
pub(crate) mod owner;
pub(crate) mod plaintext;
pub(crate) mod presented;
pub(crate) mod record;
pub(crate) mod scanner;
pub(crate) mod scope;
pub(crate) mod secret;

pub use self::{
    catalog::{GrantError, ScopeCatalog},
    format::{KeyFormat, KeyFormats, ParseError},
    grace::Grace,
    hash::{HashScheme, KeyHash, KeyHasher},
    hint::KeyHint,
    id::KeyId,
    kind::KeyKind,
    name::KeyName,
    owner::{Owner, OwnerId, Tier},
    plaintext::{MintError, PlaintextKey},
    presented::PresentedKey,
    record::{
        KeyDraft, KeyRecord, KeyRecordParts, KeyState, KeyStatus, RecordError, TransitionError,
    },
    scanner::ScannerRule,
    scope::{Scope, ScopeSet},
    secret::{RetiringSecret, StoredSecret},
};
/// The trait of a random generator that minting requires, from the `rand` version that this
/// crate uses.
pub use ::rand::TryCryptoRng;
