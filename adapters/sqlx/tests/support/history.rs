//! Histories of two caches over one database, and the sequential model they are checked against.
//!
//! Each call is recorded with the instants between which it ran, by one clock that the caches go
//! by too. What a call saw must be what some state of the database says, of those from the last
//! change that its cache had to know of when it began to the last that was begun when it ended.
//! A cache has to know of
//!
//! - what was written through it, once that write was acknowledged,
//! - what was announced to it, and
//! - what was acknowledged anywhere a whole staleness bound ago.
//!
//! Only recorded instants are compared, so that a slow machine makes a history say less, and
//! never makes it wrong. The calls themselves are made by `traffic.rs`, at random and on the
//! machine's clock, and by `script.rs`, step by step and on a clock that the script moves.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use keyward::{
    Clock, KeyHasher, KeyStore as _, Timestamp,
    key::{KeyId, KeyRecord, KeyState},
    store::{Change, Invalidate, KeyRegistry, Lookup, ReplaceError, StoredKey},
    verify::Verifier,
};
use keyward_cache::CachedStore;
use parking_lot::Mutex;

use crate::{naive::Naive, support::NOW};

pub(crate) const STALENESS: Duration = Duration::from_millis(250);
/// The caches' clock has whole milliseconds, so by it an entry can be this much younger.
pub(crate) const RESOLUTION: Duration = Duration::from_millis(1);

/// A monotonic clock for both caches and for the record.
pub(crate) enum Time {
    /// The machine's.
    Running(Instant),
    /// Stands still until a script moves it, but for a microsecond with each reading, so that
    /// no two instants are the same.
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
            Self::Running(_) => panic!("nobody moves the machine's clock"),
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

/// A cache that is told of changes, with a record of when it was.
pub(crate) struct Told<K> {
    cache: Arc<K>,
    clock: Arc<Time>,
    heard: Arc<Mutex<Vec<(Change, Duration)>>>,
}

impl<K> Told<K> {
    pub(crate) fn new(cache: Arc<K>, clock: Arc<Time>) -> Self {
        Self { cache, clock, heard: Arc::default() }
    }

    /// What it hears, in order.
    pub(crate) fn heard(&self) -> Arc<Mutex<Vec<(Change, Duration)>>> {
        Arc::clone(&self.heard)
    }
}

impl<K: Invalidate> Invalidate for Told<K> {
    fn invalidate(&self, change: &Change) {
        self.cache.invalidate(change);
        // From this instant on it is known, and not before.
        self.heard.lock().push((change.clone(), self.clock.instant()));
    }
}

/// A call and when it ran.
pub(crate) struct Call<T> {
    cache: usize,
    key: KeyId,
    began: Duration,
    ended: Duration,
    pub(crate) it: T,
}

/// What `find` and the verifier made of a secret.
pub(crate) struct Verified {
    lookup: Lookup,
    found: Option<StoredKey>,
    pub(crate) accepted: bool,
    now: Timestamp,
}

/// All that was done and seen.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) verified: Vec<Call<Verified>>,
    /// What the registry answered, past the caches.
    got: Vec<Call<Option<KeyRecord>>>,
    /// Those that were acknowledged.
    pub(crate) written: Vec<Call<KeyRecord>>,
    conflicts: usize,
    /// What was announced to each cache.
    pub(crate) heard: [Vec<(Change, Duration)>; 2],
}

/// What a history that is right shows.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) refused: usize,
    pub(crate) accepted: usize,
    pub(crate) written: usize,
    pub(crate) conflicts: usize,
    /// Of secrets that passed though a change that refuses them was acknowledged: for how long.
    pub(crate) late: Vec<Duration>,
    /// From the acknowledgement of a change to its announcement, where that came later.
    pub(crate) delays: Vec<Duration>,
}

/// A cache in front of a registry.
pub(crate) trait Cache: KeyRegistry {
    /// Finds a key in the registry and not in the cache.
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

/// Two caches, and a record of the calls that are made through them.
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

