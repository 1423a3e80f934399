//! A place in a request that can contain a key.

use std::borrow::Cow;

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::{formats::KeyFormats, kind::KeyKind},
    request::{
        challenge::is_token,
        credential::CredentialError,
        head::RequestHead,
        query::{decode, is_named},
    },
};

/// A place in a request that can contain a key.
///
/// An empty value is no credential: a header or cookie without a value, `Authorization: Bearer` without a
/// token and a query parameter without a value count as absent, because a client that has no key to send
/// often still sends the place of one. Two different lines of one header conflict even if one of them
/// is empty, because a proxy may have read the other (RFC 9110 §5.3).
///
/// ```
/// use keyward::{key::KeyKind, CredentialSource};
///
/// const PUBLIC: KeyKind = KeyKind::from_static("luc_pk_");
/// let header = CredentialSource::header("X-Lucent-Api-Key");
/// let query = CredentialSource::query("api_key").with_kinds([PUBLIC]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CredentialSource {
    pub(super) place: Place,
    kinds: Option<Vec<KeyKind>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A header that contains the key alone, by its name in lower case.
    Header(Box<str>),
    Bearer,
    /// `Authorization` with another scheme, by its name.
    Scheme(Box<str>),
    Cookie(Box<str>),
    Query(Box<str>),
    /// The part behind a prefix of an item in `Sec-WebSocket-Protocol`.
    Protocol(Box<str>),
}

impl Place {
    /// Returns whether both are read from the same part of a request.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cookie(name), Self::Cookie(other)) => name == other,
            (Self::Protocol(prefix), Self::Protocol(other)) => {
                prefix.starts_with(&**other) || other.starts_with(&**prefix)
            }
            _ => match (self.scheme(), other.scheme(), self.header(), other.header()) {
                (Some(scheme), Some(other), ..) => scheme.eq_ignore_ascii_case(other),
                (.., Some(name), Some(other)) => name == other,
                _ => self == other,
            },
        }
    }

    /// Returns the scheme of `Authorization`.
    pub(super) fn scheme(&self) -> Option<&str> {
        match self {
            Self::Bearer => Some("Bearer"),
            Self::Scheme(scheme) => Some(scheme),
            Self::Header(_) | Self::Cookie(_) | Self::Query(_) | Self::Protocol(_) => None,
        }
    }

    /// Returns the name of the header in lower case.
    pub(super) fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Bearer | Self::Scheme(_) => Some("authorization"),
            Self::Cookie(_) => Some("cookie"),
            Self::Protocol(_) => Some("sec-websocket-protocol"),
            Self::Query(_) => None,
        }
    }
}

impl CredentialSource {
    /// Reads a header that contains the key alone, such as `x-api-key`. The case of the name does not
    /// matter.
    pub fn header(name: &str) -> Self {
        Self { place: Place::Header(name.to_ascii_lowercase().into()), kinds: None }
    }

    /// Reads `Authorization: Bearer <key>` (RFC 6750 §2.1). The case of the scheme does not matter,
    /// and one or more spaces separate it from the key.
    pub const fn bearer() -> Self {
        Self { place: Place::Bearer, kinds: None }
    }

    /// Reads `Authorization: <scheme> <key>` for a scheme of another name, such as `ApiKey` (RFC 9110
    /// §11.6.2). Everything else is as for [`CredentialSource::bearer`], and a gate can read several
    /// schemes. A [`Challenge::new`](crate::Challenge::new) of that name tells clients about it.
    ///
    /// ```
    /// use keyward::{CredentialSource, request::{CredentialSources, PlainHead}};
    ///
    /// let schemes = [CredentialSource::authorization("ApiKey"), CredentialSource::bearer()];
    /// let sources = CredentialSources::first_of(schemes);
    /// let head = PlainHead::new().with_header("authorization", "apikey abc");
    /// assert_eq!(sources.extract(&head)?.unwrap().token(), b"abc");
    /// # Ok::<(), keyward::request::CredentialError>(())
    /// ```
    pub fn authorization(scheme: &str) -> Self {
        Self { place: Place::Scheme(scheme.into()), kinds: None }
    }

    /// Reads a cookie (RFC 6265 §5.4). Its name must match to the byte, and its value is the key, without
    /// quotes and encoding.
    ///
    /// **A browser sends cookies by itself**, also with requests that another site causes. Set the
    /// cookie with `Secure`, `HttpOnly` and `SameSite`, and check `Origin` where that is not enough.
    pub fn cookie(name: &str) -> Self {
        Self { place: Place::Cookie(name.into()), kinds: None }
    }

