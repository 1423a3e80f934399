//! The keys of a store in memory by id, by owner, by creation and by end.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use crate::{
    clock::timestamp::Timestamp,
    key::{
        id::KeyId,
        owner::{Owner, OwnerId},
        record::KeyRecord,
    },
    store::{
        listing::{Cursor, Listing, PageRequest},
        stored_key::StoredKey,
    },
};

#[derive(Default)]
pub(super) struct Index {
    pub(super) keys: HashMap<KeyId, StoredKey>,
    pub(super) order: BTreeSet<Cursor>,
    /// The keys with an end, past or future, by that end.
    pub(super) ends: BTreeSet<(Timestamp, KeyId)>,
    /// By id, in the order of listings of owners.
    pub(super) owners: BTreeMap<OwnerId, OwnerEntry>,
}

pub(super) struct OwnerEntry {
    pub(super) owner: Arc<Owner>,
    /// Whether the host put this owner. If not, the entry only groups the keys of an owner that
    /// was never put.
    pub(super) put: bool,
    pub(super) order: BTreeSet<Cursor>,
    /// Its keys with an end, past or future, by that end.
    pub(super) ends: BTreeSet<(Timestamp, KeyId)>,
}

impl OwnerEntry {
    /// Returns whether at least `cap` keys have not ended by an instant. It looks at no more than
    /// `cap` keys.
    fn has_live(&self, cap: usize, now: Timestamp) -> bool {
        let endless = self.order.len().saturating_sub(self.ends.len());
        let Some(missing) = cap.checked_sub(endless) else { return true };
        let later = (Bound::Excluded((now, KeyId::from_bytes([u8::MAX; 16]))), Bound::Unbounded);
        self.ends.range(later).take(missing).count() >= missing
    }
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn get(&self, id: KeyId) -> Option<&StoredKey> {
        self.keys.get(&id)
    }

    /// Returns at most `limit` keys that ended before an instant, those that ended first.
    pub(super) fn ended(&self, before: Timestamp, limit: usize) -> Vec<KeyId> {
        let end = (before, KeyId::from_bytes([0; 16]));
        self.ends.range(..end).take(limit).map(|(_, id)| *id).collect()
    }

    /// Returns whether the owner of a new record has as many keys at `now` as its cap allows.
    pub(super) fn is_full_for(&self, record: &KeyRecord, now: Timestamp) -> bool {
        let Some(entry) = self.owners.get(record.owner()) else { return false };
        entry.owner.key_cap.is_some_and(|cap| entry.has_live(cap as usize, now))
    }

    /// Joins a record with its owner, a bare one if none was put.
    pub(super) fn joined(&self, record: KeyRecord) -> StoredKey {
        let owner = match self.owners.get(record.owner()) {
            Some(entry) => Arc::clone(&entry.owner),
            None => Arc::new(Owner::new(record.owner().clone())),
        };
        StoredKey::new(record, owner)
    }

    pub(super) fn add(&mut self, found: StoredKey) {
        let cursor = Cursor::of(found.record());
        let entry =
            self.owners.entry(found.record().owner().clone()).or_insert_with(|| OwnerEntry {
                owner: Arc::clone(found.owner()),
                put: false,
                order: BTreeSet::new(),
                ends: BTreeSet::new(),
            });
        entry.order.insert(cursor);
        entry.ends.extend(found.record().ends_at().map(|at| (at, cursor.id)));
        self.order.insert(cursor);
        self.ends.extend(found.record().ends_at().map(|at| (at, cursor.id)));
        self.keys.insert(cursor.id, found);
    }

    pub(super) fn remove(&mut self, record: &KeyRecord) {
        let cursor = Cursor::of(record);
        if let Some(entry) = self.owners.get_mut(record.owner()) {
            entry.order.remove(&cursor);
            if let Some(at) = record.ends_at() {
                entry.ends.remove(&(at, cursor.id));
            }
        }
        self.order.remove(&cursor);
        if let Some(at) = record.ends_at() {
            self.ends.remove(&(at, cursor.id));
        }
        self.keys.remove(&cursor.id);
    }

    /// Drops the entry of an owner that was never put and has no key left.
    pub(super) fn forget_owner(&mut self, owner: &OwnerId) {
        if self.owners.get(owner).is_some_and(|entry| !entry.put && entry.order.is_empty()) {
            self.owners.remove(owner);
        }
    }

    pub(super) fn page(&self, order: &BTreeSet<Cursor>, page: PageRequest) -> Listing {
        let start = page.cursor().map_or(Bound::Unbounded, Bound::Excluded);
        let keys = order
            .range((start, Bound::Unbounded))
            .filter_map(|cursor| self.keys.get(&cursor.id).cloned())
            .take(page.size() + 1)
            .collect();
        Listing::from_one_more(keys, page)
    }
}
