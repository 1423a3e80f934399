//! API keys and exact rate limits as pure decisions.
//!
//! keyward mints prefixed keys such as `lqt_` and 64 hexadecimal characters, keeps only a
//! hash of them, verifies what is presented, rotates with a grace period, revokes at once,
//! checks scopes, owners and tiers, and limits requests in a sliding window that is exact:
//! 100 in any 60 seconds means never 101. (Limits above 1,024 or windows above 24 days are
//! kept coarser unless asked otherwise: never too many either, but up to 1/256 of the window
//! late; see [`quota::Precision`].)
//!
//! It does no I/O. The host supplies storage, transport, clock and randomness as arguments,
//! and keyward decides. So the same core serves any framework or none, sync or async, and
//! every decision can be replayed in a test.
//!
//! # A request, step by step
//!
//! ```
//! use keyward::{
//!     key::KeyFormats, Access, Issuer, KeyDraft, KeyFormat, KeyHasher, KeyStore, Limiter,
//!     MemoryStore, Quota, Quotas, SysRng, Timestamp,
//! };
//!
//! const INGEST: KeyFormat = KeyFormat::hex("lqt_");
//! const DEFAULT: Quotas =
//!     Quotas::single(Quota::per_minute(100));
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
//! // At start: what keys look like, how they are hashed, where they live.
//! let formats = KeyFormats::from(INGEST);
//! let issuer = Issuer::new(MemoryStore::new(), formats.clone(), KeyHasher::sha256());
//! let verifier = issuer.verifier();
//! let limiter = Limiter::system()?;
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
//!     request::PlainHead, Access, Challenge, CredentialSource, ErrorBodies, Gate, Outcome, Route,
//! };
//! # use keyward::{Issuer, KeyFormat, KeyHasher, MemoryStore, Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let issuer = Issuer::new(MemoryStore::new(), KeyFormat::hex("lqt_"), KeyHasher::sha256());
//! # let now = Timestamp::from_unix_secs(1_700_000_000);
//! let source = CredentialSource::header("x-api-key");
//! let gate = Gate::builder(issuer.formats().clone(), issuer.verifier(), source)
//!     .with_challenge(Challenge::api_key("lumiqtrace", "x-api-key")?)
//!     .with_errors(ErrorBodies::flat().with_unauthenticated("Invalid API key"))
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
//!     Outcome::ForeignCredential => unreachable!("this gate passes nothing on"),
//! }
//! # Ok(()) }
//! ```
//!
//! # Modules
//!
//! Each module is a room. A room imports only from the rooms above it.
//!
//! | module | contents |
//! |---|---|
//! | [`error`] | the error of wiring, and that of invalid text |
//! | [`clock`] | timestamps and clocks |
//! | [`quota`] | limits as data |
//! | [`key`] | key formats, hashes, records, owners and scopes |
//! | [`store`] | the store traits, the in-memory store, change notifications |
//! | [`verify`] | from a presented key to an authorized caller |
//! | [`limit`] | the exact sliding-window limiter |
//! | [`usage`] | request counts and last use per key |
//! | [`request`] | HTTP request and response data, independent of any HTTP crate |
//! | [`audit`] | one callback that receives every outcome |
//! | [`issue`] | minting, rotation and revocation over a store |
//! | [`gate`] | the whole pipeline, from the head of a request to a response |
//! | `testing` | a conformance suite for stores (feature `testing`) |
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
//! Only the constructors for literals panic, such as [`KeyFormat::hex`], [`Scope::from_static`] and
//! [`Quota::per_minute`]. In a `const` they fail the build on a bad literal. For values that are
//! known only at run time, each has a twin that returns an error: [`KeyFormat::try_hex`],
//! [`Scope::new`], [`Quota::try_per_minute`]. Nothing else panics, on any input.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod text;

pub mod audit;
pub mod error;

pub mod clock;
pub mod gate;
pub mod issue;
pub mod key;
pub mod limit;
pub mod quota;
pub mod request;
pub mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
pub mod usage;
pub mod verify;

pub use self::{
    clock::{Clock, ManualClock, SystemClock, Timestamp},
    error::ConfigError,
    gate::{Gate, Outcome, Route},
    issue::Issuer,
    key::{KeyDraft, KeyFormat, KeyHasher, Scope},
    limit::Limiter,
    quota::{Quota, Quotas},
    request::{Challenge, CredentialSource, ErrorBodies, RateHeaders},
    store::{KeyStore, MemoryStore},
    verify::Access,
};
/// The operating system's random generator, from the `rand` version that this crate uses.
pub use ::rand::rngs::SysRng;
