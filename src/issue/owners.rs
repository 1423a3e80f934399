//! Changing owners.

use crate::{
    audit::{AuditAction, AuditEvent},
    clock::timestamp::Timestamp,
    issue::{error::IssuerError, issuer::Issuer, within::Within},
    key::owner::{OwnerChange, OwnerId, Tier},
    quota::overrides::Overrides,
    store::KeyRegistry,
};

/// Changes of one field of an owner. Each adds the owner if it was never put, and undoes no change of
/// another field that is made at the same time.
///
/// An issuer that is confined to an owner changes no owner: a tenant that manages its keys must not
/// raise its own tier. It returns [`IssuerError::ForeignOwner`]. The other error of each is
/// [`IssuerError::Store`].
impl<R: KeyRegistry> Issuer<R> {
    /// Suspends an owner: all of its keys are refused from the next decision on, also those that are
    /// issued later. An owner that is suspended stays suspended since the same instant.
    ///
    /// # Errors
    ///
    /// [`IssuerError::ForeignOwner`], [`IssuerError::Store`].
    pub async fn suspend_owner(
        &self,
        owner: &OwnerId,
        now: Timestamp,
    ) -> Result<(), IssuerError<R::Error>> {
        let change = OwnerChange::Suspend { now };
        self.change_owner(owner, change, AuditAction::OwnerSuspended, now).await
    }

    /// Resumes an owner. Its keys that are suspended or revoked themselves stay so.
    ///
    /// # Errors
    ///
    /// [`IssuerError::ForeignOwner`], [`IssuerError::Store`].
    pub async fn resume_owner(
        &self,
        owner: &OwnerId,
        now: Timestamp,
    ) -> Result<(), IssuerError<R::Error>> {
        self.change_owner(owner, OwnerChange::Resume, AuditAction::OwnerResumed, now).await
    }

    /// Sets or removes the tier of an owner.
    ///
    /// # Errors
    ///
    /// [`IssuerError::ForeignOwner`], [`IssuerError::Store`].
    pub async fn set_tier(
        &self,
        owner: &OwnerId,
        tier: Option<Tier>,
        now: Timestamp,
    ) -> Result<(), IssuerError<R::Error>> {
        let action = AuditAction::TierChanged { tier: tier.clone() };
        self.change_owner(owner, OwnerChange::Tier(tier), action, now).await
    }

    /// Replaces what an owner is allowed by limits per key and per owner.
    ///
    /// # Errors
    ///
    /// [`IssuerError::ForeignOwner`], [`IssuerError::Store`].
    pub async fn set_owner_overrides(
        &self,
        owner: &OwnerId,
        overrides: Overrides,
        now: Timestamp,
    ) -> Result<(), IssuerError<R::Error>> {
        let action = AuditAction::OwnerOverridesChanged { overrides: overrides.clone() };
        self.change_owner(owner, OwnerChange::Overrides(overrides), action, now).await
    }

    /// Sets or removes the largest number of keys of an owner. Keys that exist stay. Revoked and
    /// expired keys do not count.
    ///
    /// # Errors
    ///
    /// [`IssuerError::ForeignOwner`], [`IssuerError::Store`].
    pub async fn set_key_cap(
        &self,
        owner: &OwnerId,
        cap: Option<u32>,
        now: Timestamp,
    ) -> Result<(), IssuerError<R::Error>> {
        let action = AuditAction::KeyCapChanged { cap };
        self.change_owner(owner, OwnerChange::KeyCap(cap), action, now).await
    }

    async fn change_owner(
        &self,
        owner: &OwnerId,
        change: OwnerChange,
        action: AuditAction,
        now: Timestamp,
    ) -> Result<(), IssuerError<R::Error>> {
        let Within::All = self.within else { return Err(IssuerError::ForeignOwner) };
        self.registry.change_owner(owner, change).await.map_err(IssuerError::Store)?;
        self.audit.report(|| AuditEvent { owner: Some(owner.clone()), ..self.event(action, now) });
        Ok(())
    }
}
