//! The part of a key that listings show.

use crate::{
    error::InvalidText,
    text::{Text, text_noun},
};

/// The start of a key, such as `lqt_7a4f9e2b`. A listing shows it so that an owner can tell keys
/// apart.
///
/// It is for people: no lookup uses it, and it proves nothing. It has 1 to [`KeyHint::MAX_LEN`]
/// bytes of `[A-Za-z0-9_-]`, and `.` and `*` for the hints of existing tables. Clones share the
/// text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHint(Text);

impl KeyHint {
    /// The largest number of bytes of a hint: the longest prefix and 12 characters of the body.
    ///
    /// Keys of all but the shortest formats are longer. So a key in the wrong column of an imported
    /// table is refused, and no listing shows it.
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
