//! What the migration of records adds, to tables with and without rows.

#[path = "support/mysql.rs"]
mod mysql;
#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::collections::BTreeSet;

use keyward::{
    key::{KeyRecord, Owner, OwnerId, OwnerState},
    store::{KeyRegistry, PageRequest, ReplaceError},
    testing::BlockOn as _,
};
use keyward_sqlx::{MySqlStore, PostgresStore, SqlStoreError, SqliteStore};
use postgres::{fresh_database, postgres_store};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use support::{NOW, OnTokio, TempDir, issue, rotate, sqlite_options, sqlite_store};

/// Rows as the version before wrote them: an owner, a key with two secrets, and a revoked key.
const OLD_ROWS: &str = "
INSERT INTO keyward_owners (id, tier, overrides) VALUES ('owner', 'enterprise', 'default=100/min');
INSERT INTO keyward_keys (id, owner, name, scopes, created_at, expires_at, state, state_since, revision)
VALUES ('11111111111111111111111111111111', 'owner', 'one', 'read:a', 5, 7000000000000, 'active', NULL, 7),
       ('22222222222222222222222222222222', 'owner', 'two', '', 6, NULL, 'revoked', 8, 9);
INSERT INTO keyward_secrets (hash, key_id, place, kind, hint, created_at, valid_until)
VALUES ('sha256:1111111111111111111111111111111111111111111111111111111111111111',
        '11111111111111111111111111111111', 0, 'lqt_', 'lqt_1', 6, NULL),
       ('sha256:2222222222222222222222222222222222222222222222222222222222222222',
        '11111111111111111111111111111111', 1, 'lqt_', NULL, 5, 6000000000000),
       ('sha256:3333333333333333333333333333333333333333333333333333333333333333',
        '22222222222222222222222222222222', 0, 'lqt_', NULL, 6, NULL);
UPDATE keyward_keys SET revision = 107 WHERE name = 'one';
UPDATE keyward_keys SET revision = 109 WHERE name = 'two';
";

trait Store: KeyRegistry<Error = SqlStoreError> {
    /// Runs statements as somebody at a console does.
    async fn try_by_hand(&self, sql: &str) -> Result<(), sqlx::Error>;

    async fn by_hand(&self, sql: &str) {
        self.try_by_hand(sql).await.unwrap();
    }
}

impl Store for SqliteStore {
    async fn try_by_hand(&self, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.pool()).await.map(drop)
    }
}

impl Store for MySqlStore {
    async fn try_by_hand(&self, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.pool()).await.map(drop)
    }
}

impl Store for PostgresStore {
    async fn try_by_hand(&self, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.pool()).await.map(drop)
    }
}

async fn records(store: &impl Store) -> Vec<KeyRecord> {
    let listed = store.list_all(PageRequest::first(9)).await.unwrap();
    listed.keys.iter().map(|it| it.record().clone()).collect()
}

/// Keys and owners of a database of the version before are as they were, and can be changed.
async fn keys_survived(store: impl Store) {
    let records = records(&store).await;
    let [one, two] = records.as_slice() else { panic!("{records:?}") };
    assert_ne!(one.nonce(), two.nonce(), "each key has a nonce of its own");
    for (record, name, revision) in [(one, "one", 107), (two, "two", 109)] {
        assert_eq!((record.name().as_str(), record.revision()), (name, revision));
        let parts = record.clone().into_parts();
        assert!(parts.networks.is_none() && parts.origins.is_none() && parts.metadata.is_none());
        assert!(parts.created_by.is_none() && parts.revocation_reason.is_none());
    }
    assert_eq!(one.retiring().len(), 1);
    let owner = store.owner(one.owner()).await.unwrap().unwrap();
    assert_eq!(owner.tier.as_ref().unwrap().as_str(), "enterprise");
    assert_eq!((owner.state, owner.key_cap, owner.overrides.len()), (OwnerState::Active, None, 1));
    let renamed = one.rename("renamed".parse().unwrap(), NOW).unwrap();
    store.replace(renamed.clone()).await.unwrap();
    let found = store.find_by_id(one.id()).await.unwrap().unwrap();
    assert_eq!(found.record(), &renamed);
}

/// A key that is inserted by hand gets a nonce and keeps the revision that was inserted. A key that
/// is deleted and inserted again by hand gets another nonce, so that a change which was decided
/// before is refused.
async fn keys_by_hand_get_a_nonce(store: impl Store) {
    let (record, _) = issue("owner", NOW);
    let (id, hash) = (record.id(), record.current().hash);
    let mut nonces = BTreeSet::new();
    for round in 0..5 {
        store
            .by_hand(&format!(
                "INSERT INTO keyward_keys (id, owner, name, created_at) VALUES ('{id}', 'o', 'n', 1);
                 INSERT INTO keyward_secrets (hash, key_id, kind, created_at)
                 VALUES ('{hash}', '{id}', 'lqt_', 1);
                 UPDATE keyward_keys SET revision = 20"
            ))
            .await;
        let read = store.find_by_id(id).await.unwrap().unwrap();
        assert_eq!(read.record().revision(), 20, "round {round}");
        assert!(nonces.insert(read.record().nonce().to_string()), "a nonce twice");
        let stale = read.record().rename("stale".parse().unwrap(), NOW).unwrap();
        store.by_hand("DELETE FROM keyward_secrets; DELETE FROM keyward_keys").await;
        let gone = store.replace(stale.clone()).await.unwrap_err();
        assert!(matches!(gone, ReplaceError::NotFound), "{gone:?}");
        // In the next round the id, the secret and the revision are the same.
        store
            .by_hand(&format!(
                "INSERT INTO keyward_keys (id, owner, name, created_at, revision)
                 VALUES ('{id}', 'victim', 'n', 1, 20)"
            ))
            .await;
        let refused = store.replace(stale).await.unwrap_err();
        assert!(matches!(refused, ReplaceError::NotFound), "a stale change landed: {refused:?}");
        store.by_hand("DELETE FROM keyward_keys").await;
    }
}

