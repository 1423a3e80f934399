//! All places in a request that can contain a key.

use std::{borrow::Cow, fmt};

use crate::{
    error::ConfigError,
    key::{formats::KeyFormats, kind::KeyKind},
    request::{
        credential::{CredentialError, is_token68},
        head::RequestHead,
        query::{looks_like, redact},
        source::{CredentialSource, Place, refused},
    },
};

/// The places in a request that can contain a key, in the order in which they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CredentialSources {
    sources: Vec<CredentialSource>,
    several: Several,
}

/// The rule for a request that has credentials in several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Several {
    FirstWins,
    Refuse,
}

impl CredentialSources {
    /// Takes the credential from the first of these places that the request has, and ignores the later
    /// ones.
    pub fn first_of(sources: impl IntoIterator<Item = CredentialSource>) -> Self {
        Self { sources: sources.into_iter().collect(), several: Several::FirstWins }
    }

    /// Refuses a request that has a credential in more than one of these places:
    /// [`CredentialError::SeveralSources`] for different ones, and [`CredentialError::Repeated`] for the
    /// same one. An [empty](CredentialSource) place does not count.
    pub fn one_of(sources: impl IntoIterator<Item = CredentialSource>) -> Self {
        Self { sources: sources.into_iter().collect(), several: Several::Refuse }
    }

    /// Returns the credential of a request, if it has one.
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
    /// Returns a [`CredentialError`], whose status is 400 or 401.
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

    /// Does what [`CredentialSources::extract`] does, but does not check the characters.
    #[inline]
    pub(crate) fn find<'h, H: RequestHead>(
        &'h self,
        head: &'h H,
    ) -> Result<Option<Credential<'h>>, CredentialError> {
        let mut found: Option<Credential<'h>> = None;
        let mut is_repeated = false;
        for source in &self.sources {
            let Some(token) = source.find(head)? else { continue };
            if self.several == Several::FirstWins {
                return Ok(Some(Credential { token, source }));
            }
            match &found {
                Some(first) if first.token != token => return Err(CredentialError::SeveralSources),
                Some(_) => is_repeated = true,
                None => found = Some(Credential { token, source }),
            }
        }
        if is_repeated { Err(CredentialError::Repeated) } else { Ok(found) }
    }

    /// Returns whether `Authorization` has a credential of a scheme that is not read here, although
    /// others are.
    pub(crate) fn has_other_scheme<H: RequestHead>(&self, head: &H) -> bool {
        let schemes = || self.sources.iter().filter_map(|source| source.place.scheme());
        schemes().next().is_some()
            && head.header("authorization").any(|line| {
                let scheme = line.split(|byte| *byte == b' ').next().unwrap_or_default();
                !scheme.is_empty()
                    && !schemes().any(|own| own.as_bytes().eq_ignore_ascii_case(scheme))
            })
    }

    /// Does what [`redact_query`](crate::request::redact_query) does, for all parameters that are read
    /// here.
    pub fn redact<'u>(&self, url: &'u str) -> Cow<'u, str> {
        redact(url, |raw| self.reads_parameter(raw))
    }

    /// Returns whether a parameter with this raw name is read here, as any server could read the name.
    pub(super) fn reads_parameter(&self, raw: &[u8]) -> bool {
        self.places().any(|place| match place {
            Place::Query(name) => looks_like(raw, name.as_bytes()),
            _ => false,
        })
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.sources.iter().map(|source| &source.place)
    }

    /// Returns the names, in lower case, of the headers that can contain a key, so that a host can
    /// keep their values out of its logs. A name can occur twice.
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

/// The content of a place that can contain a key, never empty. Its `Debug` does not show it.
pub struct Credential<'h> {
    token: Cow<'h, [u8]>,
    source: &'h CredentialSource,
}

impl<'h> Credential<'h> {
    /// Returns the token as the client sent it. The value of a query parameter is percent-decoded.
    #[inline]
    pub fn token(&self) -> &[u8] {
        &self.token
    }

    /// Returns the place that contained it.
    pub const fn source(&self) -> &'h CredentialSource {
        self.source
    }

    /// Returns whether keys of this kind are taken from its place.
    #[inline]
    pub fn takes(&self, kind: KeyKind) -> bool {
        self.source.takes(kind)
    }

    /// Returns whether any web page can make its visitors send a credential from there: in the query, or
    /// as a subprotocol of a WebSocket, which no preflight precedes.
    #[inline]
    pub(crate) const fn is_sent_by_any_page(&self) -> bool {
        matches!(self.source.place, Place::Query(_) | Place::Protocol(_))
    }

    /// Checks that its place allows its characters. Those of a key are always allowed, so this is
    /// called only for what is no key.
    pub(crate) fn check_characters(&self) -> Result<(), CredentialError> {
        match self.source.place {
            Place::Bearer | Place::Scheme(_) if !is_token68(&self.token) => {
                Err(CredentialError::Token68)
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("source", &self.source.place).finish_non_exhaustive()
    }
}
