//! The stores of this crate pass the public conformance suite.

mod memory {
    keyward::conformance_tests!(keyward::testing::Inline, keyward::MemoryStore::new());
}

mod chosen_at_run_time {
    use std::sync::Arc;

    use keyward::{MemoryStore, store::DynKeyRegistry};

    fn chosen() -> Arc<dyn DynKeyRegistry> {
        Arc::new(MemoryStore::new())
    }

    keyward::conformance_tests!(keyward::testing::Inline, chosen());
}
