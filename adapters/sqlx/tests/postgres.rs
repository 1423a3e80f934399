//! `PostgresStore` beyond the conformance suite: other processes, usage, corrupt rows, migrations,
//! plans.

#[path = "support/checks.rs"]
mod checks;
#[path = "support/damage.rs"]
mod damage;
#[path = "support/postgres.rs"]
mod postgres;
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
    KeyHasher, KeyStore as _, Timestamp,
    key::{KeyId, Owner, Tier},
    store::{KeyRegistry as _, OwnerRemoval, ReplaceError, Withdrawn},
    testing::BlockOn as _,
    usage::{Usage, UsageBatch, UsageSpan},
    verify::Verifier,
};
use keyward_sqlx::{MigrateError, PostgresStore, RowReport, SqlStoreError};
use postgres::{connect, fresh_database, postgres_store};
use sqlx::{AssertSqlSafe, Row as _, migrate::Migrator, postgres::PgPoolOptions};
use support::{FORMAT, NOW, OnTokio, TempDir, gate_status, issue, lookup};

impl SqlStore for PostgresStore {
    async fn tamper(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let mut transaction = self.pool().begin().await?;
        sqlx::raw_sql(
            "DO $$ DECLARE one record; BEGIN
               FOR one IN SELECT conrelid::regclass AS place, conname FROM pg_constraint
                 WHERE contype IN ('c', 'f') AND conname LIKE 'keyward%'
               LOOP
                 EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', one.place, one.conname);
               END LOOP;
             END $$",
        )
        .execute(&mut *transaction)
        .await?;
        let sql = sql.replace("char10", "chr(10)");
        let done =
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
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
        // The writing transaction and the position of a row reveal every write.
        let rows = format!("SELECT concat_ws(' ', xmin, ctid, t) FROM {table} t ORDER BY 1");
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
            OnTokio.block_on(async {
                let Some(store) = postgres_store(stringify!($check)).await else { return };
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
                let Some(store) = postgres_store(stringify!($check)).await else { return };
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

/// The result does not depend on the database's default isolation level.
#[test]
fn exactly_one_concurrent_rotation_succeeds_under_serializable_isolation() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("serializable_isolation").await else { return };
        let database = database.options([("default_transaction_isolation", "serializable")]);
        let mut stores = Vec::new();
        for _ in 0..6 {
            stores.push(connect(&database).await);
        }
        stores[0].migrate().await.unwrap();
        checks::exactly_one_concurrent_rotation_succeeds(stores).await;
    });
}

/// Waits until a statement in this database waits for a lock of this kind.
async fn until_blocked(store: &PostgresStore, kind: &str) {
    let blocked = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                   WHERE NOT l.granted AND l.locktype = $1 AND a.datname = current_database()";
    let blocked = || sqlx::query_scalar::<_, i64>(blocked).bind(kind).fetch_one(store.pool());
    while blocked().await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
}

/// A revocation and a suspension wait for a writer and then change what it left, whatever the
/// database's default isolation level is.
#[test]
fn a_withdrawal_waits_for_a_writer_and_wins() {
    OnTokio.block_on(async {
        for isolation in ["read committed", "serializable"] {
            let Some(database) = fresh_database("a_withdrawal_waits_for_a_writer").await else {
                return;
            };
            let store = connect(&database).await;
            store.migrate().await.unwrap();
            let name = database.get_database().unwrap();
            let set =
                format!("ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'");
            sqlx::raw_sql(AssertSqlSafe(set)).execute(store.pool()).await.unwrap();
            store.pool().close().await;
            let store = connect(&database).await;
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
                until_blocked(&store, "transactionid").await;
                writer.commit().await.unwrap();
                assert_eq!(withdrawing.await.unwrap().unwrap(), Some(Withdrawn::Now));
                let found = store.find_by_id(id).await.unwrap().unwrap();
                assert_eq!(found.record().name().as_str(), "renamed", "{isolation}");
                assert_eq!(found.record().revision(), 3, "{isolation}");
                assert_ne!(gate_status(&store, &key).await, 200);
                store.revoke(id, None, NOW.into()).await.unwrap();
                store.purge(Timestamp::MAX, 9).await.unwrap();
            }
        }
    });
}

