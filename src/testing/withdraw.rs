//! Checks of revoking and suspending.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    clock::timestamp::Timestamp,
    issue::error::IssuerError,
    key::{
        grace::Grace,
        id::KeyId,
        owner::OwnerId,
        record::KeyRecord,
        scope::ScopeSet,
        state::{KeyState, Revocation, RevocationReason},
    },
    quota::overrides::Overrides,
    store::{KeyRegistry, error::ReplaceError, listing::PageRequest, withdrawn::Withdrawn},
    testing::{BlockOn, world::World},
};

const LATER: Duration = Duration::from_millis(1);

async fn record(store: &impl KeyRegistry, id: KeyId) -> KeyRecord {
    store.find_by_id(id).await.unwrap().expect("the key is gone").record().clone()
}

/// Asserts that a change of a record that was read before is refused.
async fn refuses(store: &impl KeyRegistry, stale: Option<KeyRecord>, name: &str) {
    let refused = store.replace(stale.expect("the change is allowed")).await;
    assert!(
        matches!(refused, Err(ReplaceError::Conflict)),
        "a stale change won, {name}: {refused:?}"
    );
}

/// A revocation needs no revision, raises it, keeps everything else and the first instant, and is
/// not undone by a change of a record that was read before it.
pub fn revoking_needs_no_revision(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(20);
        let (now, later) = (world.now, world.now + LATER);
        let (stranger, _) = world.issue("owner");
        assert_eq!(
            store.revoke(stranger.id(), None, now.into()).await.unwrap(),
            None,
            "no such key"
        );
        for suspended in [false, true] {
            let (first, first_key) = world.issue("owner");
            let id = first.id();
            store.insert(first.clone()).await.unwrap();
            let (mut read, key) = world.rotate(&first);
            store.replace(read.clone()).await.unwrap();
            if suspended {
                assert_eq!(store.suspend(id, None, now).await.unwrap(), Some(Withdrawn::Now));
                read = record(store, id).await;
            }
            for key in [&first_key, &key] {
                // A store that keeps what it has read must notice the change.
                store.find(&world.lookup(key)).await.unwrap().expect("a live secret");
            }
            let reason = RevocationReason::new("it's leaked").ok().filter(|_| !suspended);
            let revocation = Revocation { at: now, reason: reason.clone() };
            assert_eq!(store.revoke(id, None, revocation).await.unwrap(), Some(Withdrawn::Now));
            let mut expected = read.clone().into_parts();
            expected.state = KeyState::Revoked { since: now };
            expected.revocation_reason = reason;
            expected.revision += 1;
            let expected = expected.build().unwrap();
            assert_eq!(record(store, id).await, expected, "state and revision alone change");
            let listing = store.list(first.owner(), PageRequest::first(10)).await.unwrap();
            let listed = listing.keys.iter().find(|it| it.record().id() == id);
            assert_eq!(listed.expect("it is listed").record(), &expected);
            for key in [&first_key, &key] {
                let found = store.find(&world.lookup(key)).await.unwrap().unwrap();
                assert_eq!(found.record(), &expected, "each secret finds the revoked record");
            }
            refuses(store, read.rename("late".parse().unwrap(), now).ok(), "a rename").await;
            refuses(store, Some(world.rotate(&read).0), "a rotation").await;
            refuses(store, read.resume(now).or_else(|_| read.suspend(now)).ok(), "a resume").await;
            for owner in [None, Some(first.owner())] {
                let again = Revocation::at(later).because("another".parse().unwrap());
                let again = store.revoke(id, owner, again).await.unwrap();
                assert_eq!(again, Some(Withdrawn::RevokedBefore));
                assert_eq!(record(store, id).await, expected, "it was revoked before");
            }
            // It ended at its first revocation, and is purged in that order.
            assert_eq!(store.purge(now, 10).await.unwrap(), []);
            assert_eq!(store.purge(later, 10).await.unwrap(), [id]);
            assert_eq!(store.revoke(id, None, now.into()).await.unwrap(), None, "a purged key");
        }
    });
}

