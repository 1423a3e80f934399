//! The two errors of this crate that are not specific to one operation.

use std::{borrow::Cow, error::Error, fmt};

/// A mistake in the wiring of a service, found while it starts.
///
/// Every constructor that checks a description returns this one type: key formats, hashers, scope
/// catalogues, credential sources, challenges, error texts, routes, gates and the layers of
/// adapters. The text states what is wrong and names the method that mends it, so `main` can
/// return it with `?`. [`ConfigError::kind`] tells the cases apart for tests and tools.
///
/// ```
/// use keyward::error::{ConfigError, ConfigErrorKind};
///
/// let error = ConfigError::new(ConfigErrorKind::Gate, "no challenge; call GateBuilder::with_challenge");
/// assert_eq!(error.kind(), ConfigErrorKind::Gate);
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
    /// A quota, a limit or its name.
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
