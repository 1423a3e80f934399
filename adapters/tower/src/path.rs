//! The path of a request as its handler reads it.

use std::borrow::Cow;

use http::Uri;

/// Returns the segments of a path behind its first `/`, percent-decoded, for a rule by an owner or a
/// tenant in the path.
///
/// Routers match the path as it was sent, and extractors decode what they take from it: to axum
/// `/orgs/%76ictim` is `/orgs/{org}` with the `org` `victim`. A rule that compares the raw path would find
/// an owner `%76ictim`. `None` is a path whose segments two programs could read differently: one with
/// broken percent-encoding, or that is not UTF-8 when decoded, or in which a segment contains a separator
/// or a control character, or is `.` or `..`. Give such a request the strictest route.
///
/// ```
/// use keyward_tower::decoded_segments;
///
/// let segments = |path: &'static str| decoded_segments(&path.parse().unwrap()).map(|all| all.join(" "));
/// assert_eq!(segments("/orgs/%76ictim/keys").unwrap(), "orgs victim keys");
/// assert_eq!(segments("/orgs/a%2Fb"), None);
/// ```
pub fn decoded_segments(uri: &Uri) -> Option<Vec<Cow<'_, str>>> {
    let path = uri.path();
    path.strip_prefix('/').unwrap_or(path).split('/').map(decoded).collect()
}

/// Returns the value of a parameter of the path, such as `org` of the route `/orgs/{org}`, for a rule by an
/// owner or a tenant in the path: percent-decoded like the value that axum's `Path` extracts.
///
/// It reads the route from [`MatchedPath`](::axum::extract::MatchedPath), and so works in layers inside of
/// the router. `None` is a request without a matched route or parameter, and a value that
/// [`decoded_segments`] refuses. Give such a request the strictest route.
///
/// ```
/// use axum::{Router, routing::get};
/// use keyward::{Access, ConfigError, KeyStore, key::OwnerId};
/// use keyward_tower::{ApiKeys, path_parameter};
///
/// # async fn list() {}
/// fn app<K: KeyStore + 'static>(keys: &ApiKeys<K>) -> Result<Router, ConfigError> {
///     let (own, nobodys) = (keys.route(Access::any_key())?, keys.route(Access::kinds([]))?);
///     let layer = keys.require_by(move |parts| {
///         let owner = path_parameter(parts, "org").and_then(|org| org.parse::<OwnerId>().ok());
///         owner.map_or_else(|| nobodys.clone(), |owner| own.clone().with_owner(owner))
///     })?;
///     Ok(Router::new().route("/orgs/{org}/items", get(list)).route_layer(layer))
/// }
/// ```
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub fn path_parameter(parts: &http::request::Parts, name: &str) -> Option<String> {
    use ::axum::extract::{MatchedPath, OriginalUri};

    let matched = parts.extensions.get::<MatchedPath>()?.as_str();
    // A nested router has removed its prefix from the target, but not from the matched path.
    let original = parts.extensions.get::<OriginalUri>();
    let uri = original.map_or(&parts.uri, |OriginalUri(uri)| uri);
    let mut segments = uri.path().split('/');
    let mut found = None;
    for part in matched.split('/') {
        if part.starts_with("{*") {
            return found;
        }
        let segment = segments.next()?;
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(own) if own == name => found = Some(decoded(segment)?.into_owned()),
            Some(_) => {}
            // A route with an escaped brace, or with text around its parameter.
            None if part.contains(['{', '}']) => return None,
            // Another route matched than this path has.
            None if part != segment => return None,
            None => {}
        }
    }
    found.filter(|_| segments.next().is_none())
}

/// Decodes a segment of a path, if everybody reads it in the same way.
fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    let text = if segment.contains('%') {
        let mut bytes = Vec::with_capacity(segment.len());
        let mut rest = segment.as_bytes();
        while let [first, after @ ..] = rest {
            rest = after;
            if *first != b'%' {
                bytes.push(*first);
                continue;
            }
            let [high, low, after @ ..] = rest else { return None };
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            bytes.push((digit(high)? << 4 | digit(low)?) as u8);
            rest = after;
        }
        Cow::Owned(String::from_utf8(bytes).ok()?)
    } else {
        Cow::Borrowed(segment)
    };
    let is_clear = !matches!(&*text, "." | "..")
        && !text.contains(|c: char| matches!(c, '/' | '\\') || c.is_control());
    is_clear.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_or_refused() {
        for (path, segments) in [
            ("/", Some(&[""][..])),
            ("/orgs/victim", Some(&["orgs", "victim"])),
            ("/orgs/%76ictim", Some(&["orgs", "victim"])),
            ("/%6frgs/%76%69%63%74%69%6D/", Some(&["orgs", "victim", ""])),
            ("/orgs//victim", Some(&["orgs", "", "victim"])),
            ("/a%20b/%C3%BC?x=%zz", Some(&["a b", "ü"])),
            // Once: what a handler decodes once more is its own matter.
            ("/%2576ictim", Some(&["%76ictim"])),
            ("/a+b", Some(&["a+b"])),
            ("/a/%", None),
            ("/a/%7", None),
            ("/a/%zz", None),
            ("/a/%FF", None),
            ("/a%2Fb", None),
            ("/a%2fb", None),
            ("/a%5Cb", None),
            ("/a%00", None),
            ("/a%0A", None),
            ("/a/./b", None),
            ("/a/../b", None),
            ("/a/%2e%2E/b", None),
        ] {
            let uri: Uri = path.parse().unwrap();
            let found = decoded_segments(&uri);
            assert_eq!(
                found.as_deref().map(<[_]>::to_vec),
                segments.map(|all| { all.iter().map(|segment| Cow::Borrowed(*segment)).collect() }),
                "{path}"
            );
        }
    }
}
