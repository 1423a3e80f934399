//! The form of a legacy format in serde, and that of a set of formats.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    error::ConfigError,
    key::{
        alphabet::Alphabet,
        format::{KeyFormat, refused},
        formats::KeyFormats,
        kind::KeyKind,
        legacy::{Identifier, LegacyFormat, Part},
    },
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LegacyData {
    kind: KeyKind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    prefix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identifier: Option<IdentifierData>,
    alphabet: Alphabet,
    min: usize,
    max: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    successor: Option<KeyKind>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentifierData {
    alphabet: Alphabet,
    min: usize,
    max: usize,
    separator: char,
}

impl LegacyData {
    fn of(format: &LegacyFormat) -> Self {
        let identifier = format.identifier().map(|Identifier { part, separator }| {
            let separator = char::from(*separator);
            IdentifierData { alphabet: part.alphabet, min: part.min, max: part.max, separator }
        });
        let Part { alphabet, min, max } = *format.secret();
        let (kind, successor) = (format.kind(), format.successor());
        Self { kind, prefix: format.prefix().to_owned(), identifier, alphabet, min, max, successor }
    }

    fn build(self) -> Result<LegacyFormat, ConfigError> {
        let mut format =
            LegacyFormat::try_new(self.kind.as_str(), self.alphabet, self.min..=self.max)?
                .try_with_prefix(&self.prefix)?;
        if let Some(IdentifierData { alphabet, min, max, separator }) = self.identifier {
            format = format.try_with_identifier(alphabet, min..=max, separator)?;
        }
        Ok(match self.successor {
            Some(successor) => format.with_successor(successor),
            None => format,
        })
    }
}

impl Serialize for LegacyFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        LegacyData::of(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LegacyFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        LegacyData::deserialize(deserializer)?.build().map_err(D::Error::custom)
    }
}

/// A format of a set. A legacy one has an `alphabet`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum AnyFormat {
    Legacy(LegacyFormat),
    Minted(KeyFormat),
}

impl Serialize for KeyFormats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let minted = self.iter().copied().map(AnyFormat::Minted);
        serializer.collect_seq(minted.chain(self.legacy().copied().map(AnyFormat::Legacy)))
    }
}

impl<'de> Deserialize<'de> for KeyFormats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (mut minted, mut legacy) = (Vec::new(), Vec::new());
        for format in Vec::<AnyFormat>::deserialize(deserializer)? {
            match format {
                AnyFormat::Minted(format) => minted.push(format),
                AnyFormat::Legacy(format) => legacy.push(format),
            }
        }
        // Sets of any size are refused by the constructors, which also look at every pair.
        if legacy.len() > KeyFormats::MAX {
            return Err(D::Error::custom(refused("a set has at most 32 kinds of key")));
        }
        let formats = KeyFormats::new(minted).map_err(D::Error::custom)?;
        legacy.into_iter().try_fold(formats, KeyFormats::with_legacy).map_err(D::Error::custom)
    }
}
