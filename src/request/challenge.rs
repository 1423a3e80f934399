//! What a 401 asks for.

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::scope::Scope,
};

/// A `WWW-Authenticate` challenge (RFC 9110 §11.6.1, RFC 6750 §3).
///
/// It always has a parameter, as RFC 6750 demands of `Bearer`: the realm, or in its place
/// the scopes of a route that requires some.
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
}

/// Whether the scopes that a route requires are named.
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
    /// `invalid_request`: the request contradicts itself. Status 400.
    InvalidRequest,
    /// `invalid_token`: the credential that was sent is not good. Status 401.
    InvalidToken,
    /// `insufficient_scope`: the credential lacks a scope. Status 403.
    InsufficientScope,
}

impl ChallengeErrorCode {
    /// The code as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

impl Challenge {
    /// A challenge of the scheme `Bearer` (RFC 6750).
    ///
    /// # Errors
    ///
    /// Returns an error for a realm that no header can hold.
    pub fn bearer(realm: &str) -> Result<Self, ConfigError> {
        Self::new("Bearer", realm)
    }

    /// A challenge for a key in a header of its own, for which no scheme is registered:
    /// `ApiKey realm="…", header="…"`.
    ///
    /// # Errors
    ///
    /// Returns an error for a realm or a name that no header can hold.
    pub fn api_key(realm: &str, header: &str) -> Result<Self, ConfigError> {
        Self::new("ApiKey", realm)?.with_param("header", header)
    }

    /// A challenge of another scheme.
    ///
    /// # Errors
    ///
    /// Returns an error if the scheme is no token of RFC 9110 §5.6.2, and
    /// Returns an error for a realm that no header can hold.
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
        })
    }

    /// The challenge with one more parameter, behind the realm.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is no token, or one that is written
    /// anyway: `realm`, `scope`, `error`, or one that was given before (names compare in any
    /// case). Returns an error for a value that no header can hold.
    pub fn with_param(mut self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let taken = ["realm", "scope", "error"]
            .into_iter()
            .chain(self.params.iter().map(|(name, _)| name.as_str()))
            .any(|other| other.eq_ignore_ascii_case(name));
        if taken || !is_token(name) {
            return Err(refused(
                "the name of a parameter is a token of RFC 9110 that is not used yet, and not realm, \
                 scope or error; mend it in Challenge::with_param",
            ));
        }
        check_value(value)?;
        self.params.push((name.to_owned(), value.to_owned()));
        Ok(self)
    }

    /// The challenge naming the scopes that the route requires, if it requires any.
    pub fn with_scope(self) -> Self {
        Self { scope: ScopeStyle::BesideRealm, ..self }
    }

    /// The challenge naming the scopes that the route requires *instead of* the realm. On a
    /// route without scopes it names the realm after all.
    pub fn with_scope_in_place_of_realm(self) -> Self {
        Self { scope: ScopeStyle::InPlaceOfRealm, ..self }
    }

    /// The challenge with the error codes of RFC 6750 §3.1: `invalid_request` in a 400,
    /// `invalid_token` in a 401 if a credential was sent (and none if not), and, which
    /// without this has no challenge, `insufficient_scope` in a 403 for want of a scope.
    pub fn with_errors(self) -> Self {
        Self { errors: true, ..self }
    }

    /// Whether this challenge carries error codes.
    pub const fn has_errors(&self) -> bool {
        self.errors
    }

    /// The value of the header, for a route that requires `scopes`. The error is written
    /// only if the challenge carries errors.
    pub fn render(&self, scopes: &[Scope], error: Option<ChallengeErrorCode>) -> String {
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
        value.text
    }

    /// Whether the value depends on the scopes that a route requires.
    pub(crate) fn names_scopes(&self) -> bool {
        self.scope != ScopeStyle::Unnamed
    }
}

const BAD_VALUE: &str = "the realm and the values of a challenge are printable ASCII and spaces; mend those of Challenge";

const fn refused(problem: &'static str) -> ConfigError {
    ConfigError::fixed(ConfigErrorKind::Challenge, problem)
}

/// A challenge in the making.
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

/// token of RFC 9110 §5.6.2.
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
