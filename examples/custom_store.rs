//! A key store of your own, with the three tables that a database would have.
//!
//! `cargo run --example custom_store` issues, finds and revokes a key.
//! `cargo test --example custom_store` runs the conformance suite over the store.
//!
//! Here each method of the store is atomic, because it holds the lock. With a database, run each
//! method in one transaction.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyward::{
    Clock, Issuer, KeyDraft, KeyFormat, KeyHasher, KeyStore, SysRng, SystemClock, Timestamp,
    key::{
        KeyHash, KeyId, KeyRecord, KeyState, Owner, OwnerChange, OwnerId, RecordError, Revocation,
        StoredRecord,
    },
    store::{
        Cursor, InsertError, KeyRegistry, Listing, Lookup, OwnerListing, OwnerPageRequest,
        OwnerRemoval, PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
};

const KEYS: KeyFormat = KeyFormat::hex("acme_");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock = SystemClock::new();
    let issuer = Issuer::new(TableStore::default(), KEYS, KeyHasher::sha256());

    let draft = KeyDraft::new("customer-7".parse()?, "laptop".parse()?);
    let issued = issuer.issue(KEYS.kind(), draft, &mut SysRng, clock.now()).await?;
    println!("issued   {} with the id {}", issued.key.expose(), issued.record.id());

    let presented = issuer.formats().parse(issued.key.expose())?;
    let verifier = issuer.verifier();
    let lookup = verifier.lookup(&presented);
    let found = issuer.registry().find(&lookup).await?;
    let verified = verifier.verify(&lookup, found, clock.now())?;
    println!("verified for {}", verified.owner_id());

    issuer.revoke(issued.record.id(), clock.now()).await?;
    let found = issuer.registry().find(&lookup).await?;
    let refused = verifier.verify(&lookup, found, clock.now()).map(|_| ());
    println!("revoked: {refused:?}");
    Ok(())
}

/// The tables. `secrets` is the index that a request uses.
#[derive(Default)]
struct Tables {
    keys: HashMap<KeyId, KeyRecord>,
    secrets: HashMap<KeyHash, KeyId>,
    owners: HashMap<OwnerId, Arc<Owner>>,
}

/// The store.
#[derive(Default)]
struct TableStore(Mutex<Tables>);

impl TableStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// Returns a record with its current owner. An owner that was never saved has no tier and no
    /// overrides.
    fn joined(&self, record: &KeyRecord) -> Result<StoredKey, RecordError> {
        let owner = self.owners.get(record.owner()).cloned();
        let owner = owner.unwrap_or_else(|| Arc::new(Owner::new(record.owner().clone())));
        StoredKey::join(record.clone(), owner)
    }

    fn by_id(&self, id: KeyId) -> Result<Option<StoredKey>, RecordError> {
        self.keys.get(&id).map(|record| self.joined(record)).transpose()
    }

    /// Returns whether another key has one of the hashes, as the unique index of a database would.
    fn has_secret_of_another(&self, record: &KeyRecord) -> bool {
        let mut holders = record.hashes().filter_map(|hash| self.secrets.get(hash));
        holders.any(|holder| *holder != record.id())
    }

    fn put(&mut self, record: KeyRecord) {
        let id = record.id();
        self.secrets.retain(|_, holder| *holder != id);
        self.secrets.extend(record.hashes().map(|hash| (*hash, id)));
        self.keys.insert(id, record);
    }

    /// Revokes or suspends a key of one owner, or of any. It expects no revision, so no other change
    /// can prevent it. In SQL it is one statement: `UPDATE … SET state = …, revision = revision + 1
    /// WHERE id = … AND owner = … AND state <> 'revoked'`.
    fn withdraw(
        &mut self,
        id: KeyId,
        within: Option<&OwnerId>,
        change: impl FnOnce(&mut StoredRecord),
    ) -> Result<Option<Withdrawn>, RecordError> {
        let stored = self.keys.get(&id);
        let is_within = |it: &&KeyRecord| within.is_none_or(|owner| owner == it.owner());
        let Some(record) = stored.filter(is_within) else { return Ok(None) };
        if let KeyState::Revoked { .. } = record.state() {
            return Ok(Some(Withdrawn::RevokedBefore));
        }
        let mut parts = record.clone().into_parts();
        change(&mut parts);
        parts.revision += 1;
        self.put(parts.build()?);
        Ok(Some(Withdrawn::Now))
    }

    /// Returns whether the owner has a cap and as many keys. Keys that have ended do not count.
    fn is_full_for(&self, record: &KeyRecord, now: Timestamp) -> bool {
        let owner = self.owners.get(record.owner());
        let counts = |key: &&KeyRecord| {
            key.owner() == record.owner() && key.ends_at().is_none_or(|end| end > now)
        };
        let keys = self.keys.values().filter(counts).count();
        owner.and_then(|owner| owner.key_cap).is_some_and(|cap| keys >= cap as usize)
    }

    fn page(
        &self,
        page: PageRequest,
        is_listed: impl Fn(&KeyRecord) -> bool,
    ) -> Result<Listing, RecordError> {
        let after = |record: &KeyRecord| page.cursor().is_none_or(|seen| Cursor::of(record) > seen);
        let mut records: Vec<_> =
            self.keys.values().filter(|record| is_listed(record) && after(record)).collect();
        records.sort_by_key(|record| Cursor::of(record));
        // One record more than the page size shows that there is a next page.
        let joined = records.into_iter().take(page.size() + 1).map(|record| self.joined(record));
        Ok(Listing::from_one_more(joined.collect::<Result<_, _>>()?, page))
    }
}

