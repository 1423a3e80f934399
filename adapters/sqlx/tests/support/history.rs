//! Histories of two caches over one database, and the sequential model that checks them.
//!
//! Each call is recorded with the times of its start and end, by the same clock that the caches
//! use. A result must match some state of the database, from the last change that its cache had to
//! know at the start of the call to the last change that was begun at its end. A cache has to know
//!
//! - every write through it, once that write was acknowledged,
//! - every announcement to it, and
//! - every change that was acknowledged anywhere a staleness bound ago.
//!
//! Only recorded times are compared, so a slow machine makes a history weaker and never wrong.
//! `traffic.rs` makes random calls on the machine's clock, and `script.rs` makes scripted calls on
//! a clock that the script moves.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use keyward::{
    Clock, KeyHasher, KeyStore as _, Timestamp,
    key::{KeyId, KeyRecord, KeyState, Owner, OwnerChange, OwnerId},
    store::{Change, Invalidate, KeyRegistry, Lookup, ReplaceError, StoredKey},
    verify::Verifier,
};
use keyward_cache::CachedStore;
use parking_lot::Mutex;

use crate::{naive::Naive, support::NOW};

/// The owner of all keys.
pub(crate) const OWNER: OwnerId = OwnerId::from_static("owner");
pub(crate) const STALENESS: Duration = Duration::from_millis(250);
/// The caches' clock has a resolution of one millisecond, so an entry can appear this much younger.
pub(crate) const RESOLUTION: Duration = Duration::from_millis(1);

/// A monotonic clock for the caches and for the recorded times.
pub(crate) enum Time {
    /// The machine's clock.
    Running(Instant),
    /// A clock that stands still until a script moves it, except for one microsecond per reading,
    /// so that no two times are equal.
    Driven(Mutex<Duration>),
}

impl Time {
    pub(crate) fn running() -> Arc<Self> {
        Arc::new(Self::Running(Instant::now()))
    }

    pub(crate) fn driven() -> Arc<Self> {
        Arc::new(Self::Driven(Mutex::default()))
    }

    pub(crate) fn advance(&self, by: Duration) {
        match self {
            Self::Running(_) => panic!("the machine's clock cannot be moved"),
            Self::Driven(instant) => *instant.lock() += by,
        }
    }

    pub(crate) fn instant(&self) -> Duration {
        match self {
            Self::Running(start) => start.elapsed(),
            Self::Driven(instant) => {
                let mut instant = instant.lock();
                *instant += Duration::from_micros(1);
                *instant
            }
        }
    }
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        NOW + self.instant()
    }
}

/// A cache that receives changes, with a record of their times.
pub(crate) struct Told<K> {
    cache: Arc<K>,
    clock: Arc<Time>,
    heard: Arc<Mutex<Vec<(Change, Duration)>>>,
}

impl<K> Told<K> {
    pub(crate) fn new(cache: Arc<K>, clock: Arc<Time>) -> Self {
        Self { cache, clock, heard: Arc::default() }
    }

    /// The received changes, in order.
    pub(crate) fn heard(&self) -> Arc<Mutex<Vec<(Change, Duration)>>> {
        Arc::clone(&self.heard)
    }
}

impl<K: Invalidate> Invalidate for Told<K> {
    fn invalidate(&self, change: &Change) {
        self.cache.invalidate(change);
        // The change is known from this time on, and not before.
        self.heard.lock().push((change.clone(), self.clock.instant()));
    }
}

/// A call with its start and end.
pub(crate) struct Call<T> {
    cache: usize,
    key: KeyId,
    began: Duration,
    ended: Duration,
    pub(crate) it: T,
}

/// A change of the owner, with its start and end.
struct OwnerCall {
    cache: usize,
    began: Duration,
    ended: Duration,
    it: Owner,
}

/// The results of `find` and of the verifier for a secret.
pub(crate) struct Verified {
    lookup: Lookup,
    found: Option<StoredKey>,
    pub(crate) accepted: bool,
    now: Timestamp,
}

