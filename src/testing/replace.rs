//! Checks of replacing.

use std::time::Duration;

use crate::{
    clock::timestamp::Timestamp,
    key::{
        grace::Grace,
        hash::{HashScheme, KeyHash},
        metadata::KeyMetadata,
        nonce::CreationNonce,
        secret::StoredSecret,
        state::{KeyState, RevocationReason},
    },
    store::{KeyRegistry, error::ReplaceError, listing::PageRequest},
    testing::{
        BlockOn,
        world::{World, networks, origins, overrides},
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
            parts.nonce = CreationNonce::from_bytes([0xff; 8]);
            parts.networks = Some(networks());
            parts.origins = Some(origins());
            let longest = KeyMetadata::MAX_LEN - 16;
            let text = format!("{{\"ä\": \"'\\\\{}\"}}", "x".repeat(longest));
            parts.metadata = Some(text.parse().unwrap());
            parts.created_by = Some("it's \\ 😀 %_".parse().unwrap());
            if !suspended {
                parts.state = KeyState::Revoked { since: world.now };
                let text = "'x'".repeat(RevocationReason::MAX_LEN / 3);
                parts.revocation_reason = Some(text.parse().unwrap());
            }
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

/// A change that was decided before a purge does not reach another key that was inserted under the
/// same id after it, whatever its revision is.
pub fn a_stale_change_reaches_no_second_life(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(28);
        let (first, first_key) = world.issue("owner");
        store.insert(first.clone()).await.unwrap();
        let (rotated, _) = world.rotate(&first);
        let stale = [
            rotated,
            first.rename("stale".parse().unwrap(), world.now).unwrap(),
            first.revoke(world.now).unwrap(),
        ];
        store.find(&world.lookup(&first_key)).await.unwrap().expect("a live secret");
        store.revoke(first.id(), None, world.now.into()).await.unwrap();
        let before = world.now + Duration::from_millis(1);
        assert_eq!(store.purge(before, 9).await.unwrap(), [first.id()]);
        // The second life has the same id, and the revision that each change expects.
        let (second, key) = world.issue("victim");
        let mut parts = second.into_parts();
        parts.id = first.id();
        let second = parts.build().unwrap();
        assert_ne!(second.nonce(), first.nonce());
        store.insert(second.clone()).await.unwrap();
        for change in stale {
            assert_eq!(change.revision(), second.revision() + 1);
            let refused = store.replace(change).await;
            assert!(
                matches!(refused, Err(ReplaceError::NotFound)),
                "a change of the first key reached the second one: {refused:?}"
            );
            let found = store.find(&world.lookup(&key)).await.unwrap().unwrap();
            assert_eq!(found.record(), &second);
            assert_eq!(store.find_by_id(first.id()).await.unwrap().unwrap().record(), &second);
            assert!(store.find(&world.lookup(&first_key)).await.unwrap().is_none());
        }
        store.replace(second.rename("own".parse().unwrap(), world.now).unwrap()).await.unwrap();
    });
}
