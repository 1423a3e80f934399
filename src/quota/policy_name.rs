//! Names of policies.

use crate::{
    error::InvalidText,
    text::{Text, text_noun},
};

/// The name of a policy, such as `default` or `exports`: what a
/// [`Limit`](crate::limit::Limit) is called, and what routes and [`Overrides`](crate::quota::Overrides)
/// call it by.
///
/// It has 1 to [`PolicyName::MAX_LEN`] characters of `A-Z a-z 0-9 . _ -`. Clones share the text.
///
/// ```
/// use keyward::quota::PolicyName;
///
/// const EXPORTS: PolicyName = PolicyName::from_static("exports");
/// assert_eq!(PolicyName::new("exports"), Ok(EXPORTS));
/// assert_eq!(PolicyName::new("two words").unwrap_err().position(), Some(3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName(Text);

impl PolicyName {
    /// The largest number of characters of a name.
    pub const MAX_LEN: usize = 64;
    /// The name `default`: that of the limit of a service with one limit.
    pub const DEFAULT: Self = Self::from_static("default");

    const fn check(text: &str) -> Result<(), InvalidText> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN {
            return Err(NO_POLICY_NAME);
        }
        let mut position = 0;
        while position < bytes.len() {
            let byte = bytes[position];
            if !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'_' | b'-') {
                return Err(NO_POLICY_NAME.with_position(position));
            }
            position += 1;
        }
        Ok(())
    }
}

text_noun!(PolicyName);

const NO_POLICY_NAME: InvalidText =
    InvalidText::new("the name of a policy: 1 to 64 characters of A-Z a-z 0-9 . _ -");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_few_characters() {
        for good in ["a", "default", "exports-v2", "API.read_all", "0", &"x".repeat(64)] {
            assert_eq!(PolicyName::new(good).unwrap().as_str(), good);
        }
        for (bad, error) in [
            ("", NO_POLICY_NAME),
            (&*"x".repeat(65), NO_POLICY_NAME),
            ("a b", NO_POLICY_NAME.with_position(1)),
            ("a=b", NO_POLICY_NAME.with_position(1)),
            ("ab;", NO_POLICY_NAME.with_position(2)),
            ("ü", NO_POLICY_NAME.with_position(0)),
            ("\"", NO_POLICY_NAME.with_position(0)),
        ] {
            assert_eq!(PolicyName::new(bad), Err(error), "{bad:?}");
        }
    }
}
