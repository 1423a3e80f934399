//! The conformance suite can fail: each of these stores breaks one promise, and is caught.

use std::{convert::Infallible, panic, sync::Arc};

use keyward::{
    Found, InsertError, KeyId, KeyRecord, KeyRegistry, KeyStore, Listing, Lookup, MemoryStore,
    Owner, OwnerId, Page, ReplaceError,
    testing::{self, Inline},
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    InsertReplaces,
    ReplaceIgnoresRevision,
    ReplaceForgets,
    FindsCurrentSecretsOnly,
    FindsRevokedKeysNot,
    LooksUpTheFirstHashOnly,
    ComparesDigestsOnly,
    ListsEverybody,
    PagesTooLarge,
    RepeatsTheLastOfAPage,
    OwnersAsAtFirst,
}

struct Broken(Fault, MemoryStore);

impl KeyStore for Broken {
    type Error = Infallible;

    async fn find(&self, lookup: &Lookup) -> Result<Option<Found>, Infallible> {
        let found = self.1.find_sync(lookup);
        let hash = lookup.hashes().next().unwrap();
        Ok(match self.0 {
            Fault::ComparesDigestsOnly => self
                .1
                .list_all_sync(Page::first(Page::MAX_SIZE))
                .keys
                .into_iter()
                .find(|it| it.record().hashes().any(|held| held.digest() == hash.digest())),
            Fault::FindsCurrentSecretsOnly => {
                found.filter(|it| lookup.hashes().any(|hash| it.record().current().hash == *hash))
            }
            Fault::FindsRevokedKeysNot => {
                found.filter(|it| matches!(it.record().state(), keyward::KeyState::Active))
            }
            Fault::LooksUpTheFirstHashOnly => {
                found.filter(|it| it.record().hashes().any(|held| held == hash))
            }
            Fault::OwnersAsAtFirst => found.map(|it| {
                let bare = Owner::new(it.owner().id.clone());
                Found::join(it.record().clone(), Arc::new(bare)).unwrap()
            }),
            _ => found,
        })
    }
}

impl KeyRegistry for Broken {
    async fn insert(&self, record: KeyRecord) -> Result<(), InsertError<Infallible>> {
        if self.0 == Fault::InsertReplaces
            && let Some(old) = self.1.get_sync(record.id())
        {
            let mut parts = record.into_parts();
            parts.revision = old.record().revision() + 1;
            self.1.replace_sync(parts.build().unwrap()).unwrap();
            return Ok(());
        }
        self.1.insert_sync(record)
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<Infallible>> {
        match self.0 {
            Fault::ReplaceIgnoresRevision => {
                let old = self.1.get_sync(record.id()).ok_or(ReplaceError::NotFound)?;
                let mut parts = record.into_parts();
                parts.revision = old.record().revision() + 1;
                self.1.replace_sync(parts.build().unwrap())
            }
            Fault::ReplaceForgets => Ok(()),
            _ => self.1.replace_sync(record),
        }
    }

    async fn get(&self, id: KeyId) -> Result<Option<Found>, Infallible> {
        Ok(self.1.get_sync(id))
    }

    async fn list(&self, owner: &OwnerId, page: Page) -> Result<Listing, Infallible> {
        Ok(match self.0 {
            Fault::ListsEverybody => self.1.list_all_sync(page),
            Fault::PagesTooLarge => self.1.list_sync(owner, Page::first(Page::MAX_SIZE)),
            _ => self.1.list_sync(owner, page),
        })
    }

    async fn list_all(&self, page: Page) -> Result<Listing, Infallible> {
        let mut listing = self.1.list_all_sync(page);
        if self.0 == Fault::RepeatsTheLastOfAPage
            && let Some(last) = listing.keys.len().checked_sub(2)
        {
            listing.next = listing.next.map(|_| keyward::Cursor::of(listing.keys[last].record()));
        }
        Ok(listing)
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, Infallible> {
        Ok(self.1.owner_sync(id))
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), Infallible> {
        self.1.put_owner_sync(owner);
        Ok(())
    }
}

/// The names of the checks that a store with this fault fails.
fn caught(fault: Fault) -> Vec<&'static str> {
    macro_rules! failing {
        ($($check:ident),* $(,)?) => {
            [$((stringify!($check), panic::catch_unwind(|| {
                testing::$check(&Inline, &Broken(fault, MemoryStore::new()));
            }).is_err())),*]
        };
    }
    failing![
        insert_then_find,
        insert_never_replaces,
        insert_refuses_duplicate_secrets,
        replace_needs_the_next_revision,
        replace_refuses_duplicate_secrets,
        every_field_survives,
        retiring_secrets_are_found,
        dropped_secrets_are_not_found,
        several_candidates_are_looked_up,
        schemes_are_told_apart,
        revoked_keys_are_still_found,
        owners_are_joined,
        listings_are_paged,
        concurrent_replaces_have_one_winner,
        concurrent_inserts_have_one_winner,
    ]
    .into_iter()
    .filter_map(|(name, failed)| failed.then_some(name))
    .collect()
}

#[test]
fn each_broken_promise_is_caught_by_its_check() {
    assert_eq!(caught(Fault::None), [""; 0], "a store without a fault passes");
    for (fault, check) in [
        (Fault::InsertReplaces, "insert_never_replaces"),
        (Fault::ReplaceIgnoresRevision, "replace_needs_the_next_revision"),
        (Fault::ReplaceIgnoresRevision, "concurrent_replaces_have_one_winner"),
        (Fault::ReplaceForgets, "retiring_secrets_are_found"),
        (Fault::FindsCurrentSecretsOnly, "retiring_secrets_are_found"),
        (Fault::FindsRevokedKeysNot, "revoked_keys_are_still_found"),
        (Fault::LooksUpTheFirstHashOnly, "several_candidates_are_looked_up"),
        (Fault::ComparesDigestsOnly, "schemes_are_told_apart"),
        (Fault::ListsEverybody, "listings_are_paged"),
        (Fault::PagesTooLarge, "listings_are_paged"),
        (Fault::RepeatsTheLastOfAPage, "listings_are_paged"),
        (Fault::OwnersAsAtFirst, "owners_are_joined"),
    ] {
        assert!(caught(fault).contains(&check), "{fault:?} passes {check}: {:?}", caught(fault));
    }
}
