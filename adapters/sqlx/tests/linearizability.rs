//! Histories of two cached stores on one database, recorded and checked against the sequential
//! model of a key.
//!
//! Random histories of correct stores must pass. Scripted histories, with a clock and an order that
//! the test controls, must pass too, and must detect each mistake planted in the cache or in the
//! store.
//!
//! `KEYWARD_SEED` runs one seed, `KEYWARD_SEQUENCES` sets the number of seeds, and
//! `KEYWARD_HISTORY_MILLIS` the duration of each. A seed fixes the choices of each task, not their
//! interleaving.

#![allow(clippy::disallowed_methods, reason = "a database and a bound take real time")]

#[path = "support/history.rs"]
mod history;
#[path = "support/mysql.rs"]
mod mysql;
#[path = "../../cache/tests/support/naive.rs"]
mod naive;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/script.rs"]
mod script;
mod support;
#[path = "support/traffic.rs"]
mod traffic;

use std::{env, sync::Arc, time::Duration};

use history::{Cache, History, STALENESS, Shown, Time, Told};
use keyward::{
    KeyStore,
    store::{Change, Invalidate, KeyRegistry},
    testing::BlockOn as _,
};
use keyward_cache::{CacheConfig, CachedStore};
use keyward_sqlx::{ChangeListener, MySqlStore, PostgresStore, SqlStoreError, SqliteStore};
use naive::{Mistake, Naive};
use postgres::{connect, fresh_database};
use script::{Announcer, Fault, Schedule, play};
use sqlx::{AssertSqlSafe, postgres::PgConnectOptions, sqlite::SqlitePoolOptions};
use support::{OnTokio, TempDir, sqlite_options};
use tokio::task::JoinHandle;
use traffic::record;

/// A database whose rows can be changed without the store.
trait Database: KeyRegistry<Error = SqlStoreError> + Clone + 'static {
    fn tamper(&self, sql: String) -> impl Future<Output = ()> + Send;
}

impl Database for SqliteStore {
    async fn tamper(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.pool()).await.unwrap();
    }
}

impl Database for MySqlStore {
    async fn tamper(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.pool()).await.unwrap();
    }
}

impl Database for PostgresStore {
    async fn tamper(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.pool()).await.unwrap();
    }
}

/// Records a history of two caches without announcements.
async fn deaf<S, K>(seed: u64, stores: &[S; 2], make: impl Fn(S, Arc<Time>) -> K) -> History
where
    S: Database,
    K: Cache + 'static,
{
    let clock = Time::running();
    let caches = stores.clone().map(|store| Arc::new(make(store, Arc::clone(&clock))));
    record(seed, length(), clock, caches).await
}

/// Records a history of two caches that receive the database's announcements.
async fn hearing<K>(
    seed: u64,
    database: &PgConnectOptions,
    stores: &[PostgresStore; 2],
    make: impl Fn(PostgresStore, Arc<Time>) -> K,
) -> History
where
    K: Cache + Invalidate + 'static,
{
    let clock = Time::running();
    let caches = stores.clone().map(|store| Arc::new(make(store, Arc::clone(&clock))));
    let mut told = Vec::new();
    for cache in &caches {
        let of_cache = Told::new(Arc::clone(cache), Arc::clone(&clock));
        told.push((of_cache.heard(), hear(database, Arc::new(of_cache)).await));
    }
    let mut history = record(seed, length(), clock, caches).await;
    for (all, (heard, listening)) in history.heard.iter_mut().zip(told) {
        // On a busy machine an announcement can arrive long after the change.
        until("something is announced", || {
            heard.lock().iter().any(|(change, _)| *change != Change::Everything)
        })
        .await;
        listening.abort();
        all.append(&mut heard.lock());
    }
    history
}

/// Forwards the database's announcements. Returns when the listener is connected.
async fn hear<K>(database: &PgConnectOptions, told: Arc<Told<K>>) -> JoinHandle<()>
where
    K: Invalidate + 'static,
{
    let (listener, heard) = (ChangeListener::new(database.clone()), told.heard());
    let listening = tokio::spawn(async move {
        listener.run(told, tokio::time::sleep).await;
    });
    // The first announcement reports the connection.
    until("there is a connection", || !heard.lock().is_empty()).await;
    listening
}

/// Polls a condition, with a timeout far longer than any machine needs.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("timed out waiting until {what}");
}

