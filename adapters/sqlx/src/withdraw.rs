//! Revoking and suspending, which expect no revision.

use keyward::{
    Timestamp,
    key::{KeyId, OwnerId},
    store::Withdrawn,
};
use sqlx::Pool;

use crate::{
    SqlStoreError,
    columns::millis,
    dialect::{Dialect, OwnerLock, Statement, Transaction, retrying},
    rows::{ReadRow as _, read_id},
};

pub(crate) async fn revoke<D: Dialect>(
    pool: &Pool<D>,
    id: KeyId,
    within: Option<&OwnerId>,
    now: Timestamp,
) -> Result<Option<Withdrawn>, SqlStoreError> {
    let revoke = D::STATEMENTS.revoke_key;
    retrying::<D, _, _, _>(|| withdraw(pool, revoke, id, within, now)).await
}

pub(crate) async fn suspend<D: Dialect>(
    pool: &Pool<D>,
    id: KeyId,
    within: Option<&OwnerId>,
    now: Timestamp,
) -> Result<Option<Withdrawn>, SqlStoreError> {
    let suspend = D::STATEMENTS.suspend_key;
    retrying::<D, _, _, _>(|| withdraw(pool, suspend, id, within, now)).await
}

pub(crate) async fn revoke_all<D: Dialect>(
    pool: &Pool<D>,
    owner: &OwnerId,
    now: Timestamp,
) -> Result<Vec<KeyId>, SqlStoreError> {
    retrying::<D, _, _, _>(|| try_revoke_all(pool, owner, now)).await
}

async fn try_revoke_all<D: Dialect>(
    pool: &Pool<D>,
    owner: &OwnerId,
    now: Timestamp,
) -> Result<Vec<KeyId>, SqlStoreError> {
    let revoke = D::text(Statement::new(D::STATEMENTS.revoke_all), Some(owner.as_str().to_owned()));
    let revoke = D::integer(revoke, Some(millis(now)));
    let mut transaction = D::begin(pool).await?;
    D::lock_owner(transaction.connection(), owner, OwnerLock::ChangeAll).await?;
    let revoked = D::revoke_all(transaction.connection(), owner, revoke).await?;
    // A key without a valid id is revoked too, and nobody can name it.
    let revoked = revoked.iter().filter_map(|row| read_id(row).ok()).collect();
    transaction.commit().await?;
    Ok(revoked)
}

/// The statement waits for other writers of the row and then changes what they left. If it changes
/// no row, the key was revoked, or is not there, at the moment of the statement.
async fn withdraw<D: Dialect>(
    pool: &Pool<D>,
    statement: &'static str,
    id: KeyId,
    within: Option<&OwnerId>,
    now: Timestamp,
) -> Result<Option<Withdrawn>, SqlStoreError> {
    loop {
        let mut transaction = D::begin(pool).await?;
        let change = D::integer(of_owner(statement, id, within), Some(millis(now)));
        if D::execute(transaction.connection(), change).await? > 0 {
            transaction.commit().await?;
            return Ok(Some(Withdrawn::Now));
        }
        let look = of_owner(D::STATEMENTS.is_revoked, id, within);
        let row = D::fetch(transaction.connection(), look).await?;
        transaction.rollback().await?;
        let Some(row) = row.first() else { return Ok(None) };
        if row.integer("revoked")? == Some(1) {
            return Ok(Some(Withdrawn::RevokedBefore));
        }
        // Between the two statements it was inserted, or made active by hand.
    }
}

fn of_owner<D: Dialect>(sql: &'static str, id: KeyId, within: Option<&OwnerId>) -> Statement<D> {
    let statement = D::text(Statement::new(sql), Some(id.to_string()));
    D::text(statement, within.map(|owner| owner.as_str().to_owned()))
}
