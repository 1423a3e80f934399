//! The layer of a route.

use std::{fmt, sync::Arc};

use keyward::KeyStore;
use tower_layer::Layer;

use crate::{route::Routing, service::ApiKeyService, shared::Shared};

/// The layer of a route: passes requests whose key meets the requirements of the route, and
/// refuses all others. [`ApiKeys::require`](crate::ApiKeys::require) returns it.
///
/// An admitted request goes on with its [`Caller`](crate::Caller) in its extensions, with the
/// [`Decision`](keyward::limit::Decision) of the limiter if the route has limits, and with the
/// headers that can hold keys marked as sensitive. Its response gets the rate-limit headers. A
/// refusal has the [`RefusalReason`](keyward::request::RefusalReason) in its extensions, for a log
/// outside of this layer, and never reaches the inner service.
pub struct ApiKeyLayer<K> {
    shared: Arc<Shared<K>>,
    routing: Routing,
}

impl<K> ApiKeyLayer<K> {
    pub(crate) const fn new(shared: Arc<Shared<K>>, routing: Routing) -> Self {
        Self { shared, routing }
    }
}

impl<S, K: KeyStore + 'static> Layer<S> for ApiKeyLayer<K> {
    type Service = ApiKeyService<S, K>;

    fn layer(&self, inner: S) -> ApiKeyService<S, K> {
        ApiKeyService::new(inner, Arc::clone(&self.shared), self.routing.clone())
    }
}

impl<K> Clone for ApiKeyLayer<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), routing: self.routing.clone() }
    }
}

impl<K> fmt::Debug for ApiKeyLayer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyLayer")
            .field("keys", &self.shared)
            .field("route", &self.routing)
            .finish()
    }
}