fn cached<S: KeyStore>(store: S, clock: Arc<Time>) -> CachedStore<S, Arc<Time>> {
    CachedStore::with_config(store, clock, CacheConfig::new().with_staleness(STALENESS))
}

fn overlong<S: KeyStore>(store: S, clock: Arc<Time>) -> CachedStore<S, Arc<Time>> {
    CachedStore::with_config(store, clock, CacheConfig::new().with_staleness(STALENESS * 100))
}

fn naive<S>(mistake: Mistake) -> impl Fn(S, Arc<Time>) -> Naive<S, Time> {
    move |store, clock| Naive::new(store, clock, STALENESS, mistake)
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

fn length() -> Duration {
    Duration::from_millis(number("KEYWARD_HISTORY_MILLIS").unwrap_or(1_000))
}

fn seeds() -> std::ops::Range<u64> {
    let first = number("KEYWARD_SEED");
    let count = if first.is_some() { 1 } else { number("KEYWARD_SEQUENCES").unwrap_or(4) };
    let first = first.unwrap_or(1);
    first..first + count
}

/// Checks a history that must be correct.
fn is_right(what: &str, seed: u64, history: &History) -> Shown {
    let mut shown = history.check().unwrap_or_else(|wrong| {
        panic!("{what}, seed {seed}: {wrong}; KEYWARD_SEED={seed} makes the same choices")
    });
    shown.late.sort_unstable();
    shown.delays.sort_unstable();
    println!(
        "{what}, seed {seed}: {} refused, {} accepted, {} written, {} conflicts; {} passed after \
         a refusing change was acknowledged, at longest {:.1?} later; {} announced, median {:.1?}, \
         longest {:.1?}",
        shown.refused,
        shown.accepted,
        shown.written,
        shown.conflicts,
        shown.late.len(),
        shown.late.last().copied().unwrap_or_default(),
        shown.delays.len(),
        shown.delays.get(shown.delays.len() / 2).copied().unwrap_or_default(),
        shown.delays.last().copied().unwrap_or_default(),
    );
    assert!(shown.is_enough(), "{what}: {shown:?}");
    shown
}

/// The violation if a secret is accepted after the cache had to know the change that rejects it.
const PASSES: &str = "is accepted through cache";

/// The violation if two changes to one revision were both acknowledged.
const TWO_WINNERS: &str = "is acknowledged, expected";

/// Checks the history of a schedule with correct caches and stores.
fn passes(schedule: Schedule, history: &History) -> Shown {
    let shown = history.check().unwrap_or_else(|wrong| panic!("{schedule:?}: {wrong}"));
    // The schedule reached its critical situation.
    assert!(shown.refused > 0 && shown.accepted + shown.refused > 1, "{schedule:?}: {shown:?}");
    let lost = matches!(schedule, Schedule::OneRevision);
    assert_eq!(shown.conflicts, usize::from(lost), "{schedule:?}: {shown:?}");
    shown
}

fn is_found(what: &str, how: &str, history: &History) {
    let wrong = history.check().expect_err(what);
    assert!(wrong.contains(how), "{what} is detected by another violation: {wrong}");
}

/// Every schedule passes with correct parts, and the schedule for a mistake detects it.
async fn planted_mistakes_are_detected<S: Database>(stores: &[S; 2]) {
    let by_hand = Announcer::ByHand;
    for schedule in Schedule::ALL {
        let ours = play(schedule, stores, Fault::None, by_hand, cached).await;
        let simplest = play(schedule, stores, Fault::None, by_hand, naive(Mistake::None)).await;
        // Until the bound or an announcement, a cache keeps its entries.
        let held = matches!(schedule, Schedule::OldAnswers | Schedule::Announcements);
        for history in [ours, simplest] {
            let shown = passes(schedule, &history);
            assert_eq!(shown.late.len(), usize::from(held), "{schedule:?}: {shown:?}");
        }
    }
    for (mistake, schedule) in [
        (Mistake::NoInvalidationOnWrite, Schedule::OwnWrites),
        (Mistake::OneSecretForgotten, Schedule::OwnWrites),
        (Mistake::StalenessIgnored, Schedule::OldAnswers),
        (Mistake::AnnouncementsIgnored, Schedule::Announcements),
        (Mistake::NoGeneration, Schedule::OvertakenQueries),
        (Mistake::InvalidatesTooEarly, Schedule::OvertakenWrites),
        (Mistake::AgeFromTheAnswer, Schedule::SlowQueries),
        (Mistake::NoInvalidationWhenCancelled, Schedule::DroppedWrites),
    ] {
        let history = play(schedule, stores, Fault::None, by_hand, naive(mistake)).await;
        is_found(&format!("{mistake:?}"), PASSES, &history);
    }
    let history = play(Schedule::OldAnswers, stores, Fault::None, by_hand, overlong).await;
    is_found("a longer bound", PASSES, &history);
    for (fault, schedule, how) in [
        (Fault::StaleRevisionWins, Schedule::OneRevision, TWO_WINNERS),
        (Fault::Resurrects, Schedule::OwnWrites, PASSES),
    ] {
        let history = play(schedule, stores, fault, by_hand, cached).await;
        is_found(&format!("{fault:?}"), how, &history);
    }
}

/// Two pools on one file.
async fn sqlite_stores(dir: &TempDir) -> [SqliteStore; 2] {
    let open = || async {
        let pool = SqlitePoolOptions::new().max_connections(6);
        let pool = pool.connect_with(sqlite_options(dir)).await.unwrap();
        SqliteStore::new(pool)
    };
    let stores = [open().await, open().await];
    stores[0].migrate().await.unwrap();
    stores
}

async fn postgres_stores(test: &str) -> Option<(PgConnectOptions, [PostgresStore; 2])> {
    let database = fresh_database(test).await?;
    let stores = [connect(&database).await, connect(&database).await];
    stores[0].migrate().await.unwrap();
    Some((database, stores))
}

#[test]
fn sqlite_with_two_caches_matches_the_model_within_the_bound() {
    OnTokio.block_on(async {
        let dir = TempDir::new();
        let stores = sqlite_stores(&dir).await;
        for seed in seeds() {
            is_right("sqlite", seed, &deaf(seed, &stores, cached).await);
        }
        is_right("sqlite, naive", 1, &deaf(1, &stores, naive(Mistake::None)).await);
    });
}

#[test]
fn planted_mistakes_with_sqlite_are_detected() {
    OnTokio.block_on(async {
        let dir = TempDir::new();
        planted_mistakes_are_detected(&sqlite_stores(&dir).await).await;
    });
}

/// Two pools on one database.
async fn mysql_stores(test: &str) -> Option<[MySqlStore; 2]> {
    let database = mysql::fresh_database(test).await?;
    let stores = [mysql::connect(&database).await, mysql::connect(&database).await];
    stores[0].migrate().await.unwrap();
    Some(stores)
}

#[test]
fn mysql_with_two_caches_matches_the_model_within_the_bound() {
    OnTokio.block_on(async {
        let test = "mysql_with_two_caches_matches_the_model_within_the_bound";
        let Some(stores) = mysql_stores(test).await else { return };
        for seed in seeds() {
            is_right("mysql", seed, &deaf(seed, &stores, cached).await);
        }
        is_right("mysql, naive", 1, &deaf(1, &stores, naive(Mistake::None)).await);
    });
}

#[test]
fn planted_mistakes_with_mysql_are_detected() {
    OnTokio.block_on(async {
        let test = "planted_mistakes_with_mysql_are_detected";
        let Some(stores) = mysql_stores(test).await else { return };
        planted_mistakes_are_detected(&stores).await;
    });
}

#[test]
fn postgres_with_two_caches_matches_the_model_within_the_bound() {
    OnTokio.block_on(async {
        let test = "postgres_with_two_caches_matches_the_model_within_the_bound";
        let Some((database, stores)) = postgres_stores(test).await else { return };
        for seed in seeds() {
            let history = hearing(seed, &database, &stores, cached).await;
            let shown = is_right("postgres", seed, &history);
            assert!(!shown.delays.is_empty(), "no change was announced");
        }
        is_right("postgres, unheard", 1, &deaf(1, &stores, cached).await);
        let history = hearing(1, &database, &stores, naive(Mistake::None)).await;
        is_right("postgres, naive", 1, &history);
    });
}

#[test]
fn planted_mistakes_with_postgres_are_detected() {
    OnTokio.block_on(async {
        let test = "planted_mistakes_with_postgres_are_detected";
        let Some((database, stores)) = postgres_stores(test).await else { return };
        planted_mistakes_are_detected(&stores).await;
        // Announcements of the database itself are processed too.
        let by_database = Announcer::Database(&database);
        let schedule = Schedule::Announcements;
        let heeded = play(schedule, &stores, Fault::None, by_database, cached).await;
        passes(schedule, &heeded);
    });
}
