//! The tables in PostgreSQL, by version.

/// Locks out other migrations until the end of the transaction, so that two processes that start
/// together do not make the same table twice.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";

/// Makes the table of migrations.
pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS keyward_migrations (
       version bigint PRIMARY KEY,
       applied_at timestamptz NOT NULL DEFAULT now()
     )";

/// Each brings the tables from the version before it to its own, counted from 1.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("0001_tables.sql"),
    include_str!("0002_notify.sql"),
    include_str!("0003_records.sql"),
    include_str!("0004_history.sql"),
    include_str!("0005_cap.sql"),
];
