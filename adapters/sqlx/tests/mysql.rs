//! `MySqlStore` beyond the conformance suite: other processes, usage, damaged rows, migrations,
//! plans.

#[path = "support/checks.rs"]
mod checks;
#[path = "support/damage.rs"]
mod damage;
#[path = "support/mysql.rs"]
mod mysql;
mod support;

use std::{
    collections::BTreeSet,
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use checks::SqlStore;
use keyward::{
    KeyStore as _, Timestamp,
    audit::{ActionName, AuditEntry, AuditStore as _},
    key::{KeyId, Owner, OwnerId, Tier},
    store::{KeyRegistry as _, OwnerRemoval, ReplaceError, Withdrawn},
    testing::BlockOn as _,
    usage::{Usage, UsageBatch, UsageSpan},
};
use keyward_sqlx::{MigrateError, MySqlStore, RowReport, SqlStoreError};
use mysql::{Cluster, connect, fresh_database, mysql_store, not_run};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, migrate::Migrator, mysql::MySqlPoolOptions};
use support::{NOW, OnTokio, TempDir, gate_status, issue, lookup};
use tokio::task::JoinHandle;

impl SqlStore for MySqlStore {
    /// A `VARCHAR` holds no more.
    const LONGEST: usize = 255;

    async fn tamper(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let mut connection = self.pool().acquire().await?.detach();
        let off = match is_mariadb(self).await {
            true => "SET foreign_key_checks = 0, check_constraint_checks = 0",
            false => "SET foreign_key_checks = 0",
        };
        sqlx::raw_sql(off).execute(&mut connection).await?;
        if !is_mariadb(self).await {
            let checks = "SELECT CONCAT('ALTER TABLE ', table_name, ' ALTER CHECK ', constraint_name,
                 ' NOT ENFORCED') FROM information_schema.table_constraints
                 WHERE table_schema = DATABASE() AND constraint_type = 'CHECK' AND enforced = 'YES'";
            let checks: Vec<String> = sqlx::query_scalar(checks).fetch_all(&mut connection).await?;
            for check in checks {
                sqlx::raw_sql(AssertSqlSafe(check)).execute(&mut connection).await?;
            }
        }
        let sql = sql.replace("char10", "CHAR(10 USING utf8mb4)");
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
        let columns = "SELECT GROUP_CONCAT('QUOTE(`', column_name, '`)')
             FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?";
        let columns: String =
            sqlx::query_scalar(columns).bind(table).fetch_one(self.pool()).await.unwrap();
        let rows = format!("SELECT CONCAT_WS(' ', {columns}) FROM {table} ORDER BY 1");
        // With a column of bytes, the whole row is one of bytes.
        let rows = sqlx::query_scalar::<_, Vec<u8>>(AssertSqlSafe(rows));
        let rows = rows.fetch_all(self.pool()).await.unwrap();
        rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect()
    }

    async fn migrate(&self) -> Result<(), MigrateError> {
        self.migrate().await
    }

    async fn check_rows(&self) -> Result<RowReport, SqlStoreError> {
        self.check_rows().await
    }
}

async fn is_mariadb(store: &MySqlStore) -> bool {
    let version = sqlx::query_scalar::<_, String>("SELECT VERSION()");
    version.fetch_one(store.pool()).await.unwrap().contains("MariaDB")
}

