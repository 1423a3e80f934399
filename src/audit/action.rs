//! What an event reports.

use crate::{
    audit::action_name::ActionName,
    clock::timestamp::Timestamp,
    key::{
        allowlist::Allowlist, network::IpNetwork, origin::Origin, owner::Tier, scope::ScopeSet,
        state::RevocationReason,
    },
    limit::decision::Decision,
    quota::{overrides::Overrides, policy_name::PolicyName},
    request::reason::RefusalReason,
    verify::verified::MatchedSecret,
};

/// What an event reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AuditAction {
    /// A request was admitted.
    Admitted {
        /// The secret that was presented.
        matched: MatchedSecret,
        /// The decision of the limiter, if the request was charged. Its quota names the window.
        decision: Option<Decision>,
        /// The policy that this decision is about.
        policy: Option<PolicyName>,
    },
    /// A request was refused: it was unauthenticated, ambiguous, throttled or forbidden, or a part of
    /// the host was not available. [`RefusalReason::public`] tells these apart.
    Refused {
        /// The precise reason.
        reason: RefusalReason,
        /// The decision of the limiter, if it was called. Its quota names the window.
        decision: Option<Decision>,
        /// The policy that refused, or that this decision is about.
        policy: Option<PolicyName>,
    },
    /// A secret was used after its grace, and the request is refused for that. Whoever has it did not get
    /// the secret of the rotation: an old deployment, or a thief. Of a key that is revoked, expired or
    /// suspended, only the refusal is reported.
    RetiredSecretUsed,
    /// A credential of no known kind was passed on to the host's own check.
    ForeignCredential,
    /// A request without a credential went on, on a route that allows it.
    Anonymous,
    /// A key was issued.
    Issued {
        /// The time from which it is refused.
        expires_at: Option<Timestamp>,
    },
    /// A key that another system minted was imported.
    Imported {
        /// The time from which it is refused.
        expires_at: Option<Timestamp>,
    },
    /// A key got a new secret.
    Rotated {
        /// The time from which the previous secret is refused, or `None` if it is refused at once.
        previous_valid_until: Option<Timestamp>,
    },
    /// The graces of the earlier secrets of a key were ended.
    GraceEnded,
    /// A key was revoked forever.
    Revoked {
        /// The reason, if one was given.
        reason: Option<RevocationReason>,
    },
    /// A key was suspended.
    Suspended,
    /// A suspended key was resumed.
    Resumed,
    /// A key got another expiry.
    ExpiryChanged {
        /// The time from which it is refused.
        expires_at: Option<Timestamp>,
    },
    /// The hash of a secret was replaced by one under the current scheme.
    Rehashed,
    /// A key got another name.
    Renamed,
    /// A key got other scopes.
    ScopesChanged {
        /// The new scopes.
        scopes: ScopeSet,
    },
    /// A key got other overrides.
    OverridesChanged {
        /// The new overrides.
        overrides: Overrides,
    },
    /// A key may be used from other networks.
    NetworksChanged {
        /// The new networks; `None` for all.
        networks: Option<Allowlist<IpNetwork>>,
    },
    /// A key may be used from other web pages.
    OriginsChanged {
        /// The new origins; `None` for all.
        origins: Option<Allowlist<Origin>>,
    },
    /// The host keeps something else with a key.
    MetadataChanged,
    /// A key that had ended was purged. Only its id is still known.
    Purged,
    /// An owner was suspended, and with it all of its keys.
    OwnerSuspended,
    /// A suspended owner was resumed.
    OwnerResumed,
    /// An owner got another tier.
    TierChanged {
        /// The new tier.
        tier: Option<Tier>,
    },
    /// An owner got other overrides.
    OwnerOverridesChanged {
        /// The new overrides.
        overrides: Overrides,
    },
    /// An owner got another cap on its keys.
    KeyCapChanged {
        /// The new cap.
        cap: Option<u32>,
    },
}

impl AuditAction {
    /// Returns the name of the action as an entry has it.
    pub const fn name(&self) -> ActionName {
        ActionName::known(self.as_str())
    }

    /// Whether a request causes it, and not a change. A client can repeat it as often as it likes.
    pub(super) const fn is_of_request(&self) -> bool {
        matches!(
            self,
            Self::Admitted { .. }
                | Self::Refused { .. }
                | Self::RetiredSecretUsed
                | Self::ForeignCredential
                | Self::Anonymous
        )
    }

    /// Returns the name of the action in snake case, for logs and tables.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Admitted { .. } => "admitted",
            Self::Refused { .. } => "refused",
            Self::RetiredSecretUsed => "retired_secret_used",
            Self::ForeignCredential => "foreign_credential",
            Self::Anonymous => "anonymous",
            Self::Issued { .. } => "issued",
            Self::Imported { .. } => "imported",
            Self::Rotated { .. } => "rotated",
            Self::GraceEnded => "grace_ended",
            Self::Revoked { .. } => "revoked",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::ExpiryChanged { .. } => "expiry_changed",
            Self::Rehashed => "rehashed",
            Self::Renamed => "renamed",
            Self::ScopesChanged { .. } => "scopes_changed",
            Self::OverridesChanged { .. } => "overrides_changed",
            Self::NetworksChanged { .. } => "networks_changed",
            Self::OriginsChanged { .. } => "origins_changed",
            Self::MetadataChanged => "metadata_changed",
            Self::Purged => "purged",
            Self::OwnerSuspended => "owner_suspended",
            Self::OwnerResumed => "owner_resumed",
            Self::TierChanged { .. } => "tier_changed",
            Self::OwnerOverridesChanged { .. } => "owner_overrides_changed",
            Self::KeyCapChanged { .. } => "key_cap_changed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_that_an_entry_can_have() {
        let text = include_str!("action.rs");
        let (_, names) = text.split_once("pub const fn as_str").unwrap();
        let (names, _) = names.split_once("#[cfg(test)]").unwrap();
        let names: Vec<_> =
            names.split("=> \"").skip(1).filter_map(|at| at.split('"').next()).collect();
        assert_eq!(names.len(), 26);
        for name in names {
            assert_eq!(ActionName::new(name).unwrap(), ActionName::known(name));
        }
        assert_eq!(AuditAction::Suspended.name().as_str(), "suspended");
    }
}
