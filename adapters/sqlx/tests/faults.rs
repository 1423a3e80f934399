//! `kill -9` while keys are rotated and revoked: of the process that does it, and of the server.
//!
//! `KEYWARD_FAULT_ROUNDS` says how often, and `KEYWARD_SEED` repeats a run.

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use keyward::{
    Issuer, IssuerError, KeyDraft, KeyHasher, KeyId, KeyRegistry, KeyState, Page, SysRng,
    testing::BlockOn as _,
};
use keyward_sqlx::{PostgresStore, SqlStoreError, SqliteStore};
use postgres::{Cluster, connect, not_run};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::{SqlitePool, postgres::PgPoolOptions};
use support::{FORMAT, NOW, OnTokio, TempDir, sqlite_store};

const WHERE: &str = "KEYWARD_FAULT_DATABASE";

/// What was acknowledged of one key: its revision, and whether it was revoked.
#[derive(Clone, Copy, Debug, Default)]
struct Acknowledged {
    revision: u64,
    revoked: bool,
}

type Book = BTreeMap<KeyId, Acknowledged>;

fn note(book: &mut Book, line: &str) {
    let mut words = line.split(' ');
    let (Some("ack"), Some(id), Some(revision), Some(state)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return;
    };
    let acknowledged =
        Acknowledged { revision: revision.parse().unwrap(), revoked: state == "revoked" };
    book.insert(id.parse().unwrap(), acknowledged);
}

/// Issues keys, rotates each twice and revokes it, for ever, and says what was acknowledged.
async fn work(
    store: impl KeyRegistry<Error = SqlStoreError>,
    mut say: impl FnMut(String) -> bool,
) -> Option<IssuerError<SqlStoreError>> {
    let issuer = Issuer::new(store, FORMAT, KeyHasher::sha256());
    let draft = KeyDraft::new("owner".parse().unwrap(), "key".parse().unwrap());
    loop {
        let mut revision = 1;
        let id = match issuer.issue(FORMAT.kind(), draft.clone(), &mut SysRng, NOW).await {
            Ok(issued) => issued.record.id(),
            Err(error) => return Some(error),
        };
        if !say(format!("ack {id} {revision} active")) {
            return None;
        }
        for change in ["active", "active", "revoked"] {
            let done = match change {
                "active" => {
                    let grace = keyward::Grace::DAY;
                    issuer.rotate(id, grace, &mut SysRng, NOW).await.map(drop)
                }
                _ => issuer.revoke(id, NOW).await.map(drop),
            };
            if let Err(error) = done {
                return Some(error);
            }
            revision += 1;
            if !say(format!("ack {id} {revision} {change}")) {
                return None;
            }
        }
    }
}

/// Whether the database holds all that was acknowledged, and nothing that cannot be.
async fn check(store: &impl KeyRegistry<Error = SqlStoreError>, book: &Book) {
    for (id, acknowledged) in book {
        let found = store.get(*id).await.unwrap().expect("an acknowledged key is lost");
        let record = found.record();
        let ahead = record.revision().checked_sub(acknowledged.revision);
        // One change can have been made whose acknowledgement did not come through.
        assert!(matches!(ahead, Some(0 | 1)), "{acknowledged:?}: {record:?}");
        let revoked = matches!(record.state(), KeyState::Revoked { .. });
        assert!(revoked || !acknowledged.revoked, "an acknowledged revocation is lost");
        assert_eq!(revoked, record.revision() == 4, "{record:?}");
    }
    let mut page = Page::first(1_000);
    loop {
        let listing = store.list_all(page).await.unwrap();
        for found in &listing.keys {
            // Each rotation left one successor, and the ones before it in their grace.
            let rotations = record_rotations(found.record().revision());
            assert_eq!(found.record().retiring().len(), rotations, "{found:?}");
        }
        let Some(next) = listing.next else { break };
        page = page.after(next);
    }
}

fn record_rotations(revision: u64) -> usize {
    revision.min(3) as usize - 1
}

