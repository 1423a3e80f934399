//! Revoking and suspending through a cache: the next lookup sees it, also if the call failed, was
//! dropped, or read of the store was under way.

mod support;

use keyward::{
    key::{KeyRecord, KeyState, Owner, OwnerId, Tier},
    store::{Change, Invalidate as _, KeyRegistry as _, Lookup, OwnerRemoval, Withdrawn},
};
use keyward_cache::CachedStore;
use support::{Point, Rig, START, Task};

const ACTIVE: KeyState = KeyState::Active;

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Revoke,
    RevokeAll,
    Suspend,
}

impl How {
    const EACH: [Self; 3] = [Self::Revoke, Self::RevokeAll, Self::Suspend];

    async fn run(self, rig: &Rig, record: &KeyRecord) -> Result<(), String> {
        let (id, owner) = (record.id(), record.owner());
        match self {
            Self::Revoke => rig.cache.revoke(id, Some(owner), START.into()).await.map(drop),
            Self::RevokeAll => rig.cache.revoke_all(owner, START.into()).await.map(drop),
            Self::Suspend => rig.cache.suspend(id, Some(owner), START).await.map(drop),
        }
        .map_err(|error| error.to_string())
    }

    fn state(self) -> KeyState {
        match self {
            Self::Revoke | Self::RevokeAll => KeyState::Revoked { since: START },
            Self::Suspend => KeyState::Suspended { since: START },
        }
    }
}

fn state(rig: &Rig, lookup: &Lookup) -> KeyState {
    rig.find(lookup).expect("it is there").record().state()
}

fn state_by_id(rig: &Rig, record: &KeyRecord) -> KeyState {
    let found = pollster::block_on(keyward::KeyStore::find_by_id(&rig.cache, record.id()));
    found.unwrap().expect("it is there").record().state()
}

#[test]
fn the_next_lookup_sees_a_withdrawal_through_the_cache() {
    for how in How::EACH {
        let mut rig = Rig::new();
        let (record, lookup) = rig.key("owner");
        let (other, others) = rig.key("other");
        for _ in 0..2 {
            assert_eq!((state(&rig, &lookup), state(&rig, &others)), (ACTIVE, ACTIVE));
            assert_eq!((state_by_id(&rig, &record), state_by_id(&rig, &other)), (ACTIVE, ACTIVE));
        }
        let reads = rig.store.finds();
        pollster::block_on(how.run(&rig, &record)).unwrap();
        assert_eq!(rig.store.finds(), reads, "a withdrawal reads nothing");
        assert_eq!(state(&rig, &lookup), how.state(), "{how:?}");
        assert_eq!(state_by_id(&rig, &record), how.state(), "{how:?}");
        assert_eq!((state(&rig, &others), state_by_id(&rig, &other)), (ACTIVE, ACTIVE));
    }
}

#[test]
fn a_withdrawal_that_failed_or_was_dropped_counts_as_made() {
    for how in How::EACH {
        let mut rig = Rig::new();
        let (record, lookup) = rig.key("owner");
        assert_eq!(state(&rig, &lookup), ACTIVE);
        rig.store.fail(true);
        assert!(pollster::block_on(how.run(&rig, &record)).is_err());
        rig.store.fail(false);
        assert_eq!(state(&rig, &lookup), how.state(), "{how:?} failed after the change");

        let mut rig = Rig::new();
        let (record, lookup) = rig.key("owner");
        assert_eq!(state(&rig, &lookup), ACTIVE);
        rig.store.close(Point::AfterWrite);
        let mut task = Task::new(how.run(&rig, &record));
        assert!(task.poll().is_none());
        task.cancel();
        drop(task);
        assert_eq!(state(&rig, &lookup), how.state(), "{how:?} was dropped after the change");
    }
}

