//! Checks of rows that cannot be read, for every database.

use std::collections::BTreeSet;

use keyward::{
    Timestamp,
    key::{KeyId, KeyName, Owner, OwnerId, Tier},
    store::{DamagedKey, DamagedOwner, OwnerPageRequest, PageRequest, Withdrawn},
};

use crate::{
    checks::SqlStore,
    support::{NOW, issue, rotate},
};

const KEYS: &str = "keyward_keys";
const SECRETS: &str = "keyward_secrets";

/// Inserts a key of an owner that was created at this time, with two secrets.
async fn key(store: &impl SqlStore, owner: &str, millis: u64) -> KeyId {
    let at = Timestamp::from_unix_millis(millis);
    let (record, _) = issue(owner, at);
    store.insert(record.clone()).await.unwrap();
    store.replace(rotate(&record, at).0).await.unwrap();
    record.id()
}

/// Damages rows in every way that a listing meets: with and without a position that a cursor can
/// contain, and several in a row. Returns the good keys and the damaged ones.
async fn damaged(store: &impl SqlStore) -> (BTreeSet<KeyId>, Vec<DamagedKey>) {
    let (mut good, mut bad) = (BTreeSet::new(), Vec::new());
    let too_late = (Timestamp::MAX.as_unix_millis() + 1).to_string();
    let cases: [Option<(&str, &str, &str)>; 16] = [
        None,
        Some((KEYS, "created_at", "-1")),
        Some((KEYS, "created_at", "-9223372036854775807")),
        Some((KEYS, "name", "'two' || char10 || 'lines'")),
        Some((SECRETS, "hash", "'sha256:beef'")),
        None,
        Some((KEYS, "id", "'no id'")),
        Some((KEYS, "id", "'zz'")),
        None,
        Some((KEYS, "id", "''")),
        Some((KEYS, "scopes", "'read  write'")),
        Some((SECRETS, "kind", "''")),
        None,
        Some((KEYS, "created_at", &too_late)),
        Some((KEYS, "created_at", "9223372036854775807")),
        None,
    ];
    for (at, case) in (1..).zip(cases) {
        let id = key(store, "owner", at).await;
        let Some((table, column, value)) = case else {
            good.insert(id);
            continue;
        };
        let place = match table {
            KEYS => format!("id = '{id}'"),
            _ => format!("key_id = '{id}' AND place = 0"),
        };
        let sql = format!("UPDATE {table} SET {column} = {value} WHERE {place}");
        assert_eq!(store.tamper(&sql).await.unwrap(), 1, "{sql}");
        let id = (column != "id").then_some(id);
        bad.push(DamagedKey::new(id, format!("{table}.{column}")));
    }
    (good, bad)
}

fn sorted(mut damaged: Vec<DamagedKey>) -> Vec<DamagedKey> {
    damaged.sort_by_key(|it| (it.id, it.column.clone()));
    damaged
}

/// A damaged row hides no other key in any page, and is reported once.
pub(crate) async fn damaged_rows_hide_no_other_key(store: impl SqlStore) {
    let owner = OwnerId::from_static("owner");
    let (good, bad) = damaged(&store).await;
    let bad = sorted(bad);
    let other = key(&store, "other", 3).await;
    for size in [1, 2, 3, 4, 15, 16, 17, PageRequest::MAX_SIZE] {
        for of_owner in [true, false] {
            let (mut page, mut seen, mut reported) = (PageRequest::first(size), vec![], vec![]);
            loop {
                let listing = match of_owner {
                    true => store.list(&owner, page).await.unwrap(),
                    false => store.list_all(page).await.unwrap(),
                };
                assert!(listing.keys.len() <= page.size(), "pages of {size}");
                seen.extend(listing.keys.iter().map(|found| found.record().id()));
                reported.extend(listing.damaged);
                assert!(seen.len() + reported.len() <= 17, "pages of {size} repeat");
                let Some(next) = listing.next else { break };
                page = page.after(next);
            }
            assert_eq!(sorted(reported), bad, "pages of {size}");
            let mut expected = good.clone();
            expected.extend((!of_owner).then_some(other));
            assert_eq!(seen.len(), expected.len(), "pages of {size}");
            assert_eq!(BTreeSet::from_iter(seen), expected, "pages of {size}");
        }
    }
}

