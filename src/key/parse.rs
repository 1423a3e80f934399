//! The characters of keys: what is allowed where, how it is decoded, and the checksum.

use thiserror::Error;

/// The number of characters of a checksum.
pub(crate) const CHECKSUM_CHARS: usize = 6;

/// The error of a presented token that is no key. It does not contain the token.
///
/// The response to all of these is the same: 401, as for an unknown key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The token is empty.
    #[error("the key is empty")]
    Empty,
    /// The token begins with no prefix that the service accepts, and has the form of no
    /// [legacy format](crate::key::LegacyFormat).
    #[error("the key begins with no known prefix")]
    UnknownPrefix,
    /// The token is shorter than keys of its kind.
    #[error("the key has {found} bytes, not {expected}")]
    TooShort {
        /// The length of a key of this kind in bytes.
        expected: usize,
        /// The length of the token in bytes.
        found: usize,
    },
    /// The token is longer than keys of its kind.
    #[error("the key has {found} bytes, not {expected}")]
    TooLong {
        /// The length of a key of this kind in bytes.
        expected: usize,
        /// The length of the token in bytes.
        found: usize,
    },
    /// The token contains a character that its format does not allow, such as an upper-case letter
    /// in a hex body.
    #[error("the key has a character at byte {position} that its format does not allow")]
    Character {
        /// The position of the character in bytes, from 0.
        position: usize,
    },
    /// The checksum does not match the body: the key was mistyped, or it is no key.
    #[error("the key's checksum is wrong")]
    Checksum,
}

impl ParseError {
    /// Returns the HTTP status of the response: 401 (RFC 9110 §15.5.2).
    pub const fn status(&self) -> u16 {
        401
    }
}

/// Decodes lower-case hexadecimal text that fills `bytes` exactly. Returns whether it does.
#[inline]
pub(crate) fn decode_lower_hex(text: &[u8], bytes: &mut [u8]) -> bool {
    // The decoder also takes upper case and is slow to refuse, so the text is checked before.
    text.len() == bytes.len() * 2
        && first_outside(text, is_lower_hex).is_none()
        && const_hex::decode_to_slice(text, bytes).is_ok()
}

/// Returns the position of the first byte that is not of the given class.
///
/// It checks a stretch as a whole, without a branch on the position of a bad byte.
#[inline]
pub(crate) fn first_outside(text: &[u8], class: impl Fn(u8) -> bool) -> Option<usize> {
    let mut before = 0;
    for stretch in text.chunks(STRETCH) {
        if let Some(at) = first_in_stretch(stretch, &class) {
            return Some(before + at);
        }
        before += stretch.len();
    }
    None
}

/// A position within a stretch fits a byte, and the body of any key fits one or two stretches.
const STRETCH: usize = 128;

/// Each of 16 lanes keeps the first position of a bad byte, a block at a time, which the compiler
/// turns into vector instructions. The smallest position is looked for only at the end.
#[inline]
fn first_in_stretch(text: &[u8], class: impl Fn(u8) -> bool) -> Option<usize> {
    const NOWHERE: u8 = u8::MAX;

    let (blocks, rest) = text.as_chunks::<16>();
    let mut lanes = [NOWHERE; 16];
    let mut start = 0_u8;
    for block in blocks {
        for ((lane, byte), at) in lanes.iter_mut().zip(block).zip(start..) {
            *lane = (*lane).min(if class(*byte) { NOWHERE } else { at });
        }
        start = start.wrapping_add(16);
    }
    match lanes.into_iter().fold(NOWHERE, u8::min) {
        NOWHERE => {
            let at = rest.iter().position(|byte| !class(*byte))?;
            Some(text.len() - rest.len() + at)
        }
        at => Some(usize::from(at)),
    }
}

#[inline]
pub(crate) const fn is_lower_hex(byte: u8) -> bool {
    // One comparison for each range, so that the compiler can use vectors.
    (byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'a') < 6)
}

#[inline]
pub(crate) const fn is_base62(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'A') < 26) | (byte.wrapping_sub(b'a') < 26)
}

/// Returns the CRC-32 of the text of a body as GitHub writes it: six base62 digits.
pub(crate) fn checksum(body: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(body);
    let mut text = [b'0'; CHECKSUM_CHARS];
    for digit in text.iter_mut().rev() {
        *digit = base62_digit((rest % 62) as u8);
        rest /= 62;
    }
    text
}

/// Returns the base62 digit `0-9A-Za-z` of a value below 62.
///
/// It computes the digit instead of using a table, so that no memory access depends on a secret.
pub(crate) const fn base62_digit(value: u8) -> u8 {
    // 'A' follows '9' after a gap of 7, and 'a' follows 'Z' after a gap of 6.
    let above_digits = (value > 9) as u8;
    let above_upper = (value > 35) as u8;
    b'0' + value + above_digits * 7 + above_upper * 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_github_s() {
        for (body, expected) in [
            ("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ", "0mLq17"),
            ("qkJaB6MffYVzZXWqmcoF49yrUxP3wf", "0LsakP"),
        ] {
            assert_eq!(checksum(body.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn base62_digits_are_in_order() {
        let digits: Vec<u8> = (0..62).map(base62_digit).collect();
        assert_eq!(digits, b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    }

    #[test]
    fn lower_hex_is_exact_for_every_byte() {
        for byte in 0..=u8::MAX {
            let mut out = [0; 1];
            assert_eq!(decode_lower_hex(&[b'0', byte], &mut out), is_lower_hex(byte), "{byte:#x}");
            assert_eq!(decode_lower_hex(&[byte, b'0'], &mut out), is_lower_hex(byte), "{byte:#x}");
        }
        assert!(!decode_lower_hex(b"0x00", &mut [0; 2]));
        assert!(!decode_lower_hex(b"0x00", &mut [0; 1]));
        assert!(!decode_lower_hex(b"000", &mut [0; 1]));
    }
}
