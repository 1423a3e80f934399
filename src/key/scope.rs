//! Scopes: what a key may do, and which of them a kind of key can ever hold.

use std::{fmt, slice, sync::Arc};

use thiserror::Error;

use crate::{
    key::kind::KeyKind,
    text::{Text, text_noun},
};

/// One scope, such as `read:lucent`: a `scope-token` of [RFC 6749 §3.3], of 1 to
/// [`Scope::MAX_LEN`] bytes.
///
/// Scopes are compared byte for byte. Clones share the text.
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
    /// The most bytes a scope can have.
    pub const MAX_LEN: usize = 128;

    const fn check(text: &str) -> Result<(), ScopeError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(ScopeError::Empty);
        }
        if bytes.len() > Self::MAX_LEN {
            return Err(ScopeError::TooLong);
        }
        let mut position = 0;
        while position < bytes.len() {
            // scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
            if !matches!(bytes[position], 0x21 | 0x23..=0x5B | 0x5D..=0x7E) {
                return Err(ScopeError::Character { position });
            }
            position += 1;
        }
        Ok(())
    }
}

text_noun!(Scope, ScopeError);

/// A set of scopes, sorted and without duplicates; at most [`ScopeSet::MAX`].
///
/// Its text is the `scope` of RFC 6749 §3.3: scopes with one space between them.
/// The empty set is what a key without scopes has; it satisfies no requirement.
/// Clones share the scopes.
///
/// ```
/// use keyward::{key::ScopeSet, Scope};
///
/// let scopes: ScopeSet = "write:issues read:lucent".parse()?;
/// assert!(scopes.contains(&Scope::new("read:lucent")?));
/// assert_eq!(scopes.to_string(), "read:lucent write:issues");
/// # Ok::<(), keyward::key::ScopeError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ScopeSet(Arc<[Scope]>);

impl ScopeSet {
    /// The most scopes a set can hold.
    pub const MAX: usize = 64;

    /// The set of the given scopes.
    ///
    /// # Errors
    ///
    /// [`ScopeError::TooMany`] for more than [`ScopeSet::MAX`] distinct scopes.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, ScopeError> {
        let mut sorted = Vec::new();
        for scope in scopes {
            if let Err(at) = sorted.binary_search(&scope) {
                if sorted.len() == Self::MAX {
                    return Err(ScopeError::TooMany);
                }
                sorted.insert(at, scope);
            }
        }
        Ok(Self(sorted.into()))
    }

    /// The set without a scope.
    pub fn empty() -> Self {
        Self(Arc::new([]))
    }

    /// Whether `scope` is in the set.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    /// Whether every scope of this set is in `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|scope| other.contains(scope))
    }

    /// The scopes that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|scope| other.contains(scope)).cloned().collect())
    }

    /// The scopes in ascending byte order.
    pub fn iter(&self) -> slice::Iter<'_, Scope> {
        self.0.iter()
    }

    /// How many scopes the set holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set holds no scope.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for ScopeSet {
    /// The empty set, which satisfies nothing.
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
    type Err = ScopeError;

    /// Reads scopes with one space between them; the empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Ok(Self::empty());
        }
        let scopes: Vec<Scope> =
            text.split(' ').take(Self::MAX * 2).map(Scope::new).collect::<Result<_, _>>()?;
        if text.split(' ').nth(Self::MAX * 2).is_some() {
            return Err(ScopeError::TooMany);
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

/// In serde a list of strings.
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

/// Why a text is not a [`Scope`] or scopes are not a [`ScopeSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// The scope is empty.
    #[error("the scope is empty")]
    Empty,
    /// The scope is longer than [`Scope::MAX_LEN`].
    #[error("the scope is longer than {} bytes", Scope::MAX_LEN)]
    TooLong,
    /// RFC 6749 §3.3 does not allow this character: a blank, a quote, a backslash, a
    /// control character, or anything beyond ASCII.
    #[error("the scope holds a character at byte {position} that RFC 6749 does not allow")]
    Character {
        /// Where it stands, in bytes from 0.
        position: usize,
    },
    /// More than [`ScopeSet::MAX`] scopes.
    #[error("more than {} scopes", ScopeSet::MAX)]
    TooMany,
}

