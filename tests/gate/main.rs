//! The gate: what it reads from a request, what it decides, and the responses it builds.

mod challenges;
mod changes_during_waits;
mod credentials;
mod error_bodies;
mod networks;
mod owners;
mod pipeline;
mod policies;
mod refusals;
mod scopes;
mod status;
mod waits;
