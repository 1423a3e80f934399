//! Random traffic through two caches, on the machine's clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use keyward::{
    Clock as _,
    key::{Grace, KeyId, KeyRecord, KeyState, OwnerChange, Tier},
    store::Lookup,
};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    history::{Cache, History, OWNER, Recorder, Shown, Time},
    support::{issue, lookup, secret},
};

const READERS: usize = 6;
const WRITERS: usize = 4;
/// The time limit for enough observations, far longer than a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A key and its secrets; the latest ones may not be in the database yet.
struct Subject {
    id: KeyId,
    lookups: Mutex<Vec<Lookup>>,
}

struct Stage<K> {
    recorder: Recorder<K>,
    subjects: Mutex<Vec<Arc<Subject>>>,
    stop: AtomicBool,
}

impl Shown {
    /// The required observations: a history with too few proves nothing.
    pub(crate) fn is_enough(&self) -> bool {
        self.refused > 20 && self.accepted > 20 && self.written > 5
    }
}

/// Lets tasks verify, rotate, suspend, revoke and expire through two caches for the given time, and
/// until there are enough observations. The seed fixes the choices of each task; their interleaving
/// depends on the machine.
pub(crate) async fn record<K>(
    seed: u64,
    length: Duration,
    clock: Arc<Time>,
    caches: [Arc<K>; 2],
) -> History
where
    K: Cache + 'static,
{
    let stage = Arc::new(Stage {
        recorder: Recorder::new(clock, caches),
        subjects: Mutex::default(),
        stop: AtomicBool::new(false),
    });
    stage.create(0).await;
    let rng = |task: usize| StdRng::seed_from_u64(seed * 1_000 + task as u64);
    let mut tasks = Vec::new();
    for task in 0..WRITERS {
        // With every other seed one cache writes nothing, so that no write of its own invalidates
        // its entries.
        let cache = if seed.is_multiple_of(2) { 0 } else { task % 2 };
        tasks.push(tokio::spawn(Arc::clone(&stage).write(cache, rng(task))));
    }
    tasks.push(tokio::spawn(Arc::clone(&stage).administer(rng(WRITERS + READERS))));
    for task in 0..READERS {
        tasks.push(tokio::spawn(Arc::clone(&stage).verify(task % 2, rng(WRITERS + task))));
    }
    let began = Instant::now();
    tokio::time::sleep(length).await;
    while !stage.shown().is_enough() && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stage.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    std::mem::take(&mut *stage.recorder.history.lock())
}

impl<K: Cache> Stage<K> {
    /// Returns the current observations.
    fn shown(&self) -> Shown {
        let history = self.recorder.history.lock();
        let accepted = history.verified.iter().filter(|call| call.it.accepted).count();
        let refused = history.verified.len() - accepted;
        Shown { accepted, refused, written: history.written.len(), ..Shown::default() }
    }

    /// Mostly one of the latest.
    fn choose<T: Clone>(among: &[T], latest: usize, rng: &mut StdRng) -> Option<T> {
        let span = if rng.random_bool(0.8) { latest } else { latest * 4 };
        let from = among.len().saturating_sub(span);
        (from < among.len()).then(|| among[rng.random_range(from..among.len())].clone())
    }

    async fn verify(self: Arc<Self>, cache: usize, mut rng: StdRng) {
        while !self.stop.load(Ordering::SeqCst) {
            let mut seen = Vec::new();
            for _ in 0..10 {
                let Some(subject) = Self::choose(&self.subjects.lock(), 3, &mut rng) else { break };
                let Some(lookup) = Self::choose(&subject.lookups.lock(), 2, &mut rng) else {
                    break;
                };
                seen.push(self.recorder.verify(cache, subject.id, &lookup).await);
                tokio::task::yield_now().await;
            }
            self.recorder.history.lock().verified.append(&mut seen);
            // Real time is part of the test: the bound has to pass several times.
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..3))).await;
        }
    }

    async fn write(self: Arc<Self>, cache: usize, mut rng: StdRng) {
        while !self.stop.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..10))).await;
            let chosen = Self::choose(&self.subjects.lock(), 2, &mut rng);
            let Some(subject) = chosen else { continue };
            let record = self.recorder.get(cache, subject.id).await;
            if rng.random_bool(0.5) {
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..4))).await;
            }
            let Some(record) = record else { continue };
            let Some(next) = self.change(&subject, &record, &mut rng) else {
                // Usually the key has ended: create another one.
                self.create(cache).await;
                continue;
            };
            self.recorder.replace(cache, next).await;
        }
    }

    /// Changes the owner, which is mostly active.
    async fn administer(self: Arc<Self>, mut rng: StdRng) {
        let mut suspended = false;
        let tiers = [None, Some(Tier::from_static("higher"))];
        while !self.stop.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(1..40))).await;
            let now = self.recorder.clock.now();
            let change = match rng.random_range(0..4) {
                _ if suspended => OwnerChange::Resume,
                0 => OwnerChange::Suspend { now },
                1 => OwnerChange::KeyCap(Some(u32::MAX)),
                n => OwnerChange::Tier(tiers[n % 2].clone()),
            };
            suspended = matches!(change, OwnerChange::Suspend { .. });
            self.recorder.change_owner(rng.random_range(0..2), change).await;
        }
    }

    fn change(&self, subject: &Subject, it: &KeyRecord, rng: &mut StdRng) -> Option<KeyRecord> {
        let now = self.recorder.clock.now();
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
        let (record, key) = issue(OWNER.as_str(), self.recorder.clock.now());
        let (id, lookups) = (record.id(), Mutex::new(vec![lookup(&key)]));
        // Presented before its insert, so that the cache holds an absence.
        self.subjects.lock().push(Arc::new(Subject { id, lookups }));
        tokio::task::yield_now().await;
        self.recorder.insert(cache, record).await;
    }
}
