//! A limit with a name: what is counted, by what, and how much is allowed.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{
    key::owner::Tier,
    quota::{Quota, allowance::Allowance, policy_name::PolicyName, quotas::Quotas},
};

/// A named limit, or policy: what is counted together, and how much of it is allowed.
///
/// It is declared once, with [`GateBuilder::with_limit`](crate::gate::GateBuilder::with_limit), and
/// routes refer to it by its name, with [`Route::with_limit`](crate::gate::Route::with_limit).
/// Routes that name the same limit count together. Limits of different names never touch, whatever
/// their windows and subjects are.
///
/// ```
/// use keyward::{key::Tier, limit::{Limit, Rule}, Quota};
///
/// let exports = Limit::new("exports", Rule::sliding(Quota::per_hour(10)));
/// let search = Limit::new("search", Quota::per_minute(100))
///     .with_tier(Tier::from_static("enterprise"), Quota::per_minute(1_000))
///     .per_owner();
/// # let _ = (exports, search);
/// ```
///
/// What one caller is allowed is, in this order: nothing, if any value that concerns it is
/// [blocked](Allowance::Blocked); else what its key's record
/// [overrides](crate::key::KeyRecord::overrides), what its owner overrides, what the limit has for
/// the owner's tier, and the rule of the limit. Overrides of a key concern limits per key alone;
/// those of an owner, and tiers, concern limits per key and per owner. All other limits have one
/// rule, because their subject determines neither key nor owner.
///
/// Its windows keep one [precision](crate::quota::Precision) for everybody: of the declared quotas
/// of one length, that of the largest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a limit does nothing until GateBuilder::with_limit declares it"]
pub struct Limit {
    /// The text, if it is no name. Then the gate that is built with it reports that.
    pub(crate) name: Result<PolicyName, Box<str>>,
    pub(crate) subject: Subject,
    pub(crate) rule: Rule,
    pub(crate) tiers: Vec<(Tier, Rule)>,
}

impl Limit {
    /// Describes a limit of each key.
    ///
    /// A text that is no [`PolicyName`] is an error of
    /// [`GateBuilder::build`](crate::gate::GateBuilder::build).
    pub fn new(name: &str, rule: impl Into<Rule>) -> Self {
        let name = match name {
            // A literal, which is cloned without a reference count.
            "default" => Ok(PolicyName::DEFAULT),
            name => PolicyName::new(name).map_err(|_| name.into()),
        };
        Self { name, subject: Subject::Key, rule: rule.into(), tiers: Vec::new() }
    }

    /// Counts each key by itself. This is the default.
    pub fn per_key(self) -> Self {
        self.per(Subject::Key)
    }

    /// Counts the keys of one owner together.
    pub fn per_owner(self) -> Self {
        self.per(Subject::Owner)
    }

    /// Counts by the [address](crate::request::RequestHead::address) of the client.
    pub fn per_address(self) -> Self {
        self.per(Subject::Address)
    }

    /// Counts all callers together.
    pub fn shared(self) -> Self {
        self.per(Subject::Shared)
    }

    /// Counts by `subject`.
    pub fn per(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }

    /// Sets another rule for owners of `tier`, of a limit per key or per owner. The last call for a
    /// tier counts.
    pub fn with_tier(mut self, tier: Tier, rule: impl Into<Rule>) -> Self {
        self.tiers.retain(|(other, _)| *other != tier);
        self.tiers.push((tier, rule.into()));
        self
    }

    /// Returns the subject by which requests are counted.
    pub const fn subject(&self) -> Subject {
        self.subject
    }

    /// Returns whether the limit has this name.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.as_ref().is_ok_and(|own| own.as_str() == name)
    }

    /// Returns what an owner of this tier is allowed before overrides, for a host that counts callers
    /// of its own by the same numbers, such as the users of sessions. As at a gate, a rule that is
    /// [blocked](Rule::blocked) blocks every tier.
    pub fn allowance(&self, tier: Option<&Tier>) -> Allowance {
        let named = self.tiers.iter().find(|(own, _)| Some(own) == tier);
        match (self.rule.allowance(), named) {
            (Allowance::Blocked, _) | (_, None) => self.rule.allowance(),
            (_, Some((_, rule))) => rule.allowance(),
        }
    }
}

