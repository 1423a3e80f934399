//! Short immutable text, which the host's own words are made of: scopes, tiers, owners, names,
//! hints.

pub(crate) mod json;

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// A literal of the program, or shared text. Cloning copies neither.
#[derive(Clone)]
pub(crate) enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Shared(text.into())
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.as_str(), other.as_str());
        // Clones share their text, which then need not be read.
        std::ptr::eq(a, b) || a == b
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Implements for a newtype over [`Text`] what every such type has: `as_str`, `Display`, `FromStr`,
/// `AsRef<str>`, and serde as a string that is checked when read.
///
/// The type supplies `const fn check(&str) -> Result<(), InvalidText>`.
macro_rules! text_noun {
    ($noun:ident) => {
        impl $noun {
            /// Builds the value from a literal, usable in a `const`.
            ///
            /// # Panics
            ///
            /// Panics if the literal is not valid, which in a `const` fails the build. For text
            /// that is known only at run time, call [`new`](Self::new).
            pub const fn from_static(literal: &'static str) -> Self {
                match Self::check(literal) {
                    Ok(()) => Self($crate::text::Text::Static(literal)),
                    Err(error) => panic!("{}", error.expected()),
                }
            }

            /// Reads the value from a text.
            ///
            /// # Errors
            ///
            /// Returns an error if the text is empty or too long, or if it contains a character
            /// that is not allowed.
            pub fn new(text: &str) -> Result<Self, $crate::error::InvalidText> {
                Self::check(text).map(|()| Self(text.into()))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl std::fmt::Display for $noun {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $noun {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::str::FromStr for $noun {
            type Err = $crate::error::InvalidText;

            fn from_str(text: &str) -> Result<Self, $crate::error::InvalidText> {
                Self::new(text)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $noun {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $noun {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::deserialize_from_str(deserializer)
            }
        }
    };
}

pub(crate) use text_noun;

/// Reads a string and parses it, so that serde never builds an invalid value.
#[cfg(feature = "serde")]
pub(crate) fn deserialize_from_str<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: std::str::FromStr<Err: fmt::Display>,
{
    struct FromStrVisitor<T>(std::marker::PhantomData<T>);

    impl<T: std::str::FromStr<Err: fmt::Display>> serde::de::Visitor<'_> for FromStrVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(FromStrVisitor(std::marker::PhantomData))
}
