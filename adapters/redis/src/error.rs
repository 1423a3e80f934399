//! The errors. None contains the data that was sent or the address of the server.

use keyward::limit::ChargeError;
use thiserror::Error;

use crate::protocol::RemoteReplyError;

/// A limit that the server did not decide.
///
/// No variant contains a key, an address, a user or a password: the message of the server or the
/// client is reduced to its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The request can never be charged. Nothing was sent.
    #[error(transparent)]
    Charge(#[from] ChargeError),
    /// The server is gone, and the fallback is to refuse or has nothing left to admit.
    #[error("the limit cannot be decided: {0}")]
    Gone(#[from] Gone),
    /// The keys of the limits lie in different slots of a cluster: put them
    /// [together](crate::protocol::RemoteNames::with_tag).
    #[error(
        "the limits lie in different slots of the cluster; name them with RemoteNames::with_tag"
    )]
    CrossSlot,
    /// The connection's user may not run the limiter's commands.
    #[error("the server does not permit the limiter's commands to this user")]
    NotPermitted,
    /// The reply is not one of the limiter's script, or the key holds data that is not a limit.
    #[error("the server's reply is not one of the limiter's script")]
    Reply,
    /// A limit would have more than eight windows that are live. Nothing was counted or changed.
    #[error(
        "the limit at position {position} has 8 live windows of other lengths; use fewer lengths \
         under one policy, or call RedisLimiter::reset for the key"
    )]
    TooManyWindows {
        /// The index of the limit in the request.
        position: usize,
    },
    /// The request was counted, but too few replicas confirmed it.
    #[error("only {confirmed} of {wanted} replicas confirmed the request")]
    NotReplicated {
        /// The number of replicas that confirmed it.
        confirmed: u32,
        /// The number that [`RedisLimiter::with_confirmation`](crate::RedisLimiter::with_confirmation)
        /// demands.
        wanted: u32,
    },
}

/// The way in which the server is gone. It may have counted the request or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Gone {
    /// No reply in time.
    #[error("the server did not reply in time")]
    Timeout,
    /// The server could not be reached, or the connection broke.
    #[error("the connection to the server is broken")]
    Connection,
    /// The server failed a moment ago and was not tried again yet.
    #[error("the server was not tried because it has just failed")]
    CircuitOpen,
    /// The server has no memory left for the limit.
    #[error("the server is out of memory")]
    OutOfMemory,
    /// The server is a replica, or has too few replicas to write.
    #[error("the server accepts no writes")]
    ReadOnly,
    /// The server is starting or busy, or its cluster is incomplete.
    #[error("the server is not ready")]
    NotReady,
}

impl From<RemoteReplyError> for RemoteError {
    fn from(error: RemoteReplyError) -> Self {
        match error {
            RemoteReplyError::Unreadable => Self::Reply,
            RemoteReplyError::TooManyWindows { position } => Self::TooManyWindows { position },
        }
    }
}

/// The failure of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Gone(Gone),
    /// Neither a retry nor the fallback helps.
    Lasting(RemoteError),
}

impl From<Gone> for Failure {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone)
    }
}

impl From<Failure> for RemoteError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone(gone) => gone.into(),
            Failure::Lasting(error) => error,
        }
    }
}

impl Failure {
    /// Returns the kind of the client's error. Its text is dropped, because it can contain addresses,
    /// user names and the data that was sent.
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
            ErrorKind::Server(ServerErrorKind::ResponseError) if in_script(error, "READONLY") => {
                Self::Gone(Gone::ReadOnly)
            }
            ErrorKind::Server(ServerErrorKind::ResponseError)
                if in_script(error, "NOPERM") || in_script(error, NOT_PERMITTED) =>
            {
                Self::Lasting(RemoteError::NotPermitted)
            }
            ErrorKind::Server(_) | ErrorKind::Extension => server(error.code().unwrap_or("")),
            ErrorKind::AuthenticationFailed => Self::Lasting(RemoteError::NotPermitted),
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Lasting(RemoteError::Reply),
            _ if error.is_timeout() => Self::Gone(Gone::Timeout),
            _ => Self::Gone(Gone::Connection),
        }
    }

    /// Returns whether the server has become a replica and has done nothing.
    pub(crate) fn is_of_replica(error: &redis::RedisError) -> bool {
        let response = redis::ErrorKind::Server(redis::ServerErrorKind::ResponseError);
        matches!(error.code(), Some("READONLY" | "MASTERDOWN"))
            || error.kind() == response && in_script(error, "READONLY")
    }

    /// Returns whether the server does not know the script and has done nothing.
    pub(crate) fn is_unknown_script(error: &redis::RedisError) -> bool {
        error.code() == Some("NOSCRIPT")
            || matches!(error.kind(), redis::ErrorKind::Server(redis::ServerErrorKind::NoScript))
    }
}

/// The beginning of the message of Redis 7.0, which has no code, about a command or a key that the
/// user may not use within a script.
const NOT_PERMITTED: &str = "The user executing the script can't";

/// Returns whether a command within the script failed with `code`. The error's own code says only
/// that the script failed.
fn in_script(error: &redis::RedisError, code: &str) -> bool {
    error.detail().is_some_and(|detail| detail.contains(code))
}
