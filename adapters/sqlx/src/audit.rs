//! Events in the table `keyward_audit`.

use keyward::{
    Timestamp,
    audit::{AuditCursor, AuditEntry, AuditFilter, AuditPage, DamagedEntry},
};
use sqlx::Pool;

use crate::{
    SqlStoreError,
    columns::millis,
    dialect::{Dialect, Statement, Transaction, retrying},
    listing::{Entry, Next, cut},
    rows::{ReadRow, read_entry, read_entry_cursor},
};

/// Appends one entry. Parameters: the instant, the action, the key, the owner, the kind, the actor,
/// the id of the request, the detail.
const APPEND: &str =
    "INSERT INTO keyward_audit (at, action, key_id, owner, kind, actor, request_id, detail)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// The statement that returns a page. The columns of the condition differ, and not its parameters,
/// so that each statement has an index. `at <= $1` bounds the range in it: MySQL and MariaDB compare a row
/// of values without an index, and read all later entries first. With an owner or a key in the
/// condition, MariaDB still reads the later entries of that owner or key. Parameters: the instant and the
/// number of the position before which the entries are, the earliest instant, the largest number, then
/// the owner, the key.
macro_rules! page_statement {
    ($condition:literal) => {
        concat!(
            "SELECT at, number, action, key_id, owner, kind, actor, request_id, detail
             FROM keyward_audit
             WHERE at <= $1 AND (at < $1 OR number < $2) AND at >= $3",
            $condition,
            " ORDER BY at DESC, number DESC LIMIT $4"
        )
    };
}

pub(crate) const PAGE: &str = page_statement!("");
pub(crate) const PAGE_OF_OWNER: &str = page_statement!(" AND owner = $5");
pub(crate) const PAGE_OF_KEY: &str = page_statement!(" AND key_id = $5");
pub(crate) const PAGE_OF_BOTH: &str = page_statement!(" AND owner = $5 AND key_id = $6");

pub(crate) async fn append<D: Dialect>(
    pool: &Pool<D>,
    entries: &[AuditEntry],
) -> Result<(), SqlStoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    retrying::<D, _, _, _>(|| async {
        let mut transaction = D::begin(pool).await?;
        for entry in entries {
            D::execute(transaction.connection(), bind_entry(entry)).await?;
        }
        transaction.commit().await?;
        Ok(())
    })
    .await
}

fn bind_entry<D: Dialect>(entry: &AuditEntry) -> Statement<D> {
    let statement = D::integer(Statement::new(APPEND), Some(millis(entry.at)));
    let statement = D::text(statement, Some(entry.action.to_string()));
    let statement = D::text(statement, entry.key.map(|key| key.to_string()));
    let statement = D::text(statement, entry.owner.as_ref().map(|owner| owner.to_string()));
    let statement = D::text(statement, entry.kind.map(|kind| kind.to_string()));
    let statement = D::text(statement, entry.actor.as_ref().map(|actor| actor.to_string()));
    let statement = D::text(statement, entry.request_id.as_ref().map(|id| id.to_string()));
    D::text(statement, entry.detail.as_ref().map(|detail| detail.to_string()))
}

pub(crate) async fn page<D: Dialect>(
    pool: &Pool<D>,
    filter: &AuditFilter,
    after: Option<AuditCursor>,
    size: u16,
) -> Result<AuditPage, SqlStoreError> {
    let sql = match (&filter.owner, &filter.key) {
        (None, None) => PAGE,
        (Some(_), None) => PAGE_OF_OWNER,
        (None, Some(_)) => PAGE_OF_KEY,
        (Some(_), Some(_)) => PAGE_OF_BOTH,
    };
    // No entry has number 0, so the instant alone decides there.
    let before = filter.before.map_or(i64::MAX, millis);
    let mut position = match after {
        Some(after) if millis(after.at) < before => {
            (millis(after.at), i64::try_from(after.number).unwrap_or(i64::MAX))
        }
        _ => (before, 0),
    };
    let size = AuditPage::size(size);
    let mut connection = pool.acquire().await?;
    let (mut entries, mut damaged) = (Vec::new(), Vec::new());
    loop {
        let (at, number) = position;
        let query = D::integer(D::integer(Statement::new(sql), Some(at)), Some(number));
        let query = D::integer(query, Some(filter.since.map_or(0, millis)));
        let mut query = D::integer(query, Some(size as i64 + 1));
        if let Some(owner) = &filter.owner {
            query = D::text(query, Some(owner.to_string()));
        }
        if let Some(key) = &filter.key {
            query = D::text(query, Some(key.to_string()));
        }
        let rows = D::fetch(&mut connection, query).await?;
        let mut read: Vec<_> = rows.iter().map(entry_of).collect();
        let next = cut(&mut read, size)?;
        for one in read {
            match one.item {
                Ok(entry) => entries.push(entry),
                Err(damage) => damaged.push(damage),
            }
        }
        match next {
            Next::End(next) => return Ok(AuditPage::new(entries, next).with_damaged(damaged)),
            Next::More(after) => position = after,
        }
    }
}

/// Reads a row of a page. A damaged one has a place in the order too: its instant and its number.
fn entry_of<R: ReadRow>(row: &R) -> Entry<AuditEntry, DamagedEntry, AuditCursor, (i64, i64)> {
    let integer = |column| row.integer(column).ok().flatten();
    let position = integer("at").zip(integer("number"));
    Entry { item: read_entry(row), cursor: read_entry_cursor(row), position }
}

pub(crate) async fn remove_before<D: Dialect>(
    pool: &Pool<D>,
    before: Timestamp,
    limit: u32,
) -> Result<u64, SqlStoreError> {
    retrying::<D, _, _, _>(|| async {
        let remove = D::integer(Statement::new(D::STATEMENTS.remove_audit), Some(millis(before)));
        let remove = D::integer(remove, Some(limit.into()));
        let mut connection = pool.acquire().await?;
        Ok(D::execute(&mut connection, remove).await?)
    })
    .await
}

/// Implements [`AuditStore`](keyward::audit::AuditStore) for a store with a `pool`.
macro_rules! audit_store {
    ($store:ty) => {
        impl $store {
            /// The statements of [`AuditStore::page`](keyward::audit::AuditStore::page), for `EXPLAIN`:
            /// of all entries, those of an owner, of a key and of both. Their parameters are written `$1`
            /// to `$6`: the instant and the number of the position before which the entries are, the
            /// earliest instant, the size of the page plus one, then the owner, the key.
            pub const AUDIT_SQL: [&'static str; 4] = [
                $crate::audit::PAGE,
                $crate::audit::PAGE_OF_OWNER,
                $crate::audit::PAGE_OF_KEY,
                $crate::audit::PAGE_OF_BOTH,
            ];
        }

        impl keyward::audit::AuditStore for $store {
            type Error = $crate::SqlStoreError;

            async fn append(
                &self,
                entries: &[keyward::audit::AuditEntry],
            ) -> Result<(), $crate::SqlStoreError> {
                $crate::audit::append(&self.pool, entries).await
            }

            async fn page(
                &self,
                filter: &keyward::audit::AuditFilter,
                after: Option<keyward::audit::AuditCursor>,
                size: u16,
            ) -> Result<keyward::audit::AuditPage, $crate::SqlStoreError> {
                $crate::audit::page(&self.pool, filter, after, size).await
            }

            async fn remove_before(
                &self,
                before: keyward::Timestamp,
                limit: u32,
            ) -> Result<u64, $crate::SqlStoreError> {
                $crate::audit::remove_before(&self.pool, before, limit).await
            }
        }
    };
}
pub(crate) use audit_store;