/// All recorded calls and their results.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) verified: Vec<Call<Verified>>,
    /// The registry's results, without the caches.
    got: Vec<Call<Option<KeyRecord>>>,
    /// The acknowledged changes.
    pub(crate) written: Vec<Call<KeyRecord>>,
    /// The owner after each acknowledged change of it, in order: one task makes them.
    owners: Vec<OwnerCall>,
    conflicts: usize,
    /// The announcements to each cache.
    pub(crate) heard: [Vec<(Change, Duration)>; 2],
}

/// The observations in a correct history.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) refused: usize,
    pub(crate) accepted: usize,
    pub(crate) written: usize,
    pub(crate) conflicts: usize,
    /// For each secret that was accepted after a change that rejects it was acknowledged: how long
    /// after.
    pub(crate) late: Vec<Duration>,
    /// The time from the acknowledgement of a change to its announcement, where the latter was
    /// later.
    pub(crate) delays: Vec<Duration>,
}

/// A cache in front of a registry.
pub(crate) trait Cache: KeyRegistry {
    /// Finds a key in the registry, without the cache.
    fn find_past(&self, id: KeyId) -> impl Future<Output = Option<StoredKey>> + Send;
}

impl<S: KeyRegistry + 'static, C: Clock + 'static> Cache for CachedStore<S, C> {
    async fn find_past(&self, id: KeyId) -> Option<StoredKey> {
        self.inner().find_by_id(id).await.unwrap()
    }
}

impl<S: KeyRegistry, C: Clock> Cache for Naive<S, C> {
    async fn find_past(&self, id: KeyId) -> Option<StoredKey> {
        self.find_by_id(id).await.unwrap()
    }
}

/// Two caches, and a record of the calls through them.
pub(crate) struct Recorder<K> {
    caches: [Arc<K>; 2],
    pub(crate) clock: Arc<Time>,
    verifier: Verifier,
    pub(crate) history: Mutex<History>,
}

impl<K: Cache> Recorder<K> {
    pub(crate) fn new(clock: Arc<Time>, caches: [Arc<K>; 2]) -> Self {
        let verifier = Verifier::new(KeyHasher::sha256());
        Self { caches, clock, verifier, history: Mutex::default() }
    }

    /// Verifies a secret. The caller records the result.
    pub(crate) async fn verify(&self, cache: usize, key: KeyId, lookup: &Lookup) -> Call<Verified> {
        let began = self.clock.instant();
        let found = self.caches[cache].find(lookup).await.unwrap();
        let now = self.clock.now();
        let ended = self.clock.instant();
        let accepted = self.verifier.verify(lookup, found.clone(), now).is_ok();
        let it = Verified { lookup: lookup.clone(), found, accepted, now };
        Call { cache, key, began, ended, it }
    }

    pub(crate) async fn get(&self, cache: usize, key: KeyId) -> Option<KeyRecord> {
        let began = self.clock.instant();
        let got = self.caches[cache].find_past(key).await;
        let record = got.map(|found| found.record().clone());
        let ended = self.clock.instant();
        self.history.lock().got.push(Call { cache, key, began, ended, it: record.clone() });
        record
    }

    pub(crate) async fn insert(&self, cache: usize, record: KeyRecord) {
        let began = self.clock.instant();
        self.caches[cache].insert(record.clone()).await.unwrap();
        self.has_written(cache, began, record);
    }

