//! The limiter where several processes share it: what is asked of a server that runs scripts,
//! and how its answer is read. Plain data: nothing here knows a client or a connection.

mod answer;
mod charge;
mod command;
mod names;
mod receipt;
mod script;

pub use answer::{RemoteAnswer, RemoteReplyError};
pub use charge::{LeaseTerms, RemoteCharge};
pub use command::RemoteCommand;
pub use names::RemoteNames;
pub use receipt::RemoteReceipt;
pub use script::RemoteScript;
