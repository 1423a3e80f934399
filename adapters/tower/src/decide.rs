//! The futures of a decision, and of the second look after it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use keyward::{
    KeyStore, Outcome,
    gate::{CheckedRoute, PendingRecheck, Refusal, Step},
    store::StoreFuture,
};

use crate::shared::Shared;

/// A decision that may have to wait.
///
/// It contains nothing of the request, only hashes and ids, so it can be boxed and sent whatever
/// the body of the request is.
pub(crate) enum Deciding {
    /// Decided without a wait.
    Done(Option<Outcome>),
    /// A preflight that goes on undecided.
    Preflight,
    Waiting(StoreFuture<'static, Outcome>),
}

impl Deciding {
    const fn done(outcome: Outcome) -> Self {
        Self::Done(Some(outcome))
    }

    pub(crate) fn new<K: KeyStore + 'static>(
        shared: &Arc<Shared<K>>,
        route: &CheckedRoute,
        step: Step,
    ) -> Self {
        match step {
            Step::Done(outcome) if shared.due_rehash(&outcome).is_none() => Self::done(outcome),
            step => {
                let (shared, route) = (Arc::clone(shared), route.clone());
                Self::Waiting(StoreFuture::new(async move {
                    let outcome = shared.driver().drive(step).await;
                    rehashed(&shared, &route, outcome).await
                }))
            }
        }
    }
}

/// Saves the hash of an admitted key, if that is due. If the key may have changed during the wait, it is
/// found again: the outcome of a request is that of the record when its last long wait ends.
async fn rehashed<K: KeyStore + 'static>(
    shared: &Shared<K>,
    route: &CheckedRoute,
    outcome: Outcome,
) -> Outcome {
    let Some((rehasher, caller)) = shared.due_rehash(&outcome) else { return outcome };
    let (driver, asked) = (shared.driver(), shared.clock.now());
    let pending = shared.gate.recheck(&caller, route);
    let expires_at = caller.record().expires_at();
    let saved = rehasher.save(caller, &*shared.clock, shared.deadline.as_ref()).await;
    let expired = expires_at.is_some_and(|at| at <= shared.clock.now());
    if saved && !expired && !driver.waited_long(asked) {
        return outcome;
    }
    match driver.recheck(pending).await {
        Ok(()) => outcome,
        Err(refusal) => Outcome::Refused(*refusal),
    }
}

impl Future for Deciding {
    /// `None` is a preflight that goes on undecided.
    type Output = Option<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let outcome = match &mut *self {
            // Polled after its end it never completes, so nothing passes that way.
            Self::Done(outcome) => outcome.take().map_or(Poll::Pending, Poll::Ready),
            Self::Preflight => return Poll::Ready(None),
            Self::Waiting(waiting) => Pin::new(waiting).poll(context),
        };
        outcome.map(Some)
    }
}

/// Asks the store whether the key of a served request is still valid.
pub(crate) fn recheck<K: KeyStore + 'static>(
    shared: &Arc<Shared<K>>,
    pending: PendingRecheck,
) -> StoreFuture<'static, Result<(), Box<Refusal>>> {
    let shared = Arc::clone(shared);
    StoreFuture::new(async move { shared.driver().recheck(pending).await })
}
