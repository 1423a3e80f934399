//! The draft of a new key.

use crate::{
    clock::timestamp::Timestamp,
    error::ConfigError,
    key::{
        actor::Actor, allowlist::Allowlist, metadata::KeyMetadata, name::KeyName,
        network::IpNetwork, origin::Origin, owner::OwnerId, scope::ScopeSet,
    },
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
    /// The networks from which the key may be used; `None` for all.
    pub networks: Option<Allowlist<IpNetwork>>,
    /// The origins of the web pages from which the key may be used; `None` for all.
    pub origins: Option<Allowlist<Origin>>,
    /// What the host keeps with the key.
    pub metadata: Option<KeyMetadata>,
    /// Who creates the key. With `None` it is the actor of the
    /// [`Issuer`](crate::issue::Issuer::acting_as), if there is one.
    pub created_by: Option<Actor>,
}

impl KeyDraft {
    /// Builds a draft with the default scopes of the kind and nothing optional.
    pub const fn new(owner: OwnerId, name: KeyName) -> Self {
        Self {
            owner,
            name,
            scopes: None,
            overrides: Overrides::none(),
            expires_at: None,
            networks: None,
            origins: None,
            metadata: None,
            created_by: None,
        }
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

    /// Sets the networks from which the key may be used.
    #[must_use]
    pub fn with_networks(mut self, networks: Allowlist<IpNetwork>) -> Self {
        self.networks = Some(networks);
        self
    }

    /// Sets the origins of the web pages from which the key may be used. Use it for keys that web
    /// pages contain.
    #[must_use]
    pub fn with_origins(mut self, origins: Allowlist<Origin>) -> Self {
        self.origins = Some(origins);
        self
    }

    /// Sets what the host keeps with the key.
    #[must_use]
    pub fn with_metadata(mut self, metadata: KeyMetadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Sets who creates the key, for instance by the column of an existing table.
    #[must_use]
    pub fn with_creator(mut self, actor: Actor) -> Self {
        self.created_by = Some(actor);
        self
    }
}