macro_rules! on_one_store {
    ($checks:ident: $($check:ident),* $(,)?) => {$(
        #[test]
        fn $check() {
            OnTokio.block_on(async {
                let Some(store) = mysql_store(stringify!($check)).await else { return };
                $checks::$check(store).await;
            });
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
    a_damaged_key_can_be_revoked,
    changes_by_hand_are_not_undone,
    a_rehash_does_not_undo_a_revocation_by_hand,
    own_changes_are_raised_once,
);

on_one_store!(
    damage: damaged_rows_hide_no_other_key,
    damaged_rows_are_revoked_and_purged,
    damaged_owners_hide_no_other_owner,
    all_damaged_rows_are_reported,
    tables_refuse_what_no_type_accepts,
);

macro_rules! on_a_store_with_buckets {
    ($($check:ident),* $(,)?) => {$(
        #[test]
        fn $check() {
            OnTokio.block_on(async {
                let Some(store) = mysql_store(stringify!($check)).await else { return };
                checks::$check(store.with_usage_by(UsageSpan::ALL)).await;
            });
        }
    )*};
}

on_a_store_with_buckets!(usage_is_kept_by_spans_of_time, concurrent_savers_of_buckets_add_up);

#[test]
fn exactly_one_concurrent_rotation_succeeds() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("exactly_one_concurrent_rotation_succeeds").await
        else {
            return;
        };
        let mut stores = Vec::new();
        for _ in 0..6 {
            stores.push(connect(&database).await);
        }
        stores[0].migrate().await.unwrap();
        checks::exactly_one_concurrent_rotation_succeeds(stores).await;
    });
}

/// A store on a server of its own, whose count of waiting transactions nobody else changes.
async fn store_alone(test: &str) -> Option<(Cluster, MySqlStore)> {
    let cluster = match Cluster::new() {
        Ok(cluster) => cluster,
        Err(reason) => {
            not_run(test, &reason);
            return None;
        }
    };
    cluster.start();
    cluster.create_database().await;
    let store = connect(&cluster.options()).await;
    store.migrate().await.unwrap();
    Some((cluster, store))
}

/// Waits until as many transactions of the server wait for a lock. Fails if the task that should wait
/// ends before.
async fn until_blocked<T>(store: &MySqlStore, transactions: u64, waiting: &JoinHandle<T>) {
    let blocked = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
    loop {
        let row = sqlx::raw_sql(blocked).fetch_one(store.pool()).await.unwrap();
        if row.get::<String, _>(1).parse::<u64>().unwrap() >= transactions {
            return;
        }
        assert!(!waiting.is_finished(), "the task did not wait for a lock");
        tokio::task::yield_now().await;
    }
}

/// A revocation and a suspension wait for a writer and then change what it left.
#[test]
fn a_withdrawal_waits_for_a_writer_and_wins() {
    OnTokio.block_on(async {
        let test = "a_withdrawal_waits_for_a_writer_and_wins";
        let Some((_cluster, store)) = store_alone(test).await else { return };
        for suspend in [true, false] {
            let (record, key) = issue("owner", NOW);
            let id = record.id();
            store.insert(record).await.unwrap();
            let mut writer = store.pool().begin().await.unwrap();
            let rename = "UPDATE keyward_keys SET name = 'renamed', revision = 2";
            sqlx::raw_sql(rename).execute(&mut *writer).await.unwrap();
            let withdrawing = store.clone();
            let withdrawing = tokio::spawn(async move {
                match suspend {
                    true => withdrawing.suspend(id, None, NOW).await,
                    false => withdrawing.revoke(id, None, NOW.into()).await,
                }
            });
            until_blocked(&store, 1, &withdrawing).await;
            writer.commit().await.unwrap();
            assert_eq!(withdrawing.await.unwrap().unwrap(), Some(Withdrawn::Now));
            let found = store.find_by_id(id).await.unwrap().unwrap();
            assert_eq!(found.record().name().as_str(), "renamed");
            assert_eq!(found.record().revision(), 3);
            assert_ne!(gate_status(&store, &key).await, 200);
            store.revoke(id, None, NOW.into()).await.unwrap();
            store.purge(Timestamp::MAX, 9).await.unwrap();
        }
    });
}

