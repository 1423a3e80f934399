//! Events between the start and the end of a query, one fixed interleaving per test.

mod support;

use keyward::{
    key::{Owner, Tier},
    store::{Change, Invalidate, KeyRegistry},
};
use support::{Point, Rig, START, Task};

#[test]
fn concurrent_lookups_of_one_key_share_one_query() {
    let mut rig = Rig::new();
    let (_, lookup) = rig.key("owner");
    rig.store.close(Point::AfterRead);
    let mut tasks: Vec<_> = (0..100).map(|_| rig.task(&lookup)).collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_none()));
    assert_eq!((rig.store.finds(), rig.cache.queries_under_way()), (1, 1));
    rig.store.open(Point::AfterRead);
    assert!(tasks.iter_mut().all(|task| task.poll() == Some(Ok(Some(1)))));
    assert_eq!((rig.store.finds(), rig.cache.queries_under_way()), (1, 0));
}

#[test]
fn a_cancelled_lookup_leaves_the_shared_query_running() {
    for cancelled in 0..3 {
        let mut rig = Rig::new();
        let (_, lookup) = rig.key("owner");
        rig.store.close(Point::BeforeRead);
        let mut tasks: Vec<_> = (0..3).map(|_| rig.task(&lookup)).collect();
        assert!(tasks.iter_mut().all(|task| task.poll().is_none()));
        tasks[cancelled].cancel();
        rig.store.open(Point::BeforeRead);
        for (at, task) in tasks.iter_mut().enumerate() {
            assert!(
                at == cancelled || task.is_woken(),
                "{at} is not woken after {cancelled} was cancelled"
            );
            let expected = (at != cancelled).then_some(Ok(Some(1)));
            assert_eq!(task.poll(), expected, "{at} after {cancelled} was cancelled");
        }
        assert_eq!((rig.store.finds(), rig.store.dropped()), (1, 0));
    }
}

#[test]
fn a_lookup_that_is_never_polled_again_blocks_no_other() {
    let mut rig = Rig::new();
    let (_, lookup) = rig.key("owner");
    rig.store.close(Point::BeforeRead);
    let (mut first, mut second) = (rig.task(&lookup), rig.task(&lookup));
    assert!(first.poll().is_none() && second.poll().is_none());
    rig.store.open(Point::BeforeRead);
    assert_eq!(second.poll(), Some(Ok(Some(1))));
    drop(first);
}

#[test]
fn a_query_is_dropped_with_its_last_waiter() {
    let mut rig = Rig::new();
    let (_, lookup) = rig.key("owner");
    rig.store.close(Point::AfterRead);
    let mut tasks = [rig.task(&lookup), rig.task(&lookup)];
    assert!(tasks.iter_mut().all(|task| task.poll().is_none()));
    tasks.iter_mut().for_each(Task::cancel);
    assert_eq!((rig.store.dropped(), rig.cache.queries_under_way()), (1, 0));
    rig.store.open(Point::AfterRead);
    assert_eq!(rig.revision(&lookup), Some(1));
    assert_eq!(rig.store.finds(), 2, "the dropped query cached nothing");
}

#[test]
fn a_result_read_before_a_change_is_neither_returned_nor_cached() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.key("owner");
    rig.store.close(Point::AfterRead);
    let mut early = rig.task(&lookup);
    assert!(early.poll().is_none());
    pollster::block_on(rig.cache.replace(record.revoke(START).unwrap())).unwrap();
    // A lookup after the change does not join a query from before it.
    let mut late = rig.task(&lookup);
    assert!(late.poll().is_none());
    assert_eq!(rig.store.finds(), 2);
    rig.store.open(Point::AfterRead);
    assert_eq!(early.poll(), Some(Ok(Some(2))), "read again");
    assert_eq!(late.poll(), Some(Ok(Some(2))));
    assert_eq!(rig.revision(&lookup), Some(2));
}

#[test]
fn an_older_query_that_ends_last_replaces_no_newer_result() {
    let mut rig = Rig::new();
    let (record, first) = rig.key("owner");
    let (rotated, second) = rig.world.rotate(&record, START);
    rig.store.close(Point::AfterRead);
    let mut early = rig.task(&first);
    assert!(early.poll().is_none());
    // Another process rotates, without an announcement here.
    rig.store.store.replace_sync(rotated).unwrap();
    let mut late = rig.task(&second);
    assert!(late.poll().is_none());
    rig.store.open(Point::AfterRead);
    assert_eq!(late.poll(), Some(Ok(Some(2))));
    assert_eq!(early.poll(), Some(Ok(Some(1))), "read within its own call");
    let finds = rig.store.finds();
    assert_eq!((rig.revision(&first), rig.revision(&second)), (Some(2), Some(2)));
    assert_eq!(rig.store.finds(), finds, "both secrets find the later result");
}

#[test]
fn a_new_key_is_found_by_lookups_after_its_insert() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.world.issue("owner", START);
    assert_eq!(rig.revision(&lookup), None);
    assert_eq!((rig.revision(&lookup), rig.store.finds()), (None, 1));
    rig.store.close(Point::AfterRead);
    rig.cache.invalidate(&Change::record(&record));
    let mut early = rig.task(&lookup);
    assert!(early.poll().is_none(), "the announcement of its hash invalidates the absence");
    pollster::block_on(rig.cache.insert(record)).unwrap();
    rig.store.open(Point::AfterRead);
    assert_eq!(early.poll(), Some(Ok(Some(1))));
    assert_eq!(rig.revision(&lookup), Some(1));
}

