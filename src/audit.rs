//! What happened, told to the host as typed events.

use std::{fmt, sync::Arc};

use crate::{
    clock::timestamp::Timestamp,
    key::{id::KeyId, kind::KeyKind, owner::OwnerId, scope::ScopeSet},
    limit::decision::Decision,
    quota::Quotas,
    request::reason::RefusalReason,
    verify::MatchedSecret,
};

/// Where events are reported: one callback, shared by gates and issuers.
///
/// It is called on the thread that decides, once for each outcome and each change that was
/// saved, so it should hand the event on and not wait. Clones report to the same callback.
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
    /// Reports to `callback`.
    pub fn new(callback: impl Fn(&AuditEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(callback)))
    }

    /// Reports to nobody.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Whether there is somebody to report to.
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Makes the event only if there is somebody to hear of it.
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

/// Something that happened. It holds ids and reasons, and never a secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditEvent {
    /// When, by the `now` of the decision.
    pub at: Timestamp,
    /// What.
    pub action: AuditAction,
    /// Which key it was about, as far as that is proved: a request whose secret matched none
    /// is about no key.
    pub key: Option<KeyId>,
    /// Whom the key belongs to.
    pub owner: Option<OwnerId>,
    /// The kind of the key; of a key that was presented, the kind that it claims to be.
    pub kind: Option<KeyKind>,
}

impl AuditEvent {
    pub(crate) const fn new(at: Timestamp, action: AuditAction) -> Self {
        Self { at, action, key: None, owner: None, kind: None }
    }
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AuditAction {
    /// A request was admitted.
    Admitted {
        /// Which of the key's secrets was presented.
        matched: MatchedSecret,
        /// What the limiter said, if one was asked.
        decision: Option<Decision>,
    },
    /// A request was refused: unauthenticated, ambiguous, throttled, forbidden, or because
    /// something of the host's own was not available. [`RefusalReason::public`] says which.
    Refused {
        /// Why, precisely.
        reason: RefusalReason,
        /// What the limiter said, if one was asked.
        decision: Option<Decision>,
    },
    /// A credential of no known kind was left to the host's own check.
    ForeignCredential,
    /// A key was issued.
    Issued {
        /// The instant from which it is refused.
        expires_at: Option<Timestamp>,
    },
    /// A key that was minted elsewhere was taken over.
    Imported {
        /// The instant from which it is refused.
        expires_at: Option<Timestamp>,
    },
    /// A key got a new secret.
    Rotated {
        /// The instant from which the secret before it is refused; `None` if at once.
        previous_valid_until: Option<Timestamp>,
    },
    /// A key was revoked for ever.
    Revoked,
    /// A key was suspended.
    Suspended,
    /// A suspended key was put in use again.
    Resumed,
    /// A key got another expiry.
    ExpiryChanged {
        /// The instant from which it is refused.
        expires_at: Option<Timestamp>,
    },
    /// A secret was put under the current hash scheme.
    Rehashed,
    /// A key got another name.
    Renamed,
    /// A key got other scopes.
    ScopesChanged {
        /// What it may do from now on.
        scopes: ScopeSet,
    },
    /// A key got other quotas of its own.
    QuotasChanged {
        /// Its own quotas from now on; `None` if its owner's apply.
        quotas: Option<Quotas>,
    },
    /// A key that had ended was forgotten; only its id is still known.
    Purged,
}
