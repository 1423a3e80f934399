//! A cached store passes the conformance suite at every capacity. The clock stands still, so
//! nothing becomes stale by itself.

use std::time::Duration;

use keyward::{ManualClock, MemoryStore, Timestamp, testing::Inline};
use keyward_cache::{CacheConfig, CachedStore};

fn cached(config: CacheConfig) -> CachedStore<MemoryStore, ManualClock> {
    let clock = ManualClock::new(Timestamp::from_unix_secs(1_700_000_000));
    CachedStore::with_config(MemoryStore::new(), clock, config)
}

mod as_it_comes {
    use super::*;
    keyward::conformance_tests!(Inline, cached(CacheConfig::new()));
}

mod with_room_for_one {
    use super::*;
    keyward::conformance_tests!(
        Inline,
        cached(CacheConfig::new().with_max_secrets(1).with_max_unknown(1))
    );
}

mod holding_nothing {
    use super::*;
    keyward::conformance_tests!(Inline, cached(CacheConfig::new().with_staleness(Duration::ZERO)));
}
