//! The store of the keys: in memory, or in a database, which keeps them after the service ends.

use std::{error::Error, sync::Arc};

use keyward::{MemoryStore, store::DynKeyRegistry};
use keyward_sqlx::{PostgresStore, SqliteStore};

/// The store of the keys. It has no `Debug`, because a URL can contain a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// In memory, until the service ends.
    Memory,
    /// In an SQLite file.
    Sqlite(String),
    /// In PostgreSQL, with the whole URL.
    Postgres(String),
}

impl Database {
    /// Reads `sqlite:keys.db` or `postgres://…`; `None` if it is neither.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        match url.split_once(':')? {
            ("sqlite", file) if !file.is_empty() => Some(Self::Sqlite(file.to_owned())),
            ("postgres" | "postgresql", rest) if rest.starts_with("//") => {
                Some(Self::Postgres(url.to_owned()))
            }
            _ => None,
        }
    }

    /// Opens the store and migrates its tables.
    pub(crate) async fn open(&self) -> Result<Arc<dyn DynKeyRegistry>, Box<dyn Error>> {
        Ok(match self {
            Self::Memory => Arc::new(MemoryStore::new()),
            Self::Sqlite(file) => Arc::new(SqliteStore::open(file).await?),
            Self::Postgres(url) => Arc::new(PostgresStore::connect(url).await?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_database() {
        for (url, expected) in [
            ("sqlite:keys.db", Some(Database::Sqlite("keys.db".to_owned()))),
            ("sqlite:/a b/c.db", Some(Database::Sqlite("/a b/c.db".to_owned()))),
            ("postgres://u@h/d", Some(Database::Postgres("postgres://u@h/d".to_owned()))),
            ("postgresql://u@h/d", Some(Database::Postgres("postgresql://u@h/d".to_owned()))),
            ("sqlite:", None),
            ("keys.db", None),
            ("postgres:d", None),
            ("mysql://u@h/d", None),
            ("", None),
        ] {
            assert!(Database::parse(url) == expected, "{url}");
        }
    }
}
