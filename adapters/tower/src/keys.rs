//! What the layers of a service share.

use std::{error::Error, fmt, future::Future, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, header::AUTHORIZATION, request::Parts};
use keyward::{
    Clock, Gate, KeyStore, Route, Timestamp,
    gate::PendingCharge,
    limit::{Decision, LimitKey},
};

use crate::{
    ApiKeyLayer, LayerError, Preflights,
    deadline::Deadline,
    head::{ClientAddress, Head},
    remote::RemoteLimiter,
    route::Routing,
    trace,
};

/// How a service checks API keys: a gate, a store, a clock, and what is particular to HTTP
/// servers. Built once; a route gets its layer from [`ApiKeys::require`].
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use keyward::{
///     Access, Challenge, CredentialSource, Gate, Issuer, KeyFormat, KeyHasher, MemoryStore,
///     Scope, SystemClock,
/// };
/// use keyward_tower::ApiKeys;
///
/// const API: KeyFormat = KeyFormat::hex("luc_api_");
/// const READ: Scope = Scope::from_static("read:lucent");
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new());
/// let issuer = Issuer::new(Arc::clone(&store), API, KeyHasher::sha256());
/// let gate = Gate::builder(API, issuer.verifier(), CredentialSource::bearer())
///     .with_challenge(Challenge::bearer("lucent")?.with_scope_in_place_of_realm())
///     .build()?;
/// let keys = ApiKeys::new(gate, store, SystemClock::new())
///     .with_deadline(Duration::from_secs(2), tokio::time::sleep);
/// let layer = keys.require(Access::scope(READ))?;
/// # let _ = layer; Ok(()) }
/// ```
///
/// What is not a [`KeyStore`] in itself is one behind an `Arc`, so the same store can serve
/// several gates and an issuer.
#[must_use]
pub struct ApiKeys<K> {
    shared: Arc<Shared<K>>,
}

/// What every request needs. Behind one `Arc`, so that a layer clones it cheaply.
pub(crate) struct Shared<K> {
    pub(crate) gate: Gate,
    pub(crate) store: Arc<K>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The headers in which keys can stand, whose values are kept out of logs.
    pub(crate) sensitive: Vec<HeaderName>,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) limiter: Option<RemoteLimiter>,
    pub(crate) address: Option<ClientAddress>,
    pub(crate) preflights: Preflights,
    pub(crate) foreign_is_checked: bool,
    pub(crate) cache_control: Option<HeaderValue>,
    pub(crate) recheck: bool,
    pub(crate) redact_query: bool,
    pub(crate) grpc: bool,
}

