//! Tables of other systems are taken over by the SQL of the page `import`, on each database.

#[path = "support/mysql.rs"]
mod mysql;
#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::fmt::Write as _;

use keyward::{
    Issuer, KeyDraft, KeyFormat, KeyHasher, Scope, SysRng, Timestamp,
    issue::IssuerError,
    key::{
        Alphabet, HashScheme, KeyFormats, KeyId, KeyRecord, KeyState, LegacyFormat, ScopeCatalog,
    },
    store::{KeyRegistry, PageRequest},
    testing::BlockOn as _,
    verify::{Verified, VerifyError},
};
use keyward_sqlx::{MySqlStore, PostgresStore, SqliteStore};
use mysql::mysql_store;
use postgres::postgres_store;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Column as _, Row as _};
use support::{OnTokio, TempDir, sqlite_store};

const NEW: KeyFormat = KeyFormat::hex("acme_");
const SANCTUM: LegacyFormat = LegacyFormat::new("sanctum", Alphabet::BASE62, 40..=48)
    .with_identifier(Alphabet::DIGITS, 1..=20, '|')
    .with_successor(NEW.kind());
const BETTER_AUTH: LegacyFormat = LegacyFormat::new("better-auth", Alphabet::LETTERS, 64..=64)
    .with_prefix("proj_")
    .with_successor(NEW.kind());
const PREFIXED: LegacyFormat = LegacyFormat::new("mycompany", Alphabet::BASE62, 24..=24)
    .with_prefix("mycompany_")
    .with_identifier(Alphabet::BASE62, 8..=8, '_')
    .with_successor(NEW.kind());
const UUID: LegacyFormat =
    LegacyFormat::new("uuid", Alphabet::LOWER_HEX.with('-'), 36..=36).with_successor(NEW.kind());
const OLD: LegacyFormat =
    LegacyFormat::new("old", Alphabet::UPPER_HEX, 32..=32).with_successor(NEW.kind());

const READ: Scope = Scope::from_static("files:read");
const WRITE: Scope = Scope::from_static("files:write");
const BOTH: &[Scope] = &[READ, WRITE];
const ONLY_READ: &[Scope] = &[READ];
const CREATED: Timestamp = Timestamp::from_unix_secs(1_704_164_645); // 2024-01-02 03:04:05
const EXPIRES: Timestamp = Timestamp::from_unix_secs(1_893_466_800); // 2030-01-01 03:00:00

/// Returns a block of SQL of the page, by the words behind its fence.
fn block(name: &str) -> &'static str {
    let page = include_str!("../src/import.md");
    let fence = format!("```sql {name}\n");
    let block = page.split(&fence).nth(1).unwrap_or_else(|| panic!("no block {name}"));
    block.split("```").next().unwrap()
}

fn hex(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// The digest in base64url without padding.
fn base64url(text: &str) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digest = Sha256::digest(text);
    let three = |bytes: &[u8]| {
        let bits = bytes.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        bits << (8 * (3 - bytes.len()))
    };
    let text: String = digest
        .chunks(3)
        .flat_map(|bytes| {
            let bits = three(bytes);
            [18, 12, 6, 0].map(|shift| char::from(digits[bits >> shift & 63]))
        })
        .collect();
    text[..43].to_owned()
}

/// A table of another system.
struct Old {
    /// The words behind the fences of its blocks.
    name: &'static str,
    format: LegacyFormat,
    table_name: &'static str,
    /// The statements that make and fill the table, by database: SQLite, PostgreSQL, MySQL.
    table: [String; 3],
    /// The statement that adds a row with a key that is there already.
    duplicate: &'static str,
    /// The texts of keys and what is expected of each.
    keys: Vec<(String, Expected)>,
    /// The number of rows that the block prints as left out.
    left_out: Option<i64>,
}

struct Expected {
    owner: &'static str,
    scopes: &'static [Scope],
    hint: Option<&'static str>,
    expires_at: Option<Timestamp>,
    refused: Option<VerifyError>,
}

