//! Which requests are CORS preflights, and what happens to them.

use http::{
    HeaderMap, Method, Request,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

/// What a layer does with CORS preflights.
///
/// A browser sends them without credentials, so a service that scripts of other origins may
/// call has to let them through. Only a true preflight is meant, see [`is_preflight`]: any
/// other `OPTIONS` needs a key like every other request.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Preflights {
    /// They need a key, as everything does. Right where a CORS layer stands outside of this
    /// one and has answered them already, see
    /// [`TruePreflightsLayer`](crate::TruePreflightsLayer), and where no script of another
    /// origin is to call.
    #[default]
    Authenticate,
    /// They go on to the inner service without a key and without a caller, with
    /// [`ForeignCredential`](crate::ForeignCredential) in their extensions. Anyone can send one: the inner
    /// service must do nothing on `OPTIONS` but answer.
    PassOn,
    /// They are answered with 204 and these headers, and never reach the inner service.
    ///
    /// The layer must see them: axum's `route_layer` runs for the methods of a route alone, so
    /// there the route also needs a fallback or `options` handler, with `layer` around it.
    Answer(HeaderMap),
}

/// Whether this is a CORS preflight: `OPTIONS` with `Origin` and
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
