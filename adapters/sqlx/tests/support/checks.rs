//! Checks for every database.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use keyward::{
    Issuer, KeyHasher, KeyStore as _, ManualClock, SysRng, Timestamp,
    audit::{ActionName, AuditEntry, AuditFilter, AuditStore},
    key::{HashScheme, KeyFormats, KeyHash, KeyId, KeyName, KeyRecord, Owner, OwnerId},
    store::{DamagedKey, KeyRegistry, PageRequest, ReplaceError, Withdrawn},
    usage::{Usage, UsageBatch, UsageBucket, UsageHistory, UsageLedger, UsageSpan},
    verify::{Verifier, VerifyError},
};
use keyward_cache::CachedStore;
use keyward_sqlx::{MigrateError, RowReport, SqlStoreError};

use crate::support::{FORMAT, NOW, issue, lookup, rotate, secret};

/// A store of this crate with access to its database.
pub(crate) trait SqlStore:
    KeyRegistry<Error = SqlStoreError>
    + UsageHistory<Error = SqlStoreError>
    + AuditStore<Error = SqlStoreError>
    + Clone
    + 'static
{
    /// The largest length of a text that a column can hold.
    const LONGEST: usize = 1 << 20;

    /// Runs a statement without the column checks. `char10` in it stands for a newline.
    fn tamper(&self, sql: &str) -> impl Future<Output = Result<u64, sqlx::Error>>;
    /// Runs a statement as somebody at a console does.
    fn by_hand(&self, sql: &'static str) -> impl Future<Output = ()>;
    /// Runs a statement as somebody at a console does, and returns whether it was refused.
    fn at_a_console(&self, sql: &str) -> impl Future<Output = Result<u64, sqlx::Error>>;
    /// Returns the rows of a table as text, with everything that reveals a rewritten row.
    fn dump(&self, table: &str) -> impl Future<Output = Vec<String>>;
    fn migrate(&self) -> impl Future<Output = Result<(), MigrateError>> + Send;
    fn check_rows(&self) -> impl Future<Output = Result<RowReport, SqlStoreError>> + Send;
}

/// Concurrent rotations of one revision from several pools: one succeeds, and its secret is the
/// current one.
pub(crate) async fn exactly_one_concurrent_rotation_succeeds(stores: Vec<impl SqlStore>) {
    for round in 0..10 {
        let (first, first_key) = issue("owner", NOW);
        stores[0].insert(first.clone()).await.unwrap();
        let rotations: Vec<_> = stores
            .iter()
            .map(|store| {
                let (store, (next, key)) = (store.clone(), rotate(&first, NOW));
                tokio::spawn(async move { (store.replace(next).await, key) })
            })
            .collect();
        let (mut winners, mut losers) = (Vec::new(), Vec::new());
        for rotation in rotations {
            match rotation.await.unwrap() {
                (Ok(()), key) => winners.push(key),
                (Err(ReplaceError::Conflict), key) => losers.push(key),
                (Err(error), _) => panic!("round {round}: {error:?}"),
            }
        }
        assert_eq!((winners.len(), losers.len()), (1, stores.len() - 1), "round {round}");
        let found = stores[0].find_by_id(first.id()).await.unwrap().unwrap();
        assert_eq!((found.record().revision(), found.record().retiring().len()), (2, 1));
        for key in [&winners[0], &first_key] {
            assert_eq!(stores[1].find(&lookup(key)).await.unwrap().as_ref(), Some(&found));
        }
        for key in losers {
            assert!(stores[1].find(&lookup(&key)).await.unwrap().is_none());
        }
    }
}

/// Pagination by position: concurrent inserts and deletions shift no page.
pub(crate) async fn pages_are_stable(store: impl SqlStore) {
    let owner = OwnerId::from_static("owner");
    let mut ids = BTreeSet::new();
    for number in 0..60 {
        // Many keys were created in one millisecond, so that only the id orders them.
        let (key, _) = issue("owner", Timestamp::from_unix_millis(number / 20));
        ids.insert(key.id());
        store.insert(key).await.unwrap();
        store.insert(issue("another", NOW).0).await.unwrap();
    }
    let (mut page, mut seen) = (PageRequest::first(7), Vec::new());
    loop {
        let listing = store.list(&owner, page).await.unwrap();
        seen.extend(listing.keys.iter().map(|found| found.record().id()));
        let Some(next) = listing.next else { break };
        page = page.after(next);
        // A listed key is removed, and a new key is inserted before all others.
        let gone = listing.keys[0].record().revoke(Timestamp::ZERO).unwrap();
        store.replace(gone.clone()).await.unwrap();
        let purged = store.purge(Timestamp::from_unix_millis(1), 9).await.unwrap();
        assert_eq!(purged, [gone.id()]);
        let (early, _) = issue("owner", Timestamp::ZERO);
        if Some(early.id()) < page.cursor().map(|cursor| cursor.id) {
            store.insert(early).await.unwrap();
        }
    }
    assert_eq!(seen.len(), ids.len(), "a key is missed or repeated");
    assert_eq!(BTreeSet::from_iter(seen), ids);
}

/// Saved usage adds up and never decreases, and no other table is written.
pub(crate) async fn usage_is_monotonic(store: impl SqlStore) {
    let tables = ["keyward_keys", "keyward_secrets", "keyward_owners"];
    let (first, second) = (issue("owner", NOW).0, issue("owner", NOW).0);
    for key in [&first, &second] {
        store.insert(key.clone()).await.unwrap();
    }
    store.put_owner(Owner::new(OwnerId::from_static("owner"))).await.unwrap();
    let mut before = Vec::new();
    for table in tables {
        before.push(store.dump(table).await);
    }
    let at = |millis| Some(Timestamp::from_unix_millis(millis));
    let unknown = KeyId::from_bytes([0xee; 16]);
    let steps: [(Vec<Usage>, Usage); 6] = [
        (vec![Usage::new(0, None)], Usage::new(0, None)),
        (vec![Usage::new(3, at(50))], Usage::new(3, at(50))),
        (vec![Usage::new(2, at(40))], Usage::new(5, at(50))),
        (vec![Usage::new(1, None)], Usage::new(6, at(50))),
        (vec![Usage::new(1, at(60)), Usage::new(1, at(55))], Usage::new(8, at(60))),
        (vec![Usage::new(u64::MAX, at(1))], Usage::new(i64::MAX as u64, at(60))),
    ];
    for (added, expected) in steps {
        let mut usages: Vec<_> = added.into_iter().map(|usage| (first.id(), usage)).collect();
        usages.push((unknown, Usage::new(1, at(1))));
        store.save_usage(&usages.into_iter().collect()).await.unwrap();
        let saved = store.usage(&[first.id(), second.id(), unknown]).await.unwrap();
        assert_eq!(saved, [(first.id(), expected)]);
    }
    store.save_usage(&UsageBatch::default()).await.unwrap();
    // Concurrent writers lose no usage and do not deadlock.
    let saves: Vec<_> = (0..40)
        .map(|number| {
            let ids = [first.id(), second.id()];
            let ids = if number % 2 == 0 { ids } else { [ids[1], ids[0]] };
            let (store, ledger) = (store.clone(), UsageLedger::new());
            for id in ids {
                assert!(ledger.record(id, NOW));
            }
            tokio::spawn(async move { store.save_usage(&ledger.drain(9)).await })
        })
        .collect();
    for save in saves {
        save.await.unwrap().unwrap();
    }
    let saved = store.usage(&[second.id()]).await.unwrap();
    assert_eq!(saved, [(second.id(), Usage::new(40, Some(NOW)))]);
    for (table, before) in tables.into_iter().zip(before) {
        assert_eq!(store.dump(table).await, before, "saving usage has written to {table}");
    }
}

/// Usage by minute, hour and day adds up to the usage as a whole, and old buckets can be removed.
pub(crate) async fn usage_is_kept_by_spans_of_time(store: impl SqlStore) {
    let (first, second) = (issue("owner", NOW).0, issue("owner", NOW).0);
    for key in [&first, &second] {
        store.insert(key.clone()).await.unwrap();
    }
    let start: Timestamp = "2024-03-01T22:58:30Z".parse().unwrap();
    let ledger = UsageLedger::new();
    let mut expected: BTreeMap<(UsageSpan, Timestamp), u64> = BTreeMap::new();
    for n in 0..400_u64 {
        let now = start + Duration::from_secs(n * 37); // about four hours, over midnight
        assert!(ledger.record(first.id(), now));
        for span in UsageSpan::ALL {
            *expected.entry((span, span.begin(now))).or_default() += 1;
        }
        if n % 90 == 0 {
            assert!(ledger.record(second.id(), now));
            // In batches that share minutes, and one after the other.
            while !ledger.is_empty() {
                store.save_usage(&ledger.drain(7)).await.unwrap();
            }
        }
    }
    store.save_usage(&ledger.drain(usize::MAX)).await.unwrap();
    // A key that the store does not hold, and usage without an instant, have no bucket.
    let unknown = KeyId::from_bytes([0xee; 16]);
    let more = [(unknown, Usage::new(1, Some(start))), (first.id(), Usage::new(5, None))];
    store.save_usage(&more.into_iter().collect()).await.unwrap();
    let saved = store.usage(&[first.id()]).await.unwrap();
    assert_eq!(saved[0].1.requests, 405);

    let all = async |id, span| store.usage_by(id, span, Timestamp::ZERO, Timestamp::MAX).await;
    let of = |span: UsageSpan, expected: &BTreeMap<(UsageSpan, Timestamp), u64>| -> Vec<_> {
        let of_span = expected.iter().filter(|((of, _), _)| *of == span);
        of_span.map(|((_, begin), requests)| UsageBucket::new(*begin, *requests)).collect()
    };
    for span in UsageSpan::ALL {
        let found = all(first.id(), span).await.unwrap();
        assert_eq!(found, of(span, &expected), "{span}");
        assert_eq!(found.iter().map(|bucket| bucket.requests).sum::<u64>(), 400);
        assert!(!all(second.id(), span).await.unwrap().is_empty());
        assert_eq!(all(unknown, span).await.unwrap(), []);
    }
    assert_eq!(all(first.id(), UsageSpan::Day).await.unwrap().len(), 2);
    // A part of the time: from a begin on, and before an end.
    let hours = of(UsageSpan::Hour, &expected);
    let (from, until) = (hours[1].begins_at, hours[3].begins_at);
    let found = store.usage_by(first.id(), UsageSpan::Hour, from, until).await.unwrap();
    assert_eq!(found, hours[1..3]);

    // Retention of one span leaves the others.
    let removed = store.remove_usage_before(UsageSpan::Minute, until, 10).await.unwrap();
    assert_eq!(removed, 10);
    while store.remove_usage_before(UsageSpan::Minute, until, 50).await.unwrap() == 50 {}
    let minutes: Vec<_> = of(UsageSpan::Minute, &expected);
    let rest: Vec<_> = minutes.into_iter().filter(|bucket| bucket.begins_at >= until).collect();
    assert_eq!(all(first.id(), UsageSpan::Minute).await.unwrap(), rest);
    assert_eq!(all(first.id(), UsageSpan::Hour).await.unwrap(), hours);
    assert_eq!(store.usage(&[first.id()]).await.unwrap()[0].1.requests, 405);

    // Counts stop at the largest number, and a purge removes the buckets.
    let most = [(first.id(), Usage::new(u64::MAX, Some(start)))];
    store.save_usage(&most.into_iter().collect()).await.unwrap();
    let found = all(first.id(), UsageSpan::Hour).await.unwrap();
    assert_eq!(found[0].requests, i64::MAX as u64);
    store.revoke_all(first.owner(), NOW.into()).await.unwrap();
    assert_eq!(store.purge(Timestamp::MAX, 9).await.unwrap().len(), 2);
    assert_eq!(store.dump("keyward_usage_buckets").await, Vec::<String>::new());
}

/// Several flushers of one store lose nothing, and do not deadlock.
pub(crate) async fn concurrent_savers_of_buckets_add_up(store: impl SqlStore) {
    let mut ids = Vec::new();
    for _ in 0..20 {
        let (record, _) = issue("owner", NOW);
        ids.push(record.id());
        store.insert(record).await.unwrap();
    }
    let saves: Vec<_> = (0..20_u64)
        .map(|number| {
            let (store, ledger, mut ids) = (store.clone(), UsageLedger::new(), ids.clone());
            if number % 2 == 0 {
                ids.reverse();
            }
            for id in ids {
                for minute in 0..3 {
                    assert!(ledger.record(id, NOW + Duration::from_secs(60 * minute)));
                }
            }
            tokio::spawn(async move { store.save_usage(&ledger.drain(usize::MAX)).await })
        })
        .collect();
    for save in saves {
        save.await.unwrap().unwrap();
    }
    for id in ids {
        for (span, buckets) in [(UsageSpan::Minute, 3), (UsageSpan::Day, 1)] {
            let found = store.usage_by(id, span, Timestamp::ZERO, Timestamp::MAX).await.unwrap();
            assert_eq!(found.len(), buckets);
            assert_eq!(found.iter().map(|bucket| bucket.requests).sum::<u64>(), 60);
        }
    }
}

/// A row of the audit log that makes no entry is reported with its place and its column, and hides no
/// other.
pub(crate) async fn corrupt_entries_hide_no_others(store: impl SqlStore) {
    let minute = Duration::from_secs(60);
    let entry = |action: &str, at| AuditEntry::new(at, ActionName::new(action).unwrap());
    let too_late = (Timestamp::MAX.as_unix_millis() + 1).to_string();
    let long = format!("'{}'", "x".repeat(ActionName::MAX_LEN + 1));
    for (column, value) in [
        ("at", "-1"),
        ("at", &too_late),
        ("action", "''"),
        ("action", &long),
        ("key_id", "'beef'"),
        ("owner", "''"),
        ("kind", "'two words'"),
        ("actor", "''"),
        ("request_id", "'two' || char10 || 'lines'"),
    ] {
        let appended = ["first", "bad", "worse", "last"].into_iter().zip(0..);
        let appended: Vec<_> =
            appended.map(|(action, minutes)| entry(action, NOW + minute * minutes)).collect();
        store.append(&appended).await.unwrap();
        let bad = "action IN ('bad', 'worse')";
        let sql = format!("UPDATE keyward_audit SET {column} = {value} WHERE {bad}");
        assert_eq!(store.tamper(&sql).await.unwrap(), 2, "{sql}");
        for size in [1, 2, 3, 4, 9] {
            let (mut entries, mut damaged, mut after) = (Vec::new(), Vec::new(), None);
            for pages in 0.. {
                assert!(pages < 9, "paging does not end: {column} = {value}");
                let page = store.page(&AuditFilter::all(), after, size).await.unwrap();
                entries.extend(page.entries);
                damaged.extend(page.damaged);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(entries, [appended[3].clone(), appended[0].clone()], "{column} = {value}");
            let places: Vec<_> =
                damaged.iter().map(|bad| bad.position.map(|position| position.at)).collect();
            // No page begins before the first instant, and no cursor is after the last one.
            match (column, value) {
                ("at", "-1") => assert_eq!(places, []),
                ("at", _) => assert_eq!(places, [None, None]),
                _ => assert_eq!(places, [2, 1].map(|minutes| Some(NOW + minute * minutes))),
            }
            for bad in damaged {
                assert_eq!(bad.column, format!("keyward_audit.{column}"), "{value}");
            }
        }
        assert_eq!(store.tamper("DELETE FROM keyward_audit").await.unwrap(), 4);
    }
}

/// Purging a key removes its usage too.
pub(crate) async fn purging_removes_keys_and_usage(store: impl SqlStore) {
    let (key, _) = issue("owner", NOW);
    store.insert(key.clone()).await.unwrap();
    store.save_usage(&[(key.id(), Usage::new(1, Some(NOW)))].into_iter().collect()).await.unwrap();
    store.replace(key.revoke(NOW).unwrap()).await.unwrap();
    assert_eq!(store.purge(NOW, 9).await.unwrap(), []);
    assert_eq!(store.purge(Timestamp::MAX, 9).await.unwrap(), [key.id()]);
    for table in ["keyward_keys", "keyward_secrets", "keyward_usage"] {
        assert_eq!(store.dump(table).await, Vec::<String>::new(), "{table}");
    }
}

/// Rows that form no valid record are errors that name key and column, in every operation.
pub(crate) async fn corrupt_rows_return_errors_with_key_and_column<S: SqlStore>(store: S) {
    let (of_keys, of_secrets, of_owners) = ("keyward_keys", "keyward_secrets", "keyward_owners");
    let too_late = (Timestamp::MAX.as_unix_millis() + 1).to_string();
    let long = format!("'{}'", "x".repeat(S::LONGEST));
    let cases: Vec<(&str, &str, &str)> = vec![
        (of_keys, "owner", "''"),
        (of_keys, "name", "''"),
        (of_keys, "name", &long),
        (of_keys, "name", "'two' || char10 || 'lines'"),
        (of_keys, "scopes", "'read  write'"),
        (of_keys, "scopes", "'\"'"),
        (of_keys, "overrides", "''"),
        (of_keys, "overrides", "'100/min'"),
        (of_keys, "created_at", "-1"),
        (of_keys, "created_at", &too_late),
        (of_keys, "expires_at", "-5"),
        (of_keys, "expires_at", "9223372036854775807"),
        (of_keys, "state", "'paused'"),
        (of_keys, "state", "'Revoked'"),
        (of_keys, "state_since", "5"),
        (of_keys, "revision", "4611686018427387904"),
        (of_keys, "revision", "9223372036854775807"),
        (of_keys, "nonce", "'0123456789abcdeF'"),
        (of_keys, "nonce", "''"),
        (of_keys, "networks", "''"),
        (of_keys, "networks", "'10.0.0.1/8'"),
        (of_keys, "networks", "'10.0.0.0/8,11.0.0.0/8'"),
        (of_keys, "origins", "''"),
        (of_keys, "origins", "'https://a.example/'"),
        (of_keys, "metadata", "'{'"),
        (of_keys, "created_by", "'   '"),
        (of_keys, "revocation_reason", "''"),
        (of_secrets, "hash", "'sha256:beef'"),
        (of_secrets, "hash", "''"),
        (of_secrets, "place", "1"),
        (of_secrets, "kind", "''"),
        (of_secrets, "kind", "'lqt_é'"),
        (of_secrets, "hint", "''"),
        (of_secrets, "created_at", "-1"),
        (of_secrets, "valid_until", &too_late),
        (of_owners, "tier", "''"),
        (of_owners, "state", "'gone'"),
        (of_owners, "state_since", "5"),
        (of_owners, "key_cap", "-1"),
        (of_owners, "key_cap", "4294967296"),
        (of_owners, "overrides", "'default=0/s'"),
        (of_owners, "overrides", "'default=blocked; default=unlimited'"),
    ];
    for (table, column, value) in cases {
        let (record, key) = issue("corrupted", NOW);
        store.insert(record.clone()).await.unwrap();
        store.put_owner(Owner::new(OwnerId::from_static("corrupted"))).await.unwrap();
        let sql = format!("UPDATE {table} SET {column} = {value}");
        assert_eq!(store.tamper(&sql).await.unwrap(), 1, "{sql:.80}");
        let named = format!("{table}.{column}");
        let mut errors = vec![store.find_by_id(record.id()).await.unwrap_err()];
        let listing = store.list_all(PageRequest::first(9)).await.unwrap();
        assert_eq!(listing.damaged, [DamagedKey::new(Some(record.id()), named.clone())]);
        assert!(listing.keys.is_empty() && listing.next.is_none());
        if column == "hash" {
            // The row is not found any more.
            assert!(store.find(&lookup(&key)).await.unwrap().is_none());
        } else {
            errors.push(store.find(&lookup(&key)).await.unwrap_err());
        }
        for error in errors {
            let SqlStoreError::Corrupt { key, column } = &error else {
                panic!("{sql:.80}: {error:?}")
            };
            assert_eq!((*key, *column), (Some(record.id()), &*named), "{sql:.80}");
            assert!(error.to_string().contains(&record.id().to_string()), "{error}");
        }
        if table == of_owners {
            let error = store.owner(&OwnerId::from_static("corrupted")).await.unwrap_err();
            let SqlStoreError::CorruptOwner { column, .. } = error else { panic!("{error:?}") };
            assert_eq!(column, named);
        }
        for table in ["keyward_usage", of_secrets, of_keys, of_owners] {
            store.tamper(&format!("DELETE FROM {table}")).await.unwrap();
        }
    }
    // An update cannot lower a revision, so these rows are inserted, the secret first.
    for revision in ["0", "-9223372036854775808"] {
        let (record, _) = issue("corrupted", NOW);
        let (id, hash) = (record.id(), record.current().hash);
        for sql in [
            format!(
                "INSERT INTO keyward_secrets (hash, key_id, kind, created_at)
                 VALUES ('{hash}', '{id}', 'lqt_', 1)"
            ),
            format!(
                "INSERT INTO keyward_keys (id, owner, name, created_at, revision)
                 VALUES ('{id}', 'corrupted', 'name', 1, {revision})"
            ),
        ] {
            assert_eq!(store.tamper(&sql).await.unwrap(), 1, "{sql}");
        }
        let error = store.find_by_id(id).await.unwrap_err();
        let SqlStoreError::Corrupt { key, column } = error else { panic!("{error:?}") };
        assert_eq!((key, column), (Some(id), "keyward_keys.revision"));
        store.tamper("DELETE FROM keyward_secrets").await.unwrap();
        store.tamper("DELETE FROM keyward_keys").await.unwrap();
    }
}

/// A key without secrets, a key with an invalid id, and two keys with one secret.
pub(crate) async fn contradictory_rows_are_rejected(store: impl SqlStore) {
    let (record, key) = issue("owner", NOW);
    store.insert(record.clone()).await.unwrap();
    store.tamper("DELETE FROM keyward_secrets").await.unwrap();
    let error = store.find_by_id(record.id()).await.unwrap_err();
    assert!(
        matches!(error, SqlStoreError::Corrupt { key: Some(id), .. } if id == record.id()),
        "{error:?}"
    );
    assert!(store.find(&lookup(&key)).await.unwrap().is_none());
    store.tamper("UPDATE keyward_keys SET id = 'no id'").await.unwrap();
    let listing = store.list_all(PageRequest::first(9)).await.unwrap();
    assert_eq!(listing.damaged, [DamagedKey::new(None, "keyward_keys.id")]);
    store.tamper("DELETE FROM keyward_keys").await.unwrap();

    // The same token was imported under two schemes.
    let token = FORMAT.mint(&mut SysRng).unwrap();
    let formats = KeyFormats::from(FORMAT);
    let presented = formats.parse(token.expose()).unwrap();
    let both = KeyHasher::sha256().accept(HashScheme::Sha256Token).unwrap();
    let lookup = Verifier::new(both).lookup(&presented);
    for hash in lookup.hashes() {
        let mut parts = issue("owner", NOW).0.into_parts();
        parts.current.hash = *hash;
        store.insert(parts.build().unwrap()).await.unwrap();
    }
    let error = store.find(&lookup).await.unwrap_err();
    assert!(matches!(error, SqlStoreError::TwoKeys), "{error:?}");
}

/// Unusual texts are read back unchanged.
pub(crate) async fn adversarial_text_round_trips(store: impl SqlStore) {
    let longest = "\u{1f511}".repeat(KeyName::MAX_LEN / 4);
    for text in [
        "'; DROP TABLE keyward_keys; --",
        "\"quoted\" 'twice' `thrice` \\ \\' %s %n $1 ?1 :a @b",
        "{\"a\":[1,2]},{NULL}",
        "\u{1f511}\u{1f468}\u{200d}\u{1f469} \u{e9} e\u{301} \u{10fffd}",
        " led and trailed ",
        "\\x00 \\000 %00",
        &longest,
    ] {
        let mut parts = issue(text, NOW).0.into_parts();
        parts.name = text.parse().unwrap();
        let record = parts.build().unwrap();
        store.insert(record.clone()).await.unwrap();
        let owner = OwnerId::new(text).unwrap();
        store.put_owner(Owner::new(owner.clone())).await.unwrap();
        let listed = store.list(&owner, PageRequest::first(9)).await.unwrap();
        assert_eq!(listed.keys.len(), 1, "{text}");
        assert_eq!(listed.keys[0].record(), &record);
        assert_eq!(store.owner(&owner).await.unwrap().unwrap().id, owner);
    }
    // Equal for a person or a collation, but different texts.
    for other in ["\u{e9}", "e\u{301}", "OWNER", "owner ", "owner"] {
        let owner = OwnerId::new(other).unwrap();
        assert!(store.owner(&owner).await.unwrap().is_none(), "{other}");
        store.put_owner(Owner::new(owner)).await.unwrap();
    }
    // Texts that cannot be stored are rejected before.
    for refused in ["a\0b", "\0", &"x".repeat(1 << 20), &"x".repeat(KeyName::MAX_LEN + 1)] {
        assert!(KeyName::new(refused).is_err());
        assert!(OwnerId::new(refused).is_err());
    }
}

/// Repeated and concurrent migrations, and tables of a newer version.
pub(crate) async fn migrations_are_repeatable_and_concurrent(stores: Vec<impl SqlStore>) {
    let all: Vec<_> = stores
        .iter()
        .cloned()
        .map(|store| tokio::spawn(async move { store.migrate().await }))
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    let (record, _) = issue("owner", NOW);
    stores[0].insert(record.clone()).await.unwrap();
    stores[0].migrate().await.unwrap();
    assert!(stores[0].find_by_id(record.id()).await.unwrap().is_some(), "migrating has lost a key");
    let newer = "INSERT INTO keyward_migrations (version) VALUES (1000)";
    stores[0].tamper(newer).await.unwrap();
    let error = stores[0].migrate().await.unwrap_err();
    assert!(matches!(error, MigrateError::Newer { found: 1000, .. }), "{error:?}");
}

/// A key whose other columns are damaged cannot be read, and is revoked and suspended nevertheless.
pub(crate) async fn a_damaged_key_can_be_revoked(store: impl SqlStore) {
    for damage in [
        "UPDATE keyward_keys SET name = 'a' || char10 || 'b'",
        "UPDATE keyward_keys SET scopes = 'no scope: \"'",
        "UPDATE keyward_keys SET overrides = 'lots'",
        "UPDATE keyward_keys SET created_at = -1",
        "UPDATE keyward_keys SET revision = 9223372036854775807",
        "UPDATE keyward_secrets SET hash = 'sha256:short'",
        "UPDATE keyward_secrets SET kind = ''",
        "DELETE FROM keyward_secrets",
    ] {
        let (record, _) = issue("owner", NOW);
        let (id, owner) = (record.id(), record.owner());
        store.insert(record.clone()).await.unwrap();
        store.tamper(damage).await.unwrap();
        assert!(store.find_by_id(id).await.is_err(), "{damage}");
        let other = OwnerId::from_static("other");
        assert_eq!(store.revoke(id, Some(&other), NOW.into()).await.unwrap(), None, "{damage}");
        let suspended = store.suspend(id, Some(owner), NOW).await.unwrap();
        assert_eq!(suspended, Some(Withdrawn::Now), "{damage}");
        let revoked = store.revoke(id, Some(owner), NOW.into()).await.unwrap();
        assert_eq!(revoked, Some(Withdrawn::Now), "{damage}");
        let again = store.revoke_all(owner, NOW.into()).await.unwrap();
        assert_eq!(again, [], "{damage}");
        let rows = store.dump("keyward_keys").await;
        assert!(rows.iter().all(|row| row.contains("revoked")), "{damage}: {rows:?}");
        store.tamper("DELETE FROM keyward_secrets").await.unwrap();
        store.tamper("DELETE FROM keyward_keys").await.unwrap();
    }
}

/// What is done by hand to a key with two secrets.
const BY_HAND: [&str; 11] = [
    "UPDATE keyward_keys SET state = 'revoked', state_since = 5",
    "UPDATE keyward_keys SET state = 'suspended', state_since = 5",
    "UPDATE keyward_keys SET expires_at = 5000000000000",
    "UPDATE keyward_keys SET owner = 'other'",
    "UPDATE keyward_keys SET scopes = 'read'",
    // Also one that lowers it.
    "UPDATE keyward_keys SET name = 'by hand', revision = 1",
    "UPDATE keyward_secrets SET valid_until = 5 WHERE place = 1",
    "UPDATE keyward_secrets SET hint = NULL WHERE place = 0",
    "DELETE FROM keyward_secrets WHERE place = 1",
    "INSERT INTO keyward_secrets (hash, key_id, place, kind, created_at, valid_until)
     SELECT 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', key_id, 2,
       'lqt_', 1, 5 FROM keyward_secrets WHERE place = 0",
    "UPDATE keyward_secrets SET place = 3 WHERE place = 1",
];

/// Changes that were decided before a change by hand, over each way to read and write, are refused
/// and do not undo it.
pub(crate) async fn changes_by_hand_are_not_undone(store: impl SqlStore) {
    let cache = CachedStore::new(store.clone(), ManualClock::new(NOW));
    for by_hand in BY_HAND {
        // After changes that raise the revision of the key alone, too.
        for (cached, raised) in [(false, false), (false, true), (true, false), (true, true)] {
            let context = format!("{by_hand}, cached {cached}, raised {raised}");
            let (issued, _) = issue("owner", NOW);
            store.insert(issued.clone()).await.unwrap();
            let (rotated, key) = rotate(&issued, NOW);
            store.replace(rotated.clone()).await.unwrap();
            let id = issued.id();
            if raised {
                store.suspend(id, None, NOW).await.unwrap();
                store.suspend(id, None, NOW).await.unwrap();
                let suspended = store.find_by_id(id).await.unwrap().unwrap();
                store.replace(suspended.record().resume(NOW).unwrap()).await.unwrap();
                store.suspend(id, None, NOW).await.unwrap();
            }
            let read = match cached {
                true => cache.find(&lookup(&key)).await.unwrap().unwrap(),
                false => store.find(&lookup(&key)).await.unwrap().unwrap(),
            };
            let read = read.record();
            store.by_hand(by_hand).await;
            let changed = store.find_by_id(id).await.unwrap().unwrap();
            assert!(changed.record().revision() > read.revision(), "{context}");
            let old = read.current().hash;
            let new = KeyHash::new(HashScheme::HmacSha256 { pepper: 1 }, *old.digest());
            for stale in [
                read.rename("stale".parse().unwrap(), NOW).unwrap(),
                read.rehash(&old, new).unwrap(),
                rotate(read, NOW).0,
                read.revoke(NOW).unwrap(),
            ] {
                let refused = match cached {
                    true => matches!(cache.replace(stale).await, Err(ReplaceError::Conflict)),
                    false => matches!(store.replace(stale).await, Err(ReplaceError::Conflict)),
                };
                assert!(refused, "a stale change undid a change by hand: {context}");
            }
            let found = store.find(&lookup(&key)).await.unwrap();
            assert_eq!(found.as_ref(), Some(&changed), "{context}");
            // A refused change through the cache has told it.
            let seen = cache.find(&lookup(&key)).await.unwrap();
            assert!(!cached || seen == found, "{context}: {seen:?}");
            // What has read it changes it.
            assert!(store.revoke(id, None, NOW.into()).await.unwrap().is_some());
            store.by_hand("UPDATE keyward_keys SET state_since = 5").await;
            assert_eq!(store.purge(Timestamp::MAX, 9).await.unwrap(), [id], "{context}");
        }
    }
}

/// A rehash that was decided before a revocation by hand is refused without an error.
pub(crate) async fn a_rehash_does_not_undo_a_revocation_by_hand(store: impl SqlStore) {
    let hasher =
        KeyHasher::hmac_sha256(1, &[1; 32]).unwrap().accept(HashScheme::Sha256Secret).unwrap();
    let (issued, key) = issue("owner", NOW);
    store.insert(issued.clone()).await.unwrap();
    let issuer = Issuer::new(store.clone(), FORMAT, hasher);
    let verifier = issuer.verifier();
    let lookup = verifier.lookup(&KeyFormats::from(FORMAT).parse(key.expose()).unwrap());
    let found = store.find(&lookup).await.unwrap();
    let verified = verifier.verify(&lookup, found, NOW).unwrap();
    assert!(verified.rehash().is_some());
    store.by_hand("UPDATE keyward_keys SET state = 'revoked', state_since = 5").await;
    assert!(!issuer.rehash(&verified, NOW).await.unwrap());
    let found = store.find(&lookup).await.unwrap();
    assert_eq!(verifier.verify(&lookup, found, NOW).unwrap_err(), VerifyError::Revoked);
}

/// No change by keyward itself is raised a second time.
pub(crate) async fn own_changes_are_raised_once(store: impl SqlStore) {
    let (first, _) = issue("owner", NOW);
    let id = first.id();
    store.insert(first.clone()).await.unwrap();
    let mut record = first;
    let changes = |record: &KeyRecord| {
        let fourth = rotate(record, NOW).0;
        let fifth = rotate(&fourth, NOW).0;
        let sixth = fifth.rename("renamed".parse().unwrap(), NOW).unwrap();
        let seventh = sixth.rotate_now(secret(NOW).0, NOW).unwrap();
        [fourth, fifth, sixth, seventh]
    };
    let same = async |record: &KeyRecord| {
        let found = store.find_by_id(id).await.unwrap().unwrap();
        assert_eq!(found.record(), record);
    };
    same(&record).await;
    for suspended in [false, true] {
        for next in changes(&record) {
            store.replace(next.clone()).await.unwrap();
            same(&next).await;
            record = next;
        }
        store.suspend(id, None, NOW).await.unwrap();
        if !suspended {
            record = record.suspend(NOW).unwrap();
            same(&record).await;
        }
    }
    let read = store.find_by_id(id).await.unwrap().unwrap();
    assert_eq!(read.record().revision(), record.revision() + 1);
    store.revoke(id, None, NOW.into()).await.unwrap();
    same(&read.record().revoke(NOW).unwrap()).await;
    // Usage is not a change of the key.
    store.save_usage(&[(id, Usage::new(1, Some(NOW)))].into_iter().collect()).await.unwrap();
    same(&read.record().revoke(NOW).unwrap()).await;
}