    /// Verifies a secret. The caller puts it on record.
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

    /// Says whether it was acknowledged; if not, another was first.
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

    pub(crate) fn has_written(&self, cache: usize, began: Duration, record: KeyRecord) {
        let ended = self.clock.instant();
        let key = record.id();
        self.history.lock().written.push(Call { cache, key, began, ended, it: record });
    }
}

/// A state of a key. The first, before it was inserted, has no record.
struct Version<'h> {
    record: Option<&'h KeyRecord>,
    began: Duration,
    ended: Duration,
    /// From when each cache knows of it.
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
    /// What the history shows, or what no sequential store with caches of the bound can show.
    pub(crate) fn check(&self) -> Result<Shown, String> {
        let mut keys = self.versions()?;
        let delays = self.announcements(&mut keys)?;
        let mut shown = Shown {
            written: self.written.len(),
            conflicts: self.conflicts,
            delays,
            ..Shown::default()
        };
        // Those that passed come first: it is they who do harm.
        let (accepted, refused): (Vec<_>, Vec<_>) =
            self.verified.iter().partition(|call| call.it.accepted);
        for call in accepted.into_iter().chain(refused) {
            let Some(versions) = keys.get(&call.key) else { continue };
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
                    "{} is read in revision {:?}, of {floor} and later",
                    call.key,
                    call.it.as_ref().map(KeyRecord::revision),
                ));
            }
        }
        Ok(shown)
    }

    /// The states of each key in their order, which is that of revisions.
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
                    "{}: revision {revision} is acknowledged, where {next} is next",
                    call.key
                ));
            }
            if versions.last().is_some_and(|before| call.ended < before.began) {
                return Err(format!("{}: revision {revision} before the one before it", call.key));
            }
            let mut known = [call.ended + STALENESS + RESOLUTION; 2];
            known[call.cache] = call.ended;
            let (began, ended) = (call.began, call.ended);
            versions.push(Version { record: Some(&call.it), began, ended, known });
        }
        Ok(keys)
    }

    /// Takes account of what was announced, and says how long it took.
    fn announcements(
        &self,
        keys: &mut HashMap<KeyId, Vec<Version<'_>>>,
    ) -> Result<Vec<Duration>, String> {
        let mut delays = Vec::new();
        for (cache, heard) in self.heard.iter().enumerate() {
            // The n-th that a key has changed is of its n-th revision; those of its hashes belong
            // to the same. After a lost connection the count is.
            let mut last: HashMap<KeyId, (usize, Duration)> = HashMap::new();
            let mut told: HashMap<(KeyId, usize), Duration> = HashMap::new();
            let mut connected =
                heard.iter().skip_while(|(it, _)| *it != Change::Everything).skip(1);
            while let Some((Change::Key { id, hashes }, at)) = connected.next() {
                let (revision, _) = last.entry(*id).or_default();
                *revision += usize::from(hashes.is_empty());
                told.insert((*id, *revision), *at);
            }
            for ((id, revision), at) in told {
                let Some(versions) = keys.get_mut(&id) else { continue };
                let Some(version) = versions.get_mut(revision) else {
                    return Err(format!("{id}: more changes are announced than made"));
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

/// For how long what it saw was not so any more, if an acknowledged change refuses what passed.
fn judge(call: &Call<Verified>, versions: &[Version<'_>]) -> Result<Option<Duration>, String> {
    let Verified { lookup, found, accepted, now } = &call.it;
    let floor = versions.iter().rposition(|it| it.known[call.cache] < call.began).unwrap_or(0);
    let revision = found.as_ref().map(|found| found.record().revision());
    let explained = versions[floor..].iter().any(|it| {
        let is_it = match found {
            Some(found) => it.record == Some(found.record()),
            None => !it.has(lookup),
        };
        it.began <= call.ended && is_it && it.accepts(lookup, *now) == *accepted
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
