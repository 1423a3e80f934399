//! The settings that the layers of a service share.

use std::{error::Error, fmt, future::Future, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderValue, request::Parts};
use keyward::{
    Clock, ConfigError, Gate, KeyStore, Route, Timestamp,
    clock::Timer,
    gate::{Charge, CheckedRoute, PendingCharge, PolicyStatus},
    limit::LimitKey,
    request::{RefusalReason, RequestId, TrustedProxies, Veto},
    verify::KeyCaller,
};

use crate::{
    head::{CountedBy, Credentials},
    layer::ApiKeyLayer,
    preflight::Preflights,
    rehash::Rehasher,
    remote::RemoteLimiter,
    route::Routing,
    shared::Shared,
};

/// The API keys of a service: a gate, a store, a clock, and the settings of an HTTP server.
///
/// [`ApiKeys::bearer`] is the short form with defaults. [`ApiKeys::new`] takes a [`Gate`] of the
/// host's own. Either is built once, and each route gets its layer from [`ApiKeys::require`].
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use keyward::{
///     Access, Challenge, CredentialSource, Gate, Issuer, KeyFormat, KeyHasher, MemoryStore,
///     Scope, SystemClock, key::ScopeCatalog,
/// };
/// use keyward_tower::ApiKeys;
///
/// const API: KeyFormat = KeyFormat::hex("luc_api_");
/// const READ: Scope = Scope::from_static("read:lucent");
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new());
/// let catalog = ScopeCatalog::new([READ])?;
/// let issuer = Issuer::with_catalog(Arc::clone(&store), API, KeyHasher::sha256(), catalog);
/// let gate = Gate::builder(API, issuer.verifier(), CredentialSource::bearer())
///     .with_challenge(Challenge::bearer("lucent")?.with_scope_in_place_of_realm())
///     .build()?;
/// let keys = ApiKeys::new(gate, store, SystemClock::new())
///     .with_deadline(Duration::from_secs(2), tokio::time::sleep);
/// let layer = keys.require(Access::scope(READ))?;
/// # let _ = layer; Ok(()) }
/// ```
///
/// An `Arc` of a store is a store too, so several gates and an issuer can share one.
#[must_use]
pub struct ApiKeys<K> {
    shared: Arc<Shared<K>>,
}

impl<K> ApiKeys<K> {
    /// Combines a gate, a store and a clock: the full form of [`ApiKeys::bearer`].
    pub fn new(gate: Gate, store: K, clock: impl Clock + 'static) -> Self {
        Self::of(Shared::new(gate, store, Arc::new(clock)))
    }

    pub(crate) fn of(shared: Shared<K>) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Refuses a request with 503 if the store, or the host's own limiter, takes longer than
    /// `after`.
    ///
    /// `sleep` is the sleep function of the host's runtime, such as `tokio::time::sleep`,
    /// because this crate contains no runtime. It is called only when there is something to
    /// wait for. Without a deadline a request waits as long as the store does.
    pub fn with_deadline<F>(
        self,
        after: Duration,
        sleep: impl Fn(Duration) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let deadline = Some((after, Timer::new(sleep)));
        self.with(|shared| Shared { deadline, ..shared })
    }

