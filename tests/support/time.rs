//! Assertions about time that hold on a loaded machine.
//!
//! A test reads its own clock before and after each request. It asserts only what these readings
//! prove, and repeats with a longer setting if they prove nothing.

use std::time::Duration;

use keyward::{Clock, SystemClock, Timestamp};
use serde_json::Value;

use super::{http::Response, pause};

/// The largest difference between the clocks of the test and of the service. Both follow one wall
/// clock, but each corrects itself in small steps. `examples/*/tests.rs` test deadlines to the
/// millisecond with a manual clock.
pub(crate) const SLACK: Duration = Duration::from_secs(1);

/// A value of `WINDOW_SECONDS` longer than any test: counts under it do not depend on the speed of
/// the requests.
pub(crate) const A_DAY: (&str, &str) = ("WINDOW_SECONDS", "86400");

/// Repeats an attempt with 3, 6, 12, 24 and 48 seconds until it proves something.
pub(crate) fn given_time<T>(attempt: impl FnMut(u64) -> Option<T>) -> T {
    let mut proofs = (0..5).map(|doubled| 3 << doubled).filter_map(attempt);
    proofs.next().expect("48 seconds are enough for a few requests")
}

/// Repeats the request until its response is a 401, and asserts that this happens between the
/// two instants. Returns that response, or `None` if the first request already came too late.
pub(crate) fn accepted_until(
    earliest: Timestamp,
    latest: Timestamp,
    request: impl Fn() -> Response,
) -> Option<Response> {
    let clock = SystemClock::new();
    let mut accepted = 0;
    loop {
        let sent = clock.now();
        let response = request();
        let answered = clock.now();
        if response.status == 401 {
            assert!(answered + SLACK >= earliest, "refused at {answered}, before {earliest}");
            return (accepted > 0).then_some(response);
        }
        assert!(response.status < 300, "{response:?}");
        assert!(sent < latest + SLACK, "still accepted at {sent}, after {latest}");
        accepted += 1;
        // Polls often near the end, and seldom before.
        let rest = earliest.saturating_since(answered) / 10;
        pause(rest.max(Duration::from_millis(20)));
    }
}

/// Asserts that a time read by the service lies between two times read by the test.
pub(crate) fn assert_between(earliest: Timestamp, instant: Timestamp, latest: Timestamp) {
    assert!(
        earliest <= instant + SLACK && instant <= latest + SLACK,
        "{instant} is not between {earliest} and {latest}"
    );
}

/// Polls a condition until it holds. The timeout only ends a test that hangs.
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let step = Duration::from_millis(20);
    let steps = Duration::from_secs(180).as_millis() / step.as_millis();
    let happened = (0..steps).any(|_| {
        condition() || {
            pause(step);
            false
        }
    });
    assert!(happened, "timed out: {what}");
}

/// Parses a time in a response.
pub(crate) fn instant(value: &Value) -> Timestamp {
    let text = value.as_str().unwrap_or_else(|| panic!("an instant: {value}"));
    text.parse().unwrap_or_else(|error| panic!("{error} in {text}"))
}
