//! The limiters over real servers: what happens when these are slow, stopped, killed, promoted,
//! full, or in a cluster.

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod exact;
mod failover;
mod gone;
mod leases;
mod refused;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyward::{
    Limiter, ManualClock, Quotas, Timestamp,
    limit::{ChargeError, LimitKey},
};
use keyward_redis::{
    BootClock, DecidedBy, Fallback, Gone, LeaseConfig, LeasedLimiter, NodeClock, RedisLimiter,
    RemoteDecision, RemoteError, RemoteNames, ServerWarning,
};
use redis::aio::{
    ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection,
};
use support::{Server, pause, servers, traffic::quota_of};
use tokio::time::sleep;

const KEY: [u8; 16] = [7; 16];

fn key() -> LimitKey {
    LimitKey::key(KEY)
}

fn minute(limit: u32) -> Quotas {
    Quotas::from(quota_of(limit, 60_000))
}

/// Some instant: the server's clock decides.
fn now() -> Timestamp {
    Timestamp::from_unix_secs(1_800_000_000)
}

/// A clock that stands there.
fn clock() -> ManualClock {
    ManualClock::new(now())
}

/// How long to wait for what must come: far longer than any machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

async fn manager(server: &Server) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(None)
        .set_max_delay(Duration::from_millis(50));
    server.client().get_connection_manager_with_config(config).await.unwrap()
}

/// Waits for its server, however busy the machine is.
async fn limiter(server: &Server) -> RedisLimiter<ConnectionManager> {
    RedisLimiter::new(manager(server).await, Fallback::Refuse, sleep).with_timeout(PATIENCE)
}

/// How many of so many are admitted; all must be decided.
async fn admitted<C>(limiter: &RedisLimiter<C>, quotas: &Quotas, asked: u32, now: Timestamp) -> u32
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    let mut admitted = 0;
    for _ in 0..asked {
        let charged = limiter.check(key(), quotas, 1, &ManualClock::new(now)).await.unwrap();
        assert_eq!(charged.by, DecidedBy::Server);
        admitted += u32::from(charged.decision.allowed);
    }
    admitted
}

/// The most that were certainly admitted within one window, of which each was admitted no earlier than
/// its first instant and no later than its second. The server counts in whole milliseconds, so a
/// window may look shorter by one from outside.
fn most_in_a_window(spent: &[(Duration, Duration)], window: Duration) -> usize {
    let window = window - Duration::from_millis(1);
    let within = |from: Duration| {
        spent.iter().filter(|(before, after)| *before >= from && *after < from + window).count()
    };
    spent.iter().map(|(before, _)| within(*before)).max().unwrap_or(0)
}
