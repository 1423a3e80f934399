//! Neither sqlx's logs nor errors contain a key or its hash.

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::{
    error::Error,
    fmt::{Debug, Write as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use keyward::{
    Issuer, KeyDraft, KeyHasher, SysRng,
    store::{InsertError, KeyRegistry},
    testing::BlockOn as _,
};
use keyward_sqlx::{MigrateError, SqlStoreError};
use sqlx::SqlitePool;
use support::{FORMAT, NOW, OnTokio, TempDir, lookup, sqlite_store};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Records all log output, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for &Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        span.record(&mut &*self);
        Id::from_u64(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut &*self);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut &*self);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn neither_logs_nor_errors_contain_a_key_or_its_hash() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let dir = TempDir::new();
    OnTokio.block_on(async {
        let store = sqlite_store(&dir).await;
        let drop = "DROP TABLE keyward_usage; DROP TABLE keyward_secrets";
        used(&store, async || {
            sqlx::raw_sql(drop).execute(store.pool()).await.unwrap();
        })
        .await;
        // The file contains the hashes and no other part of a key.
        let mut written = std::fs::read(dir.file()).unwrap();
        written.extend(std::fs::read(dir.path().join("keys.db-wal")).unwrap());
        let written =
            |text: &str| written.windows(text.len()).any(|bytes| bytes == text.as_bytes());
        let shown = SHOWN.lock().unwrap().clone();
        assert!(written(&shown[2]) && !written(&shown[1]));
        if let Some(store) = postgres::postgres_store("secrets").await {
            used(&store, async || {
                sqlx::raw_sql(drop).execute(store.pool()).await.unwrap();
            })
            .await;
        }
        let gone = SqlitePool::connect_lazy("sqlite:/no/such/place.db").unwrap();
        let error = keyward_sqlx::SqliteStore::new(gone).migrate().await.unwrap_err();
        assert!(matches!(error, MigrateError::Store(_)), "{error:?}");
    });
    let log = log.0.lock().unwrap();
    assert!(log.contains("keyward_secrets"), "nothing is logged:\n{log}");
    let mut canaries = SHOWN.lock().unwrap();
    assert!(canaries.len() > 2);
    for canary in canaries.drain(..) {
        assert!(!log.contains(&canary), "{canary} is logged");
    }
}

/// The texts that must not appear.
static SHOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Performs every operation on a key, also without its tables.
async fn used(store: &impl KeyRegistry<Error = SqlStoreError>, spoil: impl AsyncFnOnce()) {
    let issuer = Issuer::new(store, FORMAT, KeyHasher::sha256());
    let draft = KeyDraft::new("owner".parse().unwrap(), "key".parse().unwrap());
    let issued = issuer.issue(FORMAT.kind(), draft, &mut SysRng, NOW).await.unwrap();
    let record = issued.record;
    let lookup = lookup(&issued.key);
    let hash = record.current().hash.to_string();
    let hex = hash.split_once(':').unwrap().1.to_owned();
    let canaries = [issued.key.expose().to_owned(), issued.key.expose()[4..].to_owned(), hex];
    SHOWN.lock().unwrap().extend(canaries.clone());
    store.find(&lookup).await.unwrap().unwrap();

    let mut parts = record.clone().into_parts();
    parts.id = keyward::key::KeyId::random(&mut SysRng).unwrap();
    let again = parts.build().unwrap();
    let refused = store.insert(again).await.unwrap_err();
    assert!(matches!(refused, InsertError::DuplicateSecret), "{refused:?}");
    let rotated =
        issuer.rotate(record.id(), keyward::key::Grace::DAY, &mut SysRng, NOW).await.unwrap();
    SHOWN.lock().unwrap().push(rotated.key.expose().to_owned());

    spoil().await;
    let errors: [Box<dyn Error>; 3] = [
        Box::new(store.find(&lookup).await.unwrap_err()),
        Box::new(store.replace(rotated.record.revoke(NOW).unwrap()).await.unwrap_err()),
        Box::new(
            issuer
                .rotate(record.id(), keyward::key::Grace::DAY, &mut SysRng, NOW)
                .await
                .unwrap_err(),
        ),
    ];
    for error in errors {
        let mut shown = format!("{error:?} {error}");
        let mut source = error.source();
        while let Some(inner) = source {
            write!(shown, " {inner:?} {inner}").unwrap();
            source = inner.source();
        }
        assert!(shown.contains("keyward_secrets"), "{shown}");
        for canary in &canaries {
            assert!(!shown.contains(canary), "{shown}");
        }
    }
}

struct NothingToForget;

impl keyward::store::Invalidate for NothingToForget {
    fn invalidate(&self, _: &keyward::store::Change) {}
}

/// A listener's connection options contain the password of the database.
#[test]
fn debug_output_of_a_listener_hides_the_password() {
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass().password("hunter2");
    let options = options.host("127.0.0.1").port(1);
    let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let listener = keyward_sqlx::ChangeListener::new(options);
    let listener = listener.with_report(move |report| {
        let _told = sender.send(format!("{report:?}"));
    });
    let shown = format!("{listener:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    OnTokio.block_on(async {
        let report = tokio::select! {
            _never = listener.run(NothingToForget, tokio::time::sleep) => None,
            report = reports.recv() => report,
        };
        let shown = report.unwrap();
        assert!(shown.starts_with("Failed") && !shown.contains("hunter2"), "{shown}");
    });
}
