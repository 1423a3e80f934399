//! What happens between a query and its answer, one planted interleaving at a time.

mod support;

use keyward::{
    key::{Owner, Tier},
    store::{Change, Invalidate, KeyRegistry},
};
use support::{Point, Rig, START, Task};

#[test]
fn many_who_ask_the_same_wait_for_one_query() {
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
fn whoever_gives_up_leaves_the_query_to_the_others() {
    for cancelled in 0..3 {
        let mut rig = Rig::new();
        let (_, lookup) = rig.key("owner");
        rig.store.close(Point::BeforeRead);
        let mut tasks: Vec<_> = (0..3).map(|_| rig.task(&lookup)).collect();
        assert!(tasks.iter_mut().all(|task| task.poll().is_none()));
        tasks[cancelled].cancel();
        rig.store.open(Point::BeforeRead);
        for (at, task) in tasks.iter_mut().enumerate() {
            assert!(at == cancelled || task.is_woken(), "{at} is not told, {cancelled} gave up");
            let expected = (at != cancelled).then_some(Ok(Some(1)));
            assert_eq!(task.poll(), expected, "{at}, {cancelled} gave up");
        }
        assert_eq!((rig.store.finds(), rig.store.dropped()), (1, 0));
    }
}

#[test]
fn who_is_never_polled_again_holds_nobody_up() {
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
fn a_query_ends_with_the_last_who_waits() {
    let mut rig = Rig::new();
    let (_, lookup) = rig.key("owner");
    rig.store.close(Point::AfterRead);
    let mut tasks = [rig.task(&lookup), rig.task(&lookup)];
    assert!(tasks.iter_mut().all(|task| task.poll().is_none()));
    tasks.iter_mut().for_each(Task::cancel);
    assert_eq!((rig.store.dropped(), rig.cache.queries_under_way()), (1, 0));
    rig.store.open(Point::AfterRead);
    assert_eq!(rig.revision(&lookup), Some(1));
    assert_eq!(rig.store.finds(), 2, "nothing was held of the one that was dropped");
}

#[test]
fn what_was_read_before_a_change_is_neither_answered_nor_held() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.key("owner");
    rig.store.close(Point::AfterRead);
    let mut early = rig.task(&lookup);
    assert!(early.poll().is_none());
    pollster::block_on(rig.cache.replace(record.revoke(START).unwrap())).unwrap();
    // Who asks after the change waits for no query from before it.
    let mut late = rig.task(&lookup);
    assert!(late.poll().is_none());
    assert_eq!(rig.store.finds(), 2);
    rig.store.open(Point::AfterRead);
    assert_eq!(early.poll(), Some(Ok(Some(2))), "read again");
    assert_eq!(late.poll(), Some(Ok(Some(2))));
    assert_eq!(rig.revision(&lookup), Some(2));
}

#[test]
fn an_early_query_that_ends_last_displaces_nothing() {
    let mut rig = Rig::new();
    let (record, first) = rig.key("owner");
    let (rotated, second) = rig.world.rotate(&record, START);
    rig.store.close(Point::AfterRead);
    let mut early = rig.task(&first);
    assert!(early.poll().is_none());
    // Another process rotates, and nobody says so here.
    rig.store.store.replace_sync(rotated).unwrap();
    let mut late = rig.task(&second);
    assert!(late.poll().is_none());
    rig.store.open(Point::AfterRead);
    assert_eq!(late.poll(), Some(Ok(Some(2))));
    assert_eq!(early.poll(), Some(Ok(Some(1))), "read within its own call");
    let finds = rig.store.finds();
    assert_eq!((rig.revision(&first), rig.revision(&second)), (Some(2), Some(2)));
    assert_eq!(rig.store.finds(), finds, "both secrets lead to what was read later");
}

#[test]
fn a_new_key_is_found_by_who_asks_after_it_was_inserted() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.world.issue("owner", START);
    assert_eq!(rig.revision(&lookup), None);
    assert_eq!((rig.revision(&lookup), rig.store.finds()), (None, 1));
    rig.store.close(Point::AfterRead);
    rig.cache.invalidate(&Change::record(&record));
    let mut early = rig.task(&lookup);
    assert!(early.poll().is_none(), "an absence is announced away by its hash");
    pollster::block_on(rig.cache.insert(record)).unwrap();
    rig.store.open(Point::AfterRead);
    assert_eq!(early.poll(), Some(Ok(Some(1))));
    assert_eq!(rig.revision(&lookup), Some(1));
}

#[test]
fn every_kind_of_change_is_seen_while_a_query_is_under_way() {
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
fn a_write_that_is_dropped_under_way_counts_as_made() {
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
fn a_write_that_fails_counts_as_made() {
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
fn a_purge_is_seen_whether_or_not_it_ends() {
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
fn an_owner_put_reaches_all_of_its_keys_at_once() {
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
fn a_storm_of_changes_holds_nobody_up_for_ever() {
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
    assert_eq!(rig.store.finds(), 5, "four attempts and the last word");
}

#[test]
fn an_error_is_told_to_all_who_waited_and_held_for_nobody() {
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
        assert_eq!(rig.store.finds() - finds, 2, "the next one asks again");
    }
}

#[test]
fn a_store_that_panics_leaves_nobody_hanging() {
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
    assert!(panicked.is_err(), "it asks by itself, and its own query panics");
    rig.store.panic(false);
    assert_eq!(waiting.poll(), Some(Ok(Some(1))));
    assert_eq!((rig.revision(&lookup), rig.cache.queries_under_way()), (Some(1), 0));
}