/// A key that is inserted while all keys of its owner are being revoked, or while the owner is being
/// removed, is inserted after that.
#[test]
fn an_insert_waits_for_a_change_of_all_keys() {
    OnTokio.block_on(async {
        let test = "an_insert_waits_for_a_change_of_all_keys";
        let Some((_cluster, store)) = store_alone(test).await else { return };
        let (first, first_key) = issue("owner", NOW);
        let owner = first.owner().clone();
        store.insert(first.clone()).await.unwrap();
        store.put_owner(Owner::new(owner.clone())).await.unwrap();
        for remove in [false, true] {
            // Keeps the change from its end.
            let mut holder = store.pool().begin().await.unwrap();
            let hold = match remove {
                false => "SELECT 1 FROM keyward_keys FOR UPDATE",
                true => "SELECT 1 FROM keyward_owners FOR UPDATE",
            };
            sqlx::raw_sql(hold).execute(&mut *holder).await.unwrap();
            let (changing, theirs) = (store.clone(), owner.clone());
            let changing = tokio::spawn(async move {
                match remove {
                    false => changing.revoke_all(&theirs, NOW.into()).await.unwrap().len(),
                    true => {
                        let removed = changing.remove_owner(&theirs).await.unwrap();
                        assert_eq!(removed, OwnerRemoval::Removed);
                        0
                    }
                }
            });
            until_blocked(&store, 1, &changing).await;
            let (second, second_key) = issue("owner", NOW);
            let (inserting, late) = (store.clone(), second.clone());
            let inserting = tokio::spawn(async move { inserting.insert(late).await });
            until_blocked(&store, 2, &inserting).await;
            holder.rollback().await.unwrap();
            assert_eq!(changing.await.unwrap(), usize::from(!remove));
            inserting.await.unwrap().unwrap();
            assert_eq!(gate_status(&store, &first_key).await, 401);
            assert_eq!(gate_status(&store, &second_key).await, 200, "it was inserted afterwards");
            assert_eq!(store.revoke_all(&owner, NOW.into()).await.unwrap(), [second.id()]);
        }
    });
}

#[test]
fn migrations_are_repeatable_and_concurrent() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("migrations_are_repeatable_and_concurrent").await
        else {
            return;
        };
        let mut stores = Vec::new();
        for _ in 0..6 {
            stores.push(connect(&database).await);
        }
        checks::migrations_are_repeatable_and_concurrent(stores).await;
    });
}

/// The number of migrations.
const KNOWN: usize = 2;

/// Each statement commits by itself, so a process can die between two of them. The next migration does
/// the rest.
#[test]
fn a_migration_that_was_cut_off_is_completed() {
    OnTokio.block_on(async {
        let Some(store) = mysql_store("a_migration_that_was_cut_off").await else { return };
        let whole = store.pool().connect_options().as_ref().clone();
        for cut in [
            "DROP TRIGGER keyward_secret_removed",
            "DROP TRIGGER keyward_key_changed",
            "DELETE FROM keyward_locks",
            "DROP TABLE keyward_locks",
            "DROP TABLE keyward_usage",
            "DROP TABLE keyward_usage, keyward_secrets",
            "DROP TABLE keyward_audit, keyward_usage_buckets",
            "DROP TABLE keyward_usage, keyward_usage_buckets, keyward_secrets, keyward_keys,
               keyward_owners",
        ] {
            let store = connect(&whole).await;
            sqlx::raw_sql(cut).execute(store.pool()).await.unwrap();
            store.by_hand("DELETE FROM keyward_migrations").await;
            store.migrate().await.unwrap();
            let (record, _) = issue("owner", NOW);
            store.insert(record.clone()).await.unwrap();
            store.by_hand("UPDATE keyward_keys SET scopes = 'read'").await;
            let stale = record.rename("stale".parse().unwrap(), NOW).unwrap();
            let refused = store.replace(stale).await;
            assert!(matches!(refused, Err(ReplaceError::Conflict)), "{cut}: {refused:?}");
            let found = store.find_by_id(record.id()).await.unwrap().unwrap();
            store.by_hand("DELETE FROM keyward_secrets").await;
            let stale = found.record().rename("stale".parse().unwrap(), NOW).unwrap();
            let refused = store.replace(stale).await;
            assert!(matches!(refused, Err(ReplaceError::Conflict)), "{cut}: {refused:?}");
            assert_eq!(store.dump("keyward_locks").await.len(), 256, "{cut}");
            assert_eq!(store.dump("keyward_migrations").await.len(), KNOWN);
            store.pool().close().await;
        }
    });
}

