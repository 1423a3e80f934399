#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod changes;
mod config;
mod digest;
mod error;
mod flights;
mod held;
mod inner;
mod question;
mod records;
mod secrets;
mod store;
mod unknown;

pub use config::CacheConfig;
pub use error::CachedError;
pub use store::CachedStore;
