//! The requirements of a route.

use thiserror::Error;

use crate::key::{
    kind::KeyKind,
    owner::{Owner, OwnerId, Tier},
    scope::{Scope, ScopeSet},
};

/// The requirements of a route. A route must state them: there is no default.
///
/// All stated requirements must hold. One that can never hold, such as an empty list of kinds or
/// tiers, refuses every caller.
///
/// ```
/// use keyward::{key::{KeyKind, OwnerId, Tier}, Access, Scope};
///
/// const WRITE_ISSUES: Scope = Scope::from_static("write:issues");
///
/// let write = Access::scope(WRITE_ISSUES);
/// let audit = Access::any_key().with_tiers([Tier::from_static("enterprise")]);
/// let ingest = Access::kinds([KeyKind::from_static("luc_pk_")]);
/// let own_project = Access::any_key().with_owner(OwnerId::from_static("proj_abc123"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Access {
    kinds: Option<Vec<KeyKind>>,
    scopes: Vec<Scope>,
    tiers: Option<Vec<Tier>>,
    owner: Option<OwnerId>,
}

impl Access {
    /// Requires a key that has `scope`, of any kind.
    pub fn scope(scope: Scope) -> Self {
        Self { scopes: vec![scope], ..Self::any_key() }
    }

    /// Requires a key of one of these kinds, with any scopes.
    pub fn kinds(kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        Self::any_key().with_kinds(kinds)
    }

    /// Requires a valid key of any kind, with any scopes.
    pub const fn any_key() -> Self {
        Self { kinds: None, scopes: Vec::new(), tiers: None, owner: None }
    }

    /// Requires `scope` too.
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scopes.push(scope);
        self
    }

    /// Returns the kinds of keys that are admitted; `None` if all are.
    pub fn required_kinds(&self) -> Option<&[KeyKind]> {
        self.kinds.as_deref()
    }

    /// Requires one of these kinds too. If this is called twice, a kind must be in both lists.
    pub fn with_kinds(mut self, kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        self.kinds = Some(narrowed(self.kinds, kinds));
        self
    }

    /// Requires the owner of the key to have one of these tiers. If this is called twice, a tier must
    /// be in both lists.
    pub fn with_tiers(mut self, tiers: impl IntoIterator<Item = Tier>) -> Self {
        self.tiers = Some(narrowed(self.tiers, tiers));
        self
    }

    /// Requires the key to belong to `owner`, for instance to the project in the path. If this is
    /// called twice with different owners, no caller passes.
    pub fn with_owner(mut self, owner: OwnerId) -> Self {
        if self.owner.as_ref().is_some_and(|other| *other != owner) {
            self.kinds = Some(Vec::new());
        }
        self.owner = Some(owner);
        self
    }

    /// Returns the required scopes, for a challenge that names them (RFC 6750 §3).
    pub fn required_scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Checks a key with these properties. A host usually calls
    /// [`Verified::authorize`](crate::verify::Verified::authorize) instead.
    ///
    /// # Errors
    ///
    /// Returns the first requirement that does not hold, in the order kind, scope, owner, tier.
    #[inline]
    pub fn check(&self, kind: KeyKind, scopes: &ScopeSet, owner: &Owner) -> Result<(), Forbidden> {
        if self.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&kind)) {
            return Err(Forbidden::Kind { found: kind });
        }
        if let Some(missing) = self.scopes.iter().find(|scope| !scopes.contains(scope)) {
            return Err(Forbidden::Scope { missing: missing.clone() });
        }
        if self.owner.as_ref().is_some_and(|required| *required != owner.id) {
            return Err(Forbidden::Owner);
        }
        match (&self.tiers, &owner.tier) {
            (None, _) => Ok(()),
            (Some(tiers), Some(tier)) if tiers.contains(tier) => Ok(()),
            (Some(_), found) => Err(Forbidden::Tier { found: found.clone() }),
        }
    }
}

/// The requirement that a valid key does not meet. The response is a 403 (RFC 9110 §15.5.4).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// The route does not admit keys of this kind.
    #[error("keys of kind {found} are not admitted here")]
    Kind {
        /// The kind of the key.
        found: KeyKind,
    },
    /// The key lacks a scope (`insufficient_scope` of RFC 6750 §3.1).
    #[error("missing required scope: {missing}")]
    Scope {
        /// The first required scope that it lacks.
        missing: Scope,
    },
    /// The key belongs to another owner than the route. The error does not name that owner.
    #[error("the key belongs to another owner")]
    Owner,
    /// The route does not admit the tier of the owner.
    #[error("the owner's tier is not admitted here")]
    Tier {
        /// The tier of the owner, if it has one.
        found: Option<Tier>,
    },
}

impl Forbidden {
    /// Returns the HTTP status of the response: 403.
    pub const fn status(&self) -> u16 {
        403
    }
}

/// Returns the items of both lists, or the new list if there was no old one.
fn narrowed<T: PartialEq>(old: Option<Vec<T>>, new: impl IntoIterator<Item = T>) -> Vec<T> {
    new.into_iter().filter(|item| old.as_ref().is_none_or(|old| old.contains(item))).collect()
}
