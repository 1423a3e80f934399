//! The formats of all kinds of keys that a service accepts.

use crate::{
    error::ConfigError,
    key::{
        format::{KeyFormat, refused},
        hint::KeyHint,
        kind::KeyKind,
        legacy::LegacyFormat,
        parse::ParseError,
        presented::PresentedKey,
        shape::Shape,
    },
};

/// The formats of all kinds of keys that a service accepts. The longest prefix that matches a token
/// decides its kind. [Legacy formats](KeyFormats::with_legacy) are tried for what is no key of
/// another format, and no text is a key of two.
///
/// ```
/// use keyward::{key::{KeyFormats, KeyKind, ParseError}, KeyFormat};
///
/// let formats = KeyFormats::new([
///     KeyFormat::hex("luc_pk_"),
///     KeyFormat::hex("luc_api_"),
///     KeyFormat::hex("luc_mcp_").with_successor(KeyKind::from_static("luc_api_")),
/// ])?;
/// let token = format!("luc_pk_{}", "0123456789abcdef".repeat(4));
/// assert_eq!(formats.parse(&token)?.kind(), KeyKind::from_static("luc_pk_"));
/// assert_eq!(formats.parse("luc_xy_").unwrap_err(), ParseError::UnknownPrefix);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Its form in serde is a list of formats. One with an `alphabet` is a [`LegacyFormat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFormats {
    /// By descending length of the prefix, so that the first match is the longest one.
    formats: Box<[KeyFormat]>,
    legacy: Box<[LegacyFormat]>,
}

impl KeyFormats {
    /// The largest number of kinds that a service can accept.
    pub const MAX: usize = 32;

