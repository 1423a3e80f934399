//! The code that the runnable services share: settings from the environment, startup and shutdown,
//! admin routes with the usage of each key, error responses, and a log that never contains a key.
//!
//! The services themselves are the `[[example]]`s of this package.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admin;
mod attempts;
mod banner;
mod body;
mod command_line;
mod failure;
mod key_list;
mod log;
mod request_ids;
mod service;
mod session_tokens;
mod settings;
mod tiers;
mod usage;

pub use admin::Admin;
pub use attempts::{Attempt, Attempts, FAILURES, Peer, attempts_limiter};
pub use banner::{ADMIN_ROUTES, AdminSteps};
pub use body::{read_body, read_json, read_short_body, too_large_body};
pub use command_line::{Announcement, command, read_command_line};
pub use failure::{Failure, nested_errors};
pub use key_list::key_list;
pub use log::{LogNote, log_requests};
pub use request_ids::{RequestIds, identify_requests};
pub use service::Service;
pub use session_tokens::SessionTokens;
pub use settings::{MINUTE, SettingError, Settings, seconds, whole_number, window};
pub use tiers::{ENTERPRISE, HIGHER, STANDARD};
pub use usage::UsageTable;
