//! The simplest correct cache, and typical mistakes in a cache.
#![allow(dead_code, reason = "each test uses a part")]

use std::{collections::HashMap, sync::Arc, time::Duration};

use keyward::{
    Clock, KeyStore, ManualClock, Timestamp,
    key::{KeyHash, KeyId, KeyRecord, Owner, OwnerChange, OwnerId, Revocation},
    store::{
        Change, InsertError, Invalidate, KeyRegistry, Listing, Lookup, OwnerListing,
        OwnerPageRequest, OwnerRemoval, PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
};
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// Caches a result although something changed during its read.
    NoGeneration,
    NoInvalidationOnWrite,
    NoInvalidationWhenCancelled,
    AnnouncementsIgnored,
    StalenessIgnored,
    /// Measures the age from the end of the query instead of its start.
    AgeFromTheAnswer,
    OwnersIgnored,
    /// A change invalidates the current secret only.
    OneSecretForgotten,
    /// Invalidates before the change instead of after it.
    InvalidatesTooEarly,
}

/// Caches one result for each hash, and forgets all of them at any change.
pub(crate) struct Naive<S, C = ManualClock> {
    store: S,
    clock: Arc<C>,
    staleness: Duration,
    mistake: Mistake,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    generation: u64,
    answers: HashMap<KeyHash, (Option<StoredKey>, Timestamp)>,
}

impl<S, C> Naive<S, C> {
    pub(crate) fn new(store: S, clock: Arc<C>, staleness: Duration, mistake: Mistake) -> Self {
        Self { store, clock, staleness, mistake, held: Mutex::default() }
    }

    fn forget(&self, change: &Change) {
        let mut held = self.held.lock();
        held.generation += 1;
        match (self.mistake, change) {
            (Mistake::OwnersIgnored, Change::Owner { .. }) => {}
            (Mistake::OneSecretForgotten, Change::Key { hashes, .. }) => {
                hashes.first().and_then(|hash| held.answers.remove(hash));
            }
            _ => held.answers.clear(),
        }
    }

    /// Invalidates when the write ends, in any way.
    async fn write<T>(&self, change: Change, write: impl Future<Output = T> + Send) -> T {
        struct Forget<'a, S, C>(&'a Naive<S, C>, Option<Change>);
        impl<S, C> Drop for Forget<'_, S, C> {
            fn drop(&mut self) {
                if let Some(change) = &self.1 {
                    self.0.forget(change);
                }
            }
        }
        match self.mistake {
            Mistake::NoInvalidationOnWrite => write.await,
            Mistake::NoInvalidationWhenCancelled => {
                let output = write.await;
                self.forget(&change);
                output
            }
            Mistake::InvalidatesTooEarly => {
                self.forget(&change);
                write.await
            }
            _ => {
                let _forget = Forget(self, Some(change));
                write.await
            }
        }
    }
}

impl<S: Send + Sync, C: Clock> Invalidate for Naive<S, C> {
    fn invalidate(&self, change: &Change) {
        if self.mistake != Mistake::AnnouncementsIgnored {
            self.forget(change);
        }
    }
}

impl<S: KeyStore, C: Clock> KeyStore for Naive<S, C> {
    type Error = S::Error;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, S::Error> {
        let hash = *lookup.hashes().next().unwrap();
        let asked = self.clock.now();
        let generation = {
            let held = self.held.lock();
            if let Some((found, read)) = held.answers.get(&hash) {
                let fresh = *read <= asked && asked < *read + self.staleness;
                if fresh || self.mistake == Mistake::StalenessIgnored {
                    return Ok(found.clone());
                }
            }
            held.generation
        };
        let found = self.store.find(lookup).await?;
        let mut held = self.held.lock();
        if held.generation == generation || self.mistake == Mistake::NoGeneration {
            let late = self.mistake == Mistake::AgeFromTheAnswer;
            let read = if late { self.clock.now() } else { asked };
            held.answers.insert(hash, (found.clone(), read));
        }
        Ok(found)
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, S::Error> {
        self.store.find_by_id(id).await
    }
}

impl<S: KeyRegistry, C: Clock> KeyRegistry for Naive<S, C> {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<S::Error>> {
        self.write(Change::record(&record), self.store.insert_at(record, now)).await
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<S::Error>> {
        self.write(Change::record(&record), self.store.replace(record)).await
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> Result<Option<Withdrawn>, S::Error> {
        self.write(Change::key(id), self.store.revoke(id, within, revocation)).await
    }

    async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> Result<Vec<KeyId>, S::Error> {
        self.write(Change::owner(owner.clone()), self.store.revoke_all(owner, revocation)).await
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Result<Option<Withdrawn>, S::Error> {
        self.write(Change::key(id), self.store.suspend(id, within, now)).await
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, S::Error> {
        self.write(Change::Everything, self.store.purge(ended_before, limit)).await
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, S::Error> {
        self.store.list(owner, page).await
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, S::Error> {
        self.store.list_all(page).await
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, S::Error> {
        self.store.owner(id).await
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), S::Error> {
        self.write(Change::owner(owner.id.clone()), self.store.put_owner(owner)).await
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> Result<OwnerListing, S::Error> {
        self.store.list_owners(page).await
    }

    async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, S::Error> {
        self.write(Change::owner(id.clone()), self.store.remove_owner(id)).await
    }

    async fn change_owner(&self, owner: &OwnerId, change: OwnerChange) -> Result<(), S::Error> {
        self.write(Change::owner(owner.clone()), self.store.change_owner(owner, change)).await
    }
}
