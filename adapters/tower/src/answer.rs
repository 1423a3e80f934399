//! From a refusal to a response.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use keyward::{Refusal, ResponseHeader};

use crate::grpc::{is_grpc, trailers_only};

/// The response of a refusal, for a host that has refused a request itself by
/// [`Gate::refuse`](keyward::Gate::refuse).
///
/// Its body becomes that of any framework: `http_response(&refusal).map(axum::body::Body::from)`.
/// The precise [`RefusalReason`](keyward::RefusalReason) is in its extensions, for the log.
pub fn http_response(refusal: &Refusal) -> Response<Bytes> {
    respond(refusal, |response| {
        *response.status_mut() = status(refusal);
        *response.body_mut() = Bytes::copy_from_slice(refusal.body());
    })
}

/// In which protocol a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    Http,
    Grpc,
}

impl Answers {
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

fn respond(refusal: &Refusal, fill: impl FnOnce(&mut Response<Bytes>)) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    // There can be several challenges.
    for (name, value) in refusal.headers().filter_map(header) {
        response.headers_mut().append(name, value);
    }
    fill(&mut response);
    response.extensions_mut().insert(refusal.reason().clone());
    response
}

/// A header of a gate for `http`. The gate promises names in lower case and values in
/// printable ASCII, so nothing is lost here.
fn header(header: ResponseHeader<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(header.name().as_bytes()).ok()?;
    Some((name, HeaderValue::from_str(header.value()).ok()?))
}

fn status(refusal: &Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}
