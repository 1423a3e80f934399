//! The rules of a guarded router.

use std::collections::HashMap;

use ::axum::extract::{MatchedPath, NestedPath};
use http::{Extensions, Method, Uri};
use keyward::{ConfigError, Route, error::ConfigErrorKind, gate::CheckedRoute};

/// The rules of a guarded router: which route of an axum router requires what.
///
/// A path is written as in [`Router::route`](axum::Router::route), with the prefixes of all
/// [`nest`](axum::Router::nest)s before it: `/v1/users/{id}`. A rule for a method goes before a
/// rule for all methods. What no rule names is denied.
///
/// ```
/// use keyward::{Access, Scope};
/// use keyward_tower::Rules;
///
/// const READ: Scope = Scope::from_static("read");
/// const WRITE: Scope = Scope::from_static("write");
///
/// let rules = Rules::new()
///     .get("/v1/items", Access::scope(READ)) // HEAD too
///     .post("/v1/items", Access::scope(WRITE))
///     .any("/v1/items/{id}", Access::scope(WRITE))
///     .nested("/files", Access::scope(READ));
/// # let _ = rules;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Rules {
    rules: Vec<(Place, Route)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A matched path, and a method if the rule is for one alone.
    Path(Box<str>, Option<Method>),
    /// Everything below a prefix that no route matches.
    Nested(Box<str>),
    /// Everything that no route matches.
    Fallback,
}

impl Rules {
    /// Creates rules that deny everything.
    pub const fn new() -> Self {
        Self { rules: Vec::new() }
    }

    /// Protects `GET` and `HEAD` of a path.
    pub fn get(self, path: &str, route: impl Into<Route>) -> Self {
        self.method(Method::GET, path, route)
    }

    /// Protects `POST` of a path.
    pub fn post(self, path: &str, route: impl Into<Route>) -> Self {
        self.method(Method::POST, path, route)
    }

    /// Protects `PUT` of a path.
    pub fn put(self, path: &str, route: impl Into<Route>) -> Self {
        self.method(Method::PUT, path, route)
    }

    /// Protects `PATCH` of a path.
    pub fn patch(self, path: &str, route: impl Into<Route>) -> Self {
        self.method(Method::PATCH, path, route)
    }

    /// Protects `DELETE` of a path.
    pub fn delete(self, path: &str, route: impl Into<Route>) -> Self {
        self.method(Method::DELETE, path, route)
    }

    /// Protects one method of a path.
    pub fn method(self, method: Method, path: &str, route: impl Into<Route>) -> Self {
        self.with(Place::Path(path.into(), Some(method)), route)
    }

    /// Protects all methods of a path. With a key, a method that the router does not serve gets
    /// the router's own 405.
    pub fn any(self, path: &str, route: impl Into<Route>) -> Self {
        self.with(Place::Path(path.into(), None), route)
    }

    /// Protects a service that was added with [`nest_service`](axum::Router::nest_service) at
    /// this prefix: the prefix itself, and everything below it that no other route matches.
    ///
    /// Of several prefixes the one applies that axum prefers: a written segment goes before a
    /// parameter, and a longer prefix before its beginning. A service at `/acme/files` needs a rule
    /// of its own beside one for `/{tenant}/files`, which covers it too. Targets are compared as
    /// they were sent, so a rule for a part of one service does not protect it: the service may
    /// decode `%66` and ignore an empty segment.
    pub fn nested(self, prefix: &str, route: impl Into<Route>) -> Self {
        self.with(Place::Nested(prefix.trim_end_matches('/').into()), route)
    }

    /// Protects the fallback of the router, for requests that no route matches. Without this
    /// rule the fallback is never called.
    pub fn fallback(self, route: impl Into<Route>) -> Self {
        self.with(Place::Fallback, route)
    }

    fn with(mut self, place: Place, route: impl Into<Route>) -> Self {
        self.rules.push((place, route.into()));
        self
    }

