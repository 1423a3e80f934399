//! Which scopes a service knows, and which of them a kind of key can ever hold.

use std::{borrow::Cow, sync::Arc};

use thiserror::Error;

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::{
        kind::KeyKind,
        scope::{Scope, ScopeSet},
    },
};

/// The scopes that a service knows, and what each kind of key gets and can hold.
///
/// A kind that the catalogue does not name can hold no scope at all. Clones share
/// the catalogue.
///
/// ```
/// use keyward::{key::{KeyKind, ScopeCatalog, ScopeSet}, Scope};
///
/// const READ: Scope = Scope::from_static("read:lucent");
/// const WRITE: Scope = Scope::from_static("write:issues");
/// let api = KeyKind::new("luc_api_")?;
/// let public = KeyKind::new("luc_pk_")?;
///
/// let catalog = ScopeCatalog::new([READ, WRITE])?
///     .allow(api, [READ], [READ, WRITE])? // reads by default, writes when asked for
///     .allow(public, [], [])?; // can never hold a scope
/// assert_eq!(catalog.grant(api, None)?, ScopeSet::new([READ])?);
/// assert_eq!(catalog.grant(api, Some(&["write:issues"]))?, ScopeSet::new([WRITE])?);
/// assert!(catalog.grant(public, Some(&["read:lucent"])).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScopeCatalog(Arc<Catalog>);

#[derive(Clone, Debug, Default)]
struct Catalog {
    known: ScopeSet,
    kinds: Vec<KindScopes>,
}

#[derive(Clone, Debug)]
struct KindScopes {
    kind: KeyKind,
    defaults: ScopeSet,
    ceiling: ScopeSet,
}

impl ScopeCatalog {
    /// A catalogue of the `known` scopes, which no kind can hold yet.
    ///
    /// # Errors
    ///
    /// Returns an error for more than [`ScopeSet::MAX`] scopes.
    pub fn new(known: impl IntoIterator<Item = Scope>) -> Result<Self, ConfigError> {
        let known = ScopeSet::new(known).map_err(|_| {
            refused("ScopeCatalog::new takes at most 64 scopes; merge some of them")
        })?;
        Ok(Self(Arc::new(Catalog { known, kinds: Vec::new() })))
    }

    /// The catalogue of a service without scopes: no key can hold one.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The catalogue with `kind` getting `defaults` when nothing is asked for, and
    /// able to hold the scopes of `ceiling`.
    ///
    /// # Errors
    ///
    /// Returns an error if a scope is not in the catalogue, if a default is above the ceiling, or
    /// if the kind was allowed already.
    pub fn allow(
        self,
        kind: KeyKind,
        defaults: impl IntoIterator<Item = Scope>,
        ceiling: impl IntoIterator<Item = Scope>,
    ) -> Result<Self, ConfigError> {
        let defaults = self.known_set(kind, defaults)?;
        let ceiling = self.known_set(kind, ceiling)?;
        if self.0.entry(kind).is_some() {
            return Err(refused(format!(
                "the kind {kind} is allowed twice; call ScopeCatalog::allow once with all its scopes"
            )));
        }
        if let Some(scope) = defaults.iter().find(|scope| !ceiling.contains(scope)) {
            return Err(refused(format!(
                "the default scope {scope} of the kind {kind} is above its ceiling; add it to the \
                 ceiling in ScopeCatalog::allow"
            )));
        }
        let mut catalog = Arc::unwrap_or_clone(self.0);
        catalog.kinds.push(KindScopes { kind, defaults, ceiling });
        Ok(Self(Arc::new(catalog)))
    }

    /// The known scope with this text.
    ///
    /// # Errors
    ///
    /// Returns [`GrantError::UnknownScope`] if the catalogue does not have it.
    pub fn scope(&self, text: &str) -> Result<Scope, GrantError> {
        self.0.known.get(text).cloned().ok_or(GrantError::UnknownScope)
    }

