//! Keys of [`keyward`] in a database: [`SqliteStore`] and [`PostgresStore`], over
//! [sqlx](https://docs.rs/sqlx).
//!
//! Each is a [`KeyRegistry`](keyward::store::KeyRegistry) over a pool that the host made, with its own
//! tables beside the host's: all names begin with `keyward_`, and which of the crate's migrations
//! have run stands in `keyward_migrations`, so a host's own `_sqlx_migrations` is untouched.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use keyward::{Issuer, KeyDraft, KeyFormat, KeyHasher, SysRng, Timestamp};
//! use keyward_sqlx::SqliteStore;
//! use sqlx::SqlitePool;
//!
//! const INGEST: KeyFormat = KeyFormat::hex("lqt_");
//! # let path = std::env::temp_dir().join(format!("keyward-doc-{}.db", std::process::id()));
//! let pool = SqlitePool::connect_with(SqliteStore::options(&path)).await?;
//! let store = SqliteStore::new(pool);
//! store.migrate().await?;
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
//! | `keyward_owners` | an owner that was put | `id`, `tier`, `quotas` |
//! | `keyward_keys` | a key | `id`, `owner`, `name`, `scopes`, `quotas`, `created_at`, `expires_at`, `state`, `state_since`, `ends_at` (computed), `revision` |
//! | `keyward_secrets` | a secret, by its hash | `hash`, `key_id`, `place` (0 is the current one, then retiring ones, oldest first), `kind`, `hint`, `created_at`, `valid_until` |
//! | `keyward_usage` | how often a key was used | `key_id`, `requests`, `last_used_at` |
//!
//! Instants are Unix milliseconds. Ids are the text of [`KeyId`](keyward::key::KeyId), 32 lower-case
//! hexadecimal characters, so that what stands in a log or a URL can be put in a query. Hashes
//! are the text of [`KeyHash`](keyward::key::KeyHash), `sha256:` and 64 hexadecimal characters for
//! example: it names its scheme, there is one text a hash, and a person can compare it. Bytes
//! would take half the room of the index. Quotas are `limit/milliseconds/exact` or `…/coarse`,
//! with commas between several; they are read with their row and never searched by.
//!
//! A lookup is one query by the unique index of the hashes, for all candidates at once, and
//! returns the key, all its secrets and its owner as of the same instant.
//!
//! What does not make a record is never passed over: it is
//! [`SqlStoreError::Corrupt`], which names the key and the column.
//!
//! # Caches
//!
//! On PostgreSQL each change is announced by `NOTIFY` on the channel `keyward`, in the transaction
//! that makes it, and `ChangeListener` (feature `postgres`) tells a cache in front of the store.
//! SQLite announces nothing: of what other processes do a cache learns when its entries run out.
//!
//! # Features
//!
//! `sqlite` and `postgres`; neither is on by default, for each brings a driver that whoever uses
//! the other would build for nothing. The runtime and TLS are chosen by sqlx's own features, such
//! as `sqlx/runtime-tokio`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod columns;
mod error;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod outcome;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod quota_text;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod usage_rows;

pub use error::{DatabaseMessage, MigrateError, SqlStoreError};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use postgres::{ChangeListener, ListenerReport, PostgresStore};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite::SqliteStore;

/// The examples of the README, compiled.
#[cfg(all(doctest, feature = "postgres", feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
