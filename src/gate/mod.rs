//! The whole pipeline: from the head of a request to a response.

pub(crate) mod admission;
pub(crate) mod attempts;
pub(crate) mod builder;
pub(crate) mod drive;
pub(crate) mod pending;
pub(crate) mod pipeline;
pub(crate) mod refusal;
pub(crate) mod responses;
pub(crate) mod route;

pub use self::{
    admission::{Admission, Outcome, Step},
    builder::GateBuilder,
    pending::{PendingCharge, PendingLookup, PendingRecheck},
    pipeline::Gate,
    refusal::Refusal,
    route::{Route, RouteQuotas},
};
