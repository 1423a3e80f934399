//! The bearer token of a session, strictly to the byte. Keys are the gate's to read.

use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use thiserror::Error;

/// The token of `Authorization: Bearer <token>`, if one was sent (RFC 6750 §2.1).
///
/// The scheme matches in any case, one or more spaces part it from the token, and the
/// token is taken as it is. Another scheme, or the scheme alone, is no token.
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

/// The one value of `Authorization`, if it was sent.
///
/// The same value sent twice is one value: there is nothing to pick from.
///
/// # Errors
///
/// [`Conflict`] for two different values, to be answered with 400. Whichever was picked,
/// a proxy before us could have judged the other.
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
