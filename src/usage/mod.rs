//! Request counts and last use of each key, until the host saves them.

mod batch;
mod ledger;
mod waiting;

pub use self::{
    batch::{Usage, UsageBatch},
    ledger::UsageLedger,
};
