//! The format of keys that another system minted.

use std::{fmt, ops::RangeInclusive};

use crate::{
    error::ConfigError,
    key::{
        alphabet::Alphabet, format::refused, hint::KeyHint, kind::KeyKind, parse::first_outside,
    },
};

/// The format of keys that another system minted, which a service reads and **never mints**.
///
/// A key is a prefix (or none), perhaps an identifier with a separator behind it, and the secret:
/// characters of one alphabet, in a range of lengths. A set that has this format also has that of a
/// successor. Rotating an old key mints a key of the successor.
///
/// ```
/// use keyward::{key::{Alphabet, KeyFormats, LegacyFormat}, KeyFormat};
///
/// const NEW: KeyFormat = KeyFormat::hex("acme_");
///
/// // 7c9e6679-7425-40de-944b-e07fc1f90ae7
/// const UUID: LegacyFormat =
///     LegacyFormat::new("uuid", Alphabet::LOWER_HEX.with('-'), 36..=36).with_successor(NEW.kind());
/// // 17|pT6oGsuvFVuIZAbkSEDRlGMoQoBwYrSPTBVXcWcL4f6c18be (Laravel Sanctum)
/// const SANCTUM: LegacyFormat = LegacyFormat::new("sanctum", Alphabet::BASE62, 40..=48)
///     .with_identifier(Alphabet::DIGITS, 1..=20, '|')
///     .with_successor(NEW.kind());
///
/// let formats = KeyFormats::new([NEW])?.with_legacy(UUID)?.with_legacy(SANCTUM)?;
/// let presented = formats.parse("7c9e6679-7425-40de-944b-e07fc1f90ae7")?;
/// assert_eq!(presented.kind(), UUID.kind());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The kind is a name that the host chooses, because such a key may have no prefix.
///
/// Its form in serde is `{"kind":"uuid","alphabet":"-0123456789abcdef","min":36,"max":36}`.
/// Optional are `prefix`, `identifier` (with `alphabet`, `min`, `max` and `separator`) and
/// `successor`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LegacyFormat {
    kind: KeyKind,
    prefix: Prefix,
    identifier: Option<Identifier>,
    secret: Part,
    successor: Option<KeyKind>,
}

/// Characters of one alphabet, in a range of lengths.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) alphabet: Alphabet,
    pub(super) min: usize,
    pub(super) max: usize,
}

/// The part before the secret that names the row of a key, and what separates it from the secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identifier {
    pub(super) part: Part,
    pub(super) separator: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Prefix {
    /// The prefix in ASCII, then zeros.
    bytes: [u8; LegacyFormat::MAX_PREFIX],
    len: u8,
}

impl LegacyFormat {
    /// The largest number of characters of a prefix.
    pub const MAX_PREFIX: usize = 31;
    /// The largest number of characters of an identifier.
    pub const MAX_IDENTIFIER: usize = 64;
    /// The largest number of characters of a secret.
    pub const MAX_SECRET: usize = 256;
    /// The smallest number of bits that the shortest secret of random characters has. Whoever has
    /// the hash of a shorter one can find it by trying.
    pub const MIN_SECRET_BITS: usize = 80;
    /// The largest number of characters of the secret that a hint shows. It shows fewer, so that the
    /// rest has [`LegacyFormat::MIN_SECRET_BITS`].
    const MAX_HINT: usize = 8;

    /// Builds the format of the kind `kind`, whose keys are secrets of these characters and
    /// lengths.
    ///
    /// # Panics
    ///
    /// Panics on what [`LegacyFormat::try_new`] refuses, which in a `const` fails the build.
    pub const fn new(
        kind: &'static str,
        alphabet: Alphabet,
        lengths: RangeInclusive<usize>,
    ) -> Self {
        Self::built(Self::checked(kind, alphabet, *lengths.start(), *lengths.end()))
    }

    /// Builds the format of the kind `kind`, whose keys are secrets of these characters and
    /// lengths.
    ///
    /// # Errors
    ///
    /// Returns an error if the kind is not valid, if the lengths are not in order or above
    /// [`LegacyFormat::MAX_SECRET`], or if the shortest secret has fewer than
    /// [`LegacyFormat::MIN_SECRET_BITS`] bits.
    pub fn try_new(
        kind: &str,
        alphabet: Alphabet,
        lengths: RangeInclusive<usize>,
    ) -> Result<Self, ConfigError> {
        Self::checked(kind, alphabet, *lengths.start(), *lengths.end()).map_err(refused)
    }

