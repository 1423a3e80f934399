//! What is kept of a secret: a digest that says how it was made.

use std::{borrow::Cow, fmt, slice, str::FromStr, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, block_api::compress256};
use subtle::{Choice, ConstantTimeEq};

use crate::{
    error::{ConfigError, ConfigErrorKind, InvalidText},
    key::{
        format::decode_lower_hex,
        plaintext::PlaintextKey,
        presented::{Message, PresentedKey},
    },
};

/// How a stored digest was made from a key.
///
/// Keys are 128 to 512 random bits, so a fast hash is enough: nobody can try them
/// out, which is the only thing a slow hash such as Argon2 makes harder. A slow hash
/// on every request would cost tens of milliseconds and protect nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashScheme {
    /// SHA-256 over the prefix and the decoded secret (of a base62 body its text).
    ///
    /// The default: `lqt_` and 32 bytes fill one SHA-256 block, so it takes half the
    /// time of hashing the text. Written `sha256-secret:…`.
    Sha256Secret,
    /// SHA-256 over the whole token as text, which existing tables hold: the output of
    /// `printf %s "$KEY" | sha256sum`. Written `sha256:…`.
    Sha256Token,
    /// HMAC-SHA256 (RFC 2104) over the same bytes as [`HashScheme::Sha256Secret`], under
    /// a pepper that the database does not hold, so that a leaked row cannot be checked
    /// against a guess and a forged row proves nothing. Written `hmac-sha256.3:…`.
    HmacSha256 {
        /// Which pepper of the [`KeyHasher`] was used.
        pepper: u16,
    },
}

/// The digest of a secret, together with the scheme that made it.
///
/// Its text is what a database keeps: `sha256-secret:` and 64 lower-case hexadecimal
/// characters, for example. Comparison takes the same time wherever two digests
/// differ. `Debug` shows the scheme alone.
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
    /// The hash with this scheme and digest, for instance from an existing table.
    pub const fn new(scheme: HashScheme, digest: [u8; 32]) -> Self {
        Self { scheme, digest }
    }

    /// How the digest was made.
    pub const fn scheme(&self) -> HashScheme {
        self.scheme
    }

    /// The digest's 32 bytes.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl ConstantTimeEq for KeyHash {
    /// Compares digests as four words, which costs a fraction of comparing bytes. The
    /// schemes are public and compared as such.
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

/// A digest as four words.
#[inline]
fn words(digest: &[u8; 32]) -> [u64; 4] {
    match digest.as_chunks::<8>().0 {
        [a, b, c, d] => [*a, *b, *c, *d].map(u64::from_ne_bytes),
        _ => [0; 4],
    }
}

