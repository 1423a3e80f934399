//! The description of a route: required access, limits and cost.

use std::sync::Arc;

use crate::verify::access::Access;

/// The description of a route: the access it requires, its limits, and the cost of a request.
///
/// [`Gate::route`](crate::gate::Gate::route) checks it against a gate and returns the
/// [`CheckedRoute`](crate::gate::CheckedRoute) by which requests are decided. Clones share
/// everything but the cost.
///
/// ```
/// use keyward::{Access, Route, Scope};
///
/// let route = Route::new(Access::scope(Scope::from_static("write:issues")))
///     .with_limit("default")
///     .with_limit("writes");
/// assert_eq!(route.access().required_scopes()[0].as_str(), "write:issues");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Route {
    requirement: Arc<Requirement>,
    cost: Cost,
}

/// The part of a route that its clones share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requirement {
    pub(super) access: Access,
    /// The names of the limits, each once.
    pub(super) limits: Vec<Box<str>>,
    pub(super) allows_missing: bool,
}

/// The cost of a request, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost(u32);

impl Cost {
    pub(super) const fn new(cost: u32) -> Self {
        Self(if cost == 0 { 1 } else { cost })
    }

    pub(super) const fn get(self) -> u32 {
        self.0
    }
}

impl Route {
    /// Describes a route without limits, on which a request costs 1.
    pub fn new(access: Access) -> Self {
        let requirement = Requirement { access, limits: Vec::new(), allows_missing: false };
        Self { requirement: Arc::new(requirement), cost: Cost::new(1) }
    }

    /// Adds the limit that [`GateBuilder::with_limit`](crate::gate::GateBuilder::with_limit) has
    /// declared under this name. All routes that name it count together.
    ///
    /// A request is admitted if every limit of its route admits it, and is then charged to all of
    /// them. Naming a limit again changes nothing. A name that is not declared is an error of
    /// [`Gate::route`](crate::gate::Gate::route).
    pub fn with_limit(mut self, name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        if !self.has_limit(name) {
            Arc::make_mut(&mut self.requirement).limits.push(name.into());
        }
        self
    }

    /// Lets a request without any credential go on as anonymous, with
    /// [`Outcome::Anonymous`](crate::gate::Outcome::Anonymous): a public route that gives more to a
    /// caller with a key. **Every other requirement and every limit of the route is then for callers
    /// with a key only**, so the host decides what anybody gets, and limits it.
    ///
    /// A request with a credential is treated as without this: an invalid, ended or contradictory one
    /// is refused, so that a client whose key has ended learns it. An
    /// [empty](crate::CredentialSource) credential, and one in a place or scheme that the gate does not
    /// read, is none.
    pub fn allow_missing(mut self) -> Self {
        Arc::make_mut(&mut self.requirement).allows_missing = true;
        self
    }

    /// Sets the cost of a request, which every limit of the route is charged. The default is 1,
    /// and 0 counts as 1.
    pub fn with_cost(self, cost: u32) -> Self {
        Self { cost: Cost::new(cost), ..self }
    }

    /// Returns the access that a caller needs.
    pub fn access(&self) -> &Access {
        &self.requirement.access
    }

    /// Returns whether a request without a credential goes on.
    pub fn allows_missing(&self) -> bool {
        self.requirement.allows_missing
    }

    /// Returns whether the route has a limit.
    pub fn is_limited(&self) -> bool {
        !self.requirement.limits.is_empty()
    }

    /// Returns whether the route has the limit of this name.
    pub fn has_limit(&self, name: &str) -> bool {
        self.requirement.limits.iter().any(|own| **own == *name)
    }

    pub(super) fn into_parts(self) -> (Requirement, Cost) {
        (Arc::unwrap_or_clone(self.requirement), self.cost)
    }
}

impl From<Access> for Route {
    fn from(access: Access) -> Self {
        Self::new(access)
    }
}

impl Access {
    /// Describes a route of this access with a limit: [`Route::with_limit`] of a
    /// [`Route::new`](crate::gate::Route::new).
    pub fn with_limit(self, name: impl AsRef<str>) -> Route {
        Route::new(self).with_limit(name)
    }
}
