//! A key as a client presented it: well-formed, but not proved.

use std::fmt;

use crate::key::{
    format::{Body, KeyFormat},
    kind::KeyKind,
    parse::{ParseError, checksum, first_outside, is_base62, is_lower_hex},
};

/// A token that one of the accepted formats can have minted. Whether it is genuine is not known
/// yet.
///
/// [`KeyFormats::parse`](crate::key::KeyFormats::parse) builds it from a well-formed token only. It
/// borrows the token, and its `Debug` does not print it.
pub struct PresentedKey<'t> {
    kind: KeyKind,
    body: Body,
    /// The text of the body, without prefix and checksum.
    text: &'t [u8],
    token: &'t [u8],
}

impl<'t> PresentedKey<'t> {
    /// Returns the kind that the key claims to be of.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns the whole token.
    pub(crate) fn token(&self) -> &'t [u8] {
        self.token
    }

    /// Returns what is hashed: the prefix, then the decoded secret, or the text of a base62 body.
    #[inline]
    pub(crate) fn message(&self) -> Message {
        let (mut bytes, start) = self.kind.padded();
        let len = match self.body {
            Body::Hex { bytes } => usize::from(bytes),
            Body::Base62 { chars } => usize::from(chars),
        };
        if let Some(secret) = bytes.get_mut(start..start + len) {
            match self.body {
                // `read` has checked that the text is hexadecimal, so this does not fail.
                Body::Hex { .. } => {
                    let _decoded = const_hex::decode_to_slice(self.text, secret);
                }
                Body::Base62 { .. } => secret.copy_from_slice(self.text),
            }
        }
        Message { bytes, len: start + len }
    }

    /// Reads `rest`, the part of `token` behind the prefix of `format`.
    #[inline]
    pub(crate) fn read(
        format: &KeyFormat,
        token: &'t [u8],
        rest: &'t [u8],
    ) -> Result<Self, ParseError> {
        let (expected, found) = (format.token_len(), token.len());
        if found < expected {
            return Err(ParseError::TooShort { expected, found });
        }
        if found > expected {
            return Err(ParseError::TooLong { expected, found });
        }
        let Some((text, check)) = rest.split_at_checked(format.body_len()) else {
            return Err(ParseError::TooShort { expected, found });
        };
        let bad = match format.body() {
            Body::Hex { .. } => first_outside(text, is_lower_hex),
            Body::Base62 { .. } => first_outside(text, is_base62),
        };
        if let Some(at) = bad {
            return Err(ParseError::Character { position: found - rest.len() + at });
        }
        if format.has_checksum() && check != checksum(text) {
            return Err(ParseError::Checksum);
        }
        Ok(Self { kind: format.kind(), body: format.body(), text, token })
    }
}

/// The input of the hash of a key: at most 87 bytes, then zeros up to two SHA-256 blocks.
pub(crate) struct Message {
    pub(crate) bytes: [u8; 128],
    pub(crate) len: usize,
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}
