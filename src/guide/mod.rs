//! The guide: from the first key to a service in production.
//!
//! Every code block in these chapters compiles and runs as a test. The blocks use the core alone:
//! a [`MemoryStore`](crate::store::MemoryStore), a fixed `now`, and
//! [`PlainHead`](crate::request::PlainHead) as the request. A service on axum, hyper or tonic uses
//! the same gate through `keyward-tower`, whose documentation has the same steps over HTTP.
//!
//! | chapter | you learn to |
//! |---|---|
//! | [`first_key`] | issue a key, and check it on a request |
//! | [`scopes_and_tiers`] | state who may use which route |
//! | [`limits`] | limit keys, owners and routes, and report it in headers |
//! | [`rotation_and_leaks`] | replace a secret without an outage, and react to a leak |
//! | [`your_own_database`] | implement the store traits over your tables |
//! | [`several_processes`] | keep revocation fast and limits exact over many processes |
//! | [`migration`] | take over keys that you have already given out |
//! | [`testing`] | test your service without sleeping |
//! | [`going_live`] | check the list before the first customer |

#[doc = include_str!("first_key.md")]
pub mod first_key {}

#[doc = include_str!("scopes_and_tiers.md")]
pub mod scopes_and_tiers {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("rotation_and_leaks.md")]
pub mod rotation_and_leaks {}

#[doc = include_str!("your_own_database.md")]
pub mod your_own_database {}

#[doc = include_str!("several_processes.md")]
pub mod several_processes {}

#[doc = include_str!("migration.md")]
pub mod migration {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("going_live.md")]
pub mod going_live {}
