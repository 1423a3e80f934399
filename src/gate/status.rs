//! The state of the limits of a route for one caller, told without using one.

use std::sync::Arc;

use crate::{
    clock::timestamp::Timestamp,
    gate::{charges::Charges, checked::CheckedRoute, pipeline::Gate, policy::Policy},
    limit::{decision::WindowStatus, key::LimitKey},
    quota::{allowance::Allowance, policy_name::PolicyName},
    request::{head::RequestHead, reason::RefusalReason},
    verify::verified::Verified,
};

/// What a limit of a route allows one caller, and where it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyAllowance {
    /// The name of the limit.
    pub policy: PolicyName,
    /// The key under which the limiter counts the caller.
    pub key: LimitKey,
    /// What the caller is allowed, after tiers and overrides.
    pub allowance: Allowance,
}

/// The state of a limit of a route for one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyStatus {
    /// The name of the limit.
    pub policy: PolicyName,
    /// What the caller is allowed, after tiers and overrides.
    pub allowance: Allowance,
    /// The state of each window, by ascending length. Empty if the caller is allowed everything or
    /// nothing.
    pub windows: Vec<WindowStatus>,
}

impl Gate {
    /// Returns the limit, used, remaining and reset of every window of every limit of a route, for a
    /// page or an endpoint that shows them. It counts nothing.
    ///
    /// `caller` is usually the one of this request, and `route` any route of this gate, such as the one
    /// whose limits a page shows. For a service of `keyward-tower`, `ApiKeys::status` does the same;
    /// check its routes with `ApiKeys::route`, which adds the limit of every route.
    ///
    /// # Errors
    ///
    /// The reason for which the limits cannot be told: the gate has no limiter
    /// ([`RefusalReason::NoLimiter`]; see [`Gate::allowances`]), another gate checked the route, or the
    /// head has no subject for one of them.
    pub fn status<H: RequestHead>(
        &self,
        head: &H,
        route: &CheckedRoute,
        caller: &Verified,
        now: Timestamp,
    ) -> Result<Vec<PolicyStatus>, RefusalReason> {
        let Some(limiter) = &self.config().limiter else { return Err(RefusalReason::NoLimiter) };
        let status = |PolicyAllowance { policy, key, allowance }| {
            let windows = match &allowance {
                Allowance::Limited(quotas) => {
                    limiter.status(key, quotas, now).map_err(RefusalReason::Charge)?
                }
                _ => Vec::new(),
            };
            Ok(PolicyStatus { policy, allowance, windows })
        };
        self.allowances(head, route, caller)?.into_iter().map(status).collect()
    }

    /// Returns what each limit of a route allows a caller, and its key, for a host whose limiter is
    /// elsewhere and that asks it for the state.
    ///
    /// # Errors
    ///
    /// As for [`Gate::status`], except that no limiter is needed.
    pub fn allowances<H: RequestHead>(
        &self,
        head: &H,
        route: &CheckedRoute,
        caller: &Verified,
    ) -> Result<Vec<PolicyAllowance>, RefusalReason> {
        if !route.belongs_to(self) {
            return Err(RefusalReason::ForeignRoute);
        }
        let address = if route.counts_addresses() { head.address() } else { None };
        let charges = Charges::read(head, address, route.policies())
            .map_err(|policy| RefusalReason::NoSubject { policy })?;
        let allowance = |policy: &Arc<Policy>| {
            let (allowance, overridden) = policy.allowance(caller);
            let allowance = match allowance {
                Allowance::Limited(quotas) if overridden => {
                    Allowance::Limited(policy.refit(quotas).unwrap_or(*quotas))
                }
                other => *other,
            };
            let key = charges.key(policy, caller);
            PolicyAllowance { policy: policy.name.clone(), key, allowance }
        };
        Ok(route.policies().iter().map(allowance).collect())
    }
}
