//! How much is held, and for how long.

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
    /// The cap on secrets unless one is set: 100,000.
    pub const DEFAULT_MAX_SECRETS: u32 = 100_000;
    /// The cap on hashes known to lead nowhere unless one is set: 10,000.
    pub const DEFAULT_MAX_UNKNOWN: u32 = 10_000;
    /// The staleness bound unless one is set: 5 seconds.
    pub const DEFAULT_STALENESS: Duration = Duration::from_secs(5);

    /// The defaults.
    pub const fn new() -> Self {
        Self {
            max_secrets: Self::DEFAULT_MAX_SECRETS,
            max_unknown: Self::DEFAULT_MAX_UNKNOWN,
            staleness: Self::DEFAULT_STALENESS,
        }
    }

    /// The most secrets that are held; a record is held once for all of its secrets. Beside
    /// them a table keeps those that were asked for lately: up to three for each line of 64
    /// bytes, of which there are half as many as secrets, rounded up to a power of two, and
    /// 65,536 at most. Zero counts as 1.
    #[must_use]
    pub const fn with_max_secrets(self, max_secrets: u32) -> Self {
        Self { max_secrets: if max_secrets == 0 { 1 } else { max_secrets }, ..self }
    }

    /// The most hashes of which it is held that no key has them. They have a room of their own,
    /// so that random keys cannot push out real ones. Zero counts as 1.
    #[must_use]
    pub const fn with_max_unknown(self, max_unknown: u32) -> Self {
        Self { max_unknown: if max_unknown == 0 { 1 } else { max_unknown }, ..self }
    }

    /// For how long what was read may be answered, counted from before the query, whatever else
    /// is or is not told: at this age it no longer is. With zero nothing is held, and each
    /// request is a query.
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
