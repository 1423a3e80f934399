//! Request counts and last use of each key, and saving them in a store.

mod batch;
mod bucket;
pub(crate) mod flusher;
mod ledger;
mod minutes;
mod store;
mod waiting;

pub use self::{
    batch::{Usage, UsageBatch},
    bucket::{UsageBucket, UsageSpan},
    flusher::{FlushReport, UsageFlusher},
    ledger::UsageLedger,
    store::{UsageHistory, UsageStore},
};