    /// Checks every rule with `check`.
    pub(crate) fn check(
        self,
        check: impl Fn(Route) -> Result<CheckedRoute, ConfigError>,
    ) -> Result<CheckedRules, ConfigError> {
        let refused = |message: String| ConfigError::new(ConfigErrorKind::Layer, message);
        let mut checked = CheckedRules {
            paths: HashMap::new(),
            nested: Vec::new(),
            fallback: None,
            denied: check(Route::new(keyward::Access::any_key()))?,
        };
        for (place, route) in self.rules {
            let route = check(route)?;
            if let Place::Path(path, _) | Place::Nested(path) = &place
                && !path.starts_with('/')
            {
                return Err(refused(format!(
                    "the path {path:?} of a rule does not begin with /; write it as in \
                     Router::route, and what has no path as Rules::fallback"
                )));
            }
            let is_first = match &place {
                Place::Path(path, method) => {
                    let rules: &mut Vec<_> = checked.paths.entry(path.clone()).or_default();
                    let is_first = rules.iter().all(|(other, _)| other != method);
                    rules.push((method.clone(), route));
                    is_first
                }
                Place::Nested(prefix) => {
                    let is_same = |other: &str| precedence(other).eq(precedence(prefix));
                    let is_first = checked.nested.iter().all(|(other, _)| !is_same(other));
                    checked.nested.push((prefix.clone(), route));
                    is_first
                }
                Place::Fallback => checked.fallback.replace(route).is_none(),
            };
            if !is_first {
                return Err(refused(format!("two rules for {place}; drop one of them from Rules")));
            }
        }
        checked.nested.sort_by(|(one, _), (other, _)| precedence(one).cmp(precedence(other)));
        Ok(checked)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path, Some(method)) => write!(f, "{method} {path}"),
            Self::Path(path, None) => write!(f, "all methods of {path}"),
            Self::Nested(prefix) => write!(f, "everything below {prefix}"),
            Self::Fallback => f.write_str("the fallback"),
        }
    }
}

/// Rules whose routes are checked.
pub(crate) struct CheckedRules {
    paths: HashMap<Box<str>, Vec<(Option<Method>, CheckedRoute)>>,
    /// In the order in which axum tries them.
    nested: Vec<(Box<str>, CheckedRoute)>,
    fallback: Option<CheckedRoute>,
    denied: CheckedRoute,
}

impl CheckedRules {
    /// Returns the route of a request, if a rule names it.
    pub(crate) fn find(
        &self,
        method: &Method,
        uri: &Uri,
        extensions: &Extensions,
    ) -> Option<&CheckedRoute> {
        let path = match matched_path(uri.path(), extensions) {
            Matched::Path(path) => path,
            Matched::Nothing => {
                let nested = self.nested.iter().find(|(prefix, _)| covers(prefix, uri.path()));
                return nested.map(|(_, route)| route).or(self.fallback.as_ref());
            }
            Matched::Unclear => return None,
        };
        if let Some(rules) = self.paths.get(path) {
            return by_method(rules, method);
        }
        // The root of a nested service has a matched path, unlike all below it.
        let prefix = path.strip_suffix('/').unwrap_or(path);
        let nested = self.nested.iter().find(|(nested, _)| **nested == *prefix);
        nested.map(|(_, route)| route)
    }

    /// Returns the route that unnamed requests must meet before they are denied.
    pub(crate) const fn denied(&self) -> &CheckedRoute {
        &self.denied
    }
}

fn by_method<'r>(
    rules: &'r [(Option<Method>, CheckedRoute)],
    method: &Method,
) -> Option<&'r CheckedRoute> {
    let find = |wanted: Option<&Method>| {
        let rule = rules.iter().find(|(method, _)| method.as_ref() == wanted);
        rule.map(|(_, route)| route)
    };
    let named = find(Some(method));
    let named =
        named.or_else(|| if *method == Method::HEAD { find(Some(&Method::GET)) } else { None });
    named.or_else(|| find(None))
}

