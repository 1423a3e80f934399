//! The format of the keys of one kind.

use std::{borrow::Cow, fmt};

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::{
        kind::KeyKind,
        parse::{CHECKSUM_CHARS, is_base62, is_lower_hex},
    },
};

/// The format of the keys of one kind: a prefix, a random body of fixed length, and optionally a
/// checksum.
///
/// ```
/// use keyward::KeyFormat;
///
/// const INGEST: KeyFormat = KeyFormat::hex("lqt_"); // lqt_ and 64 hexadecimal characters
/// const TOKEN: KeyFormat = KeyFormat::base62("ghp_", 30).with_checksum();
/// assert_eq!(INGEST.token_len(), 68);
/// assert_eq!(TOKEN.token_len(), 40);
///
/// let configured = KeyFormat::try_hex("acme_live_")?;
/// assert_eq!(configured.kind().as_str(), "acme_live_");
/// # Ok::<(), keyward::ConfigError>(())
/// ```
///
/// Its form in serde is `{"prefix":"lqt_","body":"hex","length":32}`. `length` counts bytes for `hex`
/// (default 32) and characters for `base62` (required). Optional are `checksum` (default false),
/// `hint` (default 8) and `successor`, which makes the kind legacy.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "FormatData", into = "FormatData"))]
pub struct KeyFormat {
    pub(super) kind: KeyKind,
    body: Body,
    checksum: bool,
    hint_len: u8,
    successor: Option<KeyKind>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Body {
    /// Random bytes, each as two lower-case hexadecimal characters.
    Hex { bytes: u8 },
    /// Random characters of `0-9A-Za-z`.
    Base62 { chars: u8 },
}

impl KeyFormat {
    /// The smallest number of bytes of a hex body: 128 bits.
    pub const MIN_HEX_BYTES: usize = 16;
    /// The largest number of bytes of a hex body.
    pub const MAX_HEX_BYTES: usize = 64;
    /// The smallest number of characters of a base62 body: 130 bits.
    pub const MIN_BASE62_CHARS: usize = 22;
    /// The largest number of characters of a base62 body.
    pub const MAX_BASE62_CHARS: usize = 64;
    /// The largest number of characters of the body that a hint shows.
    pub const MAX_HINT: usize = 12;
    const DEFAULT_HEX_BYTES: usize = 32;
    /// The number of characters of a checksum.
    pub const CHECKSUM_CHARS: usize = CHECKSUM_CHARS;

    /// Builds a format of a prefix and 32 random bytes as 64 hexadecimal characters.
    ///
    /// # Panics
    ///
    /// Panics if the literal is not a valid prefix, which in a `const` fails the build. For a
    /// prefix that is known only at run time, call [`KeyFormat::try_hex`].
    pub const fn hex(prefix: &'static str) -> Self {
        Self::built(Self::check_hex(prefix, Self::DEFAULT_HEX_BYTES))
    }

    /// Builds a format of a prefix and `bytes` random bytes as hexadecimal characters.
    ///
    /// # Panics
    ///
    /// Panics on what [`KeyFormat::try_hex_bytes`] refuses, which in a `const` fails the build.
    pub const fn hex_bytes(prefix: &'static str, bytes: usize) -> Self {
        Self::built(Self::check_hex(prefix, bytes))
    }

    /// Builds a format of a prefix and `chars` random characters of `0-9A-Za-z`.
    ///
    /// # Panics
    ///
    /// Panics on what [`KeyFormat::try_base62`] refuses, which in a `const` fails the build.
    pub const fn base62(prefix: &'static str, chars: usize) -> Self {
        Self::built(Self::check_base62(prefix, chars))
    }

    /// Builds a format of a configured prefix and 32 random bytes as 64 hexadecimal characters.
    ///
    /// # Errors
    ///
    /// Returns an error if the prefix is not a valid [`KeyKind`].
    pub fn try_hex(prefix: &str) -> Result<Self, ConfigError> {
        Self::try_hex_bytes(prefix, Self::DEFAULT_HEX_BYTES)
    }

