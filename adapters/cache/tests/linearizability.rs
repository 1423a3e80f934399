//! Histories of two caches over one store, checked against the sequential model.
//!
//! A seeded scheduler advances one task at a time, so that every interleaving of queries, writes,
//! announcements, cancellations and clock steps can occur and can be replayed. A result must match
//! some state of the store, from the last change that its cache had to know at the start of the
//! call up to the present. A cache has to know
//!
//! - every write through it, once the write has returned or was dropped,
//! - every announcement to it, and
//! - every change that is as old as the staleness bound.

#[path = "support/naive.rs"]
mod naive;
mod support;

use std::{
    collections::HashMap,
    convert::Infallible,
    env,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    thread,
    time::Duration,
};

use keyward::{
    Clock, KeyStore, ManualClock, MemoryStore, Timestamp,
    key::{
        Grace, KeyId, KeyRecord, KeyState, Owner, OwnerChange, OwnerId, OwnerState, Revocation,
        Tier,
    },
    store::{
        Change, InsertError, Invalidate, KeyRegistry, Listing, Lookup, OwnerListing,
        OwnerPageRequest, OwnerRemoval, PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
    verify::Verifier,
};
use keyward_cache::{CacheConfig, CachedStore};
use naive::{Mistake, Naive};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use support::{STALENESS, START, Task, World};

const OWNER: OwnerId = OwnerId::from_static("owner");
const KEYS: usize = 2;
const ACTORS: usize = 5;
const STEPS: usize = 1_200;

/// A committed version, in the store's order.
#[derive(Clone)]
struct Version<T> {
    is: T,
    at: Timestamp,
}

/// A store in which other tasks can run before and after each read and write.
struct Registry {
    store: MemoryStore,
    clock: Arc<ManualClock>,
    keys: Mutex<Vec<Vec<Version<KeyRecord>>>>,
    owner: Mutex<Vec<Version<Arc<Owner>>>>,
    /// The announcements in order, each with the number of versions of each key and owner.
    announced: Mutex<Vec<(Change, Known)>>,
}

/// The number of known versions of each key and of the owner.
#[derive(Clone, Default)]
struct Known {
    keys: [usize; KEYS],
    owner: usize,
}

async fn overtake() {
    let mut overtaken = false;
    poll_fn(|context| {
        if overtaken {
            return Poll::Ready(());
        }
        overtaken = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn index(id: KeyId) -> usize {
    usize::from(id.as_bytes()[15]) - 1
}

impl Registry {
    fn committed(&self) -> Known {
        let mut known = Known { owner: self.owner.lock().len() - 1, ..Known::default() };
        for (known, versions) in known.keys.iter_mut().zip(&*self.keys.lock()) {
            *known = versions.len() - 1;
        }
        known
    }

    fn announce(&self, change: Change) {
        let known = self.committed();
        self.announced.lock().push((change, known));
    }
}

impl Registry {
    /// Notes and announces a change that the store has just made.
    fn changed(&self, id: KeyId) {
        let Some(found) = self.store.find_by_id_sync(id) else { return };
        let version = Version { is: found.record().clone(), at: self.clock.now() };
        self.keys.lock()[index(id)].push(version);
        self.announce(Change::key(id));
    }

    /// Notes and announces a change of an owner that the store has just made.
    fn owner_changed(&self, id: OwnerId) {
        let Some(owner) = self.store.owner_sync(&id) else { return };
        self.owner.lock().push(Version { is: owner, at: self.clock.now() });
        self.announce(Change::owner(id));
    }
}

impl KeyStore for Registry {
    type Error = Infallible;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Infallible> {
        overtake().await;
        let found = self.store.find_sync(lookup);
        overtake().await;
        Ok(found)
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Infallible> {
        overtake().await;
        Ok(self.store.find_by_id_sync(id))
    }
}

impl KeyRegistry for Registry {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<Infallible>> {
        self.store.insert_at_sync(record, now)
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<Infallible>> {
        overtake().await;
        self.store.replace_sync(record.clone())?;
        let version = Version { is: record.clone(), at: self.clock.now() };
        self.keys.lock()[index(record.id())].push(version);
        self.announce(Change::record(&record));
        overtake().await;
        Ok(())
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> Result<Option<Withdrawn>, Infallible> {
        overtake().await;
        let done = self.store.revoke_sync(id, within, revocation);
        if done == Some(Withdrawn::Now) {
            self.changed(id);
        }
        overtake().await;
        Ok(done)
    }

    async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> Result<Vec<KeyId>, Infallible> {
        overtake().await;
        let revoked = self.store.revoke_all_sync(owner, revocation);
        revoked.iter().for_each(|id| self.changed(*id));
        overtake().await;
        Ok(revoked)
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Result<Option<Withdrawn>, Infallible> {
        overtake().await;
        let done = self.store.suspend_sync(id, within, now);
        if done == Some(Withdrawn::Now) {
            self.changed(id);
        }
        overtake().await;
        Ok(done)
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, Infallible> {
        Ok(self.store.purge_sync(ended_before, limit))
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, Infallible> {
        Ok(self.store.list_sync(owner, page))
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, Infallible> {
        Ok(self.store.list_all_sync(page))
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, Infallible> {
        Ok(self.store.owner_sync(id))
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), Infallible> {
        overtake().await;
        let id = owner.id.clone();
        self.store.put_owner_sync(owner);
        self.owner_changed(id);
        overtake().await;
        Ok(())
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> Result<OwnerListing, Infallible> {
        Ok(self.store.list_owners_sync(&page))
    }

    async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, Infallible> {
        Ok(self.store.remove_owner_sync(id))
    }

    async fn change_owner(&self, owner: &OwnerId, change: OwnerChange) -> Result<(), Infallible> {
        overtake().await;
        self.store.change_owner_sync(owner, change);
        self.owner_changed(owner.clone());
        overtake().await;
        Ok(())
    }
}

/// The observation of a caller.
struct Seen {
    accepted: bool,
    /// The owner and the revision of the found record.
    found: Option<(Arc<Owner>, u64)>,
    now: Timestamp,
}

enum Did {
    Saw(Seen),
    Wrote,
}

struct Actor<'a> {
    task: Task<'a, Did>,
    cache: usize,
    key: usize,
    secret: usize,
    lookup: Lookup,
    /// The versions that the cache had to know when the call began.
    floor: Known,
    /// For a `find`, the latest revision seen before.
    revision: u64,
    /// For a write of a key, the record that it writes.
    writes: Option<KeyRecord>,
    is_write: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Announcements {
    Delivered,
    Lost,
}

/// The sequential model: returns whether a key in this state accepts this secret. The state of its
/// owner comes on top.
fn accepts(record: &KeyRecord, lookup: &Lookup, now: Timestamp) -> bool {
    let has = |held| lookup.hashes().any(|hash| *hash == held);
    let current = has(record.current().hash);
    let in_grace = record.retiring().iter().any(|it| has(it.secret.hash) && now < it.valid_until);
    let expired = record.expires_at().is_some_and(|at| at <= now);
    (current || in_grace) && !expired && record.state() == KeyState::Active
}

/// Runs a history and returns its counts, or the first violation.
fn run<K: KeyRegistry + Invalidate>(
    seed: u64,
    monotone: bool,
    make: impl Fn(Arc<Registry>, Arc<ManualClock>) -> K,
) -> Result<[usize; 3], String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(seed);
    let clock = Arc::new(ManualClock::new(START));
    let registry = Arc::new(Registry {
        store: MemoryStore::new(),
        clock: Arc::clone(&clock),
        keys: Mutex::default(),
        owner: Mutex::new(vec![Version { is: Arc::new(Owner::new(OWNER)), at: START }]),
        announced: Mutex::default(),
    });
    let mut lookups: Vec<Vec<Lookup>> = Vec::new();
    for _ in 0..KEYS {
        let (record, lookup) = world.issue(OWNER.as_str(), START);
        registry.store.insert_sync(record.clone()).unwrap();
        registry.keys.lock().push(vec![Version { is: record, at: START }]);
        lookups.push(vec![lookup]);
    }
    let caches = [0, 1].map(|_| make(Arc::clone(&registry), Arc::clone(&clock)));
    let verifier = Verifier::new(world.hasher.clone());
    let announcements =
        if rng.random_bool(0.5) { Announcements::Delivered } else { Announcements::Lost };
    let mut known = [Known::default(), Known::default()];
    let mut delivered = [0, 0];
    let mut revisions = HashMap::new();
    let mut counts = [0; 3];
    let mut actors: [Option<Actor<'_>>; ACTORS] = Default::default();
    let raise = |known: &mut Known, to: &Known| {
        known.owner = known.owner.max(to.owner);
        known.keys.iter_mut().zip(to.keys).for_each(|(known, to)| *known = to.max(*known));
    };
    for step in 0..STEPS {
        match rng.random_range(0..100) {
            0..4 => clock.advance(Duration::from_millis(rng.random_range(1..1_500))),
            4..12 => {
                let cache = rng.random_range(0..2);
                let next = registry.announced.lock().get(delivered[cache]).cloned();
                if let (Some((change, then)), Announcements::Delivered) = (next, announcements) {
                    caches[cache].invalidate(&change);
                    raise(&mut known[cache], &then);
                    delivered[cache] += 1;
                }
            }
            12..14 => {
                // From here on the cache has to know everything that the write committed before it
                // was dropped.
                if let Some(mut actor) = actors[rng.random_range(0..ACTORS)].take() {
                    actor.task.cancel();
                    if actor.is_write && actor.task.has_begun() {
                        raise(&mut known[actor.cache], &mine(&registry, &actor));
                    }
                }
            }
            _ => {
                let at = rng.random_range(0..ACTORS);
                let Some(actor) = &mut actors[at] else {
                    actors[at] = Some(begin(
                        &mut rng,
                        &mut world,
                        &mut lookups,
                        &caches,
                        &registry,
                        &clock,
                        &verifier,
                        &known,
                        &revisions,
                    ));
                    continue;
                };
                let Some(did) = actor.task.poll() else { continue };
                let Some(actor) = actors[at].take() else { continue };
                match did {
                    Did::Wrote => {
                        raise(&mut known[actor.cache], &mine(&registry, &actor));
                        counts[2] += 1;
                    }
                    Did::Saw(seen) => {
                        counts[usize::from(seen.accepted)] += 1;
                        judge(&registry, &actor, &seen)
                            .map_err(|wrong| format!("seed {seed}, step {step}: {wrong}"))?;
                        let revision = seen.found.as_ref().map_or(0, |found| found.1);
                        if monotone && revision != 0 && revision < actor.revision {
                            return Err(format!(
                                "seed {seed}, step {step}: revision {revision} after {}",
                                actor.revision
                            ));
                        }
                        let place = (actor.cache, actor.key, actor.secret);
                        let seen = revisions.entry(place).or_insert(0);
                        *seen = revision.max(*seen);
                    }
                }
            }
        }
    }
    Ok(counts)
}

/// Returns the versions that a cache has to know after a write ended in any way: all versions of
/// the owner, and for a key the record of the write itself. (After a conflict, the cache knows that
/// another revision exists, but not its secret.)
fn mine(registry: &Registry, actor: &Actor<'_>) -> Known {
    let mut known = Known::default();
    match &actor.writes {
        None => known.owner = registry.committed().owner,
        Some(record) => {
            let keys = registry.keys.lock();
            let at = keys[actor.key].iter().rposition(|version| version.is == *record);
            known.keys[actor.key] = at.unwrap_or(0);
        }
    }
    known
}

fn judge(registry: &Registry, actor: &Actor<'_>, seen: &Seen) -> Result<(), String> {
    let keys = registry.keys.lock();
    let versions = &keys[actor.key][actor.floor.keys[actor.key]..];
    let owners = registry.owner.lock();
    let owners = &owners[actor.floor.owner..];
    if let Some((owner, _)) = &seen.found
        && !owners.iter().any(|it| it.is == *owner)
    {
        return Err(format!("an old owner through cache {}: {owner:?}", actor.cache));
    }
    // A key is accepted with the owner that was found, and refused with any of them.
    let of_active = |it: &Version<Arc<Owner>>| it.is.state == OwnerState::Active;
    let may_be_active = match &seen.found {
        Some((owner, _)) => owner.state == OwnerState::Active,
        None => owners.iter().any(of_active),
    };
    let explained = |it: &Version<KeyRecord>| {
        (may_be_active && accepts(&it.is, &actor.lookup, seen.now)) == seen.accepted
    };
    if !versions.iter().any(explained) {
        return Err(format!(
            "key {} (revision {:?}) {} through cache {}, which none of the last {} states explains",
            actor.key,
            seen.found.as_ref().map(|found| found.1),
            if seen.accepted { "accepted" } else { "refused" },
            actor.cache,
            versions.len(),
        ));
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the complete state of a simulation")]
fn begin<'a, K: KeyRegistry + Invalidate>(
    rng: &mut StdRng,
    world: &mut World,
    lookups: &mut [Vec<Lookup>],
    caches: &'a [K; 2],
    registry: &'a Registry,
    clock: &'a ManualClock,
    verifier: &'a Verifier,
    known: &[Known; 2],
    revisions: &HashMap<(usize, usize, usize), u64>,
) -> Actor<'a> {
    let (cache, key) = (rng.random_range(0..2), rng.random_range(0..KEYS));
    let now = clock.now();
    let mut floor = known[cache].clone();
    // A change that is older than the bound has to be known.
    let old = |at: Timestamp| at.saturating_add(STALENESS) <= now;
    for (key, versions) in registry.keys.lock().iter().enumerate() {
        let at = versions.iter().rposition(|it| old(it.at)).unwrap_or(0);
        floor.keys[key] = floor.keys[key].max(at);
    }
    let at = registry.owner.lock().iter().rposition(|it| old(it.at)).unwrap_or(0);
    floor.owner = floor.owner.max(at);

    // Mostly one of the latest secrets, so that many are accepted.
    let all = lookups[key].len();
    let from = if rng.random_bool(0.8) { all.saturating_sub(2) } else { 0 };
    let secret = rng.random_range(from..all);
    let lookup = lookups[key][secret].clone();
    let store = &caches[cache];
    let record = registry.keys.lock()[key].last().unwrap().is.clone();
    let alive = accepts_any(&record, now);
    let change = match rng.random_range(0..400) {
        0..12 if alive => {
            let (fresh, token) = world.secret(now);
            lookups[key].push(world.lookup(&token));
            let grace = Grace::new(Duration::from_millis(rng.random_range(1..4_000))).unwrap();
            record.rotate(fresh, grace, now).ok()
        }
        12..20 if alive => {
            let (fresh, token) = world.secret(now);
            lookups[key].push(world.lookup(&token));
            record.rotate_now(fresh, now).ok()
        }
        20..22 if alive => {
            let at = now + Duration::from_millis(rng.random_range(1..20_000));
            record.expire_at(at, now).ok()
        }
        22..38 if alive => record.suspend(now).or_else(|_| record.resume(now)).ok(),
        38 => record.revoke(now).ok(),
        draw @ 39..60 => {
            let tiers = [None, Some(Tier::from_static("higher")), Some(Tier::from_static("top"))];
            let tier = tiers[rng.random_range(0..3)].clone();
            let last = registry.owner.lock().last().unwrap().is.clone();
            let change = match draw {
                39..44 => None,
                44..50 => Some(OwnerChange::Tier(tier.clone())),
                50..53 => Some(OwnerChange::Suspend { now }),
                // Mostly active, so that many keys are accepted.
                _ if last.state == OwnerState::Active => Some(OwnerChange::KeyCap(Some(9))),
                _ => Some(OwnerChange::Resume),
            };
            let task = Task::new(async move {
                let _never = match change {
                    Some(change) => store.change_owner(&OWNER, change).await,
                    // What was read is written as a whole.
                    None => {
                        let mut owner = (*last).clone();
                        owner.tier = tier;
                        store.put_owner(owner).await
                    }
                };
                Did::Wrote
            });
            return Actor {
                task,
                cache,
                key,
                secret,
                lookup,
                floor,
                revision: 0,
                writes: None,
                is_write: true,
            };
        }
        _ => None,
    };
    if let Some(change) = change {
        let writes = Some(change.clone());
        let task = Task::new(async move {
            let _won_or_lost = store.replace(change).await;
            Did::Wrote
        });
        return Actor {
            task,
            cache,
            key,
            secret,
            lookup,
            floor,
            revision: 0,
            writes,
            is_write: true,
        };
    }
    let asked = lookup.clone();
    let task = Task::new(async move {
        let Ok(found) = store.find(&asked).await else { unreachable!("this store never fails") };
        let now = clock.now();
        let seen = found.as_ref().map(|it| (Arc::clone(it.owner()), it.record().revision()));
        let accepted = verifier.verify(&asked, found, now).is_ok();
        Did::Saw(Seen { accepted, found: seen, now })
    });
    let revision = revisions.get(&(cache, key, secret)).copied().unwrap_or(0);
    Actor { task, cache, key, secret, lookup, floor, revision, writes: None, is_write: false }
}

fn accepts_any(record: &KeyRecord, now: Timestamp) -> bool {
    record.ends_at().is_none_or(|at| now < at)
}

fn seeds(default: u64) -> impl Iterator<Item = u64> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("KEYWARD_SEED");
    let count = if first.is_some() { 1 } else { number("KEYWARD_SEQUENCES").unwrap_or(default) };
    let first = first.unwrap_or(1);
    first..first + count
}

fn naive(mistake: Mistake) -> impl Fn(Arc<Registry>, Arc<ManualClock>) -> Naive<Arc<Registry>> {
    move |registry, clock| Naive::new(registry, clock, STALENESS, mistake)
}

#[test]
fn two_caches_return_only_results_that_the_model_allows() {
    let mut counts = [0; 3];
    for seed in seeds(150) {
        let config = CacheConfig::new();
        let make = |registry, clock| CachedStore::with_config(registry, clock, config);
        let ran = run(seed, true, make).unwrap_or_else(|wrong| {
            panic!("{wrong}; KEYWARD_SEED={seed} reproduces it");
        });
        counts.iter_mut().zip(ran).for_each(|(all, some)| *all += some);
    }
    println!("refused, accepted, written: {counts:?}");
    if env::var_os("KEYWARD_SEED").is_none() {
        assert!(
            counts.iter().all(|count| *count > 1_000),
            "the histories cover too little: {counts:?}"
        );
    }
}

#[test]
fn the_simplest_correct_cache_passes() {
    for seed in seeds(50) {
        run(seed, false, naive(Mistake::None)).unwrap();
    }
}

/// Uses the same seeds on every machine. `schedules.rs` detects the same mistakes without a search.
#[test]
fn every_planted_mistake_is_detected() {
    let mistakes = [
        Mistake::NoGeneration,
        Mistake::NoInvalidationOnWrite,
        Mistake::NoInvalidationWhenCancelled,
        Mistake::AnnouncementsIgnored,
        Mistake::StalenessIgnored,
        Mistake::AgeFromTheAnswer,
        Mistake::OwnersIgnored,
        Mistake::OneSecretForgotten,
        Mistake::InvalidatesTooEarly,
    ];
    for mistake in mistakes {
        let found = (1..=3_000).find_map(|seed| run(seed, false, naive(mistake)).err());
        println!("{mistake:?}: {}", found.unwrap_or_else(|| panic!("{mistake:?} is not detected")));
    }
    let huge = CacheConfig::new().with_staleness(STALENESS * 1_000);
    let make = |registry, clock| CachedStore::with_config(registry, clock, huge);
    assert!(
        (1..=3_000).any(|seed| run(seed, false, make).is_err()),
        "a longer bound is not detected"
    );
}

/// The same with threads, without replay: every later `find` reflects the changes that a thread
/// knows to be complete.
#[test]
fn threads_never_accept_a_revoked_or_replaced_key() {
    let clock = Arc::new(ManualClock::new(START));
    for round in 0..200 {
        let mut world = World::new(round);
        let store = Arc::new(MemoryStore::new());
        let caches = [0, 1].map(|_| CachedStore::new(Arc::clone(&store), Arc::clone(&clock)));
        let (first, one) = world.issue("owner", START);
        store.insert_sync(first.clone()).unwrap();
        let (secret, token) = world.secret(START);
        let two = world.lookup(&token);
        let replaced = first.rotate_now(secret, START).unwrap();
        let revoked = replaced.revoke(START).unwrap();
        let verifier = Verifier::new(world.hasher.clone());
        // 0: as issued. 1: being replaced. 2: replaced. 3: being revoked. 4: revoked.
        let (phase, asked, stop) =
            (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for reader in 0..4 {
                let cache = &caches[reader % 2];
                let (verifier, one, two) = (&verifier, &one, &two);
                let (phase, asked, stop) = (&phase, &asked, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        for (lookup, is_first) in [(one, true), (two, false)] {
                            let before = phase.load(Ordering::SeqCst);
                            let found = pollster::block_on(cache.find(lookup)).unwrap();
                            let after = phase.load(Ordering::SeqCst);
                            let passes = verifier.verify(lookup, found, START).is_ok();
                            let must =
                                if is_first { after == 0 } else { before == 2 && after == 2 };
                            let may = if is_first { before < 2 } else { before < 4 && after > 0 };
                            assert!(passes || !must, "round {round}: refused in {before}..{after}");
                            assert!(!passes || may, "round {round}: passed in {before}..{after}");
                            asked.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            let wait = || {
                let until = asked.load(Ordering::SeqCst) + 40;
                while asked.load(Ordering::SeqCst) < until {
                    thread::yield_now();
                }
            };
            for (at, record) in [(1, replaced), (3, revoked)] {
                wait();
                phase.store(at, Ordering::SeqCst);
                let change = Change::record(&record);
                pollster::block_on(caches[0].replace(record)).unwrap();
                caches[1].invalidate(&change);
                phase.store(at + 1, Ordering::SeqCst);
            }
            wait();
            stop.store(true, Ordering::SeqCst);
        });
    }
}
