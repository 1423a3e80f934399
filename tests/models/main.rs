//! Stores and ledgers against models: random sequences, threads, and planted mistakes.

mod concurrency;
mod conformance;
mod conformance_catches;
mod lifecycle;
mod usage;
