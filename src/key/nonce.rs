//! What tells two lives of one id apart.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::{
    clock::timestamp::Timestamp,
    error::InvalidText,
    key::{id::KeyId, owner::OwnerId, parse::decode_lower_hex, secret::StoredSecret},
};

/// A number that a record gets at its creation and keeps for its life, written as 16 lower-case
/// hexadecimal characters.
///
/// A purged id can be imported again. A change that was decided before the purge must not reach the
/// new key, whatever its revision is. So a compare-and-swap compares the id, this nonce and the
/// revision.
///
/// It is the start of a hash of the first secret's hash, the owner and the time of the insertion. So
/// two lives of an id have the same nonce only if all of these are the same. It is public and proves
/// nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CreationNonce([u8; 8]);

impl CreationNonce {
    /// Builds a nonce from its bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Returns the 8 bytes of the nonce.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Returns the nonce of a key that begins now.
    pub(super) fn derive(id: KeyId, owner: &OwnerId, first: &StoredSecret, now: Timestamp) -> Self {
        let digest = Sha256::new()
            .chain_update(b"keyward creation nonce\0")
            .chain_update(id.as_bytes())
            .chain_update(first.hash.digest())
            .chain_update(first.created_at.as_unix_millis().to_be_bytes())
            .chain_update(now.as_unix_millis().to_be_bytes())
            .chain_update(owner.as_str())
            .finalize();
        let mut bytes = [0; 8];
        for (byte, of_digest) in bytes.iter_mut().zip(digest) {
            *byte = of_digest;
        }
        Self(bytes)
    }
}

impl fmt::Display for CreationNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 16];
        const_hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.pad(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for CreationNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CreationNonce({self})")
    }
}

impl FromStr for CreationNonce {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let mut bytes = [0; 8];
        decode_lower_hex(text.as_bytes(), &mut bytes).then_some(Self(bytes)).ok_or(NO_NONCE)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for CreationNonce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for CreationNonce {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize_from_str(deserializer)
    }
}

const NO_NONCE: InvalidText =
    InvalidText::new("the creation nonce of a key: 16 lower-case hexadecimal characters");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{
        hash::{HashScheme, KeyHash},
        kind::KeyKind,
    };

    #[test]
    fn lives_of_one_id_that_differ_in_anything_have_different_nonces() {
        let at = Timestamp::from_unix_secs;
        let nonce = |id, owner: &str, digest, created, now| {
            let hash = KeyHash::new(HashScheme::Sha256Token, [digest; 32]);
            let secret = StoredSecret::new(hash, KeyKind::from_static("k_"), at(created));
            CreationNonce::derive(
                KeyId::from_bytes([id; 16]),
                &owner.parse().unwrap(),
                &secret,
                at(now),
            )
        };
        let first = nonce(1, "a", 1, 1, 1);
        assert_eq!(nonce(1, "a", 1, 1, 1), first);
        for other in [
            nonce(2, "a", 1, 1, 1),
            nonce(1, "b", 1, 1, 1),
            nonce(1, "a", 2, 1, 1),
            nonce(1, "a", 1, 2, 1),
            nonce(1, "a", 1, 1, 2),
        ] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn nonces_have_one_text() {
        let nonce = CreationNonce::from_bytes([0xab; 8]);
        assert_eq!(nonce.to_string().parse(), Ok(nonce));
        for bad in ["", "ab", "ABABABABABABABAB", "abababababababa", "ababababababababa"] {
            assert_eq!(bad.parse::<CreationNonce>(), Err(NO_NONCE), "{bad}");
        }
    }
}
