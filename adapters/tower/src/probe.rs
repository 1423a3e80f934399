//! Finding, before a service starts, handlers that take a caller and have no layer.

use std::future::poll_fn;

use ::axum::{
    Router,
    body::Body,
    http::{Extensions, Method, Request, StatusCode},
};
use keyward::{ConfigError, error::ConfigErrorKind};
use tower_service::Service;

/// Checks that handlers which take [`Caller`](crate::Caller) or `Option<Caller>` are behind a
/// [layer](crate::ApiKeyLayer): call it once before the service starts. Without the check such a handler
/// responds with 500 from its first request on.
///
/// axum cannot list its routes, so name them. Each gets one request that no client can send. It never
/// reaches the body of a handler that takes a caller: either a layer stops it, or the extractor does.
/// **Do not name other routes.** Their handlers would run.
///
/// ```
/// use axum::{Router, http::Method, routing::get};
/// use keyward::{Access, MemoryStore};
/// use keyward_tower::{ApiKeys, Caller, check_layers};
///
/// async fn data(_: Option<Caller>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = ApiKeys::bearer("acme_", MemoryStore::new()).build()?;
/// let app = Router::new()
///     .route("/data", get(data).route_layer(keys.require(Access::any_key())?))
///     .route("/forgotten", get(data));
/// check_layers(&app, [(Method::GET, "/data")]).await?;
/// assert!(check_layers(&app, [(Method::GET, "/forgotten")]).await.is_err());
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`ConfigErrorKind::Layer`] for the first route without a layer, that the router does not have, or whose
/// path is not a path.
pub async fn check_layers<'r>(
    router: &Router,
    routes: impl IntoIterator<Item = (Method, &'r str)>,
) -> Result<(), ConfigError> {
    for (method, path) in routes {
        let refused = |problem: &str| {
            ConfigError::new(ConfigErrorKind::Layer, format!("{method} {path} {problem}"))
        };
        let request = Request::builder().method(&method).uri(path).extension(Probe);
        let request = request.body(Body::empty()).map_err(|_| refused("is no path"))?;
        let mut router = router.clone();
        // A router is always ready, and has no error.
        let ready = poll_fn(|context| Service::<Request<Body>>::poll_ready(&mut router, context));
        let response = match ready.await {
            Ok(()) => router.call(request).await,
            Err(never) => match never {},
        };
        let response = response.unwrap_or_else(|never| match never {});
        match (response.extensions().get(), response.status()) {
            (Some(ProbeResult::Layer), _) => {}
            (Some(ProbeResult::NoLayer), _) => {
                return Err(refused(
                    "takes a caller and has no layer; add that of ApiKeys::require",
                ));
            }
            (None, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                return Err(refused("is no route of the router"));
            }
            (None, _) => {
                return Err(refused("takes no caller, so nothing shows whether it has a layer"));
            }
        }
    }
    Ok(())
}

/// Marks the request of a check. No client can send an extension.
#[derive(Clone, Copy)]
struct Probe;

/// What a check has found, in the extensions of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Layer,
    NoLayer,
}

/// Returns whether a request is that of a check.
pub(crate) fn is_probe(extensions: &Extensions) -> bool {
    extensions.get::<Probe>().is_some()
}
