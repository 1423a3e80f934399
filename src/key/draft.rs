//! The draft of a new key.

use crate::{
    clock::timestamp::Timestamp,
    error::ConfigError,
    key::{name::KeyName, owner::OwnerId, scope::ScopeSet},
    quota::{allowance::Allowance, overrides::Overrides, policy_name::PolicyName},
};

/// The properties of a new key that the host decides.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDraft {
    /// The owner of the key. The host must take it from its own authentication of the caller, never
    /// from the body of a request.
    pub owner: OwnerId,
    /// The name that people give the key.
    pub name: KeyName,
    /// The scopes of the key. With `None` an [`Issuer`](crate::issue::Issuer) grants the default
    /// scopes of the kind in its catalogue, and [`KeyRecord::issue`](crate::key::KeyRecord::issue)
    /// grants none.
    pub scopes: Option<ScopeSet>,
    /// What the key is allowed by limits per key, in place of what its owner or the service allows.
    pub overrides: Overrides,
    /// The time from which the key is refused.
    pub expires_at: Option<Timestamp>,
}

impl KeyDraft {
    /// Builds a draft without overrides and expiry, with the default scopes of the kind.
    pub const fn new(owner: OwnerId, name: KeyName) -> Self {
        Self { owner, name, scopes: None, overrides: Overrides::none(), expires_at: None }
    }

    /// Sets the scopes.
    #[must_use]
    pub fn with_scopes(mut self, scopes: ScopeSet) -> Self {
        self.scopes = Some(scopes);
        self
    }

    /// Sets what a policy allows this key alone.
    ///
    /// # Errors
    ///
    /// As [`Overrides::with`].
    pub fn with_override(
        mut self,
        name: PolicyName,
        allowance: impl Into<Allowance>,
    ) -> Result<Self, ConfigError> {
        self.overrides = self.overrides.with(name, allowance)?;
        Ok(self)
    }

    /// Replaces all overrides of the key.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Sets the time from which the key is refused.
    #[must_use]
    pub fn with_expiry(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = Some(expires_at);
        self
    }
}
