//! The key of a limit, and the hash of a limiter.

use std::{fmt, net::IpAddr, num::NonZeroU32};

use sha2::{Digest, Sha256};

use crate::limit::limit::PolicyTag;

/// What requests are counted by: a subject (a key's id, an owner, an address, everybody, or one that
/// only the host knows), and the policy under which it is counted. Requests with the same `LimitKey`
/// are counted together.
///
/// It has 24 bytes, is `Copy` and never allocates. The constructors cannot collide with one another,
/// because each value contains its kind, its number and its length. Text of up to 16 bytes is stored
/// verbatim. A longer one is stored as the first 128 bits of its SHA-256, which costs a hash at each
/// construction, so build it once and keep it.
///
/// The constructors build keys without a policy. A [`Gate`](crate::gate::Gate) counts each
/// [`Limit`](crate::limit::Limit) under the [`PolicyTag`] of its name, so the same subject counts
/// separately under every policy.
///
/// ```
/// use keyward::{limit::{LimitKey, PolicyTag}, quota::PolicyName};
///
/// const TENANT: u8 = 1;
/// let tenant = LimitKey::host(TENANT, b"acme");
/// assert_ne!(tenant, LimitKey::host(2, b"acme"));
/// assert_ne!(tenant, LimitKey::owner("acme"));
///
/// let exports = PolicyTag::of(&PolicyName::from_static("exports"));
/// assert_ne!(tenant.with_policy(exports), tenant);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitKey {
    pub(super) body: [u64; 2],
    /// From the lowest bit: 3 bits of kind, 5 of length, 8 of the host's number, 16 of the policy.
    /// Never zero, because no kind is, so an `Option` of a key is no larger than the key.
    pub(super) head: NonZeroU32,
}

impl LimitKey {
    /// Builds the limit key of an API key, by its random public id of 128 bits.
    pub const fn key(id: [u8; 16]) -> Self {
        Self { head: Self::head(KEY, 16, 0), body: words(id) }
    }

    /// Builds the limit key of an owner (a project, an organization), by its text id.
    pub fn owner(id: &str) -> Self {
        Self::of_bytes(OWNER, 0, id.as_bytes())
    }

