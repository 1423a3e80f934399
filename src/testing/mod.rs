//! The conformance suite for authors of stores (feature `testing`).
//!
//! [`conformance_tests!`](crate::conformance_tests) makes a `#[test]` of each check; the
//! checks are also plain functions. Each takes what makes a fresh, empty store and what
//! runs its futures, and panics where the store breaks a promise of
//! [`KeyStore`](crate::store::KeyStore) or [`KeyRegistry`]. A store that only finds, such as a replica,
//! is tested through a registry over the same data, for something has to put keys there.
//!
//! ```
//! # mod suite {
//! keyward::conformance_tests!(keyward::testing::Inline, keyward::MemoryStore::new());
//! # }
//! ```

use std::{collections::BTreeSet, future::Future, sync::Barrier, thread, time::Duration};

use rand::{SeedableRng, TryRng, rngs::StdRng};

use crate::{
    clock::timestamp::Timestamp,
    key::{
        draft::KeyDraft,
        format::KeyFormat,
        formats::KeyFormats,
        grace::Grace,
        hash::{HashScheme, KeyHash},
        hasher::KeyHasher,
        id::KeyId,
        owner::{Owner, OwnerId, Tier},
        parts::KeyRecordParts,
        plaintext::PlaintextKey,
        record::KeyRecord,
        scope::ScopeSet,
        secret::StoredSecret,
        state::KeyState,
    },
    quota::{Quota, Quotas},
    store::{InsertError, KeyRegistry, PageRequest, ReplaceError, lookup::Lookup},
    verify::Verifier,
};

/// Runs the futures of a store.
///
/// A store that needs a runtime implements this for it; the checks call it from several
/// threads at once.
///
/// ```
/// use keyward::testing::BlockOn;
///
/// struct OnMyRuntime; // holding, say, a tokio::runtime::Runtime
///
/// impl BlockOn for OnMyRuntime {
///     fn block_on<F: Future>(&self, future: F) -> F::Output {
///         // self.0.block_on(future)
/// #       keyward::testing::Inline.block_on(future)
///     }
/// }
/// ```
pub trait BlockOn: Sync {
    /// Runs a future to its end on the calling thread.
    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

/// Runs futures on the calling thread, for stores that need no runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl BlockOn for Inline {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        pollster::block_on(future)
    }
}

/// Makes a module's worth of `#[test]`s, one for each check of [`testing`](crate::testing).
///
/// The first expression is a [`BlockOn`], the second makes a fresh, empty store; it is
/// evaluated once for each check.
#[macro_export]
macro_rules! conformance_tests {
    (@each $executor:expr, $store:expr, $($check:ident),* $(,)?) => {$(
        #[test]
        fn $check() {
            $crate::testing::$check(&$executor, &$store);
        }
    )*};
    ($executor:expr, $store:expr) => {
        $crate::each_conformance_check!([$crate::conformance_tests] @each $executor, $store,);
    };
}

/// Calls a macro with the names of all checks of [`testing`](crate::testing), behind whatever
/// else it is to be called with: what [`conformance_tests!`](crate::conformance_tests) does,
/// for tests that want another attribute or another shape.
///
/// ```
/// macro_rules! count {
///     ($($check:ident),* $(,)?) => { [$(stringify!($check)),*].len() };
/// }
/// assert!(keyward::each_conformance_check!([count]) >= 17);
/// ```
#[macro_export]
macro_rules! each_conformance_check {
    ([$($callback:tt)*] $($arguments:tt)*) => {
        $($callback)*! {
            $($arguments)*
            insert_then_find,
            insert_never_replaces,
            insert_refuses_duplicate_secrets,
            replace_needs_the_next_revision,
            replace_refuses_duplicate_secrets,
            every_field_survives,
            retiring_secrets_are_found,
            dropped_secrets_are_not_found,
            several_candidates_are_looked_up,
            schemes_are_told_apart,
            revoked_keys_are_still_found,
            ended_keys_are_purged,
            owners_are_joined,
            listings_are_paged,
            concurrent_replaces_have_one_winner,
            concurrent_inserts_have_one_winner,
            purging_and_changing_exclude_each_other,
        }
    };
}

