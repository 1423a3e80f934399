//! Scopes: what a key may do.

use std::{fmt, slice, sync::Arc};

use crate::{
    error::InvalidText,
    text::{Text, text_noun},
};

/// A scope, such as `read:lucent`: a `scope-token` of [RFC 6749 §3.3] with 1 to [`Scope::MAX_LEN`]
/// bytes.
///
/// Scopes are compared byte by byte. Clones share the text.
///
/// ```
/// use keyward::Scope;
///
/// const WRITE_ISSUES: Scope = Scope::from_static("write:issues");
/// assert_eq!(Scope::new("write:issues"), Ok(WRITE_ISSUES));
/// assert!(Scope::new("write issues").is_err());
/// ```
///
/// [RFC 6749 §3.3]: https://www.rfc-editor.org/rfc/rfc6749#section-3.3
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Text);

impl Scope {
    /// The largest number of bytes of a scope.
    pub const MAX_LEN: usize = 128;

    pub(super) const fn check(text: &str) -> Result<(), InvalidText> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(NO_SCOPE);
        }
        if bytes.len() > Self::MAX_LEN {
            return Err(NO_SCOPE);
        }
        let mut position = 0;
        while position < bytes.len() {
            // scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
            if !matches!(bytes[position], 0x21 | 0x23..=0x5B | 0x5D..=0x7E) {
                return Err(NO_SCOPE.with_position(position));
            }
            position += 1;
        }
        Ok(())
    }
}

impl Scope {
    /// Builds a scope of a text that is one.
    pub(super) const fn of(text: Text) -> Self {
        Self(text)
    }
}

text_noun!(Scope);

/// A set of at most [`ScopeSet::MAX`] scopes, sorted and without duplicates.
///
/// Its text is the `scope` of RFC 6749 §3.3: scopes with one space between them. A key without
/// scopes has the empty set, which satisfies no requirement. Clones share the scopes.
///
/// ```
/// use keyward::{key::ScopeSet, Scope};
///
/// let scopes: ScopeSet = "write:issues read:lucent".parse()?;
/// assert!(scopes.contains(&Scope::new("read:lucent")?));
/// assert_eq!(scopes.to_string(), "read:lucent write:issues");
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ScopeSet(Arc<[Scope]>);

impl ScopeSet {
    /// The largest number of scopes of a set.
    pub const MAX: usize = 64;

    /// Builds the set of these scopes.
    ///
    /// # Errors
    ///
    /// Returns an error for more than [`ScopeSet::MAX`] distinct scopes.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, InvalidText> {
        let mut sorted = Vec::new();
        for scope in scopes {
            if let Err(at) = sorted.binary_search(&scope) {
                if sorted.len() == Self::MAX {
                    return Err(TOO_MANY);
                }
                sorted.insert(at, scope);
            }
        }
        Ok(Self(sorted.into()))
    }

    /// Builds the set of any number of scopes, for the scopes that roles stand for.
    pub(super) fn unbounded(mut scopes: Vec<Scope>) -> Self {
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes.into())
    }

    /// Builds the set without scopes.
    pub fn empty() -> Self {
        Self(Arc::new([]))
    }

    /// Returns the scope with this text, if it is in the set.
    pub(crate) fn get(&self, text: &str) -> Option<&Scope> {
        let at = self.0.binary_search_by(|scope| scope.as_str().cmp(text)).ok()?;
        self.0.get(at)
    }

    /// Returns whether the set contains `scope`.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    /// Returns whether `other` contains every scope of this set.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|scope| other.contains(scope))
    }

    /// Returns the scopes that both sets contain.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|scope| other.contains(scope)).cloned().collect())
    }

    /// Returns the scopes in ascending byte order.
    pub fn iter(&self) -> slice::Iter<'_, Scope> {
        self.0.iter()
    }

    /// Returns the number of scopes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the set has no scopes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for ScopeSet {
    /// Returns the empty set, which satisfies no requirement.
    fn default() -> Self {
        Self::empty()
    }
}

impl<'s> IntoIterator for &'s ScopeSet {
    type Item = &'s Scope;
    type IntoIter = slice::Iter<'s, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::str::FromStr for ScopeSet {
    type Err = InvalidText;

    /// Reads scopes with one space between them. The empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.is_empty() {
            return Ok(Self::empty());
        }
        let scopes: Vec<Scope> =
            text.split(' ').take(Self::MAX * 2).map(Scope::new).collect::<Result<_, _>>()?;
        if text.split(' ').nth(Self::MAX * 2).is_some() {
            return Err(TOO_MANY);
        }
        Self::new(scopes)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Scope::as_str)).finish()
    }
}

/// Its form in serde is a list of strings.
#[cfg(feature = "serde")]
impl serde::Serialize for ScopeSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for ScopeSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scopes = Vec::<Scope>::deserialize(deserializer)?;
        Self::new(scopes).map_err(serde::de::Error::custom)
    }
}

const NO_SCOPE: InvalidText = InvalidText::new(
    "a scope: 1 to 128 printable ASCII characters without spaces, quotes and backslashes (RFC 6749 \
     §3.3)",
);
const TOO_MANY: InvalidText = InvalidText::new("at most 64 different scopes");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_tokens_follow_rfc_6749() {
        for good in ["a", "read:lucent", "!", "#$%&'()*+,-./", "[", "]", "~", "A:b.c_d-e"] {
            assert_eq!(Scope::new(good).unwrap().as_str(), good);
        }
        for (bad, position) in [
            (" ", 0),
            ("a b", 1),
            ("a\"", 1),
            ("a\\b", 1),
            ("a\u{7f}", 1),
            ("\0", 0),
            ("a\r\n", 1),
            ("ä", 0),
            ("ｒead", 0),
        ] {
            assert_eq!(Scope::new(bad), Err(NO_SCOPE.with_position(position)), "{bad:?}");
        }
        assert_eq!(Scope::new(""), Err(NO_SCOPE));
        assert!(Scope::new(&"x".repeat(Scope::MAX_LEN)).is_ok());
        assert_eq!(Scope::new(&"x".repeat(Scope::MAX_LEN + 1)), Err(NO_SCOPE));
    }

    #[test]
    fn every_byte_is_judged_as_the_grammar_says() {
        for byte in 0..=0x7F_u8 {
            let text = char::from(byte).to_string();
            let allowed =
                byte == 0x21 || (0x23..=0x5B).contains(&byte) || (0x5D..=0x7E).contains(&byte);
            assert_eq!(Scope::new(&text).is_ok(), allowed, "{byte:#x}");
        }
    }

    #[test]
    fn sets_are_read_strictly() {
        assert!("".parse::<ScopeSet>().unwrap().is_empty());
        assert_eq!("b a b".parse::<ScopeSet>().unwrap().to_string(), "a b");
        for bad in [" ", "a  b", " a", "a ", "a\tb", "a,\"b\""] {
            assert!(bad.parse::<ScopeSet>().is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..=ScopeSet::MAX).map(|n| format!("s{n}")).collect();
        assert_eq!(many.join(" ").parse::<ScopeSet>(), Err(TOO_MANY));
        assert_eq!(vec!["a"; 1_000_000].join(" ").parse::<ScopeSet>(), Err(TOO_MANY));
        assert!(many[1..].join(" ").parse::<ScopeSet>().is_ok());
    }
}