    /// The scopes for a new key of `kind`: those asked for, or with `None` the
    /// kind's defaults.
    ///
    /// # Errors
    ///
    /// [`GrantError::UnknownScope`] for a scope that the catalogue does not hold,
    /// [`GrantError::AboveCeiling`] for one that the kind can never hold.
    pub fn grant(&self, kind: KeyKind, asked: Option<&[&str]>) -> Result<ScopeSet, GrantError> {
        let Some(asked) = asked else {
            return Ok(self.0.entry(kind).map(|entry| entry.defaults.clone()).unwrap_or_default());
        };
        let scopes = asked.iter().map(|text| self.scope(text)).collect::<Result<Vec<_>, _>>()?;
        // A catalogue has no more scopes than a set holds, so this does not fail.
        let scopes = ScopeSet::new(scopes).map_err(|_| GrantError::UnknownScope)?;
        self.check(kind, &scopes)?;
        Ok(scopes)
    }

    /// Whether a key of `kind` can hold all of `scopes`.
    ///
    /// # Errors
    ///
    /// As [`ScopeCatalog::grant`].
    pub fn check(&self, kind: KeyKind, scopes: &ScopeSet) -> Result<(), GrantError> {
        if !scopes.is_subset_of(&self.0.known) {
            return Err(GrantError::UnknownScope);
        }
        match scopes.iter().find(|scope| !self.permits(kind, scope)) {
            Some(scope) => Err(GrantError::AboveCeiling { scope: scope.clone(), kind }),
            None => Ok(()),
        }
    }

    /// The set of these scopes, all of which the catalogue must know.
    fn known_set(
        &self,
        kind: KeyKind,
        scopes: impl IntoIterator<Item = Scope>,
    ) -> Result<ScopeSet, ConfigError> {
        let mut known = Vec::new();
        for scope in scopes {
            if !self.0.known.contains(&scope) {
                // The scope is not repeated: it might be a key that was pasted into a wrong place.
                return Err(refused(format!(
                    "a scope of the kind {kind} is not in the catalogue; add it to \
                     ScopeCatalog::new"
                )));
            }
            if !known.contains(&scope) {
                known.push(scope);
            }
        }
        // Known scopes are no more than a set holds, so this does not fail.
        ScopeSet::new(known).map_err(|_| refused("ScopeCatalog::allow takes at most 64 scopes"))
    }

    /// Whether a key of `kind` can ever hold `scope`.
    pub fn permits(&self, kind: KeyKind, scope: &Scope) -> bool {
        self.0.entry(kind).is_some_and(|entry| entry.ceiling.contains(scope))
    }

    /// What `kind` can hold at most.
    pub fn ceiling(&self, kind: KeyKind) -> ScopeSet {
        self.0.entry(kind).map(|entry| entry.ceiling.clone()).unwrap_or_default()
    }
}

impl Catalog {
    fn entry(&self, kind: KeyKind) -> Option<&KindScopes> {
        self.kinds.iter().find(|entry| entry.kind == kind)
    }
}

/// Why a key of a kind gets no scopes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrantError {
    /// A scope is not in the catalogue. The text that was asked for is not repeated, since it
    /// comes from a client.
    ///
    /// The catalogue of an [`Issuer`](crate::issue::Issuer) is empty unless
    /// [`Issuer::with_catalog`](crate::issue::Issuer::with_catalog) sets one.
    #[error("a scope is not in the catalogue")]
    UnknownScope,
    /// Keys of this kind can never hold this scope.
    #[error("keys of kind {kind} cannot hold the scope {scope}")]
    AboveCeiling {
        /// The scope that was asked for.
        scope: Scope,
        /// The kind it was asked for.
        kind: KeyKind,
    },
}

fn refused(problem: impl Into<Cow<'static, str>>) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Catalog, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalogue_refuses_what_contradicts_it() {
        let (a, b) = (Scope::from_static("a"), Scope::from_static("b"));
        let kind = KeyKind::new("k_").unwrap();
        let catalog = ScopeCatalog::new([a.clone(), b.clone()]).unwrap();
        assert!(catalog.clone().allow(kind, [b.clone()], [a.clone()]).is_err());
        assert!(catalog.clone().allow(kind, [], [Scope::from_static("c")]).is_err());
        let catalog = catalog.allow(kind, [], [a.clone()]).unwrap();
        assert!(catalog.clone().allow(kind, [], []).is_err());
        assert_eq!(catalog.grant(kind, Some(&["c"])), Err(GrantError::UnknownScope));
        assert!(matches!(catalog.grant(kind, Some(&["b"])), Err(GrantError::AboveCeiling { .. })));
        let stranger = KeyKind::new("x_").unwrap();
        assert!(catalog.grant(stranger, Some(&["a"])).is_err());
        assert!(catalog.grant(stranger, None).unwrap().is_empty());
    }
}
