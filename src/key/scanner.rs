//! Rules for secret scanners, which find leaked keys.

use crate::key::format::{Body, KeyFormat};

/// A rule that finds keys of one format in text. As in gitleaks and trufflehog it has a keyword,
/// which is cheap to look for, and a regular expression.
///
/// The expression uses only syntax that RE2, Go and Rust share. It finds a key behind any character, also
/// behind a letter or digit that is the end of an escape: `\nKEY` in JSON, `%3DKEY` in a URL, `ESC[32mKEY`
/// in the log of a terminal, and `MY_KEY`. It matches whole keys: one with a character missing, or with a
/// letter or digit behind it, does not match.
///
/// gitleaks matches a finding once more by itself, without the line break at its end. The expression
/// matches there too.
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
    /// assert_eq!(rule.regex, r"(lqt_[0-9a-f]{64})(?:[^0-9A-Za-z]|$)");
    /// ```
    pub fn scanner_rule(&self) -> ScannerRule {
        let kind = self.kind();
        let body = match self.body() {
            Body::Hex { bytes } => format!("[0-9a-f]{{{}}}", usize::from(bytes) * 2),
            Body::Base62 { chars } => format!("[0-9A-Za-z]{{{chars}}}"),
        };
        let checksum = if self.has_checksum() { "[0-9A-Za-z]{6}" } else { "" };
        ScannerRule {
            keyword: kind.as_str().to_owned(),
            // No `\b` before the key: it would require that no letter is there. Behind the key it would
            // refuse `KEY_`, which is not part of a key.
            regex: format!("({kind}{body}{checksum})(?:[^0-9A-Za-z]|$)"),
        }
    }
}
