//! Typed events for the log of the host, and stores that keep them.

pub(crate) mod entry;
pub(crate) mod memory;
mod recorder;
pub(crate) mod store;

pub use self::{
    entry::AuditEntry,
    memory::MemoryAuditStore,
    recorder::AuditRecorder,
    store::{AuditCursor, AuditFilter, AuditPage, AuditStore},
};

use std::{fmt, sync::Arc};

use crate::{
    clock::timestamp::Timestamp,
    key::{
        actor::Actor,
        allowlist::Allowlist,
        id::KeyId,
        kind::KeyKind,
        network::IpNetwork,
        origin::Origin,
        owner::{OwnerId, Tier},
        scope::ScopeSet,
        state::RevocationReason,
    },
    limit::decision::Decision,
    quota::{overrides::Overrides, policy_name::PolicyName},
    request::{reason::RefusalReason, request_id::RequestId},
    verify::verified::MatchedSecret,
};

/// A callback that receives every event, shared by gates and issuers.
///
/// It is called on the thread that decides, once for each outcome and for each change that was saved,
/// so it should pass the event on and not wait. The use of a secret after its grace is reported before
/// its refusal. Clones call the same callback.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use keyward::{audit::Audit, Issuer, KeyFormat, KeyHasher, MemoryStore};
///
/// let log = Arc::new(Mutex::new(Vec::new()));
/// let audit = Audit::new({
///     let log = Arc::clone(&log);
///     move |event| log.lock().unwrap().push(event.clone())
/// });
/// let issuer = Issuer::new(MemoryStore::new(), KeyFormat::hex("lqt_"), KeyHasher::sha256())
///     .with_audit(audit);
/// # let _ = issuer;
/// ```
#[derive(Clone, Default)]
#[expect(clippy::type_complexity, reason = "an alias would only be another name to learn")]
pub struct Audit(Option<Arc<dyn Fn(&AuditEvent) + Send + Sync>>);

impl Audit {
    /// Reports every event to `callback`.
    pub fn new(callback: impl Fn(&AuditEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(callback)))
    }

    /// Reports nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Returns whether events are reported.
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Builds the event only if events are reported.
    #[inline]
    pub(crate) fn report(&self, event: impl FnOnce() -> AuditEvent) {
        if let Some(callback) = &self.0 {
            callback(&event());
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Audit(on)" } else { "Audit(off)" })
    }
}

/// An event: an outcome of a request or a change of a key. It has ids and reasons, and never a secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditEvent {
    /// The time of the event: the `now` of the decision.
    pub at: Timestamp,
    /// What happened.
    pub action: AuditAction,
    /// The key, if it is proved. A request with an unknown secret has none.
    pub key: Option<KeyId>,
    /// The owner of the key.
    pub owner: Option<OwnerId>,
    /// The kind of the key. For a presented key it is the kind that it claims to be of.
    pub kind: Option<KeyKind>,
    /// Who made the change, if the issuer [acts as](crate::issue::Issuer::acting_as) somebody.
    pub actor: Option<Actor>,
    /// The request in which it happened: that of the head
    /// ([`RequestHead::request_id`](crate::request::RequestHead::request_id)), or that for which the
    /// issuer [works](crate::issue::Issuer::for_request).
    pub request_id: Option<RequestId>,
}

impl AuditEvent {
    pub(crate) const fn new(at: Timestamp, action: AuditAction) -> Self {
        let (actor, request_id) = (None, None);
        Self { at, action, key: None, owner: None, kind: None, actor, request_id }
    }
}

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
