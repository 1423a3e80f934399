//! A limiter elsewhere, which charges the limits of a request.

use std::{convert::Infallible, error::Error, fmt, future::Future};

use crate::{
    clock::timestamp::Timestamp, gate::pending::PendingCharge, limit::decision::Decision,
    store::dyn_store::StoreFuture,
};

/// Charges the limits of a request elsewhere, for example in a database that several hosts
/// share.
///
/// Every function `Fn(&PendingCharge, Timestamp) -> impl Future<Output = Result<D, E>>` is one, where
/// `D` is a [`Decision`] or a [`Charge`]. The future need not be `Send`; if it is, so is that of the [`Driver`](crate::gate::Driver).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not charge limits",
    note = "write a function `|charge: &PendingCharge, now| async move {{ … }}` that returns a \
            `Result<Decision, _>` or a `Result<Charge, _>`"
)]
pub trait Charger {
    /// The error of this limiter. A request that meets one is refused with 503.
    type Error: Error + Send + Sync + 'static;

    /// Charges all limits of `charge`, or none of them.
    fn charge(
        &self,
        charge: &PendingCharge,
        now: Timestamp,
    ) -> impl Future<Output = Result<Charge, Self::Error>>;
}

impl<C, F, D, E> Charger for C
where
    C: Fn(&PendingCharge, Timestamp) -> F,
    F: Future<Output = Result<D, E>>,
    D: Into<Charge>,
    E: Error + Send + Sync + 'static,
{
    type Error = E;

    fn charge(
        &self,
        charge: &PendingCharge,
        now: Timestamp,
    ) -> impl Future<Output = Result<Charge, E>> {
        let charged = self(charge, now);
        async { charged.await.map(Into::into) }
    }
}

/// The charger of a driver whose gate has a limiter, or whose routes have no limits. It does not
/// exist, so it charges nothing.
#[derive(Clone, Copy, Debug)]
pub enum NoCharger {}

impl Charger for NoCharger {
    type Error = Infallible;

    async fn charge(&self, _: &PendingCharge, _: Timestamp) -> Result<Charge, Infallible> {
        match *self {}
    }
}

/// The decision of a [`Charger`], and how to take it back.
#[must_use = "a charge that is not handed to the gate decides nothing"]
pub struct Charge {
    pub(super) decision: Decision,
    pub(super) refund: Option<StoreFuture<'static, ()>>,
}

impl Charge {
    /// Adds what takes an admission back. It runs if the request is refused after all, because its key
    /// was revoked or has expired during the wait.
    pub fn with_refund(self, refund: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { refund: Some(StoreFuture::new(refund)), ..self }
    }

    /// Returns the decision.
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }
}

impl From<Decision> for Charge {
    fn from(decision: Decision) -> Self {
        Self { decision, refund: None }
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("decision", &self.decision)
            .field("has_refund", &self.refund.is_some())
            .finish()
    }
}