#[test]
fn a_read_from_before_a_withdrawal_is_not_served_after_it() {
    for how in How::EACH {
        let mut rig = Rig::new();
        let (record, lookup) = rig.key("owner");
        rig.store.close(Point::AfterRead);
        let mut reading = rig.task(&lookup);
        assert!(reading.poll().is_none(), "it has read the active record");
        pollster::block_on(how.run(&rig, &record)).unwrap();
        rig.store.open(Point::AfterRead);
        // It reads again, because a change came between its query and its end.
        let revision = loop {
            if let Some(revision) = reading.poll() {
                break revision;
            }
            assert!(reading.is_woken(), "it hangs");
        };
        assert_eq!(revision.unwrap(), Some(record.revision() + 1), "{how:?}");
        drop(reading);
        assert_eq!(state(&rig, &lookup), how.state());
    }
}

/// The other process is told what this one reports.
#[test]
fn another_cache_sees_a_withdrawal_when_it_is_announced() {
    for how in How::EACH {
        let mut rig = Rig::new();
        let (record, lookup) = rig.key("owner");
        let other = CachedStore::new(rig.store.clone(), rig.clock.clone());
        let find = || {
            let found = pollster::block_on(keyward::KeyStore::find(&other, &lookup));
            found.unwrap().unwrap().record().state()
        };
        assert_eq!(find(), ACTIVE);
        pollster::block_on(how.run(&rig, &record)).unwrap();
        assert_eq!(find(), ACTIVE, "it was not announced: within the bound it is served");
        let change = match how {
            How::RevokeAll => Change::owner(record.owner().clone()),
            How::Revoke | How::Suspend => Change::key(record.id()),
        };
        other.invalidate(&change);
        assert_eq!(find(), how.state(), "{how:?}");
    }
}

/// A refused call is harmless, and a foreign owner learns nothing.
#[test]
fn a_withdrawal_of_another_owners_key_changes_nothing() {
    let mut rig = Rig::new();
    let (record, lookup) = rig.key("owner");
    let thief = OwnerId::from_static("thief");
    let (id, within) = (record.id(), Some(&thief));
    assert_eq!(pollster::block_on(rig.cache.revoke(id, within, START.into())).unwrap(), None);
    assert_eq!(pollster::block_on(rig.cache.suspend(id, within, START)).unwrap(), None);
    assert_eq!(pollster::block_on(rig.cache.revoke_all(&thief, START.into())).unwrap(), []);
    assert_eq!(state(&rig, &lookup), ACTIVE);
    let done =
        pollster::block_on(rig.cache.revoke(id, Some(record.owner()), START.into())).unwrap();
    assert_eq!(done, Some(Withdrawn::Now));
}

/// The removal of an owner reaches its revoked keys, also if the call failed or was dropped after the
/// change.
#[test]
fn the_next_lookup_sees_a_removed_owner() {
    let tier = |rig: &Rig, lookup: &Lookup| {
        rig.find(lookup).expect("it is there").owner().tier.clone().map(|tier| tier.to_string())
    };
    let rig = || {
        let mut rig = Rig::new();
        let (record, lookup) = rig.key("owner");
        let owner = Owner::new(record.owner().clone()).with_tier(Tier::from_static("high"));
        rig.store.store.put_owner_sync(owner);
        rig.store.store.revoke_sync(record.id(), None, START);
        assert_eq!(tier(&rig, &lookup).as_deref(), Some("high"));
        (rig, record, lookup)
    };
    let (plain, record, lookup) = rig();
    let removed = pollster::block_on(plain.cache.remove_owner(record.owner())).unwrap();
    assert_eq!((removed, tier(&plain, &lookup)), (OwnerRemoval::Removed, None));

    let (failing, record, lookup) = rig();
    failing.store.fail(true);
    assert!(pollster::block_on(failing.cache.remove_owner(record.owner())).is_err());
    failing.store.fail(false);
    assert_eq!(tier(&failing, &lookup), None, "it failed after the change");

    let (dropped, record, lookup) = rig();
    dropped.store.close(Point::AfterWrite);
    let mut task = Task::new(dropped.cache.remove_owner(record.owner()));
    assert!(task.poll().is_none());
    task.cancel();
    drop(task);
    assert_eq!(tier(&dropped, &lookup), None, "it was dropped after the change");
}
