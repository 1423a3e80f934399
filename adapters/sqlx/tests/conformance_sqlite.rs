//! `SqliteStore` passes the public conformance suite, on real files.

mod support;

use std::ops::Deref;

use keyward::testing::BlockOn as _;
use keyward_sqlx::SqliteStore;
use support::{OnTokio, TempDir, sqlite_store};

/// A store with the directory of its file.
struct InDir {
    store: SqliteStore,
    _dir: TempDir,
}

impl Deref for InDir {
    type Target = SqliteStore;

    fn deref(&self) -> &SqliteStore {
        &self.store
    }
}

fn fresh() -> InDir {
    let dir = TempDir::new();
    InDir { store: OnTokio.block_on(sqlite_store(&dir)), _dir: dir }
}

keyward::conformance_tests!(OnTokio, *fresh());

/// As an audit store.
mod audit {
    use super::{OnTokio, fresh};

    keyward::audit_conformance_tests!(OnTokio, *fresh());
}
