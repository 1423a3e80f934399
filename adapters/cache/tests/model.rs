//! Random sequences of calls, compared with a simple model of the cache's rules.

mod support;

use std::{cell::Cell, collections::HashMap, sync::Arc, time::Duration};

use keyward::{
    KeyStore, Timestamp,
    key::{CreationNonce, KeyRecord, KeyState, Owner, OwnerId, StoredRecord, Tier},
    quota::Overrides,
    store::{Change, Invalidate, KeyRegistry, Lookup, OwnerRemoval, StoredKey},
};
use keyward_cache::CachedStore;
use proptest::{prelude::*, test_runner::TestRunner};
use support::{Rig, STALENESS, START};

#[derive(Clone, Debug)]
enum Step {
    Find { cache: usize, key: usize, secret: usize },
    Stranger { cache: usize },
    Change { cache: usize, key: usize, how: u8, announced: bool },
    Withdraw { cache: usize, key: usize, how: u8, announced: bool },
    ChangeOwner { cache: usize, how: u8, announced: bool },
    SecondLife { cache: usize, key: usize, announced: bool },
    RemoveOwner { cache: usize, announced: bool },
    Reconnect { cache: usize },
    Advance { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (cache, key) = (0..2_usize, 0..3_usize);
    prop_oneof![
        8 => (cache.clone(), key.clone(), 0..8_usize)
            .prop_map(|(cache, key, secret)| Step::Find { cache, key, secret }),
        1 => cache.clone().prop_map(|cache| Step::Stranger { cache }),
        2 => (cache.clone(), key, 0..5_u8, any::<bool>())
            .prop_map(|(cache, key, how, announced)| Step::Change { cache, key, how, announced }),
        1 => (cache.clone(), 0..3_usize, 0..5_u8, any::<bool>())
            .prop_map(|(cache, key, how, announced)| Step::Withdraw { cache, key, how, announced }),
        1 => (cache.clone(), 0..6_u8, any::<bool>())
            .prop_map(|(cache, how, announced)| Step::ChangeOwner { cache, how, announced }),
        1 => (cache.clone(), 0..3_usize, any::<bool>())
            .prop_map(|(cache, key, announced)| Step::SecondLife { cache, key, announced }),
        1 => (cache.clone(), any::<bool>())
            .prop_map(|(cache, announced)| Step::RemoveOwner { cache, announced }),
        1 => cache.prop_map(|cache| Step::Reconnect { cache }),
        2 => prop_oneof![1..100_u64, 1_000..6_000_u64, Just(4_999), Just(5_000_u64)]
            .prop_map(|millis| Step::Advance { millis }),
    ]
}

/// The results that may be returned from memory: by hash, the found record and its deadline. A
/// record is cached under all of its hashes, and never replaces a later revision of the same life.
#[derive(Default)]
struct Rules(HashMap<keyward::key::KeyHash, (Option<StoredKey>, Timestamp, Timestamp)>);

impl Rules {
    fn held(&self, lookup: &Lookup, now: Timestamp) -> Option<&Option<StoredKey>> {
        let (found, read, until) = self.0.get(lookup.hashes().next()?)?;
        (*read <= now && now < *until).then_some(found)
    }

    fn read(&mut self, lookup: &Lookup, found: &Option<StoredKey>, now: Timestamp) {
        let stale = now + STALENESS;
        let Some(known) = found else {
            self.0.extend(lookup.hashes().map(|hash| (*hash, (None, now, stale))));
            return;
        };
        let record = known.record();
        let deadlines = record.retiring().iter().map(|it| it.valid_until);
        let deadlines = deadlines.chain(record.expires_at()).filter(|at| *at > now);
        let until = deadlines.chain([stale]).min().unwrap();
        for hash in record.hashes() {
            let later = |(there, _, until): &(Option<StoredKey>, Timestamp, Timestamp)| {
                let newer = |it: &StoredKey| {
                    it.record().is_same_life(record) && it.record().revision() > record.revision()
                };
                there.as_ref().is_some_and(newer) && now < *until
            };
            if !self.0.get(hash).is_some_and(later) {
                self.0.insert(*hash, (found.clone(), now, until));
            }
        }
    }

