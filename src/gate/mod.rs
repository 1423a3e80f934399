//! The whole pipeline: from the head of a request to an answer.

mod admission;
mod answers;
mod attempts;
mod builder;
mod drive;
mod pending;
mod pipeline;
mod refusal;
mod route;

pub use admission::{Admission, Outcome, Step};
pub use builder::{GateBuildError, GateBuilder};
pub use pending::{PendingCharge, PendingLookup, PendingRecheck};
pub use pipeline::Gate;
pub use refusal::Refusal;
pub use route::{Route, RouteQuotas};
