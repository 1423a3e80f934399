//! `kill -9` during rotations and revocations: of the writing process, and of the server.
//!
//! `KEYWARD_FAULT_ROUNDS` sets the number of rounds (default 8; CI 200). `KEYWARD_SEED` repeats the
//! kills of a run: the acknowledgement after which each happens, and the delay after it. Which
//! operation a kill interrupts depends on the machine.

#![allow(clippy::disallowed_methods, reason = "a kill happens some time after an acknowledgement")]

#[path = "support/mysql.rs"]
mod mysql;
#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use keyward::{
    Issuer, KeyDraft, KeyHasher, SysRng,
    issue::{Issued, IssuerError},
    key::{
        Grace, KeyFormats, KeyId, KeyMetadata, KeyState, OwnerId, OwnerState, Revocation,
        RevocationReason, Tier,
    },
    store::{KeyRegistry, PageRequest},
    testing::BlockOn as _,
    verify::{Verifier, VerifyError},
};
use keyward_sqlx::{MySqlStore, PostgresStore, SqlStoreError, SqliteStore};
use postgres::{Cluster, connect, not_run};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::{
    SqlitePool,
    mysql::MySqlPoolOptions,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use support::{FORMAT, NOW, OnTokio, TempDir, sqlite_store};

/// The number of concurrent changes to one key.
const AT_ONCE: u64 = 3;
/// What each key keeps, and why it is revoked.
const METADATA: &str = r#"{"of":"the fault tests"}"#;
const KILLED: RevocationReason = RevocationReason::from_static("about to be killed");

/// One acknowledged change.
#[derive(Clone, Debug)]
struct Acknowledged {
    revision: u64,
    /// The key's new plaintext, or `None` for a revocation.
    token: Option<String>,
}

/// Everything that was acknowledged.
#[derive(Default)]
struct Book {
    keys: BTreeMap<KeyId, Vec<Acknowledged>>,
    /// The owners that were suspended.
    suspended: BTreeSet<OwnerId>,
}

impl Book {
    fn append(&mut self, mut other: Self) {
        self.keys.append(&mut other.keys);
        self.suspended.append(&mut other.suspended);
    }
}

/// Records a line printed by [`work`], and returns whether it is an acknowledgement.
fn note(book: &mut Book, line: &str) -> bool {
    let mut words = line.trim_end().split(' ');
    match [words.next(), words.next(), words.next(), words.next()] {
        [Some("ack"), Some(id), Some(revision), Some(token)] => {
            let token = (token != "revoked").then(|| token.to_owned());
            let acknowledged = Acknowledged { revision: revision.parse().unwrap(), token };
            book.keys.entry(id.parse().unwrap()).or_default().push(acknowledged);
            true
        }
        [Some("suspended"), Some(owner), None, None] => {
            book.suspended.insert(owner.parse().unwrap());
            true
        }
        _ => false,
    }
}

/// Issues keys until an error occurs, each for an owner of its own that may have one key. Several
/// tasks rotate each key concurrently, three times, and finally one revokes it. Then one task suspends
/// the owner while others change its tier. Prints every acknowledgement, and returns the error.
async fn work(
    store: impl KeyRegistry<Error = SqlStoreError>,
    say: impl Fn(&str),
) -> IssuerError<SqlStoreError> {
    let issuer = Issuer::new(store, FORMAT, KeyHasher::sha256());
    let minted = |issued: &Issued| {
        let (id, revision) = (issued.record.id(), issued.record.revision());
        say(&format!("ack {id} {revision} {}", issued.key.expose()));
    };
    let rotate = async |id| match issuer.rotate(id, Grace::DAY, &mut SysRng, NOW).await {
        Ok(issued) => {
            minted(&issued);
            Ok(())
        }
        // Another task was first, or has revoked the key.
        Err(IssuerError::Conflict | IssuerError::Transition(_)) => Ok(()),
        Err(error) => Err(error),
    };
    let revoke = async |id| {
        issuer.revoke(id, Revocation::at(NOW).because(KILLED)).await?;
        let revision = issuer.get(id).await?.record().revision();
        say(&format!("ack {id} {revision} revoked"));
        Ok(())
    };
    let one_key = async || {
        let owner: OwnerId = KeyId::random(&mut SysRng).unwrap().to_string().parse().unwrap();
        issuer.set_key_cap(&owner, Some(1), NOW).await?;
        let issue = async || {
            let draft = KeyDraft::new(owner.clone(), "key".parse().unwrap());
            let draft = draft.with_metadata(METADATA.parse().unwrap());
            match issuer.issue(FORMAT.kind(), draft, &mut SysRng, NOW).await {
                Ok(issued) => {
                    minted(&issued);
                    Ok(Some(issued.record.id()))
                }
                // Another task was first.
                Err(IssuerError::TooManyKeys) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let (a, b, c) = tokio::join!(issue(), issue(), issue());
        let issued = [a?, b?, c?].into_iter().flatten().collect::<Vec<_>>();
        let [id] = issued.as_slice() else { panic!("{} keys, with a cap of 1", issued.len()) };
        let id = *id;
        for _ in 0..2 {
            let (a, b, c) = tokio::join!(rotate(id), rotate(id), rotate(id));
            a.and(b).and(c)?;
        }
        let (a, b, c) = tokio::join!(rotate(id), revoke(id), rotate(id));
        a.and(b).and(c)?;
        let read = issuer.registry().owner(&owner).await.map_err(IssuerError::Store)?;
        let stale = (*read.expect("an owner that was put")).clone();
        let tier = || Tier::from_static("higher");
        let (a, b, c) = tokio::join!(
            issuer.suspend_owner(&owner, NOW),
            issuer.set_tier(&owner, Some(tier()), NOW),
            issuer.registry().put_owner(stale.with_tier(tier())),
        );
        a.and(b).and(c.map_err(IssuerError::Store))?;
        say(&format!("suspended {owner}"));
        Ok(())
    };
    loop {
        if let Err(error) = one_key().await {
            return error;
        }
    }
}

/// Asserts that the store contains every acknowledged change of a key, and no impossible state.
async fn check(
    store: &impl KeyRegistry<Error = SqlStoreError>,
    id: KeyId,
    acknowledged: &[Acknowledged],
) {
    let context = || format!("{id}: {acknowledged:?}");
    let found = store.find_by_id(id).await.unwrap();
    let found = found.unwrap_or_else(|| panic!("an acknowledged key is lost: {}", context()));
    let record = found.record();
    // An unacknowledged change may have been made: one by each task.
    let last = acknowledged.iter().map(|one| one.revision).max().unwrap();
    let ahead = record.revision().checked_sub(last);
    assert!(ahead.is_some_and(|ahead| ahead <= AT_ONCE), "{ahead:?} ahead of {}", context());
    let revisions: BTreeSet<u64> = acknowledged.iter().map(|one| one.revision).collect();
    assert_eq!(revisions.len(), acknowledged.len(), "two successors: {}", context());
    let revoked = matches!(record.state(), KeyState::Revoked { .. });
    let told = acknowledged.iter().any(|one| one.token.is_none());
    assert!(revoked || !told, "an acknowledged revocation is lost: {}", context());
    // Each revision except the first one and the revocation is a rotation, which left its
    // predecessor in a grace period.
    let rotations = record.revision() - 1 - u64::from(revoked);
    assert_eq!(record.retiring().len() as u64, rotations, "{record:?} {}", context());
    assert_eq!(record.metadata().map(KeyMetadata::as_str), Some(METADATA), "{}", context());
    assert_eq!(record.revocation_reason(), revoked.then_some(&KILLED), "{}", context());
    let verifier = Verifier::new(KeyHasher::sha256());
    for token in acknowledged.iter().filter_map(|one| one.token.as_deref()) {
        let lookup = verifier.lookup(&KeyFormats::from(FORMAT).parse(token).unwrap());
        let found = store.find(&lookup).await.unwrap();
        let verified = verifier.verify(&lookup, found, NOW).map(|verified| verified.key_id());
        let expected = if revoked { Err(VerifyError::Revoked) } else { Ok(id) };
        assert_eq!(verified, expected, "{}", context());
    }
}

/// Checks each acknowledged change of keys and of owners.
async fn check_book(store: &impl KeyRegistry<Error = SqlStoreError>, book: &Book) {
    for (id, acknowledged) in &book.keys {
        check(store, *id, acknowledged).await;
    }
    for id in &book.suspended {
        let owner = store.owner(id).await.unwrap().expect("a suspended owner is lost");
        assert_eq!(owner.state, OwnerState::Suspended { since: NOW }, "{id} was resumed");
        assert_eq!(owner.key_cap, Some(1), "{id} has no cap any more");
    }
}

/// Asserts that all stored rows are valid keys, including unacknowledged ones, and that no owner has
/// more than its cap.
async fn check_all(store: &impl KeyRegistry<Error = SqlStoreError>, book: &Book) {
    check_book(store, book).await;
    let (mut page, mut keys) = (PageRequest::first(PageRequest::MAX_SIZE), 0);
    let mut owners = BTreeSet::new();
    loop {
        let listing = store.list_all(page).await.unwrap();
        keys += listing.keys.len();
        for found in &listing.keys {
            assert!(owners.insert(found.record().owner().clone()), "two keys, with a cap of 1");
        }
        let Some(next) = listing.next else { break };
        page = page.after(next);
    }
    let changes: usize = book.keys.values().map(Vec::len).sum();
    let revoked = book.keys.values().flatten().filter(|one| one.token.is_none()).count();
    let suspended = book.suspended.len();
    println!(
        "{keys} keys, {changes} acknowledged changes, {revoked} of them revocations, {suspended} \
         suspended owners"
    );
    assert!(revoked > 0 && suspended > 0 && keys >= book.keys.len());
}

fn seed() -> u64 {
    let given = std::env::var("KEYWARD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| rand::make_rng::<StdRng>().next_u64());
    println!("KEYWARD_SEED={seed}");
    seed
}

fn rounds() -> usize {
    let rounds = std::env::var("KEYWARD_FAULT_ROUNDS").ok().map(|rounds| rounds.parse().unwrap());
    rounds.unwrap_or(8)
}

/// Draws the acknowledgement after which a kill happens, and the delay after it.
fn blow(rng: &mut StdRng) -> (usize, Duration) {
    (rng.random_range(1..40), Duration::from_micros(rng.random_range(0..4_000)))
}

const WHERE: &str = "KEYWARD_FAULT_DATABASE";

/// The process that is killed. Only the tests below run it.
#[test]
#[ignore = "the child process that the other tests kill"]
fn worker() {
    let Ok(database) = std::env::var(WHERE) else { return };
    // Starts a new line after the harness's output.
    println!();
    let say = |line: &str| println!("{line}");
    OnTokio.block_on(async {
        let failed = match database.split_once(':') {
            Some(("sqlite", file)) => {
                let pool = SqlitePool::connect_with(SqliteStore::options(file)).await.unwrap();
                work(SqliteStore::new(pool), say).await
            }
            Some(("socket", rest)) => {
                let (dir, name) = rest.split_once(' ').unwrap();
                let options = PgConnectOptions::new_without_pgpass();
                let options = options.socket(dir).username("postgres").database(name);
                work(connect(&options).await, say).await
            }
            Some(("mysql", rest)) => {
                let (socket, name) = rest.split_once(' ').unwrap();
                let options = mysql::options(Path::new(socket)).database(name);
                work(mysql::connect(&options).await, say).await
            }
            _ => panic!("no such database"),
        };
        panic!("{failed:?}");
    });
}

/// Starts the worker and kills it. Returns its output.
fn kill_a_worker(database: &str, rng: &mut StdRng) -> Book {
    let mut book = Book::default();
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
        .env(WHERE, database)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(worker.stdout.take().unwrap());
    let (last, pause) = blow(rng);
    let (mut heard, mut line) = (0, String::new());
    while heard < last {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the worker exited by itself");
        heard += usize::from(note(&mut book, &line));
    }
    thread::sleep(pause);
    // SIGKILL, which the process cannot handle.
    worker.kill().unwrap();
    loop {
        line.clear();
        // The last line can be truncated: then the change counts as unacknowledged.
        if said.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        note(&mut book, &line);
    }
    worker.wait().unwrap();
    book
}

#[test]
fn sqlite_keeps_acknowledged_changes_after_its_process_is_killed() {
    let (dir, mut rng) = (TempDir::new(), StdRng::seed_from_u64(seed()));
    let mut book = Book::default();
    OnTokio.block_on(sqlite_store(&dir));
    let database = format!("sqlite:{}", dir.file().display());
    for _ in 0..rounds() {
        let told = kill_a_worker(&database, &mut rng);
        OnTokio.block_on(async {
            // Reopened, as after a restart.
            let store = sqlite_store(&dir).await;
            check_book(&store, &told).await;
            store.pool().close().await;
        });
        book.append(told);
    }
    OnTokio.block_on(async { check_all(&sqlite_store(&dir).await, &book).await });
}

#[test]
fn postgres_keeps_acknowledged_changes_after_its_client_is_killed() {
    let mut rng = StdRng::seed_from_u64(seed());
    let cluster = match Cluster::new() {
        Ok(cluster) => cluster,
        Err(reason) => {
            return not_run(
                "postgres_keeps_acknowledged_changes_after_its_client_is_killed",
                &reason,
            );
        }
    };
    cluster.start();
    let mut book = Book::default();
    let store = OnTokio.block_on(async {
        let store = connect(&cluster.options()).await;
        store.migrate().await.unwrap();
        store
    });
    let database = format!("socket:{} postgres", cluster.dir().display());
    for _ in 0..rounds() {
        let told = kill_a_worker(&database, &mut rng);
        OnTokio.block_on(check_book(&store, &told));
        book.append(told);
    }
    OnTokio.block_on(check_all(&store, &book));
}

#[test]
fn postgres_keeps_acknowledged_changes_after_its_server_is_killed() {
    let mut rng = StdRng::seed_from_u64(seed());
    let cluster = match Cluster::new() {
        Ok(cluster) => cluster,
        Err(reason) => {
            return not_run(
                "postgres_keeps_acknowledged_changes_after_its_server_is_killed",
                &reason,
            );
        }
    };
    cluster.start();
    let store = |acquire_timeout| {
        let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(acquire_timeout);
        PostgresStore::new(pool.connect_lazy_with(cluster.options()))
    };
    OnTokio.block_on(async { store(Duration::from_secs(20)).migrate().await.unwrap() });
    survives_kills_of_the_server(store, || cluster.kill(), || cluster.start(), &mut rng);
}

#[test]
fn mysql_keeps_acknowledged_changes_after_its_client_is_killed() {
    let test = "mysql_keeps_acknowledged_changes_after_its_client_is_killed";
    let mut rng = StdRng::seed_from_u64(seed());
    let cluster = match mysql::Cluster::new() {
        Ok(cluster) => cluster,
        Err(reason) => return mysql::not_run(test, &reason),
    };
    cluster.start();
    let mut book = Book::default();
    let store = OnTokio.block_on(async {
        cluster.create_database().await;
        let store = mysql::connect(&cluster.options()).await;
        store.migrate().await.unwrap();
        store
    });
    let database = format!("mysql:{} keyward", cluster.dir().join("socket").display());
    for _ in 0..rounds() {
        let told = kill_a_worker(&database, &mut rng);
        OnTokio.block_on(async {
            check_book(&store, &told).await;
        });
        book.append(told);
    }
    OnTokio.block_on(check_all(&store, &book));
}

#[test]
fn mysql_keeps_acknowledged_changes_after_its_server_is_killed() {
    let test = "mysql_keeps_acknowledged_changes_after_its_server_is_killed";
    let mut rng = StdRng::seed_from_u64(seed());
    let cluster = match mysql::Cluster::new() {
        Ok(cluster) => cluster,
        Err(reason) => return mysql::not_run(test, &reason),
    };
    cluster.start();
    let store = |acquire_timeout| {
        let pool = MySqlPoolOptions::new().max_connections(4).acquire_timeout(acquire_timeout);
        MySqlStore::new(pool.connect_lazy_with(cluster.options()))
    };
    OnTokio.block_on(async {
        cluster.create_database().await;
        store(Duration::from_secs(20)).migrate().await.unwrap();
    });
    survives_kills_of_the_server(store, || cluster.kill(), || cluster.start(), &mut rng);
}

/// Kills a server while a store works, and starts it again. The tables are there.
fn survives_kills_of_the_server<S: KeyRegistry<Error = SqlStoreError>>(
    store: impl Fn(Duration) -> S,
    kill: impl Fn() + Sync,
    start: impl Fn(),
    rng: &mut StdRng,
) {
    let mut book = Book::default();
    OnTokio.block_on(async {
        // Both pools survive all crashes. One has a short timeout, or each round would take as long
        // as it waits for a server.
        let (worker, checker) = (store(Duration::from_millis(200)), store(Duration::from_secs(20)));
        for round in 0..rounds() {
            let told = RefCell::new(Book::default());
            let ((last, pause), heard) = (blow(rng), Cell::new(0));
            thread::scope(|scope| {
                let say = |line: &str| {
                    assert!(note(&mut told.borrow_mut(), line));
                    heard.set(heard.get() + 1);
                    if heard.get() == last {
                        let kill = &kill;
                        scope.spawn(move || {
                            thread::sleep(pause);
                            kill();
                        });
                    }
                };
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(async {
                        loop {
                            let failed = work(&worker, &say).await;
                            assert!(
                                matches!(
                                    failed,
                                    IssuerError::Store(SqlStoreError::NoConnection(_))
                                ),
                                "round {round}: {failed:?}"
                            );
                            // Otherwise there was no connection at the start, and the task tries
                            // again.
                            if heard.get() >= last {
                                break;
                            }
                        }
                    });
                });
            });
            start();
            let told = told.into_inner();
            check_book(&checker, &told).await;
            book.append(told);
        }
        check_all(&checker, &book).await;
    });
}