    fn forget(&mut self, change: &Change) {
        self.0.retain(|hash, (found, ..)| match (change, found) {
            (Change::Key { id, .. }, Some(found)) => found.record().id() != *id,
            (Change::Key { hashes, .. }, None) => !hashes.contains(hash),
            (Change::Owner { id }, Some(found)) => found.record().owner() != id,
            (Change::Owner { .. }, None) => true,
            _ => false,
        });
    }
}

fn changed(
    record: &KeyRecord,
    how: u8,
    rig: &mut Rig,
    secrets: &mut Vec<Lookup>,
    now: Timestamp,
) -> Option<KeyRecord> {
    match how {
        0 | 1 => {
            let (secret, token) = rig.world.secret(now);
            secrets.push(rig.world.lookup(&token));
            let grace = keyward::key::Grace::new(Duration::from_millis(2_500)).unwrap();
            if how == 0 {
                record.rotate(secret, grace, now)
            } else {
                record.rotate_now(secret, now)
            }
        }
        2 => record.suspend(now).or_else(|_| record.resume(now)),
        3 => record.expire_at(now + Duration::from_millis(3_000), now),
        _ => record.revoke(now),
    }
    .ok()
}

/// Returns how many results came from memory, and how many could have but did not.
fn check(steps: &[Step], removals: &[Cell<bool>; 2]) -> Result<[usize; 2], TestCaseError> {
    let mut rig = Rig::new();
    let caches =
        [rig.cache.clone(), CachedStore::new(Arc::clone(&rig.store), Arc::clone(&rig.clock))];
    let mut rules = [Rules::default(), Rules::default()];
    let keys: Vec<_> = (0..3).map(|key| rig.key(["one", "one", "other"][key])).collect();
    let ids: Vec<_> = keys.iter().map(|(record, _)| record.id()).collect();
    let mut secrets: Vec<_> = keys.into_iter().map(|(_, lookup)| vec![lookup]).collect();
    let stranger = rig.world.stranger();
    let (mut now, mut counts, mut lives) = (START, [0, 0], 1_u64);
    for step in steps {
        let (cache, lookup) = match step {
            Step::Find { cache, key, secret } => {
                (*cache, secrets[*key][secret % secrets[*key].len()].clone())
            }
            Step::Stranger { cache } => (*cache, stranger.clone()),
            Step::Change { cache, key, how, announced } => {
                let record = rig.store.store.find_by_id_sync(ids[*key]).unwrap().record().clone();
                let changed = changed(&record, *how, &mut rig, &mut secrets[*key], now);
                let Some(changed) = changed else { continue };
                let change = Change::record(&changed);
                pollster::block_on(caches[*cache].replace(changed)).unwrap();
                rules[*cache].forget(&change);
                if *announced {
                    caches[1 - cache].invalidate(&change);
                    rules[1 - cache].forget(&change);
                }
                continue;
            }
            Step::Withdraw { cache, key, how, announced } => {
                let found = rig.store.store.find_by_id_sync(ids[*key]).unwrap();
                let (id, owner) = (ids[*key], found.record().owner());
                let change = pollster::block_on(async {
                    match how {
                        // Of all keys of the owner, which has two of the three.
                        0 => {
                            caches[*cache].revoke_all(owner, now.into()).await.unwrap();
                            Change::owner(owner.clone())
                        }
                        1 => {
                            caches[*cache].revoke(id, None, now.into()).await.unwrap();
                            Change::key(id)
                        }
                        _ => {
                            caches[*cache].suspend(id, Some(owner), now).await.unwrap();
                            Change::key(id)
                        }
                    }
                });
                rules[*cache].forget(&change);
                if *announced {
                    caches[1 - cache].invalidate(&change);
                    rules[1 - cache].forget(&change);
                }
                continue;
            }
            Step::ChangeOwner { cache, how, announced } => {
                let owner = OwnerId::from_static("one");
                let cached = &caches[*cache];
                let top = Tier::from_static("top");
                pollster::block_on(async {
                    match how {
                        0 => cached.put_owner(Owner::new(owner.clone())).await,
                        1 => cached.set_tier(&owner, Some(top)).await,
                        2 => cached.set_overrides(&owner, Overrides::none()).await,
                        3 => cached.set_key_cap(&owner, Some(9)).await,
                        4 => cached.suspend_owner(&owner, now).await,
                        _ => cached.resume_owner(&owner).await,
                    }
                })
                .unwrap();
                let change = Change::owner(owner);
                rules[*cache].forget(&change);
                if *announced {
                    caches[1 - cache].invalidate(&change);
                    rules[1 - cache].forget(&change);
                }
                continue;
            }
            Step::RemoveOwner { cache, announced } => {
                let id = OwnerId::from_static("one");
                // Refused unless its keys are revoked. A refused one costs a query, too.
                let removed = pollster::block_on(caches[*cache].remove_owner(&id)).unwrap();
                removals[usize::from(removed == OwnerRemoval::Removed)].set(true);
                let change = Change::owner(id);
                rules[*cache].forget(&change);
                if *announced {
                    caches[1 - cache].invalidate(&change);
                    rules[1 - cache].forget(&change);
                }
                continue;
            }
            Step::SecondLife { cache, key, announced } => {
                // Its secrets and its id, at another owner and with a lower revision. One more
                // secret finds the second life while the first one is cached under the others.
                let first = rig.store.store.find_by_id_sync(ids[*key]).unwrap().record().clone();
                if matches!(first.state(), KeyState::Revoked { .. }) {
                    continue;
                }
                let (current, token) = rig.world.secret(now);
                secrets[*key].push(rig.world.lookup(&token));
                let owner = ["one", "other"][usize::from(first.owner().as_str() == "one")];
                let mut second = StoredRecord::new(
                    ids[*key],
                    owner.parse().unwrap(),
                    first.name().clone(),
                    first.current().clone(),
                );
                second.created_at = first.created_at();
                second.nonce = CreationNonce::from_bytes(u64::to_be_bytes(lives));
                lives += 1;
                let second = second.build().unwrap();
                let grace = keyward::key::Grace::DAY;
                let mut parts = second.rotate(current, grace, now).unwrap().into_parts();
                parts.revision = 1;
                let second = parts.build().unwrap();
                pollster::block_on(async {
                    // Only this key has ended by then.
                    let zero = Timestamp::ZERO;
                    let ended = first.revoke(zero).unwrap();
                    rig.store.store.replace_sync(ended).unwrap();
                    let purged = caches[*cache].purge(Timestamp::from_unix_millis(1), 9).await;
                    purged.unwrap();
                    caches[*cache].insert(second.clone()).await.unwrap();
                });
                for change in [Change::key(ids[*key]), Change::record(&second)] {
                    rules[*cache].forget(&change);
                    if *announced {
                        caches[1 - cache].invalidate(&change);
                        rules[1 - cache].forget(&change);
                    }
                }
                continue;
            }
            Step::Reconnect { cache } => {
                caches[*cache].invalidate(&Change::Everything);
                rules[*cache].forget(&Change::Everything);
                continue;
            }
            Step::Advance { millis } => {
                now = now + Duration::from_millis(*millis);
                rig.clock.set(now);
                continue;
            }
        };
        let present = rig.store.store.find_sync(&lookup);
        let queries = rig.store.finds();
        let found = pollster::block_on(caches[cache].find(&lookup)).unwrap();
        let asked = rig.store.finds() - queries;
        let held = rules[cache].held(&lookup, now).cloned();
        // Two entries may share a slot of the change table and then cause additional queries.
        prop_assert!(asked == usize::from(held.is_none()) || (asked == 1 && found == present));
        if held.is_some() {
            counts[asked] += 1;
        }
        if asked == 1 {
            prop_assert_eq!(&found, &present);
            rules[cache].read(&lookup, &found, now);
        } else {
            prop_assert_eq!(Some(found), held);
        }
    }
    Ok(counts)
}

#[test]
fn a_cache_follows_its_rules_for_any_sequence_of_calls() {
    let (expected, unexpected) = (Cell::new(0), Cell::new(0));
    let removals = [Cell::new(false), Cell::new(false)];
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) };
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..80), |steps| {
            let [hits, misses] = check(&steps, &removals)?;
            expected.set(expected.get() + hits);
            unexpected.set(unexpected.get() + misses);
            Ok(())
        })
        .unwrap();
    assert!(removals.iter().all(Cell::get), "no owner was removed, or none was refused");
    let (hits, misses) = (expected.get(), unexpected.get());
    assert!(hits > 1_000 && misses * 20 < hits, "{hits} from memory, {misses} needless queries");
}
