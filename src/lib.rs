//! keyward
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod clock;
mod issuer;
mod key;
mod lookup;
mod memory;
mod name;
mod owner;
mod quota;
mod scope;
mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod text;
mod timestamp;
mod verify;

pub use access::{Access, Forbidden};
pub use clock::{Clock, ManualClock, SystemClock};
pub use issuer::{Issued, Issuer, IssuerError};
pub use key::format::{FormatError, FormatsError, KeyFormat, KeyFormats, ParseError};
pub use key::grace::{Grace, GraceError};
pub use key::hash::{HashScheme, KeyHash, KeyHashError, KeyHasher, KeyHasherError};
pub use key::hint::{Hint, HintError};
pub use key::id::{KeyId, KeyIdError};
pub use key::kind::{Kind, KindError};
pub use key::plaintext::{MintError, PlaintextKey};
pub use key::presented::PresentedKey;
pub use key::record::{
    KeyDraft, KeyRecord, KeyRecordParts, KeyState, KeyStatus, RecordError, TransitionError,
};
pub use key::scanner::ScannerRule;
pub use key::secret::{RetiringSecret, Secret};
pub use lookup::Lookup;
pub use memory::MemoryStore;
pub use name::{KeyName, NameError};
pub use owner::{Owner, OwnerId, Tier};
pub use quota::{Quota, QuotaError, Quotas};
pub use scope::{CatalogError, Scope, ScopeCatalog, ScopeError, ScopeSet};
pub use store::{
    Cursor, CursorError, DynKeyRegistry, DynKeyStore, Found, InsertError, JoinError, KeyRegistry,
    KeyStore, Listing, Page, ReplaceError, StoreError, StoreFuture,
};
pub use timestamp::{Timestamp, TimestampError};
pub use verify::{Caller, MatchedSecret, Rehash, Verified, Verifier, VerifyError};
