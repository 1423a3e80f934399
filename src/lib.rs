//! keyward
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod limit;
mod quota;
mod text;
mod timestamp;

pub use clock::{Clock, ManualClock, SystemClock};
pub use limit::{
    ChargeError, CostError, Decision, LimitKey, Limiter, LimiterConfig, SeedError, Ticket,
};
pub use quota::{Bookkeeping, Quota, QuotaError, Quotas};
pub use timestamp::{Timestamp, TimestampError};
