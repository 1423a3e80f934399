//! What keys are called on the server.

use std::fmt::Write;

use crate::limit::key::LimitKey;

/// How the keys of limits are named on a server, such as
/// `keyward:{0110…}` with the 40 hexadecimal digits of [`LimitKey::to_bytes`].
///
/// What stands in braces chooses the slot of a cluster. By default that is the limit itself, so
/// limits spread over the cluster, and a decision on several limits together is only possible on
/// a single server. With [`RemoteNames::with_tag`] all of them lie in one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteNames {
    prefix: String,
    tag: Option<String>,
}

impl RemoteNames {
    /// Names that begin with `prefix`. A brace in it is left out, since it would decide the slot.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: without_braces(prefix), tag: None }
    }

    /// All limits in the slot of `tag`, so that several can be decided together on a cluster.
    #[must_use]
    pub fn with_tag(self, tag: &str) -> Self {
        let tag = Some(without_braces(tag)).filter(|tag| !tag.is_empty());
        Self { tag, ..self }
    }

    /// The name of a limit.
    pub fn of(&self, key: &LimitKey) -> Vec<u8> {
        let digits = const_hex::encode(key.to_bytes());
        let mut name = String::with_capacity(self.prefix.len() + 48);
        // Writing to a `String` cannot fail.
        let _ = match &self.tag {
            None => write!(name, "{}:{{{digits}}}", self.prefix),
            Some(tag) => write!(name, "{}:{{{tag}}}:{digits}", self.prefix),
        };
        name.into_bytes()
    }

    /// The name of the key that tells which primary is known: see
    /// [`RemoteCharge::closed_after_new_primary`](crate::limit::RemoteCharge::closed_after_new_primary).
    pub(super) fn primary(&self) -> Vec<u8> {
        let tag = self.tag.as_deref().unwrap_or("primary");
        format!("{}:{{{tag}}}:primary", self.prefix).into_bytes()
    }
}

fn without_braces(text: &str) -> String {
    text.chars().filter(|character| !matches!(character, '{' | '}')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_tag() {
        let key = LimitKey::named(1, b"ab");
        let digits = const_hex::encode(key.to_bytes());
        for (names, expected) in [
            (RemoteNames::new("keyward"), format!("keyward:{{{digits}}}")),
            (RemoteNames::new("a{b}"), format!("ab:{{{digits}}}")),
            (RemoteNames::new("a").with_tag("t}"), format!("a:{{t}}:{digits}")),
            (RemoteNames::new("a").with_tag("{}"), format!("a:{{{digits}}}")),
        ] {
            assert_eq!(names.of(&key), expected.as_bytes());
        }
    }
}