/// The scopes that a service knows, and what each kind of key gets and can hold.
///
/// A kind that the catalogue does not name can hold no scope at all. Clones share
/// the catalogue.
///
/// ```
/// use keyward::{key::{KeyKind, ScopeCatalog, ScopeSet}, Scope};
///
/// const READ: Scope = Scope::from_static("read:lucent");
/// const WRITE: Scope = Scope::from_static("write:issues");
/// let api = KeyKind::new("luc_api_")?;
/// let public = KeyKind::new("luc_pk_")?;
///
/// let catalog = ScopeCatalog::new([READ, WRITE])?
///     .allow(api, [READ], [READ, WRITE])? // reads by default, writes when asked for
///     .allow(public, [], [])?; // can never hold a scope
/// assert_eq!(catalog.grant(api, None)?, ScopeSet::new([READ])?);
/// assert_eq!(catalog.grant(api, Some(&["write:issues"]))?, ScopeSet::new([WRITE])?);
/// assert!(catalog.grant(public, Some(&["read:lucent"])).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScopeCatalog(Arc<Catalog>);

#[derive(Clone, Debug, Default)]
struct Catalog {
    known: ScopeSet,
    kinds: Vec<KindScopes>,
}

#[derive(Clone, Debug)]
struct KindScopes {
    kind: KeyKind,
    defaults: ScopeSet,
    ceiling: ScopeSet,
}

impl ScopeCatalog {
    /// A catalogue of the `known` scopes, which no kind can hold yet.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Scope`] for more than [`ScopeSet::MAX`] scopes.
    pub fn new(known: impl IntoIterator<Item = Scope>) -> Result<Self, CatalogError> {
        let known = ScopeSet::new(known)?;
        Ok(Self(Arc::new(Catalog { known, kinds: Vec::new() })))
    }

    /// The catalogue of a service without scopes: no key can hold one.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The catalogue with `kind` getting `defaults` when nothing is asked for, and
    /// able to hold the scopes of `ceiling`.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Unknown`] if a scope is not in the catalogue,
    /// [`CatalogError::AboveCeiling`] if a default is above the ceiling,
    /// [`CatalogError::DuplicateKind`] if the kind is there already.
    pub fn allow(
        self,
        kind: KeyKind,
        defaults: impl IntoIterator<Item = Scope>,
        ceiling: impl IntoIterator<Item = Scope>,
    ) -> Result<Self, CatalogError> {
        let (defaults, ceiling) = (ScopeSet::new(defaults)?, ScopeSet::new(ceiling)?);
        if self.0.entry(kind).is_some() {
            return Err(CatalogError::DuplicateKind { kind });
        }
        if !ceiling.is_subset_of(&self.0.known) {
            return Err(CatalogError::Unknown);
        }
        if let Some(scope) = defaults.iter().find(|scope| !ceiling.contains(scope)) {
            return Err(CatalogError::AboveCeiling { scope: scope.clone(), kind });
        }
        let mut catalog = Arc::unwrap_or_clone(self.0);
        catalog.kinds.push(KindScopes { kind, defaults, ceiling });
        Ok(Self(Arc::new(catalog)))
    }

    /// The known scope with this text.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Unknown`] if the catalogue does not hold it.
    pub fn scope(&self, text: &str) -> Result<Scope, CatalogError> {
        let known = &self.0.known.0;
        known
            .binary_search_by(|scope| scope.as_str().cmp(text))
            .ok()
            .and_then(|at| known.get(at))
            .cloned()
            .ok_or(CatalogError::Unknown)
    }

    /// The scopes for a new key of `kind`: those asked for, or with `None` the
    /// kind's defaults.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Unknown`] for a scope that the catalogue does not hold,
    /// [`CatalogError::AboveCeiling`] for one that the kind can never hold.
    pub fn grant(&self, kind: KeyKind, asked: Option<&[&str]>) -> Result<ScopeSet, CatalogError> {
        let Some(asked) = asked else {
            return Ok(self.0.entry(kind).map(|entry| entry.defaults.clone()).unwrap_or_default());
        };
        let scopes = asked.iter().map(|text| self.scope(text)).collect::<Result<Vec<_>, _>>()?;
        let scopes = ScopeSet::new(scopes)?;
        self.check(kind, &scopes)?;
        Ok(scopes)
    }

