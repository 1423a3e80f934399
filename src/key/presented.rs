//! A well-formed key as somebody presented it; whether it is genuine is not known yet.

use std::fmt;

use crate::key::{
    format::{
        Body, KeyFormat, KeyFormats, ParseError, checksum, first_outside, is_base62, is_lower_hex,
    },
    kind::KeyKind,
};

/// A token that one of the accepted formats can have minted.
///
/// It exists only when well-formed, borrows the token, and shows nothing of it. Get
/// one from [`KeyFormats::parse`](crate::key::KeyFormats::parse).
pub struct PresentedKey<'t> {
    kind: KeyKind,
    body: Body,
    /// The body's text, without prefix and checksum.
    text: &'t [u8],
    token: &'t [u8],
}

impl KeyFormats {
    /// Parses a presented token strictly to the byte: no trimming, no case folding.
    ///
    /// It allocates nothing and takes the same few steps for garbage of any length.
    ///
    /// # Errors
    ///
    /// The error names what is wrong and contains nothing of the token.
    #[inline]
    pub fn parse<'t, T>(&self, token: &'t T) -> Result<PresentedKey<'t>, ParseError>
    where
        T: AsRef<[u8]> + ?Sized,
    {
        let token = token.as_ref();
        for format in &self.formats {
            if let Some(rest) = format.kind.strip_from(token) {
                return PresentedKey::read(format, token, rest);
            }
        }
        Err(if token.is_empty() { ParseError::Empty } else { ParseError::UnknownPrefix })
    }
}

impl<'t> PresentedKey<'t> {
    /// The kind of the key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The whole token.
    pub(crate) fn token(&self) -> &'t [u8] {
        self.token
    }

    /// The prefix, followed by the decoded secret (of a base62 body its text).
    #[inline]
    pub(crate) fn message(&self) -> Message {
        let (mut bytes, start) = self.kind.padded();
        let len = match self.body {
            Body::Hex { bytes } => usize::from(bytes),
            Body::Base62 { chars } => usize::from(chars),
        };
        if let Some(secret) = bytes.get_mut(start..start + len) {
            match self.body {
                // The text was found to be hexadecimal when it was read, so this does not fail.
                Body::Hex { .. } => {
                    let _decoded = const_hex::decode_to_slice(self.text, secret);
                }
                Body::Base62 { .. } => secret.copy_from_slice(self.text),
            }
        }
        Message { bytes, len: start + len }
    }

    /// Reads `rest`, which stands in `token` behind the prefix of `format`.
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

/// What the hash of a key is made of: at most 87 bytes, and zeros behind them up to two
/// SHA-256 blocks.
pub(crate) struct Message {
    pub(crate) bytes: [u8; 128],
    pub(crate) len: usize,
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}
