//! The draft of a new key.

use crate::{
    clock::timestamp::Timestamp,
    key::{name::KeyName, owner::OwnerId, scope::ScopeSet},
    quota::quotas::Quotas,
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
    /// The quotas of the key, which take precedence over those of its owner.
    pub quotas: Option<Quotas>,
    /// The time from which the key is refused.
    pub expires_at: Option<Timestamp>,
}

impl KeyDraft {
    /// Builds a draft without quotas and expiry, with the default scopes of the kind.
    pub const fn new(owner: OwnerId, name: KeyName) -> Self {
        Self { owner, name, scopes: None, quotas: None, expires_at: None }
    }

    /// Sets the scopes.
    #[must_use]
    pub fn with_scopes(mut self, scopes: ScopeSet) -> Self {
        self.scopes = Some(scopes);
        self
    }

    /// Sets quotas for this key alone.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = Some(quotas);
        self
    }

    /// Sets the time from which the key is refused.
    #[must_use]
    pub fn with_expiry(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = Some(expires_at);
        self
    }
}
