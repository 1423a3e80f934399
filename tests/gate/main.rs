//! The gate: what it reads from a request, what it decides, and the responses it builds.

mod challenges;
mod credentials;
mod error_bodies;
mod pipeline;
mod policies;
mod scopes;
mod status;
mod waits;
