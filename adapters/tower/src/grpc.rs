//! Refusals for gRPC clients: trailers-only responses.

use std::fmt::Write;

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Returns whether the head is that of a gRPC request, by its content type.
///
/// Any other is refused in HTTP even where gRPC is served: a client that does not know gRPC
/// would mistake the status 200 for success (gRPC over HTTP/2, "Content-Type").
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    let Some((start, rest)) = value.as_bytes().split_at_checked(GRPC.len()) else { return false };
    start.eq_ignore_ascii_case(GRPC.as_bytes()) && matches!(rest.first(), None | Some(b'+' | b';'))
}

/// Turns the headers of a refusal into those of a trailers-only response: the HTTP status is 200,
/// the body is empty, and `grpc-status` and `grpc-message` state the reason (gRPC over HTTP/2,
/// "Responses").
///
/// The other headers, such as those of the rate limit, become metadata of the status.
pub(crate) fn trailers_only(headers: &mut HeaderMap, status: StatusCode, message: &str) {
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert("grpc-status", HeaderValue::from_static(code(status)));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
        headers.insert("grpc-message", message);
    }
}

/// Returns the gRPC code of an HTTP status of a gate.
const fn code(status: StatusCode) -> &'static str {
    const INVALID_ARGUMENT: &str = "3";
    const PERMISSION_DENIED: &str = "7";
    const RESOURCE_EXHAUSTED: &str = "8";
    const INTERNAL: &str = "13";
    const UNAVAILABLE: &str = "14";
    const UNAUTHENTICATED: &str = "16";

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
    fn grpc_is_recognized_by_the_content_type() {
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
            assert_eq!(is_grpc(&headers), expected, "{value:?}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
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