    /// Returns whether the change was acknowledged; otherwise another change was first.
    pub(crate) async fn replace(&self, cache: usize, record: KeyRecord) -> bool {
        let began = self.clock.instant();
        match self.caches[cache].replace(record.clone()).await {
            Ok(()) => {
                self.has_written(cache, began, record);
                true
            }
            Err(ReplaceError::Conflict) => {
                self.history.lock().conflicts += 1;
                false
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Changes the owner. Only one task may do so.
    pub(crate) async fn change_owner(&self, cache: usize, change: OwnerChange) {
        let last = self.history.lock().owners.last().map(|call| call.it.clone());
        let it = last.unwrap_or_else(|| Owner::new(OWNER)).changed(change.clone());
        let began = self.clock.instant();
        self.caches[cache].change_owner(&OWNER, change).await.unwrap();
        let ended = self.clock.instant();
        self.history.lock().owners.push(OwnerCall { cache, began, ended, it });
    }

    pub(crate) fn has_written(&self, cache: usize, began: Duration, record: KeyRecord) {
        let ended = self.clock.instant();
        let key = record.id();
        self.history.lock().written.push(Call { cache, key, began, ended, it: record });
    }
}

/// A state of a key. The first state, before the insert, has no record.
struct Version<'h> {
    record: Option<&'h KeyRecord>,
    began: Duration,
    ended: Duration,
    /// The time from which each cache knows the state.
    known: [Duration; 2],
}

impl Version<'_> {
    fn has(&self, lookup: &Lookup) -> bool {
        self.record.is_some_and(|record| {
            let has = |held| lookup.hashes().any(|hash| *hash == held);
            has(record.current().hash) || record.retiring().iter().any(|it| has(it.secret.hash))
        })
    }

    fn accepts(&self, lookup: &Lookup, now: Timestamp) -> bool {
        self.record.is_some_and(|record| {
            let has = |held| lookup.hashes().any(|hash| *hash == held);
            let in_grace =
                record.retiring().iter().any(|it| has(it.secret.hash) && now < it.valid_until);
            let expired = record.expires_at().is_some_and(|at| at <= now);
            (has(record.current().hash) || in_grace)
                && !expired
                && record.state() == KeyState::Active
        })
    }
}

impl History {
    /// Returns the observations, or a violation that no sequential store with caches of this bound
    /// can produce.
    pub(crate) fn check(&self) -> Result<Shown, String> {
        let mut keys = self.versions()?;
        let delays = self.announcements(&mut keys)?;
        let mut shown = Shown {
            written: self.written.len(),
            conflicts: self.conflicts,
            delays,
            ..Shown::default()
        };
        // Accepted secrets come first, because these violations are harmful.
        let (accepted, refused): (Vec<_>, Vec<_>) =
            self.verified.iter().partition(|call| call.it.accepted);
        for call in accepted.into_iter().chain(refused) {
            let Some(versions) = keys.get(&call.key) else { continue };
            self.judge_owner(call)?;
            if let Some(late) = judge(call, versions)? {
                shown.late.push(late);
            }
            *(if call.it.accepted { &mut shown.accepted } else { &mut shown.refused }) += 1;
        }
        for call in &self.got {
            let Some(versions) = keys.get(&call.key) else { continue };
            let floor = versions.iter().rposition(|it| it.ended < call.began).unwrap_or(0);
            let explained =
                |it: &Version<'_>| it.began <= call.ended && it.record == call.it.as_ref();
            if !versions[floor..].iter().any(explained) {
                return Err(format!(
                    "{} was read in revision {:?}, expected {floor} or later",
                    call.key,
                    call.it.as_ref().map(KeyRecord::revision),
                ));
            }
        }
        Ok(shown)
    }

    /// Returns an error if the owner that was found is none that its cache may serve.
    fn judge_owner(&self, call: &Call<Verified>) -> Result<(), String> {
        let Some(found) = &call.it.found else { return Ok(()) };
        let known = |it: &OwnerCall| match it.cache == call.cache {
            true => it.ended,
            false => it.ended + STALENESS + RESOLUTION,
        };
        let floor = self.owners.iter().rposition(|it| known(it) < call.began);
        let first = Owner::new(OWNER);
        let never_put = floor.is_none().then_some(&first);
        let later = self.owners.iter().skip(floor.unwrap_or(0));
        let later = later.take_while(|it| it.began <= call.ended).map(|it| &it.it);
        if !never_put.into_iter().chain(later).any(|it| **found.owner() == *it) {
            return Err(format!(
                "an outdated owner through cache {}, after {floor:?}: {:?}",
                call.cache,
                found.owner()
            ));
        }
        Ok(())
    }

