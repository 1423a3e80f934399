//! Which route a request is on.

use std::{fmt, sync::Arc};

use http::request::Parts;
use keyward::Route;

/// What says which route a request is on.
#[derive(Clone)]
pub(crate) struct Routing(Inner);

#[derive(Clone)]
enum Inner {
    Fixed(Route),
    By(Arc<dyn Fn(&Parts) -> Route + Send + Sync>),
}

impl Routing {
    pub(crate) const fn fixed(route: Route) -> Self {
        Self(Inner::Fixed(route))
    }

    pub(crate) fn by(route: impl Fn(&Parts) -> Route + Send + Sync + 'static) -> Self {
        Self(Inner::By(Arc::new(route)))
    }

    pub(crate) fn route(&self, parts: &Parts) -> Route {
        match &self.0 {
            Inner::Fixed(route) => route.clone(),
            Inner::By(route) => route(parts),
        }
    }
}

impl fmt::Debug for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Fixed(route) => route.fmt(f),
            Inner::By(_) => f.write_str("by a function"),
        }
    }
}