fn seed() -> u64 {
    let given = std::env::var("KEYWARD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| rand::make_rng::<StdRng>().next_u64());
    println!("KEYWARD_SEED={seed}");
    seed
}

fn rounds() -> usize {
    let rounds = std::env::var("KEYWARD_FAULT_ROUNDS").ok().map(|rounds| rounds.parse().unwrap());
    rounds.unwrap_or(10)
}

/// The process that is killed. Run by the tests below and by nobody else.
#[test]
#[ignore = "the part of the other tests that is killed"]
fn worker() {
    let Ok(database) = std::env::var(WHERE) else { return };
    let say = |line: String| {
        println!("{line}");
        true
    };
    OnTokio.block_on(async {
        let failed = match database.split_once(':') {
            Some(("sqlite", file)) => {
                let pool = SqlitePool::connect_with(SqliteStore::options(file)).await.unwrap();
                work(SqliteStore::new(pool), say).await
            }
            Some(("socket", rest)) => {
                let (dir, name) = rest.split_once(' ').unwrap();
                let options = sqlx::postgres::PgConnectOptions::new_without_pgpass();
                let options = options.socket(dir).username("postgres").database(name);
                work(connect(&options).await, say).await
            }
            _ => panic!("no such database"),
        };
        panic!("{failed:?}");
    });
}

/// Starts the worker and kills it after so many acknowledgements.
fn kill_a_worker(database: &str, after: usize, book: &mut Book) {
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
        .env(WHERE, database)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    let mut heard = 0;
    while heard < after {
        let line = lines.next().expect("the worker ended by itself").unwrap();
        heard += usize::from(line.starts_with("ack "));
        note(book, &line);
    }
    // SIGKILL, which nothing can prepare for.
    worker.kill().unwrap();
    for line in lines {
        // The last line can be cut short; a whole one was said before.
        let Ok(line) = line else { break };
        if line.split(' ').count() == 4 && (line.ends_with(" active") || line.ends_with(" revoked"))
        {
            note(book, &line);
        }
    }
    worker.wait().unwrap();
}

#[test]
fn sqlite_survives_its_process_being_killed() {
    let (dir, mut rng) = (TempDir::new(), StdRng::seed_from_u64(seed()));
    let mut book = Book::new();
    OnTokio.block_on(sqlite_store(&dir));
    let database = format!("sqlite:{}", dir.file().display());
    for _ in 0..rounds() {
        kill_a_worker(&database, rng.random_range(1..40), &mut book);
        OnTokio.block_on(async { check(&sqlite_store(&dir).await, &book).await });
    }
    println!("{} rounds, {} keys", rounds(), book.len());
}

#[test]
fn postgres_survives_its_client_being_killed() {
    let mut rng = StdRng::seed_from_u64(seed());
    let cluster = match Cluster::new() {
        Ok(cluster) => cluster,
        Err(reason) => return not_run("postgres_survives_its_client_being_killed", &reason),
    };
    cluster.start();
    let mut book = Book::new();
    let store = OnTokio.block_on(async {
        let store = connect(&cluster.options()).await;
        store.migrate().await.unwrap();
        store
    });
    let database = format!("socket:{} postgres", cluster.dir().display());
    for _ in 0..rounds() {
        kill_a_worker(&database, rng.random_range(1..40), &mut book);
        OnTokio.block_on(check(&store, &book));
    }
    println!("{} rounds, {} keys", rounds(), book.len());
}

#[test]
fn postgres_survives_its_server_being_killed() {
    let mut rng = StdRng::seed_from_u64(seed());
    let cluster = match Cluster::new() {
        Ok(cluster) => cluster,
        Err(reason) => return not_run("postgres_survives_its_server_being_killed", &reason),
    };
    cluster.start();
    let mut book = Book::new();
    OnTokio.block_on(async {
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(std::time::Duration::from_secs(2));
        let store = PostgresStore::new(pool.connect_with(cluster.options()).await.unwrap());
        store.migrate().await.unwrap();
        for round in 0..rounds() {
            let (mut said, last) = (0, rng.random_range(1..40));
            let failed = work(&store, |line| {
                note(&mut book, &line);
                said += 1;
                // Its children may answer a little longer.
                if said == last {
                    cluster.kill();
                }
                true
            });
            let failed = failed.await;
            assert!(
                matches!(failed, Some(IssuerError::Store(SqlStoreError::NoConnection(_)))),
                "round {round}: {failed:?}"
            );
            cluster.start_again();
            // The same pool, without a restart of ours.
            check(&store, &book).await;
        }
    });
    println!("{} rounds, {} keys", rounds(), book.len());
}
