//! The limiter that counts requests: in this process, or on Redis for several processes.

use std::{
    error::Error,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use keyward::{
    Clock, Limiter, Quotas,
    gate::GateBuilder,
    limit::{Decision, LimitKey},
};
use keyward_redis::{Fallback, LeaseConfig, LeasedLimiter, RedisLimiter, RemoteError};
use keyward_tower::ApiKeys;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

/// The limiter. The routes do not depend on the choice.
#[derive(Clone)]
pub(crate) enum Limits {
    Here(Arc<Limiter>),
    /// Redis decides every request.
    Exact(RedisLimiter<ConnectionManager>),
    /// This process leases permits from Redis.
    Leased(LeasedLimiter<ConnectionManager>),
}

impl Limits {
    /// Connects to Redis, where all processes with the same address share their limits. If Redis is
    /// unreachable, requests are refused with 503. A request waits at most `patience` for Redis, or
    /// for a connection to it.
    pub(crate) async fn in_redis(
        url: &str,
        leases: Option<Duration>,
        patience: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        // The error of the client can repeat the address with its password, so it is not used.
        let client = redis::Client::open(url).map_err(|_| "--redis must be an address of Redis")?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        let connection = client
            .get_connection_manager_with_config(config)
            .await
            .map_err(|_| "cannot connect to Redis")?;
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

    /// Gives the gate a limiter, if this process counts.
    pub(crate) fn in_gate(&self, builder: GateBuilder) -> GateBuilder {
        match self {
            Self::Here(limiter) => builder.with_limiter(Arc::clone(limiter)),
            Self::Exact(_) | Self::Leased(_) => builder,
        }
    }

    /// Lets the layer charge Redis, if this process does not count.
    pub(crate) fn in_layer<K>(&self, keys: ApiKeys<K>, clock: &Arc<dyn Clock>) -> ApiKeys<K> {
        let clock = Arc::clone(clock);
        match self.clone() {
            Self::Here(_) => keys,
            Self::Exact(limiter) => {
                keys.charge_with(move |charge, _now| limiter.decide(charge, Arc::clone(&clock)))
            }
            Self::Leased(limiter) => {
                keys.charge_with(move |charge, _now| limiter.decide(charge, Arc::clone(&clock)))
            }
        }
    }

    /// Charges a window that belongs to no key, such as that of a session.
    pub(crate) async fn check(
        &self,
        window: LimitKey,
        quotas: &Quotas,
        clock: &dyn Clock,
    ) -> Result<Decision, RemoteError> {
        match self {
            Self::Here(limiter) => Ok(limiter.check(window, quotas, 1, clock.now())?),
            Self::Exact(limiter) => Ok(limiter.check(window, quotas, 1, clock).await?.decision),
            Self::Leased(limiter) => Ok(limiter.check(window, quotas, 1, clock).await?.decision),
        }
    }

    /// Gives unused permits back. This is safe, because this client sends no command twice.
    pub(crate) async fn close(&self) {
        if let Self::Leased(limiter) = self {
            limiter.give_back().await;
        }
    }
}
