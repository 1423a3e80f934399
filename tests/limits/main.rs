//! Limits: every decision compared with a naive log, what holds where limits meet, time, and the
//! headers that report a limit.

mod composed;
mod model;
mod oracle;
mod overflow;
mod rate_headers;
mod simulator;
mod time;