const PLAIN: Expected =
    Expected { owner: "user-7", scopes: &[], hint: None, expires_at: None, refused: None };

/// An instant of Unix seconds, which `unixepoch` of SQLite cannot read.
const UNREADABLE: &str = "1893466800";
/// An instant that `UNIX_TIMESTAMP` of MariaDB cannot read.
const TOO_LATE: &str = "9999-12-31 00:00:00";

const SECRETS: [&str; 5] = [
    "pT6oGsuvFVuIZAbkSEDRlGMoQoBwYrSPTBVXcWcL4f6c18be",
    "Zx6oGsuvFVuIZAbkSEDRlGMoQoBwYrSPTBVXcWcL00000000",
    "aa6oGsuvFVuIZAbkSEDRlGMoQoBwYrSPTBVXcWcL",
    "bb6oGsuvFVuIZAbkSEDRlGMoQoBwYrSPTBVXcWcL",
    "cc6oGsuvFVuIZAbkSEDRlGMoQoBwYrSPTBVXcWcL",
];

fn sanctum() -> Old {
    let table = |id: &str, time: &str, ended: &str| {
        let [all, some, none, team, past] = SECRETS.map(hex);
        let (all, at) = (all.to_uppercase(), "'2024-01-02 03:04:05'");
        format!(
            "CREATE TABLE personal_access_tokens (id {id} PRIMARY KEY, tokenable_type text,
               tokenable_id {id}, name text, token text, abilities text, expires_at {time},
               created_at {time});
             INSERT INTO personal_access_tokens VALUES
               (17, 'User', 7, 'all', '{all}', '[\"*\"]', NULL, {at}),
               (18, 'User', 8, 'some', '{some}', '[\"files:read\"]', '2030-01-01 03:00:00', {at}),
               (19, 'User', 7, 'none', '{none}', '[]', NULL, {at}),
               (20, 'Team', 7, 'team', '{team}', '[\"files:read\",\"files:write\"]', NULL, {at}),
               (21, 'User', 7, 'past', '{past}', '[]', '{ended}', {at})"
        )
    };
    let key = |at: usize| format!("{}|{}", 17 + at, SECRETS[at]);
    Old {
        name: "sanctum",
        format: SANCTUM,
        table_name: "personal_access_tokens",
        table: [
            table("INTEGER", "TEXT", UNREADABLE),
            table("bigint", "timestamp", "2024-01-02 04:00:00"),
            table("bigint", "datetime", TOO_LATE),
        ],
        duplicate: "INSERT INTO personal_access_tokens
            SELECT 99, tokenable_type, 9, name, token, abilities, expires_at, created_at
            FROM personal_access_tokens WHERE id = 17",
        keys: vec![
            (key(0), Expected { owner: "User:7", scopes: BOTH, ..PLAIN }),
            (
                key(1),
                Expected { owner: "User:8", scopes: ONLY_READ, expires_at: Some(EXPIRES), ..PLAIN },
            ),
            (key(2), Expected { owner: "User:7", ..PLAIN }),
            (key(3), Expected { owner: "Team:7", scopes: BOTH, ..PLAIN }),
            (key(4), Expected { refused: Some(VerifyError::Expired), ..PLAIN }),
        ],
        left_out: None,
    }
}

