//! Checks of listing and removing owners.

use std::collections::BTreeSet;

use crate::{
    key::{
        owner::{Owner, OwnerChange, OwnerId, Tier},
        plaintext::PlaintextKey,
    },
    store::{
        KeyRegistry,
        listing::PageRequest,
        owner_listing::{OwnerPageRequest, OwnerRemoval},
    },
    testing::{BlockOn, world::World},
};

/// Listings of owners contain each owner that was put once, by the bytes of its id, in pages.
pub fn owners_are_listed(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(30);
        let empty = store.list_owners(OwnerPageRequest::first(10)).await.unwrap();
        assert!(empty.owners.is_empty() && empty.next.is_none());
        // An owner that was never put is not listed. Its id is between the others.
        store.insert(world.issue("m").0).await.unwrap();
        let names = [
            "a",
            "B",
            "b",
            "b ",
            "b  ",
            " b",
            "\u{e9}",
            "e\u{301}",
            "\u{ffff}",
            "\u{1f511}",
            "z",
            "a'b",
            "a_b",
            "a%b",
            "n",
            "l",
        ];
        let mut ids = BTreeSet::new();
        for name in names {
            let id = OwnerId::new(name).unwrap();
            let tier = Tier::from_static("tier");
            store.put_owner(Owner::new(id.clone())).await.unwrap();
            store.put_owner(Owner::new(id.clone()).with_tier(tier)).await.unwrap();
            ids.insert(id);
        }
        for size in [0, 1, 2, 7, 15, 16, 17, PageRequest::MAX_SIZE, u16::MAX] {
            let (mut page, mut seen) = (OwnerPageRequest::first(size), Vec::new());
            loop {
                let listing = store.list_owners(page.clone()).await.unwrap();
                assert!(listing.owners.len() <= page.size(), "a page larger than asked for");
                assert_eq!(listing.damaged, [], "damaged");
                for owner in &listing.owners {
                    assert_eq!(store.owner(&owner.id).await.unwrap().as_ref(), Some(owner));
                }
                seen.extend(listing.owners.iter().map(|owner| owner.id.clone()));
                assert!(seen.len() <= ids.len(), "a listing repeats owners: {seen:?}");
                let Some(next) = listing.next else { break };
                assert_eq!(listing.owners.len(), page.size(), "a short page that is not the last");
                page = page.after(next);
            }
            assert_eq!(seen, ids.iter().cloned().collect::<Vec<_>>(), "pages of {size}");
        }
        // The position need not be an owner.
        let page = OwnerPageRequest::first(1).after(OwnerId::from_static("m"));
        let listing = store.list_owners(page).await.unwrap();
        assert_eq!(listing.owners.first().map(|owner| owner.id.as_str()), Some("n"));
    });
}

/// An owner that is suspended or has a key that is not revoked is not removed. A removed owner is as
/// one that was never put, also for its keys.
pub fn owners_are_removed(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(31);
        let (now, owner) = (world.now, OwnerId::from_static("owner"));
        let tier = || Owner::new(owner.clone()).with_tier(Tier::from_static("enterprise"));
        let removed = async |id: &OwnerId| store.remove_owner(id).await.unwrap();
        assert_eq!(removed(&owner).await, OwnerRemoval::NotFound, "it was never put");
        // Another owner whose id begins with the id of this one.
        let other = Owner::new(OwnerId::from_static("owner "));
        store.put_owner(other.clone()).await.unwrap();
        let (key_of_other, _) = world.issue("owner ");
        store.insert(key_of_other).await.unwrap();
        store.put_owner(tier()).await.unwrap();
        assert_eq!(removed(&owner).await, OwnerRemoval::Removed, "it has no key");
        assert_eq!(removed(&owner).await, OwnerRemoval::NotFound, "it was removed before");
        assert_eq!(store.owner(&owner).await.unwrap(), None);

        store.put_owner(tier()).await.unwrap();
        let (first, first_key) = world.issue("owner");
        let (second, second_key) = world.issue("owner");
        let keys = [&first_key, &second_key];
        let joined = async |key: &PlaintextKey, world: &World| {
            let found = store.find(&world.lookup(key)).await.unwrap().expect("a key is gone");
            let by_id = store.find_by_id(found.record().id()).await.unwrap();
            assert_eq!(by_id.as_ref(), Some(&found), "found by its id and by a secret");
            Owner::clone(found.owner())
        };
        for record in [&first, &second] {
            store.insert(record.clone()).await.unwrap();
        }
        // One key after the other is revoked: an active one, then a suspended one.
        store.suspend(second.id(), None, now).await.unwrap();
        for id in [first.id(), second.id()] {
            assert_eq!(removed(&owner).await, OwnerRemoval::HasKeys);
            assert_eq!(store.owner(&owner).await.unwrap().as_deref(), Some(&tier()));
            for key in keys {
                assert_eq!(joined(key, &world).await, tier(), "a refused removal changed a key");
            }
            store.revoke(id, None, now.into()).await.unwrap();
        }
        assert_eq!(removed(&owner).await, OwnerRemoval::Removed, "its keys are revoked");
        for key in keys {
            assert_eq!(joined(key, &world).await, Owner::new(owner.clone()), "a removed owner");
        }
        let listed = store.list_owners(OwnerPageRequest::first(9)).await.unwrap();
        assert_eq!(listed.owners.iter().map(|it| &**it).collect::<Vec<_>>(), [&other]);
        let keys_of_owner = store.list(&owner, PageRequest::first(9)).await.unwrap().keys;
        assert_eq!(keys_of_owner.len(), 2, "its revoked keys stay");
        assert_eq!(removed(&owner).await, OwnerRemoval::NotFound);
        store.put_owner(tier()).await.unwrap();
        assert_eq!(joined(&first_key, &world).await, tier(), "it was put again");

        // An expired key is not revoked.
        let late = OwnerId::from_static("late");
        store.put_owner(Owner::new(late.clone())).await.unwrap();
        let mut expired = world.issue("late").0.into_parts();
        expired.expires_at = Some(now);
        let id = expired.id;
        store.insert(expired.build().unwrap()).await.unwrap();
        assert_eq!(removed(&late).await, OwnerRemoval::HasKeys, "an expired key");
        store.revoke(id, None, now.into()).await.unwrap();
        assert_eq!(removed(&late).await, OwnerRemoval::Removed);

        // A removal would resume a suspended owner and lift its cap.
        let held = Owner::new(OwnerId::from_static("held")).with_key_cap(1);
        store.put_owner(held.clone()).await.unwrap();
        store.suspend_owner(&held.id, now).await.unwrap();
        let suspended = held.clone().changed(OwnerChange::Suspend { now });
        assert_eq!(removed(&held.id).await, OwnerRemoval::Suspended, "it has no key");
        let (record, key) = world.issue("held");
        store.insert(record.clone()).await.unwrap();
        assert_eq!(removed(&held.id).await, OwnerRemoval::Suspended, "it has a key");
        store.revoke_all(&held.id, now.into()).await.unwrap();
        assert_eq!(removed(&held.id).await, OwnerRemoval::Suspended, "its key is revoked");
        assert_eq!(joined(&key, &world).await, suspended);
        assert_eq!(store.owner(&held.id).await.unwrap().as_deref(), Some(&suspended));
        store.resume_owner(&held.id).await.unwrap();
        assert_eq!(removed(&held.id).await, OwnerRemoval::Removed, "it was resumed");
    });
}
