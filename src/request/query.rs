//! Query parameters, and keeping them out of logs.

use std::borrow::Cow;

/// Replaces the values of these parameters in a URL or request target by `REDACTED`, for a log.
///
/// It replaces every occurrence, also of a name that is percent-encoded, in another case, or behind a
/// `;` or a second `?`, which some servers take for a separator. Everything else stays the same.
///
/// ```
/// use keyward::request::redact_query;
///
/// let target = "/api/sdk/replay?v=2&api%5Fkey=luc_pk_0123&x=%41";
/// assert_eq!(redact_query(target, &["api_key"]), "/api/sdk/replay?v=2&api%5Fkey=REDACTED&x=%41");
/// ```
pub fn redact_query<'u>(url: &'u str, names: &[&str]) -> Cow<'u, str> {
    redact(url, |name| names.iter().any(|secret| looks_like(name, secret.as_bytes())))
}

/// Does what [`redact_query`] does, with a predicate on the raw name.
pub(crate) fn redact(url: &str, is_secret: impl Fn(&[u8]) -> bool) -> Cow<'_, str> {
    let Some((path, query)) = url.split_once('?') else { return Cow::Borrowed(url) };
    let mut redacted = String::new();
    let mut found = false;
    for parameter in query.split_inclusive(['&', '#']) {
        // A value ends where its parameter ends, whatever separators it contains.
        let (text, end) = match parameter.strip_suffix(['&', '#']) {
            Some(text) => (text, parameter.get(text.len()..).unwrap_or_default()),
            None => (parameter, ""),
        };
        match value_start(text, &is_secret) {
            Some(start) => {
                found = true;
                redacted.push_str(text.get(..start).unwrap_or_default());
                redacted.push_str("REDACTED");
            }
            None => redacted.push_str(text),
        }
        redacted.push_str(end);
    }
    if found { Cow::Owned(format!("{path}?{redacted}")) } else { Cow::Borrowed(url) }
}

/// Removes the parameters whose raw name is secret, each with everything up to the next `&`.
pub(super) fn strip(url: &str, is_secret: impl Fn(&[u8]) -> bool) -> Cow<'_, str> {
    let Some((path, query)) = url.split_once('?') else { return Cow::Borrowed(url) };
    let is_kept = |text: &&str| value_start(text, &is_secret).is_none();
    let kept: Vec<&str> = query.split('&').filter(is_kept).collect();
    match kept.len() {
        0 => Cow::Borrowed(path),
        len if len == query.split('&').count() => Cow::Borrowed(url),
        _ => Cow::Owned(format!("{path}?{}", kept.join("&"))),
    }
}

/// Returns where the value of the first secret parameter begins in the text between two `&`.
fn value_start(text: &str, is_secret: impl Fn(&[u8]) -> bool) -> Option<usize> {
    // First as a server reads it that separates parameters only at `&`, as this crate does.
    if let Some((name, _)) = text.split_once('=')
        && is_secret(name.as_bytes())
    {
        return Some(name.len() + 1);
    }
    let mut start = 0;
    for piece in text.split_inclusive([';', '?']) {
        if let Some((name, _)) = piece.split_once('=')
            && is_secret(name.as_bytes())
        {
            return Some(start + name.len() + 1);
        }
        start += piece.len();
    }
    None
}

/// Returns whether any server could read a raw name as this one.
pub(crate) fn looks_like(raw: &[u8], name: &[u8]) -> bool {
    let is_like = |text: &[u8]| text.trim_ascii().eq_ignore_ascii_case(name.trim_ascii());
    is_like(raw) || decode(raw).is_some_and(|decoded| is_like(&decoded))
}

/// Returns whether a raw name is this one, byte by byte after decoding (RFC 3986 §2.1).
#[inline]
pub(super) fn is_named(raw: &[u8], name: &[u8]) -> bool {
    raw == name || decode(raw).is_some_and(|decoded| *decoded == *name)
}

/// Decodes percent-encoding. Returns `None` if a `%` has no two hexadecimal digits behind it. A `+`
/// stays a `+`, because no key contains a `+` or a space.
pub(super) fn decode(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !raw.contains(&b'%') {
        return Some(Cow::Borrowed(raw));
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return None };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        decoded.push((digit(high)? << 4 | digit(low)?) as u8);
        rest = after;
    }
    Some(Cow::Owned(decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_strict() {
        for (raw, decoded) in [
            ("", Some("")),
            ("abc", Some("abc")),
            ("a%62c", Some("abc")),
            ("%61%5F%5f", Some("a__")),
            ("a+b", Some("a+b")),
            ("%2", None),
            ("%", None),
            ("%zz", None),
            ("% 1", None),
            ("%+1", None),
            ("%%31", None),
        ] {
            let found = decode(raw.as_bytes()).map(Cow::into_owned);
            assert_eq!(found, decoded.map(|text| text.as_bytes().to_vec()), "{raw}");
        }
    }
}
