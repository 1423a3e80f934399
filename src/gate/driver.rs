//! The driver of a decision: every wait for the store, the limiter and the deadline.

use std::{convert::Infallible, error::Error, fmt, future::Future, time::Duration};

use crate::{
    clock::{source::Clock, timer::Timer, timestamp::Timestamp},
    gate::{
        admission::Outcome,
        checked::CheckedRoute,
        pending::{PendingCharge, PendingLookup, Step},
        recheck::PendingRecheck,
        refusal::Refusal,
    },
    limit::decision::Decision,
    request::head::RequestHead,
    store::KeyStore,
};

/// Charges the limits of a request elsewhere, for example in a database that several hosts
/// share.
///
/// Every function `Fn(&PendingCharge, Timestamp) -> impl Future<Output = Result<Decision, E>>`
/// is one. The future need not be `Send`; if it is, so is that of the [`Driver`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not charge limits",
    note = "write a function `|charge: &PendingCharge, now| async move {{ … }}` that returns a \
            `Result<Decision, _>`"
)]
pub trait Charger {
    /// The error of this limiter. A request that meets one is refused with 503.
    type Error: Error + Send + Sync + 'static;

    /// Charges all limits of `charge`, or none of them.
    fn charge(
        &self,
        charge: &PendingCharge,
        now: Timestamp,
    ) -> impl Future<Output = Result<Decision, Self::Error>>;
}

impl<C, F, E> Charger for C
where
    C: Fn(&PendingCharge, Timestamp) -> F,
    F: Future<Output = Result<Decision, E>>,
    E: Error + Send + Sync + 'static,
{
    type Error = E;

    fn charge(
        &self,
        charge: &PendingCharge,
        now: Timestamp,
    ) -> impl Future<Output = Result<Decision, E>> {
        self(charge, now)
    }
}

/// The charger of a driver whose gate has a limiter, or whose routes have no limits. It does not
/// exist, so it charges nothing.
#[derive(Clone, Copy, Debug)]
pub enum NoCharger {}

impl Charger for NoCharger {
    type Error = Infallible;

    async fn charge(&self, _: &PendingCharge, _: Timestamp) -> Result<Decision, Infallible> {
        match *self {}
    }
}

/// Drives the steps of a [`Gate`](crate::gate::Gate) over a store, for adapters and for hosts
/// with waits of their own.
///
/// It contains what every host needs around an `await`, and no runtime:
///
/// - It reads the clock after each wait, so a key that expired meanwhile is refused.
/// - Past the [deadline](Driver::with_deadline) a request is refused with 503.
/// - A request that is dropped while its key is looked up counts as a failed attempt, where the
///   gate limits these. A store that fails, hangs past the deadline or panics does not.
/// - A route with limits is refused with 503 if neither the gate has a limiter nor the driver a
///   [charger](Driver::with_charger).
///
/// Its futures hold nothing of the request, only hashes and ids. They are `Send` if the charger
/// and its futures are, whatever the types of the host's framework.
///
/// ```
/// use std::{future::ready, time::Duration};
/// use keyward::{
///     Clock, Gate, KeyStore, Outcome, clock::Timer, gate::{CheckedRoute, Driver},
///     request::RequestHead,
/// };
///
/// async fn decide<H: RequestHead>(
///     gate: &Gate, route: &CheckedRoute, head: &H, store: &impl KeyStore, clock: &dyn Clock,
///     timer: &Timer, // Timer::new(tokio::time::sleep)
/// ) -> Outcome {
///     let driver = Driver::new(store, clock).with_deadline(Duration::from_secs(2), timer);
///     driver.drive(gate.begin(head, route, clock.now())).await
/// }
/// ```
#[must_use]
pub struct Driver<'d, S: ?Sized, C = NoCharger> {
    store: &'d S,
    clock: &'d dyn Clock,
    deadline: Option<(Duration, &'d Timer)>,
    charger: Option<&'d C>,
}

impl<'d, S: KeyStore + ?Sized> Driver<'d, S> {
    /// Creates a driver without a deadline and without a charger.
    pub const fn new(store: &'d S, clock: &'d dyn Clock) -> Self {
        Self { store, clock, deadline: None, charger: None }
    }
}

