//! The scopes that a service defines, and those that each kind of key can have.

use std::{borrow::Cow, sync::Arc};

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::{
        grant_error::GrantError,
        kind::KeyKind,
        scope::{Scope, ScopeSet},
        scope_pattern::ScopePattern,
    },
};

/// The scopes that a service defines, and for each kind of key its default scopes and its ceiling.
///
/// Until [`ScopeCatalog::allow`] names a kind, its keys can have no scopes. Clones share the
/// catalogue.
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
///     .allow(public, [], [])?; // can never have a scope
/// assert_eq!(catalog.grant(api, None)?, ScopeSet::new([READ])?);
/// assert_eq!(catalog.grant(api, Some(&["write:issues"]))?, ScopeSet::new([WRITE])?);
/// assert!(catalog.grant(public, Some(&["read:lucent"])).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A [pattern](ScopeCatalog::with_pattern) defines scopes that name a resource. A
/// [role](ScopeCatalog::with_role) is a name for a set of scopes, which a key holds like a scope:
///
/// ```
/// use keyward::{key::{KeyKind, ScopeCatalog, ScopePattern}, Scope};
///
/// const BILLING: Scope = Scope::from_static("billing");
/// const READ_REPO: ScopePattern = ScopePattern::from_static("repo:read:{owner}/{repo}");
/// const AUDITOR: Scope = Scope::from_static("auditor");
/// let api = KeyKind::new("acme_api_")?;
///
/// let every_repo = Scope::from_static("repo:read:*/*");
/// let catalog = ScopeCatalog::new([BILLING])?
///     .with_pattern(READ_REPO)?
///     .with_role(AUDITOR, [BILLING, every_repo.clone()])?
///     .allow(api, [], [BILLING, every_repo])?;
/// assert!(catalog.grant(api, Some(&["repo:read:acme/site"])).is_ok());
/// assert!(catalog.grant(api, Some(&["auditor"])).is_ok());
/// assert!(catalog.grant(api, Some(&["repo:read:acme"])).is_err()); // fits no pattern
/// assert!(catalog.grant(api, Some(&["*"])).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScopeCatalog(Arc<Catalog>);

#[derive(Clone, Debug, Default)]
struct Catalog {
    known: ScopeSet,
    patterns: Vec<ScopePattern>,
    /// The roles: a name, and the scopes that it stands for.
    roles: Vec<(Scope, ScopeSet)>,
    kinds: Vec<KindScopes>,
}

#[derive(Clone, Debug)]
struct KindScopes {
    kind: KeyKind,
    defaults: ScopeSet,
    /// Without roles: it has their scopes in their place.
    ceiling: ScopeSet,
}

/// What a text means in a catalogue.
enum Meaning<'c> {
    Plain,
    Instance(&'c ScopePattern),
    Role,
}

impl ScopeCatalog {
    /// Builds a catalogue of the `known` scopes. No kind can have them until
    /// [`ScopeCatalog::allow`] is called for it.
    ///
    /// # Errors
    ///
    /// Returns an error for more than [`ScopeSet::MAX`] scopes, and for one with `*`, `{` or `}`, which
    /// would mean nothing in it: [`ScopeCatalog::with_pattern`] defines scopes that name a resource.
    pub fn new(known: impl IntoIterator<Item = Scope>) -> Result<Self, ConfigError> {
        let known = ScopeSet::new(known).map_err(|_| {
            refused("ScopeCatalog::new takes at most 64 scopes; merge some of them")
        })?;
        known.iter().try_for_each(check_plain)?;
        Ok(Self(Arc::new(Catalog { known, ..Catalog::default() })))
    }

    /// Builds the catalogue of a service without scopes.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Defines all scopes that are instances of `pattern`. A scope with `*` in place of a value grants
    /// every value, also in a ceiling: `repo:read:*/*` is all of `repo:read:{owner}/{repo}`.
    ///
    /// A route requires one of them with
    /// [`Access::scope_on`](crate::verify::Access::scope_on) and the resource of the request.
    ///
    /// # Errors
    ///
    /// Returns an error if a scope could be an instance of two patterns, or is one of the catalogue's
    /// others.
    pub fn with_pattern(self, pattern: ScopePattern) -> Result<Self, ConfigError> {
        let names = self.0.known.iter().chain(self.0.roles.iter().map(|(name, _)| name));
        let is_taken = names.into_iter().any(|name| pattern.has_instance(name));
        if is_taken || self.0.patterns.iter().any(|other| other.overlaps(&pattern)) {
            return Err(refused(format!(
                "a scope could be an instance of the pattern {pattern} and be defined otherwise; \
                 give ScopeCatalog::with_pattern another first segment"
            )));
        }
        Ok(self.with(|catalog| catalog.patterns.push(pattern)))
    }

