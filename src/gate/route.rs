//! The description of a route: required access, limits and cost.

use std::sync::Arc;

use crate::{
    key::owner::Tier,
    limit::key::LimitKey,
    quota::{Quota, Quotas},
    request::reason::LimitedBy,
    verify::{Verified, access::Access},
};

/// The description of a route: the access it requires, its limits, and the cost of a request.
///
/// [`Gate::route`](crate::gate::Gate::route) checks it against a gate and returns the
/// [`CheckedRoute`](crate::gate::CheckedRoute) by which requests are decided. Clones share
/// everything but the cost.
///
/// ```
/// use keyward::{gate::RouteQuotas, key::Tier, Access, Quota, Route, Scope};
///
/// let quotas = RouteQuotas::new(Quota::per_minute(100))
///     .with_tier(Tier::from_static("higher"), Quota::per_minute(1_000));
/// let route = Route::new(Access::scope(Scope::from_static("write:issues")))
///     .limit_key(quotas)
///     .limit_owner(Quota::per_minute(5_000));
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
    key: Option<RouteQuotas>,
    owner: Option<RouteQuotas>,
    group: Option<(u16, RouteQuotas)>,
    shared: Option<(LimitKey, RouteQuotas)>,
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
        let requirement = Requirement { access, key: None, owner: None, group: None, shared: None };
        Self { requirement: Arc::new(requirement), cost: Cost::new(1) }
    }

    /// Limits each key: by its own quotas, else by its owner's, else by these.
    ///
    /// So these quotas are a default and no ceiling. All routes with a key limit count
    /// together, whatever quotas they name. [`Route::limit_group`] counts a route separately.
    pub fn limit_key(mut self, quotas: impl Into<RouteQuotas>) -> Self {
        self.requirement_mut().key = Some(quotas.into());
        self
    }

    /// Limits the keys of one owner together, by these quotas. All routes with an owner limit
    /// count together.
    pub fn limit_owner(mut self, quotas: impl Into<RouteQuotas>) -> Self {
        self.requirement_mut().owner = Some(quotas.into());
        self
    }

    /// Limits each key within a group of routes, by these quotas alone. `group` is a number
    /// that the host chooses, and the namespace of [`LimitKey::named`].
    pub fn limit_group(mut self, group: u16, quotas: impl Into<RouteQuotas>) -> Self {
        self.requirement_mut().group = Some((group, quotas.into()));
        self
    }

    /// Limits all callers together, for example on a costly route, under a key that the host
    /// chooses.
    pub fn limit_shared(mut self, key: LimitKey, quotas: impl Into<RouteQuotas>) -> Self {
        self.requirement_mut().shared = Some((key, quotas.into()));
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

    /// Returns whether the route has a limit.
    pub fn is_limited(&self) -> bool {
        self.requirement.is_limited()
    }

    /// Returns whether the route limits each key, with [`Route::limit_key`].
    pub fn limits_keys(&self) -> bool {
        self.requirement.key.is_some()
    }

    pub(super) fn into_parts(self) -> (Requirement, Cost) {
        (Arc::unwrap_or_clone(self.requirement), self.cost)
    }

    fn requirement_mut(&mut self) -> &mut Requirement {
        Arc::make_mut(&mut self.requirement)
    }
}

impl From<Access> for Route {
    fn from(access: Access) -> Self {
        Self::new(access)
    }
}

impl Requirement {
    pub(super) fn is_limited(&self) -> bool {
        let Self { key, owner, group, shared, .. } = self;
        key.is_some() || owner.is_some() || group.is_some() || shared.is_some()
    }

    /// Returns the limits that apply to this caller, in the order in which they are charged.
    #[inline]
    pub(super) fn limits<'r>(
        &'r self,
        verified: &'r Verified,
    ) -> impl Iterator<Item = (LimitKey, &'r Quotas)> {
        let Self { key, owner, group, shared, .. } = self;
        let tier = verified.tier();
        let key = key.as_ref().map(|quotas| {
            (verified.key_id().into(), verified.quotas().unwrap_or_else(|| quotas.of(tier)))
        });
        let owner = owner.as_ref().map(|quotas| (verified.owner_id().into(), quotas.of(tier)));
        let group = group.as_ref().map(|(group, quotas)| {
            (LimitKey::named(*group, verified.key_id().as_bytes()), quotas.of(tier))
        });
        let shared = shared.as_ref().map(|(key, quotas)| (*key, quotas.of(tier)));
        [key, owner, group, shared].into_iter().flatten()
    }

    /// Returns the subject of the limit at this position of [`Requirement::limits`]; beyond the
    /// last one, that of the first.
    pub(super) fn limited_by(&self, position: usize) -> LimitedBy {
        let mut all = self.limited_by_all();
        let first = all.clone().next().unwrap_or(LimitedBy::Key);
        all.nth(position).unwrap_or(first)
    }

    /// Returns the subjects of all limits, in the order in which they are charged.
    pub(super) fn limited_by_all(&self) -> impl Iterator<Item = LimitedBy> + Clone + use<> {
        let Self { key, owner, group, shared, .. } = self;
        let all = [
            key.as_ref().map(|_| LimitedBy::Key),
            owner.as_ref().map(|_| LimitedBy::Owner),
            group.as_ref().map(|_| LimitedBy::KeyInGroup),
            shared.as_ref().map(|_| LimitedBy::Shared),
        ];
        all.into_iter().flatten()
    }
}

/// The quotas of one limit, which can depend on the owner's tier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RouteQuotas {
    default: Quotas,
    tiers: Vec<(Tier, Quotas)>,
}

impl RouteQuotas {
    /// Applies the same quotas to every tier.
    pub fn new(quotas: impl Into<Quotas>) -> Self {
        Self { default: quotas.into(), tiers: Vec::new() }
    }

    /// Applies other quotas to owners of `tier`. The last call for a tier wins.
    pub fn with_tier(mut self, tier: Tier, quotas: impl Into<Quotas>) -> Self {
        self.tiers.retain(|(other, _)| *other != tier);
        self.tiers.push((tier, quotas.into()));
        self
    }

    /// Returns the quotas for an owner of this tier.
    #[inline]
    pub fn of(&self, tier: Option<&Tier>) -> &Quotas {
        let named = self.tiers.iter().find(|(own, _)| Some(own) == tier);
        named.map_or(&self.default, |(_, quotas)| quotas)
    }
}

impl From<Quotas> for RouteQuotas {
    fn from(quotas: Quotas) -> Self {
        Self::new(quotas)
    }
}

impl From<Quota> for RouteQuotas {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}