fn better_auth() -> Old {
    let letters = |letter: &str| format!("proj_{}", letter.repeat(64));
    let (plain, permitted, disabled) = (letters("a"), letters("Bc")[..69].to_owned(), letters("z"));
    let (since_when, unknown) = (letters("y"), letters("x"));
    let table = |time: &str, truth: &str, [yes, no]: [&str; 2], changed: &str| {
        let keys = [&plain, &permitted, &disabled, &since_when, &unknown];
        let [one, two, three, four, five] = keys.map(|key| base64url(key));
        let at = "'2024-01-02T03:04:05.000Z'";
        format!(
            "CREATE TABLE apikey (id text PRIMARY KEY, name text, start text, prefix text, key text,
               \"userId\" text, enabled {truth}, \"expiresAt\" {time}, \"createdAt\" {time},
               \"updatedAt\" {time}, permissions text);
             INSERT INTO apikey VALUES
               ('k3J9xQ2mN7pR5tV8wZ1aB4cD6eF0gH2j', NULL, 'proj_a', 'proj_', '{one}', 'user-7', {yes},
                NULL, {at}, {at}, NULL),
               ('l3J9xQ2mN7pR5tV8wZ1aB4cD6eF0gH2j', 'ci', 'proj_B', 'proj_', '{two}', 'user-8', {yes},
                '2030-01-01T03:00:00.000Z', {at}, {at}, '{{\"files\":[\"read\",\"write\"]}}'),
               ('m3J9xQ2mN7pR5tV8wZ1aB4cD6eF0gH2j', 'off', 'proj_z', 'proj_', '{three}', 'user-7', {no},
                NULL, {at}, {at}, NULL),
               ('o3J9xQ2mN7pR5tV8wZ1aB4cD6eF0gH2j', 'off', 'proj_y', 'proj_', '{four}', 'user-7', {no},
                NULL, {at}, {changed}, NULL),
               ('p3J9xQ2mN7pR5tV8wZ1aB4cD6eF0gH2j', 'off', 'proj_x', 'proj_', '{five}', 'user-7', NULL,
                NULL, {at}, NULL, NULL),
               ('q3J9xQ2mN7pR5tV8wZ1aB4cD6eF0gH2j', 'unhashed', 'proj_w', 'proj_', 'proj_www', 'user-7',
                {yes}, NULL, {at}, {at}, NULL),
               ('r3J9xQ2mN7pR5tV8wZ1aB4cD6eF0gH2j', 'none', 'proj_v', 'proj_', NULL, 'user-7',
                {yes}, NULL, {at}, {at}, NULL)"
        )
    };
    Old {
        name: "better-auth",
        format: BETTER_AUTH,
        table_name: "apikey",
        table: [
            table("text", "integer", ["1", "0"], UNREADABLE),
            table("timestamptz", "boolean", ["true", "false"], "NULL"),
            String::new(),
        ],
        duplicate: "INSERT INTO apikey
            SELECT 'n3J9xQ2mN7pR5tV8wZ1aB4cD6eF0gH2j', name, start, prefix, key, \"userId\", enabled,
              \"expiresAt\", \"createdAt\", \"updatedAt\", permissions
            FROM apikey WHERE start = 'proj_a'",
        keys: vec![
            (plain, Expected { scopes: BOTH, hint: Some("proj_a"), ..PLAIN }),
            (
                permitted,
                Expected {
                    owner: "user-8",
                    scopes: BOTH,
                    hint: Some("proj_B"),
                    expires_at: Some(EXPIRES),
                    ..PLAIN
                },
            ),
            (
                disabled,
                Expected {
                    scopes: BOTH,
                    hint: Some("proj_z"),
                    refused: Some(VerifyError::Suspended),
                    ..PLAIN
                },
            ),
            (since_when, Expected { refused: Some(VerifyError::Suspended), ..PLAIN }),
            (unknown, Expected { refused: Some(VerifyError::Suspended), ..PLAIN }),
        ],
        left_out: Some(2),
    }
}

