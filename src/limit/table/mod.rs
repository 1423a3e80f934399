//! The tracked keys of a limiter: sharded books of entries, and overflow cells for the others.

pub(super) mod book;
mod index;
mod overflow;
pub(super) mod shards;
pub(super) mod tracked;
