//! What was read, and how long it may be served.

use std::{sync::Arc, time::Duration};

use keyward::{
    Timestamp,
    key::{KeyHash, KeyRecord},
    store::StoredKey,
};

use crate::{
    changes::{Changes, Moment, Place},
    question::Question,
};

/// When something was read: a moment and a time from before the query was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAt {
    pub(crate) moment: Moment,
    pub(crate) now: Timestamp,
}

impl ReadAt {
    /// Returns whether what was read then is younger than `staleness`. A clock that was set back
    /// gives no age, so the result is `false` then.
    pub(crate) fn is_fresh(self, staleness: Duration, now: Timestamp) -> bool {
        self.now <= now && now < self.now.saturating_add(staleness)
    }
}

/// A record as it was read, shared by all of its secrets.
#[derive(Debug)]
pub(crate) struct Known {
    found: StoredKey,
    read: ReadAt,
    until: Timestamp,
    key: Place,
    owner: Place,
}

impl Known {
    pub(crate) fn new(
        found: StoredKey,
        read: ReadAt,
        staleness: Duration,
        changes: &Changes,
    ) -> Self {
        let record = found.record();
        let stale = read.now.saturating_add(staleness);
        let until = next_deadline(record, read.now).map_or(stale, |deadline| deadline.min(stale));
        let (key, owner) = (changes.place(record.id()), changes.place(record.owner()));
        Self { read, until, key, owner, found }
    }

    pub(crate) fn found(&self) -> &StoredKey {
        &self.found
    }

    /// Returns whether no noted change concerns it since it was read.
    #[inline]
    pub(crate) fn is_untouched(&self, changes: &Changes) -> bool {
        let since = self.read.moment;
        changes.untouched(self.key, since) && changes.untouched(self.owner, since)
    }

    /// Returns whether it may be served.
    #[inline]
    pub(crate) fn serves(&self, changes: &Changes, now: Timestamp) -> bool {
        self.read.now <= now && now < self.until && self.is_untouched(changes)
    }

    /// Returns whether it may be served and holds a later revision of the same life of the same record
    /// than `record`. Of two concurrent queries the one that read earlier may end later.
    pub(crate) fn is_newer(&self, record: &KeyRecord, changes: &Changes, now: Timestamp) -> bool {
        let held = self.found.record();
        held.is_same_life(record)
            && held.revision() > record.revision()
            && self.serves(changes, now)
    }
}

/// The earliest instant after `now` at which the verdict on the record changes.
fn next_deadline(record: &KeyRecord, now: Timestamp) -> Option<Timestamp> {
    let graces = record.retiring().iter().map(|retiring| retiring.valid_until);
    graces.chain(record.expires_at()).filter(|deadline| *deadline > now).min()
}

/// The absence of a key with some hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absent {
    read: ReadAt,
    until: Timestamp,
    place: Place,
}

impl Absent {
    pub(crate) fn new(
        hash: &KeyHash,
        read: ReadAt,
        staleness: Duration,
        changes: &Changes,
    ) -> Self {
        Self { read, until: read.now.saturating_add(staleness), place: changes.place(hash) }
    }

    pub(crate) fn serves(&self, changes: &Changes, now: Timestamp) -> bool {
        self.read.now <= now && now < self.until && changes.untouched(self.place, self.read.moment)
    }
}

/// The result of a query.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Known(Arc<Known>),
    /// A record that does not answer the question: a fault of the store, or a secret that was
    /// rotated out during the query. The verifier refuses it, and it is not cached.
    Stray(StoredKey),
    Absent(ReadAt),
}

impl Answer {
    pub(crate) fn is_untouched(&self, question: &Question, changes: &Changes) -> bool {
        match self {
            Self::Known(known) => known.is_untouched(changes),
            Self::Stray(_) => true,
            Self::Absent(read) => question.is_untouched(changes, read.moment),
        }
    }

    pub(crate) fn into_found(self) -> Option<StoredKey> {
        match self {
            Self::Known(known) => Some(known.found().clone()),
            Self::Stray(found) => Some(found),
            Self::Absent(_) => None,
        }
    }
}
