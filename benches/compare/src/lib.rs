//! Benchmarks of keyward and its peers; see `benches/`.

pub mod limiters;