/// What was inserted is found by its hash, got by its id, and nothing else is.
pub fn insert_then_find(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(1);
        let (record, key) = world.issue("owner");
        let (_, stranger) = world.issue("owner");
        assert!(store.find(&world.lookup(&key)).await.unwrap().is_none(), "an empty store finds");
        assert!(store.get(record.id()).await.unwrap().is_none(), "an empty store gets");
        store.insert(record.clone()).await.unwrap();
        let found = store.find(&world.lookup(&key)).await.unwrap();
        assert_eq!(found.expect("inserted, not found").record(), &record);
        let got = store.get(record.id()).await.unwrap();
        assert_eq!(got.expect("inserted, not got").record(), &record);
        assert!(store.find(&world.lookup(&stranger)).await.unwrap().is_none());
    });
}

/// Inserting an existing id is refused and changes nothing.
pub fn insert_never_replaces(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(2);
        let (record, key) = world.issue("owner");
        store.insert(record.clone()).await.unwrap();
        let (other, other_key) = world.issue("thief");
        let mut parts = other.into_parts();
        parts.id = record.id();
        let forged = parts.build().unwrap();
        let refused = store.insert(forged).await;
        assert!(matches!(refused, Err(InsertError::DuplicateId)), "insert replaced: {refused:?}");
        let again = store.insert(record.clone()).await;
        assert!(
            matches!(again, Err(InsertError::DuplicateId | InsertError::DuplicateSecret)),
            "inserting twice: {again:?}"
        );
        assert_eq!(store.get(record.id()).await.unwrap().unwrap().record(), &record);
        assert_eq!(store.find(&world.lookup(&key)).await.unwrap().unwrap().record(), &record);
        assert!(store.find(&world.lookup(&other_key)).await.unwrap().is_none());
    });
}

/// Inserting a hash that another record has, current or retiring, is refused and changes
/// nothing.
pub fn insert_refuses_duplicate_secrets(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(3);
        let (first, first_key) = world.issue("owner");
        let (rotated, _) = world.rotate(&first);
        store.insert(first).await.unwrap();
        store.replace(rotated.clone()).await.unwrap();
        for taken in rotated.hashes() {
            let (other, other_key) = world.issue("thief");
            let (mut as_current, mut as_retiring) =
                (other.clone().into_parts(), other.into_parts());
            as_current.current.hash = *taken;
            as_retiring = world.rotate(&as_retiring.build().unwrap()).0.into_parts();
            let free = as_retiring.current.clone();
            for retiring in &mut as_retiring.retiring {
                retiring.secret.hash = *taken;
            }
            for parts in [as_current, as_retiring] {
                let id = parts.id;
                let refused = store.insert(parts.build().unwrap()).await;
                assert!(
                    matches!(refused, Err(InsertError::DuplicateSecret)),
                    "inserted a hash that is taken: {refused:?}"
                );
                assert!(store.get(id).await.unwrap().is_none(), "refused, yet half there");
            }
            assert!(store.find(&world.lookup(&other_key)).await.unwrap().is_none());
            // Nor is the free hash of what was refused kept for it.
            let (third, _) = world.issue("owner");
            let mut parts = third.into_parts();
            parts.current = free;
            store.insert(parts.build().unwrap()).await.expect("a refused insert holds a hash");
        }
        let found = store.find(&world.lookup(&first_key)).await.unwrap().unwrap();
        assert_eq!(found.record(), &rotated);
    });
}

