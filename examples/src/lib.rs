//! What the runnable services share: settings from the environment, start-up and shutdown,
//! credentials out of headers, challenges, and a log that never holds a key.
//!
//! The services themselves are the `[[example]]`s of this package.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod challenge;
mod credentials;
mod log;
mod service;
mod settings;

pub use challenge::Challenge;
pub use credentials::{Conflict, bearer_token, single_value};
pub use log::{LogNote, log_requests};
pub use service::{Arguments, Service};
pub use settings::{SettingError, Settings, seconds};
