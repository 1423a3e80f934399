//! Checks of owners.

use std::{sync::Barrier, thread, time::Duration};

use crate::{
    key::{
        owner::{Owner, OwnerChange, OwnerId, Tier},
        record::KeyRecord,
        state::OwnerState,
    },
    quota::overrides::Overrides,
    store::{KeyRegistry, error::InsertError},
    testing::{
        BlockOn,
        world::{World, overrides},
    },
};

/// A key is joined with its current owner, and with a bare one if none was put.
pub fn owners_are_joined(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(12);
        let (first, first_key) = world.issue("owner");
        let (second, second_key) = world.issue("owner");
        let (other, other_key) = world.issue("other");
        let bare = Owner::new(first.owner().clone());
        store.insert(first.clone()).await.unwrap();
        let found = store.find(&world.lookup(&first_key)).await.unwrap().unwrap();
        assert_eq!(**found.owner(), bare, "an owner that was never put");
        assert!(store.owner(&bare.id).await.unwrap().is_none(), "it was never put");
        for record in [second, other] {
            store.insert(record).await.unwrap();
        }
        for tier in ["enterprise", "standard"] {
            let owner =
                bare.clone().with_tier(Tier::new(tier).unwrap()).with_overrides(overrides());
            store.put_owner(owner.clone()).await.unwrap();
            assert_eq!(*store.owner(&owner.id).await.unwrap().unwrap(), owner);
            for key in [&first_key, &second_key] {
                let found = store.find(&world.lookup(key)).await.unwrap().unwrap();
                assert_eq!(**found.owner(), owner, "the owner as of now");
            }
            assert_eq!(**store.find_by_id(first.id()).await.unwrap().unwrap().owner(), owner);
            let other = store.find(&world.lookup(&other_key)).await.unwrap().unwrap();
            assert_eq!(other.owner().tier, None, "another owner's tier changed");
        }
        let early = Owner::new(OwnerId::new("early").unwrap()).with_overrides(overrides());
        store.put_owner(early.clone()).await.unwrap();
        let (record, key) = world.issue("early");
        store.insert(record).await.unwrap();
        let found = store.find(&world.lookup(&key)).await.unwrap().unwrap();
        assert_eq!(**found.owner(), early, "an owner put before its first key");
    });
}