/// Replacing takes exactly the next revision of an existing id.
pub fn replace_needs_the_next_revision(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(4);
        let (first, _) = world.issue("owner");
        let missing = store.replace(world.rotate(&first).0).await;
        assert!(
            matches!(missing, Err(ReplaceError::NotFound)),
            "replaced what is not there: {missing:?}"
        );
        store.insert(first.clone()).await.unwrap();
        let (second, _) = world.rotate(&first);
        let third = second.revoke(world.now).unwrap();
        for (record, name) in [(&first, "the same revision"), (&third, "a revision too far")] {
            let refused = store.replace(record.clone()).await;
            assert!(matches!(refused, Err(ReplaceError::Conflict)), "{name}: {refused:?}");
            assert_eq!(store.get(first.id()).await.unwrap().unwrap().record(), &first);
        }
        store.replace(second.clone()).await.unwrap();
        let stale = store.replace(first.revoke(world.now).unwrap()).await;
        assert!(matches!(stale, Err(ReplaceError::Conflict)), "a stale change won: {stale:?}");
        assert_eq!(store.get(first.id()).await.unwrap().unwrap().record(), &second);
        store.replace(third.clone()).await.unwrap();
        assert_eq!(store.get(first.id()).await.unwrap().unwrap().record(), &third);
    });
}

/// Replacing with a hash that another record has is refused and changes nothing.
pub fn replace_refuses_duplicate_secrets(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(5);
        let (victim, victim_key) = world.issue("victim");
        let (thief, thief_key) = world.issue("thief");
        store.insert(victim.clone()).await.unwrap();
        store.insert(thief.clone()).await.unwrap();
        let stolen = StoredSecret::new(victim.current().hash, victim.kind(), world.now);
        let refused = store.replace(thief.rotate(stolen, Grace::DAY, world.now).unwrap()).await;
        assert!(
            matches!(refused, Err(ReplaceError::DuplicateSecret)),
            "replaced with a hash that is taken: {refused:?}"
        );
        for (record, key) in [(&victim, &victim_key), (&thief, &thief_key)] {
            assert_eq!(store.get(record.id()).await.unwrap().unwrap().record(), record);
            let found = store.find(&world.lookup(key)).await.unwrap().unwrap();
            assert_eq!(found.record(), record);
        }
    });
}

/// A record with every optional field set comes back as it was, through every way to it.
pub fn every_field_survives(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(6);
        for (suspended, owner) in [(false, "Ärzte 'ohne' \"Grenzen\" \\ 😀 %_"), (true, "owner")]
        {
            let (record, key) = world.issue(owner);
            let (record, _) = world.rotate(&record);
            let (record, _) = world.rotate(&record);
            let mut parts = record.into_parts();
            parts.name = "it's; DROP TABLE \"keys\" -- 😀".parse().unwrap();
            parts.scopes =
                "read:lucent write:issues !#$%&'()*+,-./:;<=>?@[]^_`{|}~".parse().unwrap();
            parts.quotas = Some(quotas());
            parts.expires_at = Some(Timestamp::MAX);
            parts.revision = 1;
            if suspended {
                parts.state = KeyState::Suspended { since: world.now };
                parts.current.hint = None;
                parts.current.hash = KeyHash::new(
                    HashScheme::HmacSha256 { pepper: u16::MAX },
                    *parts.current.hash.digest(),
                );
            }
            let record = parts.build().unwrap();
            store.insert(record.clone()).await.unwrap();
            assert_eq!(store.get(record.id()).await.unwrap().unwrap().record(), &record);
            assert_eq!(store.find(&world.lookup(&key)).await.unwrap().unwrap().record(), &record);
            let listing = store.list(record.owner(), PageRequest::first(10)).await.unwrap();
            assert_eq!(listing.keys.iter().map(|it| it.record()).collect::<Vec<_>>(), [&record]);
        }
    });
}

/// After a rotation the old secret and the new one both lead to the rotated record.
pub fn retiring_secrets_are_found(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(7);
        let (mut record, key) = world.issue("owner");
        store.insert(record.clone()).await.unwrap();
        let mut keys = vec![key];
        for _ in 0..KeyRecord::MAX_RETIRING {
            let (rotated, key) = world.rotate(&record);
            store.replace(rotated.clone()).await.unwrap();
            record = rotated;
            keys.push(key);
            for key in &keys {
                let found = store.find(&world.lookup(key)).await.unwrap();
                assert_eq!(found.expect("a live secret is not found").record(), &record);
            }
        }
    });
}

