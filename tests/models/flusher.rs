//! The flusher loses no usage while the ledger has places, whatever the store does and whenever its
//! future is dropped.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use keyward::{
    Timestamp,
    clock::Timer,
    key::KeyId,
    usage::{FlushReport, Usage, UsageBatch, UsageFlusher, UsageLedger, UsageStore},
};
use proptest::prelude::*;

/// What the store does with the next batch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Save {
    Succeeds,
    Fails,
    /// The connection is lost between the commit and the reply.
    FailsAfterCommit,
    Hangs,
    Panics,
    /// It completes at the second poll.
    Waits,
}

#[derive(Debug, PartialEq)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for Down {}

/// A store that follows a script, and then succeeds.
#[derive(Default)]
struct Scripted {
    script: Mutex<Vec<Save>>,
    saved: Mutex<BTreeMap<KeyId, Usage>>,
    batches: Mutex<Vec<usize>>,
}

impl Scripted {
    fn new(script: &[Save]) -> Arc<Self> {
        let script = Mutex::new(script.iter().rev().copied().collect());
        Arc::new(Self { script, ..Self::default() })
    }

    fn requests(&self) -> u64 {
        self.saved.lock().unwrap().values().map(|usage| usage.requests).sum()
    }
}

impl UsageStore for Scripted {
    type Error = Down;

