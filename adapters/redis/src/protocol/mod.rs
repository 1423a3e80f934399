//! The protocol of the limiter on a server that runs scripts: commands to send and replies to read,
//! as plain data. It needs no client and no connection.
//!
//! [`RedisLimiter`](crate::RedisLimiter) and [`LeasedLimiter`](crate::LeasedLimiter) speak it over
//! the client of the `redis` crate. A host with another client sends the parts of a [`RemoteCommand`]
//! itself.

mod charge;
mod command;
mod names;
mod pack;
mod receipt;
mod reply;
mod script;

pub use self::{
    charge::{LeaseTerms, RemoteCharge},
    command::RemoteCommand,
    names::RemoteNames,
    receipt::RemoteReceipt,
    reply::{RemoteReply, RemoteReplyError, RemoteStatus},
    script::RemoteScript,
};
