//! A limiter that is elsewhere.

use std::{error::Error, future::Future, sync::Arc};

use keyward::{
    Timestamp,
    gate::PendingCharge,
    limit::Decision,
    store::{StoreError, StoreFuture},
};

/// Asks the host's own limiter.
#[derive(Clone)]
pub(crate) struct RemoteLimiter(Arc<dyn Ask>);

impl RemoteLimiter {
    pub(crate) fn new<F, E>(
        decide: impl Fn(&PendingCharge, Timestamp) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Decision, E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        Self(Arc::new(move |charge: &PendingCharge, now| {
            let answer = decide(charge, now);
            StoreFuture::new(async { answer.await.map_err(StoreError::new) })
        }))
    }

    pub(crate) fn ask(
        &self,
        charge: &PendingCharge,
        now: Timestamp,
    ) -> StoreFuture<'static, Result<Decision, StoreError>> {
        self.0.ask(charge, now)
    }
}

/// A function of the host's whose future is boxed.
trait Ask: Send + Sync {
    fn ask(
        &self,
        charge: &PendingCharge,
        now: Timestamp,
    ) -> StoreFuture<'static, Result<Decision, StoreError>>;
}

impl<A> Ask for A
where
    A: Fn(&PendingCharge, Timestamp) -> StoreFuture<'static, Result<Decision, StoreError>>
        + Send
        + Sync,
{
    fn ask(
        &self,
        charge: &PendingCharge,
        now: Timestamp,
    ) -> StoreFuture<'static, Result<Decision, StoreError>> {
        self(charge, now)
    }
}
