//! The requirements of a route.

use std::sync::Arc;

use thiserror::Error;

use crate::{
    key::{
        kind::KeyKind,
        owner::{Owner, OwnerId, Tier},
        scope::{Scope, ScopeSet},
        scope_pattern::ScopePattern,
    },
    verify::required_scope::{Described, RequiredScope},
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
/// let either = Access::any_of([Scope::from_static("read:issues"), Scope::from_static("admin")]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Access {
    kinds: Option<Vec<KeyKind>>,
    /// The names of the required scopes: of several alternatives, the first one.
    scopes: Vec<Scope>,
    /// What meets each of them.
    rules: Vec<ScopeRule>,
    tiers: Option<Vec<Tier>>,
    owner: Option<OwnerId>,
}

/// What meets the requirement of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ScopeRule {
    /// The scope that names it.
    Itself,
    /// One of these.
    AnyOf(Arc<[RequiredScope]>),
}

impl Access {
    /// Requires a key that has `scope`, of any kind.
    pub fn scope(scope: Scope) -> Self {
        Self::any_key().with_scope(scope)
    }

    /// Requires a key that has at least one of these scopes, of any kind. A challenge and a 403 name the
    /// first one. An empty list refuses every caller.
    pub fn any_of<S: Into<RequiredScope>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self::any_key().with_any_of(scopes)
    }

    /// Requires a key that has a scope of this pattern for the resource of the request, which
    /// [`CheckedRoute::with_resource`](crate::gate::CheckedRoute::with_resource) or
    /// [`Access::with_resource`] sets. Without it every caller is refused.
    ///
    /// A challenge and a 403 name the pattern. They, and logs, have nothing of the resource, because it
    /// comes from the client.
    ///
    /// ```
    /// use keyward::{key::{KeyKind, Owner, OwnerId, ScopePattern}, Access};
    ///
    /// const READ_REPO: ScopePattern = ScopePattern::from_static("repo:read:{owner}/{repo}");
    /// let access = Access::scope_on(READ_REPO).with_resource("owner", "acme");
    /// let (kind, owner) = (KeyKind::from_static("k_"), Owner::new(OwnerId::from_static("acme")));
    /// let check = |access: &Access, held: &str| {
    ///     access.check(kind, &held.parse().unwrap(), &owner).is_ok()
    /// };
    /// assert!(!check(&access, "repo:read:acme/*")); // the repository is not known yet
    /// let access = access.with_resource("repo", "site");
    /// assert!(check(&access, "repo:read:acme/site"));
    /// assert!(check(&access, "repo:read:acme/*"));
    /// assert!(!check(&access, "repo:read:acme/shop"));
    /// ```
    pub fn scope_on(pattern: ScopePattern) -> Self {
        Self::any_key().with_scope_on(pattern)
    }

    /// Requires a key of one of these kinds, with any scopes.
    pub fn kinds(kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        Self::any_key().with_kinds(kinds)
    }

    /// Requires a valid key of any kind, with any scopes.
    pub const fn any_key() -> Self {
        Self { kinds: None, scopes: Vec::new(), rules: Vec::new(), tiers: None, owner: None }
    }

    /// Requires `scope` too.
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scopes.push(scope);
        self.rules.push(ScopeRule::Itself);
        self
    }

    /// Requires at least one of these scopes too. See [`Access::any_of`].
    pub fn with_any_of<S: Into<RequiredScope>>(
        mut self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        let alternatives: Arc<[RequiredScope]> = scopes.into_iter().map(Into::into).collect();
        match alternatives.first() {
            Some(first) => {
                self.scopes.push(first.name());
                self.rules.push(ScopeRule::AnyOf(alternatives));
            }
            None => self.kinds = Some(Vec::new()),
        }
        self
    }

    /// Requires a scope of this pattern for the resource of the request too. See [`Access::scope_on`].
    pub fn with_scope_on(self, pattern: ScopePattern) -> Self {
        self.with_any_of([pattern])
    }

    /// Sets the value of a parameter in the [patterns](Access::scope_on) that have it, such as `repo`
    /// in `repo:read:{repo}`. It names a resource and needs no check: a value that no scope can have,
    /// such as `*`, one with `/` or `:`, or a second, different value refuses every caller.
    pub fn with_resource(mut self, parameter: &str, value: &str) -> Self {
        for rule in &mut self.rules {
            if let ScopeRule::AnyOf(alternatives) = rule {
                let bound = alternatives.iter().cloned().map(|mut scope| {
                    scope.bind(parameter, value);
                    scope
                });
                *alternatives = bound.collect();
            }
        }
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

    /// Returns the required scopes, for a challenge that names them (RFC 6750 §3): of
    /// [alternatives](Access::any_of) the first one, and for a [resource](Access::scope_on) the text of
    /// the pattern.
    pub fn required_scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Returns every scope and pattern that the description names.
    pub(crate) fn described_scopes(&self) -> impl Iterator<Item = Described<'_>> {
        self.scopes.iter().zip(&self.rules).flat_map(|(name, rule)| {
            let (plain, any_of) = match rule {
                ScopeRule::Itself => (Some(Described::Plain(name)), &[][..]),
                ScopeRule::AnyOf(alternatives) => (None, &**alternatives),
            };
            plain.into_iter().chain(any_of.iter().map(RequiredScope::described))
        })
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
        for (name, rule) in self.scopes.iter().zip(&self.rules) {
            let is_met = match rule {
                ScopeRule::Itself => scopes.contains(name),
                ScopeRule::AnyOf(any) => any.iter().any(|scope| scope.is_met_by(scopes)),
            };
            if !is_met {
                return Err(Forbidden::Scope { missing: name.clone() });
            }
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
        /// The first required scope that it lacks, as [`Access::required_scopes`] names it.
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
