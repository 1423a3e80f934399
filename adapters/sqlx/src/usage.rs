//! A batch of usage as what one statement saves.

use std::collections::BTreeMap;

use keyward::{
    key::KeyId,
    usage::{Usage, UsageBatch},
};

use crate::{
    SqlStoreError,
    columns::{ReadRow, instant, millis, read_id},
};

/// What is added to one key's usage.
pub(crate) struct UsageRow {
    pub(crate) key_id: String,
    pub(crate) requests: i64,
    pub(crate) last_used_at: Option<i64>,
}

/// The rows of a batch, each key once, in the order of the ids: two writers wait for each other
/// in the same order. What is beyond a signed 64 bits counts as their end.
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

/// The usage in a row of id, requests and last use.
pub(crate) fn read_usage(row: &impl ReadRow) -> Result<(KeyId, Usage), SqlStoreError> {
    let id = read_id(row)?;
    let corrupt = |column| SqlStoreError::Corrupt { key: Some(id), column };
    let requests = row.integer(1).ok().flatten().and_then(|requests| requests.try_into().ok());
    let requests = requests.ok_or_else(|| corrupt("keyward_usage.requests"))?;
    let column = "keyward_usage.last_used_at";
    let last_used_at = row.integer(2).map_err(|_| corrupt(column))?;
    let last_used_at =
        last_used_at.map(|at| instant(at).ok_or_else(|| corrupt(column))).transpose()?;
    Ok((id, Usage::new(requests, last_used_at)))
}
