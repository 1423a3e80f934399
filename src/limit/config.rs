//! The size of a limiter.

use crate::limit::table::book::MAX_ENTRIES;

/// The size of a [`Limiter`](crate::limit::Limiter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterConfig {
    /// At least 1.
    pub(super) max_keys: u32,
    shards: Option<u32>,
}

impl LimiterConfig {
    /// The default cap on tracked keys: 1,048,576.
    pub const DEFAULT_MAX_KEYS: u32 = 1_048_576;
    /// The maximum number of shards: 1,024.
    pub const MAX_SHARDS: u32 = 1_024;

    /// Sets the maximum number of keys tracked at once. It is divided evenly among the shards and
    /// rounded up to a multiple of their number. Zero counts as 1.
    #[must_use]
    pub const fn with_max_keys(self, max_keys: u32) -> Self {
        Self { max_keys: if max_keys == 0 { 1 } else { max_keys }, ..self }
    }

    /// Sets the number of shards, each with a lock of its own. It is rounded up to a power of two of
    /// at most [`LimiterConfig::MAX_SHARDS`]. The default is 64, and fewer if a shard would hold
    /// less than 256 keys. Zero counts as 1.
    #[must_use]
    pub const fn with_shards(self, shards: u32) -> Self {
        Self { shards: Some(shards), ..self }
    }

    /// Returns the binary logarithm of the number of shards.
    pub(super) fn shard_bits(&self) -> u32 {
        let max_keys = self.max_keys;
        let wanted = match self.shards {
            Some(shards) => shards.clamp(1, Self::MAX_SHARDS),
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
