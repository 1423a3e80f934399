//! Checks of owners.

use crate::{
    key::owner::{Owner, OwnerId, Tier},
    store::KeyRegistry,
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
