//! The hashes that a store looks up.

use std::{fmt, slice};

use crate::key::{
    hash::{Candidates, KeyHash},
    kind::KeyKind,
};

/// The hashes under which a presented key can be stored.
///
/// It is owned and `'static`, so it can cross an `await` and a thread without the token. It
/// contains one to four hashes, which a store looks up together. A record matches if any of its
/// secrets, current or retiring, has any of these hashes.
#[derive(Clone)]
pub struct Lookup {
    kind: KeyKind,
    candidates: Candidates,
}

impl Lookup {
    pub(crate) const fn new(kind: KeyKind, candidates: Candidates) -> Self {
        Self { kind, candidates }
    }

    /// Returns the kind of the presented key.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns the hashes, the one under the current scheme first. There is at least one.
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = &KeyHash> + Clone {
        Hashes { current: Some(&self.candidates.current), older: self.candidates.older.iter() }
    }

    /// Returns the hashes under older schemes.
    pub(crate) fn older(&self) -> &[KeyHash] {
        &self.candidates.older
    }

    /// Returns the hash under the hasher's current scheme.
    pub(crate) fn current(&self) -> &KeyHash {
        &self.candidates.current
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("kind", &self.kind)
            .field("hashes", &self.hashes().collect::<Vec<_>>())
            .finish()
    }
}

/// One hash and then the rest, with a known length, which `Chain` does not have.
#[derive(Clone)]
struct Hashes<'l> {
    current: Option<&'l KeyHash>,
    older: slice::Iter<'l, KeyHash>,
}

impl<'l> Iterator for Hashes<'l> {
    type Item = &'l KeyHash;

    fn next(&mut self) -> Option<&'l KeyHash> {
        self.current.take().or_else(|| self.older.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = usize::from(self.current.is_some()) + self.older.len();
        (len, Some(len))
    }
}

impl ExactSizeIterator for Hashes<'_> {}
