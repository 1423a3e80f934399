//! The route of a request.

use std::{fmt, sync::Arc};

use http::request::Parts;
use keyward::gate::CheckedRoute;

/// How a layer finds the route of a request.
#[derive(Clone)]
pub(crate) struct Routing(Inner);

#[derive(Clone)]
enum Inner {
    Fixed(CheckedRoute),
    By(Arc<dyn Fn(&Parts) -> CheckedRoute + Send + Sync>),
}

impl Routing {
    pub(crate) const fn fixed(route: CheckedRoute) -> Self {
        Self(Inner::Fixed(route))
    }

    pub(crate) fn by(route: impl Fn(&Parts) -> CheckedRoute + Send + Sync + 'static) -> Self {
        Self(Inner::By(Arc::new(route)))
    }

    pub(crate) fn route(&self, parts: &Parts) -> CheckedRoute {
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
