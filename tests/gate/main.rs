//! The gate: what it reads from a request, what it decides, and the responses it builds.

mod challenges;
mod credentials;
mod error_bodies;
mod owners;
mod pipeline;
mod policies;
mod status;
mod waits;
