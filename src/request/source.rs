//! Where credentials stand in a request.

use std::{borrow::Cow, fmt};

use thiserror::Error;

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::{
        format::{KeyFormats, first_outside},
        kind::KeyKind,
    },
    request::{
        challenge::is_token,
        head::RequestHead,
        query::{decode, is_named, looks_like, redact},
    },
};

/// One place in which a request can carry a key.
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
    place: Place,
    kinds: Option<Vec<KeyKind>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A header of its own, by its name in lower case.
    Header(Box<str>),
    Bearer,
    Query(Box<str>),
}

impl Place {
    /// Whether both are read from the same part of a request.
    fn overlaps(&self, other: &Self) -> bool {
        match (self.header(), other.header()) {
            (Some(name), Some(other)) => name == other,
            _ => self == other,
        }
    }

    /// The name of the header, in lower case.
    fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Bearer => Some("authorization"),
            Self::Query(_) => None,
        }
    }
}

impl CredentialSource {
    /// A header that holds the key alone, such as `x-api-key`. The name compares in any case.
    pub fn header(name: &str) -> Self {
        Self { place: Place::Header(name.to_ascii_lowercase().into()), kinds: None }
    }

    /// `Authorization: Bearer <key>` (RFC 6750 §2.1). The scheme compares in any case, and
    /// one or more spaces part it from the key.
    pub const fn bearer() -> Self {
        Self { place: Place::Bearer, kinds: None }
    }

    /// A parameter of the query, such as `api_key`. The name compares to the byte.
    ///
    /// URLs end up in logs, in histories and in `Referer`, so this is for kinds alone that may
    /// be published anyway; a [`Gate`](crate::gate::Gate) holds it to those that were declared
    /// [publishable](crate::gate::GateBuilder::with_publishable). [`redact_query`](crate::request::redact_query)
    /// keeps even these out of a log.
    pub fn query(name: &str) -> Self {
        Self { place: Place::Query(name.into()), kinds: None }
    }

    /// Keys of these kinds alone are taken from here; any other is as good as unknown.
    /// Without this, all kinds that the gate accepts are.
    pub fn with_kinds(self, kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        Self { kinds: Some(kinds.into_iter().collect()), ..self }
    }

    #[inline]
    fn takes(&self, kind: KeyKind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    /// What stands here, before its characters are judged.
    #[inline]
    fn find<'h, H: RequestHead>(
        &'h self,
        head: &'h H,
    ) -> Result<Option<Cow<'h, [u8]>>, CredentialError> {
        match &self.place {
            Place::Header(name) => Ok(single(head.header(name))?.map(Cow::Borrowed)),
            Place::Bearer => {
                Ok(single(head.header("authorization"))?.and_then(bearer).map(Cow::Borrowed))
            }
            Place::Query(name) => match head.query() {
                Some(query) => parameter(query, name.as_bytes()),
                None => Ok(None),
            },
        }
    }

    fn check(&self, formats: &KeyFormats, publishable: &[KeyKind]) -> Result<(), ConfigError> {
        if let Some(unknown) =
            self.kinds.iter().flatten().find(|kind| formats.get(**kind).is_none())
        {
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
            Place::Header(_) | Place::Bearer => return Ok(()),
            Place::Query(name) if !is_plain_parameter(name) => {
                return Err(refused(
                    "the name of a query parameter has characters of [A-Za-z0-9._~-]; mend it in \
                     CredentialSource::query",
                ));
            }
            Place::Query(_) => {}
        }
        let mut taken = formats.iter().map(|format| format.kind()).filter(|kind| self.takes(*kind));
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

/// The places in which a request can carry a key, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CredentialSources {
    sources: Vec<CredentialSource>,
    several: Several,
}

/// What to do if a request carries credentials in several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Several {
    FirstWins,
    Refuse,
}

impl CredentialSources {
    /// The first of these places in which something stands decides; what stands in later
    /// ones is not looked at.
    pub fn first_of(sources: impl IntoIterator<Item = CredentialSource>) -> Self {
        Self { sources: sources.into_iter().collect(), several: Several::FirstWins }
    }

    /// A request that carries something in more than one of these places is refused.
    pub fn one_of(sources: impl IntoIterator<Item = CredentialSource>) -> Self {
        Self { sources: sources.into_iter().collect(), several: Several::Refuse }
    }

