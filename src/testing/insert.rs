//! Checks of inserting.

use crate::{
    store::{KeyRegistry, error::InsertError},
    testing::{BlockOn, world::World},
};

/// An inserted key is found by its hash and by its id, and no other key is.
pub fn insert_then_find(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(1);
        let (record, key) = world.issue("owner");
        let (_, stranger) = world.issue("owner");
        assert!(store.find(&world.lookup(&key)).await.unwrap().is_none(), "an empty store finds");
        assert!(
            store.find_by_id(record.id()).await.unwrap().is_none(),
            "an empty store finds by id"
        );
        store.insert(record.clone()).await.unwrap();
        let found = store.find(&world.lookup(&key)).await.unwrap();
        assert_eq!(found.expect("inserted, not found").record(), &record);
        let got = store.find_by_id(record.id()).await.unwrap();
        assert_eq!(got.expect("inserted, not found by its id").record(), &record);
        assert!(store.find(&world.lookup(&stranger)).await.unwrap().is_none());
    });
}

/// Inserting an existing id is refused and changes nothing.
pub fn insert_never_replaces(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(2);
        let (record, key) = world.issue("owner");
        store.insert(record.clone()).await.unwrap();
        let (other, other_key) = world.issue("thief");
        let mut parts = other.into_parts();
        parts.id = record.id();
        let forged = parts.build().unwrap();
        let refused = store.insert(forged).await;
        assert!(matches!(refused, Err(InsertError::DuplicateId)), "insert replaced: {refused:?}");
        let again = store.insert(record.clone()).await;
        assert!(
            matches!(again, Err(InsertError::DuplicateId | InsertError::DuplicateSecret)),
            "inserting twice: {again:?}"
        );
        assert_eq!(store.find_by_id(record.id()).await.unwrap().unwrap().record(), &record);
        assert_eq!(store.find(&world.lookup(&key)).await.unwrap().unwrap().record(), &record);
        assert!(store.find(&world.lookup(&other_key)).await.unwrap().is_none());
    });
}

/// Inserting a hash of another record, current or retiring, is refused and changes nothing.
pub fn insert_refuses_duplicate_secrets(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(3);
        let (first, first_key) = world.issue("owner");
        let (rotated, _) = world.rotate(&first);
        store.insert(first).await.unwrap();
        store.replace(rotated.clone()).await.unwrap();
        for taken in rotated.hashes() {
            let (other, other_key) = world.issue("thief");
            let (mut as_current, mut as_retiring) =
                (other.clone().into_parts(), other.into_parts());
            as_current.current.hash = *taken;
            as_retiring = world.rotate(&as_retiring.build().unwrap()).0.into_parts();
            let free = as_retiring.current.clone();
            for retiring in &mut as_retiring.retiring {
                retiring.secret.hash = *taken;
            }
            for parts in [as_current, as_retiring] {
                let id = parts.id;
                let refused = store.insert(parts.build().unwrap()).await;
                assert!(
                    matches!(refused, Err(InsertError::DuplicateSecret)),
                    "inserted a hash that is taken: {refused:?}"
                );
                assert!(store.find_by_id(id).await.unwrap().is_none(), "refused, yet half there");
            }
            assert!(store.find(&world.lookup(&other_key)).await.unwrap().is_none());
            // Nor does the refused record reserve its free hash.
            let (third, _) = world.issue("owner");
            let mut parts = third.into_parts();
            parts.current = free;
            store.insert(parts.build().unwrap()).await.expect("a refused insert holds a hash");
        }
        let found = store.find(&world.lookup(&first_key)).await.unwrap().unwrap();
        assert_eq!(found.record(), &rotated);
    });
}
