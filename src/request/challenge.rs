//! The challenges of a 401.

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::scope::Scope,
    request::public_reason::PublicReason,
};

/// A `WWW-Authenticate` challenge (RFC 9110 §11.6.1, RFC 6750 §3).
///
/// It always has a parameter, as RFC 6750 requires for `Bearer`: the realm, or instead of it the
/// scopes of a route that requires some.
///
/// ```
/// use keyward::{Challenge, ConfigError, Scope};
///
/// let ingest = Challenge::api_key("lumiqtrace", "x-api-key")?;
/// assert_eq!(ingest.render(&[], None), r#"ApiKey realm="lumiqtrace", header="x-api-key""#);
///
/// let data = Challenge::bearer("lucent")?.with_scope_in_place_of_realm();
/// let read = [Scope::from_static("read:lucent")];
/// assert_eq!(data.render(&read, None), r#"Bearer scope="read:lucent""#);
/// assert_eq!(data.render(&[], None), r#"Bearer realm="lucent""#);
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Challenge {
    scheme: String,
    realm: String,
    /// Further parameters in their order.
    params: Vec<(String, String)>,
    scope: ScopeStyle,
    errors: bool,
    /// The descriptions of the host, if there are any descriptions.
    descriptions: Option<Vec<(PublicReason, String)>>,
}

/// How a challenge names the scopes that a route requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScopeStyle {
    Unnamed,
    BesideRealm,
    InPlaceOfRealm,
}

/// The `error` of a challenge (RFC 6750 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChallengeErrorCode {
    /// `invalid_request`: the credentials of the request contradict each other. Status 400.
    InvalidRequest,
    /// `invalid_token`: the credential is not accepted. Status 401.
    InvalidToken,
    /// `insufficient_scope`: the credential lacks a scope. Status 403.
    InsufficientScope,
}

impl ChallengeErrorCode {
    /// Returns the code of a refusal for this reason. Without a credential there is none (RFC 6750
    /// §3.1), and neither is there with one of another scheme.
    pub const fn of(reason: PublicReason) -> Option<Self> {
        match reason {
            PublicReason::MissingKey | PublicReason::WrongScheme => None,
            PublicReason::MissingScope => Some(Self::InsufficientScope),
            other => match other.status() {
                400 => Some(Self::InvalidRequest),
                401 => Some(Self::InvalidToken),
                _ => None,
            },
        }
    }

    /// Returns the code as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

impl Challenge {
    /// Builds a challenge of the scheme `Bearer` (RFC 6750).
    ///
    /// # Errors
    ///
    /// Returns an error if no header can contain the realm.
    pub fn bearer(realm: &str) -> Result<Self, ConfigError> {
        Self::new("Bearer", realm)
    }

    /// Builds a challenge for a key in a header of its own: `ApiKey realm="…", header="…"`. No scheme
    /// is registered for such keys.
    ///
    /// # Errors
    ///
    /// Returns an error if no header can contain the realm or the name.
    pub fn api_key(realm: &str, header: &str) -> Result<Self, ConfigError> {
        Self::new("ApiKey", realm)?.with_param("header", header)
    }

    /// Builds a challenge of another scheme.
    ///
    /// # Errors
    ///
    /// Returns an error if the scheme is not a token of RFC 9110 §5.6.2, or if no header can contain
    /// the realm.
    pub fn new(scheme: &str, realm: &str) -> Result<Self, ConfigError> {
        if !is_token(scheme) {
            return Err(refused(
                "the scheme of a challenge is a token of RFC 9110; mend it in Challenge::new",
            ));
        }
        check_value(realm)?;
        Ok(Self {
            scheme: scheme.to_owned(),
            realm: realm.to_owned(),
            params: Vec::new(),
            scope: ScopeStyle::Unnamed,
            errors: false,
            descriptions: None,
        })
    }

    /// Adds a parameter behind the realm.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is not a token of RFC 9110 §5.6.2, or if it is `realm`, `scope`,
    /// `error`, `error_description` or the name of another parameter in any case, or if no header can contain the value.
    pub fn with_param(mut self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let taken = ["realm", "scope", "error", "error_description"]
            .into_iter()
            .chain(self.params.iter().map(|(name, _)| name.as_str()))
            .any(|other| other.eq_ignore_ascii_case(name));
        if taken || !is_token(name) {
            return Err(refused(
                "the name of a parameter is a token of RFC 9110 that is not used yet, and not realm, \
                 scope, error or error_description; mend it in Challenge::with_param, or call \
                 Challenge::with_descriptions",
            ));
        }
        check_value(value)?;
        self.params.push((name.to_owned(), value.to_owned()));
        Ok(self)
    }

    /// Names the scopes that the route requires, if it requires any.
    pub fn with_scope(self) -> Self {
        Self { scope: ScopeStyle::BesideRealm, ..self }
    }

    /// Names the scopes that the route requires *instead of* the realm. On a route without scopes the
    /// challenge names the realm.
    pub fn with_scope_in_place_of_realm(self) -> Self {
        Self { scope: ScopeStyle::InPlaceOfRealm, ..self }
    }

