//! All locks of the limiter, and nothing else.
//!
//! Keys are spread over a power of two of [`Book`]s, each behind its own lock on its own
//! cache lines. A decision on one key waits for one lock. A decision on several keys
//! takes the locks of all their shards at once, in ascending order, so that two such
//! decisions never wait for each other in a circle.

use std::{ops::DerefMut, sync::Arc};

use crate::limit::{
    book::{Book, MAX_ENTRIES},
    key::{KeyedHash, LimitKey},
};
use sync::{Guard, Lock};

/// The most keys that are locked at once.
pub(super) const MAX_LOCKED: usize = 4;

pub(super) struct Shards {
    shards: Box<[Shard]>,
    /// The number of shards is two to this power.
    bits: u32,
    hash: KeyedHash,
}

/// Two lines of 64 bytes, because processors fetch them in pairs.
#[repr(align(128))]
struct Shard(Lock<Book>);

impl Shards {
    pub(super) fn new(bits: u32, entries_per_shard: u32, seed: [u8; 16]) -> Self {
        let hash = KeyedHash::new(seed);
        let shared = Arc::new(hash);
        let entries = entries_per_shard.min(MAX_ENTRIES);
        let book = |_| Shard(Lock::new(Book::new(entries, Arc::clone(&shared))));
        Self { shards: (0..1_usize << bits).map(book).collect(), bits, hash }
    }

    /// The one hash of a call: the shard, the place in its index and the tag all come from it.
    #[inline]
    pub(super) fn hash(&self, key: &LimitKey) -> u64 {
        self.hash.place(key)
    }

    /// Locks the shard of `hash`; there always is one.
    #[inline]
    pub(super) fn lock(&self, hash: u64) -> Option<Guard<'_, Book>> {
        self.shards.get(self.shard_of(hash)).map(|shard| shard.0.lock())
    }

    /// Acts on the shards of all `hashes`, at most [`MAX_LOCKED`], under all their locks.
    pub(super) fn with_all<R>(
        &self,
        hashes: impl Iterator<Item = u64>,
        act: impl FnOnce(&mut Locked<'_>) -> R,
    ) -> R {
        let mut wanted = [usize::MAX; MAX_LOCKED];
        for (slot, hash) in wanted.iter_mut().zip(hashes) {
            *slot = self.shard_of(hash);
        }
        wanted.sort_unstable();
        let mut locked = Locked { shards: self, guards: [const { None }; MAX_LOCKED] };
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

    /// Acts on one shard after another, never holding two locks.
    pub(super) fn for_each(&self, mut act: impl FnMut(&mut Book)) {
        for shard in &self.shards {
            act(&mut shard.0.lock());
        }
    }

    pub(super) fn count(&self) -> usize {
        self.shards.len()
    }

    /// The top bits of the universal hash as it is. The index takes mixed ones, because
    /// within a shard the top bits are equal for all keys.
    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        (hash >> 1 >> (63 - self.bits)) as usize
    }
}

/// The shards of one decision.
pub(super) struct Locked<'a> {
    shards: &'a Shards,
    guards: [Option<(usize, Guard<'a, Book>)>; MAX_LOCKED],
}

impl Locked<'_> {
    /// The book of `hash`, which is one of those that were locked.
    pub(super) fn book(&mut self, hash: u64) -> Option<&mut Book> {
        let at = self.shards.shard_of(hash);
        self.guards
            .iter_mut()
            .flatten()
            .find(|(locked, _)| *locked == at)
            .map(|(_, guard)| guard.deref_mut())
    }
}

/// The shim: real locks, or those of a model checker. Neither is ever poisoned.
///
/// A lock is held for some twenty nanoseconds, so what the lock itself costs shows in a decision.
/// This one is let go by a plain store, where one that keeps a list of waiters needs a second
/// locked instruction: that is a fifth of the time of a decision. So nobody wakes a waiter. It
/// tries again in ever longer intervals: at first at once, for the holder is at work on another
/// core; then it gives up its time slice, and at last it sleeps, so that a holder that was
/// interrupted gets to run, whatever the threads' priorities are.
#[cfg(not(all(test, keyward_loom)))]
mod sync {
    use std::{hint, thread, time::Duration};

    use spin::mutex::SpinMutex;

    pub(super) use spin::mutex::SpinMutexGuard as Guard;

    pub(super) struct Lock<T>(SpinMutex<T>);

    impl<T> Lock<T> {
        pub(super) fn new(value: T) -> Self {
            Self(SpinMutex::new(value))
        }

        #[inline]
        pub(super) fn lock(&self) -> Guard<'_, T> {
            match self.0.try_lock() {
                Some(guard) => guard,
                None => self.wait(),
            }
        }

        #[cold]
        fn wait(&self) -> Guard<'_, T> {
            let mut tries = 0_u32;
            loop {
                pause(tries);
                // Looking first leaves the cache line with the holder.
                if !self.0.is_locked()
                    && let Some(guard) = self.0.try_lock()
                {
                    return guard;
                }
                tries = tries.saturating_add(1);
            }
        }
    }

    /// From the pause before the second try: 2 to 64 turns of the processor, its time slice given
    /// up eight times, then 50 µs to 1.6 ms of sleep.
    #[expect(
        clippy::disallowed_methods,
        reason = "a lock waits; no decision depends on for how long"
    )]
    fn pause(tries: u32) {
        match tries {
            0..24 => (0..2_u32 << (tries / 4)).for_each(|_| hint::spin_loop()),
            24..32 => thread::yield_now(),
            _ => thread::sleep(Duration::from_micros(50 << (tries - 32).min(5))),
        }
    }
}

#[cfg(all(test, keyward_loom))]
mod sync {
    pub(super) use loom::sync::MutexGuard as Guard;

    pub(super) struct Lock<T>(loom::sync::Mutex<T>);

    impl<T> Lock<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> Guard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

/// Every interleaving of two threads, by loom:
/// `RUSTFLAGS="--cfg keyward_loom" cargo test --release --lib limit::shards`.
#[cfg(all(test, keyward_loom))]
mod model_checks {
    use std::time::Duration;

    use loom::{sync::Arc, thread};

    use crate::{
        clock::timestamp::Timestamp,
        limit::{
            key::LimitKey,
            limiter::{Limiter, LimiterConfig},
        },
        quota::{Quota, Quotas},
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
        loom::model(|| {
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
        loom::model(|| {
            // One place, taken by a key that is idle when two newcomers arrive for it.
            let limiter = limiter(1, 1);
            assert_eq!(admitted(&limiter, key(0), 1, 1, NOW), 1);
            let other = Arc::clone(&limiter);
            let thread = thread::spawn(move || admitted(&other, key(1), 1, 2, NOW + 3 * SECOND));
            let later = NOW + 3 * SECOND + Duration::from_millis(1);
            let mine = admitted(&limiter, key(2), 1, 2, later);
            assert!(mine <= 1 && thread.join().unwrap() <= 1);
            assert!(limiter.len() <= 1);
            // Whoever was admitted is still refused.
            assert_eq!(admitted(&limiter, key(2), 1, 1, later), 1 - mine);
        });
    }

    #[test]
    fn a_refund_gives_back_once() {
        loom::model(|| {
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
        loom::model(|| {
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
        loom::model(|| {
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
