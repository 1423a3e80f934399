//! What a route asks of its callers, known before anybody is authenticated.

use std::sync::Arc;

use crate::{
    key::owner::Tier,
    limit::key::LimitKey,
    quota::{Quota, Quotas},
    request::reason::LimitedBy,
    verify::{Verified, access::Access},
};

/// What a route requires, which limits hold on it, and what a request to it costs.
///
/// Clones share all but the cost, so a route is cheap to hand on.
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
    /// At least 1.
    cost: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    access: Access,
    key: Option<RouteQuotas>,
    owner: Option<RouteQuotas>,
    group: Option<(u16, RouteQuotas)>,
    shared: Option<(LimitKey, RouteQuotas)>,
}

impl Route {
    /// A route without limits, on which a request costs 1.
    pub fn new(access: Access) -> Self {
        let requirement = Requirement { access, key: None, owner: None, group: None, shared: None };
        Self { requirement: Arc::new(requirement), cost: 1 }
    }

    /// Limits each key: by its own quotas, else by its owner's, else by these.
    ///
    /// So these are a default and no ceiling. All routes that say so count together, whatever
    /// quotas they name; [`Route::limit_group`] counts a route apart.
    pub fn limit_key(mut self, quotas: impl Into<RouteQuotas>) -> Self {
        self.requirement_mut().key = Some(quotas.into());
        self
    }

    /// Limits the keys of one owner together, by these quotas. All routes that say so count
    /// together.
    pub fn limit_owner(mut self, quotas: impl Into<RouteQuotas>) -> Self {
        self.requirement_mut().owner = Some(quotas.into());
        self
    }

    /// Limits each key within a group of routes, by these quotas alone. `group` is the host's
    /// own numbering, and the namespace of [`LimitKey::named`].
    pub fn limit_group(mut self, group: u16, quotas: impl Into<RouteQuotas>) -> Self {
        self.requirement_mut().group = Some((group, quotas.into()));
        self
    }

    /// Limits all callers together, such as of a costly route, under a key of the host's own.
    pub fn limit_shared(mut self, key: LimitKey, quotas: impl Into<RouteQuotas>) -> Self {
        self.requirement_mut().shared = Some((key, quotas.into()));
        self
    }

    /// What a request costs, of all limits alike: 1 unless told. It is not shared with other
    /// clones, so a host can set it for each request. Zero counts as 1.
    pub fn with_cost(self, cost: u32) -> Self {
        Self { cost: cost.max(1), ..self }
    }

    /// What is required of a caller.
    pub fn access(&self) -> &Access {
        &self.requirement.access
    }

    /// Whether any limit holds here.
    pub fn is_limited(&self) -> bool {
        let Requirement { key, owner, group, shared, .. } = &*self.requirement;
        key.is_some() || owner.is_some() || group.is_some() || shared.is_some()
    }

    pub(super) const fn cost_of_request(&self) -> u32 {
        self.cost
    }

    /// The limits that hold for this caller, in the order in which they are asked.
    #[inline]
    pub(super) fn limits<'r>(
        &'r self,
        verified: &'r Verified,
    ) -> impl Iterator<Item = (LimitKey, &'r Quotas)> {
        let Requirement { key, owner, group, shared, .. } = &*self.requirement;
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

    /// Whose limit stands at this position of [`Route::limits`]; the first one's beyond.
    pub(super) fn limited_by(&self, position: usize) -> LimitedBy {
        let mut held = self.limited_by_all();
        let first = held.clone().next().unwrap_or(LimitedBy::Key);
        held.nth(position).unwrap_or(first)
    }

    /// Whose limits hold here, in the order in which they are asked.
    pub(super) fn limited_by_all(&self) -> impl Iterator<Item = LimitedBy> + Clone + use<> {
        let Requirement { key, owner, group, shared, .. } = &*self.requirement;
        let held = [
            key.as_ref().map(|_| LimitedBy::Key),
            owner.as_ref().map(|_| LimitedBy::Owner),
            group.as_ref().map(|_| LimitedBy::KeyInGroup),
            shared.as_ref().map(|_| LimitedBy::Shared),
        ];
        held.into_iter().flatten()
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

/// The quotas of one limit, which can depend on the owner's tier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RouteQuotas {
    default: Quotas,
    tiers: Vec<(Tier, Quotas)>,
}

impl RouteQuotas {
    /// The same quotas for every tier.
    pub fn new(quotas: impl Into<Quotas>) -> Self {
        Self { default: quotas.into(), tiers: Vec::new() }
    }

    /// Other quotas for owners of `tier`. The last word counts.
    pub fn with_tier(mut self, tier: Tier, quotas: impl Into<Quotas>) -> Self {
        self.tiers.retain(|(other, _)| *other != tier);
        self.tiers.push((tier, quotas.into()));
        self
    }

    /// The quotas for an owner of this tier.
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
