//! The errors of reading a credential, and its characters.

use thiserror::Error;

use crate::key::parse::first_outside;

/// The error of a request whose credential cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// One place has two different values. Whichever was taken, a proxy may have checked the other.
    #[error("one credential was sent with different values")]
    Conflict,
    /// The request has different credentials in several places, and only one may be used.
    #[error("different credentials were sent in several places")]
    SeveralSources,
    /// The request has the same credential in several places, and only one may be used. The client
    /// has to send it once.
    #[error("the same credential was sent in several places")]
    Repeated,
    /// The text after `Bearer`, or another scheme, is not a token68 (RFC 9110 §11.2), for instance two words.
    #[error("the token is not a token68")]
    Token68,
    /// The parameter has a `%` without two hexadecimal digits behind it.
    #[error("the percent-encoding of the parameter is broken")]
    PercentEncoding,
}

impl CredentialError {
    /// Returns the HTTP status of the response: 400 for credentials that contradict or repeat each
    /// other, and 401 for one that cannot be a key.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Conflict | Self::SeveralSources | Self::Repeated => 400,
            Self::Token68 | Self::PercentEncoding => 401,
        }
    }
}

/// Returns whether this is a token68 of RFC 9110 §11.2.
pub(super) fn is_token68(token: &[u8]) -> bool {
    let is_char = |byte: u8| {
        // Without a branch, so that whole blocks are checked at once.
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