/// Each change of an owner changes one field, adds an owner that was never put, and is seen by the
/// next lookup of each key. What was read before a suspension does not undo it.
pub fn owners_change_by_field(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(25);
        let (now, later) = (world.now, world.now + Duration::from_millis(1));
        let (record, key) = world.issue("owner");
        let (other, _) = world.issue("other");
        let id = record.owner().clone();
        store.insert(record.clone()).await.unwrap();
        store.insert(other.clone()).await.unwrap();
        let mut expected = Owner::new(id.clone());
        let seen = async |expected: &Owner| {
            assert_eq!(store.owner(&id).await.unwrap().as_deref(), Some(expected));
            let found = store.find(&world.lookup(&key)).await.unwrap().unwrap();
            assert_eq!((found.record(), &**found.owner()), (&record, expected));
            let found = store.find_by_id(record.id()).await.unwrap().unwrap();
            assert_eq!(&**found.owner(), expected);
            let found = store.find_by_id(other.id()).await.unwrap().unwrap();
            assert_eq!(**found.owner(), Owner::new(other.owner().clone()), "another owner changed");
        };
        let tier = |name: &str| Some(Tier::new(name).unwrap());
        for change in [
            OwnerChange::Tier(tier("enterprise")),
            OwnerChange::Overrides(overrides()),
            OwnerChange::KeyCap(Some(u32::MAX)),
            OwnerChange::Suspend { now },
            OwnerChange::Suspend { now: later },
            OwnerChange::Tier(tier("standard")),
            OwnerChange::Overrides(Overrides::none()),
            OwnerChange::KeyCap(Some(0)),
            OwnerChange::Resume,
            OwnerChange::Resume,
            OwnerChange::Suspend { now: later },
            OwnerChange::Tier(None),
            OwnerChange::KeyCap(None),
            OwnerChange::Resume,
        ] {
            store.change_owner(&id, change.clone()).await.unwrap();
            expected = expected.changed(change);
            seen(&expected).await;
        }
        let stale = store.owner(&id).await.unwrap().unwrap();
        store.suspend_owner(&id, now).await.unwrap();
        store.put_owner((*stale).clone().with_tier(tier("late").unwrap())).await.unwrap();
        expected = Owner { state: OwnerState::Suspended { since: now }, ..expected };
        seen(&Owner { tier: tier("late"), ..expected.clone() }).await;
        let stale = store.owner(&id).await.unwrap().unwrap();
        store.resume_owner(&id).await.unwrap();
        store.put_owner((*stale).clone()).await.unwrap();
        seen(&Owner { tier: tier("late"), state: OwnerState::Active, ..expected }).await;
        // Each method adds an owner that was never put.
        let unknown = |n: usize| OwnerId::new(&format!("new {n}")).unwrap();
        store.set_tier(&unknown(0), tier("a")).await.unwrap();
        store.set_overrides(&unknown(1), overrides()).await.unwrap();
        store.set_key_cap(&unknown(2), Some(7)).await.unwrap();
        store.suspend_owner(&unknown(3), now).await.unwrap();
        store.resume_owner(&unknown(4)).await.unwrap();
        for (n, change) in [
            OwnerChange::Tier(tier("a")),
            OwnerChange::Overrides(overrides()),
            OwnerChange::KeyCap(Some(7)),
            OwnerChange::Suspend { now },
            OwnerChange::Resume,
        ]
        .into_iter()
        .enumerate()
        {
            let added = store.owner(&unknown(n)).await.unwrap();
            assert_eq!(added.as_deref(), Some(&Owner::new(unknown(n)).changed(change)));
        }
        let suspended =
            Owner { state: OwnerState::Suspended { since: now }, ..Owner::new(unknown(5)) };
        store.put_owner(suspended.clone()).await.unwrap();
        assert_eq!(store.owner(&unknown(5)).await.unwrap().as_deref(), Some(&suspended), "as put");
    });
}

/// A suspension of an owner is undone by none of 64 writers of its tier, each of which has read the
/// owner before.
pub fn no_writer_of_a_tier_resumes_an_owner(executor: &impl BlockOn, store: &impl KeyRegistry) {
    const WRITERS: usize = 64;
    let mut world = World::new(26);
    let now = world.now;
    let (record, key) = world.issue("owner");
    let id = record.owner();
    executor.block_on(store.insert(record.clone())).unwrap();
    executor.block_on(store.put_owner(Owner::new(id.clone()))).unwrap();
    let first = executor.block_on(store.owner(id)).unwrap().unwrap();
    let barrier = Barrier::new(WRITERS + 1);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let barrier = &barrier;
            scope.spawn(move || {
                let read = executor.block_on(store.owner(id)).unwrap().unwrap();
                let tier = Tier::new(&format!("tier {writer}")).unwrap();
                barrier.wait();
                if writer % 2 == 0 {
                    executor.block_on(store.set_tier(id, Some(tier.clone()))).unwrap();
                }
                executor.block_on(store.put_owner((*read).clone().with_tier(tier))).unwrap();
            });
        }
        barrier.wait();
        executor.block_on(store.suspend_owner(id, now)).unwrap();
    });
    // The last one writes after the suspension in any case.
    executor.block_on(store.put_owner((*first).clone())).unwrap();
    executor.block_on(store.set_tier(id, Some(Tier::from_static("last")))).unwrap();
    let owner = executor.block_on(store.owner(id)).unwrap().unwrap();
    assert_eq!(owner.state, OwnerState::Suspended { since: now }, "a writer resumed the owner");
    assert_eq!(owner.tier, Some(Tier::from_static("last")));
    let found = executor.block_on(store.find(&world.lookup(&key))).unwrap().unwrap();
    assert_eq!(**found.owner(), *owner);
}