    async fn save_usage(&self, batch: &UsageBatch) -> Result<(), Down> {
        let next = self.script.lock().unwrap().pop();
        let next = next.unwrap_or(Save::Succeeds);
        match next {
            Save::Succeeds | Save::FailsAfterCommit => {}
            Save::Fails => return Err(Down),
            Save::Hangs => pending().await,
            Save::Panics => panic!("planted panic"),
            Save::Waits => {
                let mut polled = false;
                poll_fn(|context| {
                    if std::mem::replace(&mut polled, true) {
                        return Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            }
        }
        self.batches.lock().unwrap().push(batch.len());
        let mut saved = self.saved.lock().unwrap();
        for (id, usage) in batch {
            let sum = saved.entry(id).or_default();
            *sum = sum.merge(usage);
        }
        if next == Save::FailsAfterCommit { Err(Down) } else { Ok(()) }
    }

    async fn usage(&self, ids: &[KeyId]) -> Result<Vec<(KeyId, Usage)>, Down> {
        let saved = self.saved.lock().unwrap();
        Ok(ids.iter().filter_map(|id| Some((*id, *saved.get(id)?))).collect())
    }
}

/// A timer that is over as often as the test says, and the duration of its last use.
#[derive(Clone, Default)]
struct Ticks {
    left: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Duration>>>,
}

impl Ticks {
    fn timer(&self) -> Timer {
        let ticks = self.clone();
        Timer::new(move |after| {
            ticks.asked.lock().unwrap().push(after);
            let left = Arc::clone(&ticks.left);
            poll_fn(move |_| {
                let take = |left: usize| left.checked_sub(1);
                match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
                    Ok(_) => Poll::Ready(()),
                    Err(_) => Poll::Pending,
                }
            })
        })
    }

    fn tick(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
    }
}

fn id(key: u8) -> KeyId {
    KeyId::from_bytes([key; 16])
}

fn used(keys: u8) -> Arc<UsageLedger> {
    let ledger = Arc::new(UsageLedger::new());
    for key in 0..keys {
        assert!(ledger.record(id(key), Timestamp::ZERO));
    }
    ledger
}

fn waiting(ledger: &UsageLedger) -> u64 {
    (0..=u8::MAX).map(|key| ledger.get(id(key)).requests).sum()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn flusher(
    ledger: &Arc<UsageLedger>,
    store: &Arc<Scripted>,
    ticks: &Ticks,
) -> UsageFlusher<Arc<Scripted>> {
    UsageFlusher::new(Arc::clone(ledger), Arc::clone(store), ticks.timer()).with_batch(4)
}

#[test]
fn a_flush_saves_everything_in_batches() {
    let (ledger, store, ticks) = (used(10), Scripted::new(&[]), Ticks::default());
    let flusher = flusher(&ledger, &store, &ticks);
    let report = pollster::block_on(flusher.flush());
    assert!(matches!(report, FlushReport::Saved { saved: 10 }), "{report:?}");
    assert_eq!(*store.batches.lock().unwrap(), [4, 4, 2]);
    assert_eq!((store.requests(), ledger.len()), (10, 0));
    let report = pollster::block_on(flusher.flush());
    assert!(matches!(report, FlushReport::Saved { saved: 0 }), "{report:?}");
    assert_eq!(store.batches.lock().unwrap().len(), 3, "nothing is saved where nothing waits");
}

#[test]
fn what_was_not_saved_goes_back() {
    for (save, keys) in [(Save::Fails, 4), (Save::Hangs, 4), (Save::Panics, 4)] {
        let (ledger, ticks) = (used(10), Ticks::default());
        let store = Scripted::new(&[Save::Succeeds, save]);
        let flusher = flusher(&ledger, &store, &ticks).with_timeout(Duration::from_secs(3));
        ticks.tick();
        let flushed = catch_unwind(AssertUnwindSafe(|| pollster::block_on(flusher.flush())));
        match (save, flushed) {
            (Save::Fails, Ok(FlushReport::Failed { error: Down, saved })) => {
                assert_eq!(saved, keys);
            }
            (Save::Hangs, Ok(FlushReport::TimedOut { saved })) => {
                assert_eq!(saved, keys);
                assert_eq!(*ticks.asked.lock().unwrap(), [Duration::from_secs(3)]);
            }
            (Save::Panics, Err(_)) => {}
            (_, other) => panic!("{save:?}: {other:?}"),
        }
        assert_eq!((store.requests(), waiting(&ledger)), (4, 6), "{save:?}");
        // The next flush saves the rest.
        pollster::block_on(flusher.flush());
        assert_eq!((store.requests(), ledger.len()), (10, 0), "{save:?}");
    }
}

#[test]
fn a_future_that_is_dropped_during_a_save_gives_its_batch_back() {
    let (ledger, ticks) = (used(10), Ticks::default());
    let store = Scripted::new(&[Save::Succeeds, Save::Hangs]);
    let flusher = flusher(&ledger, &store, &ticks);
    {
        let mut running = pin!(flusher.flush());
        assert!(poll(running.as_mut()).is_pending());
        assert_eq!(waiting(&ledger), 2, "four were saved, and four are being saved");
        // Meanwhile a key of the batch is used again.
        for key in 0..10 {
            assert!(ledger.record(id(key), Timestamp::from_unix_millis(1)));
        }
    }
    assert_eq!((store.requests(), waiting(&ledger)), (4, 16));
    pollster::block_on(flusher.flush());
    assert_eq!((store.requests(), ledger.len()), (20, 0));
}

#[test]
fn it_flushes_at_the_interval_and_once_more_at_the_end() {
    let (ledger, store, ticks) =
        (used(1), Scripted::new(&[Save::Waits, Save::Fails]), Ticks::default());
    let reports = Arc::new(Mutex::new(Vec::new()));
    let report = Arc::clone(&reports);
    let flusher = flusher(&ledger, &store, &ticks)
        .with_interval(Duration::from_secs(7))
        .with_report(move |done| report.lock().unwrap().push(done.to_string()));
    let stopped = AtomicUsize::new(0);
    let stop = poll_fn(|_| match stopped.load(Ordering::SeqCst) {
        0 => Poll::Pending,
        _ => Poll::Ready(()),
    });
    let mut running = pin!(flusher.run(stop));
    assert!(poll(running.as_mut()).is_pending());
    assert_eq!(store.requests(), 0, "the first flush comes after the interval");
    ticks.tick();
    assert!(poll(running.as_mut()).is_pending(), "the store waits");
    assert!(poll(running.as_mut()).is_pending());
    assert_eq!(store.requests(), 1);
    ledger.record(id(9), Timestamp::ZERO);
    ticks.tick();
    assert!(poll(running.as_mut()).is_pending());
    assert_eq!(store.requests(), 1, "the store failed");
    stopped.store(1, Ordering::SeqCst);
    let Poll::Ready(last) = poll(running.as_mut()) else { panic!("still running") };
    assert!(matches!(last, FlushReport::Saved { saved: 1 }), "{last:?}");
    assert_eq!((store.requests(), ledger.len()), (2, 0));
    let expected = ["1 entries were saved", "entries were not saved: down", "1 entries were saved"];
    assert_eq!(*reports.lock().unwrap(), expected);
    let asked = ticks.asked.lock().unwrap();
    assert!(
        asked.iter().filter(|after| **after == Duration::from_secs(7)).count() >= 3,
        "{asked:?}"
    );
}

/// Where other keys took the places meanwhile, the requests count as uncounted.
#[test]
fn what_finds_no_place_is_counted_as_uncounted() {
    let ledger = Arc::new(UsageLedger::with_max_keys(2));
    for key in [1, 1, 2] {
        assert!(ledger.record(id(key), Timestamp::ZERO));
    }
    let (store, ticks) = (Scripted::new(&[Save::Hangs]), Ticks::default());
    let flusher = flusher(&ledger, &store, &ticks);
    {
        let mut running = pin!(flusher.flush());
        assert!(poll(running.as_mut()).is_pending());
        for key in [2, 3] {
            assert!(ledger.record(id(key), Timestamp::ZERO));
        }
    }
    assert_eq!(ledger.uncounted(), 2, "those of key 1");
    assert_eq!((ledger.get(id(2)).requests, ledger.get(id(3)).requests), (2, 1));
}

/// An error can follow a commit. The requests of the batch then count once more for each repetition, and
/// none is lost.
#[test]
fn what_was_committed_before_an_error_counts_again() {
    let (ledger, ticks) = (used(3), Ticks::default());
    let store = Scripted::new(&[Save::FailsAfterCommit, Save::FailsAfterCommit]);
    let flusher = flusher(&ledger, &store, &ticks);
    for saved in [3, 6] {
        let report = pollster::block_on(flusher.flush());
        assert!(matches!(report, FlushReport::Failed { error: Down, saved: 0 }), "{report:?}");
        assert_eq!((store.requests(), waiting(&ledger)), (saved, 3));
    }
    pollster::block_on(flusher.flush());
    assert_eq!((store.requests(), ledger.len(), ledger.uncounted()), (9, 0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Use {
        key: u8,
        at: u64,
    },
    Flush,
    /// Drops a flush after some polls.
    Drop {
        polls: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..8_u8, 0..200_000_u64).prop_map(|(key, at)| Step::Use { key, at }),
        1 => Just(Step::Flush),
        1 => (0..4_usize).prop_map(|polls| Step::Drop { polls }),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// A store that saves all of a batch or nothing, and is not dropped after it has saved: each
    /// request is saved once or waits.
    #[test]
    fn no_request_is_lost_or_counted_twice(
        steps in steps(),
        script in prop::collection::vec(
            prop::sample::select(vec![Save::Succeeds, Save::Fails, Save::Hangs, Save::Waits]), 0..30),
    ) {
        let (ledger, store, ticks) = (used(0), Scripted::new(&script), Ticks::default());
        let flusher = flusher(&ledger, &store, &ticks);
        let mut recorded: BTreeMap<KeyId, Usage> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Use { key, at } => {
                    let now = Timestamp::from_unix_millis(at);
                    prop_assert!(ledger.record(id(key), now));
                    let sum = recorded.entry(id(key)).or_default();
                    *sum = sum.merge(Usage::new(1, Some(now)));
                }
                Step::Flush => {
                    // A save that hangs ends at the timeout.
                    ticks.left.store(1, Ordering::SeqCst);
                    pollster::block_on(flusher.flush());
                    ticks.left.store(0, Ordering::SeqCst);
                }
                Step::Drop { polls } => {
                    let mut running = pin!(flusher.flush());
                    for _ in 0..polls {
                        if poll(running.as_mut()).is_ready() {
                            break;
                        }
                    }
                }
            }
            for (key, expected) in &recorded {
                let saved = store.saved.lock().unwrap().get(key).copied().unwrap_or_default();
                prop_assert_eq!(saved.merge(ledger.get(*key)), *expected);
            }
        }
    }
}