fn prefixed() -> Old {
    let long = ["51FwqftsmMDHHbJAMEXXHCgG", "61FwqftsmMDHHbJAMEXXHCgG", "71FwqftsmMDHHbJAMEXXHCgG"];
    let table = |id: &str, [time, zone]: [&str; 2], ended: &str| {
        let [one, two, three] = long.map(hex);
        let at = format!("'2024-01-02 03:04:05{zone}'");
        format!(
            "CREATE TABLE api_keys (id {id} PRIMARY KEY, customer text, label text, short_token text,
               long_token_hash text, created_at {time}, revoked_at {time});
             INSERT INTO api_keys VALUES
               ('7c9e6679-7425-40de-944b-e07fc1f90ae7', 'user-7', 'one', 'BRTRKFsL', '{one}', {at}, NULL),
               ('8c9e6679-7425-40de-944b-e07fc1f90ae7', 'user-7', 'two', 'CRTRKFsL', '{two}', {at}, {at}),
               ('6c9e6679-7425-40de-944b-e07fc1f90ae7', 'user-7', 'three', 'DRTRKFsL', '{three}', {at},
                '{ended}')"
        )
    };
    Old {
        name: "prefixed-api-key",
        format: PREFIXED,
        table_name: "api_keys",
        table: [
            table("text", ["text", "Z"], UNREADABLE),
            table("uuid", ["timestamptz", "Z"], "2024-01-02 04:00:00Z"),
            table("char(36)", ["datetime", ""], TOO_LATE),
        ],
        duplicate:
            "INSERT INTO api_keys VALUES ('9c9e6679-7425-40de-944b-e07fc1f90ae7', 'user-7', 'one',
              'BRTRKFsL', (SELECT one.long_token_hash FROM api_keys AS one WHERE one.label = 'one'),
              '2024-01-02 03:04:05', NULL)",
        keys: vec![
            (
                format!("mycompany_BRTRKFsL_{}", long[0]),
                Expected { scopes: BOTH, hint: Some("mycompany_BRTRKFsL"), ..PLAIN },
            ),
            (
                format!("mycompany_CRTRKFsL_{}", long[1]),
                Expected {
                    scopes: BOTH,
                    hint: Some("mycompany_CRTRKFsL"),
                    refused: Some(VerifyError::Revoked),
                    ..PLAIN
                },
            ),
            (
                format!("mycompany_DRTRKFsL_{}", long[2]),
                Expected { refused: Some(VerifyError::Revoked), ..PLAIN },
            ),
        ],
        left_out: None,
    }
}

fn digests() -> Old {
    let keys =
        ["0123456789ABCDEF", "0123456789ABCDEE", "0123456789ABCDED"].map(|half| half.repeat(2));
    let table = |id: &str, [time, zone]: [&str; 2], ended: &str| {
        let [one, two, three] = keys.each_ref().map(|key| hex(key));
        let at = format!("'2024-01-02 03:04:05{zone}'");
        format!(
            "CREATE TABLE api_keys (id {id} PRIMARY KEY, project text, label text, sha256 text,
               revoked_at {time}, created_at {time});
             INSERT INTO api_keys VALUES
               (7, 'user-7', 'ingest', '{one}', NULL, {at}),
               (8, 'user-8', 'old', '{}', '2024-02-02 03:04:05{zone}', {at}),
               (9, 'user-8', 'old', '{three}', '{ended}', {at})",
            two.to_uppercase()
        )
    };
    let [one, two, three] = keys.clone();
    Old {
        name: "sha256",
        format: OLD,
        table_name: "api_keys",
        table: [
            table("INTEGER", ["TEXT", "Z"], UNREADABLE),
            table("bigint", ["timestamptz", "Z"], "2024-01-02 04:00:00Z"),
            table("bigint", ["datetime", ""], TOO_LATE),
        ],
        duplicate: "INSERT INTO api_keys SELECT 99, project, label, sha256, revoked_at, created_at
            FROM api_keys WHERE id = 7",
        keys: vec![
            (one, Expected { scopes: BOTH, ..PLAIN }),
            (
                two,
                Expected {
                    owner: "user-8",
                    scopes: BOTH,
                    refused: Some(VerifyError::Revoked),
                    ..PLAIN
                },
            ),
            (three, Expected { refused: Some(VerifyError::Revoked), ..PLAIN }),
        ],
        left_out: None,
    }
}

/// The first block as an operator writes it.
fn parameters(dialect: &str, old: &Old) -> String {
    let kind = format!("'{}'", old.format.kind().as_str());
    let block = block(&format!("{dialect} parameters"));
    block.replace("'old'", &kind).replace("''", "'files:write files:read'")
}

