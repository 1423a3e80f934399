//! Checks of finding.

use std::time::Duration;

use crate::{
    key::{
        hash::{HashScheme, KeyHash},
        owner::{Owner, Tier},
        plaintext::PlaintextKey,
        record::KeyRecord,
    },
    store::{KeyRegistry, stored_key::StoredKey},
    testing::{
        BlockOn,
        world::{World, overrides},
    },
    verify::verifier::Verifier,
};

/// After a rotation both the old secret and the new one find the rotated record.
pub fn retiring_secrets_are_found(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(7);
        let (mut record, key) = world.issue("owner");
        store.insert(record.clone()).await.unwrap();
        let mut keys = vec![key];
        for _ in 0..KeyRecord::MAX_RETIRING {
            let (rotated, key) = world.rotate(&record);
            store.replace(rotated.clone()).await.unwrap();
            record = rotated;
            keys.push(key);
            for key in &keys {
                let found = store.find(&world.lookup(key)).await.unwrap();
                assert_eq!(found.expect("a live secret is not found").record(), &record);
            }
        }
    });
}

/// A secret that the record no longer holds finds nothing.
pub fn dropped_secrets_are_not_found(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(8);
        let (record, old) = world.issue("owner");
        let (rotated, older) = world.rotate(&record);
        store.insert(record.clone()).await.unwrap();
        store.replace(rotated.clone()).await.unwrap();
        let (secret, new) = world.secret();
        store.replace(rotated.rotate_now(secret, world.now).unwrap()).await.unwrap();
        for (key, there) in [(&old, false), (&older, false), (&new, true)] {
            assert_eq!(store.find(&world.lookup(key)).await.unwrap().is_some(), there);
        }
    });
}

/// A lookup with several hashes finds a record under an older scheme.
pub fn several_candidates_are_looked_up(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(9);
        world.hasher = World::old_hasher();
        let (record, key) = world.issue("owner");
        store.insert(record.clone()).await.unwrap();
        world.hasher = World::new_hasher();
        let lookup = world.lookup(&key);
        assert_eq!(lookup.hashes().len(), 2);
        let found = store.find(&lookup).await.unwrap().expect("older scheme not found");
        assert_eq!(found.record(), &record);
        let verified = Verifier::new(world.hasher.clone()).verify(&lookup, Some(found), world.now);
        let rehash = *verified.unwrap().rehash().expect("an older scheme asks for a rehash");
        let rehashed = record.rehash(&rehash.old, rehash.new).unwrap();
        store.replace(rehashed.clone()).await.unwrap();
        assert_eq!(store.find(&world.lookup(&key)).await.unwrap().unwrap().record(), &rehashed);
        world.hasher = World::old_hasher();
        assert!(store.find(&world.lookup(&key)).await.unwrap().is_none(), "the old hash is gone");
    });
}

/// The same digest under another scheme or pepper is another hash.
pub fn schemes_are_told_apart(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(10);
        let schemes = [
            HashScheme::Sha256Token,
            HashScheme::HmacSha256 { pepper: 0 },
            HashScheme::HmacSha256 { pepper: 1 },
        ];
        let (record, key) = world.issue("owner");
        let digest = *record.current().hash.digest();
        for scheme in schemes {
            let mut parts = world.issue("owner").0.into_parts();
            parts.current.hash = KeyHash::new(scheme, digest);
            store.insert(parts.build().unwrap()).await.expect("another scheme is another hash");
            assert!(store.find(&world.lookup(&key)).await.unwrap().is_none(), "{scheme:?}");
        }
        store.insert(record.clone()).await.unwrap();
        assert_eq!(store.find(&world.lookup(&key)).await.unwrap().unwrap().record(), &record);
    });
}

/// The store does not judge keys: it finds revoked ones too.
pub fn revoked_keys_are_still_found(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(11);
        let (record, key) = world.issue("owner");
        store.insert(record.clone()).await.unwrap();
        let revoked = record.revoke(world.now).unwrap();
        store.replace(revoked.clone()).await.unwrap();
        assert_eq!(store.find(&world.lookup(&key)).await.unwrap().unwrap().record(), &revoked);
        assert_eq!(store.find_by_id(record.id()).await.unwrap().unwrap().record(), &revoked);
    });
}

