//! What one request is charged: the limits of its route, as they concern its caller.

use std::sync::Arc;

use crate::{
    gate::policy::Policy,
    key::id::KeyId,
    limit::{
        charged::{Charged, GateId},
        key::LimitKey,
        limit::Subject,
    },
    quota::{allowance::Allowance, policy_name::PolicyName, quotas::Quotas},
    request::head::RequestHead,
    verify::verified::Verified,
};

/// The limits of a route.
pub(super) type Policies = [Arc<Policy>];

/// The part of a request by which it is charged, apart from its caller. Owned and small, and without
/// an allocation for most requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Charges(Option<Box<Rare>>);

/// What few requests have.
#[derive(Clone, Debug, Default)]
struct Rare {
    /// The address, where a limit counts by it.
    address: Option<LimitKey>,
    /// The subjects of the host, by their numbers.
    hosts: Vec<(u8, LimitKey)>,
    /// What layers around this one have charged.
    before: Option<Charged>,
    /// The quotas of overrides whose precision is not that of their policy, in the order of the
    /// limits.
    refitted: Vec<Quotas>,
}

/// What the limits of a route mean for a caller.
pub(super) enum Resolved<'p> {
    /// This one allows it nothing.
    Blocked(&'p Policy),
    /// There is something to charge.
    Due,
    Nothing,
}

/// A limit that a request is charged for.
pub(super) struct Due<'p, 'r> {
    pub(super) policy: &'p Policy,
    pub(super) key: LimitKey,
    pub(super) quotas: &'r Quotas,
}

impl Charges {
    /// Reads from a head the subjects by which these limits count.
    ///
    /// # Errors
    ///
    /// The name of the first limit whose subject the head does not have.
    pub(super) fn read<H: RequestHead>(
        head: &H,
        address: Option<LimitKey>,
        policies: &Policies,
    ) -> Result<Self, PolicyName> {
        let mut charges = Self::default();
        if let Some(before) = head.charged() {
            charges.rare_mut().before = Some(before.clone());
        }
        for policy in policies {
            let found = match policy.subject {
                Subject::Address => {
                    charges.rare_mut().address = address;
                    address.is_some()
                }
                Subject::Host(number) if charges.host(number).is_none() => {
                    let subject = head.subject(number);
                    charges.rare_mut().hosts.extend(subject.map(|subject| (number, subject)));
                    subject.is_some()
                }
                _ => true,
            };
            if !found {
                return Err(policy.name.clone());
            }
        }
        Ok(charges)
    }

    /// Resolves the limits for a caller, and gives its overrides the precision of their policies.
    #[inline]
    pub(super) fn resolve<'p>(
        &mut self,
        gate: &GateId,
        policies: &'p Policies,
        verified: &Verified,
    ) -> Resolved<'p> {
        let mut is_limited = false;
        for policy in policies {
            match policy.allowance(verified) {
                (Allowance::Blocked, _) => return Resolved::Blocked(policy),
                (Allowance::Limited(quotas), overridden) => {
                    is_limited = true;
                    if overridden && let Some(refitted) = policy.refit(quotas) {
                        self.rare_mut().refitted.push(refitted);
                    }
                }
                (Allowance::Unlimited, _) => {}
            }
        }
        // Keys of limits are computed only where layers around this one may have charged them.
        let is_due = match self.before() {
            Some(_) => self.due(gate, policies, verified).next().is_some(),
            None => is_limited,
        };
        if is_due { Resolved::Due } else { Resolved::Nothing }
    }

    /// Returns what the request is charged, in the order of the limits. They are
    /// [resolved](Charges::resolve), and none blocks the caller.
    #[inline]
    pub(super) fn due<'p: 'r, 'r>(
        &'r self,
        gate: &'r GateId,
        policies: &'p Policies,
        verified: &'r Verified,
    ) -> impl Iterator<Item = Due<'p, 'r>> {
        let mut refitted = self.rare().map(|rare| rare.refitted.iter());
        policies.iter().filter_map(move |policy| {
            let (allowance, overridden) = policy.allowance(verified);
            let Allowance::Limited(quotas) = allowance else { return None };
            let quotas = match overridden && policy.refit(quotas).is_some() {
                true => refitted.as_mut().and_then(Iterator::next).unwrap_or(quotas),
                false => quotas,
            };
            let key = self.key(policy, verified);
            let is_due = !self.is_charged(gate, verified.key_id(), key);
            is_due.then_some(Due { policy, key, quotas })
        })
    }

    /// Returns the same before they were resolved, to resolve them for another record.
    pub(super) fn unresolved(mut self) -> Self {
        if let Some(rare) = &mut self.0 {
            rare.refitted.clear();
        }
        self
    }

    /// Returns what layers around this one have charged.
    pub(super) fn before(&self) -> Option<&Charged> {
        self.rare()?.before.as_ref()
    }

    fn rare(&self) -> Option<&Rare> {
        self.0.as_deref()
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.0.get_or_insert_default()
    }

    #[inline]
    fn is_charged(&self, gate: &GateId, key: KeyId, limit: LimitKey) -> bool {
        self.before().is_some_and(|before| before.covers(gate, key, limit))
    }

    #[inline]
    pub(super) fn key(&self, policy: &Policy, verified: &Verified) -> LimitKey {
        // A request without the subject of a limit was refused by its head. Were it not, it would
        // count with all others of its kind.
        let subject = match policy.subject {
            Subject::Key => verified.key_id().into(),
            Subject::Owner => verified.owner_id().into(),
            Subject::Address => self.address().unwrap_or(LimitKey::shared()),
            Subject::Shared => LimitKey::shared(),
            Subject::Host(number) => self.host(number).unwrap_or(LimitKey::shared()),
        };
        subject.with_policy(policy.tag)
    }

    fn address(&self) -> Option<LimitKey> {
        self.rare()?.address
    }

    fn host(&self, number: u8) -> Option<LimitKey> {
        self.rare()?.hosts.iter().find(|(own, _)| *own == number).map(|(_, key)| *key)
    }
}
