//! The usage ledger neither loses usage nor counts it twice: compared with a naive map, and with
//! several threads. The same checks detect ledgers with planted bugs.

use std::{
    collections::BTreeMap,
    sync::{
        Barrier, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use keyward::{
    Timestamp,
    key::KeyId,
    usage::{Usage, UsageBatch, UsageLedger, UsageSpan},
};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

/// The tested operations of a ledger, so that a ledger with a planted bug can replace it.
trait Ledger: Sync {
    fn record(&self, id: KeyId, now: Timestamp) -> bool;
    fn drain(&self, limit: usize) -> UsageBatch;
    fn give_back(&self, batch: UsageBatch) -> UsageBatch;
    fn get(&self, id: KeyId) -> Usage;
    fn len(&self) -> usize;
    fn uncounted(&self) -> u64;
}

impl Ledger for UsageLedger {
    fn record(&self, id: KeyId, now: Timestamp) -> bool {
        self.record(id, now)
    }

    fn drain(&self, limit: usize) -> UsageBatch {
        self.drain(limit)
    }

    fn give_back(&self, batch: UsageBatch) -> UsageBatch {
        self.give_back(batch)
    }

    fn get(&self, id: KeyId) -> Usage {
        self.get(id)
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn uncounted(&self) -> u64 {
        self.uncounted()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    DrainLeavesCopies,
    DrainIgnoresTheLimit,
    DrainReadsThenClears,
    DrainTakesTheLowestIdsFirst,
    GiveBackReplaces,
    GiveBackDropsWhatHasNoPlace,
    GiveBackIgnoresTheBound,
    TheLastRecordIsTheLastUse,
    RefusedRequestsAreForgotten,
    KnownKeysAreRefusedWhenFull,
    CountsWrap,
}

/// A map behind one lock.
struct Planted {
    fault: Fault,
    max_keys: usize,
    map: Mutex<BTreeMap<KeyId, Usage>>,
    uncounted: AtomicU64,
    turn: AtomicUsize,
    /// Where a drain waits after it has read and released the lock: once for another thread to
    /// arrive, and again until that thread has recorded usage.
    meeting: Option<Barrier>,
}

impl Planted {
    fn new(fault: Fault, max_keys: usize) -> Self {
        let (map, uncounted, turn) = Default::default();
        Self { fault, max_keys, map, uncounted, turn, meeting: None }
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<KeyId, Usage>> {
        self.map.lock().unwrap()
    }

    fn meet(&self) {
        self.meeting.iter().for_each(|meeting| {
            meeting.wait();
        });
    }

    fn add(&self, id: KeyId, usage: Usage) -> bool {
        let mut map = self.map();
        let full = map.len() >= self.max_keys;
        let Some(counted) = map.get_mut(&id) else {
            if !full {
                map.insert(id, usage);
            }
            return !full;
        };
        if full && self.fault == Fault::KnownKeysAreRefusedWhenFull {
            return false;
        }
        let merged = counted.merge(usage);
        *counted = match self.fault {
            Fault::TheLastRecordIsTheLastUse => Usage::new(merged.requests, usage.last_used_at),
            Fault::CountsWrap => {
                let requests = counted.requests.wrapping_add(usage.requests);
                Usage::new(requests, merged.last_used_at)
            }
            _ => merged,
        };
        true
    }
}

impl Ledger for Planted {
    fn record(&self, id: KeyId, now: Timestamp) -> bool {
        let counted = self.add(id, Usage::new(1, Some(now)));
        if !counted && self.fault != Fault::RefusedRequestsAreForgotten {
            self.uncounted.fetch_add(1, Ordering::Relaxed);
        }
        counted
    }

    fn drain(&self, limit: usize) -> UsageBatch {
        let mut map = self.map();
        // Takes turns, so that this map is as fair as the ledger.
        let turn = match self.fault {
            Fault::DrainTakesTheLowestIdsFirst => 0,
            _ => self.turn.fetch_add(1, Ordering::Relaxed) % map.len().max(1),
        };
        let limit = if self.fault == Fault::DrainIgnoresTheLimit { usize::MAX } else { limit };
        let ids: Vec<KeyId> =
            map.keys().cycle().skip(turn).take(limit.min(map.len())).copied().collect();
        let batch: UsageBatch = ids.iter().map(|id| (*id, map[id])).collect();
        let clear = |map: &mut BTreeMap<KeyId, Usage>| map.retain(|id, _| !ids.contains(id));
        if !matches!(self.fault, Fault::DrainLeavesCopies | Fault::DrainReadsThenClears) {
            clear(&mut map);
        }
        drop(map);
        self.meet();
        self.meet();
        if self.fault == Fault::DrainReadsThenClears {
            clear(&mut self.map());
        }
        batch
    }

    fn give_back(&self, batch: UsageBatch) -> UsageBatch {
        let used = |(_, usage): &(KeyId, Usage)| *usage != Usage::default();
        let batch: UsageBatch = batch.into_iter().filter(used).collect();
        match self.fault {
            Fault::GiveBackIgnoresTheBound => {
                let mut map = self.map();
                for (id, usage) in batch {
                    let counted = map.entry(id).or_default();
                    *counted = counted.merge(usage);
                }
                UsageBatch::default()
            }
            Fault::GiveBackReplaces => {
                self.map().retain(|id, _| batch.iter().all(|(given, _)| given != *id));
                batch.into_iter().filter(|&(id, usage)| !self.add(id, usage)).collect()
            }
            _ => {
                let left: UsageBatch =
                    batch.into_iter().filter(|&(id, usage)| !self.add(id, usage)).collect();
                let dropped = self.fault == Fault::GiveBackDropsWhatHasNoPlace;
                if dropped { UsageBatch::default() } else { left }
            }
        }
    }

    fn get(&self, id: KeyId) -> Usage {
        self.map().get(&id).copied().unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.map().len()
    }

    fn uncounted(&self) -> u64 {
        self.uncounted.load(Ordering::Relaxed)
    }
}

// ---------------------------------------------------------------------------------------
// Against a naive map.

#[derive(Clone, Debug)]
enum Step {
    Record {
        key: u8,
        at: u64,
    },
    Drain {
        limit: usize,
    },
    /// Gives back one of the held batches, counted from the oldest.
    GiveBack {
        batch: usize,
    },
    /// Gives back a batch that the host built itself.
    GiveBackOwn {
        key: u8,
        usage: Usage,
    },
}

const KEYS: u8 = 8;

fn id(key: u8) -> KeyId {
    KeyId::from_bytes([key; 16])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let requests = prop_oneof![0..3_u64, Just(u64::MAX - 1), Just(u64::MAX)];
    let at = || (0..100_u64).prop_map(Timestamp::from_unix_millis);
    let usage =
        (requests, prop::option::of(at())).prop_map(|(requests, last)| Usage::new(requests, last));
    let step = prop_oneof![
        6 => (0..KEYS, 0..100_u64).prop_map(|(key, at)| Step::Record { key, at }),
        2 => (0..5_usize).prop_map(|limit| Step::Drain { limit }),
        2 => (0..4_usize).prop_map(|batch| Step::GiveBack { batch }),
        1 => (0..KEYS, usage).prop_map(|(key, usage)| Step::GiveBackOwn { key, usage }),
    ];
    prop::collection::vec(step, 0..60)
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

/// The model: usage that was recorded and not drained, by key.
#[derive(Default)]
struct Model {
    counted: BTreeMap<KeyId, Usage>,
    uncounted: u64,
    max_keys: usize,
}

impl Model {
    fn add(&mut self, id: KeyId, requests: u64, last: Option<Timestamp>) -> bool {
        if !self.counted.contains_key(&id) && self.counted.len() >= self.max_keys {
            return false;
        }
        let usage = self.counted.entry(id).or_default();
        usage.requests = usage.requests.saturating_add(requests);
        if usage.last_used_at < last {
            usage.last_used_at = last;
        }
        true
    }

    /// A ledger takes usage back in the order of the batch and returns the part that does not fit.
    fn give_back(&mut self, batch: &UsageBatch) -> Vec<(KeyId, Usage)> {
        let used = batch.iter().filter(|(_, usage)| *usage != Usage::default());
        used.filter(|(id, usage)| !self.add(*id, usage.requests, usage.last_used_at)).collect()
    }
}

fn follows_the_model(ledger: &impl Ledger, max_keys: usize, steps: &[Step]) -> Result<(), String> {
    let mut model = Model { max_keys, ..Model::default() };
    let mut held: Vec<UsageBatch> = Vec::new();
    for step in steps {
        match *step {
            Step::Record { key, at } => {
                let now = Timestamp::from_unix_millis(at);
                let expected = model.add(id(key), 1, Some(now));
                model.uncounted += u64::from(!expected);
                let counted = ledger.record(id(key), now);
                ensure!(counted == expected, "{step:?} was counted: {counted}");
            }
            Step::Drain { limit } => {
                let batch = ledger.drain(limit);
                let expected = limit.min(model.counted.len());
                ensure!(batch.len() == expected, "{step:?}: {} of {expected}", batch.len());
                for (id, usage) in &batch {
                    let expected = model.counted.remove(&id);
                    ensure!(Some(usage) == expected, "{step:?}: {usage:?}, not {expected:?}");
                }
                held.push(batch);
            }
            Step::GiveBack { .. } | Step::GiveBackOwn { .. } => {
                let batch = match *step {
                    Step::GiveBack { batch } if batch < held.len() => held.remove(batch),
                    Step::GiveBackOwn { key, usage } => [(id(key), usage)].into_iter().collect(),
                    _ => continue,
                };
                let expected = model.give_back(&batch);
                let left = ledger.give_back(batch);
                ensure!(left.iter().eq(expected), "{step:?} left {left:?}");
                if !left.is_empty() {
                    held.push(left);
                }
            }
        }
        ensure!(ledger.len() == model.counted.len(), "after {step:?} {} keys", ledger.len());
        ensure!(ledger.len() <= max_keys, "after {step:?} more keys than allowed");
        ensure!(ledger.uncounted() == model.uncounted, "{} uncounted", ledger.uncounted());
        for key in 0..KEYS {
            let (found, expected) = (ledger.get(id(key)), model.counted.get(&id(key)));
            ensure!(
                found == expected.copied().unwrap_or_default(),
                "after {step:?} key {key} has {found:?}, expected {expected:?}"
            );
        }
    }
    Ok(())
}

fn ledger_for(max_keys: usize) -> UsageLedger {
    UsageLedger::with_max_keys(max_keys as u32)
}

fn sequences() -> impl Strategy<Value = (usize, Vec<Step>)> {
    (1..=usize::from(KEYS), steps())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_ledger_behaves_like_a_bounded_map((max_keys, steps) in sequences()) {
        let result = follows_the_model(&ledger_for(max_keys), max_keys, &steps);
        prop_assert_eq!(result, Ok(()));
    }
}

/// Returns whether random sequences detect a ledger with this fault.
fn is_caught(fault: Fault) -> bool {
    let config = ProptestConfig {
        cases: 2_000,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let checked = runner.run(&sequences(), |(max_keys, steps)| {
        follows_the_model(&Planted::new(fault, max_keys), max_keys, &steps)
            .map_err(TestCaseError::fail)
    });
    checked.is_err()
}

#[test]
fn the_model_detects_planted_bugs() {
    assert!(!is_caught(Fault::None), "a naive ledger without a bug passes");
    for fault in [
        Fault::DrainLeavesCopies,
        Fault::DrainIgnoresTheLimit,
        Fault::GiveBackReplaces,
        Fault::GiveBackDropsWhatHasNoPlace,
        Fault::GiveBackIgnoresTheBound,
        Fault::TheLastRecordIsTheLastUse,
        Fault::RefusedRequestsAreForgotten,
        Fault::KnownKeysAreRefusedWhenFull,
        Fault::CountsWrap,
    ] {
        assert!(is_caught(fault), "{fault:?}");
    }
}

// ---------------------------------------------------------------------------------------
// Between threads.

/// Records from several threads while others drain, save some batches and give back the rest. For
/// each key, the saved usage must equal the recorded usage.
fn conserves(ledger: &impl Ledger, records: u64) -> Result<(), String> {
    const RECORDERS: u64 = 3;
    const DRAINERS: u64 = 2;
    let running = AtomicU64::new(RECORDERS);
    let barrier = Barrier::new((RECORDERS + DRAINERS) as usize);
    let record = |thread: u64| {
        barrier.wait();
        let mut counted = BTreeMap::new();
        let mut refused = 0;
        for n in 0..records {
            let key = id((n.wrapping_mul(7) + thread) as u8 % (2 * KEYS));
            // Each thread's clock runs backwards for half of the time.
            let now = Timestamp::from_unix_millis(n ^ 0x55);
            if ledger.record(key, now) {
                let usage: &mut Usage = counted.entry(key).or_default();
                *usage = usage.merge(Usage::new(1, Some(now)));
            } else {
                refused += 1;
            }
        }
        running.fetch_sub(1, Ordering::SeqCst);
        (counted, refused)
    };
    let drain = |thread: u64| {
        barrier.wait();
        let mut saved = BTreeMap::new();
        let mut save = |batch: UsageBatch| {
            for (id, usage) in batch {
                let sum: &mut Usage = saved.entry(id).or_default();
                *sum = sum.merge(usage);
            }
        };
        for turn in thread.. {
            let batch = ledger.drain(1 + turn as usize % 5);
            let empty = batch.is_empty();
            if turn % 3 == 0 {
                save(ledger.give_back(batch));
            } else {
                save(batch);
            }
            if empty && running.load(Ordering::SeqCst) == 0 {
                break;
            }
        }
        saved
    };
    let (recorded, drained): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        let drainers: Vec<_> = (0..DRAINERS).map(|t| scope.spawn(move || drain(t))).collect();
        let recorders: Vec<_> = (0..RECORDERS).map(|t| scope.spawn(move || record(t))).collect();
        let recorded = recorders.into_iter().map(|thread| thread.join().unwrap()).collect();
        (recorded, drainers.into_iter().map(|thread| thread.join().unwrap()).collect())
    });
    let rest = ledger.drain(usize::MAX).into_iter().collect();
    let sum = |maps: Vec<BTreeMap<KeyId, Usage>>| {
        let mut sums: BTreeMap<KeyId, Usage> = BTreeMap::new();
        for (id, usage) in maps.into_iter().flatten() {
            let sum = sums.entry(id).or_default();
            *sum = sum.merge(usage);
        }
        sums
    };
    let refused: u64 = recorded.iter().map(|(_, refused)| refused).sum();
    let counted = sum(recorded.into_iter().map(|(counted, _)| counted).collect());
    let saved = sum(drained.into_iter().chain([rest]).collect());
    ensure!(saved == counted, "saved {saved:?}, counted {counted:?}");
    ensure!(ledger.uncounted() == refused, "{refused} refused, not {}", ledger.uncounted());
    ensure!(ledger.len() == 0, "{} keys remain", ledger.len());
    Ok(())
}

#[test]
fn concurrent_usage_is_neither_lost_nor_counted_twice() {
    // With room for each of the 16 keys, and with less.
    for max_keys in [16, 5, 1] {
        for _ in 0..20 {
            assert_eq!(conserves(&ledger_for(max_keys), 5_000), Ok(()), "{max_keys} keys");
        }
    }
}

/// Records usage during a drain, at the moment at which the drain has released the lock. Drained
/// and remaining usage must add up to the recorded usage.
fn conserves_what_comes_between(fault: Fault) -> bool {
    let ledger = Planted { meeting: Some(Barrier::new(2)), ..Planted::new(fault, 16) };
    assert!(ledger.record(id(1), Timestamp::ZERO));
    let batch = thread::scope(|scope| {
        scope.spawn(|| {
            ledger.meet();
            assert!(ledger.record(id(1), Timestamp::ZERO));
            ledger.meet();
        });
        ledger.drain(9)
    });
    let drained: u64 = batch.iter().map(|(_, usage)| usage.requests).sum();
    drained + ledger.get(id(1)).requests == 2
}

#[test]
fn a_drain_that_loses_concurrent_usage_is_detected() {
    assert_eq!(conserves(&Planted::new(Fault::None, 16), 2_000), Ok(()));
    assert!(conserves_what_comes_between(Fault::None));
    assert!(!conserves_what_comes_between(Fault::DrainReadsThenClears));
}

// ---------------------------------------------------------------------------------------
// Fairness.

/// Returns how many keys never leave a ledger that is drained one key at a time while all keys are
/// used again each time.
fn never_drained(ledger: &impl Ledger) -> usize {
    let ids: Vec<KeyId> = (0..200_u128)
        .map(|n| KeyId::from_bytes((n * 0x9e37_79b9_7f4a_7c15_f39c_0c31).to_be_bytes()))
        .collect();
    let mut waiting: std::collections::BTreeSet<_> = ids.iter().copied().collect();
    for _ in 0..64 * 16 {
        for id in &ids {
            ledger.record(*id, Timestamp::ZERO);
        }
        for (id, _) in ledger.drain(1) {
            waiting.remove(&id);
        }
    }
    waiting.len()
}

#[test]
fn every_key_is_drained_eventually() {
    assert_eq!(never_drained(&UsageLedger::new()), 0);
    assert!(never_drained(&Planted::new(Fault::DrainTakesTheLowestIdsFirst, 1_000)) > 0);
}

// ---------------------------------------------------------------------------------------
// Minutes.

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// However late a batch is drained, and whatever was given back, the minute of its last use is
    /// that in which its requests were counted.
    #[test]
    fn requests_are_kept_apart_by_the_minute(
        uses in prop::collection::vec((0..KEYS, 0..300_000_u64, prop::option::of(1..9_usize)), 0..60),
    ) {
        let ledger = UsageLedger::new();
        let mut expected: BTreeMap<(KeyId, Timestamp), u64> = BTreeMap::new();
        for (key, at, drain) in uses {
            let now = Timestamp::from_unix_millis(at);
            prop_assert!(ledger.record(id(key), now));
            *expected.entry((id(key), UsageSpan::Minute.begin(now))).or_default() += 1;
            if let Some(limit) = drain {
                let left = ledger.give_back(ledger.drain(limit));
                prop_assert!(left.is_empty());
            }
            prop_assert_eq!(ledger.len(), expected.len());
        }
        let mut found = BTreeMap::new();
        for (id, usage) in ledger.drain(usize::MAX) {
            let minute = UsageSpan::Minute.begin(usage.last_used_at.unwrap());
            prop_assert_eq!(found.insert((id, minute), usage.requests), None, "twice in a batch");
        }
        prop_assert_eq!(found, expected);
    }
}

/// A ledger that is full still counts the keys that wait in it.
#[test]
fn a_full_ledger_counts_a_waiting_key_in_another_minute() {
    let ledger = UsageLedger::with_max_keys(1);
    let at = Timestamp::from_unix_secs;
    for secs in [30, 90, 10_000, 30] {
        assert!(ledger.record(id(1), at(secs)));
    }
    assert!(!ledger.record(id(2), at(30)));
    assert_eq!((ledger.len(), ledger.uncounted()), (1, 1));
    assert_eq!(ledger.get(id(1)), Usage::new(4, Some(at(10_000))));
    assert_eq!(
        ledger.drain(9).iter().collect::<Vec<_>>(),
        [(id(1), Usage::new(4, Some(at(10_000))))]
    );
    assert!(ledger.is_empty());
}

#[test]
fn debug_output_contains_no_key() {
    let ledger = UsageLedger::new();
    ledger.record(id(0xab), Timestamp::ZERO);
    let text = format!("{ledger:?}");
    assert_eq!(text, "UsageLedger { keys: 1, max_keys: 1048576, uncounted: 0, .. }");
}
