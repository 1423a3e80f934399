//! Names that people read: of keys, owners and tiers.

use thiserror::Error;

use crate::text::{Text, text_noun};

/// What a person calls a key, such as `production ingest`.
///
/// 1 to [`KeyName::MAX_LEN`] bytes of UTF-8 without control characters. Clones share
/// the text.
///
/// ```
/// use keyward::{KeyName, NameError};
///
/// assert_eq!(KeyName::new("production ingest")?.as_str(), "production ingest");
/// assert_eq!(KeyName::new("a\nb"), Err(NameError::ControlCharacter { position: 1 }));
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(Text);

impl KeyName {
    /// The most bytes a key's name can have.
    pub const MAX_LEN: usize = 128;

    const fn check(text: &str) -> Result<(), NameError> {
        check_name(text, Self::MAX_LEN)
    }
}

text_noun!(KeyName, NameError);

/// Why a text is not a [`KeyName`], an [`OwnerId`](crate::OwnerId) or a
/// [`Tier`](crate::Tier).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("the name is empty")]
    Empty,
    /// The text is longer than allowed.
    #[error("the name is longer than {max} bytes")]
    TooLong {
        /// The most bytes allowed.
        max: usize,
    },
    /// The text holds an ASCII control character, which could forge log lines.
    #[error("the name holds a control character at byte {position}")]
    ControlCharacter {
        /// Where the first one stands, in bytes from 0.
        position: usize,
    },
}

pub(crate) const fn check_name(text: &str, max: usize) -> Result<(), NameError> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(NameError::Empty);
    }
    if bytes.len() > max {
        return Err(NameError::TooLong { max });
    }
    let mut position = 0;
    while position < bytes.len() {
        if bytes[position].is_ascii_control() {
            return Err(NameError::ControlCharacter { position });
        }
        position += 1;
    }
    Ok(())
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
            ("", NameError::Empty),
            ("a\0b", NameError::ControlCharacter { position: 1 }),
            ("line\nbreak", NameError::ControlCharacter { position: 4 }),
            ("\u{7f}", NameError::ControlCharacter { position: 0 }),
        ] {
            assert_eq!(KeyName::new(bad), Err(error), "{bad:?}");
        }
        assert!(KeyName::new(&"x".repeat(KeyName::MAX_LEN)).is_ok());
        let long = "x".repeat(1 << 20);
        assert_eq!(KeyName::new(&long), Err(NameError::TooLong { max: KeyName::MAX_LEN }));
    }
}
