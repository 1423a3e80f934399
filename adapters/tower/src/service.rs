//! The service of a layer: from a request to a decision under way.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode, request::Parts};
use keyward::{KeyStore, Outcome, limit::Decision, verify::KeyCaller};
use tower_service::Service;

use crate::{
    ForeignCredential, Preflights, ResponseBody, ResponseFuture, answer::Responses,
    decide::Deciding, future::Manner, keys::Shared, preflight::is_preflight_head, route::Routing,
};

/// The service of [`ApiKeyLayer`](crate::ApiKeyLayer).
///
/// Its error is that of the inner service, untouched, for a refusal is a response. It is ready
/// when the inner service is.
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
        // The service that was asked whether it is ready is the one to call: a clone of it
        // need not be ready.
        let clone = self.inner.clone();
        let service = mem::replace(&mut self.inner, clone);
        let shared = Arc::clone(&self.shared);
        let (mut parts, body) = request.into_parts();
        let inside = forget_others(&mut parts);
        let route = self.routing.route(&parts);
        let answers = Responses::to(&parts.headers, shared.grpc);
        let deciding = match preflight(&shared.preflights, &parts) {
            Some(Preflights::Answer(headers)) => {
                let mut response = Response::new(ResponseBody::default());
                *response.status_mut() = StatusCode::NO_CONTENT;
                *response.headers_mut() = headers.clone();
                let manner = Manner { answers, cache_control: None, inside };
                return ResponseFuture::answered(shared, route, manner, response);
            }
            Some(Preflights::PassOn) => Deciding::done(Outcome::ForeignCredential),
            Some(Preflights::Authenticate) | None => {
                let step = shared.gate.begin(&shared.head(&parts), &route, shared.clock.now());
                Deciding::new(&shared, step)
            }
        };
        let manner = Manner { answers, cache_control: shared.cache_control(&parts), inside };
        ResponseFuture::deciding(shared, route, manner, deciding, service, (parts, body))
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

/// Inside of a layer its own word counts alone: what a layer outside of it found out is gone,
/// also if this one passes the request on. Says whether there is such a layer.
fn forget_others(parts: &mut Parts) -> bool {
    let extensions = &mut parts.extensions;
    extensions.remove::<Decision>();
    let (caller, passed_on) =
        (extensions.remove::<KeyCaller>(), extensions.remove::<ForeignCredential>());
    caller.is_some() || passed_on.is_some()
}

/// What to do with a preflight, if this is one.
fn preflight<'p>(preflights: &'p Preflights, parts: &Parts) -> Option<&'p Preflights> {
    Some(preflights).filter(|_| is_preflight_head(&parts.method, &parts.headers))
}
