//! CORS preflights, and their treatment.

use http::{
    HeaderMap, Method, Request,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

/// The treatment of CORS preflights by a layer.
///
/// A browser sends them without credentials, so a service that serves scripts of other origins
/// must let them through. Only true preflights are meant, see [`is_preflight`]. Any other
/// `OPTIONS` needs a key like every request.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Preflights {
    /// They need a key, like every request. Use this where an outer CORS layer responds to them,
    /// see [`TruePreflightsLayer`](crate::TruePreflightsLayer), and where the service serves no
    /// scripts of other origins.
    #[default]
    Authenticate,
    /// They go on to the inner service without a caller and without a
    /// [`ForeignCredential`](crate::ForeignCredential), because no credential was read. Keys in their
    /// query are replaced, unless the layer [keeps them](crate::ApiKeys::keep_query). Anyone can send
    /// one, so the inner service must do nothing on `OPTIONS` but respond.
    PassOn,
    /// The layer responds with 204 and these headers, and they never reach the inner service.
    ///
    /// The layer must see them. axum's `route_layer` runs only for the methods of a route, so
    /// there the route also needs a fallback or `options` handler inside `layer`.
    Answer(HeaderMap),
}

/// Returns whether this is a CORS preflight: `OPTIONS` with `Origin` and
/// `Access-Control-Request-Method` (Fetch standard, "CORS-preflight request").
pub fn is_preflight<B>(request: &Request<B>) -> bool {
    is_preflight_head(request.method(), request.headers())
}

pub(crate) fn is_preflight_head(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_preflights_count() {
        const BOTH: [&str; 2] = ["origin", "access-control-request-method"];
        for (method, headers, expected) in [
            ("OPTIONS", &BOTH[..], true),
            ("OPTIONS", &BOTH[..1], false),
            ("OPTIONS", &BOTH[1..], false),
            ("OPTIONS", &[], false),
            ("GET", &BOTH, false),
            ("POST", &BOTH, false),
            ("HEAD", &BOTH, false),
            // Methods are case-sensitive (RFC 9110 §9.1).
            ("options", &BOTH, false),
        ] {
            let request = Request::builder().method(method);
            let request = headers.iter().fold(request, |request, name| request.header(*name, "x"));
            assert_eq!(is_preflight(&request.body(()).unwrap()), expected, "{method} {headers:?}");
        }
    }
}