    /// Sets the text with which every key begins, such as `sb_secret_`.
    ///
    /// # Panics
    ///
    /// Panics on what [`LegacyFormat::try_with_prefix`] refuses, which in a `const` fails the
    /// build.
    #[must_use]
    pub const fn with_prefix(self, prefix: &'static str) -> Self {
        Self::built(self.check_prefix(prefix))
    }

    /// Sets the text with which every key begins.
    ///
    /// # Errors
    ///
    /// Returns an error for more than [`LegacyFormat::MAX_PREFIX`] characters, and for a character
    /// that no [`Alphabet`] can have.
    pub fn try_with_prefix(self, prefix: &str) -> Result<Self, ConfigError> {
        self.check_prefix(prefix).map_err(refused)
    }

    /// Sets the part between prefix and secret that names the row of a key: its characters, its
    /// lengths, and the character that separates it from the secret.
    ///
    /// Keyward finds a key by its secret alone and does not compare the identifier.
    ///
    /// # Panics
    ///
    /// Panics on what [`LegacyFormat::try_with_identifier`] refuses, which in a `const` fails the
    /// build.
    #[must_use]
    pub const fn with_identifier(
        self,
        alphabet: Alphabet,
        lengths: RangeInclusive<usize>,
        separator: char,
    ) -> Self {
        Self::built(self.check_identifier(alphabet, *lengths.start(), *lengths.end(), separator))
    }

    /// Sets the part between prefix and secret that names the row of a key. See
    /// [`LegacyFormat::with_identifier`].
    ///
    /// # Errors
    ///
    /// Returns an error if the separator is a character of the identifier or one that no
    /// [`Alphabet`] can have, and if the lengths are not in order, 0 or above
    /// [`LegacyFormat::MAX_IDENTIFIER`].
    pub fn try_with_identifier(
        self,
        alphabet: Alphabet,
        lengths: RangeInclusive<usize>,
        separator: char,
    ) -> Result<Self, ConfigError> {
        self.check_identifier(alphabet, *lengths.start(), *lengths.end(), separator)
            .map_err(refused)
    }

    /// Sets the kind of the keys that old ones become when they rotate.
    #[must_use]
    pub const fn with_successor(mut self, successor: KeyKind) -> Self {
        self.successor = Some(successor);
        self
    }

    /// Returns the kind.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns the text with which every key begins; it may be empty.
    pub fn prefix(&self) -> &str {
        str::from_utf8(self.prefix_bytes()).unwrap_or_default()
    }

    /// Returns the kind of the keys that old ones become when they rotate.
    pub const fn successor(&self) -> Option<KeyKind> {
        self.successor
    }

    pub(super) fn prefix_bytes(&self) -> &[u8] {
        self.prefix.bytes.get(..usize::from(self.prefix.len)).unwrap_or_default()
    }

    pub(super) const fn identifier(&self) -> Option<&Identifier> {
        self.identifier.as_ref()
    }

    pub(super) const fn secret(&self) -> &Part {
        &self.secret
    }