    /// Builds the limit key of a client's address, as for
    /// [failed attempts](crate::gate::GateBuilder::limit_failed_attempts).
    ///
    /// Of an IPv6 address only the first 64 bits count. A subscriber has at least a network of that
    /// size (RFC 6177 §2, RFC 7421), so with whole addresses it would never run out of new ones. An
    /// IPv4 address mapped into IPv6 (RFC 4291 §2.5.5.2), as a dual-stack socket reports it, is the
    /// same as unmapped, and so is one behind the well-known prefix of NAT64, `64:ff9b::/96` (RFC 6052
    /// §2.1); otherwise all of IPv4 would be one network.
    ///
    /// ```
    /// use keyward::limit::LimitKey;
    ///
    /// let of = |text: &str| LimitKey::address(text.parse().unwrap());
    /// assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
    /// assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
    /// assert_eq!(of("64:ff9b::192.0.2.7"), of("192.0.2.7"));
    /// ```
    pub const fn address(address: IpAddr) -> Self {
        let (length, body) = match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                (4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            }
            IpAddr::V6(address) => match address.octets() {
                [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => {
                    (4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
                }
                [a, b, c, d, e, f, g, h, ..] => {
                    (8, [a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0])
                }
            },
        };
        Self { head: Self::head(ADDRESS, length, 0), body: words(body) }
    }

    /// Returns the networks of 56 and 48 bits around an IPv6 network of 64 bits, the sizes that
    /// providers assign (RFC 6177 §2); `None` for any other key.
    pub(crate) fn wider_networks(self) -> Option<[Self; 2]> {
        if self.head.get() & 0xffff != Self::head(ADDRESS, 8, 0).get() {
            return None;
        }
        let [network, _] = self.body;
        Some([7_u8, 6].map(|length| {
            let kept = u64::MAX >> (64 - 8 * u32::from(length));
            let head = Self::head(ADDRESS, length, 0) | self.head.get() & !0xffff;
            // The first byte of the address is the lowest of the word.
            Self { head, body: [network & kept, 0] }
        }))
    }

    /// Builds the limit key of all callers together.
    pub const fn shared() -> Self {
        Self { head: Self::head(SHARED, 0, 0), body: [0; 2] }
    }

    /// Builds the limit key of anything else that the host counts by, such as a tenant or a session.
    ///
    /// `number` is the host's own for each kind of thing; that of
    /// [`Subject::Host`](crate::limit::Subject::Host) is the usual choice. Equal bytes under two
    /// numbers are two keys.
    pub fn host(number: u8, bytes: &[u8]) -> Self {
        Self::of_bytes(HOST, number, bytes)
    }

    /// Returns the key of the same subject under a policy, whichever it had before.
    #[must_use]
    #[inline]
    pub const fn with_policy(self, tag: PolicyTag) -> Self {
        let head = self.head.get() & 0xffff | (tag.as_u16() as u32) << 16;
        Self { head: non_zero(head), ..self }
    }

    /// Returns the key as bytes, for a limiter elsewhere. Different keys have different bytes, and a
    /// key has the same bytes in every process and on every machine.
    pub const fn to_bytes(&self) -> [u8; 20] {
        let [x, y] = self.body;
        let body = (x as u128 | (y as u128) << 64).to_le_bytes();
        let head = self.head.get().to_le_bytes();
        let mut bytes = [0; 20];
        let (start, end) = bytes.split_at_mut(head.len());
        start.copy_from_slice(&head);
        end.copy_from_slice(&body);
        bytes
    }

    fn of_bytes(kind: u8, number: u8, bytes: &[u8]) -> Self {
        let mut body = [0; 16];
        if let Some(start) = body.get_mut(..bytes.len()) {
            start.copy_from_slice(bytes);
            return Self { head: Self::head(kind, bytes.len() as u8, number), body: words(body) };
        }
        for (to, from) in body.iter_mut().zip(Sha256::digest(bytes)) {
            *to = from;
        }
        Self { head: Self::head(kind, DIGEST, number), body: words(body) }
    }

    const fn head(kind: u8, length: u8, number: u8) -> NonZeroU32 {
        non_zero(kind as u32 | (length as u32) << 3 | (number as u32) << 8)
    }
}

/// Returns a head, which has a kind and so is not zero.
#[inline]
const fn non_zero(head: u32) -> NonZeroU32 {
    match NonZeroU32::new(head) {
        Some(head) => head,
        None => NonZeroU32::MIN,
    }
}

/// The kinds of subjects, in 3 bits.
const KEY: u8 = 1;
const OWNER: u8 = 2;
const ADDRESS: u8 = 3;
const SHARED: u8 = 4;
const HOST: u8 = 5;
/// In place of a length, which has 5 bits: the body is a digest.
const DIGEST: u8 = 31;

const fn words(bytes: [u8; 16]) -> [u64; 2] {
    let bits = u128::from_le_bytes(bytes);
    [bits as u64, (bits >> 64) as u64]
}

/// The hashes of one limiter, keyed with its secret seed.
///
/// An attacker may choose names, and must not be able to choose keys that fall into one place. There
/// are two hashes, because an attacker can observe different things of each:
///
/// - [`KeyedHash::place`] finds the shard and the slot at each call. Nothing of it shows in a
///   decision. So it is enough that keys chosen without the seed collide no more than random ones. A
///   strongly universal hash *proves* that (Thorup, "High speed hashing for integers and strings",
///   vector multiply-shift): for any two keys, all pairs of 64-bit values are equally likely over
///   the choice of the seed. It takes three multiplications and 6 ns, while the six dependent rounds
///   of SipHash take 20 ns.
/// - [`KeyedHash::share`] chooses overflow cells, and two callers *can* observe that they share one.
///   It is SipHash-1-3, a pseudo-random function, so that the observation reveals nothing. It is
///   computed only when there is no place for a newcomer.
#[derive(Clone, Copy)]
pub(super) struct KeyedHash {
    /// Uniform: a factor for each word of a key, and a summand.
    factors: [u128; 3],
    summand: u128,
    /// The key of SipHash.
    sip: [u64; 2],
}

impl fmt::Debug for KeyedHash {
    /// Formats the hash without its seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHash").finish_non_exhaustive()
    }
}

