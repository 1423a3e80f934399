//! keyward's exact rate limit, shared by several processes on Redis or Valkey.
//!
//! - [`RedisLimiter`] decides every request on the server, in one round trip: in any window at most
//!   the limit, over all processes.
//! - [`LeasedLimiter`] takes permits in advance and spends them without asking: still at most the
//!   limit in any window.
//! - [`Fallback`] says what happens when the server is gone. There is no default.
//!
//! How the server decides, what it guarantees, and the conditions of leases with their proof stand
//! at [`keyward::limit::RemoteScript`], since the script and what is sent belong to the library itself.
//!
//! # Behind a gate
//!
//! A gate without a limiter of its own leaves the charge to the host, and `keyward-tower` asks what
//! it is given. The routes stay as they are:
//!
//! ```ignore
//! let keys = ApiKeys::new(gate, store, clock)
//!     .charge_with(move |charge, now| limiter.decide(charge, now));
//! ```
//!
//! # What it does not do
//!
//! It opens no connection, has no runtime, spawns nothing and logs nothing. The host supplies the
//! connection and the timer.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod circuit;
mod error;
mod lease;
mod limiter;
mod link;
mod node_clock;
mod policy;
mod report;

pub use error::{Gone, RemoteError};
pub use lease::{
    Granted, LeaseConfig, LeaseHolding, LeaseStep, LeasedLimiter, NodeInstant, Unspent,
};
pub use limiter::RedisLimiter;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use node_clock::BootClock;
pub use node_clock::NodeClock;
pub use policy::{DecidedBy, Fallback, RemoteDecision};
pub use report::{ServerReport, ServerWarning};

/// The README's wirings, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
