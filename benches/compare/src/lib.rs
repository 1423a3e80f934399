//! Benchmarks beside peers; see `benches/`.

pub mod limiters;
