//! Hashing keys, under current and older schemes.

use std::{borrow::Cow, fmt, slice, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, block_api::compress256};

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::{
        hash::{HashScheme, KeyHash},
        plaintext::PlaintextKey,
        presented::{Message, PresentedKey},
    },
};

/// Hashes keys: under one current scheme for new secrets, and under older schemes that are still
/// accepted.
///
/// For a key whose secret is stored under an older scheme,
/// [`Verified::rehash`](crate::verify::Verified::rehash) returns its hash under the current one. So
/// a table moves to the current scheme as its keys are used. Clones share the peppers, and `Debug`
/// shows none.
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
    /// The older schemes, at most `MAX_SCHEMES - 1`.
    accepted: Vec<HashScheme>,
    peppers: Arc<[Pepper]>,
}

/// An HMAC state that has absorbed its pepper, so that no request repeats this work.
#[derive(Clone)]
struct Pepper {
    version: u16,
    mac: Hmac<Sha256>,
}

impl KeyHasher {
    /// The largest number of schemes, including the current one. A query looks up one hash for each
    /// of them.
    pub const MAX_SCHEMES: usize = 4;
    /// The smallest number of bytes of a pepper.
    pub const MIN_PEPPER_BYTES: usize = 32;

    /// Builds a hasher for [`HashScheme::Sha256Secret`] alone.
    pub fn sha256() -> Self {
        Self { current: HashScheme::Sha256Secret, accepted: Vec::new(), peppers: Arc::new([]) }
    }

    /// Builds a hasher for [`HashScheme::HmacSha256`] alone, with this version of the pepper.
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

    /// Accepts secrets under this older scheme too.
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

    /// Accepts secrets under an older pepper too.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`KeyHasher::hmac_sha256`] and [`KeyHasher::accept`], and an error if
    /// the version was given already.
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

    /// Returns the scheme for new secrets.
    pub const fn current(&self) -> HashScheme {
        self.current
    }

    /// Returns whether secrets under this scheme are accepted.
    pub fn accepts(&self, scheme: HashScheme) -> bool {
        scheme == self.current || self.accepted.contains(&scheme)
    }

    /// Returns the hash of a minted key under the current scheme, which a store keeps.
    pub fn hash(&self, key: &PlaintextKey) -> KeyHash {
        match key.present() {
            Ok(presented) => self.under(self.current, &presented),
            // A format reads what it mints, so this does not happen. No key has this digest.
            Err(_) => KeyHash::new(self.current, [0; 32]),
        }
    }

    /// Returns the hash of a presented key under the current scheme.
    pub(crate) fn hash_presented(&self, key: &PresentedKey<'_>) -> KeyHash {
        self.under(self.current, key)
    }

    /// Returns the hashes under which a presented key can be stored, the current scheme first.
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
            HashScheme::Sha256Secret => match key.message() {
                Some(message) => sha256(message),
                None => {
                    let parts = key.legacy_message().into_iter();
                    parts.fold(Sha256::new(), Sha256::chain_update).finalize().into()
                }
            },
            HashScheme::Sha256Token => Sha256::digest(key.token()).into(),
            HashScheme::Sha256Body => Sha256::digest(key.rest()).into(),
            HashScheme::HmacSha256 { pepper } => match self.pepper(pepper) {
                Some(pepper) => {
                    let mac = pepper.mac.clone();
                    let mac = match key.message() {
                        Some(Message { bytes, len }) => {
                            mac.chain_update(bytes.get(..len).unwrap_or_default())
                        }
                        None => key.legacy_message().into_iter().fold(mac, Mac::chain_update),
                    };
                    mac.finalize().into_bytes().into()
                }
                // `accept` refuses a scheme without its pepper, so this does not happen.
                None => [0; 32],
            },
        };
        KeyHash::new(scheme, digest)
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
    /// The hashes under older schemes. If none is accepted, nothing is allocated.
    pub(crate) older: Vec<KeyHash>,
}

/// Returns the SHA-256 of a message of up to 119 bytes.
///
/// The message is padded in place (FIPS 180-4 §5.1.1) and compressed, which saves the buffering of
/// the streaming interface. A test compares the two for every length.
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
    // Behind the message come a one bit, zeros, and at the end of the block its length in bits.
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