/// A secret that the record no longer holds is not found.
pub fn dropped_secrets_are_not_found(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(8);
        let (record, old) = world.issue("owner");
        let (rotated, older) = world.rotate(&record);
        store.insert(record.clone()).await.unwrap();
        store.replace(rotated.clone()).await.unwrap();
        let (secret, new) = world.secret();
        store.replace(rotated.rotate_now(secret, world.now).unwrap()).await.unwrap();
        for (key, there) in [(&old, false), (&older, false), (&new, true)] {
            assert_eq!(store.find(&world.lookup(key)).await.unwrap().is_some(), there);
        }
    });
}

/// A record under an older scheme is found by the lookup that holds several hashes.
pub fn several_candidates_are_looked_up(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(9);
        world.hasher = World::old_hasher();
        let (record, key) = world.issue("owner");
        store.insert(record.clone()).await.unwrap();
        world.hasher = World::new_hasher();
        let lookup = world.lookup(&key);
        assert_eq!(lookup.hashes().len(), 2);
        let found = store.find(&lookup).await.unwrap().expect("older scheme not found");
        assert_eq!(found.record(), &record);
        let verified = Verifier::new(world.hasher.clone()).verify(&lookup, Some(found), world.now);
        let rehash = *verified.unwrap().rehash().expect("an older scheme asks for a rehash");
        let rehashed = record.rehash(&rehash.old, rehash.new).unwrap();
        store.replace(rehashed.clone()).await.unwrap();
        assert_eq!(store.find(&world.lookup(&key)).await.unwrap().unwrap().record(), &rehashed);
        world.hasher = World::old_hasher();
        assert!(store.find(&world.lookup(&key)).await.unwrap().is_none(), "the old hash is gone");
    });
}

/// The same digest under another scheme or pepper is another hash.
pub fn schemes_are_told_apart(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(10);
        let schemes = [
            HashScheme::Sha256Token,
            HashScheme::HmacSha256 { pepper: 0 },
            HashScheme::HmacSha256 { pepper: 1 },
        ];
        let (record, key) = world.issue("owner");
        let digest = *record.current().hash.digest();
        for scheme in schemes {
            let mut parts = world.issue("owner").0.into_parts();
            parts.current.hash = KeyHash::new(scheme, digest);
            store.insert(parts.build().unwrap()).await.expect("another scheme is another hash");
            assert!(store.find(&world.lookup(&key)).await.unwrap().is_none(), "{scheme:?}");
        }
        store.insert(record.clone()).await.unwrap();
        assert_eq!(store.find(&world.lookup(&key)).await.unwrap().unwrap().record(), &record);
    });
}

/// Whether a key is still good is not the store's question: it finds what it holds.
pub fn revoked_keys_are_still_found(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(11);
        let (record, key) = world.issue("owner");
        store.insert(record.clone()).await.unwrap();
        let revoked = record.revoke(world.now).unwrap();
        store.replace(revoked.clone()).await.unwrap();
        assert_eq!(store.find(&world.lookup(&key)).await.unwrap().unwrap().record(), &revoked);
        assert_eq!(store.get(record.id()).await.unwrap().unwrap().record(), &revoked);
    });
}

