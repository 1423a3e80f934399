//! One query's error, told to all who waited for it.

use std::{error::Error, sync::Arc};

use thiserror::Error as ThisError;

/// The error of the store behind the cache. It shows and continues that error.
///
/// Several requests can have waited for one query, so it is shared. It is never held: the next
/// request asks the store again.
#[derive(Debug, ThisError)]
#[error(transparent)]
pub struct CachedError<E: Error + 'static>(Arc<E>);

impl<E: Error + 'static> CachedError<E> {
    pub(crate) fn new(error: E) -> Self {
        Self(Arc::new(error))
    }

    /// The store's own error.
    pub fn get(&self) -> &E {
        &self.0
    }
}

impl<E: Error + 'static> Clone for CachedError<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