#[test]
fn migrations_of_the_host_are_untouched() {
    let migrations = TempDir::new();
    std::fs::write(migrations.path().join("1_host.sql"), "CREATE TABLE host (a TEXT);").unwrap();
    OnTokio.block_on(async {
        let Some(store) = mysql_store("migrations_of_the_host").await else { return };
        let host = Migrator::new(migrations.path()).await.unwrap();
        host.run(store.pool()).await.unwrap();
        let before = store.dump("_sqlx_migrations").await;
        assert_eq!(before.len(), 1);
        store.migrate().await.unwrap();
        assert_eq!(store.dump("_sqlx_migrations").await, before);
        // The host's own check of its migrations finds no unknown migration.
        host.run(store.pool()).await.unwrap();
        assert_eq!(store.dump("keyward_migrations").await.len(), KNOWN);
    });
}

/// `connect` makes the tables, also in several processes at the same time, and says what is wrong.
#[test]
fn connecting_makes_the_tables() {
    OnTokio.block_on(async {
        use sqlx::ConnectOptions as _;
        let Some(database) = fresh_database("connecting_makes_the_tables").await else { return };
        let url = database.to_url_lossy().to_string();
        let stores = futures(4, || MySqlStore::connect(&url)).await;
        let (record, key) = issue("owner", NOW);
        stores[0].insert(record.clone()).await.unwrap();
        for store in &stores {
            assert_eq!(store.find(&lookup(&key)).await.unwrap().unwrap().record(), &record);
        }
        let error = MySqlStore::connect("no url").await.unwrap_err();
        assert!(matches!(error, MigrateError::Store(SqlStoreError::NoConnection(_))), "{error:?}");
    });
}

/// Pages of events and the count for a cap read a bounded number of rows, whatever the tables hold.
#[test]
fn pages_of_events_and_caps_read_few_rows() {
    OnTokio.block_on(async {
        let Some(store) = mysql_store("pages_of_events_and_caps").await else { return };
        sqlx::raw_sql(
            "INSERT INTO keyward_audit (at, action, owner, key_id)
             WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             SELECT i, 'key.issued', 'owner', LPAD('1', 32, '0') FROM n;
             INSERT INTO keyward_keys (id, owner, name, created_at, expires_at)
             WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             SELECT MD5(i), 'owner', 'key', 0, CASE WHEN i > 50 THEN i END FROM n;
             ANALYZE TABLE keyward_audit, keyward_keys",
        )
        .execute(store.pool())
        .await
        .unwrap();
        let mut connection = store.pool().acquire().await.unwrap();
        let mut reads = async |sql: String| {
            sqlx::raw_sql("FLUSH STATUS").execute(&mut *connection).await.unwrap();
            let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.unwrap();
            let reads = "SHOW SESSION STATUS WHERE variable_name IN
                 ('Handler_read_next', 'Handler_read_prev', 'Handler_read_rnd_next')";
            let reads = sqlx::raw_sql(reads).fetch_all(&mut *connection).await.unwrap();
            let count =
                |row: &sqlx::mysql::MySqlRow| row.get::<String, _>(1).parse::<u64>().unwrap();
            (rows, reads.iter().map(count).sum::<u64>())
        };
        let page = MySqlStore::AUDIT_SQL[0].replace("$1", "100").replace("$2", "0");
        let (rows, read) = reads(page.replace("$3", "0").replace("$4", "11")).await;
        assert_eq!(rows.len(), 11);
        assert!(read < 50, "{read} rows were read for a page of events");
        for (cap, now, live) in [(3, 0, 6), (3, 999, 4), (3, 2_000, 3), (60, 2_000, 50)] {
            let sql = MySqlStore::CAP_SQL.replace("$1", "'owner'").replace("$2", &now.to_string());
            let sql = sql.replace("$3", &cap.to_string()).replace("$4", "'a'");
            let (rows, reads) = reads(sql).await;
            assert_eq!(rows[0].get::<i64, _>("live"), live, "a cap of {cap} at {now}");
            assert!(reads <= 4 * cap + 10, "{reads} rows were read for a cap of {cap}");
        }
        // As a control, a count without a bound.
        let all = "SELECT count(*) FROM keyward_keys WHERE name = 'key'".to_owned();
        assert!(reads(all).await.1 >= 1_000);
    });
}

