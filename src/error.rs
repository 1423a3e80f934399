//! The two errors of this crate that do not belong to one operation: [`ConfigError`] for wiring,
//! [`InvalidText`] for text from outside.

use std::{borrow::Cow, error::Error, fmt};

/// A mistake in the wiring of a service, found while it starts.
///
/// Every constructor that checks a description returns this one type: key formats, hashers, scope
/// catalogues, quotas, credential sources, challenges, error texts, routes, gates and the layers
/// of adapters. The text states what is wrong and names the method that mends it, so `main` can
/// return it with `?`. [`ConfigError::kind`] tells the cases apart for tests and tools.
///
/// ```
/// use keyward::{error::ConfigErrorKind, KeyFormat};
///
/// let error = KeyFormat::try_base62("acme_", 8).unwrap_err();
/// assert_eq!(error.kind(), ConfigErrorKind::Format);
/// assert!(error.to_string().contains("KeyFormat::try_base62"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    kind: ConfigErrorKind,
    message: Cow<'static, str>,
}

/// The part of the wiring that a [`ConfigError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// A key format, or a set of them.
    Format,
    /// A hasher: its schemes or its peppers.
    Hasher,
    /// A scope catalogue, or a scope or kind that it does not define.
    Catalog,
    /// A place in which credentials are read.
    Source,
    /// A `WWW-Authenticate` challenge.
    Challenge,
    /// The text or the body of a refusal.
    Text,
    /// A quota, a limiter, or the name of a policy.
    Limit,
    /// A route.
    Route,
    /// A gate as a whole.
    Gate,
    /// The layer of an adapter.
    Layer,
}

impl ConfigError {
    /// Builds an error. Adapters use it for what they check themselves.
    ///
    /// `message` states what is wrong and names the method that mends it. It must not contain a
    /// secret.
    pub fn new(kind: ConfigErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Builds an error from a literal, in a `const fn`.
    pub(crate) const fn fixed(kind: ConfigErrorKind, message: &'static str) -> Self {
        Self { kind, message: Cow::Borrowed(message) }
    }

    /// Returns the part of the wiring that is wrong.
    pub const fn kind(&self) -> ConfigErrorKind {
        self.kind
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigError")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .finish()
    }
}

impl Error for ConfigError {}

/// A text, or a value read from one, that is not what its type allows.
///
/// Ids, names, hints, kinds, scopes, hashes, cursors, timestamps, graces and the text of quotas
/// return this one type when they are read. It states what was expected and, where one byte is at
/// fault, its position. It never repeats the text: a key that was pasted into the wrong field
/// would appear in a log.
///
/// ```
/// use keyward::{error::InvalidText, Scope};
///
/// let error: InvalidText = Scope::new("write issues").unwrap_err();
/// assert_eq!(error.position(), Some(5));
/// assert!(error.to_string().starts_with("expected a scope"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidText {
    expected: &'static str,
    position: Option<usize>,
}

impl InvalidText {
    /// Builds an error that continues the words "expected …". Adapters use it for text that they
    /// read themselves.
    pub const fn new(expected: &'static str) -> Self {
        Self { expected, position: None }
    }

    /// Adds the position of the byte that is at fault, counted from 0.
    #[must_use]
    pub const fn with_position(self, position: usize) -> Self {
        Self { position: Some(position), ..self }
    }

    /// Returns what was expected.
    pub const fn expected(&self) -> &'static str {
        self.expected
    }

    /// Returns the position of the first byte that is not allowed, counted from 0. `None` if no
    /// single byte is at fault, for instance in a text that is empty or too long.
    pub const fn position(&self) -> Option<usize> {
        self.position
    }
}

impl fmt::Display for InvalidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)?;
        match self.position {
            Some(position) => write!(f, "; the byte at position {position} is not allowed"),
            None => Ok(()),
        }
    }
}

impl Error for InvalidText {}