    /// Returns the secret of a token of this format.
    ///
    /// It looks at no more bytes than a key can have, however long the token is.
    pub(super) fn read<'t>(&self, token: &'t [u8]) -> Option<&'t [u8]> {
        let rest = token.strip_prefix(self.prefix_bytes())?;
        let secret = match &self.identifier {
            None => rest,
            Some(Identifier { part, separator }) => {
                let end = rest.iter().take(part.max + 1).position(|byte| byte == separator)?;
                let (identifier, behind) = rest.split_at_checked(end)?;
                if !part.admits(identifier) {
                    return None;
                }
                behind.get(1..)?
            }
        };
        self.secret.admits(secret).then_some(secret)
    }

    /// Returns the hint of a key for listings, if its characters can be in one: the prefix and the
    /// start of the secret. At least [`LegacyFormat::MIN_SECRET_BITS`] stay hidden.
    pub(super) fn hint(&self, secret: &[u8]) -> Option<KeyHint> {
        let Part { alphabet, min, .. } = self.secret;
        let spare = (1..=Self::MAX_HINT).take_while(|shown| {
            alphabet.bits_of(min.saturating_sub(*shown)) >= Self::MIN_SECRET_BITS
        });
        let shown = str::from_utf8(secret.get(..spare.count())?).ok()?;
        KeyHint::new(&format!("{}{shown}", self.prefix())).ok()
    }

    const fn checked(
        kind: &str,
        alphabet: Alphabet,
        min: usize,
        max: usize,
    ) -> Result<Self, &'static str> {
        let Ok(kind) = KeyKind::new(kind) else {
            return Err(
                "a kind has 1 to 23 characters of [A-Za-z0-9_-]; call LegacyFormat::try_new with \
                 such a kind",
            );
        };
        if min > max || max > Self::MAX_SECRET {
            return Err(
                "the secret of a legacy key has at most 256 characters, and the shorter length \
                 comes first; call LegacyFormat::try_new with such lengths",
            );
        }
        if alphabet.bits_of(min) < Self::MIN_SECRET_BITS {
            return Err(
                "the shortest secret of a legacy kind has fewer than 80 bits, so that it can be \
                 found by trying; issue new keys for those, and call LegacyFormat::try_new with a \
                 larger shortest length",
            );
        }
        let prefix = Prefix { bytes: [0; Self::MAX_PREFIX], len: 0 };
        let secret = Part { alphabet, min, max };
        Ok(Self { kind, prefix, identifier: None, secret, successor: None })
    }

    const fn check_prefix(mut self, prefix: &str) -> Result<Self, &'static str> {
        let prefix = prefix.as_bytes();
        if prefix.len() > Self::MAX_PREFIX {
            return Err("the prefix of a legacy key has at most 31 characters; call \
                 LegacyFormat::try_with_prefix with fewer");
        }
        let mut bytes = [0; Self::MAX_PREFIX];
        let mut position = 0;
        while position < prefix.len() {
            if !Alphabet::admits(prefix[position]) {
                return Err(
                    "the prefix of a legacy key has characters that an Alphabet can have; call \
                     LegacyFormat::try_with_prefix with such characters",
                );
            }
            bytes[position] = prefix[position];
            position += 1;
        }
        self.prefix = Prefix { bytes, len: prefix.len() as u8 };
        Ok(self)
    }

    const fn check_identifier(
        mut self,
        alphabet: Alphabet,
        min: usize,
        max: usize,
        separator: char,
    ) -> Result<Self, &'static str> {
        if min == 0 || min > max || max > Self::MAX_IDENTIFIER {
            return Err(
                "the identifier of a legacy key has 1 to 64 characters, and the shorter length \
                 comes first; call LegacyFormat::try_with_identifier with such lengths",
            );
        }
        if separator as u32 > 127
            || !Alphabet::admits(separator as u8)
            || alphabet.contains(separator as u8)
        {
            return Err(
                "the separator of a legacy key is a character that an Alphabet can have and that \
                 the identifier does not have; call LegacyFormat::try_with_identifier with such a \
                 character",
            );
        }
        let part = Part { alphabet, min, max };
        self.identifier = Some(Identifier { part, separator: separator as u8 });
        Ok(self)
    }

    /// Returns the format of a literal. In a `const` the panic fails the build and shows the
    /// problem.
    const fn built(format: Result<Self, &'static str>) -> Self {
        match format {
            Ok(format) => format,
            Err(problem) => panic!("{}", problem),
        }
    }
}

impl Part {
    /// Returns whether the text has the characters and the length of this part.
    fn admits(&self, text: &[u8]) -> bool {
        (self.min..=self.max).contains(&text.len())
            && first_outside(text, |byte| self.alphabet.contains(byte)).is_none()
    }
}

impl fmt::Debug for LegacyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LegacyFormat({}: {:?}", self.kind, self.prefix())?;
        if let Some(Identifier { part, separator }) = &self.identifier {
            let separator = char::from(*separator);
            write!(f, " + {}..={} [{}] {separator:?}", part.min, part.max, part.alphabet)?;
        }
        write!(f, " + {}..={} [{}]", self.secret.min, self.secret.max, self.secret.alphabet)?;
        if let Some(successor) = self.successor {
            write!(f, ", becomes {successor}")?;
        }
        f.write_str(")")
    }
}
