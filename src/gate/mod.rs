//! The whole pipeline: from the head of a request to a response.
//!
//! [`Gate::builder`] describes how a service authenticates, limits and refuses. [`Gate::route`]
//! checks what a route requires. A request is then decided by one of the drivers
//! ([`Gate::check`], [`Gate::check_sync`], [`Driver`]) or step by step from [`Gate::begin`].

pub(crate) mod admission;
pub(crate) mod attempts;
pub(crate) mod begin;
pub(crate) mod builder;
pub(crate) mod charger;
pub(crate) mod charges;
pub(crate) mod check;
pub(crate) mod checked;
mod circumstances;
pub(crate) mod driver;
pub(crate) mod issuer;
pub(crate) mod pending;
pub(crate) mod pipeline;
pub(crate) mod policy;
pub(crate) mod recheck;
pub(crate) mod refusal;
pub(crate) mod responses;
pub(crate) mod route;
pub(crate) mod status;
pub(crate) mod steps;

pub use self::{
    admission::{Admission, Outcome},
    builder::GateBuilder,
    charger::{Charge, Charger, NoCharger},
    checked::CheckedRoute,
    driver::Driver,
    pending::{PendingCharge, PendingLookup, Step},
    pipeline::Gate,
    recheck::PendingRecheck,
    refusal::Refusal,
    route::Route,
    status::{PolicyAllowance, PolicyStatus},
};
pub use crate::limit::charged::Charged;
