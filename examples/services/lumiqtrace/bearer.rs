//! Reads the bearer token of a session, byte for byte. The gate reads keys.

use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use thiserror::Error;

/// Returns the token of `Authorization: Bearer <token>`, if there is one (RFC 6750 §2.1).
///
/// The scheme is case-insensitive. One or more spaces separate it from the token, which is
/// returned unchanged. Another scheme, or the scheme alone, is not a token.
///
/// # Errors
///
/// [`Conflict`] for two different `Authorization` lines.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Result<Option<&[u8]>, Conflict> {
    const SCHEME: &[u8] = b"bearer";

    let Some(value) = authorization(headers)? else { return Ok(None) };
    let Some((scheme, rest)) = value.as_bytes().split_at_checked(SCHEME.len()) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case(SCHEME) || rest.first() != Some(&b' ') {
        return Ok(None);
    }
    let start = rest.iter().position(|&byte| byte != b' ');
    Ok(start.and_then(|start| rest.get(start..)))
}

/// One credential was sent with two different values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the credential was sent twice with different values")]
pub(crate) struct Conflict;

/// Returns the value of `Authorization`, if the request has one.
///
/// The same value sent twice is one value.
///
/// # Errors
///
/// [`Conflict`] for two different values, which get 400. If the service chose one of them, a proxy
/// in front of it could have checked the other one.
fn authorization(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Conflict> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next();
    if values.any(|value| Some(value) != first) {
        return Err(Conflict);
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (AUTHORIZATION, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn bearer_tokens_are_read_to_the_byte() {
        for (line, token) in [
            ("Bearer abc", Some("abc")),
            ("bEARER   abc", Some("abc")),
            ("Bearer a b ", Some("a b ")),
            ("Bearer\tabc", None),
            ("Bearer \tabc", Some("\tabc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("", None),
        ] {
            assert_eq!(bearer_token(&headers(&[line])), Ok(token.map(str::as_bytes)), "{line:?}");
        }
        assert_eq!(bearer_token(&headers(&[])), Ok(None));
    }

    #[test]
    fn two_different_values_are_refused() {
        assert_eq!(bearer_token(&headers(&["Bearer a", "Bearer a"])), Ok(Some(&b"a"[..])));
        for lines in [["Bearer a", "Bearer b"], ["Bearer a", "Basic a"], ["", "Bearer a"]] {
            assert_eq!(bearer_token(&headers(&lines)), Err(Conflict), "{lines:?}");
        }
    }
}