/// The column checks refuse by hand what makes no record.
async fn columns_are_checked(store: impl Store) {
    let (record, _) = issue("owner", NOW);
    store.insert(record.clone()).await.unwrap();
    store.put_owner(Owner::new(OwnerId::from_static("owner"))).await.unwrap();
    let long = format!("'{}'", "x".repeat(4097));
    for (table, set) in [
        ("keyward_keys", "nonce = 'short'"),
        ("keyward_keys", "nonce = '0123456789ABCDEF'"),
        ("keyward_keys", "networks = ''"),
        ("keyward_keys", "origins = ''"),
        ("keyward_keys", "metadata = ''"),
        ("keyward_keys", &format!("metadata = {long}")),
        ("keyward_keys", "created_by = ''"),
        ("keyward_keys", "revocation_reason = 'leaked'"),
        ("keyward_owners", "state = 'suspended'"),
        ("keyward_owners", "state = 'revoked', state_since = 5"),
        ("keyward_owners", "state_since = 5"),
        ("keyward_owners", "key_cap = -1"),
    ] {
        assert!(
            store.try_by_hand(&format!("UPDATE {table} SET {set}")).await.is_err(),
            "{set:.60}"
        );
    }
    store.by_hand("UPDATE keyward_owners SET state = 'suspended', state_since = 5").await;
    let state = store.owner(record.owner()).await.unwrap().unwrap().state;
    assert!(state.is_suspended(), "suspended by hand");
    store
        .by_hand(
            "UPDATE keyward_keys SET state = 'revoked', state_since = 5, revocation_reason = 'x'",
        )
        .await;
    let found = store.find_by_id(record.id()).await.unwrap().unwrap();
    assert_eq!(found.record().revocation_reason().unwrap().as_str(), "x");
    assert_eq!(found.record().revision(), 2, "raised by the trigger");
    let refused = store.replace(rotate(&record, NOW).0).await.unwrap_err();
    assert!(matches!(refused, ReplaceError::Conflict), "{refused:?}");
}

#[test]
fn an_older_sqlite_file_keeps_its_keys() {
    let dir = TempDir::new();
    OnTokio.block_on(async {
        let pool = SqlitePool::connect_with(sqlite_options(&dir)).await.unwrap();
        for sql in [
            "CREATE TABLE keyward_migrations (version INTEGER PRIMARY KEY,
               applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT",
            include_str!("../src/sqlite/0001_tables.sql"),
            "INSERT INTO keyward_migrations (version) VALUES (1)",
            OLD_ROWS,
        ] {
            sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        }
        let store = SqliteStore::new(pool);
        store.migrate().await.unwrap();
        keys_survived(store).await;
    });
}

#[test]
fn an_older_postgres_database_keeps_its_keys() {
    OnTokio.block_on(async {
        let Some(options) = fresh_database("an_older_postgres_database").await else { return };
        let pool = PgPool::connect_with(options).await.unwrap();
        for sql in [
            "CREATE TABLE keyward_migrations (version bigint PRIMARY KEY,
               applied_at timestamptz NOT NULL DEFAULT now())",
            include_str!("../src/postgres/0001_tables.sql"),
            include_str!("../src/postgres/0002_notify.sql"),
            "INSERT INTO keyward_migrations (version) VALUES (1), (2)",
            OLD_ROWS,
        ] {
            sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        }
        let store = PostgresStore::new(pool);
        store.migrate().await.unwrap();
        keys_survived(store).await;
    });
}

macro_rules! on_all {
    ($($check:ident),* $(,)?) => {
        mod on_sqlite {
            use super::*;
            $(#[test]
            fn $check() {
                let dir = TempDir::new();
                OnTokio.block_on(async { super::$check(sqlite_store(&dir).await).await });
            })*
        }

        mod on_mysql {
            use super::*;
            $(#[test]
            fn $check() {
                OnTokio.block_on(async {
                    let Some(store) = mysql::mysql_store(stringify!($check)).await else { return };
                    super::$check(store).await;
                });
            })*
        }

        mod on_postgres {
            use super::*;
            $(#[test]
            fn $check() {
                OnTokio.block_on(async {
                    let Some(store) = postgres_store(stringify!($check)).await else { return };
                    super::$check(store).await;
                });
            })*
        }
    };
}

on_all!(keys_by_hand_get_a_nonce, columns_are_checked);
