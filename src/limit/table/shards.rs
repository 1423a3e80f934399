//! The shards of a limiter and the order of their locks.
//!
//! Keys are spread over a power of two of [`Book`]s, each behind its own lock on its own cache
//! lines. A decision on one key takes one lock. A decision on several keys takes the locks of all
//! their shards in ascending order, so that two such decisions never wait for each other in a
//! circle.

use std::{ops::DerefMut, sync::Arc};

use crate::{
    limit::{
        decision::MAX_LIMITS,
        key::{KeyedHash, LimitKey},
        table::book::{Book, MAX_ENTRIES},
    },
    sync::{ShortLock, ShortLockGuard},
};

/// The locked books of a limiter.
pub(in crate::limit) struct Shards {
    shards: Box<[Shard]>,
    /// The number of shards is two to this power.
    bits: u32,
    hash: KeyedHash,
}

/// Two lines of 64 bytes, because processors fetch them in pairs.
#[repr(align(128))]
struct Shard(ShortLock<Book>);

impl Shards {
    pub(in crate::limit) fn new(bits: u32, entries_per_shard: u32, seed: [u8; 16]) -> Self {
        let hash = KeyedHash::new(seed);
        let shared = Arc::new(hash);
        let entries = entries_per_shard.min(MAX_ENTRIES);
        let book = |_| Shard(ShortLock::new(Book::new(entries, Arc::clone(&shared))));
        Self { shards: (0..1_usize << bits).map(book).collect(), bits, hash }
    }

    /// Hashes a key, once a call: the shard, the place in its index and the tag come from this hash.
    #[inline]
    pub(in crate::limit) fn hash(&self, key: &LimitKey) -> u64 {
        self.hash.place(key)
    }

    /// Locks the shard of `hash`. There always is one.
    #[inline]
    pub(in crate::limit) fn lock(&self, hash: u64) -> Option<ShortLockGuard<'_, Book>> {
        self.shards.get(self.shard_of(hash)).map(|shard| shard.0.lock())
    }

    /// Calls `act` with the shards of all `hashes`, at most [`MAX_LIMITS`], under all their locks.
    pub(in crate::limit) fn with_all<R>(
        &self,
        hashes: impl Iterator<Item = u64>,
        act: impl FnOnce(&mut Locked<'_>) -> R,
    ) -> R {
        let mut wanted = [usize::MAX; MAX_LIMITS];
        for (slot, hash) in wanted.iter_mut().zip(hashes) {
            *slot = self.shard_of(hash);
        }
        wanted.sort_unstable();
        let mut locked = Locked { shards: self, guards: [const { None }; MAX_LIMITS] };
        let mut previous = usize::MAX;
        for (slot, at) in locked.guards.iter_mut().zip(wanted) {
            if at != previous
                && let Some(shard) = self.shards.get(at)
            {
                *slot = Some((at, shard.0.lock()));
            }
            previous = at;
        }
        act(&mut locked)
    }

    /// Calls `act` with one shard after another and never holds two locks.
    pub(in crate::limit) fn for_each(&self, mut act: impl FnMut(&mut Book)) {
        for shard in &self.shards {
            act(&mut shard.0.lock());
        }
    }

    /// Returns the number of shards.
    pub(in crate::limit) fn count(&self) -> usize {
        self.shards.len()
    }

    /// Returns the top bits of the universal hash. The index uses mixed bits, because within a shard
    /// the top bits are equal for all keys.
    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        (hash >> 1 >> (63 - self.bits)) as usize
    }
}

/// The locked shards of one decision.
pub(in crate::limit) struct Locked<'a> {
    shards: &'a Shards,
    guards: [Option<(usize, ShortLockGuard<'a, Book>)>; MAX_LIMITS],
}

impl Locked<'_> {
    /// Returns the book of `hash`, which is one of the locked ones.
    pub(in crate::limit) fn book(&mut self, hash: u64) -> Option<&mut Book> {
        let at = self.shards.shard_of(hash);
        self.guards
            .iter_mut()
            .flatten()
            .find(|(locked, _)| *locked == at)
            .map(|(_, guard)| guard.deref_mut())
    }
}

/// Every interleaving of two threads, checked by loom:
/// `RUSTFLAGS="--cfg keyward_loom" cargo test --release --package keyward --lib limit::table::shards`.
#[cfg(all(test, keyward_loom))]
mod model_checks {
    use std::time::Duration;