    /// Charges limits elsewhere, for example in a database that several hosts share. `decide`
    /// reads from the [`PendingCharge`] what to charge, and its future returns the
    /// [`Decision`](keyward::limit::Decision), or a [`Charge`] that can be refunded.
    ///
    /// It replaces the limiter of the gate, so the gate must have none: after [`ApiKeys::bearer`],
    /// call [`ApiKeysBuilder::without_limiter`](crate::ApiKeysBuilder::without_limiter). Routes and
    /// their limits stay as they are.
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
    /// An error, and a future that misses the [deadline](ApiKeys::with_deadline), lead to a
    /// response with 503.
    pub fn charge_with<F, D, E>(
        self,
        decide: impl Fn(&PendingCharge, Timestamp) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<D, E>> + Send + 'static,
        D: Into<Charge> + 'static,
        E: Error + Send + Sync + 'static,
    {
        let limiter = Some(RemoteLimiter::new(decide));
        self.with(|shared| Shared { limiter, ..shared })
    }

    /// Sets the wait for the limiter elsewhere, or for the write of
    /// [`rehash_on_use`](ApiKeys::rehash_on_use), after which the key is looked up again, by its id: see
    /// [`Driver::with_recheck_after`](keyward::gate::Driver::with_recheck_after). The default is 100
    /// milliseconds.
    pub fn with_recheck_after(self, recheck_after: Duration) -> Self {
        self.with(|shared| Shared { recheck_after: Some(recheck_after), ..shared })
    }

    /// Sets the address of the peer of a request, such as the one that the server put into its extensions.
    /// Networks of keys are checked against it, and failed attempts and limits per address count by it,
    /// unless [`with_client_address`](ApiKeys::with_client_address) sets something else.
    ///
    /// Behind proxies the peer is a proxy: also call
    /// [`with_trusted_proxies`](ApiKeys::with_trusted_proxies).
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use keyward::request::TrustedProxies;
    /// # use keyward_tower::ApiKeys;
    ///
    /// # fn wiring<K>(keys: ApiKeys<K>) -> Result<ApiKeys<K>, keyward::error::InvalidText> {
    /// let proxies = TrustedProxies::x_forwarded_for(["10.0.0.5".parse()?]); // the proxy itself
    /// Ok(keys
    ///     .with_client_ip(|parts| {
    ///         let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    ///         Some(peer.ip())
    ///     })
    ///     .with_trusted_proxies(proxies))
    /// # }
    /// ```
    ///
    /// A request with a key that has networks is refused with 503 without an address.
    pub fn with_client_ip(
        self,
        peer: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| Shared { ip: Some(Arc::new(peer)), ..shared })
    }

    /// Reads the address of the client from a header if the peer is one of these proxies. See
    /// [`TrustedProxies`].
    pub fn with_trusted_proxies(self, proxies: TrustedProxies) -> Self {
        self.with(|shared| Shared { proxies: Some(proxies), ..shared })
    }

    /// Sets the host's own check of a key, by the request. It runs after the secret is proved and before
    /// anything is charged. See [`Veto`].
    ///
    /// `veto` takes from the request what the check needs, and returns `None` if there is nothing to
    /// check.
    ///
    /// ```
    /// use keyward::request::Veto;
    /// # use keyward_tower::ApiKeys;
    /// # fn wiring<K>(keys: ApiKeys<K>) -> ApiKeys<K> {
    /// keys.with_veto(|parts| {
    ///     let is_beta = parts.uri.path().starts_with("/beta/");
    ///     is_beta.then(|| Veto::new(|key| match key.tier() {
    ///         Some(_) => Ok(()),
    ///         None => Err("beta is for owners with a tier"),
    ///     }))
    /// })
    /// # }
    /// ```
    pub fn with_veto(self, veto: impl Fn(&Parts) -> Option<Veto> + Send + Sync + 'static) -> Self {
        self.with(|shared| Shared { veto: Some(Arc::new(veto)), ..shared })
    }

    /// Sets the address on which failed attempts are counted, for a gate that
    /// [limits them](keyward::gate::GateBuilder::limit_failed_attempts), and for limits
    /// [per address](keyward::limit::Limit::per_address): for example the peer address that the
    /// server put into the extensions of the request.
    ///
    /// Such a gate, and a route with such a limit, has no layer without this. Attempts of a request
    /// for which `address` returns `None` are not counted, and such a request to a route with a
    /// limit per address is refused with 503. The feature `tracing` warns about each. axum knows the
    /// peer only if it serves `router.into_make_service_with_connect_info::<SocketAddr>()`.
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
    /// A header such as `X-Forwarded-For` contains whatever the client wrote, unless a proxy of
    /// the host's own has set it.
    ///
    /// A request that is dropped while its key is looked up counts as a failed attempt, so that a
    /// client which closes its connection early is counted like one that waits. A request whose store
    /// failed or missed the [deadline](ApiKeys::with_deadline) does not count.
    pub fn with_client_address(
        self,
        address: impl Fn(&Parts) -> Option<LimitKey> + Send + Sync + 'static,
    ) -> Self {
        let address = Some(CountedBy::new(address));
        self.with(|shared| Shared { address, ..shared })
    }

