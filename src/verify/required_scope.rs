//! A scope that a route requires.

use crate::key::{
    scope::{Scope, ScopeSet},
    scope_pattern::{ScopePattern, is_value},
};

/// A scope that a route requires: a [`Scope`], or a [`ScopePattern`] with the resource of the request.
///
/// ```
/// use keyward::{Access, Scope, key::ScopePattern, verify::RequiredScope};
///
/// const ADMIN: Scope = Scope::from_static("admin");
/// const READ_REPO: ScopePattern = ScopePattern::from_static("repo:read:{repo}");
///
/// let access = Access::any_of([RequiredScope::from(READ_REPO), ADMIN.into()]).with_resource("repo", "site");
/// # let _: Access = access;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredScope(Inner);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Inner {
    Plain(Scope),
    Resource {
        pattern: ScopePattern,
        /// The value of each parameter that is bound; `None` if no scope can have it.
        values: Vec<(Box<str>, Option<Box<str>>)>,
    },
}

/// What a route requires by its description, without the resource of a request.
#[derive(Clone, Copy)]
pub(crate) enum Described<'s> {
    Plain(&'s Scope),
    Pattern(&'s ScopePattern),
}

impl RequiredScope {
    /// Returns the text that names the requirement: the scope, or the pattern. It has nothing of the
    /// request.
    pub(super) fn name(&self) -> Scope {
        match &self.0 {
            Inner::Plain(scope) => scope.clone(),
            Inner::Resource { pattern, .. } => pattern.name(),
        }
    }

    pub(super) const fn described(&self) -> Described<'_> {
        match &self.0 {
            Inner::Plain(scope) => Described::Plain(scope),
            Inner::Resource { pattern, .. } => Described::Pattern(pattern),
        }
    }

    /// Sets the value of a parameter, if the pattern has it. A second, different value, and one that no
    /// scope can have, are never met.
    pub(super) fn bind(&mut self, name: &str, value: &str) {
        let Inner::Resource { pattern, values } = &mut self.0 else { return };
        if !pattern.parameters().any(|own| own == name) {
            return;
        }
        let value = Some(value).filter(|value| is_value(value));
        match values.iter_mut().find(|(own, _)| **own == *name) {
            Some((_, bound)) if bound.as_deref() != value => *bound = None,
            Some(_) => {}
            None => values.push((name.into(), value.map(Into::into))),
        }
    }

    /// Returns whether one of these scopes meets the requirement. A parameter without a value is never
    /// met, not even by `*`.
    pub(super) fn is_met_by(&self, held: &ScopeSet) -> bool {
        match &self.0 {
            Inner::Plain(scope) => held.contains(scope),
            Inner::Resource { pattern, values } => {
                let bound =
                    |name: &str| values.iter().find(|(own, _)| **own == *name)?.1.as_deref();
                pattern.parameters().all(|name| bound(name).is_some())
                    && held
                        .iter()
                        .any(|held| pattern.admits(held, |name, found| bound(name) == Some(found)))
            }
        }
    }
}

impl From<Scope> for RequiredScope {
    fn from(scope: Scope) -> Self {
        Self(Inner::Plain(scope))
    }
}

impl From<ScopePattern> for RequiredScope {
    fn from(pattern: ScopePattern) -> Self {
        Self(Inner::Resource { pattern, values: Vec::new() })
    }
}