/// Returns the place of a prefix in the order in which axum tries nested services: at the first
/// segment that differs, a written one goes before a parameter, and a parameter before the end.
fn precedence(prefix: &str) -> impl Iterator<Item = (u8, &str)> {
    let segments =
        prefix.split('/').map(|part| if is_parameter(part) { (1, "") } else { (0, part) });
    segments.chain(std::iter::once((2, "")))
}

fn is_parameter(part: &str) -> bool {
    part.starts_with('{') && part.ends_with('}')
}

/// Returns whether `path` lies below `prefix`, in which `{name}` stands for one segment.
fn covers(prefix: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let mut is_below = true;
    for part in prefix.split('/') {
        is_below &= match segments.next() {
            Some(segment) if is_parameter(part) => !segment.is_empty(),
            Some(segment) => segment == part,
            None => false,
        };
    }
    is_below
}

/// The prefix under which the guarded router itself is nested.
#[derive(Clone)]
pub(crate) struct NestedAt(Option<NestedPath>);

impl NestedAt {
    /// Removes what an outer router has matched, so that only the guarded router counts.
    ///
    /// An outer router that nests the guarded one as a service leaves a mark that no one else can
    /// read, and axum puts its prefix before the path that the guarded router matches. The fallback
    /// of a nested router leaves none.
    pub(crate) fn enter(extensions: &mut Extensions) {
        let outer = extensions.remove::<MatchedPath>();
        let prefix = match outer {
            // A whole path: axum has already forgotten the prefix.
            Some(_) => None,
            None => extensions.get::<NestedPath>().cloned(),
        };
        extensions.insert(Self(prefix));
    }
}

/// What the guarded router matched.
enum Matched<'e> {
    /// This path, as it was written in the router.
    Path(&'e str),
    /// No path: a nested service or the fallback.
    Nothing,
    /// A path that cannot be told from another. What no one knows is denied.
    Unclear,
}

/// Returns the path that the guarded router matched to the target `path`.
///
/// axum may have put the prefix of outer routers before it, or the beginning of that prefix, or
/// nothing. What remains without it is the path that the target matches.
fn matched_path<'e>(target: &str, extensions: &'e Extensions) -> Matched<'e> {
    let Some(matched) = extensions.get::<MatchedPath>() else { return Matched::Nothing };
    let matched = matched.as_str();
    let prefix = match extensions.get::<NestedAt>() {
        Some(NestedAt(Some(prefix))) => prefix.as_str().trim_end_matches('/'),
        Some(NestedAt(None)) => return Matched::Path(matched),
        None => return Matched::Unclear,
    };
    let ends = prefix.match_indices('/').map(|(end, _)| end).chain([prefix.len()]);
    let mut paths = ends
        .filter_map(|end| matched.strip_prefix(prefix.get(..end)?))
        .filter(|path| can_match(path, target));
    match (paths.next(), paths.next()) {
        (Some(path), None) => Matched::Path(path),
        _ => Matched::Unclear,
    }
}

/// Returns whether a route with this path can have matched the target. A segment with a parameter
/// or an escaped brace passes for any.
fn can_match(path: &str, target: &str) -> bool {
    let mut segments = target.split('/');
    for part in path.split('/') {
        match segments.next() {
            Some(_) if part.contains("{*") => return true,
            Some(segment) if segment == part || part.contains(['{', '}']) => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_whole_segments() {
        for (prefix, path, expected) in [
            ("/files", "/files/a", true),
            ("/files", "/files/", true),
            ("/files", "/files", true),
            ("/files", "/files2/a", false),
            ("/files", "/", false),
            ("/files", "//files/a", false),
            ("/files", "/FILES/a", false),
            ("/files", "/files%2Fa", false),
            ("/{tenant}/files", "/acme/files/a", true),
            ("/{tenant}/files", "//files/a", false),
            ("/{tenant}/files", "/acme", false),
        ] {
            assert_eq!(covers(prefix, path), expected, "{prefix} {path}");
        }
    }
}
