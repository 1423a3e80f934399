//! The holdings of one process for all limits, behind locks.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use keyward::{limit::LimitKey, quota::Quotas};
use parking_lot::{Mutex, MutexGuard};

use crate::lease::holding::{LeaseHolding, NodeInstant, Unspent};

const SHARDS: usize = 64;

/// The holdings, by the limits that are charged together.
pub(crate) struct Holdings {
    shards: Vec<Mutex<HashMap<Box<[LimitKey]>, LeaseHolding>>>,
    state: RandomState,
    most_in_shard: usize,
}

impl Holdings {
    pub(crate) fn new(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, state: RandomState::new(), most_in_shard: most.div_ceil(SHARDS).max(1) }
    }

    /// Calls `act` with the holding of these limits. Returns `None` if there is no place for one.
    pub(crate) fn with<T>(
        &self,
        limits: &[(LimitKey, &Quotas)],
        now: NodeInstant,
        act: impl FnOnce(&mut LeaseHolding) -> T,
    ) -> Option<T> {
        let keys: Vec<LimitKey> = limits.iter().map(|(key, _)| *key).collect();
        let mut shard = self.shard(&keys)?;
        if let Some(holding) = shard.get_mut(&keys[..]) {
            return Some(act(holding));
        }
        if shard.len() >= self.most_in_shard {
            shard.retain(|_, holding| !holding.is_idle(now));
            if shard.len() >= self.most_in_shard {
                return None;
            }
        }
        let mut holding = LeaseHolding::default();
        let done = act(&mut holding);
        shard.insert(keys.into(), holding);
        Some(done)
    }

    /// Forfeits all unspent permits and returns them.
    pub(crate) fn forfeit(&self) -> Vec<Unspent> {
        self.shards
            .iter()
            .flat_map(|shard| {
                let mut shard = shard.lock();
                let unspent: Vec<_> = shard.values_mut().flat_map(LeaseHolding::forfeit).collect();
                unspent
            })
            .collect()
    }

    /// Forgets the permits, refusals and questions under way of every holding with this limit. Replies
    /// to those questions then change nothing.
    pub(crate) fn forget(&self, key: &LimitKey) {
        for shard in &self.shards {
            for (_, holding) in shard.lock().iter_mut().filter(|(keys, _)| keys.contains(key)) {
                holding.forget();
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(
        &self,
        keys: &[LimitKey],
    ) -> Option<MutexGuard<'_, HashMap<Box<[LimitKey]>, LeaseHolding>>> {
        let at = self.state.hash_one(keys) as usize % SHARDS;
        self.shards.get(at).map(Mutex::lock)
    }
}