    /// Defines a role: a name that stands for `scopes`. A key holds the name, and each decision reads
    /// what it stands for, within the ceiling of the kind. So a change of the role reaches all its keys
    /// with the next start of the service, and a role that is no longer defined grants nothing.
    ///
    /// Define the scopes and patterns of a role before it, and roles before the kinds that have them.
    /// Routes require scopes and not roles.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is defined already or has `*`, `{` or `}`, or if a scope is not in
    /// the catalogue or is a role itself.
    pub fn with_role(
        self,
        name: Scope,
        scopes: impl IntoIterator<Item = Scope>,
    ) -> Result<Self, ConfigError> {
        check_plain(&name)?;
        if self.0.meaning(&name).is_some() {
            return Err(refused(format!(
                "the role {name} is defined already; give ScopeCatalog::with_role another name"
            )));
        }
        let of_role = || format!("a scope of the role {name}");
        let scopes = self.0.defined(scopes, of_role)?;
        if scopes.iter().any(|scope| self.0.role(scope).is_some()) {
            return Err(refused(format!(
                "the role {name} contains a role; give ScopeCatalog::with_role its scopes"
            )));
        }
        Ok(self.with(|catalog| catalog.roles.push((name, scopes))))
    }

    /// Allows keys of `kind` the scopes of `ceiling`. A key that is issued without a list of scopes
    /// gets `defaults`. Either can name roles. A role in the ceiling allows the scopes that it stands
    /// for, and a kind can have every role whose scopes are all within its ceiling.
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
        let of_kind = || format!("a scope of the kind {kind}");
        let defaults = self.0.defined(defaults, of_kind)?;
        let ceiling = self.0.without_roles(&self.0.defined(ceiling, of_kind)?);
        if self.0.entry(kind).is_some() {
            return Err(refused(format!(
                "the kind {kind} is allowed twice; call ScopeCatalog::allow once with all its scopes"
            )));
        }
        let new = self.with(|catalog| {
            catalog.kinds.push(KindScopes { kind, defaults: defaults.clone(), ceiling });
        });
        if let Some(scope) = defaults.iter().find(|scope| !new.permits(kind, scope)) {
            return Err(refused(format!(
                "the default scope {scope} of the kind {kind} is above its ceiling; add it to the \
                 ceiling in ScopeCatalog::allow"
            )));
        }
        Ok(new)
    }

    /// Returns the scope with this text: a known one, an instance of a pattern, or a role.
    ///
    /// # Errors
    ///
    /// Returns [`GrantError::UnknownScope`] if the catalogue does not define it.
    pub fn scope(&self, text: &str) -> Result<Scope, GrantError> {
        if let Some(known) = self.0.known.get(text) {
            return Ok(known.clone());
        }
        let scope = Scope::new(text).map_err(|_| GrantError::UnknownScope)?;
        self.0.meaning(&scope).map(|_| scope.clone()).ok_or(GrantError::UnknownScope)
    }

    /// Returns the scopes that a role stands for, if the catalogue defines it.
    pub fn role(&self, name: &str) -> Option<&ScopeSet> {
        self.0.roles.iter().find(|(own, _)| own.as_str() == name).map(|(_, scopes)| scopes)
    }

    /// Returns the scopes for a new key of `kind`: those that were asked for, or with `None` the
    /// defaults of the kind.
    ///
    /// # Errors
    ///
    /// Returns [`GrantError::UnknownScope`] for a scope that the catalogue does not have and for more
    /// than [`ScopeSet::MAX`] of them, and [`GrantError::AboveCeiling`] for one that the kind can never
    /// have.
    pub fn grant(&self, kind: KeyKind, asked: Option<&[&str]>) -> Result<ScopeSet, GrantError> {
        let Some(asked) = asked else {
            return Ok(self.0.entry(kind).map(|entry| entry.defaults.clone()).unwrap_or_default());
        };
        let scopes = asked.iter().map(|text| self.scope(text)).collect::<Result<Vec<_>, _>>()?;
        let scopes = ScopeSet::new(scopes).map_err(|_| GrantError::UnknownScope)?;
        self.check(kind, &scopes)?;
        Ok(scopes)
    }

    /// Checks that a key of `kind` can have all of `scopes`.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`ScopeCatalog::grant`].
    pub fn check(&self, kind: KeyKind, scopes: &ScopeSet) -> Result<(), GrantError> {
        let meanings = scopes.iter().map(|scope| (scope, self.0.meaning(scope)));
        if meanings.clone().any(|(_, meaning)| meaning.is_none()) {
            return Err(GrantError::UnknownScope);
        }
        for (scope, meaning) in meanings {
            if !self.permits(kind, scope) {
                let scope = match meaning {
                    Some(Meaning::Instance(pattern)) => pattern.name(),
                    _ => scope.clone(),
                };
                return Err(GrantError::AboveCeiling { scope, kind });
            }
        }
        Ok(())
    }

    /// Returns whether a key of `kind` can ever have `scope`: a scope within the ceiling of the kind, or
    /// a role whose scopes all are.
    pub fn permits(&self, kind: KeyKind, scope: &Scope) -> bool {
        self.0.entry(kind).is_some_and(|entry| match self.0.role(scope) {
            None => self.0.is_within(&entry.ceiling, scope),
            Some(scopes) => scopes.iter().all(|scope| self.0.is_within(&entry.ceiling, scope)),
        })
    }

    /// Returns the scopes that a key of `kind` can have at most, with the scopes of roles in their place.
    pub fn ceiling(&self, kind: KeyKind) -> ScopeSet {
        self.0.entry(kind).map(|entry| entry.ceiling.clone()).unwrap_or_default()
    }

    /// Returns what a key of `kind` may do that holds these scopes and roles: without those that its kind
    /// cannot have, and with the scopes of its roles. `None` is no difference.
    #[inline]
    pub(crate) fn effective(&self, kind: KeyKind, held: &ScopeSet) -> Option<ScopeSet> {
        let entry = self.0.entry(kind);
        // Most keys hold plain scopes within their ceiling.
        let is_plain = |scope| entry.is_some_and(|entry| entry.ceiling.contains(scope));
        if held.iter().all(is_plain) { None } else { self.0.resolved(entry, held) }
    }

    /// Returns whether the catalogue has this scope itself, and not as an instance or a role.
    pub(crate) fn has_plain(&self, scope: &Scope) -> bool {
        self.0.known.contains(scope)
    }

    /// Returns whether the catalogue has this pattern.
    pub(crate) fn has_pattern(&self, pattern: &ScopePattern) -> bool {
        self.0.patterns.contains(pattern)
    }

    fn with(self, change: impl FnOnce(&mut Catalog)) -> Self {
        let mut catalog = Arc::unwrap_or_clone(self.0);
        change(&mut catalog);
        Self(Arc::new(catalog))
    }
}

