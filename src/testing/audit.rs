//! Checks of audit stores.

use std::{collections::BTreeSet, thread};

use crate::{
    audit::{
        action_name::ActionName,
        detail::AuditDetail,
        entry::AuditEntry,
        store::{AuditCursor, AuditFilter, AuditPage, AuditStore},
    },
    clock::timestamp::Timestamp,
    key::{actor::Actor, id::KeyId, kind::KeyKind, owner::OwnerId},
    request::request_id::RequestId,
    testing::BlockOn,
};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + millis)
}

/// An entry whose action names its number.
fn entry(number: u64, millis: u64) -> AuditEntry {
    AuditEntry::new(at(millis), ActionName::new(&format!("event {number}")).unwrap())
}

fn actions(entries: &[AuditEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.action.as_str()).collect()
}

/// Returns all entries that a filter admits, in pages of this size.
async fn all(store: &impl AuditStore, filter: &AuditFilter, size: u16) -> Vec<AuditEntry> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let AuditPage { entries, damaged, next } = store.page(filter, after, size).await.unwrap();
        assert_eq!(damaged, [], "an entry that was appended is not damaged");
        assert!(entries.len() <= AuditPage::size(size), "a page is larger than was asked");
        assert!(
            next.is_none() || entries.len() == AuditPage::size(size),
            "a page that is not the last is not full"
        );
        found.extend(entries);
        match next {
            Some(next) => {
                // Its text is what a client sends back.
                let read: AuditCursor = next.to_string().parse().unwrap();
                assert_eq!(read, next);
                assert!(after.is_none_or(|after| next < after), "the cursor does not move on");
                after = Some(next);
            }
            None => return found,
        }
    }
}

/// Entries come back latest first, whatever their order of arrival, in pages without a gap.
pub fn entries_are_paged_latest_first(executor: &impl BlockOn, store: &impl AuditStore) {
    executor.block_on(async {
        let everything = AuditFilter::all();
        assert_eq!(store.page(&everything, None, 3).await.unwrap(), AuditPage::default());
        store.append(&[]).await.unwrap();
        assert_eq!(store.page(&everything, None, 3).await.unwrap(), AuditPage::default());
        for number in [3, 0, 4, 1, 2] {
            store.append(&[entry(number, number)]).await.unwrap();
        }
        let latest_first = ["event 4", "event 3", "event 2", "event 1", "event 0"];
        for size in [0, 1, 2, 3, 5, 6, u16::MAX] {
            assert_eq!(actions(&all(store, &everything, size).await), latest_first, "size {size}");
        }
    });
}

/// Of entries with one instant the one that was appended last is the latest.
pub fn entries_of_one_instant_keep_their_order(executor: &impl BlockOn, store: &impl AuditStore) {
    executor.block_on(async {
        store.append(&[entry(0, 5), entry(1, 5), entry(2, 5)]).await.unwrap();
        store.append(&[entry(3, 5), entry(4, 4)]).await.unwrap();
        let expected = ["event 3", "event 2", "event 1", "event 0", "event 4"];
        for size in [1, 2, 9] {
            assert_eq!(actions(&all(store, &AuditFilter::all(), size).await), expected);
        }
    });
}

/// While others append, a reader sees each entry that was there before exactly once.
pub fn paging_is_stable_while_entries_are_appended(
    executor: &impl BlockOn,
    store: &impl AuditStore,
) {
    executor.block_on(async {
        let before: Vec<_> = (0..10).map(|number| entry(number, number / 3)).collect();
        store.append(&before).await.unwrap();
        let (mut found, mut after) = (Vec::new(), None);
        for number in 100.. {
            assert!(number < 200, "paging does not end");
            let page = store.page(&AuditFilter::all(), after, 2).await.unwrap();
            found.extend(page.entries);
            after = page.next;
            if after.is_none() {
                break;
            }
            // One that is later than all, and one of an instant that was read already.
            store.append(&[entry(number, 99), entry(number, 3)]).await.unwrap();
        }
        let expected: Vec<_> = before.into_iter().rev().collect();
        assert_eq!(found, expected);
    });
}

