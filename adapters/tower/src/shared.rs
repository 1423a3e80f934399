//! The state that all layers of one service share.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, header::AUTHORIZATION, request::Parts};
use keyward::{
    Clock, ConfigError, Gate, KeyStore, Outcome, Route,
    clock::Timer,
    error::ConfigErrorKind,
    gate::{CheckedRoute, Driver},
    limit::Subject,
    quota::PolicyName,
    request::TrustedProxies,
    verify::KeyCaller,
};

use crate::{
    head::{CountedBy, Credentials, Head, IpOf, Settings, VetoOf},
    preflight::Preflights,
    random::Random,
    rehash::Rehasher,
    remote::RemoteLimiter,
    trace::Log,
};

/// The state that every request needs. Behind one `Arc`, so a layer clones it cheaply.
pub(crate) struct Shared<K> {
    pub(crate) gate: Gate,
    pub(crate) store: Arc<K>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    /// The headers that can hold keys, whose values are kept out of logs.
    pub(crate) sensitive: Vec<HeaderName>,
    pub(crate) deadline: Option<(Duration, Timer)>,
    pub(crate) limiter: Option<RemoteLimiter>,
    pub(crate) recheck_after: Option<Duration>,
    pub(crate) rehasher: Option<Rehasher>,
    /// Whether every route has the limit named `default`.
    pub(crate) has_default_limit: bool,
    /// The address of the peer, and the proxies behind whose addresses that of the client is.
    pub(crate) ip: Option<IpOf>,
    pub(crate) proxies: Option<TrustedProxies>,
    pub(crate) veto: Option<VetoOf>,
    pub(crate) address: Option<CountedBy>,
    /// The subjects of the host by their numbers.
    pub(crate) subjects: Vec<(u8, CountedBy)>,
    pub(crate) preflights: Preflights,
    pub(crate) handles_foreign: bool,
    pub(crate) cache_control: Option<HeaderValue>,
    pub(crate) recheck: bool,
    pub(crate) credentials: Credentials,
    pub(crate) grpc: bool,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) log: Arc<Log>,
}

/// The host's function that returns the id of a request.
pub(crate) type RequestId = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

impl<K> Shared<K> {
    pub(crate) fn new(gate: Gate, store: K, clock: Arc<dyn Clock>) -> Self {
        let sources = gate.sources().header_names();
        // A name that is invalid for `http` is in no request.
        let named = sources.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        // The likeliest wrong place for a key.
        let sensitive = named.filter(|name| name != AUTHORIZATION).chain([AUTHORIZATION]).collect();
        Self {
            gate,
            store: Arc::new(store),
            clock,
            random: Random::system(),
            sensitive,
            deadline: None,
            limiter: None,
            recheck_after: None,
            rehasher: None,
            has_default_limit: false,
            ip: None,
            proxies: None,
            veto: None,
            address: None,
            subjects: Vec::new(),
            preflights: Preflights::default(),
            handles_foreign: false,
            cache_control: Some(HeaderValue::from_static("private")),
            recheck: false,
            credentials: Credentials::default(),
            grpc: false,
            request_id: None,
            log: Arc::default(),
        }
    }

    /// Returns the head as the gate reads it.
    pub(crate) fn head<'p>(&'p self, parts: &'p Parts) -> Head<'p> {
        let settings = Settings {
            ip: self.ip.as_ref(),
            proxies: self.proxies.as_ref(),
            address: self.address.as_ref(),
            subjects: &self.subjects,
            veto: self.veto.as_ref(),
        };
        Head::new(parts, settings, &self.log, &*self.clock)
    }

    pub(crate) fn with_request_id(
        self,
        id: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { request_id: Some(Arc::new(id)), ..self }
    }

    /// Returns the id of a request, if the host has told where it is.
    pub(crate) fn request_id(&self, parts: &Parts) -> Option<Arc<str>> {
        self.request_id.as_ref().and_then(|find| find(parts)).map(Into::into)
    }

    /// Returns the `Cache-Control` of the response, if the inner service sets none.
    pub(crate) fn cache_control(&self, parts: &Parts) -> Option<HeaderValue> {
        let is_cacheable = matches!(parts.method, Method::GET | Method::HEAD);
        let is_guarded = parts.headers.contains_key(AUTHORIZATION);
        if is_cacheable && !is_guarded { self.cache_control.clone() } else { None }
    }

