//! keyward's exact rate limit, shared by several processes on Redis or Valkey.
//!
//! - [`RedisLimiter`] decides every request on the server in one round trip. Over all processes, any
//!   window admits at most the limit.
//! - [`LeasedLimiter`] takes permits in advance and spends them without a round trip. Any window still
//!   admits at most the limit.
//! - [`Fallback`] decides while the server is unreachable. It has no default.
//!
//! [`protocol::RemoteScript`] describes how the server decides, the guarantee, and the conditions of
//! leases with their proof.
//!
//! # Behind a gate
//!
//! A gate without a limiter leaves the charge to the host, and `keyward-tower` passes it to a function
//! of the host. The routes stay unchanged:
//!
//! ```ignore
//! let keys = ApiKeys::new(gate, store, clock)
//!     .charge_with(move |charge, _now| limiter.decide(charge, clock.clone()));
//! ```
//!
//! # What it does not do
//!
//! It opens no connection, contains no runtime, starts no tasks and logs nothing. The host supplies the
//! connection and the timer.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod circuit;
mod error;
mod fallback;
pub mod lease;
mod limiter;
mod link;
mod node_clock;
pub mod protocol;
mod report;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub use self::node_clock::BootClock;
pub use self::{
    error::{Gone, RemoteError},
    fallback::{DecidedBy, Fallback, RemoteDecision},
    lease::{LeaseConfig, LeasedLimiter},
    limiter::RedisLimiter,
    node_clock::NodeClock,
    protocol::{RemoteNames, RemoteReceipt},
    report::{ServerReport, ServerWarning},
};

/// The README's examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