/// An owner with a cap never has more keys, however many are inserted at the same time. Keys that
/// have ended do not count, and other owners are not concerned.
pub fn a_cap_on_keys_is_kept(executor: &impl BlockOn, store: &impl KeyRegistry) {
    const THREADS: usize = 8;
    let mut world = World::new(27);
    let (now, id) = (world.now, OwnerId::new("owner").unwrap());
    let insert = |record: &KeyRecord| executor.block_on(store.insert(record.clone()));
    let refused = |result| matches!(result, Err(InsertError::TooManyKeys));
    let mut keys: Vec<KeyRecord> = (0..3).map(|_| world.issue("owner").0).collect();
    for key in &keys {
        insert(key).unwrap();
    }
    executor.block_on(store.set_key_cap(&id, Some(3))).unwrap();
    assert!(refused(insert(&world.issue("owner").0)), "one key too many");
    let again = insert(&keys[0]);
    assert!(matches!(again, Err(InsertError::DuplicateId)), "a key that exists: {again:?}");
    insert(&world.issue("other").0).unwrap();
    // A suspended key counts, and a revoked or expired one does not.
    executor.block_on(store.suspend(keys[0].id(), None, now)).unwrap();
    assert!(refused(insert(&world.issue("owner").0)), "a suspended key did not count");
    executor.block_on(store.revoke(keys[0].id(), None, now.into())).unwrap();
    keys[1] = keys[1].expire_at(now + Duration::from_millis(1), now).unwrap();
    executor.block_on(store.replace(keys[1].clone())).unwrap();
    let (mut fourth, fifth) = (world.issue("owner").0, world.issue("owner").0);
    insert(&fourth).unwrap();
    assert!(refused(insert(&fifth)), "the other key expires after the creation of this one");
    world.now = now + Duration::from_millis(1);
    let (fifth, sixth) = (world.issue("owner").0, world.issue("owner").0);
    insert(&fifth).unwrap();
    assert!(refused(insert(&sixth)), "a revoked and an expired key left more than two places");
    // What was refused left nothing behind, and a lower cap ends no key.
    executor.block_on(store.set_key_cap(&id, Some(0))).unwrap();
    assert!(refused(insert(&sixth)));
    fourth = fourth.rename("still there".parse().unwrap(), now).unwrap();
    executor.block_on(store.replace(fourth)).unwrap();
    executor.block_on(store.set_key_cap(&id, None)).unwrap();
    insert(&sixth).unwrap();
    // An imported key was created before others ended. They do not count, since they have ended now.
    let importing = OwnerId::from_static("importing");
    let (revoked, mut expired) = (world.issue("importing").0, world.issue("importing").0);
    for record in [&revoked, &expired] {
        insert(record).unwrap();
    }
    executor.block_on(store.set_key_cap(&importing, Some(1))).unwrap();
    let now = world.now + Duration::from_millis(10);
    executor.block_on(store.revoke(revoked.id(), None, now.into())).unwrap();
    expired = expired.expire_at(now, world.now).unwrap();
    executor.block_on(store.replace(expired)).unwrap();
    let import = |record: &KeyRecord, now| executor.block_on(store.insert_at(record.clone(), now));
    let (first, second) = (world.issue("importing").0, world.issue("importing").0);
    assert!(refused(import(&first, world.now)), "the keys have not ended yet");
    import(&first, now).expect("keys that have ended by now block an import");
    assert!(refused(import(&second, now)), "an import past the cap");
    for round in 0..10 {
        let name = format!("owner {round}");
        let id = OwnerId::new(&name).unwrap();
        executor.block_on(store.set_key_cap(&id, Some(3))).unwrap();
        let records: Vec<_> = (0..THREADS).map(|_| world.issue(&name).0).collect();
        let barrier = Barrier::new(THREADS);
        let inserted: Vec<bool> = thread::scope(|scope| {
            let running: Vec<_> = records
                .iter()
                .map(|record| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        match executor.block_on(store.insert(record.clone())) {
                            Ok(()) => true,
                            Err(InsertError::TooManyKeys) => false,
                            Err(error) => panic!("neither inserted nor refused: {error:?}"),
                        }
                    })
                })
                .collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let count = inserted.iter().filter(|inserted| **inserted).count();
        assert_eq!(count, 3, "keys of {name} with a cap of 3");
    }
}
