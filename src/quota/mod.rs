//! Limits as data: a number of requests in a length of time.

mod precision;
pub(crate) mod quotas;
#[cfg(feature = "serde")]
mod serial;
mod single;
mod text;

pub use self::{precision::Precision, quotas::Quotas, single::Quota};
