//! Usage as the rows of the tables, and the usage by spans of time.

use std::collections::BTreeMap;

use keyward::{
    Timestamp,
    key::KeyId,
    usage::{Usage, UsageBatch, UsageBucket, UsageSpan},
};
use sqlx::Pool;

use crate::{
    SqlStoreError,
    columns::millis,
    dialect::{Dialect, Statement, retrying},
    rows::read_bucket,
};

/// What is added to the usage of one key.
pub(crate) struct UsageRow {
    pub(crate) key_id: String,
    pub(crate) requests: i64,
    pub(crate) last_used_at: Option<i64>,
}

/// What is added to the requests of one key in one span of time.
pub(crate) struct BucketRow {
    pub(crate) key_id: String,
    pub(crate) span: UsageSpan,
    pub(crate) begins_at: i64,
    pub(crate) requests: i64,
}

/// The spans of which a store keeps buckets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spans {
    minute: bool,
    hour: bool,
    day: bool,
}

impl Spans {
    pub(crate) const NONE: Self = Self { minute: false, hour: false, day: false };

    pub(crate) fn of(spans: impl IntoIterator<Item = UsageSpan>) -> Self {
        let mut of = Self::NONE;
        for span in spans {
            match span {
                UsageSpan::Minute => of.minute = true,
                UsageSpan::Hour => of.hour = true,
                UsageSpan::Day => of.day = true,
            }
        }
        of
    }

    fn iter(self) -> impl Iterator<Item = UsageSpan> {
        let kept = [
            (UsageSpan::Minute, self.minute),
            (UsageSpan::Hour, self.hour),
            (UsageSpan::Day, self.day),
        ];
        kept.into_iter().filter(|(_, kept)| *kept).map(|(span, _)| span)
    }
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
        requests: count(usage.requests),
        last_used_at: usage.last_used_at.map(millis),
    };
    usages.into_iter().map(row).collect()
}

/// Returns the buckets of a batch, each once, sorted by their primary key, for the same reason.
pub(crate) fn bucket_rows(batch: &UsageBatch, spans: Spans) -> Vec<BucketRow> {
    let mut buckets: BTreeMap<(KeyId, &str, Timestamp), (UsageSpan, u64)> = BTreeMap::new();
    for (id, usage) in batch {
        let Some(at) = usage.last_used_at else { continue };
        for span in spans.iter() {
            let place = (id, span.as_str(), span.begin(at));
            let (_, requests) = buckets.entry(place).or_insert((span, 0));
            *requests = requests.saturating_add(usage.requests);
        }
    }
    let row =
        |((id, _, begins_at), (span, requests)): ((KeyId, &str, _), (UsageSpan, u64))| BucketRow {
            key_id: id.to_string(),
            span,
            begins_at: millis(begins_at),
            requests: count(requests),
        };
    buckets.into_iter().map(row).collect()
}

fn count(requests: u64) -> i64 {
    i64::try_from(requests).unwrap_or(i64::MAX)
}

/// Returns the buckets of a key. Parameters: the id, the span, the first begin, the end.
const USAGE_BY: &str = "SELECT begins_at, requests FROM keyward_usage_buckets
     WHERE key_id = $1 AND span = $2 AND begins_at >= $3 AND begins_at < $4 ORDER BY begins_at";

pub(crate) async fn usage_by<D: Dialect>(
    pool: &Pool<D>,
    id: KeyId,
    span: UsageSpan,
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<UsageBucket>, SqlStoreError> {
    let query = D::text(Statement::new(USAGE_BY), Some(id.to_string()));
    let query = D::text(query, Some(span.as_str().to_owned()));
    let query = D::integer(D::integer(query, Some(millis(from))), Some(millis(until)));
    let mut connection = pool.acquire().await?;
    let rows = D::fetch(&mut connection, query).await?;
    rows.iter().map(|row| read_bucket(id, row)).collect()
}

pub(crate) async fn remove_usage_before<D: Dialect>(
    pool: &Pool<D>,
    span: UsageSpan,
    before: Timestamp,
    limit: u32,
) -> Result<u64, SqlStoreError> {
    retrying::<D, _, _, _>(|| async {
        let remove =
            D::text(Statement::new(D::STATEMENTS.remove_usage), Some(span.as_str().to_owned()));
        let remove = D::integer(D::integer(remove, Some(millis(before))), Some(limit.into()));
        let mut connection = pool.acquire().await?;
        Ok(D::execute(&mut connection, remove).await?)
    })
    .await
}

/// Implements [`UsageStore`](keyward::usage::UsageStore) and
/// [`UsageHistory`](keyward::usage::UsageHistory) for a store with a `pool`.
macro_rules! usage_store {
    ($store:ty) => {
        impl keyward::usage::UsageStore for $store {
            type Error = $crate::SqlStoreError;

            async fn save_usage(
                &self,
                batch: &keyward::usage::UsageBatch,
            ) -> Result<(), $crate::SqlStoreError> {
                <$store>::save_usage(self, batch).await
            }

            async fn usage(
                &self,
                ids: &[keyward::key::KeyId],
            ) -> Result<Vec<(keyward::key::KeyId, keyward::usage::Usage)>, $crate::SqlStoreError>
            {
                <$store>::usage(self, ids).await
            }
        }

        impl keyward::usage::UsageHistory for $store {
            async fn usage_by(
                &self,
                id: keyward::key::KeyId,
                span: keyward::usage::UsageSpan,
                from: keyward::Timestamp,
                until: keyward::Timestamp,
            ) -> Result<Vec<keyward::usage::UsageBucket>, $crate::SqlStoreError> {
                $crate::usage::usage_by(&self.pool, id, span, from, until).await
            }

            async fn remove_usage_before(
                &self,
                span: keyward::usage::UsageSpan,
                before: keyward::Timestamp,
                limit: u32,
            ) -> Result<u64, $crate::SqlStoreError> {
                $crate::usage::remove_usage_before(&self.pool, span, before, limit).await
            }
        }

        impl $store {
            /// Keeps usage by these spans of time too, from the next
            /// [`save_usage`](Self::save_usage) on.
            /// [`UsageHistory::usage_by`](keyward::usage::UsageHistory::usage_by) returns it.
            ///
            /// Each span adds a row for each key and each span of time in which it was used. Remove old
            /// ones regularly with
            /// [`UsageHistory::remove_usage_before`](keyward::usage::UsageHistory::remove_usage_before).
            #[must_use]
            pub fn with_usage_by(
                self,
                spans: impl IntoIterator<Item = keyward::usage::UsageSpan>,
            ) -> Self {
                Self { spans: $crate::usage::Spans::of(spans), ..self }
            }
        }
    };
}
pub(crate) use usage_store;

/// Writes buckets as a JSON array of arrays.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) fn buckets_json(buckets: &[BucketRow]) -> String {
    let rows = buckets.iter().map(|row| {
        format!("[\"{}\",\"{}\",{},{}]", row.key_id, row.span, row.begins_at, row.requests)
    });
    format!("[{}]", rows.collect::<Vec<_>>().join(","))
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
