//! The bounds of a cache.

use std::time::Duration;

/// The bounds of a [`CachedStore`](crate::CachedStore).
///
/// ```
/// use std::time::Duration;
/// use keyward_cache::CacheConfig;
///
/// const CONFIG: CacheConfig = CacheConfig::new()
///     .with_max_secrets(20_000)
///     .with_staleness(Duration::from_secs(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    pub(crate) max_secrets: u32,
    pub(crate) max_unknown: u32,
    pub(crate) staleness: Duration,
}

impl CacheConfig {
    /// The default limit on secrets, and on records by id: 100,000.
    pub const DEFAULT_MAX_SECRETS: u32 = 100_000;
    /// The default limit on hashes that are known to have no key: 10,000.
    pub const DEFAULT_MAX_UNKNOWN: u32 = 10_000;
    /// The default staleness bound: 5 seconds.
    pub const DEFAULT_STALENESS: Duration = Duration::from_secs(5);

    /// Returns the defaults.
    pub const fn new() -> Self {
        Self {
            max_secrets: Self::DEFAULT_MAX_SECRETS,
            max_unknown: Self::DEFAULT_MAX_UNKNOWN,
            staleness: Self::DEFAULT_STALENESS,
        }
    }

    /// Sets the largest number of cached secrets, and of records that are cached by id. A record
    /// is cached once for all of its secrets and its id.
    ///
    /// Another table contains the secrets that were looked up recently: up to three for each line
    /// of 64 bytes. It has half as many lines as secrets, rounded up to a power of two, and at
    /// most 65,536.
    #[must_use]
    pub const fn with_max_secrets(self, max_secrets: u32) -> Self {
        Self { max_secrets: if max_secrets == 0 { 1 } else { max_secrets }, ..self }
    }

    /// Sets the largest number of cached hashes that have no key. They are kept apart, so that
    /// random keys cannot evict real ones.
    #[must_use]
    pub const fn with_max_unknown(self, max_unknown: u32) -> Self {
        Self { max_unknown: if max_unknown == 0 { 1 } else { max_unknown }, ..self }
    }

    /// Sets the age from which a cached answer is not served, whether or not a change was
    /// announced. The age is counted from before the query. With zero nothing is cached, and each
    /// request makes a query.
    #[must_use]
    pub const fn with_staleness(self, staleness: Duration) -> Self {
        Self { staleness, ..self }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self::new()
    }
}
