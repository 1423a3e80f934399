//! Finding all rows that cannot be read.

use keyward::store::{DamagedKey, DamagedOwner, OwnerPageRequest, PageRequest};
use sqlx::Pool;

use crate::{
    SqlStoreError,
    dialect::{Dialect, Statement},
    listing::{list, list_owners},
    rows::{ReadRow as _, read_id, read_usage},
    tables::Tables,
};

/// The rows of the tables that cannot be read, as `check_rows` of a store found them.
///
/// A damaged key is named by one damaged column. There can be others in its row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowReport {
    /// The number of keys, damaged ones included.
    pub checked_keys: u64,
    /// The number of owners, damaged ones included.
    pub checked_owners: u64,
    /// The keys whose rows do not form a record, and secrets and usage of keys that do not exist.
    pub keys: Vec<DamagedKey>,
    /// The owners whose rows do not form an owner.
    pub owners: Vec<DamagedOwner>,
}

impl RowReport {
    /// Returns whether all rows can be read.
    pub const fn is_clean(&self) -> bool {
        self.keys.is_empty() && self.owners.is_empty()
    }
}

/// Reads all rows, in pages.
pub(crate) async fn check_rows<D: Dialect>(pool: &Pool<D>) -> Result<RowReport, SqlStoreError> {
    let mut report = RowReport::default();
    let mut page = PageRequest::first(PageRequest::MAX_SIZE);
    loop {
        let mut listing = list(pool, None, page).await?;
        report.checked_keys += (listing.keys.len() + listing.damaged.len()) as u64;
        report.keys.append(&mut listing.damaged);
        let Some(next) = listing.next else { break };
        page = page.after(next);
    }
    let mut page = OwnerPageRequest::first(PageRequest::MAX_SIZE);
    loop {
        let mut listing = list_owners(pool, page.clone()).await?;
        report.checked_owners += (listing.owners.len() + listing.damaged.len()) as u64;
        report.owners.append(&mut listing.damaged);
        let Some(next) = listing.next else { break };
        page = page.after(next);
    }
    report.keys.append(&mut orphaned_secrets(pool).await?);
    report.keys.append(&mut damaged_usage(pool).await?);
    report.keys.append(&mut damaged_buckets(pool).await?);
    Ok(report)
}

/// Returns the keys that secrets refer to and that do not exist.
async fn orphaned_secrets<D: Dialect>(pool: &Pool<D>) -> Result<Vec<DamagedKey>, SqlStoreError> {
    let mut damaged: Vec<DamagedKey> = Vec::new();
    let mut after = Some(String::new());
    while let Some(hash) = after {
        let query = D::text(Statement::new(D::STATEMENTS.orphaned_secrets), Some(hash));
        let query = D::integer(query, Some(i64::from(PageRequest::MAX_SIZE)));
        let rows = Tables(pool).fetch(query).await?;
        for row in &rows {
            damaged.push(DamagedKey::new(read_id(row).ok(), "keyward_secrets.key_id"));
        }
        after = match rows.last() {
            Some(row) => row.text("hash")?.map(str::to_owned),
            None => None,
        };
    }
    Ok(damaged)
}

/// Returns the keys whose usage by spans of time cannot be read, or that do not exist.
async fn damaged_buckets<D: Dialect>(pool: &Pool<D>) -> Result<Vec<DamagedKey>, SqlStoreError> {
    let mut damaged = Vec::new();
    let mut after = Some(String::new());
    while let Some(id) = after {
        let query = D::text(Statement::new(D::STATEMENTS.damaged_buckets), Some(id));
        let query = D::integer(query, Some(i64::from(PageRequest::MAX_SIZE)));
        let rows = Tables(pool).fetch(query).await?;
        for row in &rows {
            damaged.push(DamagedKey::new(read_id(row).ok(), "keyward_usage_buckets.*"));
        }
        after = match rows.last() {
            Some(row) => row.text("id")?.map(str::to_owned),
            None => None,
        };
    }
    Ok(damaged)
}

/// Returns the keys whose usage cannot be read, or that do not exist.
async fn damaged_usage<D: Dialect>(pool: &Pool<D>) -> Result<Vec<DamagedKey>, SqlStoreError> {
    let mut damaged = Vec::new();
    let mut after = Some(String::new());
    while let Some(id) = after {
        let query = D::text(Statement::new(D::STATEMENTS.list_usage), Some(id));
        let query = D::integer(query, Some(i64::from(PageRequest::MAX_SIZE)));
        let rows = Tables(pool).fetch(query).await?;
        for row in &rows {
            match read_usage(row) {
                Ok((id, _)) if row.text("key_id")?.is_none() => {
                    damaged.push(DamagedKey::new(Some(id), "keyward_usage.key_id"));
                }
                Ok(_) => {}
                Err(SqlStoreError::Corrupt { key: None, .. }) => {
                    damaged.push(DamagedKey::new(None, "keyward_usage.key_id"));
                }
                Err(SqlStoreError::Corrupt { key, column }) => {
                    damaged.push(DamagedKey::new(key, column));
                }
                Err(error) => return Err(error),
            }
        }
        after = match rows.last() {
            Some(row) => row.text("id")?.map(str::to_owned),
            None => None,
        };
    }
    Ok(damaged)
}
