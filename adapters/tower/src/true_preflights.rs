//! Restricts a CORS layer to true preflights.

use std::task::{Context, Poll};

use http::{Method, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::preflight::is_preflight;

/// Wraps a CORS layer so that it responds to true preflights only.
///
/// tower-http's `CorsLayer` responds to every `OPTIONS` itself. It must be outside of a layer
/// that authenticates, so that refusals carry its headers too, and there it would exempt every
/// `OPTIONS`. Wrapped in this layer it responds to [preflights](crate::is_preflight). Any other
/// `OPTIONS` is authenticated, and its response gets the headers of an actual request.
///
/// ```
/// use http::header::AUTHORIZATION;
/// use keyward_tower::TruePreflightsLayer;
/// use tower::{ServiceBuilder, layer::layer_fn};
/// use tower_http::cors::{Any, CorsLayer};
///
/// // `Any` would not cover `Authorization`, by the Fetch standard.
/// let cors = CorsLayer::new().allow_origin(Any).allow_headers([AUTHORIZATION]);
/// let layer = TruePreflightsLayer::new(cors);
/// # let _stack = ServiceBuilder::new().layer(layer).layer(layer_fn(|service: ()| service));
/// ```
///
/// The wrapped layer sees other `OPTIONS` requests under the method `ACTUAL-OPTIONS`, because it
/// decides by the method. Inner services see `OPTIONS` again.
#[derive(Clone, Copy, Debug)]
pub struct TruePreflightsLayer<L>(L);

impl<L> TruePreflightsLayer<L> {
    /// Wraps a CORS layer.
    pub const fn new(cors: L) -> Self {
        Self(cors)
    }
}

impl<S, L: Layer<RestoreMethod<S>>> Layer<S> for TruePreflightsLayer<L> {
    type Service = TruePreflights<L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        TruePreflights(self.0.layer(RestoreMethod(inner)))
    }
}

/// The service of [`TruePreflightsLayer`] outside of the CORS service.
#[derive(Clone, Copy, Debug)]
pub struct TruePreflights<S>(S);

impl<S: Service<Request<B>>, B> Service<Request<B>> for TruePreflights<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if request.method() == Method::OPTIONS && !is_preflight(&request) {
            request.extensions_mut().insert(Disguised);
            *request.method_mut() = disguise();
        }
        self.0.call(request)
    }
}

/// The service of [`TruePreflightsLayer`] inside the CORS service.
#[derive(Clone, Copy, Debug)]
pub struct RestoreMethod<S>(S);

impl<S: Service<Request<B>>, B> Service<Request<B>> for RestoreMethod<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if request.extensions_mut().remove::<Disguised>().is_some() {
            *request.method_mut() = Method::OPTIONS;
        }
        self.0.call(request)
    }
}

/// Marks a request whose method is disguised. No client can set an extension.
#[derive(Clone, Copy, Debug)]
struct Disguised;

/// Returns a method that no CORS rule names. It is a valid token, so the other method, which is
/// as harmless to a CORS layer, is never used.
fn disguise() -> Method {
    Method::from_bytes(b"ACTUAL-OPTIONS").unwrap_or(Method::HEAD)
}
