//! What of a key may be shown after it was minted.

use crate::{
    error::InvalidText,
    text::{Text, text_noun},
};

/// The start of a key that a listing shows so that its owner can tell keys apart,
/// such as `lqt_7a4f9e2b`.
///
/// It is for people. Nothing is ever looked up or proved by it.
///
/// 1 to [`KeyHint::MAX_LEN`] bytes of `[A-Za-z0-9_-]`, plus `.` and `*` for the hints
/// of existing tables. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHint(Text);

impl KeyHint {
    /// The most bytes a hint can have: the longest prefix and 12 characters of the body.
    /// A key has more than that, but for the shortest formats, so one that was put in the
    /// wrong column of an imported table is refused and not shown.
    pub const MAX_LEN: usize = 35;

    const fn check(text: &str) -> Result<(), InvalidText> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN {
            return Err(NO_HINT);
        }
        let mut position = 0;
        while position < bytes.len() {
            if !matches!(bytes[position], b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*')
            {
                return Err(NO_HINT);
            }
            position += 1;
        }
        Ok(())
    }
}

text_noun!(KeyHint);

const NO_HINT: InvalidText =
    InvalidText::new("a hint of a key: 1 to 35 characters of [A-Za-z0-9_.*-]");
