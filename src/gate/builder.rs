//! Building a gate, and the checks of its description.

use std::{sync::Arc, time::Duration};

use crate::{
    audit::Audit,
    error::{ConfigError, ConfigErrorKind},
    gate::{
        attempts::Attempts,
        pipeline::{Config, Gate},
        policy::Policy,
        responses::Responses,
    },
    key::{formats::KeyFormats, kind::KeyKind},
    limit::{charged::GateId, limit::Limit, limiter::Limiter},
    quota::quotas::Quotas,
    request::{
        bodies::ErrorBodies, challenge::Challenge, rate_headers::RateHeaders,
        sources::CredentialSources,
    },
    verify::verifier::Verifier,
};

/// The description of how a service authenticates, limits and refuses. [`GateBuilder::build`]
/// checks it.
#[derive(Debug)]
#[must_use]
pub struct GateBuilder {
    formats: KeyFormats,
    verifier: Verifier,
    sources: CredentialSources,
    publishable: Vec<KeyKind>,
    allow_foreign: bool,
    limits: Vec<Limit>,
    limiter: Option<Arc<Limiter>>,
    attempts: Option<Attempts>,
    sheds: bool,
    challenges: Vec<Challenge>,
    errors: ErrorBodies,
    rate_headers: RateHeaders,
    retry_unavailable: u64,
    audit: Audit,
}

impl Gate {
    /// Describes a gate to keys of these formats, read from these places of a request.
    ///
    /// The formats and the verifier of an [`Issuer`](crate::issue::Issuer) are
    /// `issuer.formats().clone()` and `issuer.verifier()`.
    pub fn builder(
        formats: impl Into<KeyFormats>,
        verifier: Verifier,
        sources: impl Into<CredentialSources>,
    ) -> GateBuilder {
        GateBuilder::new(formats.into(), verifier, sources.into())
    }
}

impl GateBuilder {
    fn new(formats: KeyFormats, verifier: Verifier, sources: CredentialSources) -> Self {
        Self {
            formats,
            verifier,
            sources,
            publishable: Vec::new(),
            allow_foreign: false,
            limits: Vec::new(),
            limiter: None,
            attempts: None,
            sheds: false,
            challenges: Vec::new(),
            errors: ErrorBodies::flat(),
            rate_headers: RateHeaders::retry_after_only(),
            retry_unavailable: 1,
            audit: Audit::off(),
        }
    }

    /// Adds kinds of keys that may be published, such as the key in a web page that can only
    /// send. A query can contain keys of these kinds only.
    pub fn with_publishable(mut self, kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        self.publishable.extend(kinds);
        self
    }

    /// Leaves a credential whose prefix is of no known kind, such as a JWT, to the host's own
    /// check. The outcome is
    /// [`Outcome::ForeignCredential`](crate::gate::Outcome::ForeignCredential). A request
    /// without a credential is still refused, and so is a malformed key of a known kind.
    pub fn allow_foreign(self) -> Self {
        Self { allow_foreign: true, ..self }
    }

    /// Declares a limit. Routes refer to it by its name, with
    /// [`Route::with_limit`](crate::gate::Route::with_limit).
    ///
    /// ```
    /// use keyward::{limit::{Limit, Rule}, Access, Quota, Route};
    /// # use keyward::{Challenge, CredentialSource, Gate, Issuer, KeyFormat, KeyHasher, Limiter, MemoryStore};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let issuer = Issuer::new(MemoryStore::new(), KeyFormat::hex("k_"), KeyHasher::sha256());
    /// # let (formats, verifier) = (issuer.formats().clone(), issuer.verifier());
    /// let gate = Gate::builder(formats, verifier, CredentialSource::bearer())
    ///     .with_challenge(Challenge::bearer("acme")?)
    ///     .with_limiter(Limiter::system()?)
    ///     .with_limit(Limit::new("default", Quota::per_second(20)))
    ///     .with_limit(Limit::new("exports", Rule::sliding(Quota::per_hour(10))).per_owner())
    ///     .build()?;
    /// let read = gate.route(Route::new(Access::any_key()).with_limit("default"))?;
    /// let export = gate.route(Access::any_key().with_limit("default").with_limit("exports"))?;
    /// assert!(gate.route(Access::any_key().with_limit("exprots")).is_err());
    /// # let _ = (read, export); Ok(()) }
    /// ```
    pub fn with_limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Charges the limits of routes with `limiter`. Without one, requests to routes with limits
    /// wait for the limiter of the host in [`Step::Charge`](crate::gate::Step::Charge).
    pub fn with_limiter(self, limiter: impl Into<Arc<Limiter>>) -> Self {
        Self { limiter: Some(limiter.into()), ..self }
    }

