//! The waits on the way to a decision, and the one after it.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use keyward::{
    Clock, KeyStore, Outcome,
    gate::{PendingLookup, PendingRecheck, Refusal, Step},
    store::StoreFuture,
};

use crate::keys::Shared;

/// A decision that may have to be waited for.
///
/// It knows nothing of the request, only hashes and ids, so it can be boxed and sent whatever
/// the request's body is.
pub(crate) enum Deciding {
    /// Decided without asking anybody.
    Done(Option<Outcome>),
    Waiting(StoreFuture<'static, Outcome>),
}

impl Deciding {
    pub(crate) const fn done(outcome: Outcome) -> Self {
        Self::Done(Some(outcome))
    }

    pub(crate) fn new<K: KeyStore + 'static>(shared: &Arc<Shared<K>>, step: Step) -> Self {
        match step {
            Step::Done(outcome) => Self::done(outcome),
            waiting => {
                let shared = Arc::clone(shared);
                Self::Waiting(StoreFuture::new(async move { shared.decide(waiting).await }))
            }
        }
    }
}

impl Future for Deciding {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match &mut *self {
            // Asked again after its end it never is done: nothing passes that way.
            Self::Done(outcome) => outcome.take().map_or(Poll::Pending, Poll::Ready),
            Self::Waiting(waiting) => Pin::new(waiting).poll(context),
        }
    }
}

/// Whether the key still stands, under way.
pub(crate) fn recheck<K: KeyStore + 'static>(
    shared: &Arc<Shared<K>>,
    pending: PendingRecheck,
) -> StoreFuture<'static, Result<(), Box<Refusal>>> {
    let shared = Arc::clone(shared);
    StoreFuture::new(async move {
        let answer = shared.in_time(shared.store.find(pending.lookup())).await;
        let now = shared.clock.now();
        match answer {
            Ok(Ok(found)) => pending.found(found, now),
            Ok(Err(error)) => Err(Box::new(pending.failed(error, now))),
            Err(late) => Err(Box::new(pending.failed(late, now))),
        }
    })
}

impl<K: KeyStore> Shared<K> {
    async fn decide(&self, mut step: Step) -> Outcome {
        loop {
            step = match step {
                Step::Done(outcome) => return outcome,
                Step::Lookup(lookup) => {
                    let mut waiting = Waiting::new(&lookup, &*self.clock);
                    let answer = self.in_time(self.store.find(lookup.lookup())).await;
                    waiting.answered = true;
                    drop(waiting);
                    // The instant of the answer: a key that has expired meanwhile is refused.
                    let now = self.clock.now();
                    match answer {
                        Ok(Ok(found)) => lookup.found(found, now),
                        Ok(Err(error)) => return lookup.failed(error, now),
                        Err(late) => return lookup.failed(late, now),
                    }
                }
                Step::Charge(charge) => {
                    let now = self.clock.now();
                    let Some(limiter) = &self.limiter else {
                        return charge.failed(NoLimiter, now);
                    };
                    let answer = self.in_time(limiter.ask(&charge, now)).await;
                    let now = self.clock.now();
                    return match answer {
                        Ok(Ok(decision)) => charge.decided(decision, now),
                        Ok(Err(error)) => charge.failed(error, now),
                        Err(late) => charge.failed(late, now),
                    };
                }
            };
        }
    }

    /// What the future comes to within the deadline, if there is one.
    async fn in_time<T>(&self, future: impl Future<Output = T>) -> Result<T, TooLate> {
        match &self.deadline {
            None => Ok(future.await),
            Some(deadline) => deadline.race(future).await.ok_or(TooLate),
        }
    }
}

/// Counts an attempt that is dropped while its key is looked up: because its client has closed
/// the connection, or a timeout outside of the layer has run out. A store that panics is not
/// the client's doing.
struct Waiting<'w> {
    lookup: &'w PendingLookup,
    clock: &'w dyn Clock,
    answered: bool,
}

impl<'w> Waiting<'w> {
    const fn new(lookup: &'w PendingLookup, clock: &'w dyn Clock) -> Self {
        Self { lookup, clock, answered: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered && !std::thread::panicking() {
            self.lookup.abandoned(self.clock.now());
        }
    }
}

/// Why a request is refused with 503 where an answer was waited for.
#[derive(Clone, Copy, Debug)]
struct TooLate;

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer before the deadline")
    }
}

impl Error for TooLate {}

/// Why a request to a limited route is refused with 503 where nothing can be charged.
#[derive(Clone, Copy, Debug)]
struct NoLimiter;

impl fmt::Display for NoLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the route has limits, and neither the gate nor the layer has a limiter")
    }
}

impl Error for NoLimiter {}
