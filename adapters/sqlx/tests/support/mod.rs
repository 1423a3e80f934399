//! Shared test support: a runtime, files, keys.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use keyward::{
    Access, Challenge, CredentialSource, Gate, KeyDraft, KeyFormat, KeyHasher, KeyStore,
    ManualClock, Outcome, SysRng, Timestamp,
    key::{Grace, KeyFormats, KeyId, KeyRecord, PlaintextKey, StoredSecret},
    request::PlainHead,
    store::Lookup,
    testing::BlockOn,
    verify::Verifier,
};
use keyward_sqlx::SqliteStore;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::runtime::Runtime;

/// Runs futures on one multi-threaded runtime for the whole test program.
pub(crate) struct OnTokio;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

impl BlockOn for OnTokio {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        RUNTIME.block_on(future)
    }
}

/// A directory that is removed when it is dropped.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keyward-sqlx-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("keys.db")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The options to open a directory's file. On a busy machine no connection times out while it waits
/// for a writer.
pub(crate) fn sqlite_options(dir: &TempDir) -> SqliteConnectOptions {
    SqliteStore::options(dir.file()).busy_timeout(Duration::from_secs(120))
}

/// A store in its own file, with several connections.
pub(crate) async fn sqlite_store(dir: &TempDir) -> SqliteStore {
    let pool = SqlitePoolOptions::new()
        .max_connections(8)
        .connect_with(sqlite_options(dir))
        .await
        .unwrap();
    let store = SqliteStore::new(pool);
    store.migrate().await.unwrap();
    store
}

pub(crate) const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

pub(crate) fn secret(at: Timestamp) -> (StoredSecret, PlaintextKey) {
    let key = FORMAT.mint(&mut SysRng).unwrap();
    (StoredSecret::of(&key, &KeyHasher::sha256(), at), key)
}

/// Issues a key of an owner with this creation time.
pub(crate) fn issue(owner: &str, at: Timestamp) -> (KeyRecord, PlaintextKey) {
    let (secret, key) = secret(at);
    let draft = KeyDraft::new(owner.parse().unwrap(), "key".parse().unwrap());
    (KeyRecord::issue(KeyId::random(&mut SysRng).unwrap(), draft, secret, at).unwrap(), key)
}

pub(crate) fn rotate(record: &KeyRecord, at: Timestamp) -> (KeyRecord, PlaintextKey) {
    let (secret, key) = secret(at);
    (record.rotate(secret, Grace::DAY, at).unwrap(), key)
}

/// Returns the status of a request with this key at a gate over this store; 200 means admitted.
pub(crate) async fn gate_status(store: &impl KeyStore, key: &PlaintextKey) -> u16 {
    let sources = CredentialSource::bearer();
    let gate = Gate::builder(FORMAT, Verifier::new(KeyHasher::sha256()), sources)
        .with_challenge(Challenge::bearer("test").unwrap())
        .build()
        .unwrap();
    let head = PlainHead::new().with_header("authorization", format!("Bearer {}", key.expose()));
    let route = gate.route(Access::any_key()).unwrap();
    match gate.check(&head, &route, store, &ManualClock::new(NOW)).await {
        Outcome::Refused(refusal) => refusal.status(),
        _ => 200,
    }
}

pub(crate) fn lookup(key: &PlaintextKey) -> Lookup {
    Verifier::new(KeyHasher::sha256())
        .lookup(&KeyFormats::from(FORMAT).parse(key.expose()).unwrap())
}
