//! Shared support of the contract tests, which drive the runnable services over real sockets like
//! an independent client.
#![allow(dead_code, reason = "each contract test uses a part of it")]

pub(crate) mod banner;
pub(crate) mod browser;
pub(crate) mod curl;
pub(crate) mod http;
pub(crate) mod page;
pub(crate) mod service;
pub(crate) mod session_token;
pub(crate) mod time;
pub(crate) mod window;

use std::time::Duration;

/// Waits in real time, for the few guarantees that only a running service can show.
#[expect(clippy::disallowed_methods, reason = "the service under test has a clock of its own")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
