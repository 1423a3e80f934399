//! Lookups by id and immediate lookups obey the bounds of `find`.

mod support;

use std::time::Duration;

use keyward::{
    KeyStore, Timestamp,
    key::{KeyId, Owner},
    store::{Change, Invalidate, KeyRegistry, Lookup},
};
use keyward_cache::CacheConfig;
use support::{Point, Rig, STALENESS, START, Task};

const MILLI: Duration = Duration::from_millis(1);

/// Returns the revision found by an id.
fn by_id(rig: &Rig, id: KeyId) -> Option<u64> {
    let found = pollster::block_on(rig.cache.find_by_id(id)).unwrap();
    found.map(|found| found.record().revision())
}

/// Returns the revision that an immediate lookup finds, if it has a result.
fn at_once(rig: &Rig, lookup: &Lookup) -> Option<Option<u64>> {
    let answer = rig.cache.try_find(lookup)?.unwrap();
    Some(answer.map(|found| found.record().revision()))
}

#[test]
fn a_cached_result_is_returned_only_within_the_staleness_bound() {
    for (age, queries) in [(STALENESS - MILLI, 1), (STALENESS, 2), (STALENESS + MILLI, 2)] {
        let mut rig = Rig::new();
        let (record, _) = rig.key("owner");
        assert_eq!(by_id(&rig, record.id()), Some(1));
        // Changed by another process, without an announcement.
        rig.store.store.replace_sync(record.revoke(START).unwrap()).unwrap();
        rig.clock.set(START + age);
        assert_eq!(by_id(&rig, record.id()), Some(queries), "{age:?}");
        assert_eq!(rig.store.finds() as u64, queries, "{age:?}");
        rig.clock.set(Timestamp::from_unix_secs(1));
        by_id(&rig, record.id());
        assert_eq!(
            rig.store.finds() as u64,
            queries + 1,
            "no result is used after the clock is set back"
        );
    }
}

#[test]
fn an_announced_change_invalidates_every_cached_result() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.key("owner");
    let mut record = record;
    let id = record.id();
    let changes = [
        Change::key(id),
        Change::record(&record),
        Change::owner(record.owner().clone()),
        Change::Everything,
    ];
    for change in changes {
        by_id(&rig, id);
        rig.revision(&lookup);
        record = record.suspend(START).or_else(|_| record.resume(START)).unwrap();
        rig.store.store.replace_sync(record.clone()).unwrap();
        assert_eq!(by_id(&rig, id), Some(record.revision() - 1), "not announced yet");
        rig.cache.invalidate(&change);
        assert_eq!(at_once(&rig, &lookup), None, "{change:?}");
        assert_eq!(by_id(&rig, id), Some(record.revision()), "{change:?}");
        assert_eq!(at_once(&rig, &lookup), Some(Some(record.revision())), "{change:?}");
    }
}

#[test]
fn a_write_through_the_cache_is_visible_even_if_it_failed_or_was_dropped() {
    let mut rig = Rig::new();
    let (first, lookup) = rig.key("owner");
    let id = first.id();
    assert_eq!(by_id(&rig, id), Some(1));
    let second = first.suspend(START).unwrap();
    pollster::block_on(rig.cache.replace(second.clone())).unwrap();
    assert_eq!(at_once(&rig, &lookup), None);
    assert_eq!(by_id(&rig, id), Some(2));
    // The write succeeds, then the connection fails.
    rig.store.fail(true);
    let third = second.resume(START).unwrap();
    pollster::block_on(rig.cache.replace(third.clone())).unwrap_err();
    rig.store.fail(false);
    assert_eq!(by_id(&rig, id), Some(3));
    // The write succeeds after its future was dropped.
    rig.store.close(Point::AfterWrite);
    let fourth = third.revoke(START).unwrap();
    let mut dropped = Task::new(rig.cache.replace(fourth));
    assert!(dropped.poll().is_none());
    dropped.cancel();
    rig.store.open(Point::AfterWrite);
    assert_eq!(by_id(&rig, id), Some(4));
    let owner = Owner::new(first.owner().clone()).with_tier("pro".parse().unwrap());
    pollster::block_on(rig.cache.put_owner(owner.clone())).unwrap();
    let found = pollster::block_on(rig.cache.find_by_id(id)).unwrap().unwrap();
    assert_eq!(**found.owner(), owner);
    pollster::block_on(rig.cache.purge(START + MILLI, 10)).unwrap();
    assert_eq!((by_id(&rig, id), rig.revision(&lookup)), (None, None));
}

