//! The error of one query, shared by all requests that waited for it.

use std::{error::Error, sync::Arc};

use thiserror::Error as ThisError;

/// The error of the store behind the cache. Its text and its source are those of that error.
///
/// Several requests can wait for one query, so the error is shared. It is never cached: the next
/// request makes a query again.
#[derive(Debug, ThisError)]
#[error(transparent)]
pub struct CachedError<E: Error + 'static>(Arc<E>);

impl<E: Error + 'static> CachedError<E> {
    pub(crate) fn new(error: E) -> Self {
        Self(Arc::new(error))
    }

    /// Returns the store's own error.
    pub fn get(&self) -> &E {
        &self.0
    }
}

impl<E: Error + 'static> Clone for CachedError<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