/// The numbers that an import prints.
fn counts(left_out: Option<i64>, before: usize, now: usize) -> Vec<(String, i64)> {
    let left_out = left_out.map(|number| ("left_out", number)).into_iter();
    left_out
        .chain([("imported_before", before as i64), ("imported", now as i64)])
        .map(|(name, number)| (name.to_owned(), number))
        .collect()
}

/// An issuer as the service has it that takes over the keys.
fn issuer<R: KeyRegistry>(store: R, format: LegacyFormat) -> Issuer<R> {
    let formats = KeyFormats::new([NEW]).unwrap().with_legacy(format).unwrap();
    let hasher = KeyHasher::sha256()
        .accept(HashScheme::Sha256Token)
        .and_then(|hasher| hasher.accept(HashScheme::Sha256Body))
        .unwrap();
    let catalog = ScopeCatalog::new([READ, WRITE])
        .and_then(|catalog| catalog.allow(format.kind(), [], [READ, WRITE]))
        .and_then(|catalog| catalog.allow(NEW.kind(), [], [READ, WRITE]))
        .unwrap();
    Issuer::with_catalog(store, formats, hasher, catalog)
}

async fn verify<R: KeyRegistry>(issuer: &Issuer<R>, key: &str) -> Result<Verified, VerifyError> {
    let verifier = issuer.verifier();
    let lookup = verifier.lookup(&issuer.formats().parse(key).unwrap());
    let found = issuer.registry().find(&lookup).await.unwrap();
    verifier.verify(&lookup, found, later())
}

/// After the creation of the imported keys.
fn later() -> Timestamp {
    CREATED + std::time::Duration::from_secs(86_400)
}

async fn records<R: KeyRegistry>(issuer: &Issuer<R>) -> Vec<KeyRecord> {
    let listed = issuer.registry().list_all(PageRequest::first(100)).await.unwrap();
    listed.keys.iter().map(|found| found.record().clone()).collect()
}