/// A purge removes what ended before the given instant, in portions, and nothing else; what
/// it removed is forgotten.
pub fn ended_keys_are_purged(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(16);
        let before = world.now + Duration::from_secs(3_600);
        let millisecond = Duration::from_millis(1);
        let (earlier, later) = (before.saturating_sub(millisecond), before + millisecond);
        let owner = Owner::new(OwnerId::new("owner").unwrap()).with_quotas(quotas());
        store.put_owner(owner.clone()).await.unwrap();
        let asleep = Some(KeyState::Suspended { since: world.now });
        let revoked = |since| Some(KeyState::Revoked { since });
        let (mut gone, mut staying) = (Vec::new(), Vec::new());
        for (what, state, expiry, goes) in [
            ("in use", None, None, false),
            ("in use, expiring some day", None, Some(Timestamp::MAX), false),
            ("expiring afterwards", None, Some(later), false),
            ("expired then", None, Some(before), false),
            ("expired before", None, Some(earlier), true),
            ("suspended", asleep, None, false),
            ("suspended, expired then", asleep, Some(before), false),
            ("suspended, expired before", asleep, Some(earlier), true),
            ("revoked afterwards", revoked(later), None, false),
            ("revoked then", revoked(before), None, false),
            ("revoked before", revoked(earlier), None, true),
            ("revoked before its expiry", revoked(earlier), Some(later), true),
            ("revoked after its expiry", revoked(later), Some(earlier), true),
            ("revoked and expired afterwards", revoked(later), Some(later), false),
            ("revoked long before", revoked(world.now), None, true),
        ] {
            let (record, old) = world.issue(if expiry.is_some() { "other" } else { "owner" });
            let mut parts = record.into_parts();
            parts.expires_at = expiry;
            let record = parts.build().unwrap();
            store.insert(record.clone()).await.unwrap();
            // One secret in its grace, so that there are two to forget.
            let (record, new) = world.rotate(&record);
            let mut parts = record.into_parts();
            parts.state = state.unwrap_or(parts.state);
            let record = parts.build().unwrap();
            store.replace(record.clone()).await.unwrap();
            let kept = if goes { &mut gone } else { &mut staying };
            kept.push((what, record, [old, new]));
        }
        assert_eq!(store.purge(before, 0).await.unwrap(), [], "more than asked for");
        let mut purged = Vec::new();
        loop {
            let some = store.purge(before, 2).await.unwrap();
            assert!(some.len() <= 2, "more than asked for");
            let last = some.len() < 2;
            purged.extend(some);
            assert!(purged.len() <= gone.len(), "more than have ended were purged: {purged:?}");
            if last {
                break;
            }
        }
        for (what, record, keys) in &gone {
            assert!(purged.contains(&record.id()), "{what}: it was not purged");
            assert!(store.get(record.id()).await.unwrap().is_none(), "{what}: it is got");
            for key in keys {
                let found = store.find(&world.lookup(key)).await.unwrap();
                assert!(found.is_none(), "{what}: it is found");
            }
            let changed = store.replace(record.revoke(world.now).unwrap()).await;
            assert!(matches!(changed, Err(ReplaceError::NotFound)), "{what}: {changed:?}");
        }
        for (what, record, keys) in &staying {
            let got = store.get(record.id()).await.unwrap();
            assert_eq!(got.as_ref().map(|it| it.record()), Some(record), "{what}: it was purged");
            for key in keys {
                let found = store.find(&world.lookup(key)).await.unwrap();
                assert_eq!(found.as_ref().map(|it| it.record()), Some(record), "{what}");
            }
        }
        let place = |record: &KeyRecord| (record.created_at(), record.id());
        let of = |owner: &str| {
            let records = staying.iter().map(|(_, record, _)| record);
            records.filter(|it| it.owner().as_str() == owner).map(place).collect::<BTreeSet<_>>()
        };
        for name in ["owner", "other"] {
            let id = OwnerId::new(name).unwrap();
            let listed = store.list(&id, PageRequest::first(100)).await.unwrap();
            assert!(listed.keys.iter().map(|it| place(it.record())).eq(of(name)), "{name}'s keys");
        }
        let all = store.list_all(PageRequest::first(100)).await.unwrap();
        assert!(all.keys.iter().map(|it| place(it.record())).eq(&of("owner") | &of("other")));
        assert_eq!(*store.owner(&owner.id).await.unwrap().expect("its owner is gone"), owner);
        // Forgotten: its id and its secrets can come again, and the secrets under another id too.
        for (at, (what, record, keys)) in gone.iter().enumerate() {
            let mut parts = record.clone().into_parts();
            parts.revision = 1;
            if at % 2 == 1 {
                parts.id = world.issue("owner").0.id();
            }
            let record = parts.build().unwrap();
            let inserted = store.insert(record.clone()).await;
            assert!(inserted.is_ok(), "{what}: it is not forgotten: {inserted:?}");
            let found = store.find(&world.lookup(&keys[0])).await.unwrap();
            assert_eq!(found.as_ref().map(|it| it.record()), Some(&record), "{what}");
        }
        assert_eq!(store.purge(before, u16::MAX).await.unwrap().len(), gone.len());
        assert_eq!(store.purge(before, u16::MAX).await.unwrap(), []);
    });
}