    /// Checks a route, and that this layer does all that the route and the gate need.
    pub(crate) fn route(&self, route: Route) -> Result<CheckedRoute, ConfigError> {
        self.check()?;
        let route = match self.has_default_limit {
            true => route.with_limit(PolicyName::DEFAULT),
            false => route,
        };
        if route.is_limited() && self.limiter.is_none() && !self.gate.has_limiter() {
            return Err(refused(
                "the route has limits but the gate has no limiter; call GateBuilder::with_limiter \
                 or ApiKeys::charge_with",
            ));
        }
        let route = self.gate.route(route)?;
        for subject in route.subjects() {
            match subject {
                Subject::Address if !self.has_address() => {
                    return Err(refused(
                        "the route has a limit per address but no client has an address; call \
                         ApiKeys::with_client_ip or ApiKeys::with_client_address",
                    ));
                }
                Subject::Host(number) if !self.has_subject(number) => {
                    return Err(ConfigError::new(
                        ConfigErrorKind::Layer,
                        format!(
                            "the route has a limit per subject {number}, which no request has; \
                             call ApiKeys::with_subject({number}, …)"
                        ),
                    ));
                }
                _ => {}
            }
        }
        Ok(route)
    }

    /// Returns the caller whose hash is to be saved under the current scheme, if there is one.
    pub(crate) fn due_rehash(&self, outcome: &Outcome) -> Option<(&Rehasher, KeyCaller)> {
        let rehasher = self.rehasher.as_ref()?;
        Some((rehasher, rehasher.due(outcome, self.clock.now())?))
    }

    fn has_address(&self) -> bool {
        self.address.is_some() || self.ip.is_some()
    }

    fn has_subject(&self, number: u8) -> bool {
        self.subjects.iter().any(|(own, _)| *own == number)
    }

    /// Checks that this layer does all that the gate needs.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.limiter.is_some() && self.gate.has_limiter() {
            return Err(refused(
                "the gate has a limiter, so ApiKeys::charge_with would never be called; drop that \
                 call, or GateBuilder::with_limiter, or call ApiKeysBuilder::without_limiter",
            ));
        }
        if self.proxies.is_some() && self.ip.is_none() {
            return Err(refused(
                "proxies are trusted but no request has a peer; call ApiKeys::with_client_ip",
            ));
        }
        if self.gate.limits_failed_attempts() && !self.has_address() {
            return Err(refused(
                "the gate limits failed attempts but no client has an address; call \
                 ApiKeys::with_client_ip or ApiKeys::with_client_address",
            ));
        }
        if self.gate.allows_foreign() && !self.handles_foreign {
            return Err(refused(
                "the gate leaves foreign credentials to the host but nothing checks them; check \
                 ForeignCredential in the inner service and call ApiKeys::handle_foreign",
            ));
        }
        Ok(())
    }
}

/// For settings that change after a layer or a clone shares them. `K` need not be `Clone`.
impl<K> Clone for Shared<K> {
    fn clone(&self) -> Self {
        Self {
            gate: self.gate.clone(),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            random: self.random.clone(),
            sensitive: self.sensitive.clone(),
            deadline: self.deadline.clone(),
            limiter: self.limiter.clone(),
            rehasher: self.rehasher.clone(),
            ip: self.ip.clone(),
            proxies: self.proxies.clone(),
            veto: self.veto.clone(),
            address: self.address.clone(),
            subjects: self.subjects.clone(),
            preflights: self.preflights.clone(),
            cache_control: self.cache_control.clone(),
            request_id: self.request_id.clone(),
            log: Arc::clone(&self.log),
            ..*self
        }
    }
}

impl<K: KeyStore> Shared<K> {
    /// Returns the driver of the steps of the gate.
    pub(crate) fn driver(&self) -> Driver<'_, K, RemoteLimiter> {
        let driver = Driver::new(&*self.store, &*self.clock);
        let driver = match &self.deadline {
            Some((after, timer)) => driver.with_deadline(*after, timer),
            None => driver,
        };
        let driver = match self.recheck_after {
            Some(recheck_after) => driver.with_recheck_after(recheck_after),
            None => driver,
        };
        driver.with_charger(self.limiter.as_ref())
    }
}

fn refused(message: &'static str) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Layer, message)
}

impl<K> fmt::Debug for Shared<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("gate", &self.gate)
            .field("deadline", &self.deadline.as_ref().map(|(after, _)| after))
            .field("preflights", &self.preflights)
            .field("recheck", &self.recheck)
            .field("grpc", &self.grpc)
            .finish_non_exhaustive()
    }
}
