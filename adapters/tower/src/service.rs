//! The service of a layer: from a request to the future of its decision.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode, request::Parts};
use keyward::{KeyStore, limit::Decision};
use tower_service::Service;

#[cfg(feature = "axum")]
use crate::probe::{ProbeResult, is_probe};
use crate::{
    body::ResponseBody,
    caller::Caller,
    decide::Deciding,
    foreign::{ForeignCredential, WithoutCaller},
    future::{ResponseFuture, Style},
    preflight::{Preflights, is_preflight_head},
    response::Protocol,
    route::Routing,
    shared::Shared,
};

/// The service of [`ApiKeyLayer`](crate::ApiKeyLayer).
///
/// Its error is that of the inner service, because a refusal is a response. It is ready when the
/// inner service is.
#[derive(Debug)]
pub struct ApiKeyService<S, K> {
    inner: S,
    shared: Arc<Shared<K>>,
    routing: Routing,
}

impl<S, K> ApiKeyService<S, K> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared<K>>, routing: Routing) -> Self {
        Self { inner, shared, routing }
    }
}

impl<S, B, R, K> Service<Request<B>> for ApiKeyService<S, K>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    K: KeyStore + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, S::Future, B, R, K>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was polled ready is the one to call: a clone need not be ready.
        let clone = self.inner.clone();
        let service = mem::replace(&mut self.inner, clone);
        let shared = Arc::clone(&self.shared);
        let (mut parts, body) = request.into_parts();
        let (inside, outer) = clear_outer(&mut parts);
        let route = self.routing.route(&parts);
        let protocol = Protocol::of(&parts, shared.grpc);
        #[cfg(feature = "axum")]
        if is_probe(&parts.extensions) {
            let mut response = Response::new(ResponseBody::default());
            response.extensions_mut().insert(ProbeResult::Layer);
            let style = Style { protocol, cache_control: None, inside, outer };
            return ResponseFuture::done(shared, route, style, response);
        }
        let deciding = match preflight(&shared.preflights, &parts) {
            Some(Preflights::Answer(headers)) => {
                let mut response = Response::new(ResponseBody::default());
                *response.status_mut() = StatusCode::NO_CONTENT;
                *response.headers_mut() = headers.clone();
                let style = Style { protocol, cache_control: None, inside, outer };
                return ResponseFuture::done(shared, route, style, response);
            }
            Some(Preflights::PassOn) => Deciding::Preflight,
            Some(Preflights::Authenticate) | None => {
                let step = shared.gate.begin(&shared.head(&parts), &route, shared.clock.now());
                Deciding::new(&shared, &route, step)
            }
        };
        let cache_control = shared.cache_control(&parts);
        let style = Style { protocol, cache_control, inside, outer };
        ResponseFuture::deciding(shared, route, style, deciding, service, (parts, body))
    }
}

impl<S: Clone, K> Clone for ApiKeyService<S, K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
            routing: self.routing.clone(),
        }
    }
}

/// Removes what an outer layer has put into the request, so that only this layer counts, even if
/// it passes the request on without a caller. What was charged stays. Returns whether there is such
/// a layer, and its decision.
fn clear_outer(parts: &mut Parts) -> (bool, Option<Decision>) {
    let extensions = &mut parts.extensions;
    let decision = extensions.remove::<Decision>();
    let (caller, foreign, without) = (
        extensions.remove::<Caller>(),
        extensions.remove::<ForeignCredential>(),
        extensions.remove::<WithoutCaller>(),
    );
    (caller.is_some() || foreign.is_some() || without.is_some(), decision)
}

/// Returns the treatment of this request if it is a preflight.
fn preflight<'p>(preflights: &'p Preflights, parts: &Parts) -> Option<&'p Preflights> {
    Some(preflights).filter(|_| is_preflight_head(&parts.method, &parts.headers))
}