impl Catalog {
    fn entry(&self, kind: KeyKind) -> Option<&KindScopes> {
        self.kinds.iter().find(|entry| entry.kind == kind)
    }

    fn role(&self, name: &Scope) -> Option<&ScopeSet> {
        self.roles.iter().find(|(own, _)| own == name).map(|(_, scopes)| scopes)
    }

    fn pattern_of(&self, scope: &Scope) -> Option<&ScopePattern> {
        self.patterns.iter().find(|pattern| pattern.has_instance(scope))
    }

    fn meaning(&self, scope: &Scope) -> Option<Meaning<'_>> {
        if self.known.contains(scope) {
            return Some(Meaning::Plain);
        }
        let role = self.role(scope).map(|_| Meaning::Role);
        role.or_else(|| self.pattern_of(scope).map(Meaning::Instance))
    }

    /// Returns whether a scope that is no role is within a ceiling.
    fn is_within(&self, ceiling: &ScopeSet, scope: &Scope) -> bool {
        ceiling.contains(scope)
            || self
                .pattern_of(scope)
                .is_some_and(|pattern| ceiling.iter().any(|wide| pattern.covers(wide, scope)))
    }

    /// Returns the set of these scopes, all of which the catalogue must define.
    fn defined(
        &self,
        scopes: impl IntoIterator<Item = Scope>,
        what: impl Fn() -> String,
    ) -> Result<ScopeSet, ConfigError> {
        let mut defined = Vec::new();
        for scope in scopes {
            if self.meaning(&scope).is_none() {
                // The error does not repeat the scope: it might be a key in the wrong place.
                return Err(refused(format!(
                    "{} is not in the catalogue; add it to ScopeCatalog::new, or call \
                     ScopeCatalog::with_pattern or ScopeCatalog::with_role before",
                    what()
                )));
            }
            defined.push(scope);
        }
        ScopeSet::new(defined)
            .map_err(|_| refused(format!("there are more than 64 of {}; merge some", what())))
    }

    /// Returns these scopes with the scopes of roles in their place.
    fn without_roles(&self, scopes: &ScopeSet) -> ScopeSet {
        let mut all = Vec::with_capacity(scopes.len());
        for scope in scopes {
            match self.role(scope) {
                Some(of_role) => all.extend(of_role.iter().cloned()),
                None => all.push(scope.clone()),
            }
        }
        ScopeSet::unbounded(all)
    }

    fn resolved(&self, entry: Option<&KindScopes>, held: &ScopeSet) -> Option<ScopeSet> {
        let all = self.without_roles(held);
        let is_within =
            |scope: &&Scope| entry.is_some_and(|entry| self.is_within(&entry.ceiling, scope));
        let kept = ScopeSet::unbounded(all.iter().filter(is_within).cloned().collect());
        (kept != *held).then_some(kept)
    }
}

/// Refuses a scope in which a character of patterns would mean nothing.
fn check_plain(scope: &Scope) -> Result<(), ConfigError> {
    match scope.as_str().contains(['*', '{', '}']) {
        // The error does not repeat the scope: it might be a key in the wrong place.
        true => Err(refused(
            "a scope or role has *, { or }, which would mean nothing; define scopes that name a \
             resource with ScopeCatalog::with_pattern",
        )),
        false => Ok(()),
    }
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