/// A key that is inserted while all keys of its owner are being revoked, or while the owner is being
/// removed, is inserted after that.
#[test]
fn an_insert_waits_for_a_change_of_all_keys() {
    OnTokio.block_on(async {
        let Some(store) = postgres_store("an_insert_waits").await else { return };
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
            until_blocked(&store, "transactionid").await;
            let (second, second_key) = issue("owner", NOW);
            let (inserting, late) = (store.clone(), second.clone());
            let inserting = tokio::spawn(async move { inserting.insert(late).await });
            // Of the same owner; others do not wait.
            let (other, other_key) = issue("other", NOW);
            store.insert(other).await.unwrap();
            assert_eq!(gate_status(&store, &other_key).await, 200);
            tokio::select! {
                biased;
                () = until_blocked(&store, "advisory") => {}
                // It must not end before the change does.
                () = async { while !inserting.is_finished() { tokio::task::yield_now().await } } => {
                    panic!("the insert did not wait")
                }
            }
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
const KNOWN: usize = 5;

#[test]
fn migrations_of_the_host_are_untouched() {
    let migrations = TempDir::new();
    std::fs::write(migrations.path().join("1_host.sql"), "CREATE TABLE host (a TEXT);").unwrap();
    OnTokio.block_on(async {
        let Some(store) = postgres_store("migrations_of_the_host").await else { return };
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

#[test]
fn lookups_and_listings_use_their_indexes() {
    OnTokio.block_on(async {
        let Some(store) = postgres_store("lookups_and_listings").await else { return };
        sqlx::raw_sql(
            "INSERT INTO keyward_keys (id, owner, name, created_at)
             SELECT md5(i::text), 'owner ' || i % 100, 'key', i FROM generate_series(1, 20000) i;
             INSERT INTO keyward_secrets (hash, key_id, kind, created_at)
             SELECT 'sha256:' || md5(i::text) || md5('-' || i), md5(i::text), 'lqt_', i
             FROM generate_series(1, 20000) i;
             INSERT INTO keyward_owners (id) SELECT 'owner ' || i FROM generate_series(0, 99) i;
             ANALYZE keyward_keys; ANALYZE keyward_secrets; ANALYZE keyward_owners;
             INSERT INTO keyward_audit (at, action, key_id, owner)
             SELECT i, 'key.issued', md5(i::text), 'owner ' || i % 100 FROM generate_series(1, 20000) i;
             ANALYZE keyward_audit",
        )
        .execute(store.pool())
        .await
        .unwrap();
        // A prepared statement whose plan does not know the values.
        let mut connection = store.pool().acquire().await.unwrap();
        sqlx::raw_sql("SET plan_cache_mode = force_generic_plan")
            .execute(&mut *connection)
            .await
            .unwrap();
        let mut plan = async |types: &str, sql: &str, values: &str| {
            let sql = format!("PREPARE p ({types}) AS {sql}");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.unwrap();
            let explain = format!("EXPLAIN EXECUTE p ({values})");
            let rows =
                sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
            sqlx::raw_sql("DEALLOCATE p").execute(&mut *connection).await.unwrap();
            rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
        };
        for (count, sql) in (1..).zip(PostgresStore::FIND_SQL) {
            let (types, values) = (["text"; 4], ["'a'", "'b'", "'c'", "'d'"]);
            let find = plan(&types[..count].join(","), sql, &values[..count].join(",")).await;
            for index in
                ["keyward_secrets_pkey", "keyward_keys_pkey", "keyward_secrets_key_id_place_key"]
            {
                assert!(find.contains(index), "{index} is not used:\n{find}");
            }
            for table in ["keyward_secrets", "keyward_keys"] {
                assert!(!find.contains(&format!("Seq Scan on {table}")), "{find}");
            }
        }
        let list =
            plan("text, bigint, text, bigint", PostgresStore::LIST_SQL, "'a', 1, '', 10").await;
        assert!(list.contains("keyward_keys_by_owner"), "{list}");
        assert!(!list.contains("Seq Scan on keyward_keys"), "{list}");
        let cap = plan("text, bigint, bigint, text", PostgresStore::CAP_SQL, "'a', 1, 3, 'b'").await;
        assert!(!cap.contains("Seq Scan"), "{cap}");
        for (sql, texts) in PostgresStore::AUDIT_SQL.into_iter().zip([0, 1, 1, 2]) {
            let types = format!("bigint, bigint, bigint, bigint{}", ", text".repeat(texts));
            let page = plan(&types, sql, &format!("10000, 5, 0, 11{}", ", 'a'".repeat(texts))).await;
            assert!(page.contains("keyward_audit_by_") && !page.contains("Seq Scan"), "{page}");
        }
        // The plan of a lookup without an index, as a control.
        let control = plan("text", "SELECT 1 FROM keyward_secrets WHERE hint = $1", "'a'").await;
        assert!(control.contains("Seq Scan"), "{control}");
    });
}

#[test]
fn a_slow_server_and_an_exhausted_pool_return_different_errors_and_are_recoverable() {
    OnTokio.block_on(async {
        let Some(database) = fresh_database("a_slow_server").await else { return };
        let others = connect(&database).await;
        others.migrate().await.unwrap();
        let one = PgPoolOptions::new().max_connections(1);
        // Each pool times out early for one reason only, so that a busy machine adds no other.
        let store = PostgresStore::new(one.clone().connect_with(database.clone()).await.unwrap());
        let (record, key) = issue("owner", NOW);
        store.insert(record.clone()).await.unwrap();

        let mut lock = others.pool().begin().await.unwrap();
        let all = "LOCK TABLE keyward_secrets IN ACCESS EXCLUSIVE MODE";
        sqlx::raw_sql(all).execute(&mut *lock).await.unwrap();
        // On its only connection.
        let soon = "SET statement_timeout = 100";
        sqlx::raw_sql(soon).execute(store.pool()).await.unwrap();
        let error = store.find(&lookup(&key)).await.unwrap_err();
        assert!(matches!(error, SqlStoreError::TimedOut(_)), "{error:?}");
        assert_eq!(gate_status(&store, &key).await, 503);
        let revoked = record.revoke(NOW).unwrap();
        let error = store.replace(revoked.clone()).await.unwrap_err();
        assert!(matches!(error, ReplaceError::Store(SqlStoreError::TimedOut(_))), "{error:?}");
        lock.rollback().await.unwrap();
        sqlx::raw_sql("SET statement_timeout = 0").execute(store.pool()).await.unwrap();
        // The partial change was rolled back, and the same change succeeds now.
        assert_eq!(store.find(&lookup(&key)).await.unwrap().unwrap().record(), &record);
        store.replace(revoked.clone()).await.unwrap();

        let pool = one.acquire_timeout(Duration::from_millis(100)).connect_lazy_with(database);
        let only = loop {
            let Ok(only) = pool.acquire().await else { continue };
            break only;
        };
        let exhausted = PostgresStore::new(pool);
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
        assert_eq!(store.find(&lookup(&key)).await.unwrap().unwrap().record(), &revoked);

        // The server closes all connections, as in a restart.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        sqlx::raw_sql(end).execute(others.pool()).await.unwrap();
        let found = match store.find(&lookup(&key)).await {
            Err(SqlStoreError::NoConnection(_)) => store.find(&lookup(&key)).await,
            found => found,
        };
        assert_eq!(found.unwrap().unwrap().record(), &revoked);
    });
}

/// Planning takes longer than the lookup itself.
#[test]
fn lookups_reuse_their_query_plan() {
    OnTokio.block_on(async {
        let Some(store) = postgres_store("lookups_reuse_their_query_plan").await else { return };
        store.pool().close().await;
        let options = (*store.pool().connect_options()).clone();
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let store = PostgresStore::new(pool);
        let (record, key) = issue("owner", NOW);
        store.insert(record).await.unwrap();
        let one = KeyHasher::sha256();
        let two = one.clone().accept(keyward::key::HashScheme::Sha256Token).unwrap();
        for hasher in [one, two] {
            let formats = keyward::key::KeyFormats::from(FORMAT);
            let presented = formats.parse(key.expose()).unwrap();
            let lookup = Verifier::new(hasher).lookup(&presented);
            for _ in 0..20 {
                assert!(store.find(&lookup).await.unwrap().is_some());
            }
        }
        let plans = "SELECT generic_plans, custom_plans FROM pg_prepared_statements
             WHERE statement LIKE '%f.hash IN%'";
        let plans = sqlx::query(plans).persistent(false).fetch_all(store.pool()).await.unwrap();
        assert_eq!(plans.len(), 2);
        for row in plans {
            let (kept, anew) = (row.get::<i64, _>(0), row.get::<i64, _>(1));
            assert!(kept >= 15 && anew <= 5, "{kept} {anew}");
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
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let store = PostgresStore::new(pool);
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

/// Both lock many keys at a time, in the same order, because they would deadlock otherwise.
#[test]
fn purging_and_saving_usage_do_not_deadlock() {
    OnTokio.block_on(async {
        let test = "purging_and_saving_usage_do_not_deadlock";
        let Some(options) = fresh_database(test).await else { return };
        let (purging, saving) = (connect(&options).await, connect(&options).await);
        purging.migrate().await.unwrap();
        let used: UsageBatch = keys(1..=5_000).map(|id| (id, Usage::new(1, Some(NOW)))).collect();
        for round in 0..5 {
            sqlx::query(FIVE_THOUSAND_ENDED).execute(purging.pool()).await.unwrap();
            let (purged, saved) = tokio::join!(purging.purge(NOW, 5_000), saving.save_usage(&used));
            assert_eq!(purged.unwrap().len(), 5_000, "round {round}");
            saved.unwrap();
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
            sqlx::query(FIVE_THOUSAND_ENDED).execute(stores[0].pool()).await.unwrap();
            let [one, two, three] = &stores;
            let purged =
                tokio::join!(one.purge(NOW, 2_000), two.purge(NOW, 2_000), three.purge(NOW, 2_000));
            let purged = [purged.0, purged.1, purged.2].map(Result::unwrap);
            let mut sizes = purged.each_ref().map(Vec::len);
            sizes.sort_unstable();
            assert_eq!(sizes, [1_000, 2_000, 2_000], "round {round}");
            let all: BTreeSet<KeyId> = purged.into_iter().flatten().collect();
            assert!(all.into_iter().eq(keys(1..=5_000)), "round {round}");
        }
    });
}

/// Keys whose end is later the lower their id is.
const FIVE_THOUSAND_ENDED: &str =
    "INSERT INTO keyward_keys (id, owner, name, created_at, state, state_since)
     SELECT lpad(to_hex(n), 32, '0'), 'owner', 'name', 0, 'revoked', 1000000 - n
     FROM generate_series(1, 5000) n";

fn keys(numbers: std::ops::RangeInclusive<u128>) -> impl Iterator<Item = KeyId> {
    numbers.map(|number| KeyId::from_bytes(number.to_be_bytes()))
}

/// A console whose search path does not have the store's schema, and a transaction that changes a
/// secret twice.
#[test]
fn changes_by_hand_in_any_session_raise_the_revision() {
    OnTokio.block_on(async {
        let Some(store) = postgres_store("changes_by_hand_in_any_session").await else { return };
        let (record, _) = issue("owner", NOW);
        store.insert(record.clone()).await.unwrap();
        let revision = async || {
            let found = store.find_by_id(record.id()).await.unwrap().unwrap();
            found.record().revision()
        };
        let mut console = store.pool().begin().await.unwrap();
        let by_hand = "SET LOCAL search_path = pg_catalog;
                       UPDATE public.keyward_secrets SET hint = NULL;
                       UPDATE public.keyward_secrets SET kind = 'lqt_'";
        sqlx::raw_sql(by_hand).execute(&mut *console).await.unwrap();
        console.commit().await.unwrap();
        assert_eq!(revision().await, 2, "one transaction");
        sqlx::raw_sql("TRUNCATE keyward_secrets").execute(store.pool()).await.unwrap();
        let stale = record.rename("stale".parse().unwrap(), NOW).unwrap();
        let refused = store.replace(stale).await;
        assert!(matches!(refused, Err(ReplaceError::Conflict)), "{refused:?}");
    });
}