impl<K> ApiKeys<K> {
    /// Keys that this gate describes and this store holds, judged by this clock.
    pub fn new(gate: Gate, store: K, clock: impl Clock + 'static) -> Self {
        let sources = gate.sources().header_names();
        // A name that is not one for `http` is in no request.
        let named = sources.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        // A key is easily put in the wrong place, and this is the likeliest.
        let sensitive = named.filter(|name| name != AUTHORIZATION).chain([AUTHORIZATION]).collect();
        let shared = Shared {
            gate,
            store: Arc::new(store),
            clock: Arc::new(clock),
            sensitive,
            deadline: None,
            limiter: None,
            address: None,
            preflights: Preflights::default(),
            foreign_is_checked: false,
            cache_control: Some(HeaderValue::from_static("private")),
            recheck: false,
            redact_query: true,
            grpc: false,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Responses 503 if the store, or the host's own limiter, has not answered after so long.
    ///
    /// `timer` makes the future to wait for, such as `tokio::time::sleep`: this crate has no
    /// runtime. It is only called once there is something to wait for. Without a deadline a
    /// request waits as long as the store does.
    pub fn with_deadline<F>(
        self,
        after: Duration,
        timer: impl Fn(Duration) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let deadline = Some(Deadline::new(after, timer));
        self.with(|shared| Shared { deadline, ..shared })
    }

    /// Charges limits elsewhere, such as in a database that several hosts share: `decide` takes
    /// from the [`PendingCharge`] what to ask, and its future comes back with the [`Decision`].
    ///
    /// It stands in the place of the gate's limiter, so the gate must have none
    /// ([`LayerError::TwoLimiters`]); routes and their limits stay as they are.
    ///
    /// ```
    /// # use keyward::{gate::PendingCharge, limit::Decision, Clock};
    /// # use keyward_tower::ApiKeys;
    /// # #[derive(Clone)] struct Shared;
    /// # impl Shared { async fn take(&self, limits: Vec<([u8; 20], keyward::Quotas)>, cost: u32) ->
    /// #   Result<Decision, std::io::Error> { Err(std::io::Error::other("down")) } }
    /// # fn wiring<K>(keys: ApiKeys<K>, counters: Shared) -> ApiKeys<K> {
    /// keys.charge_with(move |charge, _now| {
    ///     let limits = charge.limits().map(|(key, quotas)| (key.to_bytes(), *quotas)).collect();
    ///     let (counters, cost) = (counters.clone(), charge.cost());
    ///     async move { counters.take(limits, cost).await }
    /// })
    /// # }
    /// ```
    ///
    /// An error, and a future that is not done at the [deadline](ApiKeys::with_deadline), is
    /// answered with 503.
    pub fn charge_with<F, E>(
        self,
        decide: impl Fn(&PendingCharge, Timestamp) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Decision, E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let limiter = Some(RemoteLimiter::new(decide));
        self.with(|shared| Shared { limiter, ..shared })
    }

    /// On whom failed attempts are counted, for a gate that
    /// [limits them](keyward::gate::GateBuilder::limit_failed_attempts): the peer's address, say, that the
    /// server put in the request's extensions. Such a gate has no layer without this
    /// ([`LayerError::NoClientAddress`]); the attempts of a request for which it names none are
    /// not counted, of which the feature `tracing` warns. axum knows the peer only if it serves
    /// `router.into_make_service_with_connect_info::<SocketAddr>()`.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use keyward::limit::LimitKey;
    /// # use keyward_tower::ApiKeys;
    ///
    /// # fn wiring<K>(keys: ApiKeys<K>) -> ApiKeys<K> {
    /// keys.with_client_address(|parts| {
    ///     let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    ///     Some(LimitKey::address(peer.ip()))
    /// })
    /// # }
    /// ```
    ///
    /// An address out of a header such as `X-Forwarded-For` is whatever the client wrote,
    /// unless a proxy of the host's own has set it.
    ///
    /// An attempt whose future is dropped while its key is looked up counts as failed: a client
    /// that closes its connection early does not guess for free. One that the store failed to
    /// answer, or not before the [deadline](ApiKeys::with_deadline), does not.
    pub fn with_client_address(
        self,
        address: impl Fn(&Parts) -> Option<LimitKey> + Send + Sync + 'static,
    ) -> Self {
        let address = Some(ClientAddress::new(address));
        self.with(|shared| Shared { address, ..shared })
    }

    /// What happens to CORS preflights. Unless told, they need a key like everything else.
    pub fn with_preflights(self, preflights: Preflights) -> Self {
        self.with(|shared| Shared { preflights, ..shared })
    }

    /// Asks the store once more when the inner service has answered, and answers 401 in its
    /// place if the key was revoked meanwhile.
    ///
    /// What the inner service has done is done; and a body that is still being streamed goes
    /// on, since what is asked about is the moment at which the head of the answer was ready.
    pub fn recheck(self) -> Self {
        self.with(|shared| Shared { recheck: true, ..shared })
    }

    /// Leaves keys in the query of an admitted request.
    ///
    /// Without this they are replaced, as [`Gate::redact`] does, before the request goes on,
    /// since URLs end up in logs. A credential that is passed on to the host's own check is
    /// left in any case. Where another layer inside of this one reads the same key out of the
    /// query, this one has to keep it, and the innermost takes it out.
    pub fn keep_query(self) -> Self {
        self.with(|shared| Shared { redact_query: false, ..shared })
    }

    /// Says that the inner service refuses what it cannot check, where the gate
    /// [leaves unknown credentials](keyward::gate::GateBuilder::allow_foreign) to the host:
    /// **they reach it unchecked**, marked as [`ForeignCredential`](crate::ForeignCredential).
    ///
    /// Without this such a gate has no layer ([`LayerError::UncheckedForeign`]), since a handler
    /// that takes no `Caller` would serve anybody.
    pub fn handle_foreign(self) -> Self {
        self.with(|shared| Shared { foreign_is_checked: true, ..shared })
    }

    /// What is told to caches where a key does not stand in `Authorization`: `Cache-Control:
    /// private` unless another value is given, or `None`.
    ///
    /// A shared cache keeps answers to requests with `Authorization` to itself (RFC 9111 §3.5),
    /// and knows of no other header, nor of keys in a query: it could hand one caller's answer
    /// to the next. So answers to `GET` and `HEAD` without `Authorization` that passed through the
    /// layer say so, if the inner service says nothing of caches itself. Refusals have statuses
    /// that no cache keeps unasked.
    ///
    /// `Vary` is left alone: with `private` only the caller's own cache keeps an answer. Where
    /// one browser holds several keys, the value `no-store` keeps them apart, or a `Vary` of
    /// the service's own that names the header.
    pub fn with_cache_control(self, value: impl Into<Option<HeaderValue>>) -> Self {
        let cache_control = value.into();
        self.with(|shared| Shared { cache_control, ..shared })
    }

    /// Responses refused gRPC requests as gRPC clients understand it: a trailers-only response
    /// with `INVALID_ARGUMENT` (for 400), `UNAUTHENTICATED` (401), `PERMISSION_DENIED` (403),
    /// `RESOURCE_EXHAUSTED` (429) or `UNAVAILABLE` (503). The message is that of the gate, and
    /// its headers are metadata.
    ///
    /// What has no content type of gRPC is still answered in HTTP.
    pub fn serve_grpc(self) -> Self {
        self.with(|shared| Shared { grpc: true, ..shared })
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    fn with(self, change: impl FnOnce(Shared<K>) -> Shared<K>) -> Self {
        let shared = Arc::try_unwrap(self.shared).unwrap_or_else(|shared| shared.duplicate());
        Self { shared: Arc::new(change(shared)) }
    }
}

impl<K: KeyStore + 'static> ApiKeys<K> {
    /// The layer of a route that requires this: an [`Access`](keyward::Access), or a [`Route`]
    /// with limits.
    ///
    /// axum's `route_layer` wraps only the methods that were added before it: in
    /// `get(a).route_layer(keys.require(x)?).post(b)` the `POST` is **open**. One route for each
    /// requirement, as the README shows, leaves nothing out and wraps nothing twice.
    ///
    /// The inner service is made ready before the request is decided, so a limit on concurrency
    /// belongs outside this layer; inside, requests that will be refused hold its permits too.
    ///
    /// # Errors
    ///
    /// [`LayerError`], if what the gate does, what the route demands and what was said here do
    /// not fit together.
    pub fn require(&self, route: impl Into<Route>) -> Result<ApiKeyLayer<K>, LayerError> {
        let route = route.into();
        self.shared.check()?;
        if route.is_limited() && !self.shared.charges() {
            return Err(LayerError::NoLimiter);
        }
        Ok(ApiKeyLayer::new(Arc::clone(&self.shared), Routing::fixed(route)))
    }

    /// A layer around several routes, of which `route` says what each request must meet: by
    /// the method of a gRPC request, or by an owner that is named in the path.
    ///
    /// It is asked before anybody is authenticated, and must answer for every request: what it
    /// does not know it should hold to the strictest. A [`Route`] is cheap to clone.
    ///
    /// ```
    /// # use keyward::{Access, KeyStore, Route, Scope};
    /// # use keyward_tower::{ApiKeyLayer, ApiKeys};
    /// # const READ: Scope = Scope::from_static("read");
    /// # const WRITE: Scope = Scope::from_static("write");
    /// # fn wiring<K: KeyStore + 'static>(keys: ApiKeys<K>)
    /// #     -> Result<ApiKeyLayer<K>, keyward_tower::LayerError> {
    /// let (reading, writing) = (Route::new(Access::scope(READ)), Route::new(Access::scope(WRITE)));
    /// keys.require_by(move |parts| match parts.uri.path() {
    ///     "/issues.Issues/List" => reading.clone(),
    ///     _ => writing.clone(),
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayerError`], as [`ApiKeys::require`]. Only that there is somebody to charge a route's
    /// limits is not known yet: without, a request to it is answered with 503.
    pub fn require_by(
        &self,
        route: impl Fn(&Parts) -> Route + Send + Sync + 'static,
    ) -> Result<ApiKeyLayer<K>, LayerError> {
        self.shared.check()?;
        Ok(ApiKeyLayer::new(Arc::clone(&self.shared), Routing::by(route)))
    }
}

impl<K> Shared<K> {
    /// The head as the gate reads it.
    pub(crate) fn head<'p>(&self, parts: &'p Parts) -> Head<'p> {
        let address = self.address.as_ref().and_then(|address| address.of(parts));
        if self.address.is_some() && address.is_none() {
            trace::no_address();
        }
        Head { head: parts.into(), address }
    }

    /// What the answer is to say to caches, if the inner service says nothing.
    pub(crate) fn cache_control(&self, parts: &Parts) -> Option<HeaderValue> {
        let is_kept = matches!(parts.method, Method::GET | Method::HEAD);
        let is_guarded = parts.headers.contains_key(AUTHORIZATION);
        if is_kept && !is_guarded { self.cache_control.clone() } else { None }
    }

    /// Whether somebody charges the limits of routes.
    fn charges(&self) -> bool {
        self.limiter.is_some() || self.gate.has_limiter()
    }

    /// Whether all that the gate asks of its host is there.
    fn check(&self) -> Result<(), LayerError> {
        if self.limiter.is_some() && self.gate.has_limiter() {
            return Err(LayerError::TwoLimiters);
        }
        if self.gate.limits_failed_attempts() && self.address.is_none() {
            return Err(LayerError::NoClientAddress);
        }
        if self.gate.allows_foreign() && !self.foreign_is_checked {
            return Err(LayerError::UncheckedForeign);
        }
        Ok(())
    }

    fn duplicate(&self) -> Self {
        Self {
            gate: self.gate.clone(),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            sensitive: self.sensitive.clone(),
            deadline: self.deadline.clone(),
            limiter: self.limiter.clone(),
            address: self.address.clone(),
            preflights: self.preflights.clone(),
            cache_control: self.cache_control.clone(),
            ..*self
        }
    }
}

impl<K> Clone for ApiKeys<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K> fmt::Debug for ApiKeys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl<K> fmt::Debug for Shared<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("gate", &self.gate)
            .field("deadline", &self.deadline)
            .field("preflights", &self.preflights)
            .field("recheck", &self.recheck)
            .field("grpc", &self.grpc)
            .finish_non_exhaustive()
    }
}