#[test]
fn a_record_is_cached_once_for_its_id_and_its_secrets() {
    let mut rig = Rig::new();
    let (first, old) = rig.key("owner");
    let (record, new) = rig.world.rotate(&first, START);
    rig.store.store.replace_sync(record.clone()).unwrap();
    assert_eq!(by_id(&rig, record.id()), Some(2));
    for lookup in [&old, &new] {
        assert_eq!(at_once(&rig, lookup), Some(Some(2)));
        assert_eq!(rig.revision(lookup), Some(2));
    }
    assert_eq!(rig.store.finds(), 1, "one query in all");
    assert_eq!((rig.cache.held_records(), rig.cache.held_secrets()), (1, 2));
    let (other, lookup) = rig.key("owner");
    assert_eq!(rig.revision(&lookup), Some(1));
    assert_eq!(by_id(&rig, other.id()), Some(1));
    assert_eq!(rig.store.finds(), 2, "found by its secret, then by its id");
}

#[test]
fn an_absent_id_is_not_cached_and_evicts_nothing() {
    let config = CacheConfig::new().with_max_secrets(8);
    let mut rig = Rig::with(config);
    let (record, _) = rig.key("owner");
    assert_eq!(by_id(&rig, record.id()), Some(1));
    for n in 0..100 {
        assert_eq!(by_id(&rig, KeyId::from_bytes([n | 0x80; 16])), None);
    }
    assert_eq!((rig.cache.held_records(), rig.cache.held_unknown()), (1, 0));
    assert_eq!(rig.store.finds(), 101);
    assert_eq!(by_id(&rig, record.id()), Some(1));
    assert_eq!(rig.store.finds(), 101);
    for _ in 0..100 {
        let (record, _) = rig.key("owner");
        by_id(&rig, record.id());
    }
    assert!(rig.cache.held_records() <= 8, "{}", rig.cache.held_records());
}

#[test]
fn concurrent_lookups_by_id_share_one_query() {
    let mut rig = Rig::new();
    let (record, _) = rig.key("owner");
    let id = record.id();
    rig.store.close(Point::AfterRead);
    let mut early: Vec<_> = (0..3).map(|_| Task::new(rig.cache.find_by_id(id))).collect();
    assert!(early.iter_mut().all(|task| task.poll().is_none()));
    assert_eq!((rig.store.finds(), rig.cache.queries_under_way()), (1, 1));
    // A change happens during the query: later lookups send their own query, and the earlier ones
    // read again.
    rig.store.store.replace_sync(record.revoke(START).unwrap()).unwrap();
    rig.cache.invalidate(&Change::key(id));
    let mut late = Task::new(rig.cache.find_by_id(id));
    assert!(late.poll().is_none());
    assert_eq!(rig.store.finds(), 2);
    rig.store.open(Point::AfterRead);
    for task in early.iter_mut().chain([&mut late]) {
        let found = std::iter::repeat_with(|| task.poll()).take(100).find_map(|it| it);
        assert_eq!(found.unwrap().unwrap().unwrap().record().revision(), 2);
    }
    assert_eq!(rig.cache.queries_under_way(), 0);
}

#[test]
fn an_immediate_lookup_finds_only_cached_records() {
    let mut rig = Rig::new();
    let (_, lookup) = rig.key("owner");
    let stranger = rig.world.stranger();
    assert_eq!((at_once(&rig, &lookup), at_once(&rig, &stranger)), (None, None));
    assert_eq!(rig.store.finds(), 0, "it makes no query");
    assert_eq!((rig.revision(&lookup), rig.revision(&stranger)), (Some(1), None));
    for (age, fresh) in [(STALENESS - MILLI, true), (STALENESS, false)] {
        rig.clock.set(START + age);
        assert_eq!(at_once(&rig, &lookup), fresh.then_some(Some(1)));
        assert_eq!(at_once(&rig, &stranger), fresh.then_some(None));
    }
    assert_eq!(rig.store.finds(), 2);
}