    /// Limits how many failed attempts from one
    /// [address](crate::request::RequestHead::address) get a 401. Further failures get a 429
    /// instead, with `Retry-After`. Every credential is still looked up, and a proved key always
    /// passes, whatever its neighbours did.
    ///
    /// **It does not slow guessing**: an attacker learns from a 429 as much as from a 401. Keys of
    /// 128 random bits and more need no such limit. It changes responses, audit events and logs:
    /// a client that retries an invalid key is told to wait, and a flood of failures stands out.
    ///
    /// These are no failed attempts: a request without a credential or with an
    /// [empty](crate::CredentialSource) one; a proved key that has ended (revoked, expired, suspended
    /// or past its grace), which keeps its 401; a key in a query or a WebSocket subprotocol, because any
    /// web page can make its visitors send one; and a request without an address. An attempt whose client is gone before
    /// its key was found counts as failed: [`Gate::check`] and [`Driver`](crate::gate::Driver)
    /// count it, and other hosts call
    /// [`PendingLookup::abandoned`](crate::gate::PendingLookup::abandoned).
    ///
    /// An address of IPv6 counts in its network of 64 bits at once the quotas, in that of 56 bits at
    /// 4 times, and in that of 48 bits at 16 times the quotas, because one subscriber may have as
    /// much as a network of 48 bits (RFC 6177 §2). See [`LimitKey::address`](crate::limit::LimitKey::address).
    ///
    /// The limiter must be another one than that of the routes, or a flood of addresses would displace
    /// keys in its table. [`LimiterConfig::with_max_keys`](crate::limit::LimiterConfig::with_max_keys)
    /// bounds its memory.
    pub fn limit_failed_attempts(
        self,
        limiter: impl Into<Arc<Limiter>>,
        quotas: impl Into<Quotas>,
    ) -> Self {
        Self { attempts: Some(Attempts::new(limiter.into(), quotas.into())), ..self }
    }

    /// Refuses requests with 429 before the lookup while too many attempts from their address have
    /// failed. It needs [`GateBuilder::limit_failed_attempts`].
    ///
    /// It saves a store the lookups of a flood from few addresses. **It also refuses good keys**:
    /// with a quota of 60 a minute, one client that sends an invalid key each second, by mistake or
    /// on purpose, locks out every key behind the same address, such as that of an office, a mobile
    /// carrier or a cloud's NAT gateway, for as long as it goes on. With IPv6, 16 such clients lock
    /// out a network of 48 bits, 65,536 networks of 64 bits. Call it only if lookups cost more than
    /// that. Keys in a query are refused too, although they do not count.
    pub fn shed_before_lookup(self) -> Self {
        Self { sheds: true, ..self }
    }

    /// Adds a challenge to every 401, and to a 400 for contradictory credentials. Each is sent in
    /// a header line of its own, in the order of the calls.
    pub fn with_challenge(mut self, challenge: Challenge) -> Self {
        self.challenges.push(challenge);
        self
    }

    /// Sets the bodies of refusals. The default is `ErrorBodies::flat`, in English.
    pub fn with_errors(self, errors: ErrorBodies) -> Self {
        Self { errors, ..self }
    }

    /// Sets the rate-limit headers of responses. The default is `Retry-After` alone.
    pub const fn with_rate_headers(mut self, rate_headers: RateHeaders) -> Self {
        self.rate_headers = rate_headers;
        self
    }

    /// Sets the `Retry-After` of responses with 503 (RFC 9110 §15.6.4), in whole seconds, rounded up and
    /// at least 1. The default is one second.
    pub const fn with_retry_after_unavailable(mut self, wait: Duration) -> Self {
        let secs = wait.as_secs().saturating_add(if wait.subsec_nanos() > 0 { 1 } else { 0 });
        self.retry_unavailable = if secs == 0 { 1 } else { secs };
        self
    }

    /// Reports every outcome to `audit`.
    pub fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Checks the description and builds the gate.
    ///
    /// # Errors
    ///
    /// Returns an error for a description that contradicts itself.
    pub fn build(self) -> Result<Gate, ConfigError> {
        self.sources.check(&self.formats, &self.publishable)?;
        if let Some(&kind) = self.publishable.iter().find(|kind| !self.formats.accepts(**kind)) {
            return Err(ConfigError::new(
                ConfigErrorKind::Gate,
                format!(
                    "the kind {kind} is publishable but not accepted; add its format to \
                     KeyFormats::new or drop it from GateBuilder::with_publishable"
                ),
            ));
        }
        if self.challenges.is_empty() {
            return Err(ConfigError::fixed(
                ConfigErrorKind::Gate,
                "every 401 must carry a challenge (RFC 9110 §15.5.2); call \
                 GateBuilder::with_challenge",
            ));
        }
        self.errors.check()?;
        if let (Some(attempts), Some(limiter)) = (&self.attempts, &self.limiter)
            && attempts.counts_in(limiter)
        {
            return Err(ConfigError::fixed(
                ConfigErrorKind::Gate,
                "failed attempts and routes have the same limiter, so a flood of addresses would \
                 displace keys in it; give GateBuilder::limit_failed_attempts a limiter of its own",
            ));
        }
        let attempts = match (self.attempts, self.sheds) {
            (Some(attempts), true) => Some(attempts.shedding()),
            (None, true) => {
                return Err(ConfigError::fixed(
                    ConfigErrorKind::Gate,
                    "the gate sheds requests by their failed attempts but counts none; call \
                     GateBuilder::limit_failed_attempts or drop GateBuilder::shed_before_lookup",
                ));
            }
            (attempts, false) => attempts,
        };
        let mut policies: Vec<Arc<Policy>> = Vec::with_capacity(self.limits.len());
        for limit in self.limits {
            let policy = Policy::new(limit)?;
            policies.iter().try_for_each(|other| policy.check_apart(other))?;
            policies.push(Arc::new(policy));
        }
        Ok(Gate::of(Config {
            formats: self.formats,
            verifier: self.verifier,
            sources: self.sources,
            allow_foreign: self.allow_foreign,
            id: GateId::default(),
            policies,
            limiter: self.limiter,
            attempts,
            responses: Responses::new(self.errors, self.challenges),
            rate_headers: self.rate_headers,
            retry_unavailable: self.retry_unavailable,
            audit: self.audit,
        }))
    }
}