/// How a [`Limit`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Rule(Allowance);

impl Rule {
    /// Admits requests within these quotas, each in any interval of one window: sliding windows.
    pub fn sliding(quotas: impl Into<Quotas>) -> Self {
        Self(Allowance::Limited(quotas.into()))
    }

    /// Admits every request, and counts none. It is meant for a tier, and for a limit that only
    /// overrides set.
    pub const fn unlimited() -> Self {
        Self(Allowance::Unlimited)
    }

    /// Admits no request, with 403. As the rule of a limit it refuses everybody, whatever tiers and
    /// overrides allow.
    pub const fn blocked() -> Self {
        Self(Allowance::Blocked)
    }

    pub(crate) const fn allowance(&self) -> Allowance {
        self.0
    }
}

impl From<Quota> for Rule {
    fn from(quota: Quota) -> Self {
        Self::sliding(quota)
    }
}

impl From<Quotas> for Rule {
    fn from(quotas: Quotas) -> Self {
        Self::sliding(quotas)
    }
}

/// What a [`Limit`] counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The key of the request. Its rotation doubles nothing.
    Key,
    /// The owner of the key.
    Owner,
    /// The address of the client.
    Address,
    /// Nothing: all callers are counted together.
    Shared,
    /// What [`RequestHead::subject`](crate::request::RequestHead::subject) returns for this number.
    Host(u8),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("per key"),
            Self::Owner => f.write_str("per owner"),
            Self::Address => f.write_str("per address"),
            Self::Shared => f.write_str("shared"),
            Self::Host(number) => write!(f, "per subject {number} of the host"),
        }
    }
}

/// The 16 bits of a [`LimitKey`](crate::limit::LimitKey) that tell policies apart: the first of the
/// SHA-256 of the name, so they are the same in every process.
///
/// Two names can have one tag. A gate with both is a
/// [`ConfigError`](crate::error::ConfigError), because they would count together. Zero is the tag of
/// keys without a policy, and a gate refuses a name of this tag too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyTag(u16);

impl PolicyTag {
    /// Computes the tag of a name. It costs one hash, so compute it once and keep it.
    pub fn of(name: &PolicyName) -> Self {
        let digest: [u8; 32] = Sha256::digest(name.as_str()).into();
        let [first, second, ..] = digest;
        Self(u16::from_be_bytes([first, second]))
    }

    /// Returns the tag as a number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_the_beginning_of_sha_256() {
        // `printf default | sha256sum` begins with 37a8, and `printf abc | sha256sum` with ba78.
        assert_eq!(PolicyTag::of(&PolicyName::DEFAULT).as_u16(), 0x37a8);
        assert_eq!(PolicyTag::of(&PolicyName::from_static("abc")).as_u16(), 0xba78);
    }

    #[test]
    fn a_tier_has_its_own_rule() {
        let (free, paid) = (Tier::from_static("free"), Tier::from_static("paid"));
        let limit = Limit::new("a", Quota::per_minute(1))
            .with_tier(paid.clone(), Quota::per_minute(9))
            .with_tier(paid.clone(), Rule::unlimited());
        assert_eq!(limit.allowance(Some(&free)), Quota::per_minute(1).into());
        assert_eq!(limit.allowance(None), Quota::per_minute(1).into());
        assert_eq!(limit.allowance(Some(&paid)), Allowance::Unlimited);
        let closed = Limit::new("a", Rule::blocked()).with_tier(paid.clone(), Quota::per_minute(9));
        assert_eq!(closed.allowance(Some(&paid)), Allowance::Blocked);
        assert!(limit.is_named("a") && !limit.is_named("b"));
        assert!(!Limit::new("no name", Rule::blocked()).is_named("no name"));
    }
}
