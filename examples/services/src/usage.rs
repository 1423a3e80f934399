//! The number of requests and the last use of each key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyward::{
    audit::{Audit, AuditAction, AuditEvent},
    key::KeyId,
    request::RefusalReason,
    usage::{Usage, UsageLedger},
};

/// The number of keys in a batch of the ledger.
const BATCH: usize = 1_000;

/// The usage of all keys: a ledger that counts each request, and a table that receives the batches of
/// the ledger. With a database, the table would be a separate table there.
///
/// Every request with a good key counts, even if it was then throttled or forbidden, so that an
/// administrator can see a spike. A request with a revoked or expired key does not count.
#[derive(Debug, Default)]
pub struct UsageTable {
    ledger: UsageLedger,
    saved: Mutex<HashMap<KeyId, Usage>>,
}

impl UsageTable {
    /// Returns the callback that counts the requests of a gate.
    pub fn audit(self: &Arc<Self>) -> Audit {
        let usage = Arc::clone(self);
        Audit::new(move |event| usage.record(event))
    }

    /// Returns the usage of one key.
    pub fn of(&self, key: KeyId) -> Usage {
        self.drained().get(&key).copied().unwrap_or_default()
    }

    /// Returns the usage of several keys, in the order of `keys`.
    pub fn of_all<'k>(&'k self, keys: impl IntoIterator<Item = KeyId> + 'k) -> Vec<Usage> {
        let saved = self.drained();
        keys.into_iter().map(|key| saved.get(&key).copied().unwrap_or_default()).collect()
    }

    /// Removes keys that were purged.
    pub fn forget(&self, keys: &[KeyId]) {
        if keys.is_empty() {
            return;
        }
        let mut saved = self.drained();
        for key in keys {
            saved.remove(key);
        }
    }

    fn record(&self, event: &AuditEvent) {
        let counts = match &event.action {
            AuditAction::Admitted { .. } => true,
            AuditAction::Refused { reason, .. } => matches!(
                reason,
                RefusalReason::Throttled { .. }
                    | RefusalReason::Forbidden(_)
                    | RefusalReason::Charge(_)
            ),
            _ => false,
        };
        if let Some(key) = event.key.filter(|_| counts) {
            self.ledger.record(key, event.at);
        }
    }

    /// Moves the counts of the ledger into the table and returns the table. Saving to a map in memory
    /// cannot fail, so no batch is given back.
    fn drained(&self) -> MutexGuard<'_, HashMap<KeyId, Usage>> {
        // A panic in another thread cannot leave a count half written.
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let batch = self.ledger.drain(BATCH);
            let more = batch.len() == BATCH;
            for (key, usage) in batch {
                let entry = saved.entry(key).or_default();
                *entry = entry.merge(usage);
            }
            if !more {
                return saved;
            }
        }
    }
}