    /// Reads a parameter of the query, such as `api_key`. The name must match to the byte.
    ///
    /// Logs, histories and `Referer` headers contain URLs, so this is only for kinds that may be
    /// published anyway. A [`Gate`](crate::gate::Gate) enforces this: it accepts only kinds that are
    /// [publishable](crate::gate::GateBuilder::with_publishable).
    /// [`redact_query`](crate::request::redact_query) keeps even these keys out of a log.
    pub fn query(name: &str) -> Self {
        Self { place: Place::Query(name.into()), kinds: None }
    }

    /// Reads an item of `Sec-WebSocket-Protocol` that begins with `prefix` (RFC 6455 §11.3.4), for
    /// scripts in a browser, which can set no header of a WebSocket but this one. What follows the prefix
    /// is the key.
    ///
    /// ```
    /// use keyward::{CredentialSource, request::{CredentialSources, PlainHead}};
    ///
    /// // new WebSocket("wss://example.com/feed", ["acme.v1", "acme.key." + key])
    /// let sources = CredentialSources::from(CredentialSource::websocket_protocol("acme.key."));
    /// let head = PlainHead::new().with_header("sec-websocket-protocol", "acme.v1, acme.key.abc");
    /// assert_eq!(sources.extract(&head)?.unwrap().token(), b"abc");
    /// # Ok::<(), keyward::request::CredentialError>(())
    /// ```
    ///
    /// **The server must choose another item**, such as `acme.v1`: a browser closes a connection whose
    /// server chooses none, and choosing this one would send the key back. A layer that
    /// [strips credentials](crate::request::CredentialSources::stripped_header) leaves no other choice.
    pub fn websocket_protocol(prefix: &str) -> Self {
        Self { place: Place::Protocol(prefix.into()), kinds: None }
    }

    /// Takes only keys of these kinds from here. Any other key is treated as unknown. The default is
    /// all kinds that the gate accepts.
    pub fn with_kinds(self, kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        Self { kinds: Some(kinds.into_iter().collect()), ..self }
    }

    #[inline]
    pub(super) fn takes(&self, kind: KeyKind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    /// Returns what this place contains, before its characters are checked. It is never empty.
    #[inline]
    pub(super) fn find<'h, H: RequestHead>(
        &'h self,
        head: &'h H,
    ) -> Result<Option<Cow<'h, [u8]>>, CredentialError> {
        match &self.place {
            Place::Header(name) => {
                let value = single(head.header(name))?.filter(|value| !value.is_empty());
                Ok(value.map(Cow::Borrowed))
            }
            Place::Bearer => in_scheme(head, "Bearer"),
            Place::Scheme(scheme) => in_scheme(head, scheme),
            Place::Cookie(name) => {
                // HTTP/2 may split the line (RFC 9113 §8.2.3).
                let pairs = head.header("cookie").flat_map(|line| line.split(|byte| *byte == b';'));
                let values = pairs.filter_map(|pair| cookie(pair, name.as_bytes()));
                Ok(single(values)?.map(Cow::Borrowed))
            }
            Place::Protocol(prefix) => {
                let lines = head.header("sec-websocket-protocol");
                let items = lines.flat_map(|line| line.split(|byte| *byte == b','));
                let keys =
                    items.filter_map(|item| item.trim_ascii().strip_prefix(prefix.as_bytes()));
                Ok(single(keys.filter(|key| !key.is_empty()))?.map(Cow::Borrowed))
            }
            Place::Query(name) => match head.query() {
                Some(query) => parameter(query, name.as_bytes()),
                None => Ok(None),
            },
        }
    }

    pub(super) fn check(
        &self,
        formats: &KeyFormats,
        publishable: &[KeyKind],
    ) -> Result<(), ConfigError> {
        if let Some(unknown) = self.kinds.iter().flatten().find(|kind| !formats.accepts(**kind)) {
            return Err(refused(format!(
                "a source takes keys of kind {unknown}, which the gate does not accept; add its \
                 format to KeyFormats::new or drop it from CredentialSource::with_kinds"
            )));
        }
        match &self.place {
            Place::Header(name) if !is_token(name) => {
                return Err(refused(
                    "the name of a header is a token of RFC 9110; mend it in CredentialSource::header",
                ));
            }
            Place::Scheme(scheme) if !is_token(scheme) => {
                return Err(refused(
                    "the name of a scheme is a token of RFC 9110; mend it in \
                     CredentialSource::authorization",
                ));
            }
            Place::Cookie(name) if !is_token(name) => {
                return Err(refused(
                    "the name of a cookie is a token of RFC 9110; mend it in CredentialSource::cookie",
                ));
            }
            Place::Protocol(prefix) if !is_token(prefix) => {
                return Err(refused(
                    "the prefix of a subprotocol is a token of RFC 9110 that is not empty; mend it in \
                     CredentialSource::websocket_protocol",
                ));
            }
            Place::Header(_)
            | Place::Bearer
            | Place::Scheme(_)
            | Place::Cookie(_)
            | Place::Protocol(_) => return Ok(()),
            Place::Query(name) if !is_plain_parameter(name) => {
                return Err(refused(
                    "the name of a query parameter has characters of [A-Za-z0-9._~-]; mend it in \
                     CredentialSource::query",
                ));
            }
            Place::Query(_) => {}
        }
        let mut taken = formats.kinds().filter(|kind| self.takes(*kind));
        match taken.find(|kind| !publishable.contains(kind)) {
            Some(kind) => Err(refused(format!(
                "keys of kind {kind} are not publishable, so no query can contain one; call \
                 CredentialSource::with_kinds with publishable kinds, or \
                 GateBuilder::with_publishable"
            ))),
            None => Ok(()),
        }
    }
}

