//! The names of limits on the server.

use std::fmt::Write;

use keyward::limit::LimitKey;

/// The names of limits on a server, such as `keyward:{0110…}` with the 40 hexadecimal digits of
/// [`LimitKey::to_bytes`].
///
/// The part in braces chooses the slot of a cluster. By default it is the limit itself. Then limits
/// spread over the cluster, and a decision on several limits together is only possible on a single
/// server. With [`RemoteNames::with_tag`] all limits lie in one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteNames {
    prefix: String,
    tag: Option<String>,
}

impl RemoteNames {
    /// Builds names that begin with `prefix`. Braces in it are removed, because they would choose the
    /// slot.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: without_braces(prefix), tag: None }
    }

    /// Puts all limits in the slot of `tag`, so that a cluster can decide several together.
    #[must_use]
    pub fn with_tag(self, tag: &str) -> Self {
        let tag = Some(without_braces(tag)).filter(|tag| !tag.is_empty());
        Self { tag, ..self }
    }

    /// Returns the name of a limit.
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

    /// Returns the name of the key that holds the known primary: see
    /// [`RemoteCharge::close_after_new_primary`](crate::protocol::RemoteCharge::close_after_new_primary).
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
        let key = LimitKey::owner("ab");
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
