//! Two processes' worth of cached stores on one PostgreSQL: what one changes the other sees.

#![allow(clippy::disallowed_methods, reason = "how long it takes is measured")]

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use keyward::{
    Issuer, KeyHasher, KeyStore as _, SysRng, SystemClock,
    key::{Grace, Owner, OwnerId, Tier},
    store::{KeyRegistry as _, Lookup},
    testing::BlockOn as _,
    verify::{Verifier, VerifyError},
};
use keyward_cache::{CacheConfig, CachedStore};
use keyward_sqlx::{ChangeListener, PostgresStore};
use postgres::{connect, fresh_database};
use sqlx::postgres::PgConnectOptions;
use support::{FORMAT, NOW, OnTokio, issue, lookup};
use tokio::task::JoinHandle;

/// What a process has: a pool, a cache, and a listener, unless it is deaf.
struct Process {
    store: CachedStore<PostgresStore>,
    listening: Option<JoinHandle<()>>,
}

impl Process {
    async fn new(database: &PgConnectOptions, staleness: Duration, hears: bool) -> Self {
        let config = CacheConfig::new().with_staleness(staleness);
        let store = connect(database).await;
        let store = CachedStore::with_config(store, SystemClock::new(), config);
        let listening = hears.then(|| {
            let (listener, told) = (ChangeListener::new(database.clone()), store.clone());
            tokio::spawn(async move {
                listener.run(told, tokio::time::sleep).await;
            })
        });
        Self { store, listening }
    }

    async fn accepts(&self, lookup: &Lookup) -> Result<Option<Tier>, VerifyError> {
        let found = self.store.find(lookup).await.unwrap();
        let verified = Verifier::new(KeyHasher::sha256()).verify(lookup, found, NOW)?;
        Ok(verified.tier().cloned())
    }

    /// How long it takes until this holds, at most so long.
    async fn until(
        &self,
        lookup: &Lookup,
        expected: Result<Option<Tier>, VerifyError>,
        at_most: Duration,
    ) -> Duration {
        let began = Instant::now();
        while self.accepts(lookup).await != expected {
            assert!(began.elapsed() < at_most, "not {expected:?} after {at_most:?}");
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        began.elapsed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// Until all listeners are heard by the server.
async fn listeners(store: &PostgresStore, count: i64) {
    for _ in 0..1_000 {
        let listening = "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let listening: i64 = sqlx::query_scalar(listening).fetch_one(store.pool()).await.unwrap();
        if listening == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("there are not {count} listeners");
}

fn tier(name: &str) -> Result<Option<Tier>, VerifyError> {
    Ok(Some(name.parse().unwrap()))
}

fn put(name: &str) -> Owner {
    Owner::new(OwnerId::from_static("owner")).with_tier(name.parse().unwrap())
}

/// The bound that no announcement is needed for is far away, so what is seen was announced.
#[test]
fn what_one_process_changes_another_sees() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("what_one_process_changes").await else { return };
        let plain = connect(&database).await;
        plain.migrate().await.unwrap();
        let far = Duration::from_secs(600);
        let one = Process::new(&database, far, true).await;
        let other = Process::new(&database, far, true).await;
        listeners(&plain, 2).await;
        let issuer = Issuer::new(one.store.clone(), FORMAT, KeyHasher::sha256());
        let (mut revocations, mut downgrades) = (Vec::new(), Vec::new());
        for _ in 0..50 {
            one.store.put_owner(put("high")).await.unwrap();
            let (record, key) = issue("owner", NOW);
            let lookup = lookup(&key);
            // That there is no such key is remembered too, and forgotten when there is.
            assert_eq!(other.accepts(&lookup).await, Err(VerifyError::Unknown));
            one.store.insert(record.clone()).await.unwrap();
            let soon = Duration::from_secs(10);
            other.until(&lookup, tier("high"), soon).await;
            one.store.put_owner(put("low")).await.unwrap();
            assert_eq!(one.accepts(&lookup).await, tier("low"));
            downgrades.push(other.until(&lookup, tier("low"), soon).await);
            let rotated = issuer.rotate(record.id(), Grace::DAY, &mut SysRng, NOW).await.unwrap();
            other.until(&support::lookup(&rotated.key), tier("low"), soon).await;
            issuer.revoke(record.id(), NOW).await.unwrap();
            assert_eq!(one.accepts(&lookup).await, Err(VerifyError::Revoked));
            revocations.push(other.until(&lookup, Err(VerifyError::Revoked), soon).await);
        }
        for (what, mut taken) in [("revocation", revocations), ("downgrade", downgrades)] {
            taken.sort_unstable();
            println!("{what}: median {:.1?}, longest {:.1?}", taken[25], taken[49]);
        }
    });
}

/// Its connection ends while keys are revoked: all are refused in time, whatever was missed.
#[test]
fn a_listener_that_is_cut_off_keeps_the_bound() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("a_listener_that_is_cut_off").await else { return };
        let plain = connect(&database).await;
        plain.migrate().await.unwrap();
        let other = Process::new(&database, Duration::from_secs(600), true).await;
        listeners(&plain, 1).await;
        let mut longest = Duration::ZERO;
        for _ in 0..10 {
            let (record, key) = issue("owner", NOW);
            let lookup = lookup(&key);
            plain.insert(record.clone()).await.unwrap();
            other.until(&lookup, Ok(None), Duration::from_secs(10)).await;
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND query LIKE 'LISTEN%'";
            let revoked = record.revoke(NOW).unwrap();
            let (cut, revoked) =
                tokio::join!(sqlx::raw_sql(cut).execute(plain.pool()), plain.replace(revoked));
            cut.unwrap();
            revoked.unwrap();
            let refused = Err(VerifyError::Revoked);
            longest = longest.max(other.until(&lookup, refused, Duration::from_secs(10)).await);
            listeners(&plain, 1).await;
        }
        println!("cut off: at longest {longest:.1?}");
    });
}

/// Nothing is heard at all: then it is the age of what is held.
#[test]
fn without_announcements_the_staleness_bound_is_kept() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("without_announcements").await else { return };
        let plain = Arc::new(connect(&database).await);
        plain.migrate().await.unwrap();
        let bound = Duration::from_secs(1);
        let deaf = Process::new(&database, bound, false).await;
        let (record, key) = issue("owner", NOW);
        let lookup = lookup(&key);
        plain.insert(record.clone()).await.unwrap();
        assert_eq!(deaf.accepts(&lookup).await, Ok(None));
        let began = Instant::now();
        plain.replace(record.revoke(NOW).unwrap()).await.unwrap();
        // It is a cache: it does not see that at once.
        assert_eq!(deaf.accepts(&lookup).await, Ok(None));
        deaf.until(&lookup, Err(VerifyError::Revoked), Duration::from_secs(20)).await;
        let took = began.elapsed();
        println!("unheard: {took:.1?}, with a bound of {bound:?}");
        assert!(took <= bound + Duration::from_millis(500), "{took:?}");
    });
}