    use crate::{
        clock::timestamp::Timestamp,
        limit::{
            key::LimitKey,
            limiter::{Limiter, LimiterConfig},
        },
        quota::{Quota, Quotas},
        sync::checker::{Arc, model, thread},
    };

    const NOW: Timestamp = Timestamp::from_unix_secs(1_767_323_045);
    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(max_keys: u32, shards: u32) -> Arc<Limiter> {
        let config = LimiterConfig::default().with_max_keys(max_keys).with_shards(shards);
        Arc::new(Limiter::new(config, [1; 16]))
    }

    fn per_second(limit: u32) -> Quotas {
        Quotas::single(Quota::per_second(limit))
    }

    fn key(number: u8) -> LimitKey {
        LimitKey::key([number; 16])
    }

    fn admitted(limiter: &Limiter, key: LimitKey, limit: u32, times: u32, now: Timestamp) -> u32 {
        let check = |_: &u32| limiter.check(key, &per_second(limit), 1, now).unwrap().allowed;
        (0..times).filter(check).count() as u32
    }

    #[test]
    fn two_threads_share_a_limit_exactly() {
        model(|| {
            let limiter = limiter(8, 1);
            let other = Arc::clone(&limiter);
            // The other thread's clock is a little behind.
            let behind = NOW.saturating_sub(Duration::from_millis(5));
            let thread = thread::spawn(move || admitted(&other, key(1), 3, 2, behind));
            let mine = admitted(&limiter, key(1), 3, 2, NOW);
            assert_eq!(mine + thread.join().unwrap(), 3);
        });
    }

    #[test]
    fn an_eviction_resets_nobody() {
        model(|| {
            // One place, taken by a key that is idle when two newcomers arrive for it.
            let limiter = limiter(1, 1);
            assert_eq!(admitted(&limiter, key(0), 1, 1, NOW), 1);
            let other = Arc::clone(&limiter);
            let thread = thread::spawn(move || admitted(&other, key(1), 1, 2, NOW + 3 * SECOND));
            let later = NOW + 3 * SECOND + Duration::from_millis(1);
            let mine = admitted(&limiter, key(2), 1, 2, later);
            assert!(mine <= 1 && thread.join().unwrap() <= 1);
            assert!(limiter.len() <= 1);
            // A key that was admitted is still refused.
            assert_eq!(admitted(&limiter, key(2), 1, 1, later), 1 - mine);
        });
    }

    #[test]
    fn a_refund_gives_back_once() {
        model(|| {
            let limiter = limiter(8, 1);
            let (_, ticket) = limiter.admit(key(1), &per_second(2), 1, NOW).unwrap();
            let other = Arc::clone(&limiter);
            let thread = thread::spawn(move || other.refund(ticket.unwrap()));
            let mine = admitted(&limiter, key(1), 2, 2, NOW);
            assert!(thread.join().unwrap());
            assert_eq!(mine + admitted(&limiter, key(1), 2, 2, NOW), 2);
        });
    }

    #[test]
    fn a_reset_between_admission_and_refund_is_seen() {
        model(|| {
            let limiter = limiter(8, 1);
            let (_, ticket) = limiter.admit(key(1), &per_second(1), 1, NOW).unwrap();
            let other = Arc::clone(&limiter);
            let thread = thread::spawn(move || {
                let reset = other.reset(key(1));
                (reset, admitted(&other, key(1), 1, 1, NOW))
            });
            let refunded = limiter.refund(ticket.unwrap());
            let (reset, theirs) = thread.join().unwrap();
            // The ticket never takes back what was admitted after the reset.
            assert!(reset);
            assert_eq!(theirs, 1);
            assert_eq!(admitted(&limiter, key(1), 1, 1, NOW), 0, "refunded: {refunded}");
        });
    }

    #[test]
    fn several_keys_are_charged_together_whatever_their_order() {
        model(|| {
            let limiter = limiter(8, 4);
            let other = Arc::clone(&limiter);
            let charge = |limiter: &Limiter, keys: [u8; 2]| {
                let (two, one) = (per_second(2), per_second(1));
                let limits =
                    keys.map(|number| (key(number), if number == 1 { &one } else { &two }));
                limiter.check_all(&limits, 1, NOW).unwrap().allowed
            };
            let thread = thread::spawn(move || charge(&other, [1, 2]));
            let mine = charge(&limiter, [2, 1]);
            // The limit of one admits one, and the refused one has not charged the other key.
            assert!(mine ^ thread.join().unwrap());
            assert_eq!(admitted(&limiter, key(2), 2, 2, NOW), 1);
        });
    }
}
