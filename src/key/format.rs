//! The shape of keys, one kind at a time and many together.

use std::{borrow::Cow, fmt};

use thiserror::Error;

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::kind::KeyKind,
};

/// How keys of one kind are written: a prefix, a random body of fixed length, and
/// perhaps a checksum.
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
/// In serde: `{"prefix":"lqt_","body":"hex","length":32}`, where `length` counts bytes
/// for `hex` (default 32) and characters for `base62` (required), with optional
/// `checksum` (default false), `hint` (default 8) and `successor` (makes the kind legacy).
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
    /// So many bytes, each as two lower-case hexadecimal characters.
    Hex { bytes: u8 },
    /// So many characters of `0-9A-Za-z`.
    Base62 { chars: u8 },
}

impl KeyFormat {
    /// The fewest bytes of a hex body: 128 bits.
    pub const MIN_HEX_BYTES: usize = 16;
    /// The most bytes of a hex body.
    pub const MAX_HEX_BYTES: usize = 64;
    /// The fewest characters of a base62 body: 130 bits.
    pub const MIN_BASE62_CHARS: usize = 22;
    /// The most characters of a base62 body.
    pub const MAX_BASE62_CHARS: usize = 64;
    /// The most characters of the body that a hint shows.
    pub const MAX_HINT: usize = 12;
    const DEFAULT_HEX_BYTES: usize = 32;
    /// The characters of a checksum.
    pub const CHECKSUM_CHARS: usize = 6;

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

    /// The format with six more characters at the end: the CRC-32 (IEEE) of the
    /// body's text in base62 `0-9A-Za-z`, padded with zeros on the left. GitHub's
    /// tokens have it, so that a scanner can tell a key from a look-alike offline.
    #[must_use]
    pub const fn with_checksum(mut self) -> Self {
        self.checksum = true;
        self
    }

    /// The format with hints that show `chars` characters of the body (8 unless told).
    ///
    /// # Panics
    ///
    /// If `chars` is above [`KeyFormat::MAX_HINT`]; see [`KeyFormat::try_with_hint`].
    #[must_use]
    pub const fn with_hint(self, chars: usize) -> Self {
        Self::built(self.check_hint(chars))
    }

    /// Sets how many characters of the body a hint shows.
    ///
    /// # Errors
    ///
    /// Returns an error if `chars` is above [`KeyFormat::MAX_HINT`].
    pub fn try_with_hint(self, chars: usize) -> Result<Self, ConfigError> {
        self.check_hint(chars).map_err(refused)
    }

    /// The format of a legacy kind: its keys are still accepted, none is minted, and
    /// rotating one mints a key of the kind `successor`.
    #[must_use]
    pub const fn with_successor(mut self, successor: KeyKind) -> Self {
        self.successor = Some(successor);
        self
    }

    /// The kind of key: its prefix.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// For a legacy kind the one that its keys become when they rotate.
    pub const fn successor(&self) -> Option<KeyKind> {
        self.successor
    }

