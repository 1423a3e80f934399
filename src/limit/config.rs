//! The size of a limiter and its seed.

use std::num::NonZeroU32;

use thiserror::Error;

use crate::limit::table::book::MAX_ENTRIES;

/// The size of a [`Limiter`](crate::limit::Limiter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterConfig {
    pub(super) max_keys: NonZeroU32,
    shards: Option<NonZeroU32>,
}

impl LimiterConfig {
    /// The default cap on tracked keys: 1,048,576.
    pub const DEFAULT_MAX_KEYS: NonZeroU32 = NonZeroU32::MIN.saturating_add(1_048_575);
    /// The maximum number of shards: 1,024.
    pub const MAX_SHARDS: u32 = 1_024;

    /// Sets the maximum number of keys tracked at once. It is divided evenly among the shards and
    /// rounded up to a multiple of their number.
    #[must_use]
    pub const fn with_max_keys(self, max_keys: NonZeroU32) -> Self {
        Self { max_keys, ..self }
    }

    /// Sets the number of shards, each with a lock of its own. It is rounded up to a power of two of
    /// at most [`LimiterConfig::MAX_SHARDS`]. The default is 64, and fewer if a shard would hold
    /// less than 256 keys.
    #[must_use]
    pub const fn with_shards(self, shards: NonZeroU32) -> Self {
        Self { shards: Some(shards), ..self }
    }

    /// Returns the binary logarithm of the number of shards.
    pub(super) fn shard_bits(&self) -> u32 {
        let max_keys = self.max_keys.get();
        let wanted = match self.shards {
            Some(shards) => shards.get().min(Self::MAX_SHARDS),
            None => (max_keys / 256).clamp(1, 64),
        };
        // Enough that no shard has more keys than its index can address.
        wanted.max(max_keys.div_ceil(MAX_ENTRIES)).next_power_of_two().trailing_zeros()
    }
}

impl Default for LimiterConfig {
    fn default() -> Self {
        Self { max_keys: Self::DEFAULT_MAX_KEYS, shards: None }
    }
}

/// The operating system's random generator failed, so that a [`Limiter`](crate::limit::Limiter) has
/// no seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error("the operating system's random generator failed")]
pub struct SeedError;
