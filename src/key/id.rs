//! The public identity of a key.

use std::{fmt, str::FromStr};

use rand::TryCryptoRng;

use crate::error::InvalidText;

/// The identity of a key for its whole life: 128 random bits, written as 32
/// lower-case hexadecimal characters.
///
/// It is public: it stands in URLs, listings and logs, and proves nothing. Secrets
/// change when a key rotates; limits, usage and audit hang on the id, which does not.
///
/// ```
/// use keyward::key::KeyId;
///
/// let id: KeyId = "000102030405060708090a0b0c0d0e0f".parse()?;
/// assert_eq!(id.as_bytes()[15], 0x0f);
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// A fresh id.
    ///
    /// # Errors
    ///
    /// Whatever the generator fails with.
    pub fn random<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Self, R::Error> {
        let mut bytes = [0; 16];
        rng.try_fill_bytes(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The id with these bytes, for instance those of a UUID in an existing table.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        const_hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.pad(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let mut bytes = [0; 16];
        super::format::decode_lower_hex(text.as_bytes(), &mut bytes)
            .then_some(Self(bytes))
            .ok_or(NO_KEY_ID)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize_from_str(deserializer)
    }
}

const NO_KEY_ID: InvalidText =
    InvalidText::new("the id of a key: 32 lower-case hexadecimal characters");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_text() {
        let id = KeyId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "ab",
            "ABABABABABABABABABABABABABABABAB",
            "abababababababababababababababa",
            "ababababababababababababababababab",
            "abababab-abab-abab-abab-abababababab",
            "0xababababababababababababababab",
            "gbababababababababababababababab",
        ] {
            assert_eq!(bad.parse::<KeyId>(), Err(NO_KEY_ID), "{bad}");
        }
    }
}
