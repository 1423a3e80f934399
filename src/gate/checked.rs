//! A route that a gate has checked.

use std::{fmt, sync::Arc};

use crate::{
    error::{ConfigError, ConfigErrorKind},
    gate::{
        pipeline::Gate,
        route::{Cost, Requirement, Route},
    },
    key::owner::OwnerId,
    limit::key::LimitKey,
    quota::Quotas,
    request::reason::LimitedBy,
    verify::{Verified, access::Access},
};

/// A [`Route`] that its gate has checked. Requests are decided by checked routes alone.
///
/// [`Gate::route`] returns it. It belongs to that gate and to clones of it: another gate refuses
/// every request on it with 503, because nobody has checked the route there
/// ([`RefusalReason::ForeignRoute`](crate::request::RefusalReason::ForeignRoute)). Clones are
/// cheap and share everything but the cost.
///
/// ```
/// # use keyward::{
/// #     Access, Challenge, CredentialSource, Gate, Issuer, KeyFormat, KeyHasher, MemoryStore, Scope,
/// # };
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let issuer = Issuer::new(MemoryStore::new(), KeyFormat::hex("k_"), KeyHasher::sha256());
/// let gate = Gate::builder(issuer.formats().clone(), issuer.verifier(), CredentialSource::bearer())
///     .with_challenge(Challenge::bearer("exports")?)
///     .build()?;
/// let read = gate.route(Access::any_key())?;
/// assert!(!read.is_limited());
/// // The catalogue of this service defines no scopes.
/// assert!(gate.route(Access::scope(Scope::from_static("export"))).is_err());
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct CheckedRoute {
    checked: Arc<Checked>,
    cost: Cost,
}

#[derive(Clone)]
struct Checked {
    gate: Gate,
    requirement: Requirement,
}

impl Gate {
    /// Checks a route: this gate accepts every kind of key that it names, and the scope
    /// catalogue defines every scope.
    ///
    /// A verifier without a [catalogue](crate::verify::Verifier::with_catalog) knows no scopes
    /// by name, so there every scope passes. Whether somebody charges the limits of the route
    /// is not checked here: a gate without a limiter leaves that to
    /// [`Step::Charge`](crate::gate::Step::Charge).
    ///
    /// # Errors
    ///
    /// [`ConfigErrorKind::Route`], naming the kind or the scope that is unknown.
    pub fn route(&self, route: impl Into<Route>) -> Result<CheckedRoute, ConfigError> {
        let (requirement, cost) = route.into().into_parts();
        let refused = |message: String| ConfigError::new(ConfigErrorKind::Route, message);
        let config = self.config();
        let kinds = requirement.access.required_kinds().unwrap_or_default();
        if let Some(kind) = kinds.iter().find(|kind| config.formats.get(**kind).is_none()) {
            return Err(refused(format!(
                "the route admits keys of kind {kind}, which the gate does not accept; add its \
                 format to Gate::builder"
            )));
        }
        if let Some(catalog) = config.verifier.catalog()
            && let Some(scope) = requirement
                .access
                .required_scopes()
                .iter()
                .find(|scope| catalog.scope(scope.as_str()).is_err())
        {
            return Err(refused(format!(
                "the route requires the scope {scope}, which the catalogue does not define; add \
                 it to ScopeCatalog::new, and pass the catalogue to Issuer::with_catalog or \
                 ApiKeysBuilder::with_catalog"
            )));
        }
        let checked = Checked { gate: self.clone(), requirement };
        Ok(CheckedRoute { checked: Arc::new(checked), cost })
    }
}

impl CheckedRoute {
    /// Sets the cost of this request. It applies to this clone alone. 0 counts as 1.
    pub fn with_cost(self, cost: u32) -> Self {
        Self { cost: Cost::new(cost), ..self }
    }

    /// Requires the key to belong to `owner` too, such as the project that the path names.
    ///
    /// The check of the route stands, because an owner only narrows it. See
    /// [`Access::with_owner`].
    pub fn with_owner(mut self, owner: OwnerId) -> Self {
        let access = &mut Arc::make_mut(&mut self.checked).requirement.access;
        *access = access.clone().with_owner(owner);
        self
    }

    /// Returns the access that a caller needs.
    pub fn access(&self) -> &Access {
        &self.checked.requirement.access
    }

    /// Returns whether the route has a limit.
    pub fn is_limited(&self) -> bool {
        self.checked.requirement.is_limited()
    }

    /// Returns the gate that checked the route.
    #[inline]
    pub fn gate(&self) -> &Gate {
        &self.checked.gate
    }

    pub(super) const fn cost(&self) -> u32 {
        self.cost.get()
    }

    #[inline]
    pub(super) fn belongs_to(&self, gate: &Gate) -> bool {
        self.checked.gate.is(gate)
    }

    #[inline]
    pub(super) fn limits<'r>(
        &'r self,
        verified: &'r Verified,
    ) -> impl Iterator<Item = (LimitKey, &'r Quotas)> {
        self.checked.requirement.limits(verified)
    }

    pub(super) fn limited_by(&self, position: usize) -> LimitedBy {
        self.checked.requirement.limited_by(position)
    }

    pub(super) fn limited_by_all(&self) -> impl Iterator<Item = LimitedBy> + Clone + use<> {
        self.checked.requirement.limited_by_all()
    }
}

impl fmt::Debug for CheckedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedRoute")
            .field("requirement", &self.checked.requirement)
            .field("cost", &self.cost())
            .finish_non_exhaustive()
    }
}