    /// Builds the set of these formats.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no format or more than [`KeyFormats::MAX`], if two have the same
    /// prefix, if a key of one kind can begin with the prefix of another, or if the successor of a
    /// legacy kind is missing or itself legacy.
    pub fn new(formats: impl IntoIterator<Item = KeyFormat>) -> Result<Self, ConfigError> {
        let mut formats: Vec<KeyFormat> = formats.into_iter().take(Self::MAX + 1).collect();
        if formats.is_empty() {
            return Err(refused(
                "a service accepts at least one kind of key; give KeyFormats::new a format",
            ));
        }
        if formats.len() > Self::MAX {
            return Err(refused(
                "KeyFormats::new takes at most 32 kinds of key; drop those that have no keys",
            ));
        }
        formats.sort_by_key(|format| std::cmp::Reverse(format.kind().as_bytes().len()));
        let mut rest = formats.as_slice();
        while let Some((longer, shorter)) = rest.split_first() {
            for shorter in shorter {
                refuse_ambiguous(longer, shorter)?;
            }
            rest = shorter;
        }
        for format in &formats {
            let Some(successor) = format.successor() else { continue };
            match formats.iter().find(|other| other.kind() == successor) {
                None => {
                    return Err(refused(format!(
                        "the successor {successor} of the legacy kind {} is not accepted; give \
                         KeyFormats::new its format too",
                        format.kind()
                    )));
                }
                Some(other) if other.successor().is_some() => {
                    return Err(refused(format!(
                        "the successor {successor} of the legacy kind {} is legacy too; call \
                         KeyFormat::with_successor with a kind that is minted",
                        format.kind()
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(Self { formats: formats.into(), legacy: Box::new([]) })
    }

    /// Accepts the keys of another system too. They are read and never minted.
    ///
    /// ```
    /// use keyward::{key::{Alphabet, KeyFormats, LegacyFormat}, KeyFormat};
    ///
    /// const NEW: KeyFormat = KeyFormat::hex("acme_");
    /// const OLD: LegacyFormat =
    ///     LegacyFormat::new("old", Alphabet::BASE64URL, 43..=43).with_successor(NEW.kind());
    ///
    /// let formats = KeyFormats::new([NEW])?.with_legacy(OLD)?;
    /// assert_eq!(formats.parse(&"x".repeat(43))?.kind(), OLD.kind());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if a text can be a key of this format and of another one, if the kind is
    /// taken, if there are more than [`KeyFormats::MAX`] formats, or if the format has no successor
    /// that the service mints.
    pub fn with_legacy(self, format: LegacyFormat) -> Result<Self, ConfigError> {
        let kind = format.kind();
        if self.formats.len() + self.legacy.len() >= Self::MAX {
            return Err(refused(
                "KeyFormats::with_legacy takes at most 32 kinds of key; drop those that have no \
                 keys",
            ));
        }
        if self.accepts(kind) {
            return Err(refused(format!(
                "two formats have the kind {kind}; give LegacyFormat::new another kind"
            )));
        }
        let Some(successor) = format.successor() else {
            return Err(refused(format!(
                "the legacy kind {kind} has no successor; call LegacyFormat::with_successor with \
                 a kind that is minted"
            )));
        };
        if self.get(successor).is_none_or(|successor| successor.successor().is_some()) {
            return Err(refused(format!(
                "the successor {successor} of the legacy kind {kind} is not minted; give \
                 KeyFormats::new its format, or call LegacyFormat::with_successor with another kind"
            )));
        }
        let shapes = Shape::of_legacy(&format);
        let meets = |other: &Shape| shapes.iter().any(|shape| shape.meets(other));
        let mut minted = self.formats.iter();
        let mut legacy = self.legacy.iter();
        let other =
            minted.find(|other| meets(&Shape::of(other))).map(KeyFormat::kind).or_else(|| {
                let meeting = legacy.find(|other| Shape::of_legacy(other).iter().any(meets));
                meeting.map(LegacyFormat::kind)
            });
        if let Some(other) = other {
            return Err(refused(format!(
                "a text can be a key of kind {kind} and one of kind {other}; tell them apart by \
                 LegacyFormat::with_prefix, or by a narrower alphabet or lengths in \
                 LegacyFormat::new, or make them one legacy format"
            )));
        }
        let legacy = self.legacy.iter().copied().chain([format]).collect();
        Ok(Self { legacy, ..self })
    }

    /// Reads a presented token. Every byte counts: nothing is trimmed, and case matters.
    ///
    /// It allocates nothing, and it takes the same few steps for garbage of any length.
    ///
    /// A token that has the form of no legacy format gets the error of the format whose prefix it has.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the token. The error does not contain the token.
    #[inline]
    pub fn parse<'t, T>(&self, token: &'t T) -> Result<PresentedKey<'t>, ParseError>
    where
        T: AsRef<[u8]> + ?Sized,
    {
        let token = token.as_ref();
        for format in &self.formats {
            if let Some(rest) = format.kind().strip_from(token) {
                let read = PresentedKey::read(format, token, rest);
                return read.or_else(|error| self.parse_legacy(token).ok_or(error));
            }
        }
        let error = if token.is_empty() { ParseError::Empty } else { ParseError::UnknownPrefix };
        self.parse_legacy(token).ok_or(error)
    }

    fn parse_legacy<'t>(&self, token: &'t [u8]) -> Option<PresentedKey<'t>> {
        let read = |format: &LegacyFormat| {
            let secret = format.read(token)?;
            Some(PresentedKey::legacy(format.kind(), token, secret))
        };
        self.legacy.iter().find_map(read)
    }

    /// Returns whether the service accepts keys of `kind`.
    pub fn accepts(&self, kind: KeyKind) -> bool {
        self.kinds().any(|accepted| accepted == kind)
    }

    /// Returns the format of `kind`, if the service accepts it and it is no [`LegacyFormat`].
    pub fn get(&self, kind: KeyKind) -> Option<&KeyFormat> {
        self.formats.iter().find(|format| format.kind() == kind)
    }

    /// Returns the format of a new secret for a key of `kind`: its own format, or for a legacy kind
    /// that of its successor.
    pub fn minting(&self, kind: KeyKind) -> Option<&KeyFormat> {
        match self.successor(kind) {
            None => self.get(kind),
            Some(successor) => self.get(successor),
        }
    }

    /// Returns the kind that keys of `kind` become when they rotate, if that is another kind.
    pub(crate) fn successor(&self, kind: KeyKind) -> Option<KeyKind> {
        match self.get(kind) {
            Some(format) => format.successor(),
            None => self.get_legacy(kind)?.successor(),
        }
    }

    pub(crate) fn get_legacy(&self, kind: KeyKind) -> Option<&LegacyFormat> {
        self.legacy.iter().find(|format| format.kind() == kind)
    }

    /// Returns the hint of a key for listings, if its characters can be in one.
    pub(crate) fn hint(&self, key: &PresentedKey<'_>) -> Option<KeyHint> {
        match self.get(key.kind()) {
            Some(format) => {
                let shown = format.kind().as_bytes().len() + format.hint_len();
                KeyHint::new(str::from_utf8(key.token().get(..shown)?).ok()?).ok()
            }
            None => self.get_legacy(key.kind())?.hint(key.rest()),
        }
    }

    /// Returns the formats without the [`LegacyFormat`]s, the longest prefix first.
    pub fn iter(&self) -> std::slice::Iter<'_, KeyFormat> {
        self.formats.iter()
    }

    /// Returns the formats of keys that are read and never minted.
    pub fn legacy(&self) -> std::slice::Iter<'_, LegacyFormat> {
        self.legacy.iter()
    }

    /// Returns all kinds that the service accepts.
    pub fn kinds(&self) -> impl Iterator<Item = KeyKind> {
        let legacy = self.legacy.iter().map(LegacyFormat::kind);
        self.formats.iter().map(KeyFormat::kind).chain(legacy)
    }
}

impl<'f> IntoIterator for &'f KeyFormats {
    type Item = &'f KeyFormat;
    type IntoIter = std::slice::Iter<'f, KeyFormat>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<KeyFormat> for KeyFormats {
    /// Builds the set of one format. If it is legacy, its keys are read but neither minted nor
    /// rotated, because its successor is missing.
    fn from(format: KeyFormat) -> Self {
        Self { formats: Box::new([format]), legacy: Box::new([]) }
    }
}

impl TryFrom<Vec<KeyFormat>> for KeyFormats {
    type Error = ConfigError;

