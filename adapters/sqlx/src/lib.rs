//! Stores of [`keyward`] in a database: `SqliteStore` (feature `sqlite`),
//! `PostgresStore` (feature `postgres`) and `MySqlStore` (feature `mysql`, also for MariaDB), over
//! [sqlx](https://docs.rs/sqlx).
//!
//! Each is a [`KeyRegistry`](keyward::store::KeyRegistry), a
//! [`UsageHistory`](keyward::usage::UsageHistory) and an [`AuditStore`](keyward::audit::AuditStore)
//! over a pool, its own or one of the host. It has its
//! own tables, which can be in the same database as the host's. All names begin with `keyward_`. The crate records its
//! migrations in `keyward_migrations` and does not touch the host's `_sqlx_migrations`.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use keyward::{Issuer, KeyDraft, KeyFormat, KeyHasher, SysRng, Timestamp};
//! use keyward_sqlx::SqliteStore;
//!
//! const INGEST: KeyFormat = KeyFormat::hex("lqt_");
//! # let path = std::env::temp_dir().join(format!("keyward-doc-{}.db", std::process::id()));
//! let store = SqliteStore::open(&path).await?; // creates or updates the tables
//!
//! let issuer = Issuer::new(store, INGEST, KeyHasher::sha256());
//! let draft = KeyDraft::new("proj_abc123".parse()?, "ingest".parse()?);
//! let now = Timestamp::from_unix_secs(1_700_000_000);
//! let issued = issuer.issue(INGEST.kind(), draft, &mut SysRng, now).await?;
//! issuer.revoke(issued.record.id(), now).await?;
//! # drop(issuer);
//! # for end in ["", "-wal", "-shm"] {
//! #     let _ = std::fs::remove_file(format!("{}{end}", path.display()));
//! # }
//! # Ok(()) }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```
//!
//! # The tables
//!
//! | table | a row is | columns |
//! |---|---|---|
//! | `keyward_owners` | an owner that was put | `id`, `tier`, `overrides`, `state` (`active` or `suspended`), `state_since`, `key_cap` |
//! | `keyward_keys` | a key | `id`, `owner`, `name`, `scopes`, `overrides`, `created_at`, `expires_at`, `state`, `state_since`, `ends_at` (computed), `revision`, `nonce`, `networks`, `origins`, `metadata`, `created_by`, `revocation_reason` |
//! | `keyward_secrets` | a secret, by its hash | `hash`, `key_id`, `place` (0 is the current one, then retiring ones, oldest first), `kind`, `hint`, `created_at`, `valid_until`; except on PostgreSQL `revision`, for the triggers |
//! | `keyward_usage` | how often a key was used | `key_id`, `requests`, `last_used_at` |
//! | `keyward_usage_buckets` | how often a key was used in a minute, an hour or a day | `key_id`, `span`, `begins_at`, `requests` |
//! | `keyward_audit` | an event | `number`, `at`, `action`, `key_id`, `owner`, `kind`, `actor`, `request_id`, `detail` |
//!
//! Instants are Unix milliseconds. An id is the text of [`KeyId`](keyward::key::KeyId), 32 lower-case hexadecimal
//! characters, so that an id from a log or a URL can be used in a query. A hash is the text of
//! [`KeyHash`](keyward::key::KeyHash), for example `sha256:` and 64 hexadecimal characters. The text names the scheme, is
//! unique for a hash, and can be compared by eye. Bytes would halve the size of the index.
//! Overrides are the text of [`Overrides`](keyward::quota::Overrides), for example
//! `default=100/min; exports=blocked`, and `NULL` if there are none. They are read together with
//! their row and never searched for.
//!
//! A lookup is one query by the unique index of the hashes, for all candidates together. It returns
//! the key, all of its secrets and its owner as of the same instant.
//!
//! Triggers raise the `revision` of a key when a row of it or of its secrets changes by hand. So a
//! change that was decided before is refused and does not undo it. A key that is deleted and inserted
//! again by hand begins at the revision that is inserted, with another nonce, so that a change which
//! was decided before is refused as well. A row without a nonce gets one.
//!
//! A row that does not form a record is an error, [`SqlStoreError::Corrupt`], which names the key
//! and the column. It is never skipped. A listing reports it beside the other keys. The checks of the
//! tables refuse most of such rows, and `check_rows` of a store finds all (`RowReport`).
//!
//! # Caches
//!
//! PostgreSQL announces each change by `NOTIFY` on the channel `keyward`, in the transaction that
//! makes it, and `ChangeListener` (feature `postgres`) notifies a cache in front of the store.
//! The others announce nothing: a cache sees changes of other processes when its entries expire.
//!
//! # Features
//!
//! `sqlite`, `postgres` and `mysql`. None is on by default, because each adds a driver that users of the
//! others do not need. Features of sqlx, such as `sqlx/runtime-tokio`, choose the runtime and TLS.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod audit;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod check;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod columns;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod dialect;
mod error;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod listing;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod registry;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod statements;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod tables;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod transaction;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod usage;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod withdraw;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub use check::RowReport;
pub use error::{DatabaseMessage, MigrateError, SqlStoreError};
#[cfg(feature = "mysql")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql")))]
pub use mysql::MySqlStore;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use postgres::{ChangeListener, ListenerReport, PostgresStore};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite::SqliteStore;

#[cfg(any(doc, doctest))]
#[doc = include_str!("import.md")]
pub mod import {}

/// The examples of the README, compiled.
#[cfg(all(doctest, feature = "mysql", feature = "postgres", feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
