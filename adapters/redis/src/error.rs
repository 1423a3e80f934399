//! What can go wrong, named without what was sent or where to.

use keyward::limit::ChargeError;
use thiserror::Error;

/// Why a limit was not decided by the server.
///
/// None of these holds a key, an address, a user or a password: what the server or the client
/// wrote is reduced to its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The request can never be charged; nothing was sent.
    #[error(transparent)]
    Charge(#[from] ChargeError),
    /// The server is gone, and the policy says to refuse, or has nothing left to admit.
    #[error("the limit cannot be decided: {0}")]
    Gone(#[from] Gone),
    /// The keys of the limits lie in different slots of a cluster: put them
    /// [together](keyward::limit::RemoteNames::with_tag).
    #[error("the limits lie in different slots of the cluster")]
    CrossSlot,
    /// The user that the connection is of may not do what the limiter does.
    #[error("the server does not permit it")]
    NotPermitted,
    /// The server answered something else than the limiter's script does, or the key holds
    /// something else than a limit.
    #[error("the server's answer is not one of the limiter's script")]
    Reply,
    /// It was counted, but fewer replicas than asked for have confirmed that they know.
    #[error("{confirmed} of {wanted} replicas know of it")]
    NotReplicated {
        /// How many have.
        confirmed: u32,
        /// How many were asked for.
        wanted: u32,
    },
}

/// In which way the server is gone. Whether it has counted the request is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Gone {
    /// No answer in time.
    #[error("the server has not answered in time")]
    Timeout,
    /// It could not be reached, or the connection broke.
    #[error("the connection to the server is broken")]
    Connection,
    /// It failed a moment ago, and was not asked again yet.
    #[error("the server was not asked, since it has just failed")]
    CircuitOpen,
    /// It has no memory left for the limit.
    #[error("the server is out of memory")]
    OutOfMemory,
    /// It is a replica, or has too few of them to write.
    #[error("the server takes no writes")]
    ReadOnly,
    /// It is starting, busy with something else, or its cluster is not whole.
    #[error("the server is not ready")]
    NotReady,
}

/// What became of sending a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Gone(Gone),
    /// Asking again, or somebody else, does not help.
    Lasting(RemoteError),
}

impl From<Gone> for Failure {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone)
    }
}

impl Failure {
    /// The kind of what the client reports. Its text is dropped: it can hold addresses, user
    /// names, and what was sent.
    pub(crate) fn of(error: &redis::RedisError) -> Self {
        use redis::{ErrorKind, ServerErrorKind};
        let server = |code: &str| match code {
            "OOM" => Self::Gone(Gone::OutOfMemory),
            "NOREPLICAS" | "READONLY" | "MISCONF" => Self::Gone(Gone::ReadOnly),
            "BUSY" | "LOADING" | "CLUSTERDOWN" | "TRYAGAIN" | "MASTERDOWN" | "MOVED" | "ASK" => {
                Self::Gone(Gone::NotReady)
            }
            "NOPERM" | "NOAUTH" | "WRONGPASS" => Self::Lasting(RemoteError::NotPermitted),
            "CROSSSLOT" => Self::Lasting(RemoteError::CrossSlot),
            _ => Self::Lasting(RemoteError::Reply),
        };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ResponseError) if in_script(error, "OOM") => {
                Self::Gone(Gone::OutOfMemory)
            }
            ErrorKind::Server(_) | ErrorKind::Extension => server(error.code().unwrap_or("")),
            ErrorKind::AuthenticationFailed => Self::Lasting(RemoteError::NotPermitted),
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Lasting(RemoteError::Reply),
            _ if error.is_timeout() => Self::Gone(Gone::Timeout),
            _ => Self::Gone(Gone::Connection),
        }
    }

    /// Whether the server has never seen the script, and has done nothing.
    pub(crate) fn is_unknown_script(error: &redis::RedisError) -> bool {
        error.code() == Some("NOSCRIPT")
            || matches!(error.kind(), redis::ErrorKind::Server(redis::ServerErrorKind::NoScript))
    }
}

/// What a command within the script was refused for, where the server only says that it was.
fn in_script(error: &redis::RedisError, code: &str) -> bool {
    error.detail().is_some_and(|detail| detail.contains(code))
}
