//! The driver of a decision: every wait for the store, the limiter and the deadline.

use std::{error::Error, fmt, future::Future, time::Duration};

use crate::{
    clock::{source::Clock, timer::Timer, timestamp::Timestamp},
    gate::{
        admission::Outcome,
        charger::{Charge, Charger, NoCharger},
        checked::CheckedRoute,
        pending::{PendingCharge, PendingLookup, Step},
        recheck::PendingRecheck,
        refusal::Refusal,
    },
    request::head::RequestHead,
    store::KeyStore,
};

/// Drives the steps of a [`Gate`](crate::gate::Gate) over a store, for adapters and for hosts
/// with waits of their own.
///
/// It contains what every host needs around an `await`, and no runtime:
///
/// - It reads the clock after each wait, so a key that expired meanwhile is refused, and nothing is
///   counted at an instant that has passed.
/// - After a [long wait](Driver::with_recheck_after) for the charger it asks the store once more, by
///   the id of the key, and decides by the record that it finds then: its state, secrets, kind, scopes,
///   owner, tier and limits. A charge that does not fit it is refunded, unless the future is dropped
///   before that or the refund fails: then the request stays counted.
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
    recheck_after: Duration,
}

/// The wait for a charger after which a key is looked up again, unless the host sets another.
const RECHECK_AFTER: Duration = Duration::from_millis(100);

impl<'d, S: KeyStore + ?Sized> Driver<'d, S> {
    /// Creates a driver without a deadline and without a charger.
    pub const fn new(store: &'d S, clock: &'d dyn Clock) -> Self {
        Self { store, clock, deadline: None, charger: None, recheck_after: RECHECK_AFTER }
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
        let Self { store, clock, deadline, recheck_after, .. } = self;
        Driver { store, clock, deadline, charger, recheck_after }
    }

    /// Sets the wait for the charger after which the record of the key is found again, by its id. The
    /// default is 100 milliseconds. Expiry and grace are checked after every wait.
    pub const fn with_recheck_after(self, recheck_after: Duration) -> Self {
        Self { recheck_after, ..self }
    }

    /// Returns whether a wait that began at `asked` was so [long](Driver::with_recheck_after) that the
    /// record is to be found again. For waits of the host's own between the decision and the handler,
    /// which [`Driver::recheck`] follows.
    pub fn waited_long(&self, asked: Timestamp) -> bool {
        self.clock.now().saturating_since(asked) > self.recheck_after
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

    /// Asks the store whether the key of a request is still in force.
    ///
    /// # Errors
    ///
    /// As [`PendingRecheck::found`]; 503 if the store fails or misses the deadline.
    pub async fn recheck(&self, pending: PendingRecheck) -> Result<(), Box<Refusal>> {
        let found = self.in_time(self.store.find_by_id(pending.key_id())).await;
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

    /// Charges a request, once more if its record had other limits after a long wait.
    async fn charge(&self, mut pending: PendingCharge) -> Outcome {
        let Some(charger) = self.charger else {
            return pending.without_limiter(self.clock.now());
        };
        let route = pending.route().clone();
        for _ in 0..MAX_CHARGES {
            let asked = self.clock.now();
            let charged = self.in_time(charger.charge(&pending, asked)).await;
            let now = self.clock.now();
            let Charge { decision, refund } = match charged {
                Ok(Ok(charge)) => charge,
                Ok(Err(error)) => return pending.failed(error, now),
                Err(late) => return pending.failed(late, now),
            };
            let next = match self.judged(pending, asked, now).await {
                Ok(stands) => return stands.decided(decision, self.clock.now()),
                Err(next) => next,
            };
            if let (true, Some(refund)) = (decision.allowed, refund) {
                // As best it can: a refund that is late only leaves the request counted.
                let _late = self.in_time(refund).await;
            }
            pending = match *next {
                // The refund was a wait too.
                Step::Done(Outcome::Admitted(admission)) => {
                    return route.gate().still_admitted(&route, admission, self.clock.now());
                }
                Step::Done(outcome) => return outcome,
                Step::Charge(next) => next,
                // No charge leads back to a lookup.
                Step::Lookup(lookup) => return lookup.failed(Unsettled, self.clock.now()),
            };
        }
        pending.failed(Unsettled, self.clock.now())
    }

    /// Judges the decision of a charger at its arrival: by the clock alone, and after a long wait by the
    /// record too.
    async fn judged(
        &self,
        pending: PendingCharge,
        asked: Timestamp,
        now: Timestamp,
    ) -> Result<PendingCharge, Box<Step>> {
        if let Err(refusal) = pending.still_in_force(now) {
            return Err(Box::new(Step::Done(Outcome::Refused(*refusal))));
        }
        if now.saturating_since(asked) <= self.recheck_after {
            return Ok(pending);
        }
        let found = self.in_time(self.store.find_by_id(pending.key_id())).await;
        let now = self.clock.now();
        let failed = |outcome| Err(Box::new(Step::Done(outcome)));
        match found {
            Ok(Ok(found)) => pending.found(found, now),
            Ok(Err(error)) => failed(pending.store_failed(error, now)),
            Err(late) => failed(pending.store_failed(late, now)),
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

/// The largest number of charges of one request, each after a record with other limits.
const MAX_CHARGES: usize = 3;

/// The reason of a refusal with 503 if each of several long waits found a record with other limits.
#[derive(Clone, Copy, Debug)]
struct Unsettled;

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the limits of the key changed during each of several long waits")
    }
}

impl Error for Unsettled {}

/// The reason of a refusal with 503 at the deadline.
#[derive(Clone, Copy, Debug)]
struct TooLate;

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no response before the deadline")
    }
}

impl Error for TooLate {}