impl KeyedHash {
    /// Derives all parameters from SHA-256 of the seed and a number.
    pub(super) fn new(seed: [u8; 16]) -> Self {
        let draw = |number: u8| {
            let digest = Sha256::new().chain_update(seed).chain_update([number]).finalize();
            digest.iter().take(16).fold(0, |sum, &byte| sum << 8 | u128::from(byte))
        };
        let sip = draw(4);
        Self {
            factors: [draw(0), draw(1), draw(2)],
            summand: draw(3),
            sip: [sip as u64, (sip >> 64) as u64],
        }
    }

    /// Returns the place of a key: its top bits give the shard, [`KeyedHash::slot`] slot and tag.
    #[inline]
    pub(super) const fn place(&self, key: &LimitKey) -> u64 {
        let [x, y] = key.body;
        let [a, b, c] = self.factors;
        let first = a.wrapping_mul(x as u128).wrapping_add(self.summand);
        let rest = b.wrapping_mul(y as u128).wrapping_add(c.wrapping_mul(key.head.get() as u128));
        (first.wrapping_add(rest) >> 64) as u64
    }

    /// Returns the bits of a place that find it within its shard.
    ///
    /// It is a bijection, so that everything proved of the place still holds. It breaks up the
    /// arithmetic progressions that a linear hash makes of consecutive keys, which would slow linear
    /// probing, and is computed while the lock is taken.
    #[inline]
    pub(super) const fn slot(place: u64) -> u64 {
        let mixed = (place ^ place >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 32
    }

    /// Returns the hash that chooses a key's overflow cells under the quota of that number.
    pub(super) const fn share(&self, key: &LimitKey, number: u32) -> u64 {
        let [x, y] = key.body;
        let [k0, k1] = self.sip;
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        v = absorb(v, x);
        v = absorb(v, y);
        v = absorb(v, key.head.get() as u64 | (number as u64 & 0xff_ffff) << 32 | 23 << 56);
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
            LimitKey::shared(),
            LimitKey::host(0, b""),
            LimitKey::host(0, b"acme"),
            LimitKey::host(1, b"acme"),
            LimitKey::host(255, b"acme"),
            LimitKey::host(0, long.as_bytes()),
            LimitKey::host(1, long.as_bytes()),
            LimitKey::host(0, &digest),
            LimitKey::key(digest),
            LimitKey::address([0; 4].into()),
            LimitKey::address([0; 16].into()),
            LimitKey::address((*b"acme").into()),
            LimitKey::host(0, &[0; 4]),
            LimitKey::host(0, &[0; 8]),
        ];
        let policies = ["exports", "search"].map(|name| PolicyTag::of(&name.parse().unwrap()));
        let tagged = |tag| keys.map(|key| key.with_policy(tag));
        let keys = [keys, tagged(policies[0]), tagged(policies[1])].concat();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        assert_eq!(keys.iter().map(LimitKey::to_bytes).collect::<HashSet<_>>().len(), keys.len());
        let bytes = [&[2 | 4 << 3, 0, 0, 0], b"acme".as_slice(), &[0; 12]].concat();
        assert_eq!(LimitKey::owner("acme").to_bytes().as_slice(), bytes);
        let tag = policies[0].as_u16().to_le_bytes();
        let bytes = [&[5 | 31 << 3, 9, tag[0], tag[1]], &digest[..]].concat();
        let tagged = LimitKey::host(9, long.as_bytes()).with_policy(policies[0]);
        assert_eq!(tagged.to_bytes().as_slice(), bytes);
        // The policy is replaced, and no other bit.
        assert_eq!(tagged.with_policy(policies[1]).with_policy(policies[0]), tagged);
        assert_eq!(size_of::<LimitKey>(), 24);
    }