    /// Sets what limits of [`Subject::Host(number)`](keyward::limit::Subject::Host) count by, such
    /// as a tenant in the path. The last call for a number counts.
    ///
    /// A route with such a limit has no layer without this. A request for which `subject` returns
    /// `None` is refused there with 503.
    ///
    /// ```
    /// use keyward::limit::LimitKey;
    /// use keyward_tower::decoded_segments;
    /// # use keyward_tower::ApiKeys;
    ///
    /// const TENANT: u8 = 1;
    ///
    /// # fn wiring<K>(keys: ApiKeys<K>) -> ApiKeys<K> {
    /// keys.with_subject(TENANT, |parts| {
    ///     let segments = decoded_segments(&parts.uri)?; // not the raw path, see there
    ///     Some(LimitKey::host(TENANT, segments.first()?.as_bytes()))
    /// })
    /// # }
    /// ```
    pub fn with_subject(
        self,
        number: u8,
        subject: impl Fn(&Parts) -> Option<LimitKey> + Send + Sync + 'static,
    ) -> Self {
        let subject = (number, CountedBy::new(subject));
        self.with(|mut shared| {
            shared.subjects.retain(|(other, _)| *other != number);
            shared.subjects.push(subject);
            shared
        })
    }

    /// Sets where the id of a request is, for [bodies](keyward::ErrorBodies::custom) of refusals and for
    /// audit events that contain it: usually the header that tower-http's `SetRequestIdLayer` has set
    /// outside of this layer.
    ///
    /// The header contains what the client sent, unless a layer removes that before.
    ///
    /// ```
    /// # use keyward_tower::ApiKeys;
    /// # fn wiring<K>(keys: ApiKeys<K>) -> ApiKeys<K> {
    /// keys.with_request_id(|parts| {
    ///     parts.headers.get("x-request-id")?.to_str().ok()?.parse().ok()
    /// })
    /// # }
    /// ```
    pub fn with_request_id(
        self,
        id: impl Fn(&Parts) -> Option<RequestId> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| shared.with_request_id(id))
    }

    /// Sets the treatment of CORS preflights. By default they need a key like every request.
    pub fn with_preflights(self, preflights: Preflights) -> Self {
        self.with(|shared| Shared { preflights, ..shared })
    }

    /// Asks the store once more after the inner service has responded, and responds with 401
    /// instead if the key was revoked, suspended or removed meanwhile, or has expired. A secret that was
    /// rotated out meanwhile does not matter, so a handler can rotate the key of its own request.
    ///
    /// **The response of the inner service is then lost**, whatever it did. A handler whose response must
    /// go out in any case, such as one that revokes the key of its own request, puts
    /// [`KeepResponse`](crate::KeepResponse) into the extensions of its response. Elsewhere the same
    /// happens to a handler during which anybody else ends the key.
    ///
    /// The work of the inner service is not undone. A body that is still streamed continues,
    /// because the second look is taken when the head of the response is ready.
    pub fn recheck(self) -> Self {
        self.with(|shared| Shared { recheck: true, ..shared })
    }

    /// Leaves keys in the query of an admitted request.
    ///
    /// By default they are replaced, as [`Gate::redact`] does, before the request goes on,
    /// because URLs are logged. A foreign credential is never replaced. If an inner layer reads
    /// the same key from the query, the outer layers must keep it, and the innermost replaces
    /// it.
    pub fn keep_query(self) -> Self {
        self.with(|shared| Shared { credentials: Credentials::Keep, ..shared })
    }

    /// Removes the credentials of an admitted request before it goes on, in every place that the gate
    /// reads: the headers, the cookies and WebSocket subprotocols of that name, and the parameters of the
    /// query. For a proxy whose upstream must not see the keys of its clients.
    ///
    /// A foreign credential stays, because the inner service checks it. So does an `Authorization` of a
    /// scheme that the gate does not read. If layers are nested, only the innermost can strip: a layer
    /// inside of it would find no key. The last call of this and [`keep_query`](ApiKeys::keep_query)
    /// counts.
    pub fn strip_credentials(self) -> Self {
        self.with(|shared| Shared { credentials: Credentials::Strip, ..shared })
    }

    /// Declares that the inner service checks foreign credentials itself, where the gate
    /// [leaves them](keyward::gate::GateBuilder::allow_foreign) to the host. **They reach it
    /// unchecked**, marked as [`ForeignCredential`](crate::ForeignCredential).
    ///
    /// Such a gate has no layer without this, because a handler that takes no `Caller` would
    /// serve anybody.
    pub fn handle_foreign(self) -> Self {
        self.with(|shared| Shared { handles_foreign: true, ..shared })
    }

    /// Sets the `Cache-Control` of responses whose key is not in `Authorization`. The default
    /// is `private`, and `None` sets no header.
    ///
    /// A shared cache does not reuse responses to requests with `Authorization` (RFC 9111
    /// §3.5), but it ignores every other header and keys in a query, and could hand one
    /// caller's response to the next. So responses to `GET` and `HEAD` without `Authorization`
    /// carry this header, unless the inner service sets its own. Refusals have statuses that no
    /// cache stores by default.
    ///
    /// `Vary` is not changed, because with `private` only the caller's own cache keeps a
    /// response. Where one browser holds several keys, the value `no-store` separates them, and
    /// so does a `Vary` of the service's own that names the header.
    pub fn with_cache_control(self, value: impl Into<Option<HeaderValue>>) -> Self {
        let cache_control = value.into();
        self.with(|shared| Shared { cache_control, ..shared })
    }

    /// Refuses gRPC requests in the form that gRPC clients understand: a trailers-only response
    /// with `INVALID_ARGUMENT` (for 400), `UNAUTHENTICATED` (401), `PERMISSION_DENIED` (403),
    /// `RESOURCE_EXHAUSTED` (429) or `UNAVAILABLE` (503). The message is that of the gate, and
    /// its headers become metadata. `grpc-status-details-bin` has an `ErrorInfo` with the
    /// [code](keyward::gate::Refusal::code) of the refusal, the domain `keyward` and the name of the
    /// limit that refused, and a `RetryInfo` where the response has `Retry-After`. Caches are told
    /// `no-store`, because the HTTP status is 200.
    ///
    /// A request that is no `POST` with the content type of gRPC is still refused in HTTP.
    pub fn serve_grpc(self) -> Self {
        self.with(|shared| Shared { grpc: true, ..shared })
    }

    /// Returns the limit, used, remaining and reset of every window of every limit of a route, without
    /// using one. See [`Gate::status`].
    ///
    /// ```
    /// use axum::{Router, extract::{Request, State}, routing::get};
    /// use keyward::{Access, MemoryStore, Quota, gate::CheckedRoute, limit::Limit};
    /// use keyward_tower::{ApiKeys, Caller};
    ///
    /// #[derive(Clone)]
    /// struct App { keys: ApiKeys<MemoryStore>, search: CheckedRoute }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = ApiKeys::bearer("acme_", MemoryStore::new())
    ///     .with_limit(Limit::new("search", Quota::per_minute(5)))
    ///     .build()?;
    /// let search = keys.route(Access::any_key().with_limit("search"))?;
    /// let limits = get(limits).route_layer(keys.require(Access::any_key())?);
    /// let app: Router = Router::new().route("/limits", limits).with_state(App { keys, search });
    ///
    /// async fn limits(State(app): State<App>, caller: Caller, request: Request) -> String {
    ///     let (parts, _body) = request.into_parts();
    ///     let Ok(policies) = app.keys.status(&parts, &app.search, &caller) else {
    ///         return "unknown\n".to_owned();
    ///     };
    ///     let windows = policies.iter().flat_map(|policy| {
    ///         policy.windows.iter().map(|window| {
    ///             format!("{}: {} of {}\n", policy.policy, window.remaining, window.quota)
    ///         })
    ///     });
    ///     windows.collect()
    /// }
    /// # let _ = app; Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Gate::status`].
    pub fn status(
        &self,
        parts: &Parts,
        route: &CheckedRoute,
        caller: &KeyCaller,
    ) -> Result<Vec<PolicyStatus>, RefusalReason> {
        self.gate().status(&self.shared.head(parts), route, caller, self.now())
    }

    /// Returns the time of the clock by which the layers decide.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Returns the gate.
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<K> {
        &self.shared.store
    }

    pub(crate) fn shared(&self) -> &Shared<K> {
        &self.shared
    }

    pub(crate) fn with_rehasher(self, rehasher: Rehasher) -> Self {
        self.with(|shared| Shared { rehasher: Some(rehasher), ..shared })
    }

    fn with(self, change: impl FnOnce(Shared<K>) -> Shared<K>) -> Self {
        Self { shared: Arc::new(change(Arc::unwrap_or_clone(self.shared))) }
    }
}

