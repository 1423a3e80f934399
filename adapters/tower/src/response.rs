//! From a refusal to a response, and the rate-limit headers of admitted responses.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, request::Parts};
use keyward::{
    gate::{Admission, Refusal},
    limit::Decision,
    request::ResponseHeader,
};

use crate::grpc::{is_grpc, trailers_only};

/// Returns the response of a refusal, for a host that refused a request itself with
/// [`Gate::refuse`](keyward::Gate::refuse).
///
/// The body converts to that of any framework: `http_response(&refusal).map(axum::body::Body::from)`.
/// The precise [`RefusalReason`](keyward::request::RefusalReason) is in the extensions, for a log.
pub fn http_response(refusal: &Refusal) -> Response<Bytes> {
    respond(refusal, |response| {
        *response.status_mut() = status(refusal);
        *response.body_mut() = Bytes::copy_from_slice(refusal.body());
    })
}

/// The protocol of the responses to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

impl Protocol {
    /// Returns gRPC for gRPC requests, where gRPC is served.
    pub(crate) fn of(parts: &Parts, grpc_is_served: bool) -> Self {
        let is_grpc = grpc_is_served && is_grpc(&parts.method, &parts.headers);
        if is_grpc { Self::Grpc } else { Self::Http }
    }

    pub(crate) fn refusal(self, refusal: &Refusal) -> Response<Bytes> {
        match self {
            Self::Http => http_response(refusal),
            Self::Grpc => respond(refusal, |response| {
                trailers_only(response.headers_mut(), status(refusal), refusal);
            }),
        }
    }
}

/// Inserts headers of a gate into a response. They replace headers of the same name. A response
/// that already has as many headers as `http` allows goes without.
pub(crate) fn insert_headers<'h>(
    headers: &mut HeaderMap,
    lines: impl Iterator<Item = ResponseHeader<'h>>,
) {
    for (name, value) in lines.filter_map(header) {
        let _full = headers.try_insert(name, value);
    }
}

/// Adds rate-limit headers to an admitted response, unless an inner layer already reported a
/// limit at least as strict. With `inside`, the limit is also reported to the outer layer.
pub(crate) fn report_limit<B>(response: &mut Response<B>, admission: &Admission, inside: bool) {
    let Some(decision) = admission.decision() else { return };
    if let Some(ReportedLimit(inner)) = response.extensions().get() {
        if !is_stricter(decision, inner) {
            return;
        }
        // The inner layer may use another style.
        for name in RATE_HEADERS {
            response.headers_mut().remove(name);
        }
    }
    insert_headers(response.headers_mut(), admission.headers());
    if inside {
        response.extensions_mut().insert(ReportedLimit(*decision));
    }
}

/// The limit in the headers of a response, for layers outside of the one that wrote them.
#[derive(Clone, Copy, Debug)]
struct ReportedLimit(Decision);

/// All rate-limit headers but `Retry-After`, which only the handler of an admitted request sets.
const RATE_HEADERS: [&str; 5] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
];

static KNOWN: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// Returns whether the own limit is stricter than the inner one, by the limiter's rule for
/// several windows: the one that refuses, else the one with less left, else the one with the
/// later reset.
fn is_stricter(own: &Decision, inner: &Decision) -> bool {
    inner.allowed
        && (own.remaining < inner.remaining
            || own.remaining == inner.remaining && own.reset_at > inner.reset_at)
}

fn respond(refusal: &Refusal, fill: impl FnOnce(&mut Response<Bytes>)) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    // There can be several challenges.
    for (name, value) in refusal.headers().filter_map(header) {
        response.headers_mut().append(name, value);
    }
    fill(&mut response);
    response.extensions_mut().insert(refusal.reason().clone());
    if let Some(decision) = refusal.decision() {
        response.extensions_mut().insert(ReportedLimit(*decision));
    }
    response
}

/// Converts a header of a gate. The gate guarantees names in lower case and values in printable
/// ASCII, so no header is lost.
fn header(header: ResponseHeader<'_>) -> Option<(HeaderName, HeaderValue)> {
    // The names on every response are not parsed each time.
    let known = KNOWN.iter().find(|known| known.as_str() == header.name()).cloned();
    let name = match known {
        Some(name) => name,
        None => HeaderName::from_bytes(header.name().as_bytes()).ok()?,
    };
    Some((name, HeaderValue::from_bytes(header.value_bytes()).ok()?))
}

/// Gives a refusal the id of its request, for its body.
pub(crate) fn identified(refusal: Refusal, request_id: Option<Arc<str>>) -> Refusal {
    match request_id {
        Some(id) => refusal.with_request_id(&*id),
        None => refusal,
    }
}

fn status(refusal: &Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}
