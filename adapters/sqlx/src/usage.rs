//! A batch of usage as the rows that one statement saves.

use std::collections::BTreeMap;

use keyward::{
    key::KeyId,
    usage::{Usage, UsageBatch},
};

use crate::columns::millis;

/// What is added to the usage of one key.
pub(crate) struct UsageRow {
    pub(crate) key_id: String,
    pub(crate) requests: i64,
    pub(crate) last_used_at: Option<i64>,
}

/// Returns the rows of a batch, each key once, sorted by id, so that two writers lock them in the
/// same order. A count above `i64::MAX` counts as that.
pub(crate) fn usage_rows(batch: &UsageBatch) -> Vec<UsageRow> {
    let mut usages: BTreeMap<KeyId, Usage> = BTreeMap::new();
    for (id, usage) in batch {
        let merged = usages.get(&id).copied().unwrap_or_default().merge(usage);
        usages.insert(id, merged);
    }
    let row = |(id, usage): (KeyId, Usage)| UsageRow {
        key_id: id.to_string(),
        requests: i64::try_from(usage.requests).unwrap_or(i64::MAX),
        last_used_at: usage.last_used_at.map(millis),
    };
    usages.into_iter().map(row).collect()
}

/// Writes usage as a JSON array of arrays.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) fn usage_json(batch: &UsageBatch) -> String {
    let rows = usage_rows(batch).into_iter().map(|row| {
        let last = row.last_used_at.map_or_else(|| "null".to_owned(), |at| at.to_string());
        format!("[\"{}\",{},{last}]", row.key_id, row.requests)
    });
    format!("[{}]", rows.collect::<Vec<_>>().join(","))
}

/// Writes ids as a JSON array of strings. They need no escapes.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) fn ids_json(ids: &[KeyId]) -> String {
    let ids = ids.iter().map(|id| format!("\"{id}\""));
    format!("[{}]", ids.collect::<Vec<_>>().join(","))
}
