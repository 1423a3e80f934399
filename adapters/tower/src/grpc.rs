//! Refusals for gRPC clients: trailers-only responses.

use std::fmt::Write;

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
use keyward::{gate::Refusal, quota::PolicyName};

use crate::grpc_details::Details;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Returns whether the head is that of a gRPC request: a `POST` with its content type.
///
/// Any other is refused in HTTP even where gRPC is served: a client that does not know gRPC
/// would mistake the status 200 for success (gRPC over HTTP/2, "Content-Type"), and a cache would
/// store it in response to a `GET`.
pub(crate) fn is_grpc(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::POST && has_grpc_type(headers)
}

fn has_grpc_type(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    let Some((start, rest)) = value.as_bytes().split_at_checked(GRPC.len()) else { return false };
    start.eq_ignore_ascii_case(GRPC.as_bytes()) && matches!(rest.first(), None | Some(b'+' | b';'))
}

/// Turns the headers of a refusal into those of a trailers-only response: the HTTP status is 200,
/// the body is empty, and `grpc-status` and `grpc-message` state the reason (gRPC over HTTP/2,
/// "Responses"). No cache stores it, whatever a cache makes of a 200 to a `POST`.
///
/// The other headers, such as those of the rate limit, become metadata of the status.
/// `grpc-status-details-bin` has the reason and the time to wait for programs.
pub(crate) fn trailers_only(headers: &mut HeaderMap, status: StatusCode, refusal: &Refusal) {
    let (code, message) = (code(status), refusal.message());
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(&message)) {
        headers.insert("grpc-message", message);
    }
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let details = Details {
        code,
        message: &message,
        reason: refusal.code(),
        limit: refusal.reason().policy().map(PolicyName::as_str),
        retry_after_secs: retry_after.and_then(|secs| secs.parse().ok()),
    };
    if let Ok(details) = HeaderValue::from_str(&details.encode()) {
        headers.insert("grpc-status-details-bin", details);
    }
}

/// Returns the gRPC code of an HTTP status of a gate.
const fn code(status: StatusCode) -> u8 {
    const INVALID_ARGUMENT: u8 = 3;
    const PERMISSION_DENIED: u8 = 7;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    const UNAUTHENTICATED: u8 = 16;

    match status.as_u16() {
        400 | 413 | 422 => INVALID_ARGUMENT,
        401 => UNAUTHENTICATED,
        403 | 404 => PERMISSION_DENIED,
        429 => RESOURCE_EXHAUSTED,
        503 => UNAVAILABLE,
        _ => INTERNAL,
    }
}

/// Encodes everything but printable ASCII, and the percent sign, as `%` and two hexadecimal
/// digits of each byte (gRPC over HTTP/2, "Percent-Encoded").
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | ..0x20 | 0x7F.. => {
                // Writing to a string cannot fail.
                let _always_ok = write!(encoded, "%{byte:02X}");
            }
            printable => encoded.push(char::from(printable)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_recognized_by_the_method_and_the_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=x", true),
            ("Application/gRPC", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grp", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]);
            assert_eq!(is_grpc(&Method::POST, &headers), expected, "{value:?}");
            for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT] {
                assert!(!is_grpc(&method, &headers), "{method} {value:?}");
            }
        }
        assert!(!is_grpc(&Method::POST, &HeaderMap::new()));
    }

    #[test]
    fn messages_are_percent_encoded() {
        for (message, encoded) in [
            ("", ""),
            ("Missing required scope: write:issues", "Missing required scope: write:issues"),
            ("100 % sure", "100 %25 sure"),
            ("a\r\nb\u{7f}~", "a%0D%0Ab%7F~"),
            ("für", "f%C3%BCr"),
        ] {
            assert_eq!(percent_encoded(message), encoded, "{message:?}");
        }
    }
}
