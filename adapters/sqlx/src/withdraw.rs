//! Revoking and suspending, which expect no revision.

use keyward::{
    Timestamp,
    key::{KeyId, OwnerId, Revocation},
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
    revocation: Revocation,
) -> Result<Option<Withdrawn>, SqlStoreError> {
    let revoke = || bind_revocation(of_owner(D::STATEMENTS.revoke_key, id, within), &revocation);
    retrying::<D, _, _, _>(|| withdraw(pool, id, within, &revoke)).await
}

pub(crate) async fn suspend<D: Dialect>(
    pool: &Pool<D>,
    id: KeyId,
    within: Option<&OwnerId>,
    now: Timestamp,
) -> Result<Option<Withdrawn>, SqlStoreError> {
    let suspend = || D::integer(of_owner(D::STATEMENTS.suspend_key, id, within), Some(millis(now)));
    retrying::<D, _, _, _>(|| withdraw(pool, id, within, &suspend)).await
}

pub(crate) async fn revoke_all<D: Dialect>(
    pool: &Pool<D>,
    owner: &OwnerId,
    revocation: Revocation,
) -> Result<Vec<KeyId>, SqlStoreError> {
    retrying::<D, _, _, _>(|| try_revoke_all(pool, owner, &revocation)).await
}

async fn try_revoke_all<D: Dialect>(
    pool: &Pool<D>,
    owner: &OwnerId,
    revocation: &Revocation,
) -> Result<Vec<KeyId>, SqlStoreError> {
    let revoke = D::text(Statement::new(D::STATEMENTS.revoke_all), Some(owner.as_str().to_owned()));
    let revoke = bind_revocation(revoke, revocation);
    let mut transaction = D::begin(pool).await?;
    D::lock_owner(transaction.connection(), owner, OwnerLock::ChangeAll).await?;
    let revoked = D::revoke_all(transaction.connection(), owner, revoke).await?;
    // A key without a valid id is revoked too, and nobody can name it.
    let revoked = revoked.iter().filter_map(|row| read_id(row).ok()).collect();
    transaction.commit().await?;
    Ok(revoked)
}

/// Binds the instant and the reason of a revocation.
fn bind_revocation<D: Dialect>(statement: Statement<D>, revocation: &Revocation) -> Statement<D> {
    let statement = D::integer(statement, Some(millis(revocation.at)));
    D::text(statement, revocation.reason.as_ref().map(ToString::to_string))
}

/// The statement waits for other writers of the row and then changes what they left. If it changes
/// no row, the key was revoked, or is not there, at the moment of the statement.
async fn withdraw<D: Dialect>(
    pool: &Pool<D>,
    id: KeyId,
    within: Option<&OwnerId>,
    change: impl Fn() -> Statement<D> + Send,
) -> Result<Option<Withdrawn>, SqlStoreError> {
    loop {
        let mut transaction = D::begin(pool).await?;
        if D::execute(transaction.connection(), change()).await? > 0 {
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