    fn try_from(formats: Vec<KeyFormat>) -> Result<Self, ConfigError> {
        Self::new(formats)
    }
}

fn refuse_ambiguous(longer: &KeyFormat, shorter: &KeyFormat) -> Result<(), ConfigError> {
    let (longer_kind, shorter_kind) = (longer.kind(), shorter.kind());
    let Some(rest) = longer_kind.as_bytes().strip_prefix(shorter_kind.as_bytes()) else {
        return Ok(());
    };
    if rest.is_empty() {
        return Err(refused(format!(
            "two formats have the prefix {}; give KeyFormats::new one of them",
            longer.kind()
        )));
    }
    // `KeyFormats::parse` would read such a key as the longer kind, so the shorter kind must be
    // unable to mint it.
    if rest.iter().enumerate().all(|(position, byte)| shorter.admits(position, *byte)) {
        return Err(refused(format!(
            "a key of kind {} could begin with {}; give KeyFormats::new another prefix for one of \
             them",
            shorter.kind(),
            longer.kind()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(result: Result<KeyFormats, ConfigError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn ambiguous_sets_are_refused() {
        let hex = |prefix: &str| KeyFormat::try_hex(prefix).unwrap();
        let base62 = |prefix: &str| KeyFormat::try_base62(prefix, 30).unwrap();
        assert!(problem(KeyFormats::new([])).contains("at least one kind"));
        let many = KeyFormats::new((0..33).map(|n| hex(&format!("k{n}_"))));
        assert!(problem(many).contains("at most 32"));
        for (a, b, fits) in [
            (hex("k_"), hex("k_"), false),
            (hex("k_"), base62("k_"), false),
            (hex("k_"), hex("k_ab"), false), // k_ab… is a key of kind k_
            (hex("k_"), hex("k_pk_"), true), // p is no hex digit
            (base62("k_"), hex("k_pk"), false),
            (base62("k_"), hex("k_pk_"), true), // _ is no base62 digit
            (hex("luc_"), hex("luc_A"), true),  // hex is lower-case
            (hex("luc_pk_"), hex("luc_api_"), true),
        ] {
            assert_eq!(KeyFormats::new([a, b]).is_ok(), fits, "{a:?} {b:?}");
            assert_eq!(KeyFormats::new([b, a]).is_ok(), fits, "{b:?} {a:?}");
        }
    }

    #[test]
    fn successors_exist_and_are_not_legacy() {
        let [old, new] = [KeyKind::from_static("old_"), KeyKind::from_static("new_")];
        let legacy = KeyFormat::hex("old_").with_successor(new);
        let unknown = problem(KeyFormats::new([legacy]));
        assert!(unknown.contains("successor new_ of the legacy kind old_ is not accepted"));
        for legacy_too in [
            KeyFormats::new([legacy, KeyFormat::hex("new_").with_successor(old)]),
            KeyFormats::new([KeyFormat::hex("own_").with_successor(KeyKind::from_static("own_"))]),
        ] {
            assert!(problem(legacy_too).contains("is legacy too"));
        }
        let formats = KeyFormats::new([legacy, KeyFormat::hex("new_")]).unwrap();
        assert_eq!(formats.minting(old).unwrap().kind(), new);
        assert_eq!(formats.minting(new).unwrap().kind(), new);
    }
}
