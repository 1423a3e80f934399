//! The error of scopes that a key cannot have.

use thiserror::Error;

use crate::key::{kind::KeyKind, scope::Scope};

/// The error of scopes that a key of a kind cannot have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrantError {
    /// A scope is not in the catalogue. The text that was asked for is not repeated, since it
    /// comes from a client.
    ///
    /// The catalogue of an [`Issuer`](crate::issue::Issuer) is empty unless
    /// [`Issuer::with_catalog`](crate::issue::Issuer::with_catalog) sets one.
    #[error("a scope is not in the catalogue")]
    UnknownScope,
    /// Keys of this kind can never have this scope.
    #[error("keys of kind {kind} cannot have the scope {scope}")]
    AboveCeiling {
        /// The scope that was asked for: one of the catalogue, or a role. For a scope with a resource
        /// it is the [pattern](crate::key::ScopePattern), because the resource comes from a client.
        scope: Scope,
        /// The kind of the key.
        kind: KeyKind,
    },
}
