//! What a host keeps with a key.

use std::{fmt, str::FromStr};

use crate::{
    error::InvalidText,
    text::{Text, json::is_json},
};

/// A JSON text that a host keeps with a key, of at most [`KeyMetadata::MAX_LEN`] bytes.
///
/// keyward never reads it. A rotation keeps it, and [`KeyView`](crate::key::KeyView) contains it, so
/// it must not contain a secret. A text with members such as `"label"` or `"environment"` is usual.
/// The text is kept byte by byte, spaces included. `Debug` shows only its length. Clones share it.
///
/// ```
/// use keyward::key::KeyMetadata;
///
/// let metadata = KeyMetadata::new(r#"{"environment":"production"}"#)?;
/// assert_eq!(metadata.as_str(), r#"{"environment":"production"}"#);
/// assert!(KeyMetadata::new("environment: production").is_err());
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyMetadata(Text);

impl KeyMetadata {
    /// The largest number of bytes of the text.
    pub const MAX_LEN: usize = 4096;

    /// Reads the metadata from a JSON text.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is longer than [`KeyMetadata::MAX_LEN`], if it is no JSON
    /// (RFC 8259), or if its arrays and objects are nested deeper than 64 levels.
    pub fn new(text: &str) -> Result<Self, InvalidText> {
        if text.len() > Self::MAX_LEN || !is_json(text) {
            return Err(NO_METADATA);
        }
        Ok(Self(text.into()))
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for KeyMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for KeyMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyMetadata({} bytes)", self.as_str().len())
    }
}

impl FromStr for KeyMetadata {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        Self::new(text)
    }
}

/// Its form in serde is a string that contains the JSON text.
#[cfg(feature = "serde")]
impl serde::Serialize for KeyMetadata {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for KeyMetadata {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize_from_str(deserializer)
    }
}

const NO_METADATA: InvalidText =
    InvalidText::new("metadata: JSON of at most 4096 bytes, nested at most 64 levels deep");