/// In constant time, by [`ConstantTimeEq`].
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

    /// Reads the form that `Display` writes, and no other.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (scheme, digest_text) = text.split_once(':').ok_or(NO_SCHEME)?;
        let scheme = match scheme {
            SHA256_SECRET => HashScheme::Sha256Secret,
            SHA256_TOKEN => HashScheme::Sha256Token,
            other => {
                let version = other
                    .strip_prefix(HMAC_SHA256)
                    .and_then(|rest| rest.strip_prefix('.'))
                    .ok_or(NO_SCHEME)?;
                let pepper: u16 = version.parse().map_err(|_| NO_SCHEME)?;
                // One text a hash: no sign and no leading zero.
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

const NO_SCHEME: InvalidText =
    InvalidText::new("a hash that begins with sha256-secret:, sha256: or hmac-sha256.<version>:");
const NO_DIGEST: InvalidText =
    InvalidText::new("a hash whose digest has 64 lower-case hexadecimal characters");

/// Hashes keys: with one current scheme for new secrets, and with older ones that are
/// still accepted.
///
/// A key that is verified under an older scheme yields a rehash, see
/// [`Verified::rehash`](crate::verify::Verified::rehash), so a table moves to the current one
/// as its keys are used. Clones share the peppers, and `Debug` shows none.
///
/// ```
/// use keyward::{key::HashScheme, KeyHasher};
///
/// // New keys under pepper 2; keys under pepper 1 and an imported table still work.
/// let hasher = KeyHasher::hmac_sha256(2, b"a pepper of at least 32 bytes, v2")?
///     .accept_pepper(1, b"a pepper of at least 32 bytes, v1")?
///     .accept(HashScheme::Sha256Token)?;
/// assert_eq!(hasher.current(), HashScheme::HmacSha256 { pepper: 2 });
/// # Ok::<(), keyward::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct KeyHasher {
    current: HashScheme,
    /// Older schemes, at most `MAX_SCHEMES - 1`.
    accepted: Vec<HashScheme>,
    peppers: Arc<[Pepper]>,
}

/// An HMAC state that has absorbed its pepper, so that a request does not do it again.
#[derive(Clone)]
struct Pepper {
    version: u16,
    mac: Hmac<Sha256>,
}

impl KeyHasher {
    /// The most schemes together, the current one included: as many candidates are
    /// looked up with one query.
    pub const MAX_SCHEMES: usize = 4;
    /// The fewest bytes of a pepper.
    pub const MIN_PEPPER_BYTES: usize = 32;

    /// New secrets under [`HashScheme::Sha256Secret`], and no older scheme.
    pub fn sha256() -> Self {
        Self { current: HashScheme::Sha256Secret, accepted: Vec::new(), peppers: Arc::new([]) }
    }

    /// New secrets under [`HashScheme::HmacSha256`] with this pepper, and no older scheme.
    ///
    /// # Errors
    ///
    /// Returns an error for a pepper of fewer than [`KeyHasher::MIN_PEPPER_BYTES`] bytes.
    pub fn hmac_sha256(version: u16, pepper: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self {
            current: HashScheme::HmacSha256 { pepper: version },
            accepted: Vec::new(),
            peppers: Arc::new([Pepper::new(version, pepper)?]),
        })
    }

    /// The hasher accepting secrets under this older scheme too.
    ///
    /// # Errors
    ///
    /// Returns an error if the scheme is accepted already, beyond [`KeyHasher::MAX_SCHEMES`]
    /// schemes, and for an HMAC whose pepper was not given.
    pub fn accept(mut self, scheme: HashScheme) -> Result<Self, ConfigError> {
        if scheme == self.current || self.accepted.contains(&scheme) {
            return Err(refused(
                "the hash scheme is accepted already; drop the second KeyHasher::accept",
            ));
        }
        if self.accepted.len() + 1 >= Self::MAX_SCHEMES {
            return Err(refused(
                "KeyHasher::accept takes at most 4 schemes; drop one that no key uses",
            ));
        }
        if let HashScheme::HmacSha256 { pepper } = scheme {
            self.pepper(pepper).ok_or_else(|| {
                refused(format!("there is no pepper {pepper}; call KeyHasher::accept_pepper"))
            })?;
        }
        self.accepted.push(scheme);
        Ok(self)
    }

    /// The hasher accepting secrets under an older pepper too.
    ///
    /// # Errors
    ///
    /// As [`KeyHasher::hmac_sha256`] and [`KeyHasher::accept`].
    pub fn accept_pepper(mut self, version: u16, pepper: &[u8]) -> Result<Self, ConfigError> {
        if self.pepper(version).is_some() {
            return Err(refused(format!(
                "pepper {version} was given already; give KeyHasher::accept_pepper another version"
            )));
        }
        let added = Pepper::new(version, pepper)?;
        self.peppers = self.peppers.iter().cloned().chain([added]).collect();
        self.accept(HashScheme::HmacSha256 { pepper: version })
    }

    /// The scheme for new secrets.
    pub const fn current(&self) -> HashScheme {
        self.current
    }

    /// Whether a secret under this scheme could be matched.
    pub fn accepts(&self, scheme: HashScheme) -> bool {
        scheme == self.current || self.accepted.contains(&scheme)
    }

    /// The hash to keep of a freshly minted key, under the current scheme.
    pub fn hash(&self, key: &PlaintextKey) -> KeyHash {
        match key.present() {
            Ok(presented) => self.under(self.current, &presented),
            // What a format mints, it reads; a digest of nothing would match nobody anyway.
            Err(_) => KeyHash::new(self.current, [0; 32]),
        }
    }

    /// The hashes under which a presented key can be stored, current scheme first.
    #[inline]
    pub(crate) fn candidates(&self, key: &PresentedKey<'_>) -> Candidates {
        let current = self.under(self.current, key);
        let older = match self.accepted.as_slice() {
            [] => Vec::new(),
            schemes => schemes.iter().map(|scheme| self.under(*scheme, key)).collect(),
        };
        Candidates { current, older }
    }

    #[inline]
    fn under(&self, scheme: HashScheme, key: &PresentedKey<'_>) -> KeyHash {
        let digest = match scheme {
            HashScheme::Sha256Secret => sha256(key.message()),
            HashScheme::Sha256Token => Sha256::digest(key.token()).into(),
            HashScheme::HmacSha256 { pepper } => match self.pepper(pepper) {
                Some(pepper) => {
                    let Message { bytes, len } = key.message();
                    let message = bytes.get(..len).unwrap_or_default();
                    pepper.mac.clone().chain_update(message).finalize().into_bytes().into()
                }
                // Only schemes whose pepper is here are ever accepted.
                None => [0; 32],
            },
        };
        KeyHash { scheme, digest }
    }

    fn pepper(&self, version: u16) -> Option<&Pepper> {
        self.peppers.iter().find(|pepper| pepper.version == version)
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHasher")
            .field("current", &self.current)
            .field("accepted", &self.accepted)
            .finish_non_exhaustive()
    }
}

