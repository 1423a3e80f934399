//! The exact sliding-window limiter.

mod book;
mod decision;
mod key;
mod limiter;
mod overflow;
mod remote;
mod shards;
mod tracked;
mod window;

pub use decision::{ChargeError, CostError, Decision};
pub use key::LimitKey;
pub use limiter::{Limiter, LimiterConfig, SeedError, Ticket};
pub use remote::{
    LeaseTerms, RemoteAnswer, RemoteCharge, RemoteCommand, RemoteNames, RemoteReceipt,
    RemoteReplyError, RemoteScript,
};