#[test]
fn every_kind_of_change_is_visible_to_a_query_in_progress() {
    for change in 0..4 {
        let mut rig = Rig::new();
        let (record, lookup) = rig.key("owner");
        rig.store.close(Point::AfterRead);
        let mut task = rig.task(&lookup);
        assert!(task.poll().is_none());
        let finds = rig.store.finds();
        rig.cache.invalidate(&match change {
            0 => Change::key(record.id()),
            1 => Change::owner(record.owner().clone()),
            2 => Change::Everything,
            _ => Change::key(keyward::key::KeyId::from_bytes([0xee; 16])),
        });
        rig.store.open(Point::AfterRead);
        assert_eq!(task.poll(), Some(Ok(Some(1))));
        assert_eq!(rig.store.finds() - finds, usize::from(change < 3), "change {change}");
    }
}

#[test]
fn a_dropped_write_invalidates_like_a_completed_one() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.key("owner");
    assert_eq!(rig.revision(&lookup), Some(1));
    rig.store.close(Point::AfterWrite);
    let mut revoke = Task::new(rig.cache.replace(record.revoke(START).unwrap()));
    assert!(revoke.poll().is_none());
    revoke.cancel();
    assert_eq!(rig.revision(&lookup), Some(2));
}

#[test]
fn a_failed_write_invalidates_like_a_completed_one() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.key("owner");
    assert_eq!(rig.revision(&lookup), Some(1));
    rig.store.fail(true);
    let failed = pollster::block_on(rig.cache.replace(record.revoke(START).unwrap()));
    assert!(failed.is_err());
    rig.store.fail(false);
    assert_eq!(rig.revision(&lookup), Some(2));
}

#[test]
fn a_purge_is_visible_even_if_it_was_cancelled() {
    for cancelled in [false, true] {
        let mut rig = Rig::new();
        let (record, lookup) = rig.key("owner");
        let revoked = record.revoke(START).unwrap();
        pollster::block_on(rig.cache.replace(revoked)).unwrap();
        assert_eq!(rig.revision(&lookup), Some(2));
        let later = START + std::time::Duration::from_millis(1);
        if cancelled {
            rig.store.close(Point::AfterWrite);
        }
        let mut purge = Task::new(rig.cache.purge(later, 10));
        assert_eq!(purge.poll().is_none(), cancelled);
        drop(purge);
        assert_eq!(rig.revision(&lookup), None, "cancelled: {cancelled}");
    }
}

#[test]
fn an_owner_change_applies_to_all_of_its_keys_immediately() {
    let mut rig = Rig::new();
    let keys: Vec<_> = (0..20).map(|_| rig.key("owner").1).collect();
    let (_, other) = rig.key("another");
    for lookup in keys.iter().chain([&other]) {
        assert!(rig.find(lookup).unwrap().owner().tier.is_none());
    }
    let mut owner = Owner::new("owner".parse().unwrap());
    owner.tier = Some(Tier::from_static("enterprise"));
    pollster::block_on(rig.cache.put_owner(owner)).unwrap();
    for lookup in &keys {
        assert!(rig.find(lookup).unwrap().owner().tier.is_some());
    }
    assert!(rig.find(&other).unwrap().owner().tier.is_none());
    pollster::block_on(rig.cache.put_owner(Owner::new("owner".parse().unwrap()))).unwrap();
    for lookup in &keys {
        assert!(rig.find(lookup).unwrap().owner().tier.is_none(), "downgraded");
    }
}

#[test]
fn a_lookup_completes_despite_constant_changes() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.key("owner");
    let mut task = rig.task(&lookup);
    rig.store.close(Point::AfterRead);
    for round in 1..=5 {
        assert!(task.poll().is_none(), "round {round}");
        assert_eq!(rig.store.finds(), round);
        rig.cache.invalidate(&Change::key(record.id()));
        rig.store.open(Point::AfterRead);
        if round < 5 {
            rig.store.close(Point::AfterRead);
        }
    }
    assert_eq!(task.poll(), Some(Ok(Some(1))));
    assert_eq!(rig.store.finds(), 5, "four attempts and a final query");
}

#[test]
fn an_error_is_returned_to_all_waiters_and_not_cached() {
    let mut rig = Rig::new();
    let (_, lookup) = rig.key("owner");
    let stranger = rig.world.stranger();
    for lookup in [&lookup, &stranger] {
        rig.store.fail(true);
        rig.store.close(Point::AfterRead);
        let finds = rig.store.finds();
        let mut tasks = [rig.task(lookup), rig.task(lookup)];
        assert!(tasks.iter_mut().all(|task| task.poll().is_none()));
        rig.store.open(Point::AfterRead);
        for task in &mut tasks {
            assert_eq!(task.poll(), Some(Err("the database is gone".into())));
        }
        assert_eq!(rig.store.finds() - finds, 1);
        rig.store.fail(false);
        let _answer = rig.find(lookup);
        assert_eq!(rig.store.finds() - finds, 2, "the next lookup queries again");
    }
}

#[test]
fn a_panicking_store_leaves_no_lookup_waiting() {
    let mut rig = Rig::new();
    let (_, lookup) = rig.key("owner");
    rig.store.close(Point::AfterRead);
    let mut waiting = rig.task(&lookup);
    assert!(waiting.poll().is_none());
    let mut panicking = rig.task(&lookup);
    assert!(panicking.poll().is_none());
    rig.store.panic(true);
    rig.store.open(Point::AfterRead);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panicking.poll()));
    assert!(panicked.is_err(), "it retries with its own query, which panics");
    rig.store.panic(false);
    assert_eq!(waiting.poll(), Some(Ok(Some(1))));
    assert_eq!((rig.revision(&lookup), rig.cache.queries_under_way()), (Some(1), 0));
}
