//! A limiter of the host's own.

use std::{error::Error, future::Future, sync::Arc};

use keyward::{
    Timestamp,
    gate::{Charge, Charger, PendingCharge},
    store::{StoreError, StoreFuture},
};

type Charging = StoreFuture<'static, Result<Charge, StoreError>>;

/// The host's function that charges limits, with its future boxed.
#[derive(Clone)]
#[expect(clippy::type_complexity, reason = "this is where the type gets a name")]
pub(crate) struct RemoteLimiter(Arc<dyn Fn(&PendingCharge, Timestamp) -> Charging + Send + Sync>);

impl RemoteLimiter {
    pub(crate) fn new<F, D, E>(
        decide: impl Fn(&PendingCharge, Timestamp) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<D, E>> + Send + 'static,
        D: Into<Charge>,
        E: Error + Send + Sync + 'static,
    {
        Self(Arc::new(move |charge: &PendingCharge, now| {
            let decided = decide(charge, now);
            StoreFuture::new(async { decided.await.map(Into::into).map_err(StoreError::new) })
        }))
    }
}

impl Charger for RemoteLimiter {
    type Error = StoreError;

    fn charge(
        &self,
        charge: &PendingCharge,
        now: Timestamp,
    ) -> impl Future<Output = Result<Charge, StoreError>> {
        (self.0)(charge, now)
    }
}
