//! Queries under way, so that those who ask the same wait for one.

use std::{
    collections::HashMap,
    error::Error,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::future::{FutureExt, Shared, WeakShared};
use keyward::store::Lookup;
use parking_lot::Mutex;

use crate::{
    CachedError,
    held::{Answer, ReadAt},
    room::word,
};

/// How a query ended.
#[derive(Debug)]
pub(crate) enum Landing<E: Error + 'static> {
    Answered(Answer),
    Failed(CachedError<E>),
    /// The store panicked, for whoever asks next to find out by itself.
    Panicked,
}

impl<E: Error + 'static> Clone for Landing<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Answered(answer) => Self::Answered(answer.clone()),
            Self::Failed(error) => Self::Failed(error.clone()),
            Self::Panicked => Self::Panicked,
        }
    }
}

/// A query, moved on by all who wait for it: whoever of them gives up, the others' goes on, and
/// it ends with the last.
pub(crate) struct Flight<E: Error + 'static>(Pin<Box<dyn Future<Output = Landing<E>> + Send>>);

impl<E: Error + 'static> Future for Flight<E> {
    type Output = Landing<E>;

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Landing<E>> {
        self.0.as_mut().poll(context)
    }
}

impl<E: Error + 'static> Flight<E> {
    pub(crate) fn new(query: impl Future<Output = Landing<E>> + Send + 'static) -> Self {
        Self(Box::pin(query))
    }
}

/// The queries under way, as many as requests wait for at most.
pub(crate) struct Flights<E: Error + 'static> {
    under_way: Mutex<HashMap<u64, UnderWay<E>>>,
    number: AtomicU64,
}

struct UnderWay<E: Error + 'static> {
    number: u64,
    lookup: Lookup,
    read: ReadAt,
    /// Weak, so that a query that nobody waits for any more is dropped.
    flight: WeakShared<Flight<E>>,
}

impl<E: Error + 'static> Flights<E> {
    pub(crate) fn new() -> Self {
        Self { under_way: Mutex::default(), number: AtomicU64::new(0) }
    }

    /// The query under way for this lookup, if it began after every change that `asked` knows of
    /// and less than `staleness` ago; else `None`.
    pub(crate) fn join(
        &self,
        lookup: &Lookup,
        asked: ReadAt,
        staleness: Duration,
    ) -> Option<Shared<Flight<E>>> {
        let under_way = self.under_way.lock();
        let flight = under_way.get(&place(lookup))?;
        let may_join = flight.read.moment >= asked.moment
            && flight.read.is_fresh(staleness, asked.now)
            && same(&flight.lookup, lookup);
        // Nothing that is upgraded is dropped here: a query's end takes the lock, too.
        if may_join { flight.flight.upgrade() } else { None }
    }

    /// Begins a query, which others can join. If two begin at once for one lookup, the later
    /// one can be joined and both are answered.
    pub(crate) fn begin(
        &self,
        lookup: &Lookup,
        read: ReadAt,
        flight: impl FnOnce(Number) -> Flight<E>,
    ) -> Shared<Flight<E>> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let place = place(lookup);
        let shared = flight(Number { place, number }).shared();
        if let Some(weak) = shared.downgrade() {
            let under_way = UnderWay { number, lookup: lookup.clone(), read, flight: weak };
            self.under_way.lock().insert(place, under_way);
        }
        shared
    }

    /// Nobody can join this query any more.
    pub(crate) fn end(&self, flight: Number) {
        let mut under_way = self.under_way.lock();
        if under_way.get(&flight.place).is_some_and(|there| there.number == flight.number) {
            under_way.remove(&flight.place);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.under_way.lock().len()
    }
}

/// Which query it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number {
    place: u64,
    number: u64,
}

/// Two lookups in one place are told apart by [`same`]; the later one takes it.
fn place(lookup: &Lookup) -> u64 {
    lookup.hashes().fold(0, |place, hash| place.rotate_left(1) ^ word(hash))
}

fn same(one: &Lookup, other: &Lookup) -> bool {
    one.kind() == other.kind() && one.hashes().eq(other.hashes())
}
