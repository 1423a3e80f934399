//! Rules for secret scanners, which find leaked keys.

use crate::key::format::{Body, KeyFormat};

/// A rule that finds keys of one format in text. As in gitleaks and trufflehog it has a keyword,
/// which is cheap to look for, and a regular expression.
///
/// The expression uses only syntax that RE2, Go and Rust share. It matches whole keys: a key with a
/// character missing, or with one too many, does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ScannerRule {
    /// A text that every such key contains: the prefix.
    pub keyword: String,
    /// The expression. Its first group is the key.
    pub regex: String,
}

impl KeyFormat {
    /// Returns the rule with which a secret scanner finds keys of this format.
    ///
    /// ```
    /// let rule = keyward::KeyFormat::hex("lqt_").scanner_rule();
    /// assert_eq!(rule.keyword, "lqt_");
    /// assert_eq!(rule.regex, r"\b(lqt_[0-9a-f]{64})\b");
    /// ```
    pub fn scanner_rule(&self) -> ScannerRule {
        let kind = self.kind();
        // Before a hyphen `\b` would require a word character, so it is left out.
        let start = if kind.as_str().starts_with('-') { "" } else { r"\b" };
        let body = match self.body() {
            Body::Hex { bytes } => format!("[0-9a-f]{{{}}}", usize::from(bytes) * 2),
            Body::Base62 { chars } => format!("[0-9A-Za-z]{{{chars}}}"),
        };
        let checksum = if self.has_checksum() { "[0-9A-Za-z]{6}" } else { "" };
        ScannerRule {
            keyword: kind.as_str().to_owned(),
            regex: format!(r"{start}({kind}{body}{checksum})\b"),
        }
    }
}
