//! Opening: the options, the tables, and several processes that open one database for the first time.

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Barrier,
    thread,
    time::Duration,
};

use keyward::{KeyStore as _, store::KeyRegistry as _, testing::BlockOn as _};
use keyward_sqlx::{MigrateError, PostgresStore, SqlStoreError, SqliteStore};
use postgres::{connect, fresh_database};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool,
    postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};
use support::{NOW, OnTokio, TempDir, gate_status, issue};
use tokio::runtime::Runtime;

/// Opens the file and inserts a key, as a service does when it starts.
async fn start(file: &Path) {
    let store = SqliteStore::open(file).await.unwrap();
    let (record, key) = issue("owner", NOW);
    store.insert(record).await.unwrap();
    assert_eq!(gate_status(&store, &key).await, 200);
    store.pool().close().await;
}

async fn keys(file: &Path) -> i64 {
    let store = SqliteStore::open(file).await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM keyward_keys");
    count.fetch_one(store.pool()).await.unwrap()
}

const FILE: &str = "KEYWARD_OPEN_FILE";

/// A process of the test below, which starts when its standard input ends.
#[test]
#[ignore = "the child process of another test"]
fn a_process_that_starts() {
    let file = std::env::var_os(FILE).expect("only the test below runs this");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    OnTokio.block_on(start(Path::new(&file)));
}

#[test]
fn processes_that_first_open_one_file_at_the_same_time_all_succeed() {
    const PROCESSES: usize = 8;
    for _ in 0..3 {
        let dir = TempDir::new();
        let mut children: Vec<_> = (0..PROCESSES)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "a_process_that_starts", "--ignored", "--nocapture"])
                    .env(FILE, dir.file())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        // All wait for this, whatever it took to start them.
        children.iter_mut().for_each(|child| drop(child.stdin.take()));
        for mut child in children {
            assert!(child.wait().unwrap().success(), "a process did not open the file");
        }
        assert_eq!(OnTokio.block_on(keys(&dir.file())), PROCESSES as i64);
    }
}

#[test]
fn pools_that_first_open_one_file_at_the_same_time_all_succeed() {
    const POOLS: usize = 8;
    for _ in 0..10 {
        let (dir, barrier) = (TempDir::new(), Barrier::new(POOLS));
        let file = dir.file();
        thread::scope(|scope| {
            for _ in 0..POOLS {
                scope.spawn(|| {
                    let runtime = Runtime::new().unwrap();
                    barrier.wait();
                    runtime.block_on(start(&file));
                });
            }
        });
        assert_eq!(OnTokio.block_on(keys(&file)), POOLS as i64);
    }
}

async fn connection(file: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file).create_if_missing(true).connect().await.unwrap()
}

/// A new file is in use by another connection, which is what several processes are to each other.
#[test]
fn opening_waits_for_others_where_the_options_alone_are_refused() {
    let dir = TempDir::new();
    OnTokio.block_on(async {
        let mut host = connection(&dir.file()).await;
        sqlx::raw_sql("CREATE TABLE host (a); INSERT INTO host VALUES (7)")
            .execute(&mut host)
            .await
            .unwrap();
        let mut reading = host.begin().await.unwrap();
        let _seven: i64 =
            sqlx::query_scalar("SELECT a FROM host").fetch_one(&mut *reading).await.unwrap();
        // The control: at once, although the options have a busy timeout.
        let refused = SqlitePool::connect_with(SqliteStore::options(dir.file())).await.unwrap_err();
        let refused = SqlStoreError::from(refused);
        assert!(matches!(refused, SqlStoreError::TimedOut(_)), "{refused:?}");

        let opening = tokio::spawn(SqliteStore::open(dir.file()));
        // However long this is, opening succeeds.
        #[allow(clippy::disallowed_methods, reason = "so that opening usually meets the lock")]
        tokio::time::sleep(Duration::from_millis(250)).await;
        reading.rollback().await.unwrap();
        let store = opening.await.unwrap().unwrap();
        assert!(store.find_by_id(issue("owner", NOW).0.id()).await.unwrap().is_none());
        let seven: i64 =
            sqlx::query_scalar("SELECT a FROM host").fetch_one(store.pool()).await.unwrap();
        assert_eq!(seven, 7, "the host's table");
    });
}

