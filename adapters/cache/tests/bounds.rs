//! The staleness bound and the capacity, on both sides of each limit.

mod support;

use std::{sync::Arc, time::Duration};

use keyward::{
    Clock as _, KeyHasher, KeyStore, Timestamp,
    key::{Grace, OwnerChange},
    store::{Change, Invalidate as _, KeyRegistry},
    verify::{Verifier, VerifyError},
};
use keyward_cache::{CacheConfig, CachedStore};
use support::{FORMAT, Point, Rig, STALENESS, START};

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn a_cached_result_is_returned_only_within_the_staleness_bound() {
    for (age, queries) in [(STALENESS - MILLI, 1), (STALENESS, 2), (STALENESS + MILLI, 2)] {
        let mut rig = Rig::new();
        let (record, lookup) = rig.key("owner");
        let stranger = rig.world.stranger();
        assert_eq!((rig.revision(&lookup), rig.revision(&stranger)), (Some(1), None));
        // Changed by another process, without an announcement.
        rig.store.store.replace_sync(record.revoke(START).unwrap()).unwrap();
        rig.clock.set(START + age);
        assert_eq!(rig.revision(&lookup), Some(queries), "{age:?}");
        assert_eq!(rig.revision(&stranger), None);
        assert_eq!(rig.store.finds() as u64, 2 * queries, "{age:?}: absent keys too");
    }
}

#[test]
fn age_counts_from_before_the_query() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.key("owner");
    rig.store.close(Point::AfterRead);
    let mut slow = rig.task(&lookup);
    assert!(slow.poll().is_none());
    rig.store.store.replace_sync(record.revoke(START).unwrap()).unwrap();
    rig.clock.set(START + (STALENESS - MILLI));
    rig.store.open(Point::AfterRead);
    assert_eq!(slow.poll(), Some(Ok(Some(1))));
    assert_eq!(rig.revision(&lookup), Some(1), "cached, but only briefly");
    rig.clock.advance(MILLI);
    assert_eq!(rig.revision(&lookup), Some(2));
}

#[test]
fn a_query_slower_than_the_bound_serves_only_its_own_caller() {
    for (age, joined) in [(STALENESS - MILLI, true), (STALENESS, false)] {
        let mut rig = Rig::new();
        let (record, lookup) = rig.key("owner");
        rig.store.close(Point::AfterRead);
        let (mut mine, mut joiner) = (rig.task(&lookup), rig.task(&lookup));
        assert!(mine.poll().is_none() && joiner.poll().is_none());
        rig.store.store.replace_sync(record.revoke(START).unwrap()).unwrap();
        rig.clock.set(START + age);
        // A later lookup sends its own query if the one in progress is too old.
        let mut late = rig.task(&lookup);
        assert!(late.poll().is_none());
        assert_eq!(rig.store.finds(), 2 - usize::from(joined), "{age:?}");
        rig.store.open(Point::AfterRead);
        assert_eq!(mine.poll(), Some(Ok(Some(1))));
        let expected = Some(Ok(Some(2 - u64::from(joined))));
        assert_eq!(late.poll(), expected, "{age:?}");
        assert_eq!(joiner.poll(), expected, "{age:?}");
    }
}

#[test]
fn a_clock_set_back_does_not_extend_the_bound() {
    let mut rig = Rig::new();
    let (_, lookup) = rig.key("owner");
    let stranger = rig.world.stranger();
    assert_eq!((rig.revision(&lookup), rig.revision(&stranger)), (Some(1), None));
    rig.clock.set(START.saturating_sub(MILLI));
    assert_eq!((rig.revision(&lookup), rig.revision(&stranger)), (Some(1), None));
    assert_eq!(rig.store.finds(), 4);
}