    /// Builds a format of a configured prefix and `bytes` random bytes as hexadecimal characters.
    ///
    /// # Errors
    ///
    /// Returns an error if the prefix is not a valid [`KeyKind`], or if `bytes` is not between
    /// [`KeyFormat::MIN_HEX_BYTES`] and [`KeyFormat::MAX_HEX_BYTES`].
    pub fn try_hex_bytes(prefix: &str, bytes: usize) -> Result<Self, ConfigError> {
        Self::check_hex(prefix, bytes).map_err(refused)
    }

    /// Builds a format of a configured prefix and `chars` random characters of `0-9A-Za-z`.
    ///
    /// # Errors
    ///
    /// Returns an error if the prefix is not a valid [`KeyKind`], or if `chars` is not between
    /// [`KeyFormat::MIN_BASE62_CHARS`] and [`KeyFormat::MAX_BASE62_CHARS`].
    pub fn try_base62(prefix: &str, chars: usize) -> Result<Self, ConfigError> {
        Self::check_base62(prefix, chars).map_err(refused)
    }

    /// Adds a checksum of six characters at the end: the CRC-32 (IEEE) of the text of the body in
    /// base62 `0-9A-Za-z`, padded with zeros on the left.
    ///
    /// The tokens of GitHub have the same checksum. With it a scanner can tell a key from a
    /// look-alike without asking the service.
    #[must_use]
    pub const fn with_checksum(mut self) -> Self {
        self.checksum = true;
        self
    }

    /// Sets how many characters of the body a hint shows. The default is 8.
    ///
    /// # Panics
    ///
    /// Panics if `chars` is above [`KeyFormat::MAX_HINT`], which in a `const` fails the build. For a
    /// number that is known only at run time, call [`KeyFormat::try_with_hint`].
    #[must_use]
    pub const fn with_hint(self, chars: usize) -> Self {
        Self::built(self.check_hint(chars))
    }

    /// Sets how many characters of the body a hint shows. The default is 8.
    ///
    /// # Errors
    ///
    /// Returns an error if `chars` is above [`KeyFormat::MAX_HINT`].
    pub fn try_with_hint(self, chars: usize) -> Result<Self, ConfigError> {
        self.check_hint(chars).map_err(refused)
    }

    /// Makes the kind legacy: its keys are accepted, no new ones are minted, and rotating one mints
    /// a key of the kind `successor`.
    #[must_use]
    pub const fn with_successor(mut self, successor: KeyKind) -> Self {
        self.successor = Some(successor);
        self
    }

    /// Returns the kind, which the prefix identifies.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns the kind that keys of a legacy kind become when they rotate.
    pub const fn successor(&self) -> Option<KeyKind> {
        self.successor
    }

    /// Returns the length of a whole key in bytes, which are all ASCII.
    pub fn token_len(&self) -> usize {
        self.kind.as_bytes().len() + self.body_len() + self.checksum_len()
    }

    pub(crate) const fn body(&self) -> Body {
        self.body
    }

    pub(crate) const fn has_checksum(&self) -> bool {
        self.checksum
    }

    pub(crate) const fn hint_len(&self) -> usize {
        self.hint_len as usize
    }

    pub(crate) const fn body_len(&self) -> usize {
        match self.body {
            Body::Hex { bytes } => bytes as usize * 2,
            Body::Base62 { chars } => chars as usize,
        }
    }

    const fn checksum_len(&self) -> usize {
        if self.checksum { Self::CHECKSUM_CHARS } else { 0 }
    }

    const fn check_hex(prefix: &str, bytes: usize) -> Result<Self, &'static str> {
        if bytes < Self::MIN_HEX_BYTES || bytes > Self::MAX_HEX_BYTES {
            return Err(
                "a hex body has 16 to 64 bytes; call KeyFormat::try_hex_bytes with such a number",
            );
        }
        Self::with_body(prefix, Body::Hex { bytes: bytes as u8 })
    }

