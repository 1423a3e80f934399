//! Queries in flight, shared by all requests that ask the same.

use std::{
    collections::HashMap,
    error::Error,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::future::{FutureExt, Shared, WeakShared};
use parking_lot::Mutex;

use crate::{
    CachedError,
    held::{Answer, ReadAt},
    question::Question,
};

/// The end of a query.
#[derive(Debug)]
pub(crate) enum Landing<E: Error + 'static> {
    Answered(Answer),
    Failed(CachedError<E>),
    /// The store panicked. Each request then makes a query of its own.
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

/// A query, polled by all requests that wait for it. If one of them is dropped, it continues for
/// the others; with the last of them it is dropped.
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

/// The queries in flight, at most as many as requests wait for.
pub(crate) struct Flights<E: Error + 'static> {
    in_flight: Mutex<HashMap<u64, InFlight<E>>>,
    number: AtomicU64,
}

struct InFlight<E: Error + 'static> {
    number: u64,
    question: Question,
    read: ReadAt,
    /// Weak, so that a query is dropped when no request waits for it.
    flight: WeakShared<Flight<E>>,
}

impl<E: Error + 'static> Flights<E> {
    pub(crate) fn new() -> Self {
        Self { in_flight: Mutex::default(), number: AtomicU64::new(0) }
    }

    /// Returns the query in flight for this question, if it began after every change noted at
    /// `asked` and less than `staleness` ago.
    pub(crate) fn join(
        &self,
        question: &Question,
        asked: ReadAt,
        staleness: Duration,
    ) -> Option<Shared<Flight<E>>> {
        let in_flight = self.in_flight.lock();
        let flight = in_flight.get(&question.place())?;
        let may_join = flight.read.moment >= asked.moment
            && flight.read.is_fresh(staleness, asked.now)
            && flight.question.is_same(question);
        // No upgraded query is dropped here: the end of a query takes the same lock.
        if may_join { flight.flight.upgrade() } else { None }
    }

    /// Begins a query that other requests can join. If two begin concurrently for one question,
    /// requests join the later one, and both complete.
    pub(crate) fn begin(
        &self,
        question: &Question,
        read: ReadAt,
        flight: impl FnOnce(Number) -> Flight<E>,
    ) -> Shared<Flight<E>> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let place = question.place();
        let shared = flight(Number { place, number }).shared();
        if let Some(weak) = shared.downgrade() {
            let in_flight = InFlight { number, question: question.clone(), read, flight: weak };
            self.in_flight.lock().insert(place, in_flight);
        }
        shared
    }

    /// Ends a query. No request can join it from then on.
    pub(crate) fn end(&self, flight: Number) {
        let mut in_flight = self.in_flight.lock();
        if in_flight.get(&flight.place).is_some_and(|there| there.number == flight.number) {
            in_flight.remove(&flight.place);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.in_flight.lock().len()
    }
}

/// The identity of a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number {
    place: u64,
    number: u64,
}