/// A cached key is evaluated exactly like a key that is read from the store.
#[test]
fn expiry_and_grace_are_exact_to_the_millisecond() {
    let end = START + Duration::from_secs(2);
    for retiring in [false, true] {
        for warm in [START, end.saturating_sub(MILLI), end, end + MILLI] {
            for at in [end.saturating_sub(MILLI), end, end + MILLI] {
                if at < warm {
                    continue;
                }
                let mut rig = Rig::new();
                let (record, lookup) = rig.key("owner");
                let changed = if retiring {
                    let (secret, _) = rig.world.secret(START);
                    let grace = Grace::new(Duration::from_secs(2)).unwrap();
                    record.rotate(secret, grace, START).unwrap()
                } else {
                    record.expire_at(end, START).unwrap()
                };
                pollster::block_on(rig.cache.replace(changed)).unwrap();
                let verifier = Verifier::new(rig.world.hasher.clone());
                let judge = |now: Timestamp| {
                    rig.clock.set(now);
                    verifier.verify(&lookup, rig.find(&lookup), now).map(|_| ())
                };
                let after = if retiring { VerifyError::PastGrace } else { VerifyError::Expired };
                let expected = |now| if now < end { Ok(()) } else { Err(after) };
                assert_eq!(judge(warm), expected(warm));
                assert_eq!(judge(at), expected(at), "cached at {warm:?}, looked up at {at:?}");
                let again = usize::from(warm < end && end <= at);
                assert_eq!(rig.store.finds(), 1 + again, "read again only at the deadline");
            }
        }
    }
}

#[test]
fn a_flood_of_random_keys_evicts_no_real_key() {
    let small = 64;
    let mut rig = Rig::with(CacheConfig::new().with_max_secrets(small).with_max_unknown(small));
    let keys: Vec<_> = (0..50).map(|_| rig.key("owner").1).collect();
    for lookup in &keys {
        assert_eq!(rig.revision(lookup), Some(1));
    }
    let _pending_work_done = rig.cache.held_secrets();
    let finds = rig.store.finds();
    for _ in 0..20_000 {
        let stranger = rig.world.stranger();
        assert_eq!(rig.revision(&stranger), None);
    }
    assert_eq!(rig.store.finds() - finds, 20_000);
    assert!(rig.cache.held_unknown() <= 64, "{}", rig.cache.held_unknown());
    assert_eq!(rig.cache.held_secrets(), 50);
    for lookup in &keys {
        assert_eq!(rig.revision(lookup), Some(1));
    }
    assert_eq!(rig.store.finds() - finds, 20_000, "every real key was still cached");
}

#[test]
fn the_cache_never_holds_more_secrets_than_its_capacity() {
    let small = 64;
    let mut rig = Rig::with(CacheConfig::new().with_max_secrets(small));
    for _ in 0..2_000 {
        let (_, lookup) = rig.key("owner");
        assert_eq!(rig.revision(&lookup), Some(1));
    }
    assert!(rig.cache.held_secrets() <= 64, "{}", rig.cache.held_secrets());
    // Of 2,000 records, all those are freed that neither `moka` nor the 64 slots hold.
    let held = rig.cache.inner().store.list_all_sync(keyward::store::PageRequest::first(1));
    assert_eq!(held.keys.len(), 1);
}

#[test]
fn a_repeated_unknown_key_causes_one_query() {
    let mut rig = Rig::new();
    let stranger = rig.world.stranger();
    for _ in 0..100 {
        assert_eq!(rig.revision(&stranger), None);
    }
    assert_eq!(rig.store.finds(), 1);
}

#[test]
fn one_query_caches_a_record_for_all_of_its_secrets() {
    let mut rig = Rig::new();
    let (record, first) = rig.key("owner");
    let (rotated, second) = rig.world.rotate(&record, START);
    pollster::block_on(rig.cache.replace(rotated)).unwrap();
    let (one, other) = (rig.find(&first).unwrap(), rig.find(&second).unwrap());
    assert_eq!((rig.store.finds(), rig.cache.held_secrets()), (1, 2));
    assert!(std::ptr::eq(one.record(), other.record()), "and cached once");
}

