//! The details of entries.

use std::{fmt, ops::Deref};

/// The detail of an entry of the audit log: text of at most [`AuditDetail::MAX_LEN`] bytes without
/// control characters, so every store can keep it.
///
/// Any text becomes one: each control character is replaced by a space, and a longer text is cut
/// at the end of the last character that fits.
///
/// ```
/// use keyward::audit::AuditDetail;
///
/// assert_eq!(AuditDetail::from("two\nlines\0").as_str(), "two lines ");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AuditDetail(String);

impl AuditDetail {
    /// The largest number of bytes of a detail: 32 KiB.
    pub const MAX_LEN: usize = 32 * 1_024;

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for AuditDetail {
    fn from(text: &str) -> Self {
        let mut end = text.len().min(Self::MAX_LEN);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let kept = text.get(..end).unwrap_or_default();
        // A space is not longer than any character that it replaces.
        Self(kept.replace(char::is_control, " "))
    }
}

impl From<String> for AuditDetail {
    fn from(text: String) -> Self {
        if text.len() <= Self::MAX_LEN && !text.contains(char::is_control) {
            return Self(text);
        }
        Self::from(text.as_str())
    }
}

impl Deref for AuditDetail {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for AuditDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for AuditDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_cut_at_a_character_and_has_no_control_characters() {
        for text in ["x", "ü", "漢", "\u{1f511}", "\u{85}", "a\0"] {
            let long = text.repeat(AuditDetail::MAX_LEN);
            for detail in [AuditDetail::from(long.as_str()), AuditDetail::from(long.clone())] {
                assert!(detail.len() <= AuditDetail::MAX_LEN);
                assert!(!detail.contains(char::is_control));
                let chars = detail.chars().count();
                let kept: String = long.chars().take(chars).collect();
                assert_eq!(detail.as_str(), kept.replace(char::is_control, " "));
                assert!(kept.len() + 4 > AuditDetail::MAX_LEN, "no more than needed is cut");
            }
        }
        assert_eq!(AuditDetail::from("漢字 'x'".to_owned()).as_str(), "漢字 'x'");
    }
}