#[test]
fn an_opened_file_has_the_recommended_options_and_opens_again() {
    let dir = TempDir::new();
    OnTokio.block_on(async {
        for _ in 0..2 {
            let first = SqliteStore::open(dir.file()).await.unwrap();
            // Another opens it while the first is in use.
            let store = SqliteStore::open(dir.file()).await.unwrap();
            let mode: String =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(store.pool()).await.unwrap();
            assert_eq!(mode, "wal");
            for (pragma, expected) in [
                ("PRAGMA synchronous", 2),
                ("PRAGMA busy_timeout", 5_000),
                ("PRAGMA foreign_keys", 1),
            ] {
                let value: i64 = sqlx::query_scalar(pragma).fetch_one(store.pool()).await.unwrap();
                assert_eq!(value, expected, "{pragma}");
            }
            let locking: String =
                sqlx::query_scalar("PRAGMA locking_mode").fetch_one(store.pool()).await.unwrap();
            assert_eq!(locking, "normal");
            first.pool().close().await;
            store.pool().close().await;
        }
    });
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_once() {
    let dir = TempDir::new();
    OnTokio.block_on(async {
        let missing = dir.path().join("no directory").join("keys.db");
        let refused = SqliteStore::open(missing).await.unwrap_err();
        assert!(matches!(refused, MigrateError::Store(SqlStoreError::Refused(_))), "{refused:?}");
        let store = SqliteStore::open(dir.file()).await.unwrap();
        let newer = "INSERT INTO keyward_migrations (version) VALUES (1000)";
        sqlx::raw_sql(newer).execute(store.pool()).await.unwrap();
        let refused = SqliteStore::open(dir.file()).await.unwrap_err();
        assert!(matches!(refused, MigrateError::Newer { found: 1_000, .. }), "{refused:?}");
    });
}

/// Returns a URL that names the same database.
fn url(options: &PgConnectOptions) -> String {
    options.to_url_lossy().to_string()
}

#[test]
fn processes_that_first_connect_to_one_database_at_the_same_time_all_succeed() {
    OnTokio.block_on(async {
        let Some(options) = fresh_database("processes_that_first_connect_to_one_database").await
        else {
            return;
        };
        let url = url(&options);
        let connecting: Vec<_> = (0..6)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move { PostgresStore::connect(&url).await })
            })
            .collect();
        for store in connecting {
            let store = store.await.unwrap().unwrap();
            let (record, key) = issue("owner", NOW);
            store.insert(record).await.unwrap();
            assert_eq!(gate_status(&store, &key).await, 200);
        }
    });
}

#[test]
fn a_connected_store_commits_durably_whatever_the_database_has() {
    OnTokio.block_on(async {
        let Some(options) = fresh_database("a_connected_store_commits_durably").await else {
            return;
        };
        let shown = async |store: &PostgresStore| -> String {
            let shown = sqlx::query_scalar("SHOW synchronous_commit");
            shown.fetch_one(store.pool()).await.unwrap()
        };
        for (set, expected) in [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")]
        {
            let database = options.get_database().unwrap();
            let alter = format!("ALTER DATABASE {database} SET synchronous_commit = {set}");
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            let store = PostgresStore::connect(&url(&options)).await.unwrap();
            assert_eq!(shown(&store).await, expected);
            // The control: a pool of the host has what the database has.
            assert_eq!(shown(&connect(&options).await).await, set);
        }
    });
}

#[test]
fn a_url_that_cannot_be_used_is_an_error_without_its_password() {
    OnTokio.block_on(async {
        for url in ["postgres://user:hunter2@[/keys", "hunter2", "mysql://user:hunter2@h/d"] {
            let refused = PostgresStore::connect(url).await.unwrap_err();
            let MigrateError::Store(SqlStoreError::NoConnection(_)) = refused else {
                panic!("{refused:?}")
            };
            assert!(!format!("{refused:?} {refused}").contains("hunter2"), "{refused:?}");
        }
    });
}
