//! Checks of replacing.

use crate::{
    clock::timestamp::Timestamp,
    key::{
        grace::Grace,
        hash::{HashScheme, KeyHash},
        secret::StoredSecret,
        state::KeyState,
    },
    store::{KeyRegistry, error::ReplaceError, listing::PageRequest},
    testing::{
        BlockOn,
        world::{World, overrides},
    },
};

/// Replacing accepts only the next revision of an existing id.
pub fn replace_needs_the_next_revision(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(4);
        let (first, _) = world.issue("owner");
        let missing = store.replace(world.rotate(&first).0).await;
        assert!(
            matches!(missing, Err(ReplaceError::NotFound)),
            "replaced what is not there: {missing:?}"
        );
        store.insert(first.clone()).await.unwrap();
        let (second, _) = world.rotate(&first);
        let third = second.revoke(world.now).unwrap();
        for (record, name) in [(&first, "the same revision"), (&third, "a revision too far")] {
            let refused = store.replace(record.clone()).await;
            assert!(matches!(refused, Err(ReplaceError::Conflict)), "{name}: {refused:?}");
            assert_eq!(store.find_by_id(first.id()).await.unwrap().unwrap().record(), &first);
        }
        store.replace(second.clone()).await.unwrap();
        let stale = store.replace(first.revoke(world.now).unwrap()).await;
        assert!(matches!(stale, Err(ReplaceError::Conflict)), "a stale change won: {stale:?}");
        assert_eq!(store.find_by_id(first.id()).await.unwrap().unwrap().record(), &second);
        store.replace(third.clone()).await.unwrap();
        assert_eq!(store.find_by_id(first.id()).await.unwrap().unwrap().record(), &third);
    });
}

/// Replacing with a hash of another record is refused and changes nothing.
pub fn replace_refuses_duplicate_secrets(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(5);
        let (victim, victim_key) = world.issue("victim");
        let (thief, thief_key) = world.issue("thief");
        store.insert(victim.clone()).await.unwrap();
        store.insert(thief.clone()).await.unwrap();
        let stolen = StoredSecret::new(victim.current().hash, victim.kind(), world.now);
        let refused = store.replace(thief.rotate(stolen, Grace::DAY, world.now).unwrap()).await;
        assert!(
            matches!(refused, Err(ReplaceError::DuplicateSecret)),
            "replaced with a hash that is taken: {refused:?}"
        );
        for (record, key) in [(&victim, &victim_key), (&thief, &thief_key)] {
            assert_eq!(store.find_by_id(record.id()).await.unwrap().unwrap().record(), record);
            let found = store.find(&world.lookup(key)).await.unwrap().unwrap();
            assert_eq!(found.record(), record);
        }
    });
}

/// A record with every optional field set is returned unchanged by every method.
pub fn every_field_survives(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(6);
        for (suspended, owner) in [(false, "Ärzte 'ohne' \"Grenzen\" \\ 😀 %_"), (true, "owner")]
        {
            let (record, key) = world.issue(owner);
            let (record, _) = world.rotate(&record);
            let (record, _) = world.rotate(&record);
            let mut parts = record.into_parts();
            parts.name = "it's; DROP TABLE \"keys\" -- 😀".parse().unwrap();
            parts.scopes =
                "read:lucent write:issues !#$%&'()*+,-./:;<=>?@[]^_`{|}~".parse().unwrap();
            parts.overrides = overrides();
            parts.expires_at = Some(Timestamp::MAX);
            parts.revision = 1;
            if suspended {
                parts.state = KeyState::Suspended { since: world.now };
                parts.current.hint = None;
                parts.current.hash = KeyHash::new(
                    HashScheme::HmacSha256 { pepper: u16::MAX },
                    *parts.current.hash.digest(),
                );
            }
            let record = parts.build().unwrap();
            store.insert(record.clone()).await.unwrap();
            assert_eq!(store.find_by_id(record.id()).await.unwrap().unwrap().record(), &record);
            assert_eq!(store.find(&world.lookup(&key)).await.unwrap().unwrap().record(), &record);
            let listing = store.list(record.owner(), PageRequest::first(10)).await.unwrap();
            assert_eq!(listing.keys.iter().map(|it| it.record()).collect::<Vec<_>>(), [&record]);
        }
    });
}
