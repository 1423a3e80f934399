//! The gate: what it shares between requests, and what a host can read of it.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{
    audit::Audit,
    gate::{attempts::Attempts, policy::Policy, responses::Responses},
    key::formats::KeyFormats,
    limit::{charged::GateId, limiter::Limiter},
    request::{rate_headers::RateHeaders, sources::CredentialSources},
    verify::verifier::Verifier,
};

/// The pipeline from the head of a request to a response: how a service authenticates, limits
/// and refuses, for all of its routes.
///
/// [`Gate::builder`] describes it, checks the description and builds it once. Clones share it.
/// Every wait of the host is a [`Step`](crate::gate::Step): [`Gate::begin`] requests a lookup,
/// [`PendingLookup::found`](crate::gate::PendingLookup::found) continues, and a gate without a
/// limiter requests a charge. [`Gate::check`], [`Gate::check_with`], [`Gate::check_sync`] and
/// [`Driver`](crate::gate::Driver) drive these steps.
///
/// The order is fixed: authenticate, check where the key may be used, charge, authorize. A failed
/// authentication charges no key.
/// An authenticated request that is then forbidden has been charged, and its response reports
/// the limit.
///
#[doc = include_str!("three_services.md")]
#[derive(Clone)]
pub struct Gate(Arc<Config>);

pub(super) struct Config {
    pub(super) formats: KeyFormats,
    pub(super) verifier: Verifier,
    pub(super) sources: CredentialSources,
    pub(super) allow_foreign: bool,
    pub(super) id: GateId,
    pub(super) policies: Vec<Arc<Policy>>,
    pub(super) limiter: Option<Arc<Limiter>>,
    pub(super) attempts: Option<Attempts>,
    pub(super) responses: Responses,
    pub(super) rate_headers: RateHeaders,
    /// The seconds of `Retry-After` of a 503.
    pub(super) retry_unavailable: u64,
    pub(super) audit: Audit,
}

impl Gate {
    /// Returns the rate-limit headers of responses, for a host that has charged a caller itself.
    pub fn rate_headers(&self) -> RateHeaders {
        self.0.rate_headers
    }

    /// Returns a URL or request target without the credentials that this gate reads from it,
    /// for a log. See [`redact_query`](crate::request::redact_query).
    pub fn redact<'u>(&self, url: &'u str) -> Cow<'u, str> {
        self.0.sources.redact(url)
    }

    /// Returns whether the gate charges the limits of routes itself.
    pub fn has_limiter(&self) -> bool {
        self.0.limiter.is_some()
    }

    /// Returns whether the gate declares a limit of this name.
    pub fn has_limit(&self, name: &str) -> bool {
        self.0.policies.iter().any(|policy| policy.name.as_str() == name)
    }

    /// Returns whether the gate limits failed attempts by address. They count only where
    /// [`RequestHead::address`](crate::request::RequestHead::address) returns one.
    pub fn limits_failed_attempts(&self) -> bool {
        self.0.attempts.is_some()
    }

    /// Returns whether the gate leaves credentials of no known kind to the host.
    pub fn allows_foreign(&self) -> bool {
        self.0.allow_foreign
    }

    /// Returns the places in which the gate reads credentials.
    pub fn sources(&self) -> &CredentialSources {
        &self.0.sources
    }

    /// Returns the formats of the keys that the gate accepts.
    pub fn formats(&self) -> &KeyFormats {
        &self.0.formats
    }

    pub(super) fn of(config: Config) -> Self {
        Self(Arc::new(config))
    }

    /// Returns the identity of this gate and its clones.
    #[inline]
    pub(super) fn id(&self) -> &GateId {
        &self.0.id
    }

    #[inline]
    pub(super) fn config(&self) -> &Config {
        &self.0
    }

    /// Returns whether both are clones of one gate.
    #[inline]
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config();
        f.debug_struct("Gate")
            .field("formats", &config.formats)
            .field("sources", &config.sources)
            .field("audit", &config.audit)
            .finish_non_exhaustive()
    }
}
