//! Limits as data: a number of requests in a length of time, and what single keys and owners are
//! allowed in its place.

pub(crate) mod allowance;
pub(crate) mod overrides;
pub(crate) mod policy_name;
mod precision;
pub(crate) mod quotas;
#[cfg(feature = "serde")]
mod serial;
mod single;
mod text;

pub use self::{
    allowance::Allowance, overrides::Overrides, policy_name::PolicyName, precision::Precision,
    quotas::Quotas, single::Quota,
};
