//! A request without the credentials that a gate reads from it, for a proxy that forwards it.

use std::borrow::Cow;

use crate::request::{query::strip, source::Place, sources::CredentialSources};

impl CredentialSources {
    /// Returns what is left of a line of the header `name` (in lower case) without the credentials that
    /// are read from it; `None` if that is nothing.
    ///
    /// Every place is emptied, whichever the credential was taken from. A cookie, a subprotocol and an
    /// `Authorization` that are not read here stay.
    ///
    /// ```
    /// use keyward::{CredentialSource, request::CredentialSources};
    ///
    /// let sources = CredentialSources::first_of([
    ///     CredentialSource::bearer(),
    ///     CredentialSource::cookie("key"),
    /// ]);
    /// let left = |name, value: &'static [u8]| sources.stripped_header(name, value);
    /// assert_eq!(left("authorization", b"Bearer abc"), None);
    /// assert_eq!(left("authorization", b"Basic abc").unwrap(), &b"Basic abc"[..]);
    /// assert_eq!(left("cookie", b"a=1; key=abc; b=2").unwrap(), &b"a=1; b=2"[..]);
    /// ```
    pub fn stripped_header<'v>(&self, name: &str, value: &'v [u8]) -> Option<Cow<'v, [u8]>> {
        let mut left = Cow::Borrowed(value);
        for place in self.places().filter(|place| place.header() == Some(name)) {
            left = match place {
                Place::Header(_) => return None,
                Place::Bearer | Place::Scheme(_) => {
                    let scheme = left.split(|byte| *byte == b' ').next().unwrap_or_default();
                    let own = place.scheme().unwrap_or_default().as_bytes();
                    if own.eq_ignore_ascii_case(scheme) {
                        return None;
                    }
                    left
                }
                Place::Cookie(name) => without(left, b';', b"; ", |pair| {
                    pair.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
                })?,
                Place::Protocol(prefix) => {
                    without(left, b',', b", ", |item| item.starts_with(prefix.as_bytes()))?
                }
                Place::Query(_) => left,
            };
        }
        Some(left)
    }

    /// Returns a URL or request target without the query parameters that are read here.
    ///
    /// ```
    /// use keyward::{CredentialSource, request::CredentialSources};
    ///
    /// let sources = CredentialSources::from(CredentialSource::query("api_key"));
    /// assert_eq!(sources.stripped_target("/replay?v=2&api_key=abc"), "/replay?v=2");
    /// assert_eq!(sources.stripped_target("/replay?api%5Fkey=abc"), "/replay");
    /// ```
    pub fn stripped_target<'u>(&self, target: &'u str) -> Cow<'u, str> {
        strip(target, |raw| self.reads_parameter(raw))
    }
}

/// Returns a list without some of its items, trimmed; `None` if none is left.
fn without<'v>(
    list: Cow<'v, [u8]>,
    separator: u8,
    joint: &[u8],
    is_secret: impl Fn(&[u8]) -> bool,
) -> Option<Cow<'v, [u8]>> {
    let items = || list.split(|byte| *byte == separator).map(<[u8]>::trim_ascii);
    if !items().any(&is_secret) {
        return Some(list);
    }
    let kept: Vec<&[u8]> = items().filter(|item| !item.is_empty() && !is_secret(item)).collect();
    if kept.is_empty() { None } else { Some(Cow::Owned(kept.join(joint))) }
}
