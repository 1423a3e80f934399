//! The digest of a secret, with the scheme that made it.

use std::{fmt, str::FromStr};

use subtle::{Choice, ConstantTimeEq};

use crate::{error::InvalidText, key::parse::decode_lower_hex};

/// The way in which a stored digest was computed from a key.
///
/// A minted key has 128 to 512 random bits, so a fast hash is enough. A slow hash such as Argon2 only
/// makes trying out all inputs harder, which is impossible for a key anyway. On every request it would
/// cost tens of milliseconds and protect nothing. The alphabet and length of a
/// [`LegacyFormat`](crate::key::LegacyFormat) allow at least 80 bits, and whether its keys have them is
/// up to the system that made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashScheme {
    /// SHA-256 over the prefix and the decoded secret, or the text of a base62 body. It is written
    /// `sha256-secret:…`.
    ///
    /// This is the default: `lqt_` and 32 bytes fit one SHA-256 block, so it takes half the time of
    /// hashing the text. Of a [legacy format](crate::key::LegacyFormat) it is over the kind, a zero
    /// byte and the text of the secret.
    Sha256Secret,
    /// SHA-256 over the whole token as text, as in many existing tables: the output of
    /// `printf %s "$KEY" | sha256sum`. It is written `sha256:…`.
    Sha256Token,
    /// SHA-256 over the text behind the prefix, as in tables that keep only the hash of the secret
    /// part. Of a [legacy format](crate::key::LegacyFormat) it is over the text behind the prefix and
    /// the identifier. It is written `sha256-body:…`.
    ///
    /// Such a hash does not contain the prefix, so the same secret behind two prefixes has one. The
    /// kind of the stored secret then decides which of the two is the key.
    Sha256Body,
    /// HMAC-SHA256 (RFC 2104) over the same bytes as [`HashScheme::Sha256Secret`], under a pepper
    /// that is not in the database. It is written `hmac-sha256.3:…`.
    ///
    /// A leaked row cannot be checked against a guess, and a forged row proves nothing.
    HmacSha256 {
        /// The version of the pepper, as given to [`KeyHasher`](crate::key::KeyHasher).
        pepper: u16,
    },
}

/// The digest of a secret, with its scheme.
///
/// Its text is for a database, for example `sha256-secret:` and 64 lower-case hexadecimal
/// characters. A comparison takes the same time wherever two digests differ. `Debug` shows only the
/// scheme.
///
/// ```
/// use keyward::key::{HashScheme, KeyHash};
///
/// let hash = KeyHash::new(HashScheme::Sha256Token, [0xab; 32]);
/// assert_eq!(hash.to_string(), format!("sha256:{}", "ab".repeat(32)));
/// assert_eq!(hash.to_string().parse(), Ok(hash));
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
#[derive(Clone, Copy)]
pub struct KeyHash {
    scheme: HashScheme,
    digest: [u8; 32],
}

impl KeyHash {
    /// Builds a hash from its scheme and digest, for instance from an existing table.
    pub const fn new(scheme: HashScheme, digest: [u8; 32]) -> Self {
        Self { scheme, digest }
    }

    /// Returns the scheme.
    pub const fn scheme(&self) -> HashScheme {
        self.scheme
    }

    /// Returns the 32 bytes of the digest.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl ConstantTimeEq for KeyHash {
    /// Compares digests as four words, in a fraction of the time of comparing bytes. The schemes are
    /// public, and comparing them may branch.
    #[inline]
    fn ct_eq(&self, other: &Self) -> Choice {
        if self.scheme != other.scheme {
            return Choice::from(0);
        }
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (words(&self.digest), words(&other.digest));
        let differing = (a0 ^ b0) | (a1 ^ b1) | (a2 ^ b2) | (a3 ^ b3);
        differing.ct_eq(&0)
    }
}

/// Returns a digest as four words.
#[inline]
fn words(digest: &[u8; 32]) -> [u64; 4] {
    match digest.as_chunks::<8>().0 {
        [a, b, c, d] => [*a, *b, *c, *d].map(u64::from_ne_bytes),
        _ => [0; 4],
    }
}

/// Compares in constant time, by [`ConstantTimeEq`].
impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for KeyHash {}

impl std::hash::Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.scheme.hash(state);
        self.digest.hash(state);
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = const_hex::encode(self.digest);
        match self.scheme {
            HashScheme::Sha256Secret => write!(f, "{SHA256_SECRET}:{digest}"),
            HashScheme::Sha256Token => write!(f, "{SHA256_TOKEN}:{digest}"),
            HashScheme::Sha256Body => write!(f, "{SHA256_BODY}:{digest}"),
            HashScheme::HmacSha256 { pepper } => write!(f, "{HMAC_SHA256}.{pepper}:{digest}"),
        }
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({:?}, …)", self.scheme)
    }
}

impl FromStr for KeyHash {
    type Err = InvalidText;

    /// Reads the form that `Display` writes and no other, so that a hash has one text.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (scheme, digest_text) = text.split_once(':').ok_or(NO_SCHEME)?;
        let scheme = match scheme {
            SHA256_SECRET => HashScheme::Sha256Secret,
            SHA256_TOKEN => HashScheme::Sha256Token,
            SHA256_BODY => HashScheme::Sha256Body,
            other => {
                let version = other
                    .strip_prefix(HMAC_SHA256)
                    .and_then(|rest| rest.strip_prefix('.'))
                    .ok_or(NO_SCHEME)?;
                let pepper: u16 = version.parse().map_err(|_| NO_SCHEME)?;
                // `parse` also takes a sign and leading zeros.
                if pepper.to_string() != version {
                    return Err(NO_SCHEME);
                }
                HashScheme::HmacSha256 { pepper }
            }
        };
        let mut digest = [0; 32];
        if !decode_lower_hex(digest_text.as_bytes(), &mut digest) {
            return Err(NO_DIGEST);
        }
        Ok(Self { scheme, digest })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize_from_str(deserializer)
    }
}

const NO_SCHEME: InvalidText = InvalidText::new(
    "a hash that begins with sha256-secret:, sha256:, sha256-body: or hmac-sha256.<version>:",
);
const NO_DIGEST: InvalidText =
    InvalidText::new("a hash whose digest has 64 lower-case hexadecimal characters");

const SHA256_SECRET: &str = "sha256-secret";
const SHA256_TOKEN: &str = "sha256";
const SHA256_BODY: &str = "sha256-body";
const HMAC_SHA256: &str = "hmac-sha256";