/// Finding by id sees every change that finding by a secret sees: of the record, of its owner,
/// its purge, and another record under its id.
pub fn find_by_id_sees_every_change(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(18);
        let (first, key) = world.issue("owner");
        let (other, _) = world.issue("other");
        let id = first.id();
        let mut keys = vec![key];
        // Each change comes after a look at what was there before, so that a store which keeps
        // what it has read must notice the change.
        let agreed = async |keys: &[PlaintextKey], world: &World| {
            let by_id = store.find_by_id(id).await.unwrap();
            for key in keys {
                let by_secret = store.find(&world.lookup(key)).await.unwrap();
                assert_eq!(by_id, by_secret, "found by its id and by a secret");
            }
            assert_eq!(store.find_by_id(id).await.unwrap(), by_id, "two looks, no change");
            by_id
        };
        assert_eq!(agreed(&keys, &world).await, None, "an id without a key");
        store.insert(first.clone()).await.unwrap();
        store.insert(other.clone()).await.unwrap();
        assert_eq!(agreed(&keys, &world).await.as_ref().map(StoredKey::record), Some(&first));
        let (rotated, key) = world.rotate(&first);
        keys.push(key);
        let revoked = rotated.revoke(world.now).unwrap();
        for record in [&rotated, &revoked] {
            store.replace(record.clone()).await.unwrap();
            assert_eq!(agreed(&keys, &world).await.as_ref().map(StoredKey::record), Some(record));
        }
        let bare = Owner::new(first.owner().clone());
        for tier in ["enterprise", "standard"] {
            let owner =
                bare.clone().with_tier(Tier::new(tier).unwrap()).with_overrides(overrides());
            store.put_owner(owner.clone()).await.unwrap();
            let found = agreed(&keys, &world).await.expect("its owner was put, it is not found");
            assert_eq!((found.record(), &**found.owner()), (&revoked, &owner));
        }
        let before = world.now + Duration::from_millis(1);
        assert_eq!(store.purge(before, 10).await.unwrap(), [id]);
        assert_eq!(agreed(&keys, &world).await, None, "a purged key");
        let (again, key) = world.issue("another owner");
        let mut parts = again.into_parts();
        parts.id = id;
        let again = parts.build().unwrap();
        store.insert(again.clone()).await.unwrap();
        assert_eq!(agreed(&[key], &world).await.as_ref().map(StoredKey::record), Some(&again));
        let found = store.find_by_id(other.id()).await.unwrap();
        assert_eq!(found.as_ref().map(StoredKey::record), Some(&other), "another key changed");
    });
}

/// What a store finds without waiting, if it answers at all, is what it finds otherwise, after
/// every change.
pub fn try_find_agrees_with_find(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(19);
        let (first, key) = world.issue("owner");
        let mut keys = vec![key];
        let agreed = async |keys: &[PlaintextKey], world: &World| {
            for key in keys {
                let lookup = world.lookup(key);
                // The first answer comes after the change, the second one after a query, which
                // may have filled a cache.
                let before = store.try_find(&lookup);
                let found = store.find(&lookup).await.unwrap();
                for answer in [before, store.try_find(&lookup)].into_iter().flatten() {
                    assert_eq!(answer.unwrap(), found, "found without waiting");
                }
            }
        };
        agreed(&keys, &world).await;
        store.insert(first.clone()).await.unwrap();
        agreed(&keys, &world).await;
        let (rotated, key) = world.rotate(&first);
        keys.push(key);
        agreed(&keys, &world).await;
        store.replace(rotated.clone()).await.unwrap();
        agreed(&keys, &world).await;
        let owner = Owner::new(first.owner().clone()).with_overrides(overrides());
        store.put_owner(owner).await.unwrap();
        agreed(&keys, &world).await;
        let (secret, key) = world.secret();
        keys.push(key);
        let rotated = rotated.rotate_now(secret, world.now).unwrap();
        store.replace(rotated.clone()).await.unwrap();
        agreed(&keys, &world).await;
        store.replace(rotated.revoke(world.now).unwrap()).await.unwrap();
        agreed(&keys, &world).await;
        store.purge(world.now + Duration::from_millis(1), 10).await.unwrap();
        agreed(&keys, &world).await;
    });
}
