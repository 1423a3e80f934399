//! Listings of keys and owners, in which a damaged row hides no other.
//!
//! A page begins after a position in the order of the rows, which each row has, damaged or not. Only
//! some positions can be returned to the caller: a cursor contains an instant and an id, and a damaged
//! row can lack both. So a page ends with a row that has a cursor. Damaged rows after it are read again
//! and belong to the next page. If a page has no such row, the next rows are added to it.

use std::sync::Arc;

use keyward::{
    key::{KeyId, Owner, OwnerId},
    store::{
        Cursor, DamagedKey, DamagedOwner, Listing, OwnerListing, OwnerPageRequest, PageRequest,
        StoredKey,
    },
};
use sqlx::Pool;

use crate::{
    SqlStoreError,
    columns::{instant, millis},
    dialect::{Dialect, Statement},
    rows::{ReadRow, by_key, read_key, read_owner, read_owner_id},
    tables::Tables,
};

/// A row of a listing: the item or the damage, its cursor if it has one, and its position.
pub(crate) struct Entry<T, D, C, P> {
    pub(crate) item: Result<T, D>,
    pub(crate) cursor: Option<C>,
    pub(crate) position: Option<P>,
}

/// What remains to be done after some rows were read.
pub(crate) enum Next<C, P> {
    /// The page ends, at this cursor unless it is the last page.
    End(Option<C>),
    /// The rows after this position belong to the page too.
    More(P),
}

/// Removes the entries that do not belong to a page of this size, which were read with one more.
pub(crate) fn cut<T, D, C: Clone, P>(
    entries: &mut Vec<Entry<T, D, C, P>>,
    size: usize,
) -> Result<Next<C, P>, SqlStoreError> {
    if entries.len() <= size {
        return Ok(Next::End(None));
    }
    entries.truncate(size);
    if let Some(last) = entries.iter().rposition(|entry| entry.cursor.is_some()) {
        entries.truncate(last + 1);
        return Ok(Next::End(entries.last().and_then(|entry| entry.cursor.clone())));
    }
    let position = entries.last_mut().and_then(|entry| entry.position.take());
    position.map(Next::More).ok_or(SqlStoreError::Corrupt { key: None, column: "keyward_keys.id" })
}

/// A position of a key: after it come the keys that were created later, or at the same time with a
/// greater id.
struct Position {
    created_at: i64,
    id: String,
}

impl Position {
    fn of(cursor: Option<Cursor>) -> Self {
        match cursor {
            Some(cursor) => {
                Self { created_at: millis(cursor.created_at), id: cursor.id.to_string() }
            }
            None => Self { created_at: i64::MIN, id: String::new() },
        }
    }
}

/// Returns a page of the keys of an owner, or of all owners.
pub(crate) async fn list<D: Dialect>(
    pool: &Pool<D>,
    owner: Option<&OwnerId>,
    page: PageRequest,
) -> Result<Listing, SqlStoreError> {
    let mut position = Position::of(page.cursor());
    let (mut keys, mut damaged) = (Vec::new(), Vec::new());
    loop {
        let query = match owner {
            Some(owner) => {
                D::text(Statement::new(D::STATEMENTS.list), Some(owner.as_str().to_owned()))
            }
            None => Statement::new(D::STATEMENTS.list_all),
        };
        let query = D::text(D::integer(query, Some(position.created_at)), Some(position.id));
        let rows = Tables(pool).fetch(one_more(query, page.size())).await?;
        let (mut last_owner, mut entries) = (None, Vec::new());
        for rows in by_key(&rows) {
            entries.push(key_entry(rows, &mut last_owner)?);
        }
        let next = cut(&mut entries, page.size())?;
        for entry in entries {
            match entry.item {
                Ok(key) => keys.push(key),
                Err(damage) => damaged.push(damage),
            }
        }
        match next {
            Next::End(next) => return Ok(Listing::new(keys, next).with_damaged(damaged)),
            Next::More(after) => position = after,
        }
    }
}

fn key_entry<R: ReadRow>(
    rows: &[R],
    last_owner: &mut Option<Arc<Owner>>,
) -> Result<Entry<StoredKey, DamagedKey, Cursor, Position>, SqlStoreError> {
    let item = match read_key(rows, last_owner) {
        Ok(key) => Ok(key),
        Err(SqlStoreError::Corrupt { key, column }) => Err(DamagedKey::new(key, column)),
        Err(error) => return Err(error),
    };
    let position = rows.first().and_then(|row| {
        let created_at = row.integer("created_at").ok().flatten()?;
        Some(Position { created_at, id: row.text("id").ok().flatten()?.to_owned() })
    });
    let cursor = position.as_ref().and_then(|at| {
        let id: KeyId = at.id.parse().ok()?;
        // Upper-case text is read as an id too, and has another place in the order.
        (id.to_string() == at.id).then_some(Cursor { created_at: instant(at.created_at)?, id })
    });
    Ok(Entry { item, cursor, position })
}

/// Returns a page of the owners that were put.
pub(crate) async fn list_owners<D: Dialect>(
    pool: &Pool<D>,
    page: OwnerPageRequest,
) -> Result<OwnerListing, SqlStoreError> {
    let mut position = page.cursor().map(|owner| owner.as_str().to_owned());
    let (mut owners, mut damaged) = (Vec::new(), Vec::new());
    loop {
        let is_after = i64::from(position.is_some());
        let after =
            D::text(Statement::new(D::STATEMENTS.list_owners), Some(position.unwrap_or_default()));
        let query = one_more(D::integer(after, Some(is_after)), page.size());
        let rows = Tables(pool).fetch(query).await?;
        let mut entries = rows.iter().map(owner_entry).collect::<Result<Vec<_>, _>>()?;
        let next = cut(&mut entries, page.size())?;
        for entry in entries {
            match entry.item {
                Ok(owner) => owners.push(Arc::new(owner)),
                Err(damage) => damaged.push(damage),
            }
        }
        match next {
            Next::End(next) => return Ok(OwnerListing::new(owners, next).with_damaged(damaged)),
            Next::More(after) => position = Some(after),
        }
    }
}

fn owner_entry<R: ReadRow>(
    row: &R,
) -> Result<Entry<Owner, DamagedOwner, OwnerId, String>, SqlStoreError> {
    let cursor = read_owner_id(row);
    let item = match cursor.as_ref().map(|id| read_owner(id, row)) {
        Some(Ok(owner)) => Ok(owner),
        Some(Err(SqlStoreError::CorruptOwner { owner, column })) => {
            Err(DamagedOwner::new(Some(owner), column))
        }
        Some(Err(error)) => return Err(error),
        None => Err(DamagedOwner::new(None, "keyward_owners.id")),
    };
    let position = row.text("owner_id").ok().flatten().map(str::to_owned);
    Ok(Entry { item, cursor, position })
}

/// Binds the number of rows of a page and one more, which shows whether there is a next page.
fn one_more<D: Dialect>(query: Statement<D>, size: usize) -> Statement<D> {
    let size = i64::try_from(size).unwrap_or(i64::from(PageRequest::MAX_SIZE));
    D::integer(query, Some(size + 1))
}
