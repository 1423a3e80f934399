//! Stores and ledgers against models: random sequences, threads, and planted mistakes.

mod audit;
mod concurrency;
mod conformance;
mod conformance_catches;
mod flusher;
mod lifecycle;
mod recorder;
mod usage;
