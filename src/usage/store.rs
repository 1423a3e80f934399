//! The traits of stores that save usage.

use std::{error::Error, future::Future, sync::Arc};

use crate::{
    clock::timestamp::Timestamp,
    key::id::KeyId,
    usage::{
        batch::{Usage, UsageBatch},
        bucket::{UsageBucket, UsageSpan},
    },
};

/// Saves the usage of keys.
///
/// [`UsageFlusher`](crate::usage::UsageFlusher) calls it. `keyward-sqlx` implements it for its stores.
///
/// ```
/// use std::{collections::HashMap, convert::Infallible, sync::Mutex};
/// use keyward::{key::KeyId, usage::{Usage, UsageBatch, UsageStore}};
///
/// #[derive(Default)]
/// struct Saved(Mutex<HashMap<KeyId, Usage>>);
///
/// impl UsageStore for Saved {
///     type Error = Infallible;
///
///     async fn save_usage(&self, batch: &UsageBatch) -> Result<(), Infallible> {
///         let mut saved = self.0.lock().unwrap();
///         for (id, usage) in batch {
///             let sum = saved.entry(id).or_default();
///             *sum = sum.merge(usage);
///         }
///         Ok(())
///     }
///
///     async fn usage(&self, ids: &[KeyId]) -> Result<Vec<(KeyId, Usage)>, Infallible> {
///         let saved = self.0.lock().unwrap();
///         Ok(ids.iter().filter_map(|id| Some((*id, *saved.get(id)?))).collect())
///     }
/// }
/// ```
pub trait UsageStore: Send + Sync {
    /// The error of this store.
    type Error: Error + Send + Sync + 'static;

    /// Adds a batch to the saved usage, all of it or nothing. It changes nothing else of a key.
    ///
    /// A count only grows, and a last use only moves later. A batch has a key once for each minute in
    /// which it was used. A store may drop the usage of keys that it does not hold.
    fn save_usage(
        &self,
        batch: &UsageBatch,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns the saved usage of these keys, without those that were never used.
    fn usage(
        &self,
        ids: &[KeyId],
    ) -> impl Future<Output = Result<Vec<(KeyId, Usage)>, Self::Error>> + Send;
}

/// A store that also keeps usage by spans of time.
pub trait UsageHistory: UsageStore {
    /// Returns how often a key was used in each span that begins at `from` or later, and before
    /// `until`. The earliest is first, and spans without requests are left out.
    fn usage_by(
        &self,
        id: KeyId,
        span: UsageSpan,
        from: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Vec<UsageBucket>, Self::Error>> + Send;

    /// Removes at most `limit` buckets of this span that begin before an instant, of all keys, and
    /// returns their number. A smaller number than `limit` means that no such bucket remains.
    fn remove_usage_before(
        &self,
        span: UsageSpan,
        before: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send;
}

/// Implements the traits for a pointer to a store.
macro_rules! through_pointer {
    ($($pointer:ty),*) => {$(
        impl<S: UsageStore + ?Sized> UsageStore for $pointer {
            type Error = S::Error;

            fn save_usage(
                &self,
                batch: &UsageBatch,
            ) -> impl Future<Output = Result<(), Self::Error>> + Send {
                (**self).save_usage(batch)
            }

            fn usage(
                &self,
                ids: &[KeyId],
            ) -> impl Future<Output = Result<Vec<(KeyId, Usage)>, Self::Error>> + Send {
                (**self).usage(ids)
            }
        }

        impl<S: UsageHistory + ?Sized> UsageHistory for $pointer {
            fn usage_by(
                &self,
                id: KeyId,
                span: UsageSpan,
                from: Timestamp,
                until: Timestamp,
            ) -> impl Future<Output = Result<Vec<UsageBucket>, Self::Error>> + Send {
                (**self).usage_by(id, span, from, until)
            }

            fn remove_usage_before(
                &self,
                span: UsageSpan,
                before: Timestamp,
                limit: u32,
            ) -> impl Future<Output = Result<u64, Self::Error>> + Send {
                (**self).remove_usage_before(span, before, limit)
            }
        }
    )*};
}

through_pointer!(&S, Arc<S>, Box<S>);
