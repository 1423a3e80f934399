//! From a refusal to a response.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use keyward::{
    gate::{Admission, Refusal},
    limit::Decision,
    request::ResponseHeader,
};

use crate::grpc::{is_grpc, trailers_only};

/// The response of a refusal, for a host that has refused a request itself by
/// [`Gate::refuse`](keyward::Gate::refuse).
///
/// Its body becomes that of any framework: `http_response(&refusal).map(axum::body::Body::from)`.
/// The precise [`RefusalReason`](keyward::request::RefusalReason) is in its extensions, for the log.
pub fn http_response(refusal: &Refusal) -> Response<Bytes> {
    respond(refusal, |response| {
        *response.status_mut() = status(refusal);
        *response.body_mut() = Bytes::copy_from_slice(refusal.body());
    })
}

/// In which protocol a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Responses {
    Http,
    Grpc,
}

impl Responses {
    /// gRPC for what is gRPC, where it is served.
    pub(crate) fn to(headers: &HeaderMap, grpc_is_served: bool) -> Self {
        if grpc_is_served && is_grpc(headers) { Self::Grpc } else { Self::Http }
    }

    pub(crate) fn refusal(self, refusal: &Refusal) -> Response<Bytes> {
        match self {
            Self::Http => http_response(refusal),
            Self::Grpc => respond(refusal, |response| {
                trailers_only(response.headers_mut(), status(refusal), &refusal.message());
            }),
        }
    }
}

/// Puts headers of a gate into an answer. What the gate says of a limit replaces what else
/// may stand there. An answer with as many headers as `http` can hold goes without.
pub(crate) fn insert_headers<'h>(
    headers: &mut HeaderMap,
    said: impl Iterator<Item = ResponseHeader<'h>>,
) {
    for (name, value) in said.filter_map(header) {
        let _full = headers.try_insert(name, value);
    }
}

/// Tells of the limit of an admitted request in its answer, unless a layer inside of this one
/// has told of one that is as tight. `inside` of another layer, that one is told too.
pub(crate) fn tell_limit<B>(response: &mut Response<B>, admission: &Admission, inside: bool) {
    let Some(decision) = admission.decision() else { return };
    if let Some(Told(inner)) = response.extensions().get() {
        if !is_tighter(decision, inner) {
            return;
        }
        // It may have told of its own in another style.
        for name in RATE_HEADERS {
            response.headers_mut().remove(name);
        }
    }
    insert_headers(response.headers_mut(), admission.headers());
    if inside {
        response.extensions_mut().insert(Told(*decision));
    }
}

/// Of which limit the headers of an answer tell, for layers outside of the one that wrote them.
#[derive(Clone, Copy, Debug)]
struct Told(Decision);

/// All that tell of a limit but `Retry-After`, which an admitted request has only from its
/// handler.
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

/// Which of two limits to tell of, as the limiter has it for several windows: the one that
/// refuses, else the one with less left, else the one whose reset is later.
fn is_tighter(own: &Decision, inner: &Decision) -> bool {
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
        response.extensions_mut().insert(Told(*decision));
    }
    response
}

/// A header of a gate for `http`. The gate promises names in lower case and values in
/// printable ASCII, so nothing is lost here.
fn header(header: ResponseHeader<'_>) -> Option<(HeaderName, HeaderValue)> {
    // Those on every answer are not read anew each time.
    let known = KNOWN.iter().find(|known| known.as_str() == header.name()).cloned();
    let name = match known {
        Some(name) => name,
        None => HeaderName::from_bytes(header.name().as_bytes()).ok()?,
    };
    Some((name, HeaderValue::from_bytes(header.value_bytes()).ok()?))
}

fn status(refusal: &Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}
