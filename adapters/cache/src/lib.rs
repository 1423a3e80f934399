#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod changes;
mod config;
mod error;
mod flights;
mod held;
mod room;
mod store;

pub use config::CacheConfig;
pub use error::CachedError;
pub use store::CachedStore;
