//! Stores with many keys, put there by a few statements.

use keyward::{
    KeyHasher, Timestamp,
    key::{KeyFormats, KeyId},
    store::{KeyRegistry, Lookup},
    verify::Verifier,
};
use keyward_sqlx::{PostgresStore, SqlStoreError, SqliteStore};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::support::FORMAT;

const CREATED: Timestamp = Timestamp::from_unix_secs(1_600_000_000);
/// How many keys one statement inserts.
const AT_ONCE: u64 = 10_000;

/// A store of ours, beside the query that it asks.
pub(crate) trait Filled: KeyRegistry<Error = SqlStoreError> + Clone + 'static {
    /// Puts keys of ids 0 to `keys`, ten an owner, and every tenth with a retiring secret.
    async fn fill(&self, keys: u64);
    /// The query of `find`, and how many rows it returned.
    async fn bare(&self, hash: &str) -> usize;
    /// A store over another pool of one connection: another process's.
    fn another(&self) -> impl Future<Output = Self> + Send + 'static;
}

/// The token of a key; behind the keys' own numbers come those of retiring secrets.
pub(crate) fn lookup(number: u64) -> Lookup {
    let token = format!("lqt_{number:064x}");
    let presented = KeyFormats::from(FORMAT);
    Verifier::new(KeyHasher::sha256()).lookup(&presented.parse(&token).unwrap())
}

pub(crate) fn id(number: u64) -> KeyId {
    // Ids are random, so their order is not that of creation.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&spread.to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    KeyId::from_bytes(bytes)
}

/// Numbers of keys, drawn with a fixed seed.
pub(crate) fn draw(keys: u64, count: usize) -> impl Iterator<Item = u64> {
    let mut rng = StdRng::from_seed([5; 32]);
    (0..count).map(move |_| rng.random_range(0..keys))
}

/// What is inserted of a range of keys, column by column.
#[derive(Default)]
struct Columns {
    ids: Vec<String>,
    owners: Vec<String>,
    created_at: Vec<i64>,
    hashes: Vec<String>,
    key_ids: Vec<String>,
    places: Vec<i64>,
    deadlines: Vec<Option<i64>>,
}

impl Columns {
    fn of(range: std::ops::Range<u64>) -> Self {
        let mut columns = Self::default();
        for number in range {
            let id = id(number).to_string();
            columns.ids.push(id.clone());
            columns.owners.push(format!("org_{}", number / 10));
            columns.created_at.push(CREATED.as_unix_millis() as i64 + number as i64);
            let mut secret = |place: i64, deadline, number| {
                let hash = lookup(number).hashes().next().unwrap().to_string();
                columns.hashes.push(hash);
                columns.key_ids.push(id.clone());
                columns.places.push(place);
                columns.deadlines.push(deadline);
            };
            secret(0, None, number);
            if number % 10 == 0 {
                secret(1, Some(CREATED.as_unix_millis() as i64 * 2), u64::MAX - number);
            }
        }
        columns
    }

    fn each(keys: u64) -> impl Iterator<Item = Self> {
        let ends = (0..keys.div_ceil(AT_ONCE)).map(move |at| at * AT_ONCE);
        ends.map(move |from| Self::of(from..keys.min(from + AT_ONCE)))
    }
}

/// A list as JSON, of texts that need no escapes or of numbers.
fn json(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

impl Filled for SqliteStore {
    async fn fill(&self, keys: u64) {
        let mut transaction = self.pool().begin().await.unwrap();
        for columns in Columns::each(keys) {
            let rows = columns.ids.iter().zip(&columns.owners).zip(&columns.created_at);
            let rows = json(rows.map(|((id, owner), at)| format!("[\"{id}\",\"{owner}\",{at}]")));
            sqlx::query(
                "INSERT INTO keyward_keys (id, owner, name, created_at)
                 SELECT value ->> 0, value ->> 1, 'key', value ->> 2 FROM json_each(?1)",
            )
            .bind(rows)
            .execute(&mut *transaction)
            .await
            .unwrap();
            let rows = (0..columns.hashes.len()).map(|at| {
                let deadline = columns.deadlines[at].map_or("null".to_owned(), |at| at.to_string());
                let (hash, id) = (&columns.hashes[at], &columns.key_ids[at]);
                format!("[\"{hash}\",\"{id}\",{},{deadline}]", columns.places[at])
            });
            sqlx::query(
                "INSERT INTO keyward_secrets (hash, key_id, place, kind, created_at, valid_until)
                 SELECT value ->> 0, value ->> 1, value ->> 2, 'lqt_', 1, value ->> 3
                 FROM json_each(?1)",
            )
            .bind(json(rows))
            .execute(&mut *transaction)
            .await
            .unwrap();
        }
        sqlx::query(
            "INSERT OR IGNORE INTO keyward_owners (id, tier) SELECT owner, 'standard' FROM keyward_keys",
        )
        .execute(&mut *transaction)
        .await
        .unwrap();
        transaction.commit().await.unwrap();
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(self.pool()).await.unwrap();
    }

    async fn bare(&self, hash: &str) -> usize {
        let query = sqlx::query(Self::FIND_SQL).bind(hash);
        let query = query.bind(None::<&str>).bind(None::<&str>).bind(None::<&str>);
        query.fetch_all(self.pool()).await.unwrap().len()
    }

    fn another(&self) -> impl Future<Output = Self> + Send + 'static {
        let options = self.pool().connect_options();
        let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        async move { Self::new(pool.connect_with((*options).clone()).await.unwrap()) }
    }
}

impl Filled for PostgresStore {
    async fn fill(&self, keys: u64) {
        let mut transaction = self.pool().begin().await.unwrap();
        for columns in Columns::each(keys) {
            sqlx::query(
                "INSERT INTO keyward_keys (id, owner, name, created_at)
                 SELECT id, owner, 'key', at
                 FROM unnest($1::text[], $2::text[], $3::bigint[]) AS t (id, owner, at)",
            )
            .bind(columns.ids)
            .bind(columns.owners)
            .bind(columns.created_at)
            .execute(&mut *transaction)
            .await
            .unwrap();
            sqlx::query(
                "INSERT INTO keyward_secrets (hash, key_id, place, kind, created_at, valid_until)
                 SELECT hash, id, place, 'lqt_', 1, until
                 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
                   AS t (hash, id, place, until)",
            )
            .bind(columns.hashes)
            .bind(columns.key_ids)
            .bind(columns.places)
            .bind(columns.deadlines)
            .execute(&mut *transaction)
            .await
            .unwrap();
        }
        let owners = "INSERT INTO keyward_owners (id, tier)
             SELECT DISTINCT owner, 'standard' FROM keyward_keys";
        sqlx::query(owners).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        // As the server does by itself after a while.
        let tidy = "VACUUM ANALYZE keyward_keys; VACUUM ANALYZE keyward_secrets;
             VACUUM ANALYZE keyward_owners; CHECKPOINT";
        for one in tidy.split(';') {
            sqlx::raw_sql(sqlx::AssertSqlSafe(one)).execute(self.pool()).await.unwrap();
        }
    }

    async fn bare(&self, hash: &str) -> usize {
        let query = sqlx::query(Self::FIND_SQL[0]).bind(hash);
        query.fetch_all(self.pool()).await.unwrap().len()
    }

    fn another(&self) -> impl Future<Output = Self> + Send + 'static {
        let options = self.pool().connect_options();
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1);
        async move { Self::new(pool.connect_with((*options).clone()).await.unwrap()) }
    }
}
