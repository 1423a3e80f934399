//! The exact sliding-window limiter.

pub(crate) mod book;
pub(crate) mod decision;
pub(crate) mod key;
pub(crate) mod limiter;
pub(crate) mod overflow;
pub(crate) mod remote;
pub(crate) mod shards;
pub(crate) mod subject;
pub(crate) mod tracked;
pub(crate) mod window;

pub use self::{
    decision::{ChargeError, Decision},
    key::LimitKey,
    limiter::{Limiter, LimiterConfig, Ticket},
    remote::{
        LeaseTerms, RemoteAnswer, RemoteCharge, RemoteCommand, RemoteNames, RemoteReceipt,
        RemoteReplyError, RemoteScript,
    },
};