    /// The length of a whole key in bytes, which are all ASCII.
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
            return Err("a hex body has 16 to 64 bytes; give KeyFormat::try_hex_bytes as many");
        }
        Self::with_body(prefix, Body::Hex { bytes: bytes as u8 })
    }

    const fn check_base62(prefix: &str, chars: usize) -> Result<Self, &'static str> {
        if chars < Self::MIN_BASE62_CHARS || chars > Self::MAX_BASE62_CHARS {
            return Err(
                "a base62 body has 22 to 64 characters; give KeyFormat::try_base62 as many",
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
            Err(_) => {
                Err("a prefix has 1 to 23 characters of [A-Za-z0-9_-]; give KeyFormat such one")
            }
        }
    }

    /// What a literal comes to. In a `const` the panic fails the build with the problem as its text.
    const fn built(format: Result<Self, &'static str>) -> Self {
        match format {
            Ok(format) => format,
            Err(problem) => panic!("{}", problem),
        }
    }

    /// Whether the character at `position` behind the prefix could be `byte`.
    fn admits(&self, position: usize, byte: u8) -> bool {
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

/// The kinds of key that a service accepts, told apart by the longest matching prefix.
///
/// ```
/// use keyward::{key::{KeyFormats, KeyKind, ParseError}, KeyFormat};
///
/// let formats = KeyFormats::new([
///     KeyFormat::hex("luc_pk_"),
///     KeyFormat::hex("luc_api_"),
///     KeyFormat::hex("luc_mcp_").with_successor(KeyKind::from_static("luc_api_")),
/// ])?;
/// let token = format!("luc_pk_{}", "0123456789abcdef".repeat(4));
/// assert_eq!(formats.parse(&token)?.kind(), KeyKind::from_static("luc_pk_"));
/// assert_eq!(formats.parse("luc_xy_").unwrap_err(), ParseError::UnknownPrefix);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Vec<KeyFormat>", into = "Vec<KeyFormat>"))]
pub struct KeyFormats {
    /// By descending length of the prefix, so that the first match is the longest.
    pub(super) formats: Box<[KeyFormat]>,
}

impl KeyFormats {
    /// The most kinds that a service can accept.
    pub const MAX: usize = 32;

    /// The given kinds together.
    ///
    /// # Errors
    ///
    /// If there are none or too many, if two share a prefix, if a key of one kind
    /// could begin with the prefix of another, or if a legacy kind's successor is
    /// missing or itself legacy.
    pub fn new(formats: impl IntoIterator<Item = KeyFormat>) -> Result<Self, ConfigError> {
        let mut formats: Vec<KeyFormat> = formats.into_iter().take(Self::MAX + 1).collect();
        if formats.is_empty() {
            return Err(refused(
                "a service accepts at least one kind of key; give KeyFormats::new a format",
            ));
        }
        if formats.len() > Self::MAX {
            return Err(refused(
                "KeyFormats::new takes at most 32 kinds of key; drop those that have no keys",
            ));
        }
        formats.sort_by_key(|format| std::cmp::Reverse(format.kind.as_bytes().len()));
        let mut rest = formats.as_slice();
        while let Some((longer, shorter)) = rest.split_first() {
            for shorter in shorter {
                refuse_ambiguous(longer, shorter)?;
            }
            rest = shorter;
        }
        for format in &formats {
            let Some(successor) = format.successor else { continue };
            match formats.iter().find(|other| other.kind == successor) {
                None => {
                    return Err(refused(format!(
                        "the successor {successor} of the legacy kind {} is not accepted; give \
                         KeyFormats::new its format too",
                        format.kind
                    )));
                }
                Some(other) if other.successor.is_some() => {
                    return Err(refused(format!(
                        "the successor {successor} of the legacy kind {} is legacy too; call \
                         KeyFormat::with_successor with a kind that is minted",
                        format.kind
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(Self { formats: formats.into() })
    }

    /// The format of `kind`, if it is one of these.
    pub fn get(&self, kind: KeyKind) -> Option<&KeyFormat> {
        self.formats.iter().find(|format| format.kind == kind)
    }

    /// The format that a new secret for a key of `kind` has: its own, or for a legacy
    /// kind its successor's.
    pub fn minting(&self, kind: KeyKind) -> Option<&KeyFormat> {
        let format = self.get(kind)?;
        match format.successor {
            None => Some(format),
            Some(successor) => self.get(successor),
        }
    }

    /// The formats, longest prefix first.
    pub fn iter(&self) -> std::slice::Iter<'_, KeyFormat> {
        self.formats.iter()
    }
}

impl<'f> IntoIterator for &'f KeyFormats {
    type Item = &'f KeyFormat;
    type IntoIter = std::slice::Iter<'f, KeyFormat>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<KeyFormat> for KeyFormats {
    /// A service with a single kind. A legacy one alone is read, and neither minted nor
    /// rotated, as its successor is missing.
    fn from(format: KeyFormat) -> Self {
        Self { formats: Box::new([format]) }
    }
}

impl TryFrom<Vec<KeyFormat>> for KeyFormats {
    type Error = ConfigError;

    fn try_from(formats: Vec<KeyFormat>) -> Result<Self, ConfigError> {
        Self::new(formats)
    }
}

impl From<KeyFormats> for Vec<KeyFormat> {
    fn from(formats: KeyFormats) -> Self {
        formats.formats.into_vec()
    }
}

/// What is wrong with a presented token. It holds nothing of the token.
///
/// All of these are answered alike: 401, as for an unknown key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The token is empty.
    #[error("the key is empty")]
    Empty,
    /// The token begins with no known prefix.
    #[error("the key begins with no known prefix")]
    UnknownPrefix,
    /// The token is shorter than keys of its kind.
    #[error("the key has {found} bytes, not {expected}")]
    TooShort {
        /// The length of keys of this kind in bytes.
        expected: usize,
        /// The length of the token in bytes.
        found: usize,
    },
    /// The token is longer than keys of its kind.
    #[error("the key has {found} bytes, not {expected}")]
    TooLong {
        /// The length of keys of this kind in bytes.
        expected: usize,
        /// The length of the token in bytes.
        found: usize,
    },
    /// The token holds a character that its format does not, such as an upper-case
    /// letter in a hex body.
    #[error("the key holds a character at byte {position} that its format does not")]
    Character {
        /// Where it stands, in bytes from 0.
        position: usize,
    },
    /// The checksum does not fit the body: a typing error, or no key at all.
    #[error("the key's checksum is wrong")]
    Checksum,
}

impl ParseError {
    /// The HTTP status to answer with: 401 (RFC 9110 §15.5.2).
    pub const fn status(&self) -> u16 {
        401
    }
}

/// Decodes lower-case hexadecimal text that fills `bytes` exactly.
#[inline]
pub(crate) fn decode_lower_hex(text: &[u8], bytes: &mut [u8]) -> bool {
    // The decoder takes upper case too and is slow to refuse, so all is judged before.
    text.len() == bytes.len() * 2
        && first_outside(text, is_lower_hex).is_none()
        && const_hex::decode_to_slice(text, bytes).is_ok()
}

/// Where the first byte stands that is not of the given class.
///
/// A stretch is judged whole, without a branch, wherever in it a bad byte may stand.
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

/// Places within a stretch fit a byte, and any body of a key fits one or two stretches.
const STRETCH: usize = 128;

/// In each of 16 lanes the first place of a bad byte is kept, a block at a time, which the
/// compiler turns into vector instructions; only at the end is the least of them looked for.
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
    // Both ranges by one comparison each, for the sake of vectors.
    (byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'a') < 6)
}

#[inline]
pub(crate) const fn is_base62(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'A') < 26) | (byte.wrapping_sub(b'a') < 26)
}

/// The CRC-32 of the body's text as GitHub writes it: six base62 digits.
pub(crate) fn checksum(body: &[u8]) -> [u8; KeyFormat::CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(body);
    let mut text = [b'0'; KeyFormat::CHECKSUM_CHARS];
    for digit in text.iter_mut().rev() {
        *digit = base62_digit((rest % 62) as u8);
        rest /= 62;
    }
    text
}

/// The base62 digit `0-9A-Za-z` of a value below 62.
///
/// Arithmetic in place of a table: no memory access depends on a secret.
pub(crate) const fn base62_digit(value: u8) -> u8 {
    // 'A' follows '9' after a gap of 7, 'a' follows 'Z' after a gap of 6.
    let above_digits = (value > 9) as u8;
    let above_upper = (value > 35) as u8;
    b'0' + value + above_digits * 7 + above_upper * 6
}

fn refused(problem: impl Into<Cow<'static, str>>) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Format, problem)
}

fn refuse_ambiguous(longer: &KeyFormat, shorter: &KeyFormat) -> Result<(), ConfigError> {
    let Some(rest) = longer.kind.as_bytes().strip_prefix(shorter.kind.as_bytes()) else {
        return Ok(());
    };
    if rest.is_empty() {
        return Err(refused(format!(
            "two formats have the prefix {}; give KeyFormats::new one of them",
            longer.kind
        )));
    }
    // Such a key would be read as the longer kind, so the shorter kind must be unable to mint it.
    if rest.iter().enumerate().all(|(position, byte)| shorter.admits(position, *byte)) {
        return Err(refused(format!(
            "a key of kind {} could begin with {}; give KeyFormats::new another prefix for one of \
             them",
            shorter.kind, longer.kind
        )));
    }
    Ok(())
}

/// A format's form in serde.
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
            // Without a length the error names the lengths that are allowed.
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

    #[test]
    fn ambiguous_sets_are_refused() {
        let hex = |prefix: &str| KeyFormat::try_hex(prefix).unwrap();
        let base62 = |prefix: &str| KeyFormat::try_base62(prefix, 30).unwrap();
        assert!(problem(KeyFormats::new([])).contains("at least one kind"));
        let many = KeyFormats::new((0..33).map(|n| hex(&format!("k{n}_"))));
        assert!(problem(many).contains("at most 32"));
        for (a, b, fits) in [
            (hex("k_"), hex("k_"), false),
            (hex("k_"), base62("k_"), false),
            (hex("k_"), hex("k_ab"), false), // k_ab… is a key of kind k_
            (hex("k_"), hex("k_pk_"), true), // p is no hex digit
            (base62("k_"), hex("k_pk"), false),
            (base62("k_"), hex("k_pk_"), true), // _ is no base62 digit
            (hex("luc_"), hex("luc_A"), true),  // hex is lower-case
            (hex("luc_pk_"), hex("luc_api_"), true),
        ] {
            assert_eq!(KeyFormats::new([a, b]).is_ok(), fits, "{a:?} {b:?}");
            assert_eq!(KeyFormats::new([b, a]).is_ok(), fits, "{b:?} {a:?}");
        }
    }

    #[test]
    fn successors_exist_and_are_not_legacy() {
        let [old, new] = [KeyKind::from_static("old_"), KeyKind::from_static("new_")];
        let legacy = KeyFormat::hex("old_").with_successor(new);
        let unknown = problem(KeyFormats::new([legacy]));
        assert!(unknown.contains("successor new_ of the legacy kind old_ is not accepted"));
        for legacy_too in [
            KeyFormats::new([legacy, KeyFormat::hex("new_").with_successor(old)]),
            KeyFormats::new([KeyFormat::hex("own_").with_successor(KeyKind::from_static("own_"))]),
        ] {
            assert!(problem(legacy_too).contains("is legacy too"));
        }
        let formats = KeyFormats::new([legacy, KeyFormat::hex("new_")]).unwrap();
        assert_eq!(formats.minting(old).unwrap().kind(), new);
        assert_eq!(formats.minting(new).unwrap().kind(), new);
    }
}
