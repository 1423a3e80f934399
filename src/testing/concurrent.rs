//! Checks of concurrent changes.

use std::{sync::Barrier, thread};

use crate::{
    key::{record::KeyRecord, stored::StoredRecord},
    store::{
        KeyRegistry,
        error::{InsertError, ReplaceError},
    },
    testing::{BlockOn, world::World},
};

/// Exactly one of several concurrent changes of one revision wins, and the store holds the
/// winner's.
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
        let got = executor.block_on(store.find_by_id(record.id())).unwrap().unwrap();
        assert_eq!(got.record(), &record);
    }
}

/// Exactly one of several concurrent inserts of one id, or of one secret, wins.
pub fn concurrent_inserts_have_one_winner(executor: &impl BlockOn, store: &impl KeyRegistry) {
    const THREADS: usize = 4;
    let mut world = World::new(15);
    for same_id in [true, false] {
        for round in 0..10 {
            let (first, _) = world.issue("owner");
            let records: Vec<KeyRecord> = (0..THREADS)
                .map(|_| {
                    let mut parts: StoredRecord = world.issue("owner").0.into_parts();
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
