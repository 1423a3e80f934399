//! What a store is asked for.

use std::{fmt, slice};

use crate::key::{hash::KeyHash, hasher::Candidates, kind::KeyKind};

/// The hashes under which a presented key can be stored.
///
/// Owned and `'static`: it crosses an `await` and a thread without the token. It holds
/// one to four hashes, which a store looks up together: a record matches if any of its
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

    /// The kind of the presented key.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The hashes to look for, the one under the current scheme first; never empty.
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = &KeyHash> + Clone {
        Hashes { current: Some(&self.candidates.current), older: self.candidates.older.iter() }
    }

    /// The hashes under older schemes.
    pub(crate) fn older(&self) -> &[KeyHash] {
        &self.candidates.older
    }

    /// The hash under the hasher's current scheme.
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

/// One hash, then the rest, with a length: `Chain` has none.
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
