//! Limits: every decision compared with a naive log, and the headers that report it.

mod model;
mod oracle;
mod rate_headers;
mod simulator;