    /// Returns the states of each key in the order of their revisions.
    fn versions(&self) -> Result<HashMap<KeyId, Vec<Version<'_>>>, String> {
        let mut written: Vec<_> = self.written.iter().collect();
        written.sort_by_key(|call| (call.key, call.it.revision()));
        let mut keys: HashMap<_, Vec<Version<'_>>> = HashMap::new();
        for call in written {
            let known = [Duration::ZERO; 2];
            let absent =
                Version { record: None, began: Duration::ZERO, ended: Duration::ZERO, known };
            let versions = keys.entry(call.key).or_insert_with(|| vec![absent]);
            let (revision, next) = (call.it.revision(), versions.len() as u64);
            if revision != next {
                return Err(format!(
                    "{}: revision {revision} is acknowledged, expected {next}",
                    call.key
                ));
            }
            if versions.last().is_some_and(|before| call.ended < before.began) {
                return Err(format!("{}: revision {revision} before its predecessor", call.key));
            }
            let mut known = [call.ended + STALENESS + RESOLUTION; 2];
            known[call.cache] = call.ended;
            let (began, ended) = (call.began, call.ended);
            versions.push(Version { record: Some(&call.it), began, ended, known });
        }
        Ok(keys)
    }

    /// Records the time of each announcement, and returns the delays.
    fn announcements(
        &self,
        keys: &mut HashMap<KeyId, Vec<Version<'_>>>,
    ) -> Result<Vec<Duration>, String> {
        let mut delays = Vec::new();
        for (cache, heard) in self.heard.iter().enumerate() {
            // The n-th announcement of a key belongs to its n-th revision, and so do the ones of
            // its hashes. After a lost connection the count is meaningless.
            let mut last: HashMap<KeyId, (usize, Duration)> = HashMap::new();
            let mut told: HashMap<(KeyId, usize), Duration> = HashMap::new();
            let mut connected =
                heard.iter().skip_while(|(it, _)| *it != Change::Everything).skip(1);
            let mut of_keys =
                connected.by_ref().filter(|(it, _)| !matches!(it, Change::Owner { .. }));
            while let Some((Change::Key { id, hashes }, at)) = of_keys.next() {
                let (revision, _) = last.entry(*id).or_default();
                *revision += usize::from(hashes.is_empty());
                told.insert((*id, *revision), *at);
            }
            for ((id, revision), at) in told {
                let Some(versions) = keys.get_mut(&id) else { continue };
                let Some(version) = versions.get_mut(revision) else {
                    return Err(format!("{id}: more announcements than changes"));
                };
                if at < version.began {
                    return Err(format!("{id}: revision {revision} is announced too early"));
                }
                delays.push(at.saturating_sub(version.ended));
                version.known[cache] = version.known[cache].min(at);
            }
        }
        Ok(delays)
    }
}

/// Returns for how long the result was outdated, if an acknowledged change rejects the accepted
/// secret.
fn judge(call: &Call<Verified>, versions: &[Version<'_>]) -> Result<Option<Duration>, String> {
    let Verified { lookup, found, accepted, now } = &call.it;
    let floor = versions.iter().rposition(|it| it.known[call.cache] < call.began).unwrap_or(0);
    let revision = found.as_ref().map(|found| found.record().revision());
    let is_suspended = found.as_ref().is_some_and(|found| found.owner().state.is_suspended());
    let explained = versions[floor..].iter().any(|it| {
        let is_it = match found {
            Some(found) => it.record == Some(found.record()),
            None => !it.has(lookup),
        };
        let is_accepted = it.accepts(lookup, *now) && !is_suspended;
        it.began <= call.ended && is_it && is_accepted == *accepted
    });
    if !explained {
        return Err(format!(
            "{} in revision {revision:?} is {} through cache {}, which knows of revision {floor}, \
             {:?} after the next was acknowledged",
            call.key,
            if *accepted { "accepted" } else { "refused" },
            call.cache,
            versions
                .get(revision.map_or(1, |it| it as usize + 1))
                .map(|next| call.began.saturating_sub(next.ended)),
        ));
    }
    let passed = revision.filter(|_| *accepted).map_or(versions.len(), |it| it as usize + 1);
    let refusing = versions.get(passed..).into_iter().flatten();
    let refusing = refusing.filter(|it| it.ended < call.began && !it.accepts(lookup, *now));
    Ok(refusing.map(|it| call.began - it.ended).max())
}
