//! A key as a client presented it: well-formed, but not proved.

use std::fmt;

use crate::key::{
    format::{Body, KeyFormat},
    kind::KeyKind,
    parse::{ParseError, checksum, first_outside, is_base62, is_lower_hex},
};

/// A token that has the form of one of the accepted formats. Whether it is genuine is not known yet.
///
/// [`KeyFormats::parse`](crate::key::KeyFormats::parse) builds it from a well-formed token only. It
/// borrows the token, and its `Debug` does not print it.
pub struct PresentedKey<'t> {
    kind: KeyKind,
    form: Form,
    /// The text behind the prefix, and behind the identifier of a legacy format.
    rest: &'t [u8],
    token: &'t [u8],
}

enum Form {
    Minted(Body),
    Legacy,
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

    /// Returns the text behind the prefix, and behind the identifier of a legacy format.
    pub(crate) fn rest(&self) -> &'t [u8] {
        self.rest
    }

    /// Returns what is hashed of a minted key: the prefix, then the decoded secret, or the text of a
    /// base62 body. `None` for the key of a legacy format.
    #[inline]
    pub(crate) fn message(&self) -> Option<Message> {
        let Form::Minted(body) = self.form else { return None };
        let (mut bytes, start) = self.kind.padded();
        let (len, text_len) = match body {
            Body::Hex { bytes } => (usize::from(bytes), 2 * usize::from(bytes)),
            Body::Base62 { chars } => (usize::from(chars), usize::from(chars)),
        };
        let text = self.rest.get(..text_len).unwrap_or_default();
        if let Some(secret) = bytes.get_mut(start..start + len) {
            match body {
                // `read` has checked that the text is hexadecimal, so this does not fail.
                Body::Hex { .. } => {
                    let _decoded = const_hex::decode_to_slice(text, secret);
                }
                // `read` has checked the length, so the text is as long.
                Body::Base62 { .. } if text.len() == secret.len() => secret.copy_from_slice(text),
                Body::Base62 { .. } => {}
            }
        }
        Some(Message { bytes, len: start + len })
    }

    /// Returns what is hashed of the key of a legacy format, in parts: the kind, a zero byte, and the
    /// text of the secret. No minted key has a zero byte behind its prefix and text behind that.
    ///
    /// The identifier is not in it. It is not proved, and whoever sends another one with the same
    /// secret must not change the hash under which the key is found.
    pub(crate) fn legacy_message(&self) -> [&[u8]; 3] {
        [self.kind.as_bytes(), &[0], self.rest]
    }

    /// Returns a token of a legacy format, whose secret is `secret`.
    pub(crate) const fn legacy(kind: KeyKind, token: &'t [u8], secret: &'t [u8]) -> Self {
        Self { kind, form: Form::Legacy, rest: secret, token }
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
        Ok(Self { kind: format.kind(), form: Form::Minted(format.body()), rest, token })
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