/// An event whose number is taken is an error, and not lost.
#[test]
fn an_event_that_was_not_inserted_is_an_error() {
    OnTokio.block_on(async {
        let Some(store) = mysql_store("an_event_that_was_not_inserted").await else { return };
        store.by_hand("CREATE UNIQUE INDEX once ON keyward_audit (action)").await;
        let entry = || AuditEntry::new(NOW, ActionName::from_static("key.issued"));
        store.append(&[entry()]).await.unwrap();
        let error = store.append(&[entry()]).await.unwrap_err();
        let SqlStoreError::Refused(message) = error else { panic!("{error:?}") };
        assert_eq!(message.code, "1062");
    });
}

/// Without autocommit a lookup would not see later revocations, and a change would not be committed.
#[test]
fn a_pool_without_autocommit_is_refused() {
    OnTokio.block_on(async {
        let Some(options) = fresh_database("a_pool_without_autocommit").await else { return };
        let pool = |set: &'static str| {
            let pool =
                MySqlPoolOptions::new().max_connections(2).after_connect(move |connection, _| {
                    Box::pin(async move { sqlx::raw_sql(set).execute(connection).await.map(drop) })
                });
            MySqlStore::new(pool.connect_lazy_with(options.clone()))
        };
        let error = pool("SET SESSION autocommit = 0").migrate().await.unwrap_err();
        assert!(matches!(error, MigrateError::NoAutocommit), "{error:?}");
        assert!(error.to_string().contains("after_connect"), "{error}");
        let whole = connect(&options).await;
        let tables: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()",
        )
        .fetch_one(whole.pool())
        .await
        .unwrap();
        assert_eq!(tables, 0, "the refusal made tables");
        // The remedy of the error.
        pool("SET SESSION autocommit = 0; SET SESSION autocommit = 1").migrate().await.unwrap();
    });
}

/// Runs several futures at the same time.
async fn futures<T, F>(count: usize, make: impl Fn() -> F) -> Vec<T>
where
    F: Future<Output = Result<T, MigrateError>>,
{
    let mut running: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
    let mut done = Vec::new();
    poll_fn(|context| {
        running.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(output) => {
                done.push(output.unwrap());
                false
            }
            Poll::Pending => true,
        });
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done
}

