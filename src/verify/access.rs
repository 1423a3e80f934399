//! What a route requires of a key.

use thiserror::Error;

use crate::key::{
    kind::KeyKind,
    owner::{Owner, OwnerId, Tier},
    scope::{Scope, ScopeSet},
};

/// What a route requires. A route must say something: there is no default, and no
/// implicit "anything".
///
/// Every requirement that is stated must hold. One that can never hold, such as an empty
/// list of kinds or tiers, refuses everybody.
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
    /// A key that holds `scope`, of any kind.
    pub fn scope(scope: Scope) -> Self {
        Self { scopes: vec![scope], ..Self::any_key() }
    }

    /// A key of one of these kinds, whatever its scopes.
    pub fn kinds(kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        Self::any_key().with_kinds(kinds)
    }

    /// Any valid key, whatever its kind and scopes.
    pub const fn any_key() -> Self {
        Self { kinds: None, scopes: Vec::new(), tiers: None, owner: None }
    }

    /// Requires `scope` too.
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scopes.push(scope);
        self
    }

    /// Requires one of these kinds; where this is said twice, a kind of both lists.
    pub fn with_kinds(mut self, kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        self.kinds = Some(narrowed(self.kinds, kinds));
        self
    }

    /// Requires the key's owner to have one of these tiers; where this is said twice, a
    /// tier of both lists.
    pub fn with_tiers(mut self, tiers: impl IntoIterator<Item = Tier>) -> Self {
        self.tiers = Some(narrowed(self.tiers, tiers));
        self
    }

    /// Requires the key to belong to `owner`, such as the project named in the path. Where
    /// this is said twice with different owners, nobody passes.
    pub fn with_owner(mut self, owner: OwnerId) -> Self {
        if self.owner.as_ref().is_some_and(|other| *other != owner) {
            self.kinds = Some(Vec::new());
        }
        self.owner = Some(owner);
        self
    }

    /// The scopes that are required, for a challenge that names them (RFC 6750 §3).
    pub fn required_scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Returns the kinds of keys that are admitted; `None` if all are.
    pub fn required_kinds(&self) -> Option<&[KeyKind]> {
        self.kinds.as_deref()
    }

    /// Whether a key with these properties may pass.
    ///
    /// A host usually asks through [`Verified::authorize`](crate::verify::Verified::authorize).
    ///
    /// # Errors
    ///
    /// The first requirement that does not hold, in the order kind, scope, owner, tier.
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

/// Why a valid key may not pass. The answer is 403 (RFC 9110 §15.5.4).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// Keys of this kind are not admitted here.
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
    /// The key belongs to somebody else. Whom the route belongs to is not repeated.
    #[error("the key belongs to another owner")]
    Owner,
    /// The owner's tier is not admitted here.
    #[error("the owner's tier is not admitted here")]
    Tier {
        /// The owner's tier, if it has one.
        found: Option<Tier>,
    },
}

impl Forbidden {
    /// The HTTP status to answer with: 403.
    pub const fn status(&self) -> u16 {
        403
    }
}

/// What is in both lists, or the new one alone if there was none.
fn narrowed<T: PartialEq>(old: Option<Vec<T>>, new: impl IntoIterator<Item = T>) -> Vec<T> {
    new.into_iter().filter(|item| old.as_ref().is_none_or(|old| old.contains(item))).collect()
}
