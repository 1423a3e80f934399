//! A router that denies what no rule names.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ::axum::{
    BoxError, Router, ServiceExt,
    body::{Body, HttpBody},
    extract::{Request, connect_info::IntoMakeServiceWithConnectInfo},
    response::Response,
    routing::{IntoMakeService, Route as AxumRoute, future::RouteFuture},
};
use bytes::Bytes;
use http::{
    Method, StatusCode,
    header::{ALLOW, CONTENT_LENGTH},
};
use keyward::{
    ConfigError, KeyStore,
    request::{PublicReason, RefusalReason},
};
use pin_project_lite::pin_project;
use tower_layer::{Layer, layer_fn};
use tower_service::Service;

use crate::{
    caller::Caller,
    foreign::unproved,
    keys::ApiKeys,
    rules::{CheckedRules, NestedAt, Rules},
};

impl<K: KeyStore + 'static> ApiKeys<K> {
    /// Protects a whole axum router by rules, and **denies what no rule names**: with 401
    /// without a good key, else with 404.
    ///
    /// The router is consumed, and nothing can be added to the result. So a method that was
    /// added behind a `route_layer`, and a route that was forgotten, are never open.
    ///
    /// - Rules name the method and the path as it was written in the router
    ///   ([`MatchedPath`](axum::extract::MatchedPath)). `GET` covers `HEAD`.
    /// - A request without a good key gets the same 401 whether a route exists or not. axum's
    ///   `Allow` header of a method that is not served is removed from refusals. (A challenge
    ///   [with scopes](keyward::Challenge::with_scope) names those of the route, if there is one.)
    /// - A denied request with a good key is charged by [`ApiKeysBuilder::limit`](crate::ApiKeysBuilder::limit),
    ///   if there is one.
    /// - A [foreign credential](crate::ForeignCredential) opens no route that is not named.
    ///
    /// Open routes, such as a health check, belong in a router around the guarded one:
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use keyward::{Access, ConfigError, MemoryStore};
    /// use keyward_tower::{ApiKeys, Caller, Rules};
    ///
    /// async fn list(caller: Caller) -> String {
    ///     format!("those of {}", caller.owner_id())
    /// }
    /// # async fn create() {}
    ///
    /// # fn app(keys: ApiKeys<MemoryStore>) -> Result<Router, ConfigError> {
    /// let router = Router::new().route("/v1/items", get(list).post(create));
    /// let rules = Rules::new().get("/v1/items", Access::any_key()); // POST is denied
    /// let guarded = keys.guard(rules, router)?;
    ///
    /// Ok(Router::new().route("/health", get(async || "ok")).fallback_service(guarded))
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ApiKeys::require`] for each rule; also if two rules name the same, or a path does not
    /// begin with `/`. A rule whose path the router does not have is not noticed: axum does not
    /// list its routes. The route that it was meant for is denied.
    pub fn guard(&self, rules: Rules, router: Router) -> Result<Guarded, ConfigError> {
        let rules = Arc::new(rules.check(|route| self.route(route))?);
        let found = Arc::clone(&rules);
        let keys = self.require_by(move |parts| {
            let route = found.find(&parts.method, &parts.uri, &parts.extensions);
            route.unwrap_or_else(|| found.denied()).clone()
        })?;
        let layer =
            layer_fn(move |inner: AxumRoute| keys.layer(Deny { inner, rules: Arc::clone(&rules) }));
        Ok(Guarded { router: router.layer(layer) })
    }
}

/// A router that denies what no rule names. [`ApiKeys::guard`] returns it.
///
/// It is a service, to be served by itself or nested in another router with
/// [`nest_service`](axum::Router::nest_service) or
/// [`fallback_service`](axum::Router::fallback_service). Routes and layers cannot be added.
#[derive(Clone)]
pub struct Guarded {
    router: Router,
}

impl Guarded {
    /// Converts it into a make service for `axum::serve`.
    pub fn into_make_service(self) -> IntoMakeService<Self> {
        ServiceExt::<Request>::into_make_service(self)
    }

    /// Converts it into a make service that stores `C` of the connection, such as its peer
    /// address, for [`ConnectInfo`](axum::extract::ConnectInfo).
    pub fn into_make_service_with_connect_info<C>(self) -> IntoMakeServiceWithConnectInfo<Self, C> {
        ServiceExt::<Request>::into_make_service_with_connect_info(self)
    }
}

impl<B> Service<http::Request<B>> for Guarded
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = GuardedFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<B>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> GuardedFuture {
        NestedAt::enter(request.extensions_mut());
        let is_head = *request.method() == Method::HEAD;
        GuardedFuture { future: self.router.call(request), is_head }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Guarded`].
    pub struct GuardedFuture {
        #[pin]
        future: RouteFuture<Infallible>,
        is_head: bool,
    }
}

impl Future for GuardedFuture {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(context))?;
        let extensions = response.extensions();
        if extensions.get::<RefusalReason>().is_some() || extensions.get::<Denied>().is_some() {
            conceal_routing(&mut response, *this.is_head);
        }
        Poll::Ready(Ok(response))
    }
}

/// Removes the traces of routing from a refusal.
///
/// Outside of every layer axum adds `Allow` to what a path does not serve. It sets the length of
/// a response, and empties that to `HEAD`, unless a nested service has made it.
fn conceal_routing(response: &mut Response, is_head: bool) {
    response.headers_mut().remove(ALLOW);
    let length = response.body().size_hint().exact();
    if let (Some(length), false) = (length, response.headers().contains_key(CONTENT_LENGTH)) {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    if is_head {
        *response.body_mut() = Body::empty();
    }
}

impl fmt::Debug for GuardedFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedFuture").finish_non_exhaustive()
    }
}

/// Marks the response to a request that no rule names.
#[derive(Clone, Copy, Debug)]
struct Denied;

/// Denies admitted requests that no rule names.
#[derive(Clone)]
struct Deny {
    inner: AxumRoute,
    rules: Arc<CheckedRules>,
}

impl Service<Request> for Deny {
    type Response = Response;
    type Error = Infallible;
    type Future = DenyFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: Request) -> DenyFuture {
        let extensions = request.extensions();
        if self.rules.find(request.method(), request.uri(), extensions).is_some() {
            return DenyFuture::Served { future: self.inner.call(request) };
        }
        DenyFuture::Denied { response: Some(denied(extensions)) }
    }
}

/// Returns the response to a request that no rule names.
fn denied(extensions: &http::Extensions) -> Response {
    let mut response = match (extensions.get::<Caller>(), unproved(extensions)) {
        // Nothing is proved of a foreign credential, a preflight or nobody.
        (None, Some(passed)) => passed.refuse(PublicReason::InvalidKey).map(Body::from),
        _ => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    };
    response.extensions_mut().insert(Denied);
    response
}

pin_project! {
    #[project = DenyProjection]
    enum DenyFuture {
        Served { #[pin] future: RouteFuture<Infallible> },
        Denied { response: Option<Response> },
    }
}

impl Future for DenyFuture {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            DenyProjection::Served { future } => future.poll(context),
            // Polled after its end it never completes.
            DenyProjection::Denied { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
        }
    }
}