/// A suspension needs no revision, raises it even if the key is suspended, and changes no revoked
/// key. Only a change of a record that was read after it resumes the key.
pub fn suspending_needs_no_revision(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(21);
        let (now, later) = (world.now, world.now + LATER);
        let (first, key) = world.issue("owner");
        let id = first.id();
        assert_eq!(store.suspend(id, None, now).await.unwrap(), None, "no such key");
        store.insert(first.clone()).await.unwrap();
        store.find(&world.lookup(&key)).await.unwrap().expect("a live secret");
        assert_eq!(store.suspend(id, None, now).await.unwrap(), Some(Withdrawn::Now));
        let suspended = record(store, id).await;
        assert_eq!(suspended, first.suspend(now).unwrap(), "state and revision alone change");
        let found = store.find(&world.lookup(&key)).await.unwrap().unwrap();
        assert_eq!(found.record(), &suspended, "the secret finds the suspended record");
        refuses(store, first.rename("late".parse().unwrap(), now).ok(), "a rename").await;
        let decided_before = suspended.resume(now).ok();
        assert_eq!(store.suspend(id, None, later).await.unwrap(), Some(Withdrawn::Now));
        refuses(store, decided_before, "a resume that was decided before").await;
        let again = record(store, id).await;
        assert_eq!(again.state(), KeyState::Suspended { since: now }, "the first instant");
        assert_eq!(again.revision(), suspended.revision() + 1);
        let resumed = again.resume(later).unwrap();
        store.replace(resumed.clone()).await.unwrap();
        assert_eq!(record(store, id).await, resumed, "a later resume");
        assert_eq!(store.revoke(id, None, later.into()).await.unwrap(), Some(Withdrawn::Now));
        let revoked = record(store, id).await;
        for owner in [None, Some(first.owner())] {
            let refused = store.suspend(id, owner, later).await.unwrap();
            assert_eq!(refused, Some(Withdrawn::RevokedBefore));
            assert_eq!(record(store, id).await, revoked, "a suspension of a revoked key");
        }
    });
}

/// No call that is confined to one owner changes or shows a key of another, by the store itself
/// and by an issuer over it.
pub fn other_owners_keys_are_out_of_reach(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(22);
        let now = world.now;
        let (victim, _) = world.issue("victim");
        let (own, _) = world.issue("thief");
        let id = victim.id();
        store.insert(victim.clone()).await.unwrap();
        store.insert(own.clone()).await.unwrap();
        // Names that equal it by a comparison that ignores case, spaces or what follows.
        for other in ["thief", "Victim", "victim ", " victim", "victi", "victim%", "v_ctim", "%"] {
            let other = OwnerId::new(other).unwrap();
            assert_eq!(store.revoke(id, Some(&other), now.into()).await.unwrap(), None, "{other}");
            assert_eq!(store.suspend(id, Some(&other), now).await.unwrap(), None, "{other}");
            assert_eq!(record(store, id).await, victim, "changed as {other}");
            let issuer = world.issuer(store);
            let confined = issuer.within(other.clone());
            // Confined to two owners, it manages no key.
            for issuer in [confined.within(victim.owner().clone()), confined.within(other)] {
                let mut rng = world.rng();
                let not_found = |refused| matches!(refused, Some(IssuerError::NotFound));
                let (name, scopes) = ("stolen".parse().unwrap(), ScopeSet::empty());
                let refused = [
                    issuer.get(id).await.err(),
                    issuer.revoke(id, now).await.err(),
                    issuer.suspend(id, now).await.err(),
                    issuer.resume(id, now).await.err(),
                    issuer.rename(id, name, now).await.err(),
                    issuer.expire_at(id, now + LATER, now).await.err(),
                    issuer.set_scopes(id, scopes, now).await.err(),
                    issuer.set_overrides(id, Overrides::none(), now).await.err(),
                    issuer.rotate(id, Grace::DAY, &mut rng, now).await.err(),
                    issuer.rotate_now(id, &mut rng, now).await.err(),
                ];
                assert!(refused.into_iter().all(not_found), "a key of another owner was reached");
                let foreign = issuer.revoke_all(victim.owner(), now).await.err();
                assert!(matches!(foreign, Some(IssuerError::ForeignOwner)), "{foreign:?}");
                let foreign = issuer.list(victim.owner(), PageRequest::first(1)).await.err();
                assert!(matches!(foreign, Some(IssuerError::ForeignOwner)), "{foreign:?}");
                assert_eq!(record(store, id).await, victim);
            }
        }
        let thief = own.owner();
        assert_eq!(store.suspend(own.id(), Some(thief), now).await.unwrap(), Some(Withdrawn::Now));
        assert_eq!(
            store.revoke(own.id(), Some(thief), now.into()).await.unwrap(),
            Some(Withdrawn::Now)
        );
        assert_eq!(record(store, id).await, victim);
    });
}

