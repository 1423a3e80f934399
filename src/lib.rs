//! API keys and exact rate limits as pure decisions.
//!
//! keyward mints prefixed keys, for example `acme_` and 64 hexadecimal characters. It keeps only
//! a hash of them, verifies presented keys, rotates them with a grace period, and revokes them
//! immediately. It checks scopes, owners and tiers, and limits requests in an exact sliding window:
//! a limit of 100 in 60 seconds never admits the 101st request in *any* 60 seconds. Very high
//! limits and very long windows are coarse: they never admit too many requests, but can refuse
//! requests for up to 1/256 of the window too long; see [`quota::Precision`].
//!
//! The crate does no I/O. The host passes storage, transport, clock and randomness as arguments,
//! and keyward decides. So one core serves any framework or none, sync or async, and a test can
//! replay every decision.
//!
//! **For a service on axum, hyper or tonic**, start with the crate `keyward-tower`, which wraps all
//! of this in one layer. **The `guide` module** leads from the first key to production.
//!
//! # One request, step by step
//!
//! ```
//! use keyward::{
//!     key::KeyFormats, Access, Issuer, KeyDraft, KeyFormat, KeyHasher, KeyStore, Limiter,
//!     MemoryStore, Quota, Quotas, SysRng, Timestamp,
//! };
//!
//! const KEYS: KeyFormat = KeyFormat::hex("acme_");
//! const DEFAULT: Quotas = Quotas::single(Quota::per_minute(100));
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
//! // At the start: the format of keys, how they are hashed, where they are stored.
//! let formats = KeyFormats::from(KEYS);
//! let issuer = Issuer::new(MemoryStore::new(), formats.clone(), KeyHasher::sha256());
//! let verifier = issuer.verifier();
//! let limiter = Limiter::system()?;
//!
//! // Once for each key: mint it, and show it to its owner.
//! let now = Timestamp::from_unix_secs(1_700_000_000);
//! let draft = KeyDraft::new("customer-7".parse()?, "laptop".parse()?);
//! let issued = issuer.issue(KEYS.kind(), draft, &mut SysRng, now).await?;
//! let token = issued.key.expose();
//!
//! // On each request: parse, hash, find, verify, charge, authorize.
//! let presented = formats.parse(token)?;
//! let lookup = verifier.lookup(&presented);
//! let found = issuer.registry().find(&lookup).await?;
//! let verified = verifier.verify(&lookup, found, now)?;
//! let decision = limiter.check(verified.key_id(), &DEFAULT, 1, now)?;
//! if !decision.allowed {
//!     // 429, with `decision.retry_after_secs()` in `Retry-After`.
//!     return Err("too many requests".into());
//! }
//! assert_eq!(decision.remaining, 99);
//! let caller = verified.authorize(&Access::any_key())?;
//! assert_eq!(caller.owner_id().as_str(), "customer-7");
//! # Ok(()) }) }
//! ```
//!
//! # The whole pipeline
//!
//! A [`Gate`] does all of this for a service, from the head of a request to a complete response,
//! in a fixed order: authenticate, check where the key may be used, charge, authorize. It also resolves what its
//! [limits](limit::Limit) allow a caller: by its key, its owner and its tier.
//!
//! ```
//! use keyward::{
//!     request::PlainHead, Access, Challenge, CredentialSource, ErrorBodies, Gate, Outcome,
//! };
//! # use keyward::{Issuer, KeyFormat, KeyHasher, MemoryStore, Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let issuer = Issuer::new(MemoryStore::new(), KeyFormat::hex("acme_"), KeyHasher::sha256());
//! # let now = Timestamp::from_unix_secs(1_700_000_000);
//! let source = CredentialSource::header("x-api-key");
//! let gate = Gate::builder(issuer.formats().clone(), issuer.verifier(), source)
//!     .with_challenge(Challenge::api_key("acme", "x-api-key")?)
//!     .with_errors(ErrorBodies::flat().with_unauthenticated("Invalid API key"))
//!     .build()?;
//! let data = gate.route(Access::any_key())?;
//!
//! let head = PlainHead::new().with_header("X-Api-Key", "acme_0123");
//! match gate.check_sync(&head, &data, issuer.registry(), now) {
//!     Outcome::Admitted(admission) => println!("{}", admission.caller().owner_id()),
//!     Outcome::Refused(refusal) => {
//!         assert_eq!(refusal.status(), 401);
//!         assert_eq!(refusal.body(), br#"{"error":"Invalid API key"}"#);
//!     }
//!     Outcome::ForeignCredential => unreachable!("this gate allows no other credentials"),
//!     Outcome::Anonymous => unreachable!("this route allows no missing credentials"),
//! }
//! # Ok(()) }
//! ```
//!
//! # Modules
//!
//! A module imports only from modules above it.
//!
//! | module | contents |
//! |---|---|
//! | [`error`] | the error of a wrong configuration, and the error of invalid text |
//! | [`clock`] | timestamps and clocks |
//! | [`quota`] | limits as data, names of policies, overrides of keys and owners |
//! | [`key`] | key formats, hashes, records, owners and scopes |
//! | [`store`] | the store traits, the in-memory store, change notifications |
//! | [`verify`] | from a presented key to an authorized caller |
//! | [`limit`] | named limits, and the exact sliding-window limiter |
//! | [`usage`] | request counts and last use for each key, and saving them at an interval |
//! | [`request`] | HTTP request and response data, independent of any HTTP crate |
//! | [`audit`] | one callback that receives every outcome, and stores of events |
//! | [`issue`] | minting, rotation and revocation over a store |
//! | [`gate`] | the whole pipeline, from the head of a request to a response |
//! | `testing` | a conformance suite for stores (feature `testing`) |
//! | `guide` | the guide; it exists only in this documentation |
//!
//! # What the crate does not do
//!
//! It does no I/O, starts no tasks or threads, and logs nothing. Only a contended lock may yield or
//! sleep. No type of an HTTP crate is in its interface. It has no passwords, sessions, OAuth flows
//! or user accounts. It does not protect keys in transit, in the memory of the host or in the logs
//! of the host. [`SystemClock`] is the only type that reads a clock, and only the host calls it.
//!
//! # Features
//!
//! No feature is on by default. `serde` serializes formats, scopes, quotas, overrides, hashes and records, and
//! never a plaintext key. `testing` adds the conformance suite for authors of stores.
//!
//! # Panics
//!
//! Only the constructors for literals panic, such as [`KeyFormat::hex`], [`Scope::from_static`] and
//! [`Quota::per_minute`]. In a `const`, a bad literal fails the build. For values that are known
//! only at run time, each has a second form that returns an error: [`KeyFormat::try_hex`],
//! [`Scope::new`], [`Quota::try_per_minute`]. Nothing else panics, on any input.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod sync;
mod text;

pub mod audit;
pub mod error;

pub mod clock;
pub mod gate;
#[cfg(any(doc, doctest))]
pub mod guide;
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
