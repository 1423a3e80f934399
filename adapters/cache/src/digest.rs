//! Hashing for `moka`, under a random key.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use keyward::key::{KeyHash, KeyId};
use moka::sync::Cache;

/// Makes a cache of at most `max` entries.
pub(crate) fn cache<K, V>(max: u32) -> Cache<K, V, Seeded>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder().max_capacity(u64::from(max)).build_with_hasher(Seeded::new())
}

/// Returns the first word of a digest, which is as good as random.
#[inline]
pub(crate) fn word(hash: &KeyHash) -> u64 {
    hash.digest().first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

/// A hash as the key of a cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) KeyHash);

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(word(&self.0));
    }
}

/// An id as the key of a cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) KeyId);

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let words = self.0.as_bytes().as_chunks::<8>().0;
        words.iter().for_each(|word| state.write_u64(u64::from_le_bytes(*word)));
    }
}

/// Hashes each word with one multiplication under a random key.
///
/// Anybody can search for tokens whose digests agree in a few bits, and have them cached as
/// unknown. Digests that agree under a secret key cannot be searched for, except those whose whole
/// first words agree.
#[derive(Clone, Copy)]
pub(crate) struct Seeded {
    xor: u64,
    factor: u64,
}

impl Seeded {
    fn new() -> Self {
        let random = RandomState::new();
        Self { xor: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folded;

    #[inline]
    fn build_hasher(&self) -> Folded {
        Folded { seeded: *self, state: 0 }
    }
}

pub(crate) struct Folded {
    seeded: Seeded,
    state: u64,
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let wide = u128::from(self.state ^ word ^ self.seeded.xor);
        let product = wide * u128::from(self.seeded.factor);
        self.state = (product >> 64) as u64 ^ product as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}