#[test]
fn lookups_and_listings_use_their_indexes() {
    OnTokio.block_on(async {
        let Some(store) = mysql_store("lookups_and_listings").await else { return };
        sqlx::raw_sql(
            "INSERT INTO keyward_keys (id, owner, name, created_at)
             WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             SELECT MD5(a.i * 1000 + b.i), CONCAT('owner ', b.i % 100), 'key', a.i * 1000 + b.i
             FROM n a JOIN n b ON a.i <= 20;
             CREATE TABLE ids AS SELECT id, created_at FROM keyward_keys;
             INSERT INTO keyward_secrets (hash, key_id, kind, created_at)
             SELECT CONCAT('sha256:', SHA2(id, 256)), id, 'lqt_', created_at FROM ids;
             INSERT INTO keyward_owners (id) SELECT DISTINCT owner FROM keyward_keys;
             ANALYZE TABLE keyward_keys, keyward_secrets, keyward_owners",
        )
        .execute(store.pool())
        .await
        .unwrap();
        // The plan as the names of the keys by table. `ALL` reads a whole table.
        let plan = async |sql: &str| {
            let explain = format!("EXPLAIN {sql}");
            let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(store.pool()).await.unwrap();
            let rows = rows.iter().map(|row| {
                let text = |column: &str| row.get::<Option<String>, _>(column).unwrap_or_default();
                format!("{} {} {}", text("table"), text("type"), text("key"))
            });
            rows.collect::<Vec<_>>()
        };
        let find = MySqlStore::FIND_SQL.replacen('?', "'sha256:a'", 1).replace('?', "NULL");
        let find = plan(&find).await;
        for (table, key) in [("f", "PRIMARY"), ("k", "PRIMARY"), ("s", "keyward_secrets_by_key")] {
            let uses =
                |step: &String| step.starts_with(&format!("{table} ")) && step.ends_with(key);
            assert!(find.iter().any(uses) || find.len() == 1, "{table}: {find:?}");
        }
        let hash: String = sqlx::query_scalar("SELECT MAX(hash) FROM keyward_secrets")
            .fetch_one(store.pool())
            .await
            .unwrap();
        let found = MySqlStore::FIND_SQL.replacen('?', &format!("'{hash}'"), 1);
        let found = plan(&found.replace('?', "NULL")).await;
        assert!(found.len() >= 3 && !found.iter().any(|step| step.contains(" ALL ")), "{found:?}");
        let list = MySqlStore::LIST_SQL.replace("$1", "'owner 7'").replace("$2", "5");
        let list = plan(&list.replace("$3", "'a'").replace("$4", "10")).await;
        let by_owner = "keyward_keys range keyward_keys_by_owner";
        assert!(list.iter().any(|step| step == by_owner), "{list:?}");
        // The plan of a lookup without an index, as a control.
        let control = plan("SELECT 1 FROM keyward_secrets WHERE hint = 'a'").await;
        assert!(control.iter().any(|step| step.contains(" ALL ")), "{control:?}");
    });
}

#[test]
fn a_slow_server_and_an_exhausted_pool_return_different_errors_and_are_recoverable() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("a_slow_server").await else { return };
        let others = connect(&database).await;
        others.migrate().await.unwrap();
        let one = MySqlPoolOptions::new().max_connections(1);
        let store = MySqlStore::new(one.clone().connect_with(database.clone()).await.unwrap());
        let (record, key) = issue("owner", NOW);
        store.insert(record.clone()).await.unwrap();

        let mut lock = others.pool().begin().await.unwrap();
        let all = "SELECT 1 FROM keyward_secrets FOR UPDATE";
        sqlx::raw_sql(all).execute(&mut *lock).await.unwrap();
        // On its only connection.
        let soon = "SET innodb_lock_wait_timeout = 1";
        sqlx::raw_sql(soon).execute(store.pool()).await.unwrap();
        // Readers do not wait for a writer.
        assert!(store.find(&lookup(&key)).await.unwrap().is_some());
        let revoked = record.revoke(NOW).unwrap();
        let error = store.replace(revoked.clone()).await.unwrap_err();
        let ReplaceError::Store(SqlStoreError::TimedOut(message)) = error else {
            panic!("{error:?}")
        };
        assert_eq!(message.code, "1205");
        lock.rollback().await.unwrap();
        // The partial change was rolled back, and the same change succeeds now.
        assert_eq!(store.find(&lookup(&key)).await.unwrap().unwrap().record(), &record);
        store.replace(revoked.clone()).await.unwrap();

        let pool = one.acquire_timeout(Duration::from_millis(100)).connect_lazy_with(database);
        let only = loop {
            let Ok(only) = pool.acquire().await else { continue };
            break only;
        };
        let exhausted = MySqlStore::new(pool);
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
        assert_eq!(found.unwrap().unwrap().record(), &revoked);
        assert_eq!(gate_status(&store, &key).await, 401);
        // A table that is missing is refused with its number.
        others.by_hand("DROP TABLE keyward_usage").await;
        others.by_hand("DROP TABLE keyward_secrets").await;
        let error = store.find(&lookup(&key)).await.unwrap_err();
        let SqlStoreError::Refused(message) = error else { panic!("{error:?}") };
        assert_eq!(message.code, "1146");
    });
}