#[test]
fn candidate_hashes_of_several_schemes_find_one_record() {
    let old = KeyHasher::hmac_sha256(1, &[1; 32]).unwrap();
    let new = KeyHasher::hmac_sha256(2, &[2; 32]).unwrap();
    let both = KeyHasher::hmac_sha256(2, &[2; 32]).unwrap().accept_pepper(1, &[1; 32]).unwrap();
    let mut rig = Rig::new();
    rig.world.hasher = old;
    let (secret, key) = rig.world.secret(START);
    let (record, _) = rig.key("owner");
    let record = record.rotate(secret, Grace::DAY, START).unwrap();
    rig.store.store.replace_sync(record).unwrap();
    let formats = keyward::key::KeyFormats::from(FORMAT);
    let presented = formats.parse(key.expose()).unwrap();
    let lookup = |hasher: &KeyHasher| Verifier::new(hasher.clone()).lookup(&presented);
    // A miss of the newer hash alone says nothing about both hashes together.
    assert_eq!(rig.revision(&lookup(&new)), None);
    assert_eq!(rig.revision(&lookup(&both)), Some(2));
    assert_eq!(rig.revision(&lookup(&both)), Some(2));
    assert_eq!(rig.revision(&lookup(&new)), None);
    assert_eq!(rig.store.finds(), 2);
}

#[test]
fn a_bound_of_zero_caches_nothing() {
    let mut rig = Rig::with(CacheConfig::new().with_staleness(Duration::ZERO));
    let (record, lookup) = rig.key("owner");
    assert_eq!(rig.revision(&lookup), Some(1));
    rig.store.store.replace_sync(record.revoke(START).unwrap()).unwrap();
    assert_eq!(rig.revision(&lookup), Some(2));
}

#[test]
fn two_caches_over_one_store_respect_their_bounds() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.key("owner");
    let other = CachedStore::new(Arc::clone(&rig.store), Arc::clone(&rig.clock));
    assert_eq!(rig.revision(&lookup), Some(1));
    pollster::block_on(other.replace(record.revoke(START).unwrap())).unwrap();
    let found = pollster::block_on(other.find(&lookup)).unwrap().unwrap();
    assert_eq!(found.record().revision(), 2);
    assert_eq!(rig.revision(&lookup), Some(1), "without an announcement, within the bound");
    rig.clock.advance(STALENESS);
    assert_eq!(rig.revision(&lookup), Some(2));
}

/// A suspension of an owner that another process has made reaches all of its keys, also those that are
/// cached, within the bound; one that is announced or made through the cache, at once.
#[test]
fn a_suspended_owner_is_refused_within_the_bound() {
    for way in ["in the database", "announced", "through the cache"] {
        let mut rig = Rig::new();
        let keys = [rig.key("owner"), rig.key("owner"), rig.key("other")];
        let verifier = Verifier::new(rig.world.hasher.clone());
        let verdicts = |rig: &Rig| {
            let now = rig.clock.now();
            keys.each_ref().map(|(_, lookup)| {
                let found = pollster::block_on(rig.cache.find(lookup)).unwrap();
                let at_once = rig.cache.try_find(lookup).unwrap().unwrap();
                assert_eq!(found, at_once, "{way}");
                verifier.verify(lookup, found, now).map(drop)
            })
        };
        assert_eq!(verdicts(&rig), [Ok(()); 3], "{way}: cached");
        let owner = keys[0].0.owner();
        match way {
            "through the cache" => {
                pollster::block_on(rig.cache.suspend_owner(owner, START)).unwrap();
            }
            _ => rig.store.store.change_owner_sync(owner, OwnerChange::Suspend { now: START }),
        }
        if way == "announced" {
            rig.cache.invalidate(&Change::owner(owner.clone()));
        }
        let suspended = Err(VerifyError::OwnerSuspended);
        if way == "in the database" {
            rig.clock.set(START + (STALENESS - MILLI));
            assert_eq!(verdicts(&rig), [Ok(()); 3], "as old as the bound allows");
            rig.clock.set(START + STALENESS);
        }
        assert_eq!(verdicts(&rig), [suspended, suspended, Ok(())], "{way}");
        // And it is resumed in the same way.
        pollster::block_on(rig.cache.resume_owner(owner)).unwrap();
        assert_eq!(verdicts(&rig), [Ok(()); 3], "{way}: resumed");
    }
}