/// Damaged rows are revoked, one by one and all together, and rows without a valid id keep nobody
/// from revoking and purging others.
pub(crate) async fn damaged_rows_are_revoked_and_purged(store: impl SqlStore) {
    let owner = OwnerId::from_static("owner");
    let (good, bad) = damaged(&store).await;
    let named: BTreeSet<KeyId> = bad.iter().filter_map(|it| it.id).collect();
    let first = *named.first().unwrap();
    assert_eq!(store.revoke(first, Some(&owner), NOW.into()).await.unwrap(), Some(Withdrawn::Now));
    assert_eq!(
        store.revoke(first, None, NOW.into()).await.unwrap(),
        Some(Withdrawn::RevokedBefore)
    );
    let revoked = store.revoke_all(&owner, NOW.into()).await.unwrap();
    let mut expected = &good | &named;
    expected.remove(&first);
    assert_eq!(revoked.len(), expected.len());
    assert_eq!(BTreeSet::from_iter(revoked), expected);
    let rows = store.dump(KEYS).await;
    assert_eq!(rows.len(), 16);
    assert!(rows.iter().all(|row| row.contains("revoked")), "{rows:?}");
    expected.insert(first);
    let mut purged = BTreeSet::new();
    loop {
        let some = store.purge(Timestamp::MAX, 4).await.unwrap();
        purged.extend(some.iter().copied());
        if some.len() < 4 {
            break;
        }
    }
    assert_eq!(purged, expected);
    assert_eq!(store.dump(KEYS).await.len(), 3, "those without a valid id");
}

/// A damaged owner hides no other owner, and its keys are damaged with it.
pub(crate) async fn damaged_owners_hide_no_other_owner(store: impl SqlStore) {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    for name in names {
        let owner = Owner::new(OwnerId::from_static(name)).with_tier(Tier::from_static("tier"));
        store.put_owner(owner).await.unwrap();
    }
    let id = key(&store, "b", 1).await;
    for sql in [
        "UPDATE keyward_owners SET tier = '' WHERE id = 'b'",
        "UPDATE keyward_owners SET id = 'd' || char10 WHERE id = 'd'",
        "UPDATE keyward_owners SET id = '' WHERE id = 'e'",
        "UPDATE keyward_owners SET id = 'z' || char10 WHERE id = 'g'",
    ] {
        assert_eq!(store.tamper(sql).await.unwrap(), 1, "{sql}");
    }
    let unnamed = || DamagedOwner::new(None, "keyward_owners.id");
    let tier = || DamagedOwner::new(Some(OwnerId::from_static("b")), "keyward_owners.tier");
    for size in [1, 2, 3, 6, 7, 8, PageRequest::MAX_SIZE] {
        let (mut page, mut seen, mut reported) = (OwnerPageRequest::first(size), vec![], vec![]);
        loop {
            let listing = store.list_owners(page.clone()).await.unwrap();
            assert!(listing.owners.len() <= page.size(), "pages of {size}");
            seen.extend(listing.owners.iter().map(|owner| owner.id.as_str().to_owned()));
            reported.extend(listing.damaged);
            assert!(seen.len() + reported.len() <= names.len(), "pages of {size} repeat");
            let Some(next) = listing.next else { break };
            page = page.after(next);
        }
        assert_eq!(seen, ["a", "c", "f"], "pages of {size}");
        assert_eq!(reported, [unnamed(), tier(), unnamed(), unnamed()], "pages of {size}");
    }
    let listing = store.list_all(PageRequest::first(9)).await.unwrap();
    assert_eq!(listing.damaged, [DamagedKey::new(Some(id), "keyward_owners.tier")]);
}

