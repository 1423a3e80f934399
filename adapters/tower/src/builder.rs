//! The short form of [`ApiKeys`], with defaults.

use std::{fmt, sync::Arc};

use keyward::{
    Challenge, Clock, ConfigError, CredentialSource, ErrorBodies, Gate, KeyFormat, KeyHasher,
    Limiter, RateHeaders, SystemClock,
    audit::Audit,
    gate::GateBuilder,
    key::{KeyFormats, ScopeCatalog},
    limit::{Limit, Rule},
    quota::PolicyName,
    verify::Verifier,
};
use rand_core::TryCryptoRng;

use crate::{keys::ApiKeys, random::Random, shared::Shared};

/// A builder of [`ApiKeys`] with a default for everything. [`ApiKeys::bearer`] and
/// [`ApiKeys::header`] return it.
///
/// | default | replaced by |
/// |---|---|
/// | keys of the prefix and 64 hexadecimal characters | [`with_formats`](Self::with_formats) |
/// | hashes of SHA-256 without a pepper | [`with_hasher`](Self::with_hasher) |
/// | no scopes | [`with_catalog`](Self::with_catalog) |
/// | a `WWW-Authenticate` challenge whose realm is the prefix without its last `_` | [`with_challenge`](Self::with_challenge) |
/// | no limit | [`limit`](Self::limit), [`with_limit`](Self::with_limit) |
/// | [`Limiter::system`] | [`with_limiter`](Self::with_limiter), [`without_limiter`](Self::without_limiter) |
/// | `X-RateLimit-*` and `Retry-After` | [`with_rate_headers`](Self::with_rate_headers) |
/// | error bodies `{"error":"…"}` in English | [`with_errors`](Self::with_errors) |
/// | [`SystemClock`] | [`with_clock`](Self::with_clock) |
/// | the random generator of the operating system | [`with_rng`](Self::with_rng) |
/// | no audit | [`with_audit`](Self::with_audit) |
/// | every other setting of a gate | [`adjust_gate`](Self::adjust_gate) |
///
/// The settings of the layer, such as a deadline for the store, are methods of [`ApiKeys`] and
/// follow [`build`](Self::build). There is no default deadline, because it needs the timer of
/// the host's runtime: see [`ApiKeys::with_deadline`].
#[must_use]
pub struct ApiKeysBuilder<K> {
    store: K,
    prefix: Box<str>,
    header: Option<Box<str>>,
    formats: Option<KeyFormats>,
    hasher: KeyHasher,
    catalog: ScopeCatalog,
    challenges: Vec<Challenge>,
    /// The limit of every route.
    default_limit: Option<Limit>,
    limits: Vec<Limit>,
    limiter: LimiterChoice,
    rate_headers: RateHeaders,
    errors: ErrorBodies,
    clock: Option<Arc<dyn Clock>>,
    random: Random,
    audit: Audit,
    adjust: Vec<Adjustment>,
}

type Adjustment = Box<dyn FnOnce(GateBuilder) -> GateBuilder + Send>;

enum LimiterChoice {
    System,
    Given(Arc<Limiter>),
    Elsewhere,
}

impl<K> ApiKeys<K> {
    /// Starts to describe keys with this prefix in `Authorization: Bearer`, kept in `store`.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use keyward::{Access, MemoryStore, Quota};
    /// use keyward_tower::{ApiKeys, Caller};
    ///
    /// async fn data(caller: Caller) -> String {
    ///     format!("those of {}", caller.owner_id())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = ApiKeys::bearer("acme_", MemoryStore::new())
    ///     .limit(Quota::per_minute(100))
    ///     .build()?;
    /// let issued = keys.issue("acme", "laptop").await?;
    /// println!("shown once: {}", issued.key.expose());
    /// let layer = keys.require(Access::any_key())?;
    /// let app: Router = Router::new().route("/v1/data", get(data).route_layer(layer));
    /// # let _ = app; Ok(()) }
    /// ```
    pub fn bearer(prefix: &str, store: K) -> ApiKeysBuilder<K> {
        ApiKeysBuilder::new(prefix, None, store)
    }

    /// Starts to describe keys with this prefix in the header `name`, such as `x-api-key`, kept
    /// in `store`.
    pub fn header(prefix: &str, name: &str, store: K) -> ApiKeysBuilder<K> {
        ApiKeysBuilder::new(prefix, Some(name.into()), store)
    }
}

impl<K> ApiKeysBuilder<K> {
    fn new(prefix: &str, header: Option<Box<str>>, store: K) -> Self {
        Self {
            store,
            prefix: prefix.into(),
            header,
            formats: None,
            hasher: KeyHasher::sha256(),
            catalog: ScopeCatalog::empty(),
            challenges: Vec::new(),
            default_limit: None,
            limits: Vec::new(),
            limiter: LimiterChoice::System,
            rate_headers: RateHeaders::x_ratelimit(),
            errors: ErrorBodies::flat(),
            clock: None,
            random: Random::system(),
            audit: Audit::off(),
            adjust: Vec::new(),
        }
    }

    /// Limits each key on every route that [`ApiKeys::require`] and `ApiKeys::guard` protect. All
    /// these routes count together.
    ///
    /// For [`ApiKeys::require_by`], check routes with [`ApiKeys::route`]: [`Gate::route`] does not know
    /// this limit and adds none.
    ///
    /// It declares the [`Limit`] named `default`, per key. What keys, owners and tiers are allowed
    /// in its place is described [there](Limit).
    pub fn limit(self, rule: impl Into<Rule>) -> Self {
        self.with_limit(Limit::new(PolicyName::DEFAULT.as_str(), rule))
    }