impl<K: KeyStore + 'static> ApiKeys<K> {
    /// Returns the layer of a route: an [`Access`](keyward::Access), or a [`Route`] with limits.
    ///
    /// axum's `route_layer` wraps only the methods that were added before it: in
    /// `get(a).route_layer(keys.require(x)?).post(b)` the `POST` is **open**. Give each
    /// requirement a route of its own, or protect the whole router with `ApiKeys::guard`
    /// (feature `axum`), which denies what no rule names.
    ///
    /// The inner service is made ready before the request is decided. So a limit on concurrency
    /// belongs outside this layer; inside, requests that will be refused hold its permits too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], if the gate, the route and the settings of this layer do not fit: the
    /// layer would silently do less than they require.
    pub fn require(&self, route: impl Into<Route>) -> Result<ApiKeyLayer<K>, ConfigError> {
        let route = self.route(route)?;
        Ok(ApiKeyLayer::new(Arc::clone(&self.shared), Routing::fixed(route)))
    }

    /// Checks a route for [`ApiKeys::require_by`]: by [`Gate::route`], and that somebody charges
    /// its limits.
    ///
    /// # Errors
    ///
    /// As [`ApiKeys::require`].
    pub fn route(&self, route: impl Into<Route>) -> Result<CheckedRoute, ConfigError> {
        self.shared.route(route.into())
    }

    /// Returns a layer around several routes. `route` returns the route of each request, for
    /// example by the method of a gRPC request, or by an owner in the path.
    ///
    /// It runs before the request is authenticated and must return a route for every request.
    /// Unknown requests should get the strictest route. A [`CheckedRoute`] is cheap to clone.
    ///
    /// **The path of the request is as it was sent**, and the handler reads it decoded: `/orgs/%76ictim`
    /// is the `org` `victim` to axum's `Path`. A rule that finds its owner in the raw path, or compares
    /// the raw path with one that needs more, can be got round. Read owners and tenants with
    /// [`decoded_segments`](crate::decoded_segments) or `path_parameter` (feature `axum`), and routes
    /// from axum's `MatchedPath`. Let the default be the strictest route, as here, and not the weakest.
    ///
    /// ```
    /// # use keyward::{Access, ConfigError, KeyStore, Scope};
    /// # use keyward_tower::{ApiKeyLayer, ApiKeys};
    /// # const READ: Scope = Scope::from_static("read");
    /// # const WRITE: Scope = Scope::from_static("write");
    /// # fn wiring<K: KeyStore + 'static>(keys: ApiKeys<K>) -> Result<ApiKeyLayer<K>, ConfigError> {
    /// let reading = keys.route(Access::scope(READ))?;
    /// let writing = keys.route(Access::scope(WRITE))?;
    /// keys.require_by(move |parts| match parts.uri.path() {
    ///     "/issues.Issues/List" => reading.clone(),
    ///     _ => writing.clone(),
    /// })
    /// # }
    /// ```
    ///
    /// A route that another gate checked is refused with 503.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], if the gate and the settings of this layer do not fit.
    pub fn require_by(
        &self,
        route: impl Fn(&Parts) -> CheckedRoute + Send + Sync + 'static,
    ) -> Result<ApiKeyLayer<K>, ConfigError> {
        self.shared.check()?;
        Ok(ApiKeyLayer::new(Arc::clone(&self.shared), Routing::by(route)))
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