macro_rules! imports {
    ($module:ident, $store:ty, $dialect:literal, $number:literal) => {
        mod $module {
            use super::*;

            /// Returns the numbers that are printed, by name.
            async fn import(store: &$store, old: &Old) -> Result<Vec<(String, i64)>, sqlx::Error> {
                let shape = block(&format!("{} {}", $dialect, old.name));
                import_with(store, old, shape).await
            }

            async fn import_with(
                store: &$store,
                old: &Old,
                shape: &str,
            ) -> Result<Vec<(String, i64)>, sqlx::Error> {
                let mut connection = store.pool().acquire().await.unwrap();
                let sql = [&*parameters($dialect, old), shape, block(concat!($dialect, " finish"))];
                let mut printed = Vec::new();
                for sql in sql {
                    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
                    match sql.fetch_all(&mut *connection).await {
                        Ok(rows) => printed.extend(
                            rows.iter().map(|row| (row.column(0).name().to_owned(), row.get(0))),
                        ),
                        Err(error) => {
                            // As a client that ends at the first error.
                            connection.close().await.unwrap();
                            return Err(error);
                        }
                    }
                }
                Ok(printed)
            }

            async fn run(store: &$store, sql: &str) {
                let sql = AssertSqlSafe(sql.to_owned());
                sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
            }

            pub(super) async fn takes_over(store: $store, old: Old) {
                run(&store, &old.table[$number]).await;
                let issuer = issuer(store.clone(), old.format);

                // One bad row, and nothing is imported.
                run(&store, old.duplicate).await;
                let refused = import(&store, &old).await.unwrap_err();
                assert!(matches!(refused, sqlx::Error::Database(_)), "{refused:?}");
                assert!(records(&issuer).await.is_empty(), "{}", old.name);
                run(&store, &format!("DROP TABLE {}; {}", old.table_name, old.table[$number])).await;

                let keys = old.keys.len();
                let printed = import(&store, &old).await.unwrap();
                assert_eq!(printed, counts(old.left_out, 0, keys));
                assert_eq!(records(&issuer).await.len(), keys);
                assert!(store.check_rows().await.unwrap().is_clean());
                for (key, expected) in &old.keys {
                    let verified = verify(&issuer, key).await;
                    if let Some(refused) = expected.refused {
                        assert_eq!(verified.err(), Some(refused), "{key}");
                        continue;
                    }
                    let verified = verified.unwrap();
                    let record = verified.record();
                    assert_eq!(verified.owner_id().as_str(), expected.owner, "{key}");
                    assert_eq!(verified.kind(), old.format.kind());
                    assert_eq!(verified.scopes().iter().cloned().collect::<Vec<_>>(), expected.scopes);
                    assert_eq!(record.created_at(), CREATED, "{key}");
                    assert_eq!(record.expires_at(), expected.expires_at, "{key}");
                    assert_eq!(record.hint().map(|hint| hint.as_str()), expected.hint);

                    // The hash becomes one of the current scheme when the key is used.
                    assert!(issuer.rehash(&verified, later()).await.unwrap());
                    let verified = verify(&issuer, key).await.unwrap();
                    assert!(verified.rehash().is_none());
                    let scheme = verified.record().current().hash.scheme();
                    assert_eq!(scheme, HashScheme::Sha256Secret);
                }

                // A second run changes nothing, also not a key that was replaced meanwhile.
                let (first, _) = &old.keys[0];
                let leaked = verify(&issuer, first).await.unwrap();
                issuer.rotate_now(leaked.key_id(), &mut SysRng, later()).await.unwrap();
                let before = records(&issuer).await;
                let printed = import(&store, &old).await.unwrap();
                assert_eq!(printed, counts(old.left_out, keys, 0));
                assert_eq!(records(&issuer).await, before);
                assert_eq!(verify(&issuer, first).await.err(), Some(VerifyError::Unknown));
            }

            /// A second table with the numbers of the first one.
            pub(super) async fn keeps_tables_apart(store: $store, [number, apart]: [&str; 2]) {
                let old = digests();
                run(&store, &old.table[$number]).await;
                let issuer = issuer(store.clone(), old.format);
                import(&store, &old).await.unwrap();
                let first = records(&issuer).await;

                let key = "0123456789ABCDEC".repeat(2);
                let second = format!(
                    "DELETE FROM api_keys WHERE id <> 7;
                     UPDATE api_keys SET project = 'user-9', sha256 = '{}'",
                    hex(&key)
                );
                run(&store, &second).await;
                let refused = import(&store, &old).await.unwrap_err();
                let refused = refused.as_database_error().unwrap();
                assert!(refused.is_unique_violation(), "{refused:?}");
                assert_eq!(records(&issuer).await, first);

                let page = include_str!("../src/import.md").replace("\\|", "|");
                assert!(page.contains(&format!("`{apart}`")));
                let shape = block(concat!($dialect, " sha256"));
                assert!(shape.contains(number));
                import_with(&store, &old, &shape.replace(number, apart)).await.unwrap();
                let verified = verify(&issuer, &key).await.unwrap();
                assert_eq!(verified.owner_id().as_str(), "user-9");
                assert_eq!(records(&issuer).await.len(), first.len() + 1);
            }

            /// Keys in plaintext, by one call for each row.
            pub(super) async fn takes_over_plaintext(store: $store) {
                let key = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
                run(
                    &store,
                    &format!(
                        "CREATE TABLE accounts (number bigint, account text, token text);
                         INSERT INTO accounts VALUES (7, 'user-7', '{key}'), (8, 'user-8', 'no key')"
                    ),
                )
                .await;
                let issuer = issuer(store.clone(), UUID);
                let rows = sqlx::query("SELECT number, account, token FROM accounts ORDER BY number");
                let rows = rows.fetch_all(store.pool()).await.unwrap();
                for (row, fits) in rows.iter().zip([true, false]) {
                    let number: i64 = row.get("number");
                    let account: &str = row.get("account");
                    let text: &str = row.get("token");
                    let id = KeyId::from_bytes(u128::from(number as u64).to_be_bytes());
                    let draft = || KeyDraft::new(account.parse().unwrap(), "old".parse().unwrap());
                    let imported = issuer.import_plaintext(id, draft(), text, CREATED, later()).await;
                    match imported {
                        Ok(_) => assert!(fits),
                        Err(error) => assert!(!fits && matches!(error, IssuerError::Parse(_))),
                    }
                    let again = issuer.import_plaintext(id, draft(), text, CREATED, later()).await;
                    let duplicate = matches!(again, Err(IssuerError::DuplicateId));
                    assert_eq!(duplicate, fits);
                }
                let verified = verify(&issuer, key).await.unwrap();
                assert_eq!(verified.owner_id().as_str(), "user-7");
                assert_eq!(verified.record().state(), KeyState::Active);
                assert!(verified.rehash().is_none(), "it has a hash of the current scheme");
            }
        }
    };
}

