//! A key in plaintext, which exists only between minting and showing it, and the minting itself.

use std::fmt;

use rand::{TryCryptoRng, rngs::SysRng};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::key::{
    format::{Body, KeyFormat},
    hint::KeyHint,
    kind::KeyKind,
    parse::{ParseError, base62_digit, checksum},
    presented::PresentedKey,
};

/// A key that was just minted. Show it to its owner once, then drop it.
///
/// It cannot be cloned, printed or serialized. Its `Debug` shows only the kind, and dropping it
/// overwrites its memory. Only [`PlaintextKey::expose`] returns its text.
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
    /// Mints a key with the given random generator. Every body is equally likely.
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
    /// Returns [`MintError::Legacy`] for a legacy kind, and [`MintError::Rng`] if the generator
    /// fails.
    pub fn mint<R: TryCryptoRng + ?Sized>(&self, rng: &mut R) -> Result<PlaintextKey, MintError> {
        if let Some(successor) = self.successor() {
            return Err(MintError::Legacy { kind: self.kind(), successor });
        }
        // The capacity is exact: a string that grows leaves a copy of its start in memory.
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

    /// Mints a key with the random generator of the operating system.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`KeyFormat::mint`].
    pub fn mint_system(&self) -> Result<PlaintextKey, MintError> {
        self.mint(&mut SysRng)
    }
}

impl PlaintextKey {
    /// Returns the text of the key. The caller must show it once and must not store it.
    pub fn expose(&self) -> &str {
        &self.token
    }

    /// Returns the kind of the key.
    pub fn kind(&self) -> KeyKind {
        self.format.kind()
    }

    /// Returns the part of the key that listings may show, such as `lqt_7a4f9e2b`.
    pub fn hint(&self) -> KeyHint {
        let shown = self.format.kind().as_str().len() + self.format.hint_len();
        let hint = self.token.get(..shown).and_then(|text| KeyHint::new(text).ok());
        // A prefix and at most 12 characters of the body are always a hint.
        hint.unwrap_or(const { KeyHint::from_static("-") })
    }

    /// Returns the key as its owner will present it. A format reads what it mints, so this does not
    /// fail.
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

/// The error of minting a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MintError {
    /// The kind is legacy: its keys are accepted, and no new ones are minted.
    #[error("keys of the legacy kind {kind} are no longer minted; mint {successor}")]
    Legacy {
        /// The legacy kind.
        kind: KeyKind,
        /// The kind to mint instead.
        successor: KeyKind,
    },
    /// The random generator failed with this message.
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
    /// A working generator needs two or three rounds. One that is stuck must not hang its host.
    const MAX_ROUNDS: usize = 32;

    let mut random = Zeroizing::new([0_u8; KeyFormat::MAX_BASE62_CHARS]);
    let mut missing = chars;
    for _ in 0..MAX_ROUNDS {
        rng.try_fill_bytes(random.as_mut()).map_err(|error| MintError::rng(&error))?;
        // Six bits a byte. The values 62 and 63 are dropped: `byte % 62` would prefer small digits.
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
