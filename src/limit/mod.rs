//! Named limits, and the exact sliding-window limiter.

pub(crate) mod charged;
pub(crate) mod config;
pub(crate) mod decision;
pub(crate) mod key;
#[expect(clippy::module_inception, reason = "a limit is what this room is about")]
pub(crate) mod limit;
pub(crate) mod limiter;
mod subject;
mod table;
mod window;

pub use self::{
    config::LimiterConfig,
    decision::{ChargeError, Decision, WindowStatus},
    key::LimitKey,
    limit::{Limit, PolicyTag, Rule, Subject},
    limiter::{Limiter, Ticket},
};