/// A filter admits an entry if its owner, its key and its instant are as stated.
pub fn entries_are_filtered(executor: &impl BlockOn, store: &impl AuditStore) {
    executor.block_on(async {
        let owners = ["a", "b", "A", "a "].map(|owner| OwnerId::new(owner).ok());
        let keys = [1, 2].map(|key| KeyId::from_bytes([key; 16]));
        let mut entries = Vec::new();
        for owner in owners.iter().flatten().map(Some).chain([None]) {
            for key in keys.iter().map(Some).chain([None]) {
                for millis in 0..4 {
                    let mut one = entry(entries.len() as u64, millis);
                    (one.owner, one.key) = (owner.cloned(), key.copied());
                    entries.push(one);
                }
            }
        }
        store.append(&entries).await.unwrap();
        entries.sort_by_key(|entry| entry.at);
        entries.reverse();
        // Within an instant the order of arrival counts, which the sort has kept and reversed.
        let instants = [None, Some(at(0)), Some(at(2)), Some(at(3)), Some(at(4))];
        for owner in owners.iter().flatten().cloned().map(Some).chain([None]) {
            for key in keys.iter().copied().map(Some).chain([None]) {
                for since in instants {
                    for before in instants {
                        let filter = AuditFilter { owner: owner.clone(), key, since, before };
                        let expected: Vec<_> =
                            entries.iter().filter(|entry| filter.admits(entry)).cloned().collect();
                        assert_eq!(all(store, &filter, 7).await, expected, "{filter:?}");
                    }
                }
            }
        }
    });
}

/// What was appended comes back unchanged.
pub fn every_field_of_an_entry_survives(executor: &impl BlockOn, store: &impl AuditStore) {
    executor.block_on(async {
        let full = AuditEntry::new(Timestamp::MAX, ActionName::from_static("scopes_changed"))
            .with_key(KeyId::from_bytes([0xab; 16]))
            .with_owner(OwnerId::new("owner ü").unwrap())
            .with_kind(KeyKind::from_static("lqt_"))
            .with_actor(Actor::from_static("user 'ü'"))
            .with_request_id(RequestId::from_static("req-7"))
            .with_detail("read 'write' \"all\"\n-- ; 漢字");
        let bare = AuditEntry::new(Timestamp::ZERO, ActionName::from_static("anonymous"));
        store.append(&[bare.clone(), full.clone()]).await.unwrap();
        assert_eq!(all(store, &AuditFilter::all(), 9).await, [full, bare]);
        // The longest texts that an entry can have.
        let long =
            AuditEntry::new(at(0), ActionName::new(&"x".repeat(ActionName::MAX_LEN)).unwrap())
                .with_request_id(RequestId::new(&"r".repeat(RequestId::MAX_LEN)).unwrap())
                .with_detail("\u{1f511}\0".repeat(AuditDetail::MAX_LEN));
        store.append(std::slice::from_ref(&long)).await.unwrap();
        let found = store.page(&AuditFilter::all().before(at(1)), None, 1).await.unwrap();
        assert_eq!(found.entries, [long]);
    });
}

/// Old entries are removed, the earliest first, and no others.
pub fn old_entries_are_removed(executor: &impl BlockOn, store: &impl AuditStore) {
    executor.block_on(async {
        let entries: Vec<_> = [4, 0, 3, 1, 2, 2].map(|millis| entry(millis, millis)).into();
        store.append(&entries).await.unwrap();
        assert_eq!(store.remove_before(at(0), 9).await.unwrap(), 0);
        assert_eq!(store.remove_before(at(4), 0).await.unwrap(), 0);
        assert_eq!(store.remove_before(at(4), 2).await.unwrap(), 2);
        let left = ["event 4", "event 3", "event 2", "event 2"];
        assert_eq!(actions(&all(store, &AuditFilter::all(), 9).await), left);
        assert_eq!(store.remove_before(at(3), 9).await.unwrap(), 2);
        assert_eq!(actions(&all(store, &AuditFilter::all(), 9).await), ["event 4", "event 3"]);
        assert_eq!(store.remove_before(Timestamp::MAX, u32::MAX).await.unwrap(), 2);
        assert!(all(store, &AuditFilter::all(), 9).await.is_empty());
        // New entries get positions of their own.
        store.append(&[entry(7, 1), entry(8, 1)]).await.unwrap();
        assert_eq!(actions(&all(store, &AuditFilter::all(), 1).await), ["event 8", "event 7"]);
    });
}

/// Appends from several threads lose nothing, and no entry comes twice.
pub fn concurrent_appends_lose_no_entry(executor: &impl BlockOn, store: &impl AuditStore) {
    const THREADS: u64 = 4;
    const BATCHES: u64 = 10;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                executor.block_on(async {
                    for batch in 0..BATCHES {
                        let number = thread * BATCHES + batch;
                        let entries = [entry(2 * number, 1), entry(2 * number + 1, 1)];
                        store.append(&entries).await.unwrap();
                    }
                });
            });
        }
    });
    executor.block_on(async {
        let found = all(store, &AuditFilter::all(), 7).await;
        assert_eq!(found.len() as u64, 2 * THREADS * BATCHES);
        let distinct: BTreeSet<_> = actions(&found).into_iter().collect();
        assert_eq!(distinct.len(), found.len(), "an entry twice");
    });
}
