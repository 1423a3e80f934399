//! What a store is asked for.

use std::fmt;

use crate::{KeyHash, Kind, key::hash::Candidates};

/// The hashes under which a presented key can be stored.
///
/// Owned and `'static`: it crosses an `await` and a thread without the token. It holds
/// one to four hashes, which a store looks up together: a record matches if any of its
/// secrets, current or retiring, has any of these hashes.
#[derive(Clone)]
pub struct Lookup {
    kind: Kind,
    candidates: Candidates,
}

impl Lookup {
    pub(crate) const fn new(kind: Kind, candidates: Candidates) -> Self {
        Self { kind, candidates }
    }

    /// The kind of the presented key.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The hashes to look for, the one under the current scheme first; never empty.
    pub fn hashes(&self) -> &[KeyHash] {
        self.candidates.as_slice()
    }

    /// The hash under the hasher's current scheme.
    pub(crate) fn current(&self) -> &KeyHash {
        self.candidates.current()
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("kind", &self.kind).field("hashes", &self.hashes()).finish()
    }
}
