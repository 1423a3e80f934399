//! Names that people read: of keys, owners and tiers.

use crate::{
    error::InvalidText,
    text::{Text, text_noun},
};

/// What a person calls a key, such as `production ingest`.
///
/// 1 to [`KeyName::MAX_LEN`] bytes of UTF-8, not spaces alone, without control
/// characters, marks of direction, line separators and U+200B. Clones share the text.
///
/// ```
/// use keyward::{error::InvalidText, key::KeyName};
///
/// assert_eq!(KeyName::new("production ingest")?.as_str(), "production ingest");
/// assert_eq!(KeyName::new("a\nb").unwrap_err().position(), Some(1));
/// # Ok::<(), InvalidText>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(Text);

impl KeyName {
    /// The most bytes a key's name can have.
    pub const MAX_LEN: usize = 128;

    const fn check(text: &str) -> Result<(), InvalidText> {
        check_name(text, Self::MAX_LEN, NO_NAME)
    }
}

text_noun!(KeyName);

const NO_NAME: InvalidText = InvalidText::new(
    "the name of a key: 1 to 128 bytes of UTF-8, not spaces alone, without control characters",
);

/// Checks a name of 1 to `max` bytes. Control characters, separators of lines and paragraphs, and
/// marks that reverse the direction of what follows could forge log lines and listings.
pub(crate) const fn check_name(
    text: &str,
    max: usize,
    error: InvalidText,
) -> Result<(), InvalidText> {
    let bytes = text.as_bytes();
    if bytes.len() > max {
        return Err(error);
    }
    let mut blank = true;
    let mut position = 0;
    while position < bytes.len() {
        if is_control(bytes, position) {
            return Err(error.with_position(position));
        }
        blank = blank && bytes[position] == b' ';
        position += 1;
    }
    if blank { Err(error) } else { Ok(()) }
}

/// Whether a control character, a separator of lines or paragraphs, or a mark of direction
/// starts at `position` of UTF-8 text. On bytes, since a `const fn` cannot iterate over
/// characters.
const fn is_control(text: &[u8], position: usize) -> bool {
    let byte = text[position];
    let second = if position + 1 < text.len() { text[position + 1] } else { 0 };
    let third = if position + 2 < text.len() { text[position + 2] } else { 0 };
    byte.is_ascii_control()
        // U+0080 to U+009F, the C1 controls.
        || byte == 0xC2 && second < 0xA0
        // U+061C, the Arabic letter mark.
        || byte == 0xD8 && second == 0x9C
        // U+200B, which is invisible; U+200E and U+200F, marks of direction; U+2028 and
        // U+2029, the separators; U+202A to U+202E, embedding and override.
        || byte == 0xE2 && second == 0x80 && matches!(third, 0x8B | 0x8E | 0x8F | 0xA8..=0xAE)
        // U+2066 to U+2069, the isolates.
        || byte == 0xE2 && second == 0x81 && matches!(third, 0xA6..=0xA9)
        // U+FEFF, the byte order mark.
        || byte == 0xEF && second == 0xBB && third == 0xBF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_printable() {
        for good in ["a", "proj_abc123", "Ärzte ohne Grenzen", "org/with:anything else", "😀"] {
            assert_eq!(KeyName::new(good).unwrap().as_str(), good);
        }
        for (bad, error) in [
            ("", NO_NAME),
            ("a\0b", NO_NAME.with_position(1)),
            ("line\nbreak", NO_NAME.with_position(4)),
            ("\u{7f}", NO_NAME.with_position(0)),
            ("   ", NO_NAME),
            ("a\u{85}", NO_NAME.with_position(1)),
            ("a\u{9b}31m", NO_NAME.with_position(1)),
            ("\u{2028}", NO_NAME.with_position(0)),
            ("ab\u{202e}", NO_NAME.with_position(2)),
            ("\u{2067}a", NO_NAME.with_position(0)),
        ] {
            assert_eq!(KeyName::new(bad), Err(error), "{bad:?}");
        }
        for code in 0..=u32::from(char::MAX) {
            let Some(character) = char::from_u32(code) else { continue };
            let refused = character.is_control()
                || matches!(
                    code,
                    0x061C | 0x200B | 0x200E | 0x200F | 0x2028..=0x202E | 0x2066..=0x2069 | 0xFEFF
                )
                || character == ' ';
            assert_eq!(KeyName::new(&character.to_string()).is_err(), refused, "U+{code:04X}");
        }
        assert!(KeyName::new(&"x".repeat(KeyName::MAX_LEN)).is_ok());
        let long = "x".repeat(1 << 20);
        assert_eq!(KeyName::new(&long), Err(NO_NAME));
    }
}
