//! `SqliteStore` beyond the conformance suite: other processes, usage, corrupt rows, migrations,
//! plans.

#[path = "support/checks.rs"]
mod checks;
#[path = "support/damage.rs"]
mod damage;
mod support;

use std::time::Duration;

use checks::SqlStore;
use keyward::{KeyStore as _, store::KeyRegistry as _, testing::BlockOn as _, usage::UsageSpan};
use keyward_sqlx::{MigrateError, RowReport, SqlStoreError, SqliteStore};
use sqlx::{
    AssertSqlSafe, Connection as _, Row as _, SqlitePool, migrate::Migrator,
    sqlite::SqlitePoolOptions,
};
use support::{NOW, OnTokio, TempDir, gate_status, issue, lookup, sqlite_options, sqlite_store};

impl SqlStore for SqliteStore {
    async fn tamper(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let mut connection = self.pool().acquire().await?.detach();
        for pragma in ["PRAGMA ignore_check_constraints = 1", "PRAGMA foreign_keys = 0"] {
            sqlx::raw_sql(pragma).execute(&mut connection).await?;
        }
        let sql = sql.replace("char10", "char(10)");
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?.rows_affected();
        connection.close().await?;
        Ok(done)
    }

    async fn by_hand(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(self.pool()).await.unwrap();
    }

    async fn at_a_console(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self.pool()).await?;
        Ok(done.rows_affected())
    }

    async fn dump(&self, table: &str) -> Vec<String> {
        let columns = format!(
            "SELECT group_concat('quote(' || name || ')', '||'',''||')
             FROM pragma_table_info('{table}')"
        );
        let columns: String =
            sqlx::query_scalar(AssertSqlSafe(columns)).fetch_one(self.pool()).await.unwrap();
        let rows = format!("SELECT {columns} FROM {table} ORDER BY 1");
        sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(self.pool()).await.unwrap()
    }

    async fn migrate(&self) -> Result<(), MigrateError> {
        self.migrate().await
    }

    async fn check_rows(&self) -> Result<RowReport, SqlStoreError> {
        self.check_rows().await
    }
}

macro_rules! on_one_store {
    ($checks:ident: $($check:ident),* $(,)?) => {$(
        #[test]
        fn $check() {
            let dir = TempDir::new();
            OnTokio.block_on(async { $checks::$check(sqlite_store(&dir).await).await });
        }
    )*};
}

on_one_store!(
    checks: pages_are_stable,
    usage_is_monotonic,
    purging_removes_keys_and_usage,
    corrupt_entries_hide_no_others,
    corrupt_rows_return_errors_with_key_and_column,
    contradictory_rows_are_rejected,
    adversarial_text_round_trips,
);

on_one_store!(
    damage: damaged_rows_hide_no_other_key,
    damaged_rows_are_revoked_and_purged,
    damaged_owners_hide_no_other_owner,
    all_damaged_rows_are_reported,
    tables_refuse_what_no_type_accepts,
);

#[test]
fn exactly_one_concurrent_rotation_succeeds() {
    let dir = TempDir::new();
    OnTokio.block_on(async {
        let mut stores = Vec::new();
        for _ in 0..6 {
            stores.push(sqlite_store(&dir).await);
        }
        checks::exactly_one_concurrent_rotation_succeeds(stores).await;
    });
}

#[test]
fn migrations_are_repeatable_and_concurrent() {
    let dir = TempDir::new();
    OnTokio.block_on(async {
        let mut stores = Vec::new();
        for _ in 0..6 {
            let options = sqlite_options(&dir);
            stores.push(SqliteStore::new(SqlitePool::connect_with(options).await.unwrap()));
        }
        checks::migrations_are_repeatable_and_concurrent(stores).await;
    });
}

#[test]
fn migrations_of_the_host_are_untouched() {
    let (dir, migrations) = (TempDir::new(), TempDir::new());
    std::fs::write(migrations.path().join("1_host.sql"), "CREATE TABLE host (a TEXT);").unwrap();
    OnTokio.block_on(async {
        let store = sqlite_store(&dir).await;
        let host = Migrator::new(migrations.path()).await.unwrap();
        host.run(store.pool()).await.unwrap();
        let before = store.dump("_sqlx_migrations").await;
        assert_eq!(before.len(), 1);
        store.migrate().await.unwrap();
        assert_eq!(store.dump("_sqlx_migrations").await, before);
        // The host's own check of its migrations finds no unknown migration.
        host.run(store.pool()).await.unwrap();
        assert_eq!(store.dump("keyward_migrations").await.len(), 4);
    });
}

