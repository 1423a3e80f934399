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
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// The time for which nothing is saved after another change came first. A cache may return the record
/// from before it for a while, and each request with the key would try in vain.
const PAUSE_AFTER_CONFLICT: Duration = Duration::from_secs(1);

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

    /// Saves the hash of a caller. Returns whether it was saved, so that nothing else has changed the
    /// record before.
    pub(crate) async fn save(
        &self,
        caller: KeyCaller,
        clock: &dyn Clock,
        deadline: Option<&(Duration, Timer)>,
    ) -> bool {
        let saving = (self.save)(caller, clock.now());
        let saved = match deadline {
            Some((after, timer)) => timer.race(*after, saving).await,
            None => Some(saving.await),
        };
        let pause = match saved {
            Some(Ok(true)) => return true,
            Some(Ok(false)) => PAUSE_AFTER_CONFLICT,
            Some(Err(error)) => {
                trace::not_rehashed(Some(&error));
                PAUSE_AFTER_FAILURE
            }
            None => {
                trace::not_rehashed(None);
                PAUSE_AFTER_FAILURE
            }
        };
        let end = clock.now() + pause;
        self.paused_until.fetch_max(end.as_unix_millis(), Ordering::Relaxed);
        false
    }
}

impl fmt::Debug for Rehasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rehasher").finish_non_exhaustive()
    }
}
