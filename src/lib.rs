//! keyward
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod quota;
mod text;
mod timestamp;

pub use clock::{Clock, ManualClock, SystemClock};
pub use quota::{Quota, QuotaError, Quotas};
pub use timestamp::{Timestamp, TimestampError};