    /// The credential that a request carries, if it carries one.
    ///
    /// ```
    /// use keyward::{request::{CredentialError, CredentialSources, PlainHead}, CredentialSource};
    ///
    /// let sources = CredentialSources::from(CredentialSource::bearer());
    /// let head = PlainHead::new().with_header("Authorization", "bearer  abc");
    /// assert_eq!(sources.extract(&head)?.unwrap().token(), b"abc");
    ///
    /// let head = head.with_header("Authorization", "Bearer abd");
    /// assert_eq!(sources.extract(&head).unwrap_err(), CredentialError::Conflict);
    /// # Ok::<(), CredentialError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CredentialError`], whose status says whether to answer with 400 or 401.
    pub fn extract<'h, H: RequestHead>(
        &'h self,
        head: &'h H,
    ) -> Result<Option<Credential<'h>>, CredentialError> {
        let credential = self.find(head)?;
        if let Some(credential) = &credential {
            credential.check_characters()?;
        }
        Ok(credential)
    }

    /// As [`CredentialSources::extract`], but what is found can hold any bytes.
    #[inline]
    pub(crate) fn find<'h, H: RequestHead>(
        &'h self,
        head: &'h H,
    ) -> Result<Option<Credential<'h>>, CredentialError> {
        let mut found: Option<Credential<'h>> = None;
        for source in &self.sources {
            let Some(token) = source.find(head)? else { continue };
            if found.is_some() {
                return Err(CredentialError::SeveralSources);
            }
            found = Some(Credential { token, source });
            if self.several == Several::FirstWins {
                break;
            }
        }
        Ok(found)
    }

    /// [`redact_query`](crate::request::redact_query) of all parameters that are asked here.
    pub fn redact<'u>(&self, url: &'u str) -> Cow<'u, str> {
        redact(url, |raw| {
            self.sources.iter().any(|source| match &source.place {
                Place::Query(name) => looks_like(raw, name.as_bytes()),
                Place::Header(_) | Place::Bearer => false,
            })
        })
    }

    /// The names, in lower case, of the headers that can hold a key, so that a host can keep
    /// their values out of its logs.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| source.place.header())
    }

    pub(crate) fn check(
        &self,
        formats: &KeyFormats,
        publishable: &[KeyKind],
    ) -> Result<(), ConfigError> {
        if self.sources.is_empty() {
            return Err(refused(
                "a gate reads no credentials; give CredentialSources at least one source",
            ));
        }
        for (at, source) in self.sources.iter().enumerate() {
            source.check(formats, publishable)?;
            if self.sources.iter().take(at).any(|other| other.place.overlaps(&source.place)) {
                return Err(refused(
                    "two sources read the same place, such as the header Authorization and its \
                     Bearer scheme; keep one of them in CredentialSources",
                ));
            }
        }
        Ok(())
    }
}

impl From<CredentialSource> for CredentialSources {
    fn from(source: CredentialSource) -> Self {
        Self::first_of([source])
    }
}

/// What a request carries where a key can stand. Its `Debug` shows nothing of it.
pub struct Credential<'h> {
    token: Cow<'h, [u8]>,
    source: &'h CredentialSource,
}

impl<'h> Credential<'h> {
    /// The token as it was sent; out of a query, percent-decoded.
    #[inline]
    pub fn token(&self) -> &[u8] {
        &self.token
    }

    /// Where it stood.
    pub const fn source(&self) -> &'h CredentialSource {
        self.source
    }

    /// Whether keys of this kind are taken from where it stood.
    #[inline]
    pub fn takes(&self, kind: KeyKind) -> bool {
        self.source.takes(kind)
    }

    /// Whether its characters are those that its place allows. Every key's are, so this is
    /// only asked of what is no key.
    pub(crate) fn check_characters(&self) -> Result<(), CredentialError> {
        match self.source.place {
            Place::Bearer if !is_token68(&self.token) => Err(CredentialError::Token68),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("source", &self.source.place).finish_non_exhaustive()
    }
}

/// Why a request carries no credential that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// One place holds two different values. Whichever was picked, a proxy could have judged
    /// the other.
    #[error("one credential was sent with different values")]
    Conflict,
    /// Credentials stand in several places, of which only one may be used.
    #[error("credentials were sent in several places")]
    SeveralSources,
    /// What follows `Bearer` is no token68 (RFC 9110 §11.2): empty, say, or two words.
    #[error("the bearer token is no token68")]
    Token68,
    /// The parameter holds a `%` that is not followed by two hexadecimal digits.
    #[error("the parameter's percent-encoding is broken")]
    PercentEncoding,
}

impl CredentialError {
    /// The HTTP status to answer with: 400 for credentials that contradict each other, 401
    /// for one that can be none.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Conflict | Self::SeveralSources => 400,
            Self::Token68 | Self::PercentEncoding => 401,
        }
    }
}

fn refused(problem: impl Into<Cow<'static, str>>) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Source, problem)
}

/// The one value of several lines. The same value sent twice is one: there is nothing to
/// pick from.
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

/// What follows the scheme `Bearer`, if that is the scheme.
#[inline]
fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";

    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    match rest {
        // The scheme alone: meant as a bearer token, and none.
        [] => Some(rest),
        [b' ', ..] => {
            let start = rest.iter().position(|&byte| byte != b' ').unwrap_or(rest.len());
            rest.get(start..)
        }
        _ => None,
    }
}

/// The one value of a parameter, decoded.
fn parameter<'h>(query: &'h [u8], name: &[u8]) -> Result<Option<Cow<'h, [u8]>>, CredentialError> {
    let mut first: Option<&'h [u8]> = None;
    for pair in query.split(|&byte| byte == b'&') {
        let mut halves = pair.splitn(2, |&byte| byte == b'=');
        let (raw_name, raw) =
            (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        if !is_named(raw_name, name) {
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

/// token68 of RFC 9110 §11.2.
fn is_token68(token: &[u8]) -> bool {
    let is_char = |byte: u8| {
        // Without a branch, so that whole blocks are judged at once.
        byte.is_ascii_alphanumeric()
            | (byte == b'-')
            | (byte == b'.')
            | (byte == b'_')
            | (byte == b'~')
            | (byte == b'+')
            | (byte == b'/')
    };
    let (body, padding) = match first_outside(token, is_char) {
        None => (token, &[][..]),
        Some(at) => token.split_at(at),
    };
    !body.is_empty() && padding.iter().all(|byte| *byte == b'=')
}

/// Made of characters that no encoder needs to touch (RFC 3986 §2.3).
fn is_plain_parameter(name: &str) -> bool {
    let is_unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !name.is_empty() && name.bytes().all(is_unreserved)
}