    /// Adds the error codes of RFC 6750 §3.1: `invalid_request` in a 400, `invalid_token` in a 401 if
    /// the request has a credential, and `insufficient_scope` in a 403 for a missing scope. Without
    /// this such a 403 has no challenge.
    pub fn with_errors(self) -> Self {
        Self { errors: true, ..self }
    }

    /// Adds an `error_description` beside each [error code](Challenge::with_errors): one sentence in
    /// English for the reason, for developers (RFC 6750 §3). It tells apart what the code does not, such
    /// as a key that is revoked from one that is expired. Only a client that has the secret learns that.
    ///
    /// A request without credentials, or with those of another scheme, gets neither (§3.1).
    ///
    /// ```
    /// use keyward::{Challenge, ConfigError, request::PublicReason};
    ///
    /// let challenge = Challenge::bearer("acme")?.with_descriptions();
    /// assert_eq!(
    ///     challenge.render_for(&[], PublicReason::ExpiredKey),
    ///     r#"Bearer realm="acme", error="invalid_token", error_description="the key is expired""#
    /// );
    /// assert_eq!(challenge.render_for(&[], PublicReason::MissingKey), r#"Bearer realm="acme""#);
    /// # Ok::<(), ConfigError>(())
    /// ```
    pub fn with_descriptions(self) -> Self {
        let descriptions = Some(self.descriptions.unwrap_or_default());
        Self { errors: true, descriptions, ..self }
    }

    /// Sets the [description](Challenge::with_descriptions) for a reason. The last call for a reason
    /// counts.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not printable ASCII without `"` and `\` (RFC 6750 §3).
    pub fn with_description(self, reason: PublicReason, text: &str) -> Result<Self, ConfigError> {
        if !text.bytes().all(|byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')) {
            return Err(refused(
                "the description of an error is printable ASCII without \" and \\; mend it in \
                 Challenge::with_description",
            ));
        }
        let mut described = self.with_descriptions();
        let descriptions = described.descriptions.get_or_insert_default();
        descriptions.retain(|(other, _)| *other != reason);
        descriptions.push((reason, text.to_owned()));
        Ok(described)
    }

    /// Returns whether this challenge has error codes.
    pub const fn has_errors(&self) -> bool {
        self.errors
    }

    /// Renders the value of the header for a route that requires `scopes`. The error is written only
    /// if the challenge has error codes.
    pub fn render(&self, scopes: &[Scope], error: Option<ChallengeErrorCode>) -> String {
        self.write(scopes, error, None)
    }

    /// Renders the value of the header for a refusal for this reason, on a route that requires `scopes`:
    /// with the error code of the reason, and with its description, if the challenge has them.
    pub fn render_for(&self, scopes: &[Scope], reason: PublicReason) -> String {
        let error = ChallengeErrorCode::of(reason);
        let own = self.descriptions.as_ref().filter(|_| error.is_some()).and_then(|own| {
            let found = own.iter().find(|(own, _)| *own == reason);
            found.map(|(_, text)| text.as_str()).or_else(|| reason.default_description())
        });
        self.write(scopes, error, own)
    }

    fn write(
        &self,
        scopes: &[Scope],
        error: Option<ChallengeErrorCode>,
        description: Option<&str>,
    ) -> String {
        let scopes = if self.scope == ScopeStyle::Unnamed { &[] } else { scopes };
        let mut value = Writer { text: self.scheme.clone(), any: false };
        if self.scope != ScopeStyle::InPlaceOfRealm || scopes.is_empty() {
            value.param("realm", [self.realm.as_str()]);
        }
        for (name, text) in &self.params {
            value.param(name, [text.as_str()]);
        }
        if !scopes.is_empty() {
            value.param("scope", scopes.iter().map(Scope::as_str));
        }
        if let Some(error) = error.filter(|_| self.errors) {
            value.param("error", [error.as_str()]);
        }
        if let Some(description) = description {
            value.param("error_description", [description]);
        }
        value.text
    }

    /// Returns whether the value depends on the scopes that a route requires.
    pub(crate) fn names_scopes(&self) -> bool {
        self.scope != ScopeStyle::Unnamed
    }
}

const BAD_VALUE: &str = "the realm and the values of a challenge are printable ASCII and spaces; mend those of Challenge";

const fn refused(problem: &'static str) -> ConfigError {
    ConfigError::fixed(ConfigErrorKind::Challenge, problem)
}

/// A challenge that is being written.
struct Writer {
    text: String,
    any: bool,
}

impl Writer {
    /// Writes words, with a space between them, as one quoted string.
    fn param<'w>(&mut self, name: &str, words: impl IntoIterator<Item = &'w str>) {
        self.text.push_str(if self.any { ", " } else { " " });
        self.any = true;
        self.text.push_str(name);
        self.text.push_str("=\"");
        for (at, word) in words.into_iter().enumerate() {
            if at > 0 {
                self.text.push(' ');
            }
            for character in word.chars() {
                // quoted-pair of RFC 9110 §5.6.4.
                if matches!(character, '"' | '\\') {
                    self.text.push('\\');
                }
                self.text.push(character);
            }
        }
        self.text.push('"');
    }
}

/// Returns whether this is a token of RFC 9110 §5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
    };
    !text.is_empty() && text.bytes().all(is_tchar)
}

fn check_value(text: &str) -> Result<(), ConfigError> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        Ok(())
    } else {
        Err(refused(BAD_VALUE))
    }
}