/// The report has every damaged row, also of tables that no listing reads.
pub(crate) async fn all_damaged_rows_are_reported(store: impl SqlStore) {
    let clean = store.check_rows().await.unwrap();
    assert!(clean.is_clean() && clean.checked_keys == 0 && clean.checked_owners == 0);
    let (_, mut bad) = damaged(&store).await;
    for owner in ["a", "b"] {
        store.put_owner(Owner::new(OwnerId::from_static(owner))).await.unwrap();
    }
    let used = key(&store, "other", 100).await;
    let unknown = KeyId::from_bytes([0xee; 16]);
    for sql in [
        "UPDATE keyward_owners SET overrides = 'lots' WHERE id = 'b'".to_owned(),
        format!("INSERT INTO keyward_usage (key_id, requests) VALUES ('{used}', -1)"),
        format!("INSERT INTO keyward_usage (key_id, requests) VALUES ('{unknown}', 1)"),
        "INSERT INTO keyward_usage (key_id, requests) VALUES ('nobody', 1)".to_owned(),
        format!(
            "INSERT INTO keyward_usage_buckets (key_id, span, begins_at, requests)
             VALUES ('{used}', 'day', 0, -1)"
        ),
    ] {
        assert_eq!(store.tamper(&sql).await.unwrap(), 1, "{sql}");
    }
    let report = store.check_rows().await.unwrap();
    assert!(!report.is_clean());
    assert_eq!((report.checked_keys, report.checked_owners), (17, 2));
    let overrides = DamagedOwner::new(Some(OwnerId::from_static("b")), "keyward_owners.overrides");
    assert_eq!(report.owners, [overrides]);
    let (orphans, reported): (Vec<_>, Vec<_>) =
        report.keys.into_iter().partition(|it| it.column == "keyward_secrets.key_id");
    // Two secrets of each key whose id was damaged.
    assert_eq!(orphans.len(), 6, "{orphans:?}");
    bad.extend([
        DamagedKey::new(Some(used), "keyward_usage.requests"),
        DamagedKey::new(Some(unknown), "keyward_usage.key_id"),
        DamagedKey::new(None, "keyward_usage.key_id"),
        DamagedKey::new(Some(used), "keyward_usage_buckets.*"),
    ]);
    assert_eq!(sorted(reported), sorted(bad));
}

