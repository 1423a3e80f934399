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
//! never makes it wrong.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use keyward::{
    Clock, KeyHasher, Timestamp,
    key::{Grace, KeyId, KeyRecord, KeyState},
    store::{Change, InsertError, Invalidate, KeyRegistry, Lookup, ReplaceError, StoredKey},
    verify::Verifier,
};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::support::{NOW, issue, lookup, secret};

pub(crate) const STALENESS: Duration = Duration::from_millis(250);
/// The caches' clock has whole milliseconds, so by it an entry can be this much younger.
const RESOLUTION: Duration = Duration::from_millis(1);
const READERS: usize = 6;
const WRITERS: usize = 4;

/// A monotonic clock for both caches and for the record.
pub(crate) struct Running(Instant);

impl Running {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }

    fn instant(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Clock for Running {
    fn now(&self) -> Timestamp {
        NOW + self.instant()
    }
}

/// A cache that is told of changes, with a record of when it was.
pub(crate) struct Told<K> {
    cache: Arc<K>,
    clock: Arc<Running>,
    heard: Arc<Mutex<Vec<(Change, Duration)>>>,
}

impl<K> Told<K> {
    pub(crate) fn new(cache: Arc<K>, clock: Arc<Running>) -> Self {
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
struct Call<T> {
    cache: usize,
    key: KeyId,
    began: Duration,
    ended: Duration,
    it: T,
}

/// What `find` and the verifier made of a secret.
struct Verified {
    lookup: Lookup,
    found: Option<StoredKey>,
    accepted: bool,
    now: Timestamp,
}

/// All that was done and seen.
#[derive(Default)]
pub(crate) struct History {
    verified: Vec<Call<Verified>>,
    /// What the registry answered, past the caches.
    got: Vec<Call<Option<KeyRecord>>>,
    /// Those that were acknowledged.
    written: Vec<Call<KeyRecord>>,
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

/// A key, with its secrets so far; the last ones may not be in the database yet.
struct Subject {
    id: KeyId,
    lookups: Mutex<Vec<Lookup>>,
}

struct Stage<K> {
    caches: [Arc<K>; 2],
    clock: Arc<Running>,
    subjects: Mutex<Vec<Arc<Subject>>>,
    history: Mutex<History>,
    stop: AtomicBool,
}

/// Lets tasks verify, rotate, suspend, revoke and expire through two caches for so long. The seed
/// fixes what each task chooses; how they overtake one another is up to the machine.
pub(crate) async fn record<K>(
    seed: u64,
    length: Duration,
    clock: Arc<Running>,
    caches: [Arc<K>; 2],
) -> History
where
    K: KeyRegistry + 'static,
{
    let stage = Arc::new(Stage {
        caches,
        clock,
        subjects: Mutex::default(),
        history: Mutex::default(),
        stop: AtomicBool::new(false),
    });
    stage.create(0).await;
    let rng = |task: usize| StdRng::seed_from_u64(seed * 1_000 + task as u64);
    let mut tasks = Vec::new();
    for task in 0..WRITERS {
        // With every other seed one cache writes nothing, so that nothing it does itself makes
        // it forget.
        let cache = if seed.is_multiple_of(2) { 0 } else { task % 2 };
        tasks.push(tokio::spawn(Arc::clone(&stage).write(cache, rng(task))));
    }
    for task in 0..READERS {
        tasks.push(tokio::spawn(Arc::clone(&stage).verify(task % 2, rng(WRITERS + task))));
    }
    tokio::time::sleep(length).await;
    stage.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    std::mem::take(&mut *stage.history.lock())
}

impl<K: KeyRegistry> Stage<K> {
    /// Mostly one of the latest.
    fn choose<T: Clone>(among: &[T], latest: usize, rng: &mut StdRng) -> Option<T> {
        let span = if rng.random_bool(0.8) { latest } else { latest * 4 };
        let from = among.len().saturating_sub(span);
        (from < among.len()).then(|| among[rng.random_range(from..among.len())].clone())
    }

    async fn verify(self: Arc<Self>, cache: usize, mut rng: StdRng) {
        let verifier = Verifier::new(KeyHasher::sha256());
        while !self.stop.load(Ordering::SeqCst) {
            let mut seen = Vec::new();
            for _ in 0..10 {
                let Some(subject) = Self::choose(&self.subjects.lock(), 3, &mut rng) else { break };
                let Some(lookup) = Self::choose(&subject.lookups.lock(), 2, &mut rng) else {
                    break;
                };
                let began = self.clock.instant();
                let found = self.caches[cache].find(&lookup).await.unwrap();
                let now = self.clock.now();
                let ended = self.clock.instant();
                let accepted = verifier.verify(&lookup, found.clone(), now).is_ok();
                let it = Verified { lookup, found, accepted, now };
                seen.push(Call { cache, key: subject.id, began, ended, it });
                tokio::task::yield_now().await;
            }
            self.history.lock().verified.append(&mut seen);
            // Time is a part of what is tested: the bound has to run out a few times.
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..3))).await;
        }
    }

    async fn write(self: Arc<Self>, cache: usize, mut rng: StdRng) {
        while !self.stop.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..10))).await;
            let chosen = Self::choose(&self.subjects.lock(), 2, &mut rng);
            let Some(subject) = chosen else { continue };
            let began = self.clock.instant();
            let got = self.caches[cache].get(subject.id).await.unwrap();
            let record = got.map(|found| found.record().clone());
            let ended = self.clock.instant();
            let (key, it) = (subject.id, record.clone());
            self.history.lock().got.push(Call { cache, key, began, ended, it });
            if rng.random_bool(0.5) {
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..4))).await;
            }
            let Some(record) = record else { continue };
            let Some(next) = self.change(&subject, &record, &mut rng) else {
                // It has ended, as a rule: then there is another.
                self.create(cache).await;
                continue;
            };
            let began = self.clock.instant();
            let replaced = self.caches[cache].replace(next.clone()).await;
            let ended = self.clock.instant();
            let mut history = self.history.lock();
            match replaced {
                Ok(()) => history.written.push(Call { cache, key, began, ended, it: next }),
                Err(ReplaceError::Conflict) => history.conflicts += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    fn change(&self, subject: &Subject, it: &KeyRecord, rng: &mut StdRng) -> Option<KeyRecord> {
        let now = self.clock.now();
        let fresh = || {
            let (secret, key) = secret(now);
            subject.lookups.lock().push(lookup(&key));
            secret
        };
        let millis = |rng: &mut StdRng| Duration::from_millis(rng.random_range(1..400));
        match rng.random_range(0..100) {
            0..40 => it.rotate(fresh(), Grace::new(millis(rng)).unwrap(), now).ok(),
            40..55 => it.rotate_now(fresh(), now).ok(),
            55..80 => it.suspend(now).or_else(|_| it.resume(now)).ok(),
            80..88 => it.expire_at(now + millis(rng), now).ok(),
            88..96 if it.state() == KeyState::Active => it.revoke(now).ok(),
            _ => None,
        }
    }

    async fn create(&self, cache: usize) {
        let (record, key) = issue("owner", self.clock.now());
        let (id, lookups) = (record.id(), Mutex::new(vec![lookup(&key)]));
        // Presented before it is there, so that it is held that it is not.
        self.subjects.lock().push(Arc::new(Subject { id, lookups }));
        tokio::task::yield_now().await;
        let began = self.clock.instant();
        let inserted: Result<(), InsertError<_>> = self.caches[cache].insert(record.clone()).await;
        inserted.unwrap();
        let ended = self.clock.instant();
        self.history.lock().written.push(Call { cache, key: id, began, ended, it: record });
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
