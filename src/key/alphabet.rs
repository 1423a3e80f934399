//! Sets of characters that keys of other systems consist of.

use std::fmt;

use crate::{
    error::{ConfigError, InvalidText},
    key::format::refused,
};

/// A set of characters, for the parts of a [`LegacyFormat`](crate::key::LegacyFormat).
///
/// It can have every visible ASCII character except `"`, `,`, `;` and `\`: those of a cookie
/// (RFC 6265 §4.1.1), which every place of a request can carry.
///
/// ```
/// use keyward::key::Alphabet;
///
/// const UUID: Alphabet = Alphabet::LOWER_HEX.with('-');
/// assert_eq!(Alphabet::of("0123456789-abcdef"), UUID);
/// assert!(UUID.contains(b'-') && !UUID.contains(b'A'));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alphabet {
    /// One bit for each character.
    bits: u128,
}

impl Alphabet {
    /// The digits `0-9`.
    pub const DIGITS: Self = Self::of("0123456789");
    /// Lower-case hexadecimal: `0-9a-f`.
    pub const LOWER_HEX: Self = Self::DIGITS.union(Self::of("abcdef"));
    /// Upper-case hexadecimal: `0-9A-F`.
    pub const UPPER_HEX: Self = Self::DIGITS.union(Self::of("ABCDEF"));
    /// The letters `A-Za-z`.
    pub const LETTERS: Self = Self::of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    /// Letters and digits: `0-9A-Za-z`.
    pub const BASE62: Self = Self::DIGITS.union(Self::LETTERS);
    /// base64url without padding (RFC 4648 §5): `0-9A-Za-z_-`.
    pub const BASE64URL: Self = Self::BASE62.union(Self::of("_-"));
    /// base64 with padding (RFC 4648 §4): `0-9A-Za-z+/=`.
    pub const BASE64: Self = Self::BASE62.union(Self::of("+/="));

    /// Builds the set of the characters of a literal, in any order.
    ///
    /// # Panics
    ///
    /// Panics on a character that no set can have, which in a `const` fails the build. For a text
    /// that is known only at run time, call [`Alphabet::try_of`].
    pub const fn of(characters: &'static str) -> Self {
        match Self::read(characters) {
            Ok(alphabet) => alphabet,
            Err(error) => panic!("{}", error.expected()),
        }
    }

    /// Builds the set of these characters, in any order.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none, or for a character that no set can have.
    pub fn try_of(characters: &str) -> Result<Self, ConfigError> {
        Self::read(characters).map_err(|error| refused(error.to_string()))
    }

    /// Adds a character.
    ///
    /// # Panics
    ///
    /// Panics on a character that no set can have, which in a `const` fails the build.
    #[must_use]
    pub const fn with(self, character: char) -> Self {
        if character as u32 > 127 || !Self::admits(character as u8) {
            panic!("{}", NO_ALPHABET.expected());
        }
        self.union(Self::single(character as u8))
    }

    /// Returns the characters of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self { bits: self.bits | other.bits }
    }

    /// Returns whether the set has this character.
    #[inline]
    pub const fn contains(&self, byte: u8) -> bool {
        // A shift by the low seven bits, and then whether there were only these.
        (self.bits >> (byte & 127)) as u8 & 1 & (byte < 128) as u8 != 0
    }

    /// Returns the set of one character, which is ASCII.
    pub(super) const fn single(byte: u8) -> Self {
        Self { bits: 1 << (byte & 127) }
    }

    /// Returns whether some character is in both sets.
    pub(super) const fn meets(&self, other: &Self) -> bool {
        self.bits & other.bits != 0
    }

    /// Returns whether a key of another system can contain this character.
    pub(super) const fn admits(byte: u8) -> bool {
        byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
    }

    /// Returns the number of bits of `chars` random characters, rounded down.
    pub(super) const fn bits_of(&self, chars: usize) -> usize {
        // The bits of 16 characters, for a precision of a sixteenth of a bit.
        let sixteen = match (self.bits.count_ones() as u128).checked_pow(16) {
            Some(0) | None => 0,
            Some(combinations) => combinations.ilog2() as usize,
        };
        sixteen * chars / 16
    }

    const fn read(characters: &str) -> Result<Self, InvalidText> {
        let characters = characters.as_bytes();
        if characters.is_empty() {
            return Err(NO_ALPHABET);
        }
        let mut alphabet = Self { bits: 0 };
        let mut position = 0;
        while position < characters.len() {
            if !Self::admits(characters[position]) {
                return Err(NO_ALPHABET.with_position(position));
            }
            alphabet = alphabet.union(Self::single(characters[position]));
            position += 1;
        }
        Ok(alphabet)
    }
}

impl fmt::Display for Alphabet {
    /// Writes the characters in the order of ASCII.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..128).filter(|byte| self.contains(*byte)).try_for_each(|byte| {
            use fmt::Write as _;
            f.write_char(char::from(byte))
        })
    }
}

impl fmt::Debug for Alphabet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alphabet({self})")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Alphabet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Alphabet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize_from_str(deserializer)
    }
}

impl std::str::FromStr for Alphabet {
    type Err = InvalidText;

    fn from_str(characters: &str) -> Result<Self, InvalidText> {
        Self::read(characters)
    }
}

const NO_ALPHABET: InvalidText = InvalidText::new(
    "an alphabet: visible ASCII characters, without the quotation mark, comma, semicolon and backslash",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_characters_of_its_text() {
        for text in ["a", "0123456789", "-_|~!#", "az"] {
            let alphabet = Alphabet::try_of(text).unwrap();
            for byte in 0..=u8::MAX {
                assert_eq!(alphabet.contains(byte), text.as_bytes().contains(&byte), "{byte:#x}");
            }
            assert_eq!(alphabet.to_string().parse(), Ok(alphabet));
        }
        for bad in ["", " ", "a b", "\"", ",", ";", "\\", "\u{7f}", "\0", "ä"] {
            let error = Alphabet::try_of(bad).unwrap_err();
            assert!(error.to_string().contains("an alphabet"), "{bad:?}");
        }
    }

    #[test]
    fn random_bits_are_those_of_the_logarithm() {
        for (alphabet, chars, bits) in [
            (Alphabet::LOWER_HEX, 32, 128),
            (Alphabet::LOWER_HEX.with('-'), 36, 146),
            (Alphabet::BASE64URL, 43, 258),
            (Alphabet::BASE62, 22, 130),
            (Alphabet::DIGITS, 16, 53),
            (Alphabet::of("a"), 200, 0),
        ] {
            assert_eq!(alphabet.bits_of(chars), bits, "{chars} of {alphabet}");
        }
    }
}
