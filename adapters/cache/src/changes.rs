//! What has changed, and when: numbers alone, so that nothing need be found to be forgotten.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use keyward::store::Change;

/// Counts changes, and remembers which was the last to concern each place.
///
/// Keys, owners and hashes share a fixed number of places, so memory is bounded whatever
/// changes. Two that share a place cost each other a query and nothing else.
pub(crate) struct Changes {
    count: AtomicU64,
    everything: AtomicU64,
    last: Box<[AtomicU64]>,
    /// Keyed at random, so that nobody can choose what shares a place with another's key.
    hasher: RandomState,
}

const PLACES: u16 = 4_096;

/// After a change and before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

/// Where the changes of a key, an owner or a hash are remembered.
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

    /// To be asked before a query is sent: what it reads is of this moment or later.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.count.load(Ordering::Acquire))
    }

    pub(crate) fn place(&self, of: impl Hash) -> Place {
        Place((self.hasher.hash_one(of) % u64::from(PLACES)) as u16)
    }

    /// Everything read before this call is old from when it returns.
    ///
    /// The count comes first. Who reads the new count before a query sees the change, which was
    /// made before this call; who read the one before is told apart by the place.
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
            // What is not known could concern anything.
            _ => {
                self.everything.fetch_max(number, Ordering::SeqCst);
            }
        }
    }

    /// Whether what was read at this moment, and concerns this place, has not changed since.
    #[inline]
    pub(crate) fn untouched(&self, place: Place, since: Moment) -> bool {
        self.everything.load(Ordering::Acquire) <= since.0
            && self
                .last
                .get(usize::from(place.0))
                .is_some_and(|last| last.load(Ordering::Acquire) <= since.0)
    }
}
