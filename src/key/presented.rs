//! A well-formed key as somebody presented it; whether it is genuine is not known yet.

use std::fmt;

use crate::{
    KeyFormat, Kind, ParseError,
    key::format::{Body, checksum, decode_lower_hex, is_lower_hex},
};

/// A token that one of the accepted formats can have minted.
///
/// It exists only when well-formed, borrows the token, and shows nothing of it. Get
/// one from [`KeyFormats::parse`](crate::KeyFormats::parse).
pub struct PresentedKey<'t> {
    kind: Kind,
    token: &'t [u8],
    /// The prefix and the secret: what the hashes of new keys are made of.
    message: [u8; MAX_MESSAGE],
    message_len: u8,
}

const MAX_MESSAGE: usize = Kind::MAX_LEN + KeyFormat::MAX_HEX_BYTES;

impl<'t> PresentedKey<'t> {
    /// The kind of the key.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The whole token.
    pub(crate) fn token(&self) -> &'t [u8] {
        self.token
    }

    /// The prefix, followed by the decoded secret (of a base62 body its text).
    pub(crate) fn message(&self) -> &[u8] {
        self.message.get(..usize::from(self.message_len)).unwrap_or(&self.message)
    }

    /// Reads `rest`, which stands in `token` behind the prefix of `format`.
    pub(crate) fn read(
        format: &KeyFormat,
        token: &'t [u8],
        rest: &[u8],
    ) -> Result<Self, ParseError> {
        let (expected, found) = (format.token_len(), token.len());
        if found < expected {
            return Err(ParseError::TooShort { expected, found });
        }
        if found > expected {
            return Err(ParseError::TooLong { expected, found });
        }
        let kind = format.kind();
        let prefix = kind.as_bytes();
        let Some((body, check)) = rest.split_at_checked(format.body_len()) else {
            return Err(ParseError::TooShort { expected, found });
        };
        let secret_len = match format.body() {
            Body::Hex { bytes } => usize::from(bytes),
            Body::Base62 { chars } => usize::from(chars),
        };
        let mut message = [0; MAX_MESSAGE];
        let (head, tail) = message.split_at_mut(prefix.len());
        head.copy_from_slice(prefix);
        let well_formed = match tail.get_mut(..secret_len) {
            None => false,
            Some(secret) => match format.body() {
                Body::Hex { .. } => decode_lower_hex(body, secret),
                Body::Base62 { .. } => {
                    secret.copy_from_slice(body);
                    body.iter().all(u8::is_ascii_alphanumeric)
                }
            },
        };
        if !well_formed {
            return Err(ParseError::Character { position: prefix.len() + first_bad(format, body) });
        }
        if format.has_checksum() && check != checksum(body) {
            return Err(ParseError::Checksum);
        }
        Ok(Self { kind, token, message, message_len: (prefix.len() + secret_len) as u8 })
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Where the first character stands that the format's body cannot have.
#[cold]
fn first_bad(format: &KeyFormat, body: &[u8]) -> usize {
    let good = match format.body() {
        Body::Hex { .. } => |byte: &u8| is_lower_hex(*byte),
        Body::Base62 { .. } => u8::is_ascii_alphanumeric,
    };
    body.iter().position(|byte| !good(byte)).unwrap_or(body.len())
}
