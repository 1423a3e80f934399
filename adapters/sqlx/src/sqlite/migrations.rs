//! The tables in SQLite, by version.

/// Makes the table of migrations.
pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS keyward_migrations (
       version INTEGER PRIMARY KEY,
       applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
     ) STRICT";

/// Each brings the tables from the version before it to its own, counted from 1.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("0001_tables.sql"),
    include_str!("0002_records.sql"),
    include_str!("0003_history.sql"),
    include_str!("0004_cap.sql"),
];