/// All keys of one owner are revoked, and no other. The ids of those that were not revoked before
/// are returned.
pub fn all_keys_of_an_owner_are_revoked(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(23);
        let (now, later) = (world.now, world.now + LATER);
        let (other, _) = world.issue("other");
        store.insert(other.clone()).await.unwrap();
        let owner = OwnerId::new("owner").unwrap();
        assert_eq!(
            store.revoke_all(&owner, now.into()).await.unwrap(),
            [],
            "an owner without keys"
        );
        // More than a page and more than one announcement of any store holds.
        let mut keys = Vec::new();
        for _ in 0..130 {
            let (record, key) = world.issue("owner");
            store.insert(record.clone()).await.unwrap();
            keys.push((record, key));
        }
        let [(revoked, _), (suspended, _), (renamed, _), ..] = keys.as_slice() else {
            unreachable!()
        };
        store.revoke(revoked.id(), None, now.into()).await.unwrap();
        store.suspend(suspended.id(), None, now).await.unwrap();
        for (_, key) in &keys {
            store.find(&world.lookup(key)).await.unwrap().expect("a live secret");
        }
        let reason = RevocationReason::new("the owner left").unwrap();
        let revocation = Revocation::at(later).because(reason.clone());
        let mut ids = store.revoke_all(&owner, revocation).await.unwrap();
        ids.sort_unstable();
        let mut expected: Vec<KeyId> = keys.iter().map(|(record, _)| record.id()).collect();
        expected.retain(|id| *id != revoked.id());
        expected.sort_unstable();
        assert_eq!(ids, expected, "those that were not revoked before");
        refuses(store, renamed.rename("late".parse().unwrap(), now).ok(), "a rename").await;
        let since = |at: Timestamp| KeyState::Revoked { since: at };
        for (issued, key) in &keys {
            let is_first = issued.id() == revoked.id();
            let at = if is_first { now } else { later };
            let found = store.find(&world.lookup(key)).await.unwrap().unwrap();
            let given = Some(&reason).filter(|_| !is_first);
            assert_eq!(found.record().revocation_reason(), given, "the reason of the revocation");
            assert_eq!(found.record().state(), since(at), "found by its secret");
            assert_eq!(record(store, issued.id()).await.state(), since(at), "found by its id");
        }
        assert_eq!(record(store, other.id()).await, other, "a key of another owner");
        assert_eq!(store.revoke_all(&owner, later.into()).await.unwrap(), [], "all are revoked");
    });
}

/// A revocation and a suspension succeed while other threads change the key, each time from what
/// they have just read, and are not undone by any of them.
pub fn no_number_of_writers_outruns_a_revocation(
    executor: &impl BlockOn,
    store: &impl KeyRegistry,
) {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 10;
    let mut world = World::new(24);
    let now = world.now;
    for round in 0..ROUNDS {
        let (first, _) = world.issue("owner");
        let id = first.id();
        executor.block_on(store.insert(first)).unwrap();
        let barrier = Barrier::new(WRITERS + 1);
        let (done, under_way) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let stops = StopsWriters(&done);
            for writer in 0..WRITERS {
                let (barrier, done, under_way) = (&barrier, &done, &under_way);
                scope.spawn(move || {
                    barrier.wait();
                    let mut counted = Some(Counts(under_way));
                    for attempt in 1_u32.. {
                        if done.load(Ordering::SeqCst) {
                            break;
                        }
                        let read = executor.block_on(record(store, id));
                        let name = format!("by {writer}").parse().unwrap();
                        // A revoked key cannot be renamed.
                        if let Ok(renamed) = read.rename(name, now) {
                            match executor.block_on(store.replace(renamed)) {
                                Ok(()) | Err(ReplaceError::Conflict) => {}
                                Err(error) => panic!("neither won nor lost: {error:?}"),
                            }
                        }
                        if attempt == 3 {
                            counted = None;
                        }
                    }
                    drop(counted);
                });
            }
            barrier.wait();
            while under_way.load(Ordering::SeqCst) < WRITERS {
                thread::yield_now();
            }
            let suspended = executor.block_on(store.suspend(id, None, now)).unwrap();
            assert_eq!(suspended, Some(Withdrawn::Now), "round {round}");
            let read = executor.block_on(record(store, id));
            assert_eq!(read.state(), KeyState::Suspended { since: now }, "round {round}");
            let revoked = executor.block_on(store.revoke(id, None, (now + LATER).into())).unwrap();
            assert_eq!(revoked, Some(Withdrawn::Now), "round {round}");
            let revoked = KeyState::Revoked { since: now + LATER };
            for _ in 0..10 {
                let read = executor.block_on(record(store, id));
                assert_eq!(read.state(), revoked, "a writer undid the revocation in {round}");
            }
            drop(stops);
        });
        let revoked = executor.block_on(record(store, id)).state();
        assert_eq!(revoked, KeyState::Revoked { since: now + LATER }, "after round {round}");
    }
}

/// Ends the writers also where an assertion fails, so that the check fails and does not hang.
struct StopsWriters<'a>(&'a AtomicBool);

impl Drop for StopsWriters<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Counts a writer that is under way, or that has panicked, so that the check does not wait for it.
struct Counts<'a>(&'a AtomicUsize);

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
