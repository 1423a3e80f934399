//! Rules for secret scanners, so that a leaked key is found.

use crate::key::format::{Body, KeyFormat};

/// A rule that finds keys of one format in text, in the terms of gitleaks and
/// trufflehog: a cheap keyword first, then a regular expression.
///
/// The expression keeps to the syntax that RE2, Go and Rust share. It matches whole
/// keys only: not one with a character missing or with one too many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ScannerRule {
    /// A text that stands in every such key: the prefix.
    pub keyword: String,
    /// The expression; its first group is the key.
    pub regex: String,
}

impl KeyFormat {
    /// The rule by which a secret scanner finds keys of this format.
    ///
    /// ```
    /// let rule = keyward::KeyFormat::hex("lqt_").scanner_rule();
    /// assert_eq!(rule.keyword, "lqt_");
    /// assert_eq!(rule.regex, r"\b(lqt_[0-9a-f]{64})\b");
    /// ```
    pub fn scanner_rule(&self) -> ScannerRule {
        let kind = self.kind();
        // Before a hyphen `\b` would demand a word character, so it is left out there.
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
