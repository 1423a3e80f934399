//! A route that a gate has checked.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    error::{ConfigError, ConfigErrorKind},
    gate::{
        charges::{Charges, Due, Policies},
        pipeline::Gate,
        policy::Policy,
        route::{Cost, Requirement, Route},
    },
    key::{catalog::ScopeCatalog, owner::OwnerId},
    limit::{charged::Charged, limit::Subject, limiter::Limiter},
    quota::{policy_name::PolicyName, quotas::Quotas},
    verify::{access::Access, required_scope::Described, verified::Verified},
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

/// What clones of a route share.
#[derive(Clone)]
pub(super) struct Checked {
    id: RouteId,
    gate: Gate,
    access: Access,
    limits: Vec<Arc<Policy>>,
    counts_addresses: bool,
    allows_missing: bool,
}

impl Gate {
    /// Checks a route: this gate accepts every kind of key that it names, the scope catalogue
    /// defines every scope, and the gate declares every limit.
    ///
    /// A verifier without a [catalogue](crate::verify::Verifier::with_catalog) knows no scopes
    /// by name, so there every scope passes. Whether somebody charges the limits of the route
    /// is not checked here: a gate without a limiter leaves that to
    /// [`Step::Charge`](crate::gate::Step::Charge).
    ///
    /// # Errors
    ///
    /// [`ConfigErrorKind::Route`], naming the kind, the scope or the limit that is unknown; also if
    /// the route has more limits than [`Limiter::MAX_LIMITS`].
    pub fn route(&self, route: impl Into<Route>) -> Result<CheckedRoute, ConfigError> {
        let (Requirement { access, limits, allows_missing }, cost) = route.into().into_parts();
        let refused = |message: String| ConfigError::new(ConfigErrorKind::Route, message);
        let config = self.config();
        let kinds = access.required_kinds().unwrap_or_default();
        if let Some(kind) = kinds.iter().find(|kind| !config.formats.accepts(**kind)) {
            return Err(refused(format!(
                "the route admits keys of kind {kind}, which the gate does not accept; add its \
                 format to Gate::builder"
            )));
        }
        if let Some(catalog) = config.verifier.catalog() {
            for scope in access.described_scopes() {
                check_scope(catalog, scope).map_err(refused)?;
            }
        }
        if limits.len() > Limiter::MAX_LIMITS {
            return Err(refused(format!(
                "the route has {} limits, and one decision charges at most {}; drop some calls of \
                 Route::with_limit",
                limits.len(),
                Limiter::MAX_LIMITS
            )));
        }
        let declared = |name: &str| config.policies.iter().find(|own| own.name.as_str() == name);
        let limit = |name: Box<str>| match declared(&name) {
            Some(policy) => Ok(Arc::clone(policy)),
            None => Err(refused(format!(
                "the route has the limit {name:?}, which the gate does not declare; call \
                 GateBuilder::with_limit or ApiKeysBuilder::with_limit"
            ))),
        };
        let limits = limits.into_iter().map(limit).collect::<Result<Vec<_>, _>>()?;
        let counts_addresses = limits.iter().any(|limit| limit.subject == Subject::Address);
        let checked = Checked {
            id: RouteId::next(),
            gate: self.clone(),
            access,
            limits,
            counts_addresses,
            allows_missing,
        };
        Ok(CheckedRoute { checked: Arc::new(checked), cost })
    }
}

