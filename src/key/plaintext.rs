//! A key in plaintext, which exists once: between minting it and showing it.

use std::fmt;

use rand::{TryCryptoRng, rngs::SysRng};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::key::{
    format::{Body, KeyFormat, ParseError, base62_digit, checksum},
    hint::KeyHint,
    kind::KeyKind,
    presented::PresentedKey,
};

/// A freshly minted key. Show it to its owner once, then drop it.
///
/// It cannot be cloned, printed or serialized, its `Debug` shows the kind alone, and
/// its memory is overwritten when it is dropped. [`PlaintextKey::expose`] is the only
/// way to its text.
///
/// ```compile_fail
/// # let key = keyward::KeyFormat::hex("lqt_").mint_system().unwrap();
/// println!("{key}"); // no `Display`
/// ```
///
/// ```compile_fail
/// # let key = keyward::KeyFormat::hex("lqt_").mint_system().unwrap();
/// let copy = key.clone(); // no `Clone`
/// ```
///
/// ```compile_fail
/// # let key = keyward::KeyFormat::hex("lqt_").mint_system().unwrap();
/// fn body<T: serde::Serialize>(_: &T) {}
/// body(&key); // no `Serialize`
/// ```
pub struct PlaintextKey {
    format: KeyFormat,
    token: Zeroizing<String>,
}

impl KeyFormat {
    /// Mints a key with the given generator. Every body is equally likely.
    ///
    /// ```
    /// use keyward::{key::KeyFormats, KeyFormat};
    /// use rand::{SeedableRng, rngs::StdRng};
    ///
    /// const INGEST: KeyFormat = KeyFormat::hex("lqt_");
    /// let key = INGEST.mint(&mut StdRng::from_seed([7; 32]))?;
    /// assert!(KeyFormats::from(INGEST).parse(key.expose()).is_ok());
    /// assert_eq!(format!("{key:?}"), "PlaintextKey(lqt_…)");
    /// # Ok::<(), keyward::key::MintError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MintError::Legacy`] for a legacy kind, [`MintError::Rng`] if the generator fails.
    pub fn mint<R: TryCryptoRng + ?Sized>(&self, rng: &mut R) -> Result<PlaintextKey, MintError> {
        if let Some(successor) = self.successor() {
            return Err(MintError::Legacy { kind: self.kind(), successor });
        }
        // The capacity is exact, so no copy of a part is left behind by growing.
        let mut token = Zeroizing::new(String::with_capacity(self.token_len()));
        token.push_str(self.kind().as_str());
        match self.body() {
            Body::Hex { bytes } => push_hex(&mut token, usize::from(bytes), rng)?,
            Body::Base62 { chars } => push_base62(&mut token, usize::from(chars), rng)?,
        }
        if self.has_checksum() {
            let body = token.get(self.kind().as_str().len()..).unwrap_or_default();
            let check = checksum(body.as_bytes());
            token.extend(check.map(char::from));
        }
        Ok(PlaintextKey { format: *self, token })
    }

    /// Mints a key with the operating system's generator.
    ///
    /// # Errors
    ///
    /// As [`KeyFormat::mint`].
    pub fn mint_system(&self) -> Result<PlaintextKey, MintError> {
        self.mint(&mut SysRng)
    }
}

impl PlaintextKey {
    /// The key's text. Whoever calls this must show it once and keep it nowhere.
    pub fn expose(&self) -> &str {
        &self.token
    }

    /// The kind of the key.
    pub fn kind(&self) -> KeyKind {
        self.format.kind()
    }

    /// What listings may show of the key, such as `lqt_7a4f9e2b`.
    pub fn hint(&self) -> KeyHint {
        let shown = self.format.kind().as_str().len() + self.format.hint_len();
        let hint = self.token.get(..shown).and_then(|text| KeyHint::new(text).ok());
        // A prefix and at most 12 characters of the body always make a hint.
        hint.unwrap_or(const { KeyHint::from_static("-") })
    }

    /// The key as its owner will present it.
    ///
    /// # Errors
    ///
    /// None in practice: what a format mints, it reads.
    pub(crate) fn present(&self) -> Result<PresentedKey<'_>, ParseError> {
        let token = self.token.as_bytes();
        let rest = token.strip_prefix(self.format.kind().as_bytes()).unwrap_or_default();
        PresentedKey::read(&self.format, token, rest)
    }
}

impl fmt::Debug for PlaintextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlaintextKey({}…)", self.kind())
    }
}

/// Why no key was minted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MintError {
    /// Keys of a legacy kind are accepted, but none is minted any more.
    #[error("keys of the legacy kind {kind} are no longer minted; mint {successor}")]
    Legacy {
        /// The legacy kind.
        kind: KeyKind,
        /// The kind to mint in its place.
        successor: KeyKind,
    },
    /// The random number generator failed, with this message.
    #[error("the random number generator failed: {0}")]
    Rng(Box<str>),
}

impl MintError {
    pub(crate) fn rng(error: &impl fmt::Display) -> Self {
        Self::Rng(error.to_string().into())
    }
}

fn push_hex<R>(token: &mut String, bytes: usize, rng: &mut R) -> Result<(), MintError>
where
    R: TryCryptoRng + ?Sized,
{
    let mut secret = Zeroizing::new(vec![0_u8; bytes]);
    rng.try_fill_bytes(&mut secret).map_err(|error| MintError::rng(&error))?;
    token.push_str(&Zeroizing::new(const_hex::encode(secret.as_slice())));
    Ok(())
}

fn push_base62<R>(token: &mut String, chars: usize, rng: &mut R) -> Result<(), MintError>
where
    R: TryCryptoRng + ?Sized,
{
    /// A working generator needs two or three rounds; one that is stuck must not hang its host.
    const MAX_ROUNDS: usize = 32;

    let mut random = Zeroizing::new([0_u8; KeyFormat::MAX_BASE62_CHARS]);
    let mut missing = chars;
    for _ in 0..MAX_ROUNDS {
        rng.try_fill_bytes(random.as_mut()).map_err(|error| MintError::rng(&error))?;
        // Six bits a byte, of which 62 and 63 are thrown away: `byte % 62` would prefer small digits.
        for value in random.iter().map(|byte| byte & 63).filter(|value| *value < 62).take(missing) {
            token.push(char::from(base62_digit(value)));
            missing -= 1;
        }
        if missing == 0 {
            return Ok(());
        }
    }
    Err(MintError::Rng("its output is not random".into()))
}
