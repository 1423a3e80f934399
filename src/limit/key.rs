//! Whose requests are counted together.

use std::fmt;

use sha2::{Digest, Sha256};

/// What a limit hangs on: a key's id, an owner, or something of the host's own.
///
/// 20 bytes, `Copy`, and never allocated. The constructors cannot collide with one
/// another: each value carries its kind, its namespace and its length. Up to 16 bytes
/// are held verbatim; a longer name is held as the first 128 bits of its SHA-256, which
/// costs a hash at each construction, so build it once and keep it.
///
/// ```
/// use keyward::LimitKey;
///
/// const CLIENT_ADDRESS: u16 = 1;
/// let address = LimitKey::named(CLIENT_ADDRESS, &[192, 0, 2, 7]);
/// assert_ne!(address, LimitKey::named(2, &[192, 0, 2, 7]));
/// assert_ne!(LimitKey::owner("acme"), LimitKey::named(0, b"acme"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitKey {
    /// Kind, length and namespace, in this order from the lowest byte.
    head: u32,
    body: [u32; 4],
}

impl LimitKey {
    /// The limit of one key, by its random public id of 128 bits.
    pub const fn key(id: [u8; 16]) -> Self {
        Self { head: Self::head(KEY, 16, 0), body: words(id) }
    }

    /// The limit of an owner (a project, an organization), by its text id.
    pub fn owner(id: &str) -> Self {
        Self::of_bytes(OWNER, 0, id.as_bytes())
    }

    /// The limit of anything else, such as an address or a route group.
    ///
    /// `namespace` is the host's own numbering of the sorts of things it limits: equal
    /// bytes in two namespaces are two limits.
    pub fn named(namespace: u16, bytes: &[u8]) -> Self {
        Self::of_bytes(NAMED, namespace, bytes)
    }

    fn of_bytes(kind: u8, namespace: u16, bytes: &[u8]) -> Self {
        let mut body = [0; 16];
        if let Some(start) = body.get_mut(..bytes.len()) {
            start.copy_from_slice(bytes);
            return Self {
                head: Self::head(kind, bytes.len() as u8, namespace),
                body: words(body),
            };
        }
        for (to, from) in body.iter_mut().zip(Sha256::digest(bytes)) {
            *to = from;
        }
        Self { head: Self::head(kind, DIGEST, namespace), body: words(body) }
    }

    const fn head(kind: u8, length: u8, namespace: u16) -> u32 {
        kind as u32 | (length as u32) << 8 | (namespace as u32) << 16
    }
}

const KEY: u8 = 1;
const OWNER: u8 = 2;
const NAMED: u8 = 3;
/// In place of a length: the body is a digest.
const DIGEST: u8 = u8::MAX;

const fn words(bytes: [u8; 16]) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
        u32::from_le_bytes([i, j, k, l]),
        u32::from_le_bytes([m, n, o, p]),
    ]
}

/// SipHash-1-3 with a secret seed, over exactly the 20 bytes of a [`LimitKey`].
///
/// Names may be chosen by whoever floods us, so the table's hash must stay
/// unpredictable to somebody who sees every answer and knows the code: a pseudo-random
/// function, as SipHash is, and not merely a seeded mixer. The input's length is fixed,
/// so the whole hash is six rounds on four registers, with no state to buffer.
#[derive(Clone, Copy)]
pub(super) struct KeyedHash {
    k0: u64,
    k1: u64,
}

impl fmt::Debug for KeyedHash {
    /// Without the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHash").finish_non_exhaustive()
    }
}

impl KeyedHash {
    pub(super) const fn new(seed: [u8; 16]) -> Self {
        let seed = u128::from_le_bytes(seed);
        Self { k0: seed as u64, k1: (seed >> 64) as u64 }
    }

    #[inline]
    pub(super) const fn hash(&self, key: &LimitKey) -> u64 {
        let [a, b, c, d] = key.body;
        let mut v = [
            self.k0 ^ 0x736f_6d65_7073_6575,
            self.k1 ^ 0x646f_7261_6e64_6f6d,
            self.k0 ^ 0x6c79_6765_6e65_7261,
            self.k1 ^ 0x7465_6462_7974_6573,
        ];
        v = absorb(v, a as u64 | (b as u64) << 32);
        v = absorb(v, c as u64 | (d as u64) << 32);
        v = absorb(v, key.head as u64 | 20 << 56);
        v[2] ^= 0xff;
        let [v0, v1, v2, v3] = round(round(round(v)));
        v0 ^ v1 ^ v2 ^ v3
    }
}

#[inline(always)]
const fn absorb(mut v: [u64; 4], message: u64) -> [u64; 4] {
    v[3] ^= message;
    v = round(v);
    v[0] ^= message;
    v
}

#[inline(always)]
const fn round([mut v0, mut v1, mut v2, mut v3]: [u64; 4]) -> [u64; 4] {
    v0 = v0.wrapping_add(v1);
    v2 = v2.wrapping_add(v3);
    v1 = v1.rotate_left(13) ^ v0;
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.rotate_left(32).wrapping_add(v3);
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.rotate_left(32);
    [v0, v1, v2, v3]
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::Hasher};

    use siphasher::sip::SipHasher13;

    use super::*;

    #[test]
    fn constructors_never_collide() {
        let long = "a name that is longer than sixteen bytes";
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(long)[..16]);
        let keys = [
            LimitKey::key([0; 16]),
            LimitKey::key(*b"acme\0\0\0\0\0\0\0\0\0\0\0\0"),
            LimitKey::owner(""),
            LimitKey::owner("acme"),
            LimitKey::owner("acme\0"),
            LimitKey::owner("sixteen bytes.. "),
            LimitKey::owner("sixteen bytes.. +"),
            LimitKey::owner(long),
            LimitKey::named(0, b""),
            LimitKey::named(0, b"acme"),
            LimitKey::named(1, b"acme"),
            LimitKey::named(0, long.as_bytes()),
            LimitKey::named(1, long.as_bytes()),
            LimitKey::named(0, &digest),
            LimitKey::key(digest),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        assert_eq!(size_of::<LimitKey>(), 20);
    }

    #[test]
    fn the_hash_is_siphash_1_3() {
        let mut seed = [0_u8; 16];
        for step in 0..200_u8 {
            seed[usize::from(step) % 16] ^= step.wrapping_mul(37);
            let bytes: [u8; 16] = std::array::from_fn(|i| step ^ (i as u8 * 11));
            let key = LimitKey::named(u16::from(step) * 257, &bytes);
            let mut peer = SipHasher13::new_with_key(&seed);
            peer.write(&bytes);
            peer.write(&key.head.to_le_bytes());
            assert_eq!(KeyedHash::new(seed).hash(&key), peer.finish());
        }
    }
}
