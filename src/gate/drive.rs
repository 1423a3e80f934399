//! Driving a gate's steps, for hosts with the usual waits.

use std::{convert::Infallible, error::Error, sync::Arc};

use crate::{
    clock::timestamp::Timestamp,
    gate::{
        admission::Outcome,
        pending::PendingRecheck,
        pipeline::{Asked, Begun, Gate},
        refusal::Refusal,
        route::Route,
    },
    request::head::RequestHead,
    store::{KeyStore, StoredKey, lookup::Lookup, memory::MemoryStore},
};

impl Gate {
    /// Decides a request over a store.
    ///
    /// The head is read before this returns and not kept, so the future can be sent whatever
    /// the request is. The whole request is judged by one `now`, the instant at which it
    /// came; a host with a slow store that would rather have it judged by when the store
    /// answered takes the steps of [`Gate::begin`].
    ///
    /// A route with limits needs a gate with a limiter: without one the answer is 503.
    ///
    /// Where failed attempts are limited, a future that is dropped while the store is asked
    /// counts as one.
    pub fn check<'g, H: RequestHead, S: KeyStore>(
        &'g self,
        head: &H,
        route: &'g Route,
        store: &'g S,
        now: Timestamp,
    ) -> impl Future<Output = Outcome> + Send + use<'g, H, S> {
        let begun = self.ask(head, route, now);
        async move {
            match begun {
                Begun::Done(outcome) => outcome,
                Begun::Lookup(asked) => {
                    let mut waiting = Waiting { gate: self, asked: &asked, now, answered: false };
                    let found = store.find(&asked.lookup).await;
                    waiting.answered = true;
                    match found {
                        Ok(found) => self.finish(route, &asked, found, now),
                        Err(error) => self.not_found(route, &asked, Arc::new(error), now),
                    }
                }
            }
        }
    }

    /// Decides a request over any way to find a key, without a future.
    ///
    /// As for limits, see [`Gate::check`].
    pub fn check_with<H: RequestHead, E: Error + Send + Sync + 'static>(
        &self,
        head: &H,
        route: &Route,
        find: impl FnOnce(&Lookup) -> Result<Option<StoredKey>, E>,
        now: Timestamp,
    ) -> Outcome {
        match self.ask(head, route, now) {
            Begun::Done(outcome) => outcome,
            Begun::Lookup(asked) => match find(&asked.lookup) {
                Ok(found) => self.finish(route, &asked, found, now),
                Err(error) => self.not_found(route, &asked, Arc::new(error), now),
            },
        }
    }

    /// Decides a request over keys in memory, without a future.
    ///
    /// As for limits, see [`Gate::check`].
    pub fn check_sync<H: RequestHead>(
        &self,
        head: &H,
        route: &Route,
        store: &MemoryStore,
        now: Timestamp,
    ) -> Outcome {
        let find = |lookup: &Lookup| Ok::<_, Infallible>(store.find_sync(lookup));
        self.check_with(head, route, find, now)
    }

    fn finish(
        &self,
        route: &Route,
        asked: &Asked,
        found: Option<StoredKey>,
        now: Timestamp,
    ) -> Outcome {
        match self.authenticate(route, asked, found, now) {
            Ok(verified) => self.settle(route, verified, now),
            Err(refusal) => Outcome::Refused(*refusal),
        }
    }
}

/// Counts an attempt whose future is dropped while its key is looked up. A store that panics
/// is not the client's doing.
struct Waiting<'w> {
    gate: &'w Gate,
    asked: &'w Asked,
    now: Timestamp,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered && !std::thread::panicking() {
            self.gate.abandoned(self.asked, self.now);
        }
    }
}

impl PendingRecheck {
    /// Asks a store.
    ///
    /// # Errors
    ///
    /// As [`PendingRecheck::found`]; 503 if the store fails.
    pub async fn check<S: KeyStore>(self, store: &S, now: Timestamp) -> Result<(), Box<Refusal>> {
        match store.find(self.lookup()).await {
            Ok(found) => self.found(found, now),
            Err(error) => Err(Box::new(self.failed(error, now))),
        }
    }
}
