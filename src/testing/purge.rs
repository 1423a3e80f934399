//! Checks of purging.

use std::{collections::BTreeSet, sync::Barrier, thread, time::Duration};

use crate::{
    clock::timestamp::Timestamp,
    key::{
        owner::{Owner, OwnerId},
        record::KeyRecord,
        state::KeyState,
    },
    store::{KeyRegistry, error::ReplaceError, listing::PageRequest},
    testing::{
        BlockOn,
        world::{World, overrides},
    },
};

/// A purge removes the keys that ended before the given instant, in portions, and no others. A
/// removed key is forgotten.
pub fn ended_keys_are_purged(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(16);
        let before = world.now + Duration::from_secs(3_600);
        let millisecond = Duration::from_millis(1);
        let (earlier, later) = (before.saturating_sub(millisecond), before + millisecond);
        let owner = Owner::new(OwnerId::new("owner").unwrap()).with_overrides(overrides());
        store.put_owner(owner.clone()).await.unwrap();
        let asleep = Some(KeyState::Suspended { since: world.now });
        let revoked = |since| Some(KeyState::Revoked { since });
        let (mut gone, mut staying) = (Vec::new(), Vec::new());
        for (what, state, expiry, goes) in [
            ("in use", None, None, false),
            ("in use, expiring some day", None, Some(Timestamp::MAX), false),
            ("expiring afterwards", None, Some(later), false),
            ("expired then", None, Some(before), false),
            ("expired before", None, Some(earlier), true),
            ("suspended", asleep, None, false),
            ("suspended, expired then", asleep, Some(before), false),
            ("suspended, expired before", asleep, Some(earlier), true),
            ("revoked afterwards", revoked(later), None, false),
            ("revoked then", revoked(before), None, false),
            ("revoked before", revoked(earlier), None, true),
            ("revoked before its expiry", revoked(earlier), Some(later), true),
            ("revoked after its expiry", revoked(later), Some(earlier), true),
            ("revoked and expired afterwards", revoked(later), Some(later), false),
            ("revoked long before", revoked(world.now), None, true),
        ] {
            let (record, old) = world.issue(if expiry.is_some() { "other" } else { "owner" });
            let mut parts = record.into_parts();
            parts.expires_at = expiry;
            let record = parts.build().unwrap();
            store.insert(record.clone()).await.unwrap();
            // One secret is in its grace, so that there are two to forget.
            let (record, new) = world.rotate(&record);
            let mut parts = record.into_parts();
            parts.state = state.unwrap_or(parts.state);
            let record = parts.build().unwrap();
            store.replace(record.clone()).await.unwrap();
            let kept = if goes { &mut gone } else { &mut staying };
            kept.push((what, record, [old, new]));
        }
        assert_eq!(store.purge(before, 0).await.unwrap(), [], "more than asked for");
        let mut purged = Vec::new();
        loop {
            let some = store.purge(before, 2).await.unwrap();
            assert!(some.len() <= 2, "more than asked for");
            let last = some.len() < 2;
            purged.extend(some);
            assert!(purged.len() <= gone.len(), "more than have ended were purged: {purged:?}");
            if last {
                break;
            }
        }
        for (what, record, keys) in &gone {
            assert!(purged.contains(&record.id()), "{what}: it was not purged");
            assert!(
                store.find_by_id(record.id()).await.unwrap().is_none(),
                "{what}: it is found by its id"
            );
            for key in keys {
                let found = store.find(&world.lookup(key)).await.unwrap();
                assert!(found.is_none(), "{what}: it is found");
            }
            let changed = store.replace(record.revoke(world.now).unwrap()).await;
            assert!(matches!(changed, Err(ReplaceError::NotFound)), "{what}: {changed:?}");
        }
        for (what, record, keys) in &staying {
            let got = store.find_by_id(record.id()).await.unwrap();
            assert_eq!(got.as_ref().map(|it| it.record()), Some(record), "{what}: it was purged");
            for key in keys {
                let found = store.find(&world.lookup(key)).await.unwrap();
                assert_eq!(found.as_ref().map(|it| it.record()), Some(record), "{what}");
            }
        }
        let place = |record: &KeyRecord| (record.created_at(), record.id());
        let of = |owner: &str| {
            let records = staying.iter().map(|(_, record, _)| record);
            records.filter(|it| it.owner().as_str() == owner).map(place).collect::<BTreeSet<_>>()
        };
        for name in ["owner", "other"] {
            let id = OwnerId::new(name).unwrap();
            let listed = store.list(&id, PageRequest::first(100)).await.unwrap();
            assert!(listed.keys.iter().map(|it| place(it.record())).eq(of(name)), "{name}'s keys");
        }
        let all = store.list_all(PageRequest::first(100)).await.unwrap();
        assert!(all.keys.iter().map(|it| place(it.record())).eq(&of("owner") | &of("other")));
        assert_eq!(*store.owner(&owner.id).await.unwrap().expect("its owner is gone"), owner);
        // Forgotten: its id and its secrets may be used again, the secrets under another id too.
        for (at, (what, record, keys)) in gone.iter().enumerate() {
            let mut parts = record.clone().into_parts();
            parts.revision = 1;
            if at % 2 == 1 {
                parts.id = world.issue("owner").0.id();
            }
            let record = parts.build().unwrap();
            let inserted = store.insert(record.clone()).await;
            assert!(inserted.is_ok(), "{what}: it is not forgotten: {inserted:?}");
            let found = store.find(&world.lookup(&keys[0])).await.unwrap();
            assert_eq!(found.as_ref().map(|it| it.record()), Some(&record), "{what}");
        }
        assert_eq!(store.purge(before, u16::MAX).await.unwrap().len(), gone.len());
        assert_eq!(store.purge(before, u16::MAX).await.unwrap(), []);
    });
}