/// A key is found with its owner as of now; one whose owner was never put, with a bare one.
pub fn owners_are_joined(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(12);
        let (first, first_key) = world.issue("owner");
        let (second, second_key) = world.issue("owner");
        let (other, other_key) = world.issue("other");
        let bare = Owner::new(first.owner().clone());
        store.insert(first.clone()).await.unwrap();
        let found = store.find(&world.lookup(&first_key)).await.unwrap().unwrap();
        assert_eq!(**found.owner(), bare, "an owner that was never put");
        assert!(store.owner(&bare.id).await.unwrap().is_none(), "it was never put");
        for record in [second, other] {
            store.insert(record).await.unwrap();
        }
        for tier in ["enterprise", "standard"] {
            let owner = bare.clone().with_tier(Tier::new(tier).unwrap()).with_quotas(quotas());
            store.put_owner(owner.clone()).await.unwrap();
            assert_eq!(*store.owner(&owner.id).await.unwrap().unwrap(), owner);
            for key in [&first_key, &second_key] {
                let found = store.find(&world.lookup(key)).await.unwrap().unwrap();
                assert_eq!(**found.owner(), owner, "the owner as of now");
            }
            assert_eq!(**store.get(first.id()).await.unwrap().unwrap().owner(), owner);
            let other = store.find(&world.lookup(&other_key)).await.unwrap().unwrap();
            assert_eq!(other.owner().tier, None, "another owner's tier changed");
        }
        let early = Owner::new(OwnerId::new("early").unwrap()).with_quotas(quotas());
        store.put_owner(early.clone()).await.unwrap();
        let (record, key) = world.issue("early");
        store.insert(record).await.unwrap();
        let found = store.find(&world.lookup(&key)).await.unwrap().unwrap();
        assert_eq!(**found.owner(), early, "an owner put before its first key");
    });
}

/// Listings hold each key once, oldest first, in pages; another owner's keys are not there.
pub fn listings_are_paged(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(13);
        let owner = OwnerId::new("owner").unwrap();
        let empty = store.list(&owner, PageRequest::first(10)).await.unwrap();
        assert!(empty.keys.is_empty() && empty.next.is_none());
        let (mut own, mut all) = (BTreeSet::new(), BTreeSet::new());
        for n in 0..23 {
            // Some are created in the same millisecond, and not in the order of their ids.
            world.now = Timestamp::from_unix_millis(1_700_000_000_000 + n / 4);
            let (record, _) = world.issue(if n % 3 == 0 { "other" } else { "owner" });
            let place = (record.created_at(), record.id());
            all.insert(place);
            if record.owner() == &owner {
                own.insert(place);
            }
            store.insert(record).await.unwrap();
        }
        for size in [1, 2, 5, 22, 23, 24, PageRequest::MAX_SIZE] {
            for (expected, of_owner) in [(&own, true), (&all, false)] {
                let (mut page, mut seen) = (PageRequest::first(size), Vec::new());
                loop {
                    let listing = if of_owner {
                        store.list(&owner, page).await.unwrap()
                    } else {
                        store.list_all(page).await.unwrap()
                    };
                    assert!(listing.keys.len() <= page.size(), "a page larger than asked for");
                    let keys = listing.keys.iter().map(|it| it.record());
                    seen.extend(keys.map(|record| (record.created_at(), record.id())));
                    assert!(seen.len() <= expected.len(), "a listing repeats keys");
                    let Some(next) = listing.next else { break };
                    assert_eq!(
                        listing.keys.len(),
                        page.size(),
                        "a short page that is not the last"
                    );
                    page = page.after(next);
                }
                assert_eq!(seen, expected.iter().copied().collect::<Vec<_>>(), "pages of {size}");
            }
        }
    });
}

