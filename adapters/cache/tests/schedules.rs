//! Typical mistakes in a cache, each detected by one schedule of calls. Correct caches pass the
//! same schedules.
//!
//! Nothing here depends on time or chance: a call that another one overtakes stops at a [`Point`],
//! and the clock is moved by hand. `linearizability.rs` searches for the same mistakes at random.

#[path = "support/naive.rs"]
mod naive;
mod support;

use std::{sync::Arc, time::Duration};

use keyward::{
    ManualClock,
    key::{Owner, Tier},
    store::{Change, Invalidate, KeyRegistry, Lookup},
};
use keyward_cache::{CacheConfig, CachedStore};
use naive::{Mistake, Naive};
use support::{Gated, Point, STALENESS, START, Task, World};

const MILLI: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
enum Schedule {
    /// A cache is queried for a key that was written through it.
    OwnWrites,
    /// The same for the owner of a key.
    Owners,
    /// A cache without announcements is queried after the bound.
    OldAnswers,
    /// A cache is queried after an announcement.
    Announcements,
    /// A query has read; a revocation overtakes it before it returns.
    OvertakenQueries,
    /// A revocation has begun; a query overtakes it before the write.
    OvertakenWrites,
    /// A query returns shortly before the bound since its read ends.
    SlowQueries,
    /// A revocation is dropped between its write and its return.
    DroppedWrites,
}

const ALL: [Schedule; 8] = [
    Schedule::OwnWrites,
    Schedule::Owners,
    Schedule::OldAnswers,
    Schedule::Announcements,
    Schedule::OvertakenQueries,
    Schedule::OvertakenWrites,
    Schedule::SlowQueries,
    Schedule::DroppedWrites,
];

/// Returns whether this cache finally returns the state of the store.
fn is_right<K>(schedule: Schedule, make: impl Fn(Arc<Gated>, Arc<ManualClock>) -> K) -> bool
where
    K: KeyRegistry<Error: std::fmt::Debug> + Invalidate,
{
    let (store, clock) = (Arc::new(Gated::default()), Arc::new(ManualClock::new(START)));
    let [one, other] = [0, 1].map(|_| make(Arc::clone(&store), Arc::clone(&clock)));
    let mut world = World::new(1);
    let (record, first) = world.issue("owner", START);
    store.store.insert_sync(record.clone()).unwrap();
    let revoked = record.revoke(START).unwrap();
    let revision = |cache: &K, lookup: &Lookup| {
        let found = pollster::block_on(cache.find(lookup)).unwrap();
        found.map(|found| found.record().revision())
    };
    let revoke = || pollster::block_on(one.replace(revoked.clone())).unwrap();
    match schedule {
        Schedule::OwnWrites => {
            let (rotated, second) = world.rotate(&record, START);
            assert_eq!(revision(&one, &first), Some(1));
            pollster::block_on(one.replace(rotated.clone())).unwrap();
            let after = [revision(&one, &first), revision(&one, &second)];
            pollster::block_on(one.replace(rotated.revoke(START).unwrap())).unwrap();
            after == [Some(2); 2]
                && [revision(&one, &first), revision(&one, &second)] == [Some(3); 2]
        }
        Schedule::Owners => {
            let tier = || {
                let found = pollster::block_on(one.find(&first)).unwrap().unwrap();
                found.owner().tier.clone()
            };
            assert_eq!(tier(), None);
            let owner = Owner::new(record.owner().clone()).with_tier(Tier::from_static("top"));
            pollster::block_on(one.put_owner(owner)).unwrap();
            tier() == Some(Tier::from_static("top"))
        }
        Schedule::OldAnswers => {
            assert_eq!(revision(&other, &first), Some(1));
            revoke();
            clock.set(START + (STALENESS - MILLI));
            assert_eq!(revision(&other, &first), Some(1), "still cached");
            clock.advance(MILLI);
            revision(&other, &first) == Some(2)
        }
        Schedule::Announcements => {
            assert_eq!(revision(&other, &first), Some(1));
            revoke();
            assert_eq!(revision(&other, &first), Some(1), "still cached");
            other.invalidate(&Change::record(&revoked));
            revision(&other, &first) == Some(2)
        }
        Schedule::OvertakenQueries => {
            store.close(Point::AfterRead);
            let mut early = Task::new(one.find(&first));
            assert!(early.poll().is_none());
            revoke();
            store.open(Point::AfterRead);
            assert!(early.poll().is_some());
            revision(&one, &first) == Some(2)
        }
        Schedule::OvertakenWrites => {
            store.close(Point::BeforeWrite);
            let mut writing = Task::new(one.replace(revoked.clone()));
            assert!(writing.poll().is_none());
            assert_eq!(revision(&one, &first), Some(1));
            store.open(Point::BeforeWrite);
            assert!(writing.poll().is_some());
            revision(&one, &first) == Some(2)
        }
        Schedule::SlowQueries => {
            store.close(Point::AfterRead);
            let mut slow = Task::new(other.find(&first));
            assert!(slow.poll().is_none());
            revoke();
            clock.set(START + (STALENESS - MILLI));
            store.open(Point::AfterRead);
            assert!(slow.poll().is_some());
            clock.advance(MILLI);
            revision(&other, &first) == Some(2)
        }
        Schedule::DroppedWrites => {
            assert_eq!(revision(&one, &first), Some(1));
            store.close(Point::AfterWrite);
            let mut writing = Task::new(one.replace(revoked.clone()));
            assert!(writing.poll().is_none());
            writing.cancel();
            revision(&one, &first) == Some(2)
        }
    }
}

fn cached(staleness: Duration) -> impl Fn(Arc<Gated>, Arc<ManualClock>) -> Cached {
    let config = CacheConfig::new().with_staleness(staleness);
    move |store, clock| CachedStore::with_config(store, clock, config)
}

type Cached = CachedStore<Arc<Gated>, Arc<ManualClock>>;

fn naive(mistake: Mistake) -> impl Fn(Arc<Gated>, Arc<ManualClock>) -> Naive<Arc<Gated>> {
    move |store, clock| Naive::new(store, clock, STALENESS, mistake)
}

#[test]
fn correct_caches_pass_every_schedule() {
    for schedule in ALL {
        assert!(is_right(schedule, cached(STALENESS)), "{schedule:?}");
        assert!(is_right(schedule, naive(Mistake::None)), "{schedule:?}, the simplest cache");
    }
}

#[test]
fn each_mistake_is_detected_by_its_schedule() {
    for (mistake, schedule) in [
        (Mistake::NoGeneration, Schedule::OvertakenQueries),
        (Mistake::NoInvalidationOnWrite, Schedule::OwnWrites),
        (Mistake::NoInvalidationWhenCancelled, Schedule::DroppedWrites),
        (Mistake::AnnouncementsIgnored, Schedule::Announcements),
        (Mistake::StalenessIgnored, Schedule::OldAnswers),
        (Mistake::AgeFromTheAnswer, Schedule::SlowQueries),
        (Mistake::OwnersIgnored, Schedule::Owners),
        (Mistake::OneSecretForgotten, Schedule::OwnWrites),
        (Mistake::InvalidatesTooEarly, Schedule::OvertakenWrites),
    ] {
        assert!(!is_right(schedule, naive(mistake)), "{mistake:?} is not detected");
    }
    let longer = cached(STALENESS + MILLI);
    assert!(!is_right(Schedule::OldAnswers, longer), "a longer bound is not detected");
}
