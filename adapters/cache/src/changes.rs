//! When what changed, as numbers alone: a change is noted without finding what it invalidates.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use keyward::store::Change;

/// Counts changes, and remembers the last one for each place.
///
/// Keys, owners and hashes share a fixed number of places, so memory is bounded whatever changes.
/// Two that share a place cost each other one query and do no other harm.
pub(crate) struct Changes {
    count: AtomicU64,
    everything: AtomicU64,
    last: Box<[AtomicU64]>,
    /// Keyed at random, so that nobody can choose what shares a place with another's key.
    hasher: RandomState,
}

const PLACES: u16 = 4_096;

/// A moment between two changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

/// The place in which the changes of a key, an owner or a hash are remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u16);

impl Changes {
    pub(crate) fn new() -> Self {
        Self {
            count: AtomicU64::new(0),
            everything: AtomicU64::new(0),
            last: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Returns the present moment. Called before a query is sent, because the query then reads
    /// what was there at this moment or later.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.count.load(Ordering::Acquire))
    }

    pub(crate) fn place(&self, of: impl Hash) -> Place {
        Place((self.hasher.hash_one(of) % u64::from(PLACES)) as u16)
    }

    /// Notes a change. When this returns, everything that it concerns and that was read before the
    /// call is old.
    ///
    /// The count is raised first. A reader that sees the new count before its query sees the
    /// change, which was made before this call. A reader that sees the old count finds the new one
    /// at the place.
    pub(crate) fn note(&self, change: &Change) {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let at = |place: Place| {
            if let Some(last) = self.last.get(usize::from(place.0)) {
                last.fetch_max(number, Ordering::SeqCst);
            }
        };
        match change {
            Change::Key { id, hashes } => {
                at(self.place(id));
                hashes.iter().for_each(|hash| at(self.place(hash)));
            }
            Change::Owner { id } => at(self.place(id)),
            // An unknown variant may concern anything.
            _ => {
                self.everything.fetch_max(number, Ordering::SeqCst);
            }
        }
    }

    /// Returns whether no change has concerned this place since a moment.
    #[inline]
    pub(crate) fn untouched(&self, place: Place, since: Moment) -> bool {
        self.everything.load(Ordering::Acquire) <= since.0
            && self
                .last
                .get(usize::from(place.0))
                .is_some_and(|last| last.load(Ordering::Acquire) <= since.0)
    }
}
