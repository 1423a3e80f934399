//! Where requests are counted: here, or in Redis together with other processes.

use std::{
    error::Error,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use keyward::{
    Limiter, Quotas, Timestamp,
    gate::GateBuilder,
    limit::{Decision, LimitKey},
};
use keyward_redis::{Fallback, LeaseConfig, LeasedLimiter, RedisLimiter, RemoteError};
use keyward_tower::ApiKeys;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

/// Who counts. The routes know nothing of it.
#[derive(Clone)]
pub(crate) enum Limits {
    Here(Arc<Limiter>),
    /// Every request is decided by Redis.
    Exact(RedisLimiter<ConnectionManager>),
    /// Permits are leased from Redis.
    Leased(LeasedLimiter<ConnectionManager>),
}

impl Limits {
    /// Those of all processes that are told the same address. When Redis is gone, requests are
    /// refused with 503. A request waits no longer than `patience` for Redis, or for a connection
    /// to it.
    pub(crate) async fn in_redis(
        url: &str,
        leases: Option<Duration>,
        patience: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        // What the client says of a bad address may repeat it, with the password.
        let client = redis::Client::open(url).map_err(|_| "--redis must be an address of Redis")?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        let connection = client
            .get_connection_manager_with_config(config)
            .await
            .map_err(|_| "Redis does not answer")?;
        let exact = RedisLimiter::new(connection, Fallback::Refuse, tokio::time::sleep);
        let exact = exact.with_timeout(patience);
        for warning in exact.inspect().await?.warnings() {
            let _unread = writeln!(io::stderr(), "lucitra: {warning}");
        }
        Ok(match leases {
            None => Self::Exact(exact),
            Some(length) => Self::Leased(LeasedLimiter::new(exact, LeaseConfig::new(length))),
        })
    }

    /// Of a gate that counts in this process.
    pub(crate) fn in_gate(&self, builder: GateBuilder) -> GateBuilder {
        match self {
            Self::Here(limiter) => builder.with_limiter(Arc::clone(limiter)),
            Self::Exact(_) | Self::Leased(_) => builder,
        }
    }

    /// Of a layer whose gate does not.
    pub(crate) fn in_layer<K>(&self, keys: ApiKeys<K>) -> ApiKeys<K> {
        match self.clone() {
            Self::Here(_) => keys,
            Self::Exact(limiter) => {
                keys.charge_with(move |charge, now| limiter.decide(charge, now))
            }
            Self::Leased(limiter) => {
                keys.charge_with(move |charge, now| limiter.decide(charge, now))
            }
        }
    }

    /// Charges a window of the service's own.
    pub(crate) async fn check(
        &self,
        window: LimitKey,
        quotas: &Quotas,
        now: Timestamp,
    ) -> Result<Decision, RemoteError> {
        match self {
            Self::Here(limiter) => Ok(limiter.check(window, quotas, 1, now)?),
            Self::Exact(limiter) => Ok(limiter.check(window, quotas, 1, now).await?.decision),
            Self::Leased(limiter) => Ok(limiter.check(window, quotas, 1, now).await?.decision),
        }
    }

    /// What is left at the end is given back: this client sends nothing twice.
    pub(crate) async fn close(&self) {
        if let Self::Leased(limiter) = self {
            limiter.give_back().await;
        }
    }
}
