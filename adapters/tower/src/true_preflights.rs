//! A CORS layer that takes every `OPTIONS` for a preflight, held to the true ones.

use std::task::{Context, Poll};

use http::{Method, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::is_preflight;

/// Wraps a CORS layer so that it answers true preflights alone.
///
/// tower-http's `CorsLayer` answers every `OPTIONS` itself. Outside of a layer that
/// authenticates, where it has to stand for its headers to be on refusals too, that would
/// exempt them all. Wrapped in this it answers [preflights](crate::is_preflight), and any
/// other `OPTIONS` goes on to be authenticated and gets the headers of an actual request.
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
/// The wrapped layer sees the other ones under the method `ACTUAL-OPTIONS`, since the method
/// is what it decides by; whatever stands inside of it sees `OPTIONS` again.
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

/// The service of [`TruePreflightsLayer`], outside of the CORS service.
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

/// The service of [`TruePreflightsLayer`] inside of the CORS service.
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

/// Marks a request whose method is not its own. No client can set an extension.
#[derive(Clone, Copy, Debug)]
struct Disguised;

/// A method that no CORS rule can mean. It is a valid token, so the other branch, as harmless
/// to a CORS layer, is never taken.
fn disguise() -> Method {
    Method::from_bytes(b"ACTUAL-OPTIONS").unwrap_or(Method::HEAD)
}