impl KeyStore for TableStore {
    type Error = RecordError;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, RecordError> {
        let tables = self.tables();
        let id = lookup.hashes().find_map(|hash| tables.secrets.get(hash));
        id.map_or(Ok(None), |id| tables.by_id(*id))
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, RecordError> {
        self.tables().by_id(id)
    }
}

impl KeyRegistry for TableStore {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<RecordError>> {
        let mut tables = self.tables();
        if tables.keys.contains_key(&record.id()) {
            return Err(InsertError::DuplicateId);
        }
        if tables.has_secret_of_another(&record) {
            return Err(InsertError::DuplicateSecret);
        }
        if tables.is_full_for(&record, now) {
            return Err(InsertError::TooManyKeys);
        }
        tables.put(record);
        Ok(())
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<RecordError>> {
        let mut tables = self.tables();
        let stored = tables.keys.get(&record.id()).ok_or(ReplaceError::NotFound)?;
        // A key that was purged and imported again under the same id is another one.
        if !stored.is_same_life(&record) {
            return Err(ReplaceError::NotFound);
        }
        // The compare-and-swap. Without it, a rotation could undo a revocation.
        if !stored.is_followed_by(&record) {
            return Err(ReplaceError::Conflict);
        }
        if tables.has_secret_of_another(&record) {
            return Err(ReplaceError::DuplicateSecret);
        }
        tables.put(record);
        Ok(())
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> Result<Option<Withdrawn>, RecordError> {
        self.tables().withdraw(id, within, |parts| revoke(parts, &revocation))
    }

    async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> Result<Vec<KeyId>, RecordError> {
        let mut tables = self.tables();
        let theirs = tables.keys.values().filter(|record| record.owner() == owner);
        let ids: Vec<_> = theirs.map(KeyRecord::id).collect();
        let mut revoked = Vec::new();
        for id in ids {
            let done = tables.withdraw(id, None, |parts| revoke(parts, &revocation))?;
            revoked.extend((done == Some(Withdrawn::Now)).then_some(id));
        }
        Ok(revoked)
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Result<Option<Withdrawn>, RecordError> {
        self.tables().withdraw(id, within, |parts| {
            // The first instant stays. The revision is raised, so that a stale change cannot resume it.
            if parts.state == KeyState::Active {
                parts.state = KeyState::Suspended { since: now };
            }
        })
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, RecordError> {
        let mut tables = self.tables();
        let has_ended = |record: &&KeyRecord| record.ends_at().is_some_and(|at| at < ended_before);
        let ended = tables.keys.values().filter(has_ended).map(KeyRecord::id);
        let ended: Vec<_> = ended.take(limit.into()).collect();
        tables.keys.retain(|id, _| !ended.contains(id));
        tables.secrets.retain(|_, holder| !ended.contains(holder));
        Ok(ended)
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, RecordError> {
        self.tables().page(page, |record| record.owner() == owner)
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, RecordError> {
        self.tables().page(page, |_| true)
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, RecordError> {
        Ok(self.tables().owners.get(id).cloned())
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), RecordError> {
        let mut tables = self.tables();
        // A stale copy of an owner must not resume it.
        let state = tables.owners.get(&owner.id).map_or(owner.state, |there| there.state);
        let mut owner = owner;
        owner.state = state;
        tables.owners.insert(owner.id.clone(), Arc::new(owner));
        Ok(())
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> Result<OwnerListing, RecordError> {
        let tables = self.tables();
        let after = |owner: &&Arc<Owner>| page.cursor().is_none_or(|seen| owner.id > *seen);
        let mut owners: Vec<_> = tables.owners.values().filter(after).cloned().collect();
        owners.sort_by(|a, b| a.id.cmp(&b.id));
        owners.truncate(page.size() + 1);
        Ok(OwnerListing::from_one_more(owners, &page))
    }

    async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, RecordError> {
        let mut tables = self.tables();
        let Some(owner) = tables.owners.get(id) else {
            return Ok(OwnerRemoval::NotFound);
        };
        // Its removal would resume it.
        if owner.state.is_suspended() {
            return Ok(OwnerRemoval::Suspended);
        }
        let is_revoked = |it: &KeyRecord| matches!(it.state(), KeyState::Revoked { .. });
        if tables.keys.values().any(|it| it.owner() == id && !is_revoked(it)) {
            return Ok(OwnerRemoval::HasKeys);
        }
        tables.owners.remove(id);
        Ok(OwnerRemoval::Removed)
    }

    async fn change_owner(&self, id: &OwnerId, change: OwnerChange) -> Result<(), RecordError> {
        let mut tables = self.tables();
        let owner =
            tables.owners.get(id).map_or_else(|| Owner::new(id.clone()), |it| (**it).clone());
        tables.owners.insert(id.clone(), Arc::new(owner.changed(change)));
        Ok(())
    }
}

fn revoke(parts: &mut StoredRecord, revocation: &Revocation) {
    parts.state = KeyState::Revoked { since: revocation.at };
    parts.revocation_reason.clone_from(&revocation.reason);
}

#[cfg(test)]
mod tests {
    use super::TableStore;

    // A `#[test]` for each promise of the store traits.
    keyward::conformance_tests!(keyward::testing::Inline, TableStore::default());
}