/// Of several changes of one revision at the same time exactly one wins, and the store
/// holds the winner's.
pub fn concurrent_replaces_have_one_winner(executor: &impl BlockOn, store: &impl KeyRegistry) {
    const THREADS: usize = 4;
    const ROUNDS: usize = 25;
    let mut world = World::new(14);
    let (mut record, _) = world.issue("owner");
    executor.block_on(store.insert(record.clone())).unwrap();
    for round in 0..ROUNDS {
        let barrier = Barrier::new(THREADS);
        let changes: Vec<_> = (0..THREADS)
            .map(|_| {
                let (secret, key) = world.secret();
                (record.rotate_now(secret, world.now).unwrap(), key)
            })
            .collect();
        let won: Vec<bool> = thread::scope(|scope| {
            let running: Vec<_> = changes
                .iter()
                .map(|(change, _)| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        match executor.block_on(store.replace(change.clone())) {
                            Ok(()) => true,
                            Err(ReplaceError::Conflict) => false,
                            Err(error) => panic!("neither won nor lost: {error:?}"),
                        }
                    })
                })
                .collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "winners of round {round}: {won:?}");
        for ((change, key), won) in changes.iter().zip(won) {
            let found = executor.block_on(store.find(&world.lookup(key))).unwrap();
            assert_eq!(
                found.is_some(),
                won,
                "round {round}: a loser's secret, or not the winner's"
            );
            if won {
                record = change.clone();
            }
        }
        let got = executor.block_on(store.get(record.id())).unwrap().unwrap();
        assert_eq!(got.record(), &record);
    }
}

/// Of several inserts of one id, or of one secret, at the same time exactly one wins.
pub fn concurrent_inserts_have_one_winner(executor: &impl BlockOn, store: &impl KeyRegistry) {
    const THREADS: usize = 4;
    let mut world = World::new(15);
    for same_id in [true, false] {
        for round in 0..10 {
            let (first, _) = world.issue("owner");
            let records: Vec<KeyRecord> = (0..THREADS)
                .map(|_| {
                    let mut parts: KeyRecordParts = world.issue("owner").0.into_parts();
                    if same_id {
                        parts.id = first.id();
                    } else {
                        parts.current.hash = first.current().hash;
                    }
                    parts.build().unwrap()
                })
                .collect();
            let barrier = Barrier::new(THREADS);
            let winners = thread::scope(|scope| {
                let running: Vec<_> = records
                    .iter()
                    .map(|record| {
                        let barrier = &barrier;
                        scope.spawn(move || {
                            barrier.wait();
                            match executor.block_on(store.insert(record.clone())) {
                                Ok(()) => 1,
                                Err(InsertError::DuplicateId | InsertError::DuplicateSecret) => 0,
                                Err(error) => panic!("neither won nor lost: {error:?}"),
                            }
                        })
                    })
                    .collect();
                running.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>()
            });
            assert_eq!(winners, 1, "winners of round {round}");
        }
    }
}

