//! The recorder of events loses none that it has accepted, and keeps their order.

use std::{
    fmt,
    future::{Future, pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use keyward::{
    Access, Challenge, CredentialSource, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher, ManualClock,
    MemoryStore, SysRng, Timestamp,
    audit::{
        ActionName, AuditAction, AuditCursor, AuditEntry, AuditFilter, AuditPage, AuditRecorder,
        AuditStore, MemoryAuditStore,
    },
    clock::Timer,
    request::PlainHead,
    usage::FlushReport,
    verify::Verifier,
};

const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Append {
    Succeeds,
    Fails,
    /// The connection is lost between the commit and the reply.
    FailsAfterCommit,
    Hangs,
    Panics,
}

#[derive(Debug)]
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
    script: Mutex<Vec<Append>>,
    appended: Mutex<Vec<String>>,
    /// Actions that the store refuses, with everything that is appended together with them.
    poisoned: Mutex<Vec<String>>,
}

impl AuditStore for Scripted {
    type Error = Down;

    async fn append(&self, entries: &[AuditEntry]) -> Result<(), Down> {
        let next = self.script.lock().unwrap().pop();
        let next = next.unwrap_or(Append::Succeeds);
        match next {
            Append::Succeeds | Append::FailsAfterCommit => {}
            Append::Fails => return Err(Down),
            Append::Hangs => pending().await,
            Append::Panics => panic!("planted panic"),
        }
        let actions: Vec<_> = entries.iter().map(|entry| entry.action.to_string()).collect();
        if actions.iter().any(|action| self.poisoned.lock().unwrap().contains(action)) {
            return Err(Down);
        }
        self.appended.lock().unwrap().extend(actions);
        if next == Append::FailsAfterCommit { Err(Down) } else { Ok(()) }
    }

    async fn page(
        &self,
        _: &AuditFilter,
        _: Option<AuditCursor>,
        _: u16,
    ) -> Result<AuditPage, Down> {
        Err(Down)
    }

    async fn remove_before(&self, _: Timestamp, _: u32) -> Result<u64, Down> {
        Err(Down)
    }
}

fn scripted(script: &[Append]) -> Arc<Scripted> {
    let script = Mutex::new(script.iter().rev().copied().collect());
    Arc::new(Scripted { script, ..Scripted::default() })
}

fn entry(number: usize) -> AuditEntry {
    AuditEntry::new(NOW, ActionName::new(&number.to_string()).unwrap())
}

/// A timer that is over at once.
fn over() -> Timer {
    Timer::new(|_| std::future::ready(()))
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn changes_and_refusals_of_proved_keys_are_recorded_and_nothing_else() {
    pollster::block_on(async {
        let log = Arc::new(MemoryAuditStore::new());
        let recorder = AuditRecorder::new(Arc::clone(&log), over());
        let store = Arc::new(MemoryStore::new());
        let issuer = Issuer::new(Arc::clone(&store), FORMAT, KeyHasher::sha256())
            .with_audit(recorder.audit());
        let gate = Gate::builder(FORMAT, issuer.verifier(), CredentialSource::bearer())
            .with_challenge(Challenge::bearer("test").unwrap())
            .with_audit(recorder.audit())
            .build()
            .unwrap();
        let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
        let issued = issuer.issue(FORMAT.kind(), draft, &mut SysRng, NOW).await.unwrap();
        let route = gate.route(Access::any_key()).unwrap();
        let clock = ManualClock::new(NOW);
        let good = issued.key.expose().to_owned();
        let unknown = format!("lqt_{}", "0".repeat(64));
        for token in [&good, &unknown, "no key"] {
            let head = PlainHead::new().with_header("authorization", format!("Bearer {token}"));
            let _outcome = gate.check(&head, &route, &store, &clock).await;
        }
        issuer.revoke(issued.record.id(), NOW).await.unwrap();
        let head = PlainHead::new().with_header("authorization", format!("Bearer {good}"));
        let _outcome = gate.check(&head, &route, &store, &clock).await;

        let report = recorder.flush().await;
        assert!(matches!(report.flushed, FlushReport::Saved { saved: 3 }), "{report:?}");
        let page = log.page(&AuditFilter::all(), None, 9).await.unwrap();
        let found: Vec<_> = page.entries.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(found, ["refused", "revoked", "issued"]);
        for entry in &page.entries {
            assert_eq!(entry.key, Some(issued.record.id()));
            assert_eq!(entry.owner.as_ref(), Some(issued.record.owner()));
            assert!(!format!("{entry:?}").contains(&good[4..]), "no secret is recorded");
        }
        assert_eq!(page.entries[0].detail.as_deref(), Some("the key is revoked"));
        let of_key = AuditFilter::all().with_key(issued.record.id());
        assert_eq!(log.page(&of_key, None, 9).await.unwrap().entries.len(), 3);
    });
}

#[test]
fn the_host_chooses_which_events_are_recorded() {
    pollster::block_on(async {
        let log = Arc::new(MemoryAuditStore::new());
        let recorder = AuditRecorder::new(Arc::clone(&log), over())
            .with_filter(|event| matches!(event.action, AuditAction::Revoked { .. }));
        let issuer = Issuer::new(MemoryStore::new(), FORMAT, KeyHasher::sha256())
            .with_audit(recorder.audit());
        let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
        let issued = issuer.issue(FORMAT.kind(), draft, &mut SysRng, NOW).await.unwrap();
        issuer.revoke(issued.record.id(), NOW).await.unwrap();
        recorder.flush().await;
        let page = log.page(&AuditFilter::all(), None, 9).await.unwrap();
        assert_eq!(page.entries.len(), 1);
    });
}

#[test]
fn entries_that_were_not_appended_stay_in_their_order() {
    let batch = AuditRecorder::<MemoryAuditStore>::BATCH;
    for append in [Append::Fails, Append::Hangs, Append::Panics] {
        let store = scripted(&[Append::Succeeds, append]);
        let recorder = AuditRecorder::new(Arc::clone(&store), over());
        for number in 0..2 * batch {
            assert!(recorder.record(entry(number)));
        }
        let flushed = catch_unwind(AssertUnwindSafe(|| pollster::block_on(recorder.flush())));
        let flushed = flushed.map(|report| report.flushed);
        match (append, flushed) {
            (Append::Fails, Ok(FlushReport::Failed { error: Down, saved }))
            | (Append::Hangs, Ok(FlushReport::TimedOut { saved })) => assert_eq!(saved, batch),
            (Append::Panics, Err(_)) => {}
            (_, other) => panic!("{append:?}: {other:?}"),
        }
        assert!(recorder.record(entry(2 * batch)));
        pollster::block_on(recorder.flush());
        let expected: Vec<String> = (0..=2 * batch).map(|number| number.to_string()).collect();
        assert_eq!(*store.appended.lock().unwrap(), expected, "{append:?}");
        assert_eq!(recorder.dropped(), 0);
    }
}

#[test]
fn a_future_that_is_dropped_gives_its_entries_back() {
    let store = scripted(&[Append::Hangs]);
    let recorder = AuditRecorder::new(Arc::clone(&store), Timer::new(|_| pending()));
    recorder.record(entry(0));
    {
        let mut flushing = pin!(recorder.flush());
        assert!(poll(flushing.as_mut()).is_pending());
        recorder.record(entry(1));
    }
    pollster::block_on(recorder.flush());
    assert_eq!(*store.appended.lock().unwrap(), ["0", "1"]);
}

#[test]
fn a_full_queue_drops_the_latest_and_counts_them() {
    let store = scripted(&[Append::Hangs]);
    let recorder =
        AuditRecorder::new(Arc::clone(&store), Timer::new(|_| pending())).with_capacity(3);
    let accepted: Vec<bool> = (0..5).map(|number| recorder.record(entry(number))).collect();
    assert_eq!(accepted, [true, true, true, false, false]);
    assert_eq!(recorder.dropped(), 2);
    {
        let mut flushing = pin!(recorder.flush());
        assert!(poll(flushing.as_mut()).is_pending());
        assert!(recorder.record(entry(5)), "there is place while others are appended");
    }
    assert_eq!(recorder.dropped(), 3, "not for those that came back and for this one");
    pollster::block_on(recorder.flush());
    assert_eq!(*store.appended.lock().unwrap(), ["0", "1", "2"]);
}

#[test]
fn it_flushes_at_the_interval_and_once_more_at_the_end() {
    let store = scripted(&[]);
    let ticks = Arc::new(Mutex::new(0_u32));
    let left = Arc::clone(&ticks);
    let timer = Timer::new(move |after| {
        assert!(after == Duration::from_secs(1) || after == Duration::from_secs(30));
        let left = Arc::clone(&left);
        poll_fn(move |_| {
            let mut left = left.lock().unwrap();
            match left.checked_sub(1) {
                Some(less) => {
                    *left = less;
                    Poll::Ready(())
                }
                None => Poll::Pending,
            }
        })
    });
    let recorder = AuditRecorder::new(Arc::clone(&store), timer);
    let stopped = Mutex::new(false);
    let stop = poll_fn(|_| if *stopped.lock().unwrap() { Poll::Ready(()) } else { Poll::Pending });
    let mut running = pin!(recorder.run(stop));
    recorder.record(entry(0));
    assert!(poll(running.as_mut()).is_pending());
    assert!(store.appended.lock().unwrap().is_empty(), "the first flush comes after the interval");
    *ticks.lock().unwrap() = 1;
    assert!(poll(running.as_mut()).is_pending());
    assert_eq!(*store.appended.lock().unwrap(), ["0"]);
    recorder.record(entry(1));
    *stopped.lock().unwrap() = true;
    let Poll::Ready(last) = poll(running.as_mut()) else { panic!("still running") };
    assert!(matches!(last.flushed, FlushReport::Saved { saved: 1 }), "{last:?}");
    assert_eq!(*store.appended.lock().unwrap(), ["0", "1"]);
}

fn numbers(range: std::ops::Range<usize>, without: &[&str]) -> Vec<String> {
    let all = range.map(|number| number.to_string());
    all.filter(|number| !without.contains(&number.as_str())).collect()
}

/// A client whose requests are refused all the time displaces no change, and the report has the number
/// of the dropped entries.
#[test]
fn refusals_displace_no_change() {
    pollster::block_on(async {
        let log = Arc::new(MemoryAuditStore::new());
        let recorder = AuditRecorder::new(Arc::clone(&log), over()).with_capacity(20);
        let store = Arc::new(MemoryStore::new());
        let issuer = Issuer::new(Arc::clone(&store), FORMAT, KeyHasher::sha256())
            .with_audit(recorder.audit());
        let gate = Gate::builder(FORMAT, issuer.verifier(), CredentialSource::bearer())
            .with_challenge(Challenge::bearer("test").unwrap())
            .with_audit(recorder.audit())
            .build()
            .unwrap();
        let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
        let issued = issuer.issue(FORMAT.kind(), draft.clone(), &mut SysRng, NOW).await.unwrap();
        issuer.revoke(issued.record.id(), NOW).await.unwrap();
        let route = gate.route(Access::any_key()).unwrap();
        let (clock, token) = (ManualClock::new(NOW), issued.key.expose().to_owned());
        for _ in 0..100 {
            let head = PlainHead::new().with_header("authorization", format!("Bearer {token}"));
            let _refused = gate.check(&head, &route, &store, &clock).await;
        }
        assert_eq!(recorder.dropped(), 90, "ten refusals are kept");
        for _ in 0..18 {
            issuer.issue(FORMAT.kind(), draft.clone(), &mut SysRng, NOW).await.unwrap();
        }
        assert_eq!(recorder.dropped(), 100, "changes take the places of the refusals");
        issuer.issue(FORMAT.kind(), draft, &mut SysRng, NOW).await.unwrap();
        assert_eq!(recorder.dropped(), 101, "only other changes displace a change");
        let report = recorder.flush().await;
        assert!(matches!(report.flushed, FlushReport::Saved { saved: 20 }), "{report:?}");
        assert_eq!((report.dropped, report.rejected), (101, 0));
        let expected = "20 entries were saved; 101 entries found no place and were dropped";
        assert_eq!(report.to_string(), expected);
        assert_eq!(recorder.flush().await.dropped, 0, "each is reported once");
        let page = log.page(&AuditFilter::all(), None, 99).await.unwrap();
        let found: Vec<_> = page.entries.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(found.iter().filter(|action| **action == "issued").count(), 19);
        assert_eq!(found.iter().filter(|action| **action == "revoked").count(), 1);
    });
}

/// Entries that come back find the refusals that arrived meanwhile in their places.
#[test]
fn entries_that_come_back_displace_refusals() {
    let store = scripted(&[Append::Hangs]);
    let recorder = AuditRecorder::new(Arc::clone(&store), Timer::new(|_| pending()))
        .with_capacity(4)
        .with_filter(|_| true);
    let gate =
        Gate::builder(FORMAT, Verifier::new(KeyHasher::sha256()), CredentialSource::bearer())
            .with_challenge(Challenge::bearer("test").unwrap())
            .with_audit(recorder.audit())
            .build()
            .unwrap();
    let route = gate.route(Access::any_key()).unwrap();
    let refuse = || drop(gate.begin(&PlainHead::new(), &route, NOW));
    for number in 0..3 {
        assert!(recorder.record(entry(number)));
    }
    {
        let mut flushing = pin!(recorder.flush());
        assert!(poll(flushing.as_mut()).is_pending());
        for _ in 0..4 {
            refuse();
        }
        assert_eq!(recorder.dropped(), 2, "refusals take half of the places");
        assert!(recorder.record(entry(3)));
    }
    assert_eq!(recorder.dropped(), 4);
    pollster::block_on(recorder.flush());
    assert_eq!(*store.appended.lock().unwrap(), numbers(0..4, &[]));
}

/// One entry that the store refuses hinders no other for ever: it is found, dropped and reported.
#[test]
fn an_entry_that_fails_alone_is_dropped_and_the_others_are_appended() {
    let batch = AuditRecorder::<MemoryAuditStore>::BATCH;
    let middle = (batch / 2 + 7).to_string();
    let last = (batch - 1).to_string();
    let cases: [&[&str]; 5] =
        [&["0"], &[&middle], &[&last], &["0", "1", &last], &["3", "4", "5", "9"]];
    for poisoned in cases {
        let store = scripted(&[]);
        *store.poisoned.lock().unwrap() = poisoned.iter().map(|&one| one.to_owned()).collect();
        let recorder = AuditRecorder::new(Arc::clone(&store), Timer::new(|_| pending()));
        for number in 0..batch + 3 {
            assert!(recorder.record(entry(number)));
        }
        let first = pollster::block_on(recorder.flush());
        assert!(matches!(first.flushed, FlushReport::Failed { saved: 0, .. }), "{first:?}");
        assert_eq!(first.rejected, 0, "one failure can be that of the store");
        let mut rejected = 0;
        for number in batch + 3..batch + 6 {
            rejected += pollster::block_on(recorder.flush()).rejected;
            // An entry at the end of all is found when another one is appended after it.
            assert!(recorder.record(entry(number)));
        }
        let report = pollster::block_on(recorder.flush());
        rejected += report.rejected;
        assert!(matches!(report.flushed, FlushReport::Saved { .. }), "{poisoned:?}: {report:?}");
        assert_eq!(rejected, poisoned.len(), "{poisoned:?}");
        let appended = store.appended.lock().unwrap().clone();
        assert_eq!(appended, numbers(0..batch + 6, poisoned), "{poisoned:?}");
        assert_eq!(recorder.dropped(), 0);
    }
}

/// A store that fails for all loses no entry, however long, and is not asked for each of them.
#[test]
fn no_entry_is_dropped_while_the_store_fails_for_all() {
    let store = scripted(&[Append::Fails; 200]);
    let recorder = AuditRecorder::new(Arc::clone(&store), Timer::new(|_| pending()));
    for number in 0..100 {
        assert!(recorder.record(entry(number)));
    }
    let mut asked = Vec::new();
    for _ in 0..5 {
        let before = store.script.lock().unwrap().len();
        let report = pollster::block_on(recorder.flush());
        assert!(matches!(report.flushed, FlushReport::Failed { saved: 0, .. }), "{report:?}");
        assert_eq!(report.rejected, 0);
        asked.push(before - store.script.lock().unwrap().len());
    }
    assert_eq!(asked[0], 1);
    assert!(asked.iter().all(|asked| *asked <= 16), "{asked:?}");
    store.script.lock().unwrap().clear();
    let report = pollster::block_on(recorder.flush());
    assert!(matches!(report.flushed, FlushReport::Saved { saved: 100 }), "{report:?}");
    let mut appended = store.appended.lock().unwrap().clone();
    appended.sort_by_key(|number| number.parse::<usize>().unwrap());
    assert_eq!(appended, numbers(0..100, &[]));
    assert_eq!(recorder.dropped(), 0);
}

/// A store that fails for some time in the middle of a search loses none either.
#[test]
fn no_good_entry_is_dropped_if_the_store_fails_for_a_while() {
    for failures in 0..30 {
        let store = scripted(&[]);
        let recorder = AuditRecorder::new(Arc::clone(&store), Timer::new(|_| pending()));
        for number in 0..20 {
            assert!(recorder.record(entry(number)));
        }
        *store.script.lock().unwrap() = vec![Append::Fails; failures];
        let mut rejected = 0;
        for _ in 0..6 {
            rejected += pollster::block_on(recorder.flush()).rejected;
        }
        let mut appended = store.appended.lock().unwrap().clone();
        appended.sort_by_key(|number| number.parse::<usize>().unwrap());
        assert_eq!((rejected, appended), (0, numbers(0..20, &[])), "{failures} failures");
    }
}

/// An error can follow a commit. Nothing is lost then, and what was appended comes twice.
#[test]
fn what_was_committed_before_an_error_comes_twice() {
    let store = scripted(&[Append::FailsAfterCommit]);
    let recorder = AuditRecorder::new(Arc::clone(&store), over());
    recorder.record(entry(0));
    let report = pollster::block_on(recorder.flush());
    assert!(matches!(report.flushed, FlushReport::Failed { error: Down, saved: 0 }), "{report:?}");
    pollster::block_on(recorder.flush());
    assert_eq!(*store.appended.lock().unwrap(), ["0", "0"]);
}
