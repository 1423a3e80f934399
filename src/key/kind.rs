//! Kinds of keys.

use std::{fmt, hash::Hash, str::FromStr};

use crate::error::InvalidText;

/// A kind of key, identified by its prefix, such as `luc_pk_`. The kind of a
/// [legacy format](crate::key::LegacyFormat) is a name that the host chooses.
///
/// A prefix has 1 to [`KeyKind::MAX_LEN`] bytes of `[A-Za-z0-9_-]`. It is held inline: 24 bytes,
/// `Copy`.
///
/// ```
/// use keyward::key::KeyKind;
///
/// const PUBLIC: KeyKind = KeyKind::from_static("luc_pk_");
/// assert_eq!(KeyKind::new("luc_pk_")?, PUBLIC);
/// assert_eq!(PUBLIC.as_str(), "luc_pk_");
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(align(8))]
pub struct KeyKind {
    /// The prefix in ASCII, then zeros, and the length in the last byte: three whole words, which
    /// are copied and compared as such.
    bytes: [u8; Self::MAX_LEN + 1],
}

impl KeyKind {
    /// The largest number of bytes of a prefix.
    pub const MAX_LEN: usize = 23;

    /// Builds the kind with the prefix `literal`, usable in a `const`.
    ///
    /// # Panics
    ///
    /// Panics if the literal is not valid, which in a `const` fails the build. For a prefix that is
    /// known only at run time, call [`KeyKind::new`].
    pub const fn from_static(literal: &'static str) -> Self {
        match Self::new(literal) {
            Ok(kind) => kind,
            Err(error) => panic!("{}", error.expected()),
        }
    }

    /// Reads a kind from its prefix.
    ///
    /// # Errors
    ///
    /// Returns an error if the prefix is empty or too long, or if it contains another character.
    pub const fn new(prefix: &str) -> Result<Self, InvalidText> {
        let prefix = prefix.as_bytes();
        if prefix.is_empty() {
            return Err(NO_KIND);
        }
        if prefix.len() > Self::MAX_LEN {
            return Err(NO_KIND);
        }
        let mut bytes = [0; Self::MAX_LEN + 1];
        let mut position = 0;
        while position < prefix.len() {
            let byte = prefix[position];
            if !(byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
                return Err(NO_KIND.with_position(position));
            }
            bytes[position] = byte;
            position += 1;
        }
        bytes[Self::MAX_LEN] = prefix.len() as u8;
        Ok(Self { bytes })
    }

    /// Returns the prefix.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Returns the prefix at the start of two zeroed SHA-256 blocks, and its length.
    #[inline]
    pub(crate) fn padded(&self) -> ([u8; 128], usize) {
        let mut blocks = [0; 128];
        // Copying a fixed length needs no call. The length byte is cleared after it.
        if let Some(start) = blocks.first_chunk_mut() {
            *start = self.bytes;
        }
        if let Some(last) = blocks.get_mut(Self::MAX_LEN) {
            *last = 0;
        }
        (blocks, self.len())
    }

    /// Returns the part of `token` behind the prefix, if it begins with it.
    #[inline]
    pub(crate) fn strip_from<'t>(&self, token: &'t [u8]) -> Option<&'t [u8]> {
        let len = self.len();
        // Comparing whole words takes a fraction of the time of `memcmp`. The token begins with the
        // prefix if the first byte that differs is behind it.
        let alike = match token.first_chunk::<24>() {
            Some(start) => bytes_alike(start, &self.bytes) >= len,
            None => token.starts_with(self.as_bytes()),
        };
        if alike { token.get(len..) } else { None }
    }

    /// Returns the bytes of the prefix.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    #[inline]
    const fn len(&self) -> usize {
        let [.., len] = self.bytes;
        len as usize
    }
}

/// Returns the length of the common start of two texts.
#[inline]
fn bytes_alike(one: &[u8; 24], other: &[u8; 24]) -> usize {
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    let mut alike = 0;
    for (one, other) in words {
        let differing = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if differing != 0 {
            return alike + differing.trailing_zeros() as usize / 8;
        }
        alike += 8;
    }
    alike
}

impl FromStr for KeyKind {
    type Err = InvalidText;

    fn from_str(prefix: &str) -> Result<Self, InvalidText> {
        Self::new(prefix)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyKind({self})")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for KeyKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for KeyKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize_from_str(deserializer)
    }
}

const NO_KIND: InvalidText =
    InvalidText::new("the prefix of a kind of key: 1 to 23 characters of [A-Za-z0-9_-]");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_short_and_plain() {
        for good in ["a", "lqt_", "luc_pk_", "sk-live-", "X0_-", "aaaaaaaaaaaaaaaaaaaaaaa"] {
            assert_eq!(KeyKind::new(good).unwrap().as_str(), good);
        }
        for (bad, error) in [
            ("", NO_KIND),
            ("aaaaaaaaaaaaaaaaaaaaaaaa", NO_KIND),
            ("lqt ", NO_KIND.with_position(3)),
            ("lqt.", NO_KIND.with_position(3)),
            ("ｌqt_", NO_KIND.with_position(0)),
            ("l\0", NO_KIND.with_position(1)),
        ] {
            assert_eq!(KeyKind::new(bad), Err(error), "{bad:?}");
        }
    }
}