    /// Whether a key of `kind` can hold all of `scopes`.
    ///
    /// # Errors
    ///
    /// As [`ScopeCatalog::grant`].
    pub fn check(&self, kind: KeyKind, scopes: &ScopeSet) -> Result<(), CatalogError> {
        if !scopes.is_subset_of(&self.0.known) {
            return Err(CatalogError::Unknown);
        }
        match scopes.iter().find(|scope| !self.permits(kind, scope)) {
            Some(scope) => Err(CatalogError::AboveCeiling { scope: scope.clone(), kind }),
            None => Ok(()),
        }
    }

    /// Whether a key of `kind` can ever hold `scope`.
    pub fn permits(&self, kind: KeyKind, scope: &Scope) -> bool {
        self.0.entry(kind).is_some_and(|entry| entry.ceiling.contains(scope))
    }

    /// What `kind` can hold at most.
    pub fn ceiling(&self, kind: KeyKind) -> ScopeSet {
        self.0.entry(kind).map(|entry| entry.ceiling.clone()).unwrap_or_default()
    }
}

impl Catalog {
    fn entry(&self, kind: KeyKind) -> Option<&KindScopes> {
        self.kinds.iter().find(|entry| entry.kind == kind)
    }
}

/// Why a catalogue was refused, or why it refuses scopes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The scope is not in the catalogue: that of an [`Issuer`](crate::issue::Issuer) is empty, unless
    /// it was made with [`Issuer::with_catalog`](crate::issue::Issuer::with_catalog). What was asked for
    /// is not repeated here, since it is a stranger's text.
    #[error("a scope is not in the catalogue")]
    Unknown,
    /// The kind can never hold this scope.
    #[error("keys of kind {kind} cannot hold the scope {scope}")]
    AboveCeiling {
        /// The scope that was asked for.
        scope: Scope,
        /// The kind it was asked for.
        kind: KeyKind,
    },
    /// The kind stands in the catalogue already.
    #[error("the kind {kind} stands in the catalogue twice")]
    DuplicateKind {
        /// The kind.
        kind: KeyKind,
    },
    /// A scope or a set of scopes is malformed.
    #[error(transparent)]
    Scope(#[from] ScopeError),
}

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
            assert_eq!(Scope::new(bad), Err(ScopeError::Character { position }), "{bad:?}");
        }
        assert_eq!(Scope::new(""), Err(ScopeError::Empty));
        assert!(Scope::new(&"x".repeat(Scope::MAX_LEN)).is_ok());
        assert_eq!(Scope::new(&"x".repeat(Scope::MAX_LEN + 1)), Err(ScopeError::TooLong));
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
        assert_eq!(many.join(" ").parse::<ScopeSet>(), Err(ScopeError::TooMany));
        assert_eq!(vec!["a"; 1_000_000].join(" ").parse::<ScopeSet>(), Err(ScopeError::TooMany));
        assert!(many[1..].join(" ").parse::<ScopeSet>().is_ok());
    }

    #[test]
    fn a_catalogue_refuses_what_contradicts_it() {
        let (a, b) = (Scope::from_static("a"), Scope::from_static("b"));
        let kind = KeyKind::new("k_").unwrap();
        let catalog = ScopeCatalog::new([a.clone(), b.clone()]).unwrap();
        assert!(catalog.clone().allow(kind, [b.clone()], [a.clone()]).is_err());
        assert!(catalog.clone().allow(kind, [], [Scope::from_static("c")]).is_err());
        let catalog = catalog.allow(kind, [], [a.clone()]).unwrap();
        assert!(catalog.clone().allow(kind, [], []).is_err());
        assert_eq!(catalog.grant(kind, Some(&["c"])), Err(CatalogError::Unknown));
        assert!(matches!(
            catalog.grant(kind, Some(&["b"])),
            Err(CatalogError::AboveCeiling { .. })
        ));
        let stranger = KeyKind::new("x_").unwrap();
        assert!(catalog.grant(stranger, Some(&["a"])).is_err());
        assert!(catalog.grant(stranger, None).unwrap().is_empty());
    }
}