    /// Declares a limit, for the routes that name it with
    /// [`Route::with_limit`](keyward::Route::with_limit). The limit named `default` is that of
    /// every route, as [`limit`](Self::limit) has it, and the last one of that name counts. If a
    /// route must not be charged for a limit, give the limit another name, and name it on the others.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use keyward::{Access, MemoryStore, Quota, limit::Limit};
    /// use keyward_tower::ApiKeys;
    ///
    /// let keys = ApiKeys::bearer("acme_", MemoryStore::new())
    ///     .limit(Quota::per_second(20))
    ///     .with_limit(Limit::new("exports", Quota::per_hour(10)).per_owner())
    ///     .build()?;
    /// let read = keys.require(Access::any_key())?; // 20 a second
    /// let export = keys.require(Access::any_key().with_limit("exports"))?; // and 10 an hour
    /// # let _ = (read, export); Ok(()) }
    /// ```
    pub fn with_limit(mut self, limit: Limit) -> Self {
        if limit.is_named(PolicyName::DEFAULT.as_str()) {
            self.default_limit = Some(limit);
        } else {
            self.limits.push(limit);
        }
        self
    }

    /// Sets the formats of the keys. The prefix then only names the realm.
    pub fn with_formats(self, formats: impl Into<KeyFormats>) -> Self {
        Self { formats: Some(formats.into()), ..self }
    }

    /// Sets the hasher, for example one with a pepper.
    pub fn with_hasher(self, hasher: KeyHasher) -> Self {
        Self { hasher, ..self }
    }

    /// Sets the scopes that the service defines. Routes can require no others.
    pub fn with_catalog(self, catalog: ScopeCatalog) -> Self {
        Self { catalog, ..self }
    }

    /// Adds a challenge. The first call replaces the default.
    pub fn with_challenge(mut self, challenge: Challenge) -> Self {
        self.challenges.push(challenge);
        self
    }

    /// Sets the limiter.
    pub fn with_limiter(self, limiter: impl Into<Arc<Limiter>>) -> Self {
        Self { limiter: LimiterChoice::Given(limiter.into()), ..self }
    }

    /// Leaves the limits to [`ApiKeys::charge_with`].
    pub fn without_limiter(self) -> Self {
        Self { limiter: LimiterChoice::Elsewhere, ..self }
    }

    /// Sets the rate-limit headers of responses.
    pub fn with_rate_headers(self, rate_headers: RateHeaders) -> Self {
        Self { rate_headers, ..self }
    }

    /// Sets the bodies of refusals.
    pub fn with_errors(self, errors: ErrorBodies) -> Self {
        Self { errors, ..self }
    }

    /// Sets the clock.
    pub fn with_clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Some(Arc::new(clock)), ..self }
    }

    /// Sets the random generator of [`ApiKeys::issue`].
    pub fn with_rng(self, rng: impl TryCryptoRng + Send + 'static) -> Self {
        Self { random: Random::new(rng), ..self }
    }

    /// Reports every outcome, and every change of a key, to `audit`.
    pub fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Changes the gate before it is built, for settings that this builder does not have.
    pub fn adjust_gate(
        mut self,
        adjust: impl FnOnce(GateBuilder) -> GateBuilder + Send + 'static,
    ) -> Self {
        self.adjust.push(Box::new(adjust));
        self
    }

    /// Checks the description and builds the keys.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], if the prefix or the name of the header is invalid, or the description
    /// contradicts itself.
    pub fn build(self) -> Result<ApiKeys<K>, ConfigError> {
        let formats = match self.formats {
            Some(formats) => formats,
            None => KeyFormat::try_hex(&self.prefix)?.into(),
        };
        let source = match &self.header {
            None => CredentialSource::bearer(),
            Some(name) => CredentialSource::header(name),
        };
        let challenges = match (self.challenges.is_empty(), &self.header) {
            (false, _) => self.challenges,
            (true, None) => vec![Challenge::bearer(realm(&self.prefix))?],
            (true, Some(name)) => vec![Challenge::api_key(realm(&self.prefix), name)?],
        };
        let verifier = Verifier::new(self.hasher).with_catalog(self.catalog);
        let mut gate = Gate::builder(formats, verifier, source)
            .with_rate_headers(self.rate_headers)
            .with_errors(self.errors)
            .with_audit(self.audit);
        gate = match self.limiter {
            LimiterChoice::Elsewhere => gate,
            LimiterChoice::Given(limiter) => gate.with_limiter(limiter),
            LimiterChoice::System => gate.with_limiter(Limiter::system()?),
        };
        let has_default_limit = self.default_limit.is_some();
        gate =
            self.default_limit.into_iter().chain(self.limits).fold(gate, GateBuilder::with_limit);
        gate = challenges.into_iter().fold(gate, GateBuilder::with_challenge);
        gate = self.adjust.into_iter().fold(gate, |gate, adjust| adjust(gate));
        let gate = gate.build()?;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let shared = Shared::new(gate, self.store, clock);
        Ok(ApiKeys::of(Shared { random: self.random, has_default_limit, ..shared }))
    }
}

/// Returns the prefix without the separator at its end.
fn realm(prefix: &str) -> &str {
    let realm = prefix.trim_end_matches(['_', '-']);
    if realm.is_empty() { "api" } else { realm }
}

impl<K> fmt::Debug for ApiKeysBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeysBuilder")
            .field("prefix", &self.prefix)
            .field("header", &self.header)
            .field("default_limit", &self.default_limit)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