/// The checks of the tables accept a text exactly if its type does, and refuse other values that
/// cannot be read.
pub(crate) async fn tables_refuse_what_no_type_accepts(store: impl SqlStore) {
    let too_late = (Timestamp::MAX.as_unix_millis() + 1).to_string();
    key(&store, "owner", NOW.as_unix_millis()).await;
    store
        .put_owner(Owner::new(OwnerId::from_static("owner")).with_tier(Tier::from_static("t")))
        .await
        .unwrap();
    let special = [0x061C, 0x200B, 0x200E, 0x2010, 0x2027, 0x202F, 0x2065, 0x206A, 0xFEFF, 0x1F511];
    let codes = (1..=0xA1).chain(special.into_iter().flat_map(|code| code - 1..=code + 1));
    let mut texts: Vec<String> = codes
        .filter_map(char::from_u32)
        .map(|it| if it == '\'' { "''".to_owned() } else { format!("a{it}b") })
        .filter(|text| !text.contains('\\'))
        .collect();
    for text in ["", " ", "   ", " led", "trailed ", "\u{e9}", "e\u{301}"] {
        texts.push(text.to_owned());
    }
    for size in [127, 128, 129] {
        texts.push("x".repeat(size));
        texts.push(format!("{}\u{e9}", "x".repeat(size - 2)));
    }
    for text in texts {
        let accepted = KeyName::new(&text.replace("''", "'")).is_ok();
        for (table, column) in
            [(KEYS, "name"), (KEYS, "owner"), (KEYS, "created_by"), ("keyward_owners", "id")]
        {
            let done = store.at_a_console(&format!("UPDATE {table} SET {column} = '{text}'")).await;
            assert_eq!(done.is_ok(), accepted, "{column} = {text:?}: {done:?}");
        }
        let accepted = Tier::new(&text.replace("''", "'")).is_ok();
        let done = store.at_a_console(&format!("UPDATE keyward_owners SET tier = '{text}'")).await;
        assert_eq!(done.is_ok(), accepted, "tier = {text:?}: {done:?}");
    }
    let hex = "0123456789abcdef".repeat(4);
    let hash = |scheme: &str, digest: &str| format!("'{scheme}:{digest}'");
    let hashes = [
        (hash("sha256", &hex), true),
        (hash("sha256-secret", &hex), true),
        (hash("hmac-sha256.65535", &hex), true),
        (hash("sha256", &hex.to_uppercase()), false),
        (hash("sha256", &hex[1..]), false),
        (hash("sha256", &format!("{hex}0")), false),
        (hash("sha256:", &hex[1..]), false),
        (hash("", &hex), false),
        (hash("SHA256", &hex), false),
        (hash("sha 256", &hex), false),
        (format!("'{hex}'"), false),
        ("''".to_owned(), false),
    ];
    for (value, accepted) in hashes {
        let sql = format!("UPDATE {SECRETS} SET hash = {value} WHERE place = 0");
        let done = store.at_a_console(&sql).await;
        assert_eq!(done.is_ok(), accepted, "{sql}: {done:?}");
    }
    let long = |size: usize| format!("'{}'", "x".repeat(size));
    let (kind, longer_kind) = (long(23), long(24));
    let (hint, longer_hint) = (long(35), long(36));
    for (table, column, value, accepted) in [
        (SECRETS, "kind", "'lqt_'", true),
        (SECRETS, "kind", &*kind, true),
        (SECRETS, "kind", &*longer_kind, false),
        (SECRETS, "kind", "''", false),
        (SECRETS, "kind", "'lqt.'", false),
        (SECRETS, "hint", "'lqt_7a4f.**'", true),
        (SECRETS, "hint", "NULL", true),
        (SECRETS, "hint", &*hint, true),
        (SECRETS, "hint", &*longer_hint, false),
        (SECRETS, "hint", "''", false),
        (SECRETS, "hint", "'a b'", false),
        (KEYS, "scopes", "''", true),
        (KEYS, "scopes", "'read'", true),
        (KEYS, "scopes", "'read:a/b write !#[]^~'", true),
        (KEYS, "scopes", "'read  write'", false),
        (KEYS, "scopes", "' read'", false),
        (KEYS, "scopes", "'read '", false),
        (KEYS, "scopes", "' '", false),
        (KEYS, "scopes", "'re\"ad'", false),
        (KEYS, "scopes", "'read\tb'", false),
        (KEYS, "scopes", "'r\u{e9}ad'", false),
        (KEYS, "nonce", "'0123456789abcdeF'", false),
        (KEYS, "nonce", "''", false),
        (KEYS, "networks", "''", false),
        (KEYS, "origins", "''", false),
        (KEYS, "metadata", "''", false),
        (KEYS, "metadata", &*long(4_097), false),
        (KEYS, "created_by", "''", false),
        (KEYS, "created_by", &*long(129), false),
        (KEYS, "created_by", &*long(128), true),
        (KEYS, "revocation_reason", "'but it is active'", false),
        ("keyward_owners", "state", "'gone'", false),
        ("keyward_owners", "state_since", "5", false),
        ("keyward_owners", "key_cap", "-1", false),
        ("keyward_owners", "key_cap", "4294967296", false),
        ("keyward_owners", "key_cap", "4294967295", true),
        (KEYS, "created_at", "0", true),
        (KEYS, "created_at", "-1", false),
        (KEYS, "created_at", &*too_late, false),
        (KEYS, "expires_at", "253402300799999", true),
        (KEYS, "expires_at", "-1", false),
        (KEYS, "expires_at", &*too_late, false),
        (KEYS, "state", "'paused'", false),
        (KEYS, "state", "'Active'", false),
        (KEYS, "state", "'active '", false),
        (KEYS, "state_since", "5", false),
        (SECRETS, "created_at", "-1", false),
        (SECRETS, "created_at", &*too_late, false),
        (SECRETS, "place", "4", false),
        (SECRETS, "place", "-1", false),
    ] {
        let only = if table == SECRETS { " WHERE place = 0" } else { "" };
        let sql = format!("UPDATE {table} SET {column} = {value}{only}");
        let done = store.at_a_console(&sql).await;
        assert_eq!(done.is_ok(), accepted, "{sql}: {done:?}");
    }
    for sql in [
        "UPDATE keyward_secrets SET valid_until = NULL WHERE place = 1",
        "UPDATE keyward_secrets SET valid_until = 5 WHERE place = 0",
        "UPDATE keyward_secrets SET valid_until = -1 WHERE place = 1",
        "INSERT INTO keyward_keys (id, owner, name, created_at)
         VALUES ('0123456789abcdef0123456789abcdeF', 'o', 'n', 0)",
        "INSERT INTO keyward_keys (id, owner, name, created_at)
         VALUES ('0123456789abcdef0123456789abcde', 'o', 'n', 0)",
        "INSERT INTO keyward_keys (id, owner, name, created_at, revision)
         VALUES ('0123456789abcdef0123456789abcdef', 'o', 'n', 0, 0)",
        "INSERT INTO keyward_secrets (hash, key_id, place, kind, created_at, valid_until)
         VALUES ('sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdee',
           '0123456789abcdef0123456789abcdef', 0, 'k', 0, NULL)",
        "INSERT INTO keyward_usage (key_id, requests)
         VALUES ('0123456789abcdef0123456789abcdef', 1)",
    ] {
        let done = store.at_a_console(sql).await;
        assert!(done.is_err(), "{sql}");
    }
    // Whatever was accepted can be read.
    let report = store.check_rows().await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}
