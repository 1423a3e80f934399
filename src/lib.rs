//! API keys and exact rate limits as pure decisions.
//!
//! keyward mints prefixed keys such as `lqt_` and 64 hexadecimal characters, keeps only a
//! hash of them, verifies what is presented, rotates with a grace period, revokes at once,
//! checks scopes, owners and tiers, and limits requests in a sliding window that is exact:
//! 100 in any 60 seconds means never 101. (Limits above 1,024 or windows above 24 days are
//! kept coarser unless asked otherwise: never too many either, but up to 1/256 of the window
//! late; see [`Bookkeeping`].)
//!
//! It does no I/O. The host supplies storage, transport, clock and randomness as arguments,
//! and keyward decides. So the same core serves any framework or none, sync or async, and
//! every decision can be replayed in a test.
//!
//! # A request, step by step
//!
//! ```
//! use std::num::NonZeroU32;
//! use keyward::{
//!     Access, Issuer, KeyDraft, KeyFormat, KeyFormats, KeyHasher, KeyStore, Limiter, MemoryStore,
//!     Quota, Quotas, SysRng, Timestamp,
//! };
//!
//! const INGEST: KeyFormat = KeyFormat::hex("lqt_");
//! const DEFAULT: Quotas =
//!     Quotas::single(Quota::per_minute(NonZeroU32::new(100).unwrap()));
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
//! // At start: what keys look like, how they are hashed, where they live.
//! let formats = KeyFormats::from(INGEST);
//! let issuer = Issuer::new(MemoryStore::new(), formats.clone(), KeyHasher::sha256());
//! let verifier = issuer.verifier();
//! let limiter = Limiter::from_system_seed()?;
//!
//! // Once per key: mint it and show it to its owner.
//! let now = Timestamp::from_unix_secs(1_700_000_000);
//! let draft = KeyDraft::new("proj_abc123".parse()?, "ingest".parse()?);
//! let issued = issuer.issue(INGEST.kind(), draft, &mut SysRng, now).await?;
//! let token = issued.key.expose();
//!
//! // On each request: parse, hash, find, verify, charge, authorize.
//! let presented = formats.parse(token)?;
//! let lookup = verifier.lookup(&presented);
//! let found = issuer.registry().find(&lookup).await?;
//! let verified = verifier.verify(&lookup, found, now)?;
//! let quotas = verified.quotas().unwrap_or(&DEFAULT);
//! let decision = limiter.check(verified.key_id(), quotas, 1, now)?;
//! if !decision.allowed {
//!     // 429, with `decision.retry_after_secs()` in `Retry-After`.
//!     return Err("too many requests".into());
//! }
//! assert_eq!(decision.remaining, 99);
//! let caller = verified.authorize(&Access::any_key())?;
//! assert_eq!(caller.owner_id().as_str(), "proj_abc123");
//! # Ok(()) }) }
//! ```
//!
//! # The whole pipeline
//!
//! A [`Gate`] does all of this for a service, from the head of a request to an answer in the
//! service's own words, and so that the order cannot be got wrong: authenticate, charge,
//! authorize.
//!
//! ```
//! use keyward::{
//!     Access, Challenge, CredentialSource, ErrorBodies, Gate, Outcome, PlainHead, Route,
//! };
//! # use keyward::{Issuer, KeyFormat, KeyHasher, MemoryStore, Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let issuer = Issuer::new(MemoryStore::new(), KeyFormat::hex("lqt_"), KeyHasher::sha256());
//! # let now = Timestamp::from_unix_secs(1_700_000_000);
//! let source = CredentialSource::header("x-api-key");
//! let gate = Gate::builder(issuer.formats().clone(), issuer.verifier(), source)
//!     .challenge(Challenge::api_key("lumiqtrace", "x-api-key")?)
//!     .errors(ErrorBodies::flat().unauthenticated("Invalid API key"))
//!     .build()?;
//! let ingest = Route::new(Access::any_key());
//!
//! let head = PlainHead::new().with_header("X-Api-Key", "lqt_0123");
//! match gate.check_sync(&head, &ingest, issuer.registry(), now) {
//!     Outcome::Admitted(admission) => println!("{}", admission.caller().owner_id()),
//!     Outcome::Refused(refusal) => {
//!         assert_eq!(refusal.status(), 401);
//!         assert_eq!(refusal.body(), br#"{"error":"Invalid API key"}"#);
//!     }
//!     Outcome::PassedOn => unreachable!("this gate passes nothing on"),
//! }
//! # Ok(()) }
//! ```
//!
//! # Where things are
//!
//! - What keys look like: [`KeyFormat`], [`KeyFormats`], [`PresentedKey`], [`PlaintextKey`].
//! - What is kept of them: [`KeyRecord`] with its lifecycle, [`Secret`], [`KeyHash`],
//!   [`KeyHasher`].
//! - Where it is kept: [`KeyStore`], [`KeyRegistry`], [`MemoryStore`], [`Issuer`]; the suite
//!   in `testing` (feature `testing`) for stores of your own; [`Invalidate`] for caches of them.
//! - Who may do what: [`Verifier`], [`Verified`], [`Access`], [`Caller`], [`Scope`],
//!   [`ScopeCatalog`], [`Owner`], [`Tier`].
//! - How often: [`Limiter`], [`LimitKey`], [`Quota`], [`Quotas`], [`Decision`].
//! - How often it was: [`UsageLedger`], [`Usage`], [`UsageBatch`].
//! - What stands in requests and answers: [`RequestHead`], [`CredentialSource`], [`Challenge`],
//!   [`RateHeaders`], [`ErrorBodies`]; together, [`Gate`] and [`Route`].
//! - What happened: [`Audit`], [`AuditEvent`], [`RefusalReason`].
//! - When: [`Timestamp`], [`Clock`], [`SystemClock`], [`ManualClock`].
//!
//! # What it does not do
//!
//! It opens no connection, reads no file, logs nothing, spawns nothing and never sleeps. It
//! knows no HTTP type. It has no passwords, sessions, OAuth flows or user accounts. It does
//! not protect keys in transit, in the host's memory or in the host's logs: those are the
//! host's. [`SystemClock`] is the only thing here that reads a clock, and it is called by
//! the host alone.
//!
//! # Features
//!
//! None is on by default. `serde` gives formats, scopes, quotas, hashes and records a
//! serialized form (plaintext keys never have one); `testing` adds the conformance suite for
//! authors of stores.
//!
//! # Panics
//!
//! Nothing here panics on any input at run time. The constructors for literals, such as
//! [`KeyFormat::hex`] and [`Scope::from_static`], are made for `const`s, where a bad literal
//! fails the build; for text known only at run time each has a twin that returns an error.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod audit;
mod charge;
mod clock;
mod gate;
mod invalidate;
mod issuer;
mod key;
mod limit;
mod lookup;
mod memory;
mod name;
mod owner;
mod quota;
mod reason;
mod scope;
mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod text;
mod timestamp;
mod usage;
mod verify;
mod wire;