imports!(sqlite, SqliteStore, "sqlite", 0);
imports!(on_postgres, PostgresStore, "postgres", 1);
imports!(on_mysql, MySqlStore, "mysql", 2);

/// Runs all statements in SQLite, as its shell does without `-bail`, and returns how many failed.
async fn run_as_a_shell(store: &SqliteStore, statements: &[&str]) -> usize {
    let mut connection = store.pool().acquire().await.unwrap();
    // The default of the shell.
    sqlx::raw_sql("PRAGMA foreign_keys = OFF").execute(&mut *connection).await.unwrap();
    let mut failed = 0;
    for statement in statements {
        let sql = AssertSqlSafe((*statement).to_owned());
        failed += usize::from(sqlx::raw_sql(sql).execute(&mut *connection).await.is_err());
    }
    connection.close().await.unwrap();
    failed
}

#[test]
fn a_shell_of_sqlite_that_continues_after_an_error_imports_nothing() {
    let dir = TempDir::new();
    OnTokio.block_on(async {
        let (store, old) = (sqlite_store(&dir).await, better_auth());
        let sql = parameters("sqlite", &old) + block("sqlite better-auth") + block("sqlite finish");
        let all: Vec<&str> = sql.split_inclusive(";\n").collect();
        let (begin, of_all): (Vec<&str>, _) = all.iter().partition(|sql| sql.starts_with("BEGIN"));
        let without_begin: Vec<&str> = of_all;
        assert_eq!(begin.len(), 1);
        let count = async |table: &str| -> i64 {
            let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            sqlx::query(sql).fetch_one(store.pool()).await.unwrap().get(0)
        };

        let one = "UPDATE apikey SET";
        let bad = [
            old.duplicate.to_owned(),
            format!("{one} start = 'no hint' WHERE name = 'ci'"),
            format!("{one} start = x'ff' WHERE name = 'ci'"),
            format!("{one} \"userId\" = '' WHERE name = 'ci'"),
            format!("{one} \"userId\" = x'41' WHERE name = 'ci'"),
            format!("{one} \"createdAt\" = 'long ago' WHERE name = 'ci'"),
            format!("{one} permissions = 'no JSON' WHERE name = 'ci'"),
            format!("{one} id = 'k3J9xQ2mN7pR5tV8and another end' WHERE name = 'ci'"),
        ];
        for bad in bad {
            // Also where another process held the lock when the transaction was to begin.
            for statements in [&all, &without_begin] {
                let table = format!("DROP TABLE IF EXISTS apikey; {}; {bad}", old.table[0]);
                sqlx::raw_sql(AssertSqlSafe(table)).execute(store.pool()).await.unwrap();
                assert!(run_as_a_shell(&store, statements).await > 0, "{bad}");
                assert_eq!(count("keyward_keys").await, 0, "{bad}");
                assert_eq!(count("keyward_secrets").await, 0, "{bad}");
            }
        }

        let table = format!("DROP TABLE apikey; {}", old.table[0]);
        sqlx::raw_sql(AssertSqlSafe(table)).execute(store.pool()).await.unwrap();
        assert_eq!(run_as_a_shell(&store, &all).await, 0);
        assert_eq!(count("keyward_secrets").await, old.keys.len() as i64);
    });
}