    #[test]
    fn addresses_are_counted_by_the_part_that_a_client_cannot_change() {
        let of = |text: &str| LimitKey::address(text.parse().unwrap());
        for (one, other, same) in [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("192.0.2.7", "::ffff:c000:207", true),
            ("::ffff:192.0.2.7", "::ffff:192.0.2.8", false),
            // Behind the well-known prefix of NAT64.
            ("192.0.2.7", "64:ff9b::192.0.2.7", true),
            ("192.0.2.7", "64:ff9b::c000:207", true),
            ("64:ff9b::192.0.2.7", "64:ff9b::192.0.2.8", false),
            // These only look like it: the deprecated compatible form, and other prefixes.
            ("192.0.2.7", "::192.0.2.7", false),
            ("192.0.2.7", "64:ff9b::1:c000:207", false),
            ("192.0.2.7", "64:ff9b:1::192.0.2.7", false),
            ("192.0.2.7", "64:ff9a::192.0.2.7", false),
            // The last bit of the network counts, the first one behind it does not.
            ("2001:db8:1:2::", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::", "2001:db8:1:2:8000::", true),
            ("2001:db8:1:2::", "2001:db8:1:3::", false),
            ("2001:db8:1:2::", "a001:db8:1:2::", false),
            ("::", "::1", true),
            ("0.0.0.0", "::", false),
        ] {
            assert_eq!(of(one) == of(other), same, "{one} {other}");
            assert_eq!(of(one).to_bytes() == of(other).to_bytes(), same, "{one} {other}");
        }
    }

    #[test]
    fn only_ipv6_networks_have_wider_ones() {
        let of = |text: &str| LimitKey::address(text.parse().unwrap());
        let policy = PolicyTag::of(&"exports".parse().unwrap());
        let [of_56, of_48] = of("2001:db8:1:234::").wider_networks().unwrap();
        for (text, same_56, same_48) in [
            ("2001:db8:1:234::1", true, true),
            ("2001:db8:1:2ff::", true, true),
            ("2001:db8:1:334::", false, true),
            ("2001:db8:1:ffff::", false, true),
            ("2001:db8:2:234::", false, false),
        ] {
            let [other_56, other_48] = of(text).wider_networks().unwrap();
            assert_eq!((other_56 == of_56, other_48 == of_48), (same_56, same_48), "{text}");
        }
        // A network is never the same as one of another size, nor under another policy.
        let zero = of("::");
        let wider = zero.wider_networks().unwrap();
        let tagged = zero.with_policy(policy).wider_networks().unwrap();
        assert_eq!(tagged, wider.map(|key| key.with_policy(policy)));
        let all = [&[zero][..], &wider, &tagged].concat();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        for key in [
            of("192.0.2.7"),
            of("64:ff9b::192.0.2.7"),
            of_56,
            of_48,
            LimitKey::host(0, &[0; 8]),
            LimitKey::owner("eight by"),
            LimitKey::shared(),
        ] {
            assert_eq!(key.wider_networks(), None, "{key:?}");
        }
    }

    #[test]
    fn overflow_cells_are_chosen_by_siphash_1_3() {
        let mut seed = [0_u8; 16];
        for step in 0..200_u8 {
            seed[usize::from(step) % 16] ^= step.wrapping_mul(37);
            let bytes: [u8; 16] = std::array::from_fn(|i| step ^ (i as u8 * 11));
            let key = LimitKey::host(step, &bytes);
            let hash = KeyedHash::new(seed);
            let mut peer = SipHasher13::new_with_keys(hash.sip[0], hash.sip[1]);
            peer.write(&bytes);
            peer.write(&key.head.get().to_le_bytes());
            peer.write(&[step, 1, 0]);
            assert_eq!(hash.share(&key, u32::from(step) + 256), peer.finish());
        }
    }

    /// For structured keys (counters in each position, one-bit differences, multiples of
    /// powers of two) every part of the hash that is used spreads them as random ones.
    #[test]
    fn structured_keys_are_spread() {
        let families: [fn(u64) -> u128; 6] = [
            |i| u128::from(i),
            |i| u128::from(i) << 32,
            |i| u128::from(i) << 64,
            |i| u128::from(i) << 112,
            |i| u128::from(i) << 20 | u128::from(i) << 84,
            |i| 1 << (i % 128) | 1 << (i / 128),
        ];
        for seed in 0..8 {
            let hash = KeyedHash::new([seed; 16]);
            for (family, key) in families.iter().enumerate() {
                for shift in [0, 40] {
                    // 4,096 keys in 4,096 places: an average of one, random ones at most 9 or so.
                    let mut places = vec![0; 4_096];
                    for i in 0..4_096 {
                        let key = LimitKey::key(key(i).to_le_bytes());
                        places[(KeyedHash::slot(hash.place(&key)) >> shift) as usize % 4_096] += 1;
                    }
                    let most = places.iter().max().unwrap();
                    assert!(*most <= 16, "family {family}, seed {seed}: {most} in one place");
                    let empty = places.iter().filter(|&&keys| keys == 0).count();
                    assert!((1_200..1_800).contains(&empty), "family {family}: {empty} empty");
                }
            }
        }
    }
}