/// Checks that a catalogue defines a scope that a route requires.
fn check_scope(catalog: &ScopeCatalog, scope: Described<'_>) -> Result<(), String> {
    match scope {
        Described::Plain(scope) if catalog.has_plain(scope) => Ok(()),
        Described::Plain(role) if catalog.role(role.as_str()).is_some() => Err(format!(
            "the route requires {role}, which is a role; give Access the scopes that it needs"
        )),
        Described::Plain(scope) if catalog.scope(scope.as_str()).is_ok() => Err(format!(
            "the route requires the scope {scope}, which names a resource; call Access::scope_on \
             with its pattern, and Access::with_resource"
        )),
        Described::Plain(scope) => Err(format!(
            "the route requires the scope {scope}, which the catalogue does not define; add it to \
             ScopeCatalog::new, and pass the catalogue to Issuer::with_catalog or \
             ApiKeysBuilder::with_catalog"
        )),
        Described::Pattern(pattern) if catalog.has_pattern(pattern) => Ok(()),
        Described::Pattern(pattern) => Err(format!(
            "the route requires the pattern {pattern}, which the catalogue does not define; call \
             ScopeCatalog::with_pattern, and pass the catalogue to Issuer::with_catalog or \
             ApiKeysBuilder::with_catalog"
        )),
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
        let access = &mut Arc::make_mut(&mut self.checked).access;
        *access = access.clone().with_owner(owner);
        self
    }

    /// Sets the value of a parameter in the patterns of the scopes that the route requires, such as the
    /// repository that the path names. See [`Access::with_resource`].
    ///
    /// Read the value percent-decoded, as the handler does.
    pub fn with_resource(mut self, parameter: &str, value: &str) -> Self {
        let access = &mut Arc::make_mut(&mut self.checked).access;
        *access = access.clone().with_resource(parameter, value);
        self
    }

    /// Returns the access that a caller needs.
    pub fn access(&self) -> &Access {
        &self.checked.access
    }

    /// Returns whether a request without a credential [goes on](Route::allow_missing).
    pub fn allows_missing(&self) -> bool {
        self.checked.allows_missing
    }

    /// Returns whether the route has a limit.
    pub fn is_limited(&self) -> bool {
        !self.checked.limits.is_empty()
    }

    /// Returns the subjects by which the limits of the route count, for an adapter that has to
    /// provide [addresses](Subject::Address) and [subjects of the host](Subject::Host).
    pub fn subjects(&self) -> impl Iterator<Item = Subject> {
        self.checked.limits.iter().map(|policy| policy.subject)
    }

    /// Returns the gate that checked the route.
    #[inline]
    pub fn gate(&self) -> &Gate {
        &self.checked.gate
    }

    /// Returns the names of the limits.
    pub(super) fn limit_names(&self) -> Vec<&str> {
        self.policies().iter().map(|policy| policy.name.as_str()).collect()
    }

    pub(super) const fn cost(&self) -> u32 {
        self.cost.get()
    }

    #[inline]
    pub(super) fn belongs_to(&self, gate: &Gate) -> bool {
        self.checked.gate.is(gate)
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.checked.limits
    }

    /// Returns whether a limit of the route counts by address.
    pub(super) fn counts_addresses(&self) -> bool {
        self.checked.counts_addresses
    }

    /// Returns what clones of the route share.
    #[inline]
    pub(super) const fn shared(&self) -> &Arc<Checked> {
        &self.checked
    }
}

/// The identity of a checked route, and of clones with another owner or resource: they have the same
/// limits. No other route of the process has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RouteId(u64);

impl RouteId {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

impl Checked {
    pub(super) const fn id(&self) -> RouteId {
        self.id
    }

    pub(super) const fn access(&self) -> &Access {
        &self.access
    }

    /// Returns what a request is charged, in the order of the limits.
    #[inline]
    pub(super) fn due<'p: 'r, 'r>(
        &'p self,
        charges: &'r Charges,
        verified: &'r Verified,
    ) -> impl Iterator<Item = Due<'p, 'r>> {
        charges.due(self.gate.id(), &self.limits, verified)
    }

    /// Returns the policy at a position of what a request is charged; beyond the last one, that of
    /// the first.
    pub(super) fn charged_policy<'p>(
        &'p self,
        charges: &Charges,
        verified: &Verified,
        position: usize,
    ) -> Option<&'p Policy> {
        let at = |position| self.due(charges, verified).nth(position).map(|due| due.policy);
        at(position).or_else(|| at(0))
    }

    /// Returns the names and quotas of what a request is charged, for headers that list them.
    pub(super) fn charged_quotas(
        &self,
        charges: &Charges,
        verified: &Verified,
    ) -> Vec<(PolicyName, Quotas)> {
        let due = self.due(charges, verified);
        due.map(|due| (due.policy.name.clone(), *due.quotas)).collect()
    }

    /// Returns everything that was charged for an admitted request, here and around it.
    pub(super) fn charged(&self, charges: &Charges, verified: &Verified) -> Charged {
        let keys = self.due(charges, verified).map(|due| due.key);
        Charged::new(charges.before(), self.gate.id(), verified.key_id(), keys)
    }
}

impl fmt::Debug for CheckedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedRoute")
            .field("access", &self.checked.access)
            .field("limits", &self.limit_names())
            .field("cost", &self.cost())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("access", &self.access).finish_non_exhaustive()
    }
}