impl Pepper {
    fn new(version: u16, pepper: &[u8]) -> Result<Self, ConfigError> {
        if pepper.len() < KeyHasher::MIN_PEPPER_BYTES {
            return Err(short_pepper());
        }
        let mac = Hmac::new_from_slice(pepper).map_err(|_| short_pepper())?;
        Ok(Self { version, mac })
    }
}

fn short_pepper() -> ConfigError {
    refused("a pepper has at least 32 bytes; give KeyHasher a longer one")
}

fn refused(problem: impl Into<Cow<'static, str>>) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Hasher, problem)
}

/// The one to four hashes of a presented key.
#[derive(Clone)]
pub(crate) struct Candidates {
    /// The hash under the current scheme.
    pub(crate) current: KeyHash,
    /// Those under older schemes. Where none is accepted nothing is allocated.
    pub(crate) older: Vec<KeyHash>,
}

/// SHA-256 of a message of up to 119 bytes.
///
/// The message is padded where it stands (FIPS 180-4 §5.1.1) and compressed, which saves
/// the buffering of the streaming interface. Nothing else is done differently, as a test
/// shows for every length.
#[inline]
fn sha256(Message { mut bytes, len }: Message) -> [u8; 32] {
    /// FIPS 180-4 §5.3.3.
    const INITIAL: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    // Behind the message: a one bit, zeros, and at the end of the block its length in bits.
    if let Some(first) = bytes.get_mut(len) {
        *first = 0x80;
    }
    let one_block = len <= 55;
    let end = if one_block { 56..64 } else { 120..128 };
    if let Some(length) = bytes.get_mut(end) {
        length.copy_from_slice(&(len as u64 * 8).to_be_bytes());
    }
    let mut state = INITIAL;
    match bytes.as_chunks().0 {
        [block, _] if one_block => compress256(&mut state, slice::from_ref(block)),
        blocks => compress256(&mut state, blocks),
    }
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

const SHA256_SECRET: &str = "sha256-secret";
const SHA256_TOKEN: &str = "sha256";
const HMAC_SHA256: &str = "hmac-sha256";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_hashed_as_the_streaming_interface_does() {
        for len in 0..=119 {
            let mut bytes = [0; 128];
            for (at, byte) in bytes[..len].iter_mut().enumerate() {
                *byte = at as u8 ^ 0xA5;
            }
            let expected: [u8; 32] = Sha256::digest(&bytes[..len]).into();
            assert_eq!(sha256(Message { bytes, len }), expected, "{len} bytes");
        }
    }
}