/// Deadlocks between transactions that lock the same rows in another order are resolved by running the
/// undone one again.
#[test]
fn a_deadlock_is_no_error() {
    OnTokio.block_on(async {
        let Some((cluster, store)) = store_alone("a_deadlock_is_no_error").await else { return };
        let others = connect(&cluster.options()).await;
        for round in 0..3 {
            let (first, _) = issue("owner", NOW);
            let (second, _) = issue("owner", NOW);
            for record in [&first, &second] {
                store.insert(record.clone()).await.unwrap();
            }
            let (low, high) = match first.id() < second.id() {
                true => (first.id(), second.id()),
                false => (second.id(), first.id()),
            };
            // The store locks the keys of an owner in the order of their ids, this one the other way.
            let mut holder = others.pool().begin().await.unwrap();
            let lock = async |holder: &mut sqlx::MySqlConnection, id: KeyId| {
                let change = "UPDATE keyward_keys SET name = 'held' WHERE id = ?";
                sqlx::query(change).bind(id.to_string()).execute(holder).await
            };
            // It has changed many rows, so that the server undoes the other transaction.
            for _ in 0..20 {
                let change = "UPDATE keyward_keys SET name = CONCAT('n', revision) WHERE id = ?";
                let change = sqlx::query(change).bind(high.to_string());
                change.execute(&mut *holder).await.unwrap();
            }
            let revoking = store.clone();
            let revoking = tokio::spawn(async move {
                revoking.revoke_all(&OwnerId::from_static("owner"), NOW.into()).await
            });
            until_blocked(&others, 1, &revoking).await;
            let locked = lock(&mut holder, low).await;
            let held = locked.is_ok();
            // Whichever of the two was undone, the store's call succeeds.
            if held {
                holder.commit().await.unwrap();
            } else {
                holder.rollback().await.unwrap();
            }
            let revoked = revoking.await.unwrap().unwrap();
            assert_eq!(BTreeSet::from_iter(revoked), BTreeSet::from([low, high]), "round {round}");
        }
    });
}

/// A write that is dropped at any point leaves no open transaction on a pooled connection: the next
/// acknowledged change is visible to everybody.
#[test]
fn a_dropped_write_leaves_no_open_transaction() {
    OnTokio.block_on(async {
        let test = "a_dropped_write_leaves_no_open_transaction";
        let Some(options) = fresh_database(test).await else { return };
        let others = connect(&options).await;
        others.migrate().await.unwrap();
        let pool = MySqlPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let store = MySqlStore::new(pool);
        for polls in 1..40 {
            let (record, _) = issue("owner", NOW);
            {
                let mut writing = pin!(store.insert(record));
                for _ in 0..polls {
                    let polled = poll_fn(|context| Poll::Ready(writing.as_mut().poll(context)));
                    if polled.await.is_ready() {
                        break;
                    }
                    // Lets the server respond before the next poll.
                    others.find_by_id(KeyId::from_bytes([0; 16])).await.unwrap();
                }
            }
            let tier = Tier::new(&format!("tier{polls}")).unwrap();
            let owner = Owner::new("owner".parse().unwrap()).with_tier(tier);
            store.put_owner(owner.clone()).await.unwrap();
            let seen = others.owner(&owner.id).await.unwrap();
            assert_eq!(seen.as_deref(), Some(&owner), "after {polls} polls");
        }
    });
}

