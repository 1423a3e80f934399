//! Building a gate, and what is checked then.

use std::sync::Arc;

use crate::{
    audit::Audit,
    error::{ConfigError, ConfigErrorKind},
    gate::{
        attempts::Attempts,
        pipeline::{Config, Gate},
        responses::Responses,
    },
    key::{formats::KeyFormats, kind::KeyKind},
    limit::limiter::Limiter,
    quota::Quotas,
    request::{
        bodies::ErrorBodies, challenge::Challenge, rate_headers::RateHeaders,
        sources::CredentialSources,
    },
    verify::Verifier,
};

/// Describes how a service authenticates, limits and refuses. [`GateBuilder::build`] checks it.
#[derive(Debug)]
#[must_use]
pub struct GateBuilder {
    formats: KeyFormats,
    verifier: Verifier,
    sources: CredentialSources,
    publishable: Vec<KeyKind>,
    allow_foreign: bool,
    limiter: Option<Arc<Limiter>>,
    attempts: Option<Attempts>,
    challenges: Vec<Challenge>,
    errors: ErrorBodies,
    rate_headers: RateHeaders,
    audit: Audit,
}

impl GateBuilder {
    pub(super) fn new(formats: KeyFormats, verifier: Verifier, sources: CredentialSources) -> Self {
        Self {
            formats,
            verifier,
            sources,
            publishable: Vec::new(),
            allow_foreign: false,
            limiter: None,
            attempts: None,
            challenges: Vec::new(),
            errors: ErrorBodies::flat(),
            rate_headers: RateHeaders::retry_after_only(),
            audit: Audit::off(),
        }
    }

    /// Kinds that may be published, such as the key in a web page that can only send. Only
    /// these may stand in a query.
    pub fn with_publishable(mut self, kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        self.publishable.extend(kinds);
        self
    }

    /// Leaves a credential whose prefix is of no known kind, such as a JWT, to the host's own
    /// check: the outcome is [`Outcome::ForeignCredential`](crate::gate::Outcome::ForeignCredential). A request
    /// without a credential is refused nevertheless, and so is a broken key of a known kind.
    pub fn allow_foreign(self) -> Self {
        Self { allow_foreign: true, ..self }
    }

    /// Charges the limits of routes here. Without a limiter, requests to routes with limits
    /// wait for the host's own in [`Step::Charge`](crate::gate::Step::Charge).
    pub fn with_limiter(self, limiter: impl Into<Arc<Limiter>>) -> Self {
        Self { limiter: Some(limiter.into()), ..self }
    }

    /// Limits how many attempts from one [address](crate::request::RequestHead::address) may fail.
    /// Then its attempts are answered with 429, also those with a good key, and none is
    /// looked up. Requests without any credential are no attempts, and those whose host names
    /// no address are not counted. An attempt whose client is gone before its key was found
    /// counts as failed, where the host says so: [`Gate::check`] does, and else it is
    /// [`PendingLookup::abandoned`](crate::gate::PendingLookup::abandoned).
    ///
    /// The limiter can be that of the routes. One of its own keeps a flood of addresses from
    /// crowding keys out.
    pub fn limit_failed_attempts(
        self,
        limiter: impl Into<Arc<Limiter>>,
        quotas: impl Into<Quotas>,
    ) -> Self {
        Self { attempts: Some(Attempts::new(limiter.into(), quotas.into())), ..self }
    }

    /// A challenge that a 401 carries, and a 400 for credentials that contradict each other.
    /// Each is sent in a line of its own, in the order in which they are given.
    pub fn with_challenge(mut self, challenge: Challenge) -> Self {
        self.challenges.push(challenge);
        self
    }

    /// How refusals are worded; flat and in plain English unless told.
    pub fn with_errors(self, errors: ErrorBodies) -> Self {
        Self { errors, ..self }
    }

    /// What answers tell about limits; `Retry-After` alone unless told.
    pub const fn with_rate_headers(mut self, rate_headers: RateHeaders) -> Self {
        self.rate_headers = rate_headers;
        self
    }

    /// Where every outcome is reported.
    pub fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// The gate.
    ///
    /// # Errors
    ///
    /// Returns an error for a description that contradicts itself.
    pub fn build(self) -> Result<Gate, ConfigError> {
        self.sources.check(&self.formats, &self.publishable)?;
        if let Some(&kind) = self.publishable.iter().find(|kind| self.formats.get(**kind).is_none())
        {
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
        Ok(Gate::of(Config {
            formats: self.formats,
            verifier: self.verifier,
            sources: self.sources,
            allow_foreign: self.allow_foreign,
            limiter: self.limiter,
            attempts: self.attempts,
            answers: Responses::new(self.errors, self.challenges),
            rate_headers: self.rate_headers,
            audit: self.audit,
        }))
    }
}
