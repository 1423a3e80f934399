//! From where a key may be used.

use std::{fmt, slice, str::FromStr, sync::Arc};

use crate::error::InvalidText;

/// The networks or the origins from which a key may be used: 1 to [`Allowlist::MAX`] entries.
///
/// A key without a list may be used from anywhere. There is no empty list: a key that may be used
/// from nowhere is suspended or revoked. The entries are in ascending order, each once. The text has
/// one space between them. Clones share the entries.
///
/// ```
/// use keyward::key::{Allowlist, IpNetwork, Origin};
///
/// let networks: Allowlist<IpNetwork> = "10.0.0.0/8 2001:db8::/32".parse()?;
/// assert!(networks.admits("10.1.2.3".parse()?));
/// assert!(!networks.admits("11.1.2.3".parse()?));
///
/// let origins = Allowlist::new([Origin::new("https://app.example.com")?])?;
/// assert!(origins.admits("https://app.example.com"));
/// assert!(!origins.admits("https://app.example.com.evil.example"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Allowlist<T>(Arc<[T]>);

impl<T: Ord> Allowlist<T> {
    /// The largest number of entries.
    pub const MAX: usize = 64;

    /// Builds the list of these entries.
    ///
    /// # Errors
    ///
    /// Returns an error for no entries and for more than [`Allowlist::MAX`] different ones.
    pub fn new(entries: impl IntoIterator<Item = T>) -> Result<Self, InvalidText> {
        let mut sorted = Vec::new();
        for entry in entries {
            if let Err(at) = sorted.binary_search(&entry) {
                if sorted.len() == Self::MAX {
                    return Err(NO_LIST);
                }
                sorted.insert(at, entry);
            }
        }
        if sorted.is_empty() { Err(NO_LIST) } else { Ok(Self(sorted.into())) }
    }
}

impl<T> Allowlist<T> {
    /// Returns the entries in ascending order.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<'l, T> IntoIterator for &'l Allowlist<T> {
    type Item = &'l T;
    type IntoIter = slice::Iter<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Ord + FromStr<Err = InvalidText>> FromStr for Allowlist<T> {
    type Err = InvalidText;

    /// Reads entries with one space between them.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.split(' ').nth(Self::MAX).is_some() {
            return Err(NO_LIST);
        }
        Self::new(text.split(' ').map(str::parse).collect::<Result<Vec<T>, _>>()?)
    }
}

impl<T: fmt::Display> fmt::Display for Allowlist<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in self.iter().enumerate() {
            write!(f, "{}{entry}", if at > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl<T: fmt::Display> fmt::Debug for Allowlist<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Allowlist({self})")
    }
}

/// Its form in serde is a list of strings.
#[cfg(feature = "serde")]
impl<T: serde::Serialize> serde::Serialize for Allowlist<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

#[cfg(feature = "serde")]
impl<'de, T: Ord + serde::Deserialize<'de>> serde::Deserialize<'de> for Allowlist<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<T>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

const NO_LIST: InvalidText =
    InvalidText::new("1 to 64 networks or origins, with one space between them");
