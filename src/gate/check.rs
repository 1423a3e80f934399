//! The drivers for hosts with the usual waits.

use std::{error::Error, sync::Arc};

use crate::{
    clock::{source::Clock, timestamp::Timestamp},
    gate::{
        admission::Outcome,
        checked::CheckedRoute,
        driver::Driver,
        pipeline::Gate,
        steps::{Attempt, Examined},
    },
    request::head::RequestHead,
    store::{KeyStore, lookup::Lookup, memory::MemoryStore, stored_key::StoredKey},
};

impl Gate {
    /// Decides a request over a store.
    ///
    /// The head is read before this returns, so the future is `Send` whatever the type of the
    /// request is. The clock is read again after the store has responded. For a deadline and
    /// for a limiter elsewhere, use a [`Driver`].
    ///
    /// A route with limits needs a gate with a limiter. Without one the response is 503.
    ///
    /// Where failed attempts are limited, a future that is dropped during the lookup counts as
    /// one.
    pub fn check<'g, H: RequestHead, S: KeyStore>(
        &self,
        head: &H,
        route: &CheckedRoute,
        store: &'g S,
        clock: &'g dyn Clock,
    ) -> impl Future<Output = Outcome> + Send + use<'g, H, S> {
        let step = self.begin(head, route, clock.now());
        async move { Driver::new(store, clock).drive(step).await }
    }

    /// Decides a request over any function that finds a key, without a future.
    ///
    /// The function may block: the clock is read again when it has returned. As for limits, see
    /// [`Gate::check`].
    pub fn check_with<H: RequestHead, E: Error + Send + Sync + 'static>(
        &self,
        head: &H,
        route: &CheckedRoute,
        find: impl FnOnce(&Lookup) -> Result<Option<StoredKey>, E>,
        clock: &dyn Clock,
    ) -> Outcome {
        match self.examine(head, route, clock.now()) {
            Examined::Done(outcome) => outcome,
            Examined::Lookup(attempt) => {
                let found = find(&attempt.lookup);
                let now = clock.now();
                match found {
                    Ok(found) => self.finish(route, attempt, found, now),
                    Err(error) => self.store_failed(route, &attempt, Arc::new(error), now),
                }
            }
        }
    }

    /// Decides a request over keys in memory, without a future and without a wait.
    ///
    /// As for limits, see [`Gate::check`].
    pub fn check_sync<H: RequestHead>(
        &self,
        head: &H,
        route: &CheckedRoute,
        store: &MemoryStore,
        now: Timestamp,
    ) -> Outcome {
        match self.examine(head, route, now) {
            Examined::Done(outcome) => outcome,
            Examined::Lookup(attempt) => {
                let found = store.find_sync(&attempt.lookup);
                self.finish(route, attempt, found, now)
            }
        }
    }

    fn finish(
        &self,
        route: &CheckedRoute,
        attempt: Attempt,
        found: Option<StoredKey>,
        now: Timestamp,
    ) -> Outcome {
        match self.authenticate(route, &attempt, found, now) {
            Ok(verified) => self.settle(route, attempt.charges, verified, now),
            Err(refusal) => Outcome::Refused(*refusal),
        }
    }
}