impl<'d, S: KeyStore + ?Sized, C: Charger> Driver<'d, S, C> {
    /// Refuses a request with 503 if the store, or the charger, takes longer than `after`. Each
    /// wait has the whole time.
    pub fn with_deadline(self, after: Duration, timer: &'d Timer) -> Self {
        Self { deadline: Some((after, timer)), ..self }
    }

    /// Charges the limits of routes with `charger`, for a gate without a limiter. With `None`, a
    /// route that such a gate would have to charge is refused with 503.
    pub fn with_charger<D: Charger>(self, charger: Option<&'d D>) -> Driver<'d, S, D> {
        let Self { store, clock, deadline, .. } = self;
        Driver { store, clock, deadline, charger }
    }

    /// Decides a request on `route`, by the gate that checked the route.
    ///
    /// The head is read before this returns.
    pub fn decide<H: RequestHead>(
        &self,
        head: &H,
        route: &CheckedRoute,
    ) -> impl Future<Output = Outcome> + use<'_, 'd, H, S, C> {
        let step = route.gate().begin(head, route, self.clock.now());
        self.drive(step)
    }

    /// Drives a request from `step` to its outcome.
    pub async fn drive(&self, mut step: Step) -> Outcome {
        loop {
            step = match step {
                Step::Done(outcome) => return outcome,
                Step::Lookup(pending) => self.look_up(pending).await,
                Step::Charge(pending) => return self.charge(pending).await,
            };
        }
    }

    /// Asks the store whether the key of an admitted request is still valid.
    ///
    /// # Errors
    ///
    /// As [`PendingRecheck::found`]; 503 if the store fails or misses the deadline.
    pub async fn recheck(&self, pending: PendingRecheck) -> Result<(), Box<Refusal>> {
        let found = self.in_time(self.store.find(pending.lookup())).await;
        let now = self.clock.now();
        match found {
            Ok(Ok(found)) => pending.found(found, now),
            Ok(Err(error)) => Err(Box::new(pending.failed(error, now))),
            Err(late) => Err(Box::new(pending.failed(late, now))),
        }
    }

    async fn look_up(&self, pending: PendingLookup) -> Step {
        let mut guard = DropGuard { pending: &pending, clock: self.clock, responded: false };
        let found = self.in_time(self.store.find(pending.lookup())).await;
        guard.responded = true;
        drop(guard);
        let now = self.clock.now();
        match found {
            Ok(Ok(found)) => pending.found(found, now),
            Ok(Err(error)) => Step::Done(pending.failed(error, now)),
            Err(late) => Step::Done(pending.failed(late, now)),
        }
    }

    async fn charge(&self, pending: PendingCharge) -> Outcome {
        let now = self.clock.now();
        let Some(charger) = self.charger else { return pending.without_limiter(now) };
        let decision = self.in_time(charger.charge(&pending, now)).await;
        let now = self.clock.now();
        match decision {
            Ok(Ok(decision)) => pending.decided(decision, now),
            Ok(Err(error)) => pending.failed(error, now),
            Err(late) => pending.failed(late, now),
        }
    }

    async fn in_time<T>(&self, future: impl Future<Output = T>) -> Result<T, TooLate> {
        match self.deadline {
            None => Ok(future.await),
            Some((after, timer)) => timer.race(after, future).await.ok_or(TooLate),
        }
    }
}

impl<S: ?Sized, C> fmt::Debug for Driver<'_, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("deadline", &self.deadline.map(|(after, _)| after))
            .field("has_charger", &self.charger.is_some())
            .finish_non_exhaustive()
    }
}

/// Counts an attempt that is dropped while its key is looked up, because its client closed the
/// connection or an outer timeout expired. A store that panics is not the client's doing.
struct DropGuard<'w> {
    pending: &'w PendingLookup,
    clock: &'w dyn Clock,
    responded: bool,
}

impl Drop for DropGuard<'_> {
    fn drop(&mut self) {
        if !self.responded && !std::thread::panicking() {
            self.pending.abandoned(self.clock.now());
        }
    }
}

/// The reason of a refusal with 503 at the deadline.
#[derive(Clone, Copy, Debug)]
struct TooLate;

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no response before the deadline")
    }
}

impl Error for TooLate {}