/// Exactly one of two concurrent purges and a change of one key wins. A key that was changed so
/// that it has not ended stays, and a purged key is not changed.
pub fn purging_and_changing_exclude_each_other(executor: &impl BlockOn, store: &impl KeyRegistry) {
    const ROUNDS: usize = 50;
    let mut world = World::new(17);
    let expiry = world.now + Duration::from_millis(10);
    for round in 0..ROUNDS {
        let (record, key) = world.issue("owner");
        let mut parts = record.into_parts();
        parts.expires_at = Some(expiry);
        let record = parts.build().unwrap();
        executor.block_on(store.insert(record.clone())).unwrap();
        // The clock of the changing thread is a little behind that of the purging thread.
        let changed = record.expire_at(Timestamp::MAX, world.now).unwrap();
        let barrier = Barrier::new(3);
        let purge = || {
            barrier.wait();
            executor.block_on(store.purge(expiry + Duration::from_millis(1), 10)).unwrap()
        };
        let replace = || {
            barrier.wait();
            match executor.block_on(store.replace(changed.clone())) {
                Ok(()) => true,
                Err(ReplaceError::NotFound) => false,
                Err(error) => panic!("neither changed nor purged: {error:?}"),
            }
        };
        let (was_changed, purged) = thread::scope(|scope| {
            // On one processor the thread that reaches the barrier last runs first.
            let first = scope.spawn(purge);
            let (second, change);
            if round % 2 == 0 {
                (change, second) = (scope.spawn(replace), scope.spawn(purge));
            } else {
                (second, change) = (scope.spawn(purge), scope.spawn(replace));
            }
            let was_changed = change.join().unwrap();
            (was_changed, [first, second].map(|thread| thread.join().unwrap()).concat())
        });
        let expected = if was_changed { vec![] } else { vec![record.id()] };
        assert_eq!(purged, expected, "round {round}: changed: {was_changed}");
        let got = executor.block_on(store.find_by_id(record.id())).unwrap();
        assert_eq!(got.map(|it| it.record().clone()), was_changed.then_some(changed));
        let found = executor.block_on(store.find(&world.lookup(&key))).unwrap();
        assert_eq!(found.is_some(), was_changed, "round {round}");
    }
}
