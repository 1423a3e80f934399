//! The exact sliding-window limiter.

pub(crate) mod config;
pub(crate) mod decision;
pub(crate) mod key;
pub(crate) mod limiter;
mod subject;
mod table;
mod window;

pub use self::{
    config::LimiterConfig,
    decision::{ChargeError, Decision, WindowStatus},
    key::LimitKey,
    limiter::{Limiter, Ticket},
};
