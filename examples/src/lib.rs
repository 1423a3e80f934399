//! What the runnable services share: settings from the environment, start-up and shutdown,
//! credentials out of headers, challenges, an admin surface with usage per key, and a log that
//! never holds a key.
//!
//! The services themselves are the `[[example]]`s of this package.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admin;
mod body;
mod challenge;
mod credentials;
mod failure;
mod log;
mod service;
mod settings;
mod tiers;
mod usage;

pub use admin::Admin;
pub use body::{read_body, read_json, too_large_body};
pub use challenge::Challenge;
pub use credentials::{Conflict, bearer_token, single_value};
pub use failure::{Failure, nested_errors};
pub use log::{LogNote, log_requests};
pub use service::{Arguments, Service};
pub use settings::{SettingError, Settings, seconds};
pub use tiers::{ENTERPRISE, HIGHER, STANDARD};
pub use usage::UsageTable;
