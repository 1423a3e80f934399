//! What the clones of a cache share, and how it reads.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::future::FutureExt;
use keyward::{
    Clock, KeyStore,
    key::KeyId,
    store::{Change, Lookup, StoredKey},
};

use crate::{
    CacheConfig, CachedError,
    changes::Changes,
    flights::{Flight, Flights, Landing, Number},
    held::{Absent, Answer, Known, ReadAt},
    question::Question,
    records::Records,
    secrets::Secrets,
    unknown::Unknown,
};

pub(crate) struct Inner<S: KeyStore, C> {
    pub(crate) store: S,
    pub(crate) clock: C,
    pub(crate) config: CacheConfig,
    pub(crate) changes: Changes,
    pub(crate) secrets: Secrets,
    pub(crate) records: Records,
    pub(crate) unknown: Unknown,
    pub(crate) flights: Flights<S::Error>,
}

/// How often a request reads again because a change came between the query and its end.
const ATTEMPTS: usize = 4;

impl<S: KeyStore, C: Clock> Inner<S, C> {
    pub(crate) fn new(store: S, clock: C, config: CacheConfig) -> Self {
        Self {
            store,
            clock,
            config,
            changes: Changes::new(),
            secrets: Secrets::new(config.max_secrets),
            records: Records::new(config.max_secrets),
            unknown: Unknown::new(config.max_unknown),
            flights: Flights::new(),
        }
    }

    /// Returns what is cached for a lookup: `Some(None)` if it is cached that there is no such
    /// key. It makes no query and waits for no lock.
    #[inline]
    pub(crate) fn held(&self, lookup: &Lookup) -> Option<Option<StoredKey>> {
        let now = || self.clock.now();
        for hash in lookup.hashes() {
            let found = self.secrets.get(hash, &self.changes, now, |known| known.found().clone());
            if found.is_some() {
                return Some(found);
            }
        }
        self.unknown.covers(lookup, &self.changes, now).then_some(None)
    }

    /// Returns the cached key with an id. That there is no key with an id is not cached.
    pub(crate) fn held_by_id(&self, id: KeyId) -> Option<StoredKey> {
        self.records.get(id, &self.changes, || self.clock.now())
    }

    /// Makes a query, or waits for the one in flight.
    ///
    /// What was read before a noted change is read again. After a few attempts during a burst of
    /// changes the last answer is returned. It was read during this call, so the store alone could
    /// have returned it.
    pub(crate) async fn read(
        self: &Arc<Self>,
        question: Question,
    ) -> Result<Option<StoredKey>, CachedError<S::Error>>
    where
        S: 'static,
        C: 'static,
    {
        for _ in 0..ATTEMPTS {
            let read = self.read_at();
            let joined = self.flights.join(&question, read, self.config.staleness);
            let mine = joined.is_none();
            let flight = joined.unwrap_or_else(|| {
                self.flights.begin(&question, read, |number| {
                    let query = Query { inner: Arc::clone(self), number };
                    Flight::new(query.run(question.clone(), read))
                })
            });
            match flight.await {
                Landing::Answered(answer) if self.may_serve(&answer, &question, mine) => {
                    return Ok(answer.into_found());
                }
                Landing::Answered(_) => {}
                Landing::Failed(error) => return Err(error),
                Landing::Panicked => break,
            }
        }
        let read = self.read_at();
        let found = self.ask(&question).await.map_err(CachedError::new)?;
        Ok(self.keep(&question, found, read).into_found())
    }

    async fn ask(&self, question: &Question) -> Result<Option<StoredKey>, S::Error> {
        match question {
            Question::Secret(lookup) => self.store.find(lookup).await,
            Question::Id(id) => self.store.find_by_id(*id).await,
        }
    }

    /// Reads the moment before the clock, so that a change between the two makes both old.
    fn read_at(&self) -> ReadAt {
        ReadAt { moment: self.changes.moment(), now: self.clock.now() }
    }

    /// Returns whether the result of a query may be served. The age of a request's own query does
    /// not matter, because it was sent during the call. Another's query may have been delayed for
    /// any time, for example together with the whole process.
    fn may_serve(&self, answer: &Answer, question: &Question, mine: bool) -> bool {
        let is_fresh = || match answer {
            Answer::Known(known) => known.serves(&self.changes, self.clock.now()),
            Answer::Absent(read) => read.is_fresh(self.config.staleness, self.clock.now()),
            Answer::Stray(_) => false,
        };
        answer.is_untouched(question, &self.changes) && (mine || is_fresh())
    }

    /// Caches what was read.
    fn keep(&self, question: &Question, found: Option<StoredKey>, read: ReadAt) -> Answer {
        let staleness = self.config.staleness;
        let Some(found) = found else {
            if let Question::Secret(lookup) = question {
                for hash in lookup.hashes() {
                    let absent = Absent::new(hash, read, staleness, &self.changes);
                    self.unknown.put(hash, absent);
                }
            }
            return Answer::Absent(read);
        };
        if !question.is_answered_by(&found) {
            return Answer::Stray(found);
        }
        let known = Arc::new(Known::new(found, read, staleness, &self.changes));
        let now = self.clock.now();
        self.secrets.put(&known, &self.changes, now);
        self.records.put(&known, &self.changes, now);
        Answer::Known(known)
    }

    /// Notes a change when the result is dropped, so that a write with an unknown outcome counts
    /// as made.
    pub(crate) fn when_done(&self, change: Change) -> WhenDone<'_> {
        WhenDone { changes: &self.changes, change: Some(change) }
    }
}

/// A query for all requests that wait for it. When it ends or is dropped, no request can join it.
struct Query<S: KeyStore, C: Clock> {
    inner: Arc<Inner<S, C>>,
    number: Number,
}

impl<S: KeyStore, C: Clock> Query<S, C> {
    async fn run(self, question: Question, read: ReadAt) -> Landing<S::Error> {
        match AssertUnwindSafe(self.inner.ask(&question)).catch_unwind().await {
            Ok(Ok(found)) => Landing::Answered(self.inner.keep(&question, found, read)),
            Ok(Err(error)) => Landing::Failed(CachedError::new(error)),
            Err(_panic) => Landing::Panicked,
        }
    }
}

impl<S: KeyStore, C: Clock> Drop for Query<S, C> {
    fn drop(&mut self) {
        self.inner.flights.end(self.number);
    }
}

/// A write in progress.
pub(crate) struct WhenDone<'c> {
    changes: &'c Changes,
    change: Option<Change>,
}

impl WhenDone<'_> {
    /// Notes these changes in place of the announced one: the outcome is known.
    pub(crate) fn only(mut self, changes: impl Iterator<Item = Change>) {
        changes.for_each(|change| self.changes.note(&change));
        self.change = None;
    }
}

impl Drop for WhenDone<'_> {
    fn drop(&mut self) {
        if let Some(change) = &self.change {
            self.changes.note(change);
        }
    }
}