/// Both lock many keys at a time, each in its own order.
#[test]
fn purging_and_saving_usage_exclude_each_other() {
    OnTokio.block_on(async {
        let test = "purging_and_saving_usage_exclude_each_other";
        let Some(options) = fresh_database(test).await else { return };
        let (purging, saving) = (connect(&options).await, connect(&options).await);
        purging.migrate().await.unwrap();
        let used: UsageBatch = keys(1..=1_000).map(|id| (id, Usage::new(1, Some(NOW)))).collect();
        for round in 0..5 {
            purging.by_hand(THOUSAND_ENDED).await;
            let (purged, saved) = tokio::join!(purging.purge(NOW, 1_000), saving.save_usage(&used));
            assert_eq!(purged.unwrap().len(), 1_000, "round {round}");
            saved.unwrap();
            assert!(purging.dump("keyward_usage").await.is_empty(), "round {round}");
        }
    });
}

/// A result smaller than requested means that no more keys are left, even with concurrent purges.
#[test]
fn concurrent_purges_skip_no_key() {
    OnTokio.block_on(async {
        let test = "concurrent_purges_skip_no_key";
        let Some(options) = fresh_database(test).await else { return };
        let stores = [connect(&options).await, connect(&options).await, connect(&options).await];
        stores[0].migrate().await.unwrap();
        for round in 0..5 {
            stores[0].by_hand(THOUSAND_ENDED).await;
            let [one, two, three] = &stores;
            let purged =
                tokio::join!(one.purge(NOW, 400), two.purge(NOW, 400), three.purge(NOW, 400));
            let purged = [purged.0, purged.1, purged.2].map(Result::unwrap);
            let mut sizes = purged.each_ref().map(Vec::len);
            sizes.sort_unstable();
            assert_eq!(sizes, [200, 400, 400], "round {round}");
            let all: BTreeSet<KeyId> = purged.into_iter().flatten().collect();
            assert!(all.into_iter().eq(keys(1..=1_000)), "round {round}");
        }
    });
}

/// Keys whose end is later the lower their id is.
const THOUSAND_ENDED: &str =
    "INSERT INTO keyward_keys (id, owner, name, created_at, state, state_since)
     WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
     SELECT LPAD(LOWER(HEX(i)), 32, '0'), 'owner', 'name', 0, 'revoked', 1000000 - i FROM n";

fn keys(numbers: std::ops::RangeInclusive<u128>) -> impl Iterator<Item = KeyId> {
    numbers.map(|number| KeyId::from_bytes(number.to_be_bytes()))
}

/// Statements of other tools that replace rows, and a session in another isolation level.
#[test]
fn changes_by_hand_in_any_session_raise_the_revision() {
    OnTokio.block_on(async {
        let Some(store) = mysql_store("changes_by_hand_in_any_session").await else { return };
        let (record, _) = issue("owner", NOW);
        store.insert(record.clone()).await.unwrap();
        for by_hand in [
            "REPLACE INTO keyward_secrets (hash, key_id, kind, created_at)
             SELECT hash, key_id, kind, created_at FROM keyward_secrets",
            "UPDATE keyward_keys k JOIN keyward_secrets s ON s.key_id = k.id SET k.scopes = 'read'",
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE;
             UPDATE keyward_secrets SET hint = NULL",
            "INSERT INTO keyward_keys (id, owner, name, created_at)
             SELECT id, owner, name, created_at FROM keyward_keys
             ON DUPLICATE KEY UPDATE expires_at = 5000000000000",
        ] {
            let before = store.find_by_id(record.id()).await.unwrap().unwrap();
            let mut console = store.pool().acquire().await.unwrap().detach();
            sqlx::raw_sql(by_hand).execute(&mut console).await.unwrap();
            console.close().await.unwrap();
            let stale = before.record().rename("stale".parse().unwrap(), NOW).unwrap();
            let refused = store.replace(stale).await;
            assert!(matches!(refused, Err(ReplaceError::Conflict)), "{by_hand}: {refused:?}");
        }
    });
}