pub(super) fn refused(problem: impl Into<Cow<'static, str>>) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Source, problem)
}

/// Returns the one value of several lines. The same value twice is one value, since no choice between
/// them is needed.
#[inline]
fn single<'h>(
    mut values: impl Iterator<Item = &'h [u8]>,
) -> Result<Option<&'h [u8]>, CredentialError> {
    let first = values.next();
    if values.any(|value| Some(value) != first) {
        return Err(CredentialError::Conflict);
    }
    Ok(first)
}

/// Returns what `Authorization` contains behind this scheme. Inlined, the scheme `Bearer` is compared
/// as a constant.
#[inline(always)]
fn in_scheme<'h, H: RequestHead>(
    head: &'h H,
    scheme: &str,
) -> Result<Option<Cow<'h, [u8]>>, CredentialError> {
    let value = single(head.header("authorization"))?;
    Ok(value.and_then(|value| after_scheme(value, scheme.as_bytes())).map(Cow::Borrowed))
}

/// Returns what follows the scheme, if that is the scheme and anything follows.
#[inline(always)]
fn after_scheme<'h>(value: &'h [u8], expected: &[u8]) -> Option<&'h [u8]> {
    let (scheme, rest) = value.split_at_checked(expected.len())?;
    if !scheme.eq_ignore_ascii_case(expected) {
        return None;
    }
    let start = rest.iter().position(|&byte| byte != b' ')?;
    if start == 0 { None } else { rest.get(start..) }
}

/// Returns the value of a pair of cookies, if it has this name and is not empty.
fn cookie<'h>(pair: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
    Some(value).filter(|value| !value.is_empty())
}

/// Returns the one value of a parameter that is not empty, decoded.
fn parameter<'h>(query: &'h [u8], name: &[u8]) -> Result<Option<Cow<'h, [u8]>>, CredentialError> {
    let mut first: Option<&'h [u8]> = None;
    for pair in query.split(|&byte| byte == b'&') {
        let mut halves = pair.splitn(2, |&byte| byte == b'=');
        let (raw_name, raw) =
            (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        if raw.is_empty() || !is_named(raw_name, name) {
            continue;
        }
        match first {
            None => first = Some(raw),
            Some(first) if first == raw => {}
            Some(first) => match (decode(first), decode(raw)) {
                (Some(first), Some(other)) if first == other => {}
                _ => return Err(CredentialError::Conflict),
            },
        }
    }
    match first.map(|raw| decode(raw).ok_or(CredentialError::PercentEncoding)) {
        None => Ok(None),
        Some(value) => value.map(Some),
    }
}

/// Returns whether no encoder changes the name (RFC 3986 §2.3).
fn is_plain_parameter(name: &str) -> bool {
    let is_unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !name.is_empty() && name.bytes().all(is_unreserved)
}