#[test]
fn lookups_and_listings_use_their_indexes() {
    let dir = TempDir::new();
    OnTokio.block_on(async {
        let store = sqlite_store(&dir).await;
        let plan = async |sql: &str| {
            let explain = format!("EXPLAIN QUERY PLAN {sql}");
            let rows = sqlx::query(AssertSqlSafe(explain)).fetch_all(store.pool()).await.unwrap();
            rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>()
        };
        let find = plan(SqliteStore::FIND_SQL).await;
        assert!(find.iter().any(|step| step.starts_with("SEARCH f USING PRIMARY KEY (hash=?)")));
        assert!(find.iter().all(|step| step.starts_with("SEARCH")), "{find:?}");
        let list = plan(SqliteStore::LIST_SQL).await;
        let by = "SEARCH keyward_keys USING INDEX keyward_keys_by_owner (owner=? AND (created_at,id)>(?,?))";
        assert!(list.iter().any(|step| step == by), "{list:?}");
        assert!(!list.iter().any(|step| step.contains("SCAN keyward")), "{list:?}");
        let cap = plan(SqliteStore::CAP_SQL).await;
        for range in ["(owner=? AND ends_at=?)", "(owner=? AND ends_at>?)"] {
            let by = format!("INDEX keyward_keys_by_owner_and_end {range}");
            assert!(cap.iter().any(|step| step.ends_with(&by)), "{cap:?}");
        }
        for sql in SqliteStore::AUDIT_SQL {
            let page = plan(sql).await;
            assert!(page.iter().all(|step| step.starts_with("SEARCH keyward_audit")), "{page:?}");
            assert!(page.iter().all(|step| step.ends_with("at>? AND at<?)")), "{page:?}");
        }
        // The plan of a lookup without an index, as a control.
        let control = plan("SELECT 1 FROM keyward_secrets WHERE hint = ?1").await;
        assert!(control.iter().any(|step| step.starts_with("SCAN")), "{control:?}");
    });
}

#[test]
fn a_locked_file_and_an_exhausted_pool_return_different_errors_and_are_recoverable() {
    let dir = TempDir::new();
    OnTokio.block_on(async {
        let others = sqlite_store(&dir).await;
        // Each pool times out early for one reason only, so that a busy machine adds no other.
        let options = SqliteStore::options(dir.file()).busy_timeout(Duration::from_millis(50));
        let pool = SqlitePoolOptions::new().max_connections(1);
        let store = SqliteStore::new(pool.connect_with(options).await.unwrap());
        let (record, key) = issue("owner", NOW);
        let writer = others.pool().begin_with("BEGIN IMMEDIATE").await.unwrap();
        let error = store.insert(record.clone()).await.unwrap_err();
        let keyward::store::InsertError::Store(SqlStoreError::TimedOut(_)) = error else {
            panic!("{error:?}")
        };
        // Readers do not wait for a writer.
        assert!(store.find(&lookup(&key)).await.unwrap().is_none());
        writer.rollback().await.unwrap();
        store.insert(record).await.unwrap();

        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_millis(50))
            .connect_lazy_with(sqlite_options(&dir));
        let only = loop {
            let Ok(only) = pool.acquire().await else { continue };
            break only;
        };
        let exhausted = SqliteStore::new(pool);
        let error = exhausted.find(&lookup(&key)).await.unwrap_err();
        assert!(matches!(error, SqlStoreError::NoConnection(_)), "{error:?}");
        assert_eq!(gate_status(&exhausted, &key).await, 503);
        drop(only);
        // On a busy machine several attempts may be needed to get a connection within the timeout.
        let mut found = exhausted.find(&lookup(&key)).await;
        for _ in 0..1_000 {
            if found.is_ok() {
                break;
            }
            found = exhausted.find(&lookup(&key)).await;
        }
        assert!(found.unwrap().is_some());
        assert!(store.find(&lookup(&key)).await.unwrap().is_some());
        assert_eq!(gate_status(&store, &key).await, 200);
    });
}

macro_rules! on_a_store_with_buckets {
    ($($check:ident),* $(,)?) => {$(
        #[test]
        fn $check() {
            let dir = TempDir::new();
            OnTokio.block_on(async {
                let store = sqlite_store(&dir).await.with_usage_by(UsageSpan::ALL);
                checks::$check(store).await;
            });
        }
    )*};
}

on_a_store_with_buckets!(usage_is_kept_by_spans_of_time, concurrent_savers_of_buckets_add_up);

macro_rules! on_a_file {
    ($($check:ident),* $(,)?) => {$(
        #[test]
        fn $check() {
            let dir = TempDir::new();
            OnTokio.block_on(async { checks::$check(sqlite_store(&dir).await).await });
        }
    )*};
}

on_a_file!(
    a_damaged_key_can_be_revoked,
    changes_by_hand_are_not_undone,
    a_rehash_does_not_undo_a_revocation_by_hand,
    own_changes_are_raised_once,
);

/// Triggers that fire others, and statements that replace a row, which other tools use.
#[test]
fn changes_by_hand_with_other_settings_raise_the_revision() {
    let dir = TempDir::new();
    OnTokio.block_on(async {
        let store = sqlite_store(&dir).await;
        let (record, _) = issue("owner", NOW);
        store.insert(record.clone()).await.unwrap();
        let mut console = store.pool().acquire().await.unwrap().detach();
        for (setting, by_hand) in [
            ("recursive_triggers = ON", "UPDATE keyward_keys SET expires_at = 5000000000000"),
            ("recursive_triggers = ON", "UPDATE keyward_secrets SET hint = NULL"),
            (
                "recursive_triggers = OFF",
                "INSERT OR REPLACE INTO keyward_secrets (hash, key_id, kind, created_at)
                 SELECT hash, key_id, kind, created_at FROM keyward_secrets",
            ),
            ("foreign_keys = OFF", "UPDATE keyward_keys SET scopes = 'read'"),
        ] {
            let before = store.find_by_id(record.id()).await.unwrap().unwrap();
            sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA {setting}")))
                .execute(&mut console)
                .await
                .unwrap();
            sqlx::raw_sql(by_hand).execute(&mut console).await.unwrap();
            let stale = before.record().rename("stale".parse().unwrap(), NOW).unwrap();
            let refused = store.replace(stale).await;
            let conflict = matches!(refused, Err(keyward::store::ReplaceError::Conflict));
            assert!(conflict, "{setting}, {by_hand}: {refused:?}");
        }
        console.close().await.unwrap();
    });
}
