//! A limit as a gate has checked it, and what it allows a caller.

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::owner::Tier,
    limit::limit::{Limit, PolicyTag, Rule, Subject},
    quota::{
        Precision, Quota, allowance::Allowance, overrides::Overrides, policy_name::PolicyName,
        quotas::Quotas,
    },
    verify::verified::Verified,
};

/// A declared limit, resolved: its name has a tag, and its quotas of one window length have one
/// precision.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: PolicyName,
    pub(super) tag: PolicyTag,
    pub(super) subject: Subject,
    default: Allowance,
    tiers: Vec<(Tier, Allowance)>,
    /// The precision of each declared length of a window, in milliseconds.
    precisions: Vec<(u64, Precision)>,
}

impl Policy {
    /// Checks a limit by itself.
    pub(super) fn new(limit: Limit) -> Result<Self, ConfigError> {
        let Limit { name, subject, rule, tiers } = limit;
        let name = name.map_err(|text| {
            refused(format!(
                "{text:?} is no name of a limit; give Limit::new 1 to 64 characters of A-Z a-z \
                 0-9 . _ -"
            ))
        })?;
        if !tiers.is_empty() && !matches!(subject, Subject::Key | Subject::Owner) {
            return Err(refused(format!(
                "the limit \"{name}\" counts {subject}, so the tier of an owner cannot change it; \
                 drop Limit::with_tier, or call Limit::per_key or Limit::per_owner"
            )));
        }
        let tag = PolicyTag::of(&name);
        if tag.as_u16() == 0 {
            return Err(refused(format!(
                "the tag of the limit \"{name}\" is that of limit keys without a policy; give \
                 Limit::new another name"
            )));
        }
        let declared = std::iter::once(&rule).chain(tiers.iter().map(|(_, rule)| rule));
        let precisions = precisions(declared.map(Rule::allowance));
        let fit = |rule: Rule| match rule.allowance() {
            Allowance::Limited(quotas) => Allowance::Limited(fitted(&precisions, &quotas)),
            other => other,
        };
        Ok(Self {
            tag,
            subject,
            default: fit(rule),
            tiers: tiers.into_iter().map(|(tier, rule)| (tier, fit(rule))).collect(),
            name,
            precisions,
        })
    }

    /// Checks that two limits of one gate count apart.
    pub(super) fn check_apart(&self, other: &Self) -> Result<(), ConfigError> {
        let (one, two) = (&other.name, &self.name);
        if one == two {
            return Err(refused(format!(
                "two limits are named \"{one}\"; drop one call of GateBuilder::with_limit, or give \
                 Limit::new another name"
            )));
        }
        if self.tag == other.tag {
            return Err(refused(format!(
                "the limits \"{one}\" and \"{two}\" have the same tag, so they would count \
                 together; give Limit::new another name for one of them"
            )));
        }
        Ok(())
    }

    /// Returns what this caller is allowed, and whether that is an override.
    #[inline]
    pub(super) fn allowance<'r>(&'r self, verified: &'r Verified) -> (&'r Allowance, bool) {
        let (of_key, of_owner, of_tier) = match self.subject {
            Subject::Key => {
                let of_key = self.overridden(verified.record().overrides());
                (of_key, self.of_owner(verified), self.of_tier(verified))
            }
            Subject::Owner => (None, self.of_owner(verified), self.of_tier(verified)),
            _ => (None, None, None),
        };
        let of_service = of_tier.unwrap_or(&self.default);
        let overridden = of_key.or(of_owner);
        // Most callers have no overrides, and most services block nobody.
        if overridden.is_none() && !self.default.is_blocked() {
            return (of_service, false);
        }
        let all = [of_key, of_owner, of_tier, Some(&self.default)];
        match (all.into_iter().flatten().find(|one| one.is_blocked()), overridden) {
            (Some(blocked), _) => (blocked, false),
            (None, Some(overridden)) => (overridden, true),
            (None, None) => (of_service, false),
        }
    }

    /// Returns the quotas of an override with the precision of this policy, if they have another.
    #[inline]
    pub(super) fn refit(&self, quotas: &Quotas) -> Option<Quotas> {
        let own = fitted(&self.precisions, quotas);
        (own != *quotas).then_some(own)
    }

    #[inline]
    fn of_owner<'r>(&self, verified: &'r Verified) -> Option<&'r Allowance> {
        self.overridden(&verified.owner().overrides)
    }

    #[inline]
    fn overridden<'r>(&self, overrides: &'r Overrides) -> Option<&'r Allowance> {
        if overrides.is_empty() { None } else { overrides.get(&self.name) }
    }

    #[inline]
    fn of_tier(&self, verified: &Verified) -> Option<&Allowance> {
        let tier = verified.tier()?;
        let named = self.tiers.iter().find(|(own, _)| own == tier);
        named.map(|(_, allowance)| allowance)
    }
}

/// Returns, for each length of a window among these values, the precision of the largest quota.
fn precisions(values: impl Iterator<Item = Allowance>) -> Vec<(u64, Precision)> {
    let mut largest: Vec<Quota> = Vec::new();
    for value in values {
        let Allowance::Limited(quotas) = value else { continue };
        for quota in quotas.as_slice() {
            match largest.iter_mut().find(|own| own.window_millis() == quota.window_millis()) {
                Some(own) if own.limit() < quota.limit() => *own = *quota,
                Some(_) => {}
                None => largest.push(*quota),
            }
        }
    }
    largest.iter().map(|quota| (quota.window_millis(), quota.precision())).collect()
}

fn fitted(precisions: &[(u64, Precision)], quotas: &Quotas) -> Quotas {
    quotas.map(|quota| {
        let own = precisions.iter().find(|(window, _)| *window == quota.window_millis());
        own.map_or(quota, |(_, precision)| quota.fitted(*precision))
    })
}

fn refused(message: String) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Limit, message)
}