pub use access::{Access, Forbidden};
pub use audit::{Audit, AuditAction, AuditEvent};
pub use clock::{Clock, ManualClock, SystemClock};
pub use gate::{
    Admission, Gate, GateBuildError, GateBuilder, Outcome, PendingCharge, PendingLookup,
    PendingRecheck, Refusal, Route, RouteQuotas, Step,
};
pub use invalidate::{Change, Invalidate};
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
pub use limit::{
    ChargeError, CostError, Decision, LeaseTerms, LimitKey, Limiter, LimiterConfig, RemoteAnswer,
    RemoteCharge, RemoteCommand, RemoteNames, RemoteReceipt, RemoteReplyError, RemoteScript,
    SeedError, Ticket,
};
pub use lookup::Lookup;
pub use memory::MemoryStore;
pub use name::{KeyName, NameError};
pub use owner::{Owner, OwnerId, Tier};
pub use quota::{Bookkeeping, Quota, QuotaError, Quotas};
/// The operating system's generator and the trait that minting asks for, from the `rand` that
/// this crate uses, so that a host need not depend on the same version.
pub use rand::{TryCryptoRng, rngs::SysRng};
pub use reason::{LimitedBy, RefusalReason};
pub use scope::{CatalogError, Scope, ScopeCatalog, ScopeError, ScopeSet};
pub use store::{
    Cursor, CursorError, DynKeyRegistry, DynKeyStore, Found, InsertError, JoinError, KeyRegistry,
    KeyStore, Listing, Page, ReplaceError, StoreError, StoreFuture,
};
pub use timestamp::{Timestamp, TimestampError};
pub use usage::{Usage, UsageBatch, UsageLedger};
pub use verify::{Caller, MatchedSecret, Rehash, Verified, Verifier, VerifyError};
pub use wire::{
    challenge::{Challenge, ChallengeError, ChallengeErrorCode},
    error_body::{ErrorBodies, ErrorBody, ErrorFacts, ErrorText, ErrorTextError},
    head::{PlainHead, RequestHead},
    header::ResponseHeader,
    public_reason::PublicReason,
    query::redact_query,
    rate_headers::{PolicyNameError, RateHeaders},
    source::{Credential, CredentialError, CredentialSource, CredentialSources, SourceError},
};
