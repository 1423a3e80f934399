//! Saving the hash of an admitted key under the current scheme.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyward::{
    Clock, Outcome, Timestamp,
    clock::Timer,
    store::{StoreError, StoreFuture},
    verify::KeyCaller,
};

use crate::trace;

/// The time for which nothing is saved after a failure, so that a store which cannot be written
/// does not slow down every request.
const PAUSE: Duration = Duration::from_secs(60);

pub(crate) type Saving = StoreFuture<'static, Result<bool, StoreError>>;

/// Saves the hashes of admitted keys. Clones share the pause.
#[derive(Clone)]
pub(crate) struct Rehasher {
    save: Arc<dyn Fn(KeyCaller, Timestamp) -> Saving + Send + Sync>,
    /// The end of the pause in Unix milliseconds.
    paused_until: Arc<AtomicU64>,
}

impl Rehasher {
    pub(crate) fn new(
        save: impl Fn(KeyCaller, Timestamp) -> Saving + Send + Sync + 'static,
    ) -> Self {
        Self { save: Arc::new(save), paused_until: Arc::default() }
    }

    /// Returns the caller whose hash is to be saved now.
    pub(crate) fn due(&self, outcome: &Outcome, now: Timestamp) -> Option<KeyCaller> {
        let Outcome::Admitted(admission) = outcome else { return None };
        let caller = admission.caller();
        caller.rehash()?;
        let is_paused = now.as_unix_millis() < self.paused_until.load(Ordering::Relaxed);
        (!is_paused).then(|| caller.clone())
    }

    /// Saves the hash of a caller.
    pub(crate) async fn save(
        &self,
        caller: KeyCaller,
        clock: &dyn Clock,
        deadline: Option<&(Duration, Timer)>,
    ) {
        let saving = (self.save)(caller, clock.now());
        let saved = match deadline {
            Some((after, timer)) => timer.race(*after, saving).await,
            None => Some(saving.await),
        };
        let error = match saved {
            Some(Ok(_)) => return,
            Some(Err(error)) => Some(error),
            None => None,
        };
        let end = clock.now() + PAUSE;
        self.paused_until.store(end.as_unix_millis(), Ordering::Relaxed);
        trace::not_rehashed(error.as_ref());
    }
}

impl fmt::Debug for Rehasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rehasher").finish_non_exhaustive()
    }
}