macro_rules! tests {
    ($($test:ident: $old:ident),*; also in MySQL: $($also:ident: $also_old:ident),* $(,)?) => {
        mod in_sqlite {
            use super::*;
            $(
                #[test]
                fn $test() {
                    let dir = TempDir::new();
                    OnTokio.block_on(async {
                        sqlite::takes_over(sqlite_store(&dir).await, $old()).await;
                    });
                }
            )*

            #[test]
            fn a_table_of_uuids_is_taken_over() {
                let dir = TempDir::new();
                OnTokio.block_on(async {
                    sqlite::takes_over_plaintext(sqlite_store(&dir).await).await;
                });
            }

            #[test]
            fn ids_of_two_tables_are_kept_apart() {
                let dir = TempDir::new();
                OnTokio.block_on(async {
                    let ids = ["printf('%032x', old.id)", "printf('2%031x', old.id)"];
                    sqlite::keeps_tables_apart(sqlite_store(&dir).await, ids).await;
                });
            }
        }

        mod in_postgres {
            use super::*;
            $(
                #[test]
                fn $test() {
                    OnTokio.block_on(async {
                        let Some(store) = postgres_store(stringify!($test)).await else { return };
                        on_postgres::takes_over(store, $old()).await;
                    });
                }
            )*

            #[test]
            fn a_table_of_uuids_is_taken_over() {
                OnTokio.block_on(async {
                    let Some(store) = postgres_store("a_table_of_uuids").await else { return };
                    on_postgres::takes_over_plaintext(store).await;
                });
            }

            #[test]
            fn ids_of_two_tables_are_kept_apart() {
                OnTokio.block_on(async {
                    let Some(store) = postgres_store("ids_of_two_tables").await else { return };
                    let ids =
                        ["lpad(to_hex(old.id), 32, '0')", "'2' || lpad(to_hex(old.id), 31, '0')"];
                    on_postgres::keeps_tables_apart(store, ids).await;
                });
            }
        }

        mod in_mysql {
            use super::*;
            $(
                #[test]
                fn $also() {
                    OnTokio.block_on(async {
                        let Some(store) = mysql_store(stringify!($also)).await else { return };
                        on_mysql::takes_over(store, $also_old()).await;
                    });
                }
            )*

            #[test]
            fn a_table_of_uuids_is_taken_over() {
                OnTokio.block_on(async {
                    let Some(store) = mysql_store("a_table_of_uuids").await else { return };
                    on_mysql::takes_over_plaintext(store).await;
                });
            }

            #[test]
            fn ids_of_two_tables_are_kept_apart() {
                OnTokio.block_on(async {
                    let Some(store) = mysql_store("ids_of_two_tables").await else { return };
                    let ids = [
                        "LPAD(LOWER(HEX(old.id)), 32, '0')",
                        "CONCAT('2', LPAD(LOWER(HEX(old.id)), 31, '0'))",
                    ];
                    on_mysql::keeps_tables_apart(store, ids).await;
                });
            }
        }
    };
}

tests!(
    a_table_of_sanctum_is_taken_over: sanctum,
    a_table_of_better_auth_is_taken_over: better_auth,
    a_table_of_prefixed_api_keys_is_taken_over: prefixed,
    a_table_of_digests_is_taken_over: digests;
    also in MySQL:
    a_table_of_sanctum_is_taken_over: sanctum,
    a_table_of_prefixed_api_keys_is_taken_over: prefixed,
    a_table_of_digests_is_taken_over: digests,
);
