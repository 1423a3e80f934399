//! The cached stores of two processes on one PostgreSQL: each sees the other's changes.

#![allow(clippy::disallowed_methods, reason = "the test measures durations")]

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use keyward::{
    Clock, Issuer, KeyHasher, KeyStore, ManualClock, SysRng,
    key::{Grace, Owner, OwnerId, Tier},
    store::{KeyRegistry as _, Lookup},
    testing::BlockOn as _,
    verify::{Verifier, VerifyError},
};
use keyward_cache::{CacheConfig, CachedStore};
use keyward_sqlx::{ChangeListener, ListenerReport, PostgresStore};
use postgres::{connect, fresh_database};
use sqlx::{AssertSqlSafe, postgres::PgConnectOptions};
use support::{FORMAT, NOW, OnTokio, issue, lookup};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// A timeout far longer than any machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The parts of a process: a pool, a cache, and a listener.
struct Process {
    store: CachedStore<PostgresStore, Arc<ManualClock>>,
    listening: JoinHandle<()>,
    connections: watch::Receiver<u64>,
}

impl Process {
    /// A process whose clock stands still, so that no cached entry becomes stale: all changes that
    /// it sees were announced.
    async fn new(database: &PgConnectOptions) -> Self {
        let store = cached(database, Arc::new(ManualClock::new(NOW))).await;
        let told = store.clone();
        let (connected, connections) = watch::channel(0);
        let listener = ChangeListener::new(database.clone().application_name(LISTENER));
        let listener = listener.with_report(move |report| {
            if let ListenerReport::Listening = report {
                connected.send_modify(|count| *count += 1);
            }
        });
        let listening = tokio::spawn(async move {
            listener.run(told, tokio::time::sleep).await;
        });
        let mut process = Self { store, listening, connections };
        process.connects(1).await;
        process
    }

    /// Waits until the listener has connected this many times.
    async fn connects(&mut self, times: u64) {
        let connected = self.connections.wait_for(|count| *count >= times);
        timeout(PATIENCE, connected).await.expect("the listener does not connect").unwrap();
    }

    async fn accepts(&self, lookup: &Lookup) -> Result<Option<Tier>, VerifyError> {
        accepts(&self.store, lookup).await
    }

    /// Measures the time until this condition holds.
    async fn until(
        &self,
        lookup: &Lookup,
        expected: Result<Option<Tier>, VerifyError>,
    ) -> Duration {
        let began = Instant::now();
        while self.accepts(lookup).await != expected {
            assert!(began.elapsed() < PATIENCE, "not {expected:?} after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        began.elapsed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// The application name of a listener's connection on the server.
const LISTENER: &str = "keyward-listener";

async fn cached<C: Clock>(database: &PgConnectOptions, clock: C) -> CachedStore<PostgresStore, C> {
    CachedStore::with_config(
        connect(database).await,
        clock,
        CacheConfig::new().with_staleness(BOUND),
    )
}

const BOUND: Duration = Duration::from_secs(5);

async fn accepts(store: &impl KeyStore, lookup: &Lookup) -> Result<Option<Tier>, VerifyError> {
    let found = store.find(lookup).await.unwrap();
    let verified = Verifier::new(KeyHasher::sha256()).verify(lookup, found, NOW)?;
    Ok(verified.tier().cloned())
}

fn tier(name: &str) -> Result<Option<Tier>, VerifyError> {
    Ok(Some(name.parse().unwrap()))
}

fn put(name: &str) -> Owner {
    Owner::new(OwnerId::from_static("owner")).with_tier(name.parse().unwrap())
}

#[test]
fn a_change_in_one_process_is_visible_in_another() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("a_change_in_one_process").await else { return };
        let plain = connect(&database).await;
        plain.migrate().await.unwrap();
        let one = Process::new(&database).await;
        let other = Process::new(&database).await;
        let issuer = Issuer::new(one.store.clone(), FORMAT, KeyHasher::sha256());
        let (mut revocations, mut downgrades) = (Vec::new(), Vec::new());
        for _ in 0..50 {
            one.store.put_owner(put("high")).await.unwrap();
            let (record, key) = issue("owner", NOW);
            let lookup = lookup(&key);
            // An absence is cached too, and invalidated when the key is inserted.
            assert_eq!(other.accepts(&lookup).await, Err(VerifyError::Unknown));
            one.store.insert(record.clone()).await.unwrap();
            other.until(&lookup, tier("high")).await;
            one.store.put_owner(put("low")).await.unwrap();
            assert_eq!(one.accepts(&lookup).await, tier("low"));
            downgrades.push(other.until(&lookup, tier("low")).await);
            let rotated = issuer.rotate(record.id(), Grace::DAY, &mut SysRng, NOW).await.unwrap();
            other.until(&support::lookup(&rotated.key), tier("low")).await;
            issuer.revoke(record.id(), NOW).await.unwrap();
            assert_eq!(one.accepts(&lookup).await, Err(VerifyError::Revoked));
            revocations.push(other.until(&lookup, Err(VerifyError::Revoked)).await);
        }
        for (what, mut taken) in [("revocation", revocations), ("downgrade", downgrades)] {
            taken.sort_unstable();
            println!("{what}: median {:.1?}, longest {:.1?}", taken[25], taken[49]);
        }
    });
}

/// The listener's connection ends while keys are revoked: all are refused in time, whatever it
/// missed.
#[test]
fn the_bound_holds_while_the_listener_is_disconnected() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("a_disconnected_listener").await else { return };
        let plain = connect(&database).await;
        plain.migrate().await.unwrap();
        let mut other = Process::new(&database).await;
        let mut longest = Duration::ZERO;
        for round in 1..=10 {
            let (record, key) = issue("owner", NOW);
            let lookup = lookup(&key);
            plain.insert(record.clone()).await.unwrap();
            other.until(&lookup, Ok(None)).await;
            let cut = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = '{LISTENER}'"
            );
            let revoked = record.revoke(NOW).unwrap();
            let (cut, revoked) = tokio::join!(
                sqlx::raw_sql(AssertSqlSafe(cut)).execute(plain.pool()),
                plain.replace(revoked)
            );
            cut.unwrap();
            revoked.unwrap();
            let refused = Err(VerifyError::Revoked);
            longest = longest.max(other.until(&lookup, refused).await);
            other.connects(round + 1).await;
        }
        println!("cut off: at longest {longest:.1?}");
    });
}

/// Without any announcement, the age of cached entries limits the staleness.
#[test]
fn the_staleness_bound_holds_without_announcements() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("no_announcements").await else { return };
        let plain = connect(&database).await;
        plain.migrate().await.unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let deaf = cached(&database, Arc::clone(&clock)).await;
        let (record, key) = issue("owner", NOW);
        let lookup = lookup(&key);
        plain.insert(record.clone()).await.unwrap();
        assert_eq!(accepts(&deaf, &lookup).await, Ok(None));
        plain.replace(record.revoke(NOW).unwrap()).await.unwrap();
        // A cached result: the change is not visible immediately.
        clock.advance(BOUND - Duration::from_millis(1));
        assert_eq!(accepts(&deaf, &lookup).await, Ok(None));
        clock.advance(Duration::from_millis(1));
        assert_eq!(accepts(&deaf, &lookup).await, Err(VerifyError::Revoked));
    });
}
