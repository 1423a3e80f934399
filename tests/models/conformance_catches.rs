//! The conformance suite can fail: each of these stores breaks one guarantee, and the suite detects
//! it.

use std::{
    collections::HashMap,
    convert::Infallible,
    panic,
    sync::{Arc, Barrier, Condvar, Mutex},
    time::Duration,
};

use keyward::{
    KeyStore, MemoryStore, Timestamp,
    key::{
        KeyHash, KeyId, KeyRecord, KeyState, Owner, OwnerChange, OwnerId, OwnerState, Revocation,
    },
    store::{
        InsertError, KeyRegistry, Listing, Lookup, OwnerListing, OwnerPageRequest, OwnerRemoval,
        PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
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
    PurgesNothing,
    PurgesOneTooFew,
    PurgesMoreThanAsked,
    PurgesAtTheInstant,
    PurgesTheSuspended,
    PurgesTheExpiredAlone,
    PurgeLeavesSecrets,
    PurgeLeavesIds,
    PurgeLeavesHashes,
    RefusedInsertHoldsHashes,
    PurgesByAStaleLook,
    ByIdAsAtFirst,
    ByIdOwnersAsAtFirst,
    ByIdFindsThePurged,
    ByIdFindsRevokedKeysNot,
    AtOnceAsAtFirst,
    AtOnceFindsNothing,
    AtOnceFindsCurrentSecretsOnly,
    RevokesByCompareAndSwap,
    RevokeKeepsTheRevision,
    RevokeMovesTheInstant,
    RevokesForeignKeys,
    RevokesWhatIsNotThere,
    SuspendsForeignKeys,
    SuspendsTheRevoked,
    SuspendMovesTheInstant,
    SecondSuspendDoesNothing,
    RevokeAllOfEverybody,
    RevokeAllSkipsTheSuspended,
    RevokeAllReportsTheRevoked,
    RevokeAllStopsAtAPage,
    OwnersInOnePage,
    OwnersSkipOne,
    OwnersOfAnyCase,
    OwnersWithKeysListed,
    RemovesOwnersWithKeys,
    RemovesOwnersOfSuspendedKeys,
    RemovesOwnersOfExpiredKeys,
    RemovesSuspendedOwners,
    RemovesWhatIsNotThere,
    RevokeForgetsTheReason,
    RevokeAllForgetsTheReason,
    ReplaceIgnoresTheNonce,
    PutOwnerChangesTheState,
    TierIsReadAndPut,
    SuspendOwnerMovesTheInstant,
    CapIsIgnored,
    CapIsCheckedBefore,
    CapCountsTheEnded,
    CapCountsNotTheSuspended,
    CapCountsAtTheCreation,
}

struct Broken {
    fault: Fault,
    store: MemoryStore,
    /// Purged keys, for stores that do not remove them.
    purged: Mutex<Vec<StoredKey>>,
    /// The hashes of rejected inserts, for a store that keeps them.
    refused: Mutex<Vec<KeyHash>>,
    /// The first result by id and the first immediate result by hash, for stores that keep it.
    first_by_id: Mutex<HashMap<KeyId, Option<StoredKey>>>,
    first_at_once: Mutex<HashMap<KeyHash, Option<StoredKey>>>,
    /// Lets a change run between the read and the write of a purge.
    overtaking: Option<Overtaking>,
    /// Where the threads of the check of caps meet.
    counted: Barrier,
}

/// Blocks a change until a purge has read the ended key, and the purge until the change is done.
#[derive(Default)]
struct Overtaking {
    /// The ended keys that a purge has read, and the changed keys.
    ids: Mutex<(Vec<KeyId>, Vec<KeyId>)>,
    more: Condvar,
}

impl Overtaking {
    fn wait(&self, holds: impl Fn(&(Vec<KeyId>, Vec<KeyId>)) -> bool) {
        let ids = self.ids.lock().unwrap();
        drop(self.more.wait_while(ids, |ids| !holds(ids)).unwrap());
    }

    /// Records the keys that a purge has read as ended, and waits until they are changed.
    fn seen(&self, ended: &[KeyId]) {
        self.ids.lock().unwrap().0.extend(ended);
        self.more.notify_all();
        self.wait(|(_, changed)| ended.iter().all(|id| changed.contains(id)));
    }

    fn changed(&self, id: KeyId) {
        self.ids.lock().unwrap().1.push(id);
        self.more.notify_all();
    }
}

impl Broken {
    fn new(fault: Fault) -> Self {
        let (store, purged, refused, first_by_id, first_at_once) = Default::default();
        let (overtaking, counted) = (None, Barrier::new(8));
        Self { fault, store, purged, refused, first_by_id, first_at_once, overtaking, counted }
    }

    fn all(&self) -> Vec<StoredKey> {
        self.store.list_all_sync(PageRequest::first(PageRequest::MAX_SIZE)).keys
    }

    /// Gives a key another state, at a revision that is higher by `raised`.
    fn put(&self, record: &KeyRecord, state: KeyState, raised: u64) {
        let mut parts = record.clone().into_parts();
        (parts.state, parts.revision) = (state, parts.revision + raised);
        let id = record.id();
        let all = self.all();
        self.store.revoke_sync(id, None, Timestamp::ZERO);
        let removed = self.store.purge_sync(Timestamp::MAX, u16::MAX);
        let others = all.iter().map(|it| it.record()).filter(|it| it.id() != id);
        for other in others.filter(|it| removed.contains(&it.id())) {
            self.store.insert_sync(other.clone()).unwrap();
        }
        self.store.insert_sync(parts.build().unwrap()).unwrap();
    }

    /// Inserts a key, with a cap that is kept wrongly.
    fn insert_up_to_the_cap(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<Infallible>> {
        let owner = record.owner().clone();
        let cap = self.store.owner_sync(&owner).and_then(|owner| owner.key_cap);
        let counted_at = match self.fault {
            Fault::CapCountsAtTheCreation => record.created_at(),
            _ => now,
        };
        let ended = |it: &KeyRecord| it.ends_at().is_some_and(|end| end <= counted_at);
        let suspended = |it: &KeyRecord| matches!(it.state(), KeyState::Suspended { .. });
        let counts = |it: &&StoredKey| match self.fault {
            Fault::CapIsIgnored => false,
            Fault::CapCountsTheEnded => it.record().owner() == &owner,
            Fault::CapCountsNotTheSuspended => {
                let record = it.record();
                record.owner() == &owner && !ended(record) && !suspended(record)
            }
            _ => it.record().owner() == &owner && !ended(it.record()),
        };
        let uncapped = [
            Fault::CapIsIgnored,
            Fault::CapCountsTheEnded,
            Fault::CapIsCheckedBefore,
            Fault::CapCountsNotTheSuspended,
            Fault::CapCountsAtTheCreation,
        ];
        let Some(cap) = cap.filter(|_| uncapped.contains(&self.fault)) else {
            return self.store.insert_at_sync(record, now);
        };
        if self.store.find_by_id_sync(record.id()).is_some() {
            return Err(InsertError::DuplicateId);
        }
        let too_many = self.all().iter().filter(counts).count() >= cap as usize;
        if too_many && self.fault != Fault::CapIsIgnored {
            return Err(InsertError::TooManyKeys);
        }
        if self.fault == Fault::CapIsCheckedBefore && owner.as_str().starts_with("owner ") {
            // All threads of the check count before one of them inserts.
            self.counted.wait();
        }
        self.store.change_owner_sync(&owner, OwnerChange::KeyCap(None));
        let inserted = self.store.insert_at_sync(record, now);
        self.store.change_owner_sync(&owner, OwnerChange::KeyCap(Some(cap)));
        inserted
    }

    /// Removes these keys, whatever changes they need before.
    fn remove(&self, ids: impl IntoIterator<Item = KeyId>) -> Vec<KeyId> {
        for id in ids {
            while let Some(found) = self.store.find_by_id_sync(id) {
                let revoked = found.record().revoke(Timestamp::ZERO).unwrap();
                if self.store.replace_sync(revoked).is_ok() {
                    break;
                }
            }
        }
        self.store.purge_sync(Timestamp::from_unix_millis(1), u16::MAX)
    }
}

fn is_revoked(found: &StoredKey) -> bool {
    matches!(found.record().state(), KeyState::Revoked { .. })
}

/// Returns the key with a default owner instead of the stored one.
fn bare(found: &StoredKey) -> StoredKey {
    let owner = Owner::new(found.owner().id.clone());
    StoredKey::join(found.record().clone(), Arc::new(owner)).unwrap()
}

fn is_active(found: &StoredKey) -> bool {
    matches!(found.record().state(), KeyState::Active)
}

impl KeyStore for Broken {
    type Error = Infallible;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Infallible> {
        let found = self.store.find_sync(lookup);
        let hash = lookup.hashes().next().unwrap();
        Ok(match self.fault {
            Fault::ComparesDigestsOnly => self
                .all()
                .into_iter()
                .find(|it| it.record().hashes().any(|held| held.digest() == hash.digest())),
            Fault::PurgeLeavesSecrets => found.or_else(|| {
                let purged = self.purged.lock().unwrap();
                purged.iter().find(|it| it.record().hashes().any(|held| held == hash)).cloned()
            }),
            Fault::FindsCurrentSecretsOnly => {
                found.filter(|it| lookup.hashes().any(|hash| it.record().current().hash == *hash))
            }
            Fault::FindsRevokedKeysNot => found.filter(is_active),
            Fault::LooksUpTheFirstHashOnly => {
                found.filter(|it| it.record().hashes().any(|held| held == hash))
            }
            Fault::OwnersAsAtFirst => found.map(|it| bare(&it)),
            _ => found,
        })
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Infallible> {
        let found = self.store.find_by_id_sync(id);
        let is_it = |it: &&StoredKey| it.record().id() == id;
        Ok(match self.fault {
            Fault::ByIdAsAtFirst => {
                self.first_by_id.lock().unwrap().entry(id).or_insert(found).clone()
            }
            Fault::ByIdOwnersAsAtFirst => found.map(|it| bare(&it)),
            Fault::ByIdFindsThePurged => {
                found.or_else(|| self.purged.lock().unwrap().iter().find(is_it).cloned())
            }
            Fault::ByIdFindsRevokedKeysNot => found.filter(is_active),
            _ => found,
        })
    }

    fn try_find(&self, lookup: &Lookup) -> Option<Result<Option<StoredKey>, Infallible>> {
        let found = self.store.find_sync(lookup);
        let hash = lookup.hashes().next().unwrap();
        Some(Ok(match self.fault {
            Fault::AtOnceAsAtFirst => {
                self.first_at_once.lock().unwrap().entry(*hash).or_insert(found).clone()
            }
            Fault::AtOnceFindsNothing => None,
            Fault::AtOnceFindsCurrentSecretsOnly => {
                found.filter(|it| it.record().current().hash == *hash)
            }
            _ => return None,
        }))
    }
}

impl KeyRegistry for Broken {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<Infallible>> {
        let is_purged = |it: &StoredKey| it.record().id() == record.id();
        if self.fault == Fault::PurgeLeavesIds && self.purged.lock().unwrap().iter().any(is_purged)
        {
            return Err(InsertError::DuplicateId);
        }
        let hashes: Vec<KeyHash> = record.hashes().copied().collect();
        let has_one = |it: &StoredKey| it.record().hashes().any(|hash| hashes.contains(hash));
        if self.fault == Fault::PurgeLeavesHashes
            && self.purged.lock().unwrap().iter().any(|it| !is_purged(it) && has_one(it))
        {
            return Err(InsertError::DuplicateSecret);
        }
        if self.fault == Fault::RefusedInsertHoldsHashes {
            let mut refused = self.refused.lock().unwrap();
            let inserted = match hashes.iter().any(|hash| refused.contains(hash)) {
                true => Err(InsertError::DuplicateSecret),
                false => self.store.insert_at_sync(record, now),
            };
            if inserted.is_err() {
                refused.extend(hashes);
            }
            return inserted;
        }
        if self.fault == Fault::InsertReplaces
            && let Some(old) = self.store.find_by_id_sync(record.id())
        {
            let mut parts = record.into_parts();
            parts.revision = old.record().revision() + 1;
            self.store.replace_sync(parts.build().unwrap()).unwrap();
            return Ok(());
        }
        self.insert_up_to_the_cap(record, now)
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<Infallible>> {
        let id = record.id();
        if let Some(overtaking) = &self.overtaking {
            overtaking.wait(|(seen, _)| seen.contains(&id));
        }
        let result = match self.fault {
            Fault::ReplaceIgnoresRevision => loop {
                let old = self.store.find_by_id_sync(id).ok_or(ReplaceError::NotFound)?;
                let mut parts = record.clone().into_parts();
                parts.revision = old.record().revision() + 1;
                // Concurrent changes are overwritten too.
                match self.store.replace_sync(parts.build().unwrap()) {
                    Err(ReplaceError::Conflict) => {}
                    result => break result,
                }
            },
            Fault::ReplaceForgets => Ok(()),
            Fault::ReplaceIgnoresTheNonce => {
                let old = self.store.find_by_id_sync(id).ok_or(ReplaceError::NotFound)?;
                let mut parts = record.into_parts();
                parts.nonce = old.record().nonce();
                self.store.replace_sync(parts.build().unwrap())
            }
            _ => self.store.replace_sync(record),
        };
        if let Some(overtaking) = &self.overtaking {
            overtaking.changed(id);
        }
        result
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> Result<Option<Withdrawn>, Infallible> {
        let now = revocation.at;
        let (first, store) = (self.store.find_by_id_sync(id), &self.store);
        let within = within.filter(|_| self.fault != Fault::RevokesForeignKeys);
        Ok(match self.fault {
            Fault::RevokeForgetsTheReason => store.revoke_sync(id, within, now),
            Fault::RevokesByCompareAndSwap => {
                let Some(first) = first else { return Ok(None) };
                // Another change comes between the look and the change.
                let _changed = store
                    .replace_sync(first.record().rename("raced".parse().unwrap(), now).unwrap());
                let _lost = store.replace_sync(first.record().revoke(now).unwrap());
                Some(Withdrawn::Now)
            }
            Fault::RevokeMovesTheInstant => {
                let revived = first.and_then(|it| is_revoked(&it).then_some(it));
                revived.map_or_else(
                    || store.revoke_sync(id, within, now),
                    |it| {
                        self.put(it.record(), KeyState::Revoked { since: now }, 1);
                        Some(Withdrawn::RevokedBefore)
                    },
                )
            }
            Fault::RevokeKeepsTheRevision => first.map(|it| {
                self.put(it.record(), KeyState::Revoked { since: now }, 0);
                Withdrawn::Now
            }),
            Fault::RevokesWhatIsNotThere => {
                store.revoke_sync(id, within, now).or(Some(Withdrawn::Now))
            }
            _ => store.revoke_sync(id, within, revocation),
        })
    }

    async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> Result<Vec<KeyId>, Infallible> {
        let now = revocation.at;
        let all = self.all();
        let of_all = || all.iter().map(|it| it.record());
        Ok(match self.fault {
            Fault::RevokeAllForgetsTheReason => self.store.revoke_all_sync(owner, now),
            Fault::RevokeAllOfEverybody => {
                let ids = of_all().map(KeyRecord::id);
                ids.filter(|id| self.store.revoke_sync(*id, None, now).is_some()).collect()
            }
            Fault::RevokeAllSkipsTheSuspended => of_all()
                .filter(|it| it.owner() == owner && it.state() == KeyState::Active)
                .map(KeyRecord::id)
                .filter(|id| self.store.revoke_sync(*id, None, now) == Some(Withdrawn::Now))
                .collect(),
            Fault::RevokeAllReportsTheRevoked => {
                self.store.revoke_all_sync(owner, now);
                of_all().filter(|it| it.owner() == owner).map(KeyRecord::id).collect()
            }
            Fault::RevokeAllStopsAtAPage => {
                let page = self.store.list_sync(owner, PageRequest::first(100)).keys;
                let ids = page.iter().map(|it| it.record().id());
                ids.filter(|id| self.store.revoke_sync(*id, None, now) == Some(Withdrawn::Now))
                    .collect()
            }
            _ => self.store.revoke_all_sync(owner, revocation),
        })
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Result<Option<Withdrawn>, Infallible> {
        let (first, store) = (self.store.find_by_id_sync(id), &self.store);
        let within = within.filter(|_| self.fault != Fault::SuspendsForeignKeys);
        let state = first.as_ref().map(|it| it.record().state());
        Ok(match (self.fault, first, state) {
            (Fault::SuspendsTheRevoked, Some(it), Some(KeyState::Revoked { .. })) => {
                self.put(it.record(), KeyState::Suspended { since: now }, 1);
                Some(Withdrawn::Now)
            }
            (Fault::SecondSuspendDoesNothing, _, Some(KeyState::Suspended { .. })) => {
                Some(Withdrawn::Now)
            }
            (Fault::SuspendMovesTheInstant, Some(it), Some(KeyState::Suspended { .. })) => {
                self.put(it.record(), KeyState::Suspended { since: now }, 1);
                Some(Withdrawn::Now)
            }
            _ => store.suspend_sync(id, within, now),
        })
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, Infallible> {
        let all = self.all();
        let ids = |is_of: &dyn Fn(&KeyRecord) -> bool| -> Vec<KeyId> {
            let ended = all.iter().map(|it| it.record()).filter(|record| is_of(record));
            ended.map(KeyRecord::id).take(usize::from(limit)).collect()
        };
        let ended = |record: &KeyRecord| record.ends_at().is_some_and(|at| at < ended_before);
        let expired = |record: &KeyRecord| record.expires_at().is_some_and(|at| at < ended_before);
        let suspended = |record: &KeyRecord| matches!(record.state(), KeyState::Suspended { .. });
        let seen = ids(&ended);
        if let Some(overtaking) = &self.overtaking {
            overtaking.seen(&seen);
        }
        let purged = match self.fault {
            Fault::PurgesNothing => Vec::new(),
            Fault::PurgesOneTooFew => self.store.purge_sync(ended_before, limit.saturating_sub(1)),
            Fault::PurgesMoreThanAsked => {
                self.store.purge_sync(ended_before, limit.saturating_add(1))
            }
            Fault::PurgesAtTheInstant => {
                self.store.purge_sync(ended_before + Duration::from_millis(1), limit)
            }
            Fault::PurgesTheSuspended => self.remove(ids(&|it| ended(it) || suspended(it))),
            Fault::PurgesTheExpiredAlone => self.remove(ids(&expired)),
            Fault::PurgesByAStaleLook => self.remove(seen),
            _ => self.store.purge_sync(ended_before, limit),
        };
        let forgotten = all.into_iter().filter(|it| purged.contains(&it.record().id()));
        self.purged.lock().unwrap().extend(forgotten);
        Ok(purged)
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, Infallible> {
        Ok(match self.fault {
            Fault::ListsEverybody => self.store.list_all_sync(page),
            Fault::PagesTooLarge => {
                self.store.list_sync(owner, PageRequest::first(PageRequest::MAX_SIZE))
            }
            _ => self.store.list_sync(owner, page),
        })
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, Infallible> {
        let mut listing = self.store.list_all_sync(page);
        if self.fault == Fault::RepeatsTheLastOfAPage
            && let Some(last) = listing.keys.len().checked_sub(2)
        {
            listing.next =
                listing.next.map(|_| keyward::store::Cursor::of(listing.keys[last].record()));
        }
        Ok(listing)
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, Infallible> {
        Ok(self.store.owner_sync(id))
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), Infallible> {
        let state = owner.state;
        let id = owner.id.clone();
        self.store.put_owner_sync(owner);
        if self.fault == Fault::PutOwnerChangesTheState {
            self.store.change_owner_sync(&id, OwnerChange::Resume);
            if let OwnerState::Suspended { since } = state {
                self.store.change_owner_sync(&id, OwnerChange::Suspend { now: since });
            }
        }
        Ok(())
    }

    async fn change_owner(&self, owner: &OwnerId, change: OwnerChange) -> Result<(), Infallible> {
        match (self.fault, &change) {
            (Fault::TierIsReadAndPut, OwnerChange::Tier(_)) => {
                let read = self.store.owner_sync(owner);
                let read = read.map_or_else(|| Owner::new(owner.clone()), |it| (*it).clone());
                self.store.put_owner_sync(read.clone().changed(change));
                // What was read is written as a whole.
                if read.state == OwnerState::Active {
                    self.store.change_owner_sync(owner, OwnerChange::Resume);
                }
                self.store.change_owner_sync(owner, OwnerChange::KeyCap(None));
            }
            (Fault::SuspendOwnerMovesTheInstant, OwnerChange::Suspend { .. }) => {
                self.store.change_owner_sync(owner, OwnerChange::Resume);
                self.store.change_owner_sync(owner, change);
            }
            _ => self.store.change_owner_sync(owner, change),
        }
        Ok(())
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> Result<OwnerListing, Infallible> {
        let everybody = || OwnerPageRequest::first(PageRequest::MAX_SIZE);
        let mut listing = self.store.list_owners_sync(&page);
        match self.fault {
            Fault::OwnersInOnePage => return Ok(self.store.list_owners_sync(&everybody())),
            Fault::OwnersSkipOne => {
                if let Some(last) = listing.next.take() {
                    let one_more = OwnerPageRequest::first(1).after(last);
                    listing.next = self
                        .store
                        .list_owners_sync(&one_more)
                        .owners
                        .pop()
                        .map(|owner| owner.id.clone());
                }
            }
            Fault::OwnersOfAnyCase => {
                listing.owners.sort_by_key(|owner| owner.id.as_str().to_lowercase());
            }
            Fault::OwnersWithKeysListed => {
                let of_keys = self.all().into_iter().map(|it| Arc::clone(it.owner()));
                let known: Vec<_> = listing.owners.iter().map(|it| it.id.clone()).collect();
                listing.owners.extend(of_keys.filter(|it| !known.contains(&it.id)));
            }
            _ => {}
        }
        Ok(listing)
    }

    async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, Infallible> {
        if self.fault == Fault::RemovesSuspendedOwners {
            let suspended = self.store.owner_sync(id).filter(|owner| owner.state.is_suspended());
            if suspended.is_some() {
                self.store.change_owner_sync(id, OwnerChange::Resume);
            }
        }
        let removed = self.store.remove_owner_sync(id);
        if removed != OwnerRemoval::HasKeys {
            return Ok(match self.fault {
                Fault::RemovesWhatIsNotThere => OwnerRemoval::Removed,
                _ => removed,
            });
        }
        let all = self.all();
        let mut keys = all.iter().map(|it| it.record()).filter(|it| it.owner() == id);
        let removes = match self.fault {
            Fault::RemovesOwnersWithKeys => true,
            Fault::RemovesOwnersOfSuspendedKeys => !keys.any(|it| it.state() == KeyState::Active),
            Fault::RemovesOwnersOfExpiredKeys => keys.all(|it| it.ends_at().is_some()),
            _ => false,
        };
        if removes {
            // An owner without anything, as one that was never put.
            self.store.put_owner_sync(Owner::new(id.clone()));
            return Ok(OwnerRemoval::Removed);
        }
        Ok(removed)
    }
}

/// Returns the names of the checks that a store with this fault fails.
fn caught(fault: Fault) -> Vec<&'static str> {
    macro_rules! failing {
        ($($check:ident),* $(,)?) => {
            [$((stringify!($check), panic::catch_unwind(|| {
                testing::$check(&Inline, &Broken::new(fault));
            }).is_err())),*]
        };
    }
    keyward::each_conformance_check!([failing])
        .into_iter()
        .filter_map(|(name, failed)| failed.then_some(name))
        .collect()
}

#[test]
fn each_fault_is_detected_by_its_check() {
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
        (Fault::PurgesNothing, "ended_keys_are_purged"),
        (Fault::PurgesOneTooFew, "ended_keys_are_purged"),
        (Fault::PurgesMoreThanAsked, "ended_keys_are_purged"),
        (Fault::PurgesAtTheInstant, "ended_keys_are_purged"),
        (Fault::PurgesTheSuspended, "ended_keys_are_purged"),
        (Fault::PurgesTheExpiredAlone, "ended_keys_are_purged"),
        (Fault::PurgeLeavesSecrets, "ended_keys_are_purged"),
        (Fault::PurgeLeavesIds, "ended_keys_are_purged"),
        (Fault::PurgeLeavesHashes, "ended_keys_are_purged"),
        (Fault::RefusedInsertHoldsHashes, "insert_refuses_duplicate_secrets"),
        (Fault::ByIdAsAtFirst, "find_by_id_sees_every_change"),
        (Fault::ByIdOwnersAsAtFirst, "find_by_id_sees_every_change"),
        (Fault::ByIdFindsThePurged, "find_by_id_sees_every_change"),
        (Fault::ByIdFindsRevokedKeysNot, "find_by_id_sees_every_change"),
        (Fault::AtOnceAsAtFirst, "try_find_agrees_with_find"),
        (Fault::AtOnceFindsNothing, "try_find_agrees_with_find"),
        (Fault::AtOnceFindsCurrentSecretsOnly, "try_find_agrees_with_find"),
        (Fault::RevokesByCompareAndSwap, "revoking_needs_no_revision"),
        (Fault::RevokeKeepsTheRevision, "revoking_needs_no_revision"),
        (Fault::RevokeMovesTheInstant, "revoking_needs_no_revision"),
        (Fault::RevokesWhatIsNotThere, "revoking_needs_no_revision"),
        (Fault::RevokesForeignKeys, "other_owners_keys_are_out_of_reach"),
        (Fault::SuspendsForeignKeys, "other_owners_keys_are_out_of_reach"),
        (Fault::SuspendsTheRevoked, "suspending_needs_no_revision"),
        (Fault::SuspendMovesTheInstant, "suspending_needs_no_revision"),
        (Fault::SecondSuspendDoesNothing, "suspending_needs_no_revision"),
        (Fault::RevokeAllOfEverybody, "all_keys_of_an_owner_are_revoked"),
        (Fault::RevokeAllSkipsTheSuspended, "all_keys_of_an_owner_are_revoked"),
        (Fault::RevokeAllReportsTheRevoked, "all_keys_of_an_owner_are_revoked"),
        (Fault::RevokeAllStopsAtAPage, "all_keys_of_an_owner_are_revoked"),
        (Fault::OwnersInOnePage, "owners_are_listed"),
        (Fault::OwnersSkipOne, "owners_are_listed"),
        (Fault::OwnersOfAnyCase, "owners_are_listed"),
        (Fault::OwnersWithKeysListed, "owners_are_listed"),
        (Fault::RemovesOwnersWithKeys, "owners_are_removed"),
        (Fault::RemovesOwnersOfSuspendedKeys, "owners_are_removed"),
        (Fault::RemovesOwnersOfExpiredKeys, "owners_are_removed"),
        (Fault::RemovesSuspendedOwners, "owners_are_removed"),
        (Fault::RemovesWhatIsNotThere, "owners_are_removed"),
        (Fault::RevokeForgetsTheReason, "revoking_needs_no_revision"),
        (Fault::RevokeAllForgetsTheReason, "all_keys_of_an_owner_are_revoked"),
        (Fault::ReplaceIgnoresTheNonce, "a_stale_change_reaches_no_second_life"),
        (Fault::PutOwnerChangesTheState, "owners_change_by_field"),
        (Fault::PutOwnerChangesTheState, "no_writer_of_a_tier_resumes_an_owner"),
        (Fault::TierIsReadAndPut, "owners_change_by_field"),
        (Fault::SuspendOwnerMovesTheInstant, "owners_change_by_field"),
        (Fault::CapIsIgnored, "a_cap_on_keys_is_kept"),
        (Fault::CapIsCheckedBefore, "a_cap_on_keys_is_kept"),
        (Fault::CapCountsTheEnded, "a_cap_on_keys_is_kept"),
        (Fault::CapCountsNotTheSuspended, "a_cap_on_keys_is_kept"),
        (Fault::CapCountsAtTheCreation, "a_cap_on_keys_is_kept"),
    ] {
        assert!(caught(fault).contains(&check), "{fault:?} passes {check}: {:?}", caught(fault));
    }
}

/// In each round a purge reads the ended key, and the key changes before the purge continues.
#[test]
fn a_purge_that_ignores_a_concurrent_change_is_detected() {
    let passes = |fault| {
        let store = Broken { overtaking: Some(Overtaking::default()), ..Broken::new(fault) };
        let check = || testing::purging_and_changing_exclude_each_other(&Inline, &store);
        panic::catch_unwind(panic::AssertUnwindSafe(check)).is_ok()
    };
    assert!(passes(Fault::None));
    assert!(!passes(Fault::PurgesByAStaleLook));
}
