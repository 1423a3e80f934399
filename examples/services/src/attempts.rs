//! Limits of the endpoints that check a password or a secret, by the address of the client.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};
use keyward::{
    Limiter, Quota, Quotas, Timestamp,
    limit::{LimitKey, LimiterConfig, Ticket},
};
use rand::{
    TryRng,
    rngs::{SysError, SysRng},
};

/// The failures of one address in any minute that still get the documented 401. A person does not
/// reach it, and neither does a client with a typing error in its configuration.
pub const FAILURES: Quota = Quota::per_minute(300);

/// The largest number of addresses that are tracked, far below that of the routes.
const MAX_ADDRESSES: u32 = 65_536;

/// Builds a limiter for attempts alone. It has a table of its own: in that of the routes, a flood of
/// addresses could displace keys.
///
/// # Errors
///
/// If the random generator of the system fails.
pub fn attempts_limiter() -> Result<Limiter, SysError> {
    let mut seed = [0; 16];
    SysRng.try_fill_bytes(&mut seed)?;
    Ok(Limiter::new(LimiterConfig::default().with_max_keys(MAX_ADDRESSES), seed))
}

/// The limit of attempts that a person or a client makes with a password or a secret. Those can be
/// guessed, unlike a key, so beyond the limit nothing is checked.
#[derive(Debug)]
pub struct Attempts {
    limiter: Limiter,
    quotas: Quotas,
}

impl Attempts {
    /// Builds the limit of a quota for each client.
    ///
    /// # Errors
    ///
    /// If the random generator of the system fails.
    pub fn new(quota: Quota) -> Result<Self, SysError> {
        Ok(Self { limiter: attempts_limiter()?, quotas: quota.into() })
    }

    /// Counts an attempt. One that succeeds is taken back with [`Attempts::succeeded`].
    ///
    /// # Errors
    ///
    /// The whole seconds to wait, if there were too many.
    pub fn begin(&self, client: impl Into<LimitKey>, now: Timestamp) -> Result<Attempt, u64> {
        match self.limiter.admit(client, &self.quotas, 1, now) {
            Ok((decision, ticket)) if decision.allowed => Ok(Attempt(ticket)),
            Ok((decision, _)) => Err(decision.retry_after_secs().unwrap_or(1)),
            // A cost of one is within every quota.
            Err(_) => Err(1),
        }
    }

    /// Takes an attempt back, so that only failures count.
    pub fn succeeded(&self, attempt: Attempt) {
        if let Attempt(Some(ticket)) = attempt {
            self.limiter.refund(ticket);
        }
    }
}

/// An attempt that is counted.
#[derive(Debug)]
#[must_use = "an attempt that succeeded is taken back"]
pub struct Attempt(Option<Ticket>);

/// The peer of a request, by which attempts are counted. Requests without a peer, which come from no
/// socket, count together.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub LimitKey);

impl Peer {
    /// Returns the key of the peer of a request, if it came from a socket.
    pub fn address(parts: &Parts) -> Option<LimitKey> {
        let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(LimitKey::address(peer.ip()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Self::address(parts).unwrap_or(LimitKey::shared())))
    }
}
