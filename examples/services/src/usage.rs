//! How often each key was used, and when last.

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

/// How many keys are taken out of the ledger at a time.
const BATCH: usize = 1_000;

/// The usage of all keys: a ledger that counts on each request, and the table into which its
/// batches go. With a database the table would be one of its own there.
///
/// Every request whose key was good counts, also one that was then throttled or forbidden, so
/// that a spike can be seen. One with a key that is not good any more does not.
#[derive(Debug, Default)]
pub struct UsageTable {
    ledger: UsageLedger,
    saved: Mutex<HashMap<KeyId, Usage>>,
}

impl UsageTable {
    /// The callback by which gates report their requests here.
    pub fn audit(self: &Arc<Self>) -> Audit {
        let usage = Arc::clone(self);
        Audit::new(move |event| usage.record(event))
    }

    /// The usage of one key so far.
    pub fn of(&self, key: KeyId) -> Usage {
        self.drained().get(&key).copied().unwrap_or_default()
    }

    /// The usage of several keys so far, in their order.
    pub fn of_all<'k>(&'k self, keys: impl IntoIterator<Item = KeyId> + 'k) -> Vec<Usage> {
        let saved = self.drained();
        keys.into_iter().map(|key| saved.get(&key).copied().unwrap_or_default()).collect()
    }

    /// Forgets keys that were purged.
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

    /// The table with what the ledger held. A map in memory cannot fail to save, so no batch
    /// is given back.
    fn drained(&self) -> MutexGuard<'_, HashMap<KeyId, Usage>> {
        // A panic elsewhere cannot leave a count half written.
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