    const fn check_base62(prefix: &str, chars: usize) -> Result<Self, &'static str> {
        if chars < Self::MIN_BASE62_CHARS || chars > Self::MAX_BASE62_CHARS {
            return Err(
                "a base62 body has 22 to 64 characters; call KeyFormat::try_base62 with such a number",
            );
        }
        Self::with_body(prefix, Body::Base62 { chars: chars as u8 })
    }

    const fn check_hint(mut self, chars: usize) -> Result<Self, &'static str> {
        if chars > Self::MAX_HINT {
            return Err("a hint shows at most 12 characters; call KeyFormat::with_hint with fewer");
        }
        self.hint_len = chars as u8;
        Ok(self)
    }

    const fn with_body(prefix: &str, body: Body) -> Result<Self, &'static str> {
        match KeyKind::new(prefix) {
            Ok(kind) => Ok(Self { kind, body, checksum: false, hint_len: 8, successor: None }),
            Err(_) => Err(
                "a prefix has 1 to 23 characters of [A-Za-z0-9_-]; call KeyFormat::try_hex or KeyFormat::try_base62 with such a prefix",
            ),
        }
    }

    /// Returns the format of a literal. In a `const` the panic fails the build and shows the
    /// problem.
    const fn built(format: Result<Self, &'static str>) -> Self {
        match format {
            Ok(format) => format,
            Err(problem) => panic!("{}", problem),
        }
    }

    /// Returns whether the character at `position` behind the prefix can be `byte`.
    pub(super) fn admits(&self, position: usize, byte: u8) -> bool {
        if position < self.body_len() {
            match self.body {
                Body::Hex { .. } => is_lower_hex(byte),
                Body::Base62 { .. } => is_base62(byte),
            }
        } else {
            position < self.body_len() + self.checksum_len() && is_base62(byte)
        }
    }
}

impl fmt::Debug for KeyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFormat({} + ", self.kind)?;
        match self.body {
            Body::Hex { bytes } => write!(f, "{} hex", u32::from(bytes) * 2)?,
            Body::Base62 { chars } => write!(f, "{chars} base62")?,
        }
        if self.checksum {
            f.write_str(" + crc32")?;
        }
        if let Some(successor) = self.successor {
            write!(f, ", legacy, becomes {successor}")?;
        }
        f.write_str(")")
    }
}

pub(super) fn refused(problem: impl Into<Cow<'static, str>>) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Format, problem)
}

/// The form of a format in serde.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatData {
    prefix: KeyKind,
    #[serde(default)]
    body: BodyData,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
    #[serde(default)]
    checksum: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    successor: Option<KeyKind>,
}

#[cfg(feature = "serde")]
#[derive(Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum BodyData {
    #[default]
    Hex,
    Base62,
}

#[cfg(feature = "serde")]
impl TryFrom<FormatData> for KeyFormat {
    type Error = ConfigError;

    fn try_from(data: FormatData) -> Result<Self, ConfigError> {
        let mut format = match data.body {
            BodyData::Hex => Self::try_hex_bytes(data.prefix.as_str(), data.length.unwrap_or(32))?,
            // Without a length, the error names the lengths that are allowed.
            BodyData::Base62 => {
                Self::try_base62(data.prefix.as_str(), data.length.unwrap_or_default())?
            }
        };
        if let Some(hint) = data.hint {
            format = format.try_with_hint(hint)?;
        }
        Ok(Self { checksum: data.checksum, successor: data.successor, ..format })
    }
}

#[cfg(feature = "serde")]
impl From<KeyFormat> for FormatData {
    fn from(format: KeyFormat) -> Self {
        let (body, length) = match format.body {
            Body::Hex { bytes } => (BodyData::Hex, bytes),
            Body::Base62 { chars } => (BodyData::Base62, chars),
        };
        Self {
            prefix: format.kind,
            body,
            length: Some(length.into()),
            checksum: format.checksum,
            hint: Some(format.hint_len.into()),
            successor: format.successor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T: fmt::Debug>(result: Result<T, ConfigError>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Format);
        error.to_string()
    }

    #[test]
    fn bad_formats_are_refused() {
        assert!(problem(KeyFormat::try_hex("")).contains("a prefix has 1 to 23"));
        assert!(problem(KeyFormat::try_hex("a b")).contains("a prefix has 1 to 23"));
        for bytes in [0, 15, 65, 256 + 32, usize::MAX] {
            assert!(problem(KeyFormat::try_hex_bytes("k_", bytes)).contains("16 to 64 bytes"));
        }
        for chars in [0, 21, 65, 256 + 30, usize::MAX] {
            assert!(problem(KeyFormat::try_base62("k_", chars)).contains("22 to 64 characters"));
        }
        assert!(problem(KeyFormat::hex("k_").try_with_hint(13)).contains("at most 12"));
    }
}