/// Of two purges and a change of one key at the same time exactly one wins: what was changed
/// so that it has not ended is there, and what was purged is not changed.
pub fn purging_and_changing_exclude_each_other(executor: &impl BlockOn, store: &impl KeyRegistry) {
    const ROUNDS: usize = 50;
    let mut world = World::new(17);
    let expiry = world.now + Duration::from_millis(10);
    for round in 0..ROUNDS {
        let (record, key) = world.issue("owner");
        let mut parts = record.into_parts();
        parts.expires_at = Some(expiry);
        let record = parts.build().unwrap();
        executor.block_on(store.insert(record.clone())).unwrap();
        // The clock of whoever changes it is a little behind that of whoever purges.
        let changed = record.expire_at(Timestamp::MAX, world.now).unwrap();
        let barrier = Barrier::new(3);
        let purge = || {
            barrier.wait();
            executor.block_on(store.purge(expiry + Duration::from_millis(1), 10)).unwrap()
        };
        let replace = || {
            barrier.wait();
            match executor.block_on(store.replace(changed.clone())) {
                Ok(()) => true,
                Err(ReplaceError::NotFound) => false,
                Err(error) => panic!("neither changed nor purged: {error:?}"),
            }
        };
        let (was_changed, purged) = thread::scope(|scope| {
            // Whoever comes to the barrier last goes first, where there is one processor.
            let first = scope.spawn(purge);
            let (second, change);
            if round % 2 == 0 {
                (change, second) = (scope.spawn(replace), scope.spawn(purge));
            } else {
                (second, change) = (scope.spawn(purge), scope.spawn(replace));
            }
            let was_changed = change.join().unwrap();
            (was_changed, [first, second].map(|thread| thread.join().unwrap()).concat())
        });
        let expected = if was_changed { vec![] } else { vec![record.id()] };
        assert_eq!(purged, expected, "round {round}: changed: {was_changed}");
        let got = executor.block_on(store.get(record.id())).unwrap();
        assert_eq!(got.map(|it| it.record().clone()), was_changed.then_some(changed));
        let found = executor.block_on(store.find(&world.lookup(&key))).unwrap();
        assert_eq!(found.is_some(), was_changed, "round {round}");
    }
}

/// Mints and issues, the same on every run.
struct World {
    rng: StdRng,
    hasher: KeyHasher,
    now: Timestamp,
}

const FORMAT: KeyFormat = KeyFormat::hex("lqt_");

impl World {
    fn new(seed: u8) -> Self {
        Self {
            rng: StdRng::from_seed([seed; 32]),
            hasher: KeyHasher::sha256(),
            now: Timestamp::from_unix_millis(1_700_000_000_123),
        }
    }

    fn old_hasher() -> KeyHasher {
        KeyHasher::hmac_sha256(1, &[1; 32]).unwrap()
    }

    fn new_hasher() -> KeyHasher {
        KeyHasher::hmac_sha256(2, &[2; 32]).unwrap().accept_pepper(1, &[1; 32]).unwrap()
    }

    fn secret(&mut self) -> (StoredSecret, PlaintextKey) {
        let key = FORMAT.mint(&mut self.rng).unwrap();
        (StoredSecret::of(&key, &self.hasher, self.now), key)
    }

    fn issue(&mut self, owner: &str) -> (KeyRecord, PlaintextKey) {
        let (secret, key) = self.secret();
        let mut id = [0; 16];
        let Ok(()) = self.rng.try_fill_bytes(&mut id);
        let draft = KeyDraft::new(owner.parse().unwrap(), "key".parse().unwrap())
            .with_scopes(ScopeSet::empty());
        (KeyRecord::issue(KeyId::from_bytes(id), draft, secret, self.now).unwrap(), key)
    }

    fn rotate(&mut self, record: &KeyRecord) -> (KeyRecord, PlaintextKey) {
        let (secret, key) = self.secret();
        (record.rotate(secret, Grace::DAY, self.now).unwrap(), key)
    }

    fn lookup(&self, key: &PlaintextKey) -> Lookup {
        let formats = KeyFormats::from(FORMAT);
        Verifier::new(self.hasher.clone()).lookup(&formats.parse(key.expose()).unwrap())
    }
}

fn quotas() -> Quotas {
    let quota = |limit, secs| Quota::new(limit, Duration::from_secs(secs)).unwrap();
    Quotas::new(&[quota(100, 60), quota(5_000, 86_400), quota(u32::MAX, 366 * 86_400)]).unwrap()
}
