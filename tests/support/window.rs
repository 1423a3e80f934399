//! The laws of an exact sliding window, checked from a client's observations.
//!
//! A client knows when it sent a request and when it received the response. The service decided at
//! some time between the two. A law fails only if no such times satisfy it, so a slow machine
//! weakens the laws and never breaks them.

use std::time::Duration;

use keyward::{Clock, SystemClock, Timestamp};

use super::{http::Response, pause, time::SLACK};

/// One request, and what its response reported about the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) sent: Timestamp,
    pub(crate) answered: Timestamp,
    pub(crate) admitted: bool,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// `X-RateLimit-Remaining`.
    pub(crate) remaining: Option<u64>,
    /// `X-RateLimit-Reset`, in Unix seconds.
    pub(crate) reset: Option<u64>,
}

impl Attempt {
    /// Performs a request with a valid key.
    pub(crate) fn of(clock: &SystemClock, request: impl FnOnce() -> Response) -> (Self, Response) {
        let sent = clock.now();
        let response = request();
        let answered = clock.now();
        assert!(matches!(response.status, 200..=299 | 429), "{response:?}");
        let number = |name| match response.headers(name)[..] {
            [] => None,
            [value] => Some(value.parse().unwrap_or_else(|_| panic!("{name}: {value}"))),
            _ => panic!("{name} twice in {response:?}"),
        };
        let attempt = Self {
            sent,
            answered,
            admitted: response.status != 429,
            retry_after: number("retry-after"),
            remaining: number("x-ratelimit-remaining"),
            reset: number("x-ratelimit-reset"),
        };
        (attempt, response)
    }
}

/// Checks consecutive attempts against a limit of `limit` requests in any `window`.
///
/// # Errors
///
/// Returns the first law that these attempts break.
pub(crate) fn check(attempts: &[Attempt], limit: usize, window: Duration) -> Result<(), String> {
    (0..attempts.len()).try_for_each(|at| {
        let attempt = attempts[at];
        let before: Vec<_> = attempts[..at].iter().filter(|other| other.admitted).collect();
        let law = if attempt.admitted {
            check_admitted(&attempt, &before, limit, window)
        } else {
            check_refused(&attempt, &before, limit, window)
        };
        law.map_err(|law| format!("{law}: {attempt:?} with {limit} in {window:?}"))
    })
}

fn check_admitted(
    attempt: &Attempt,
    before: &[&Attempt],
    limit: usize,
    window: Duration,
) -> Result<(), String> {
    // The requests in the window at every possible time of the decision, and at any of them.
    let counted = || before.iter().copied().chain([attempt]);
    let certain: Vec<_> =
        counted().filter(|other| other.sent + window > attempt.answered + SLACK).collect();
    let possible: Vec<_> =
        counted().filter(|other| other.answered + window + SLACK > attempt.sent).collect();
    if certain.len() > limit {
        return Err(format!("{} requests in one window", certain.len()));
    }
    if attempt.retry_after.is_some() {
        return Err("an admitted request must have no Retry-After".to_owned());
    }
    if let Some(remaining) = attempt.remaining {
        let most = limit - certain.len();
        let least = limit.saturating_sub(possible.len());
        within("remaining", remaining, least as u64, most as u64)?;
    }
    if let Some(reset) = attempt.reset {
        // When the oldest counted request leaves the window.
        let earliest = possible.first().map_or(attempt.sent, |other| other.sent);
        let latest = certain.first().map_or(attempt.answered, |other| other.answered);
        within_instants("reset", reset, earliest + window, latest + window)?;
    }
    Ok(())
}

fn check_refused(
    attempt: &Attempt,
    before: &[&Attempt],
    limit: usize,
    window: Duration,
) -> Result<(), String> {
    // The request that has to leave the window is the `limit`th before this one.
    let oldest = before.len().checked_sub(limit).map(|at| before[at]);
    let Some(oldest) = oldest.filter(|oldest| oldest.answered + window + SLACK > attempt.sent)
    else {
        return Err("refused with fewer requests than the limit in the window".to_owned());
    };
    if attempt.remaining.is_some_and(|remaining| remaining != 0) {
        return Err("a refused request must have 0 remaining".to_owned());
    }
    let Some(retry_after) = attempt.retry_after else {
        return Err("a refused request must have a Retry-After".to_owned());
    };
    let (earliest, latest) = (oldest.sent + window, oldest.answered + window);
    let shortest = earliest.saturating_since(attempt.answered).saturating_sub(SLACK);
    let longest = latest.saturating_since(attempt.sent) + SLACK;
    let [shortest, longest] = [shortest, longest].map(|wait| wait.as_millis().div_ceil(1_000));
    let longest = (longest as u64).min(window.as_secs());
    within("retry_after", retry_after, (shortest as u64).max(1), longest)?;
    match attempt.reset {
        Some(reset) => within_instants("reset", reset, earliest, latest),
        None => Ok(()),
    }
}

fn within(what: &str, value: u64, least: u64, most: u64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("{what} is {value}, expected {least} to {most}"))
}

/// Checks a header in Unix seconds, rounded up from a time between these two.
fn within_instants(
    what: &str,
    value: u64,
    least: Timestamp,
    most: Timestamp,
) -> Result<(), String> {
    let round_up = |instant: Timestamp| instant.as_unix_millis().div_ceil(1_000);
    within(what, value, round_up(least.saturating_sub(SLACK)), round_up(most + SLACK))
}

/// Fills a window with requests of one key until one is refused, waits for the time in
/// `Retry-After` until one is admitted again, and checks all responses. Returns `None` if the
/// machine was too slow to fill the window.
pub(crate) fn fill_and_wait(
    limit: usize,
    window: Duration,
    request: impl Fn() -> Response,
) -> Option<Vec<Attempt>> {
    let clock = SystemClock::new();
    let (begun, mut attempts) = (clock.now(), Vec::new());
    let mut attempt = || {
        let (attempt, _) = Attempt::of(&clock, &request);
        attempts.push(attempt);
        attempt
    };
    let refused = loop {
        let last = attempt();
        if !last.admitted {
            break last;
        }
        if last.answered.saturating_since(begun) > 2 * window {
            return None;
        }
    };
    let seconds = |attempt: Attempt| Duration::from_secs(attempt.retry_after.unwrap_or_default());
    // Half of the wait is not enough, unless the machine extended it.
    pause(seconds(refused) / 2);
    let mut last = attempt();
    if !last.admitted {
        pause(seconds(last));
        let told = last.answered + seconds(last);
        while !last.admitted {
            last = attempt();
            assert!(
                last.admitted || last.sent < told + SLACK,
                "{last:?}: the wait ended at {told}"
            );
        }
    }
    check(&attempts, limit, window).unwrap_or_else(|law| panic!("{law}"));
    Some(attempts)
}

/// Planted violations in hand-written attempts. One test file includes this test.
pub(crate) fn the_window_laws_detect_planted_violations() {
    const WINDOW: Duration = Duration::from_secs(60);
    let start = 1_700_000_000_000;
    let at = |millis: u64| Timestamp::from_unix_millis(start + millis);
    let admitted = |sent: u64, answered: u64, remaining: u64| Attempt {
        sent: at(sent),
        answered: at(answered),
        admitted: true,
        retry_after: None,
        remaining: Some(remaining),
        reset: Some(1_700_000_060),
    };
    let refused = |sent: u64, answered: u64, retry_after: u64| Attempt {
        sent: at(sent),
        answered: at(answered),
        admitted: false,
        retry_after: Some(retry_after),
        remaining: Some(0),
        reset: Some(1_700_000_060),
    };
    let full = [admitted(0, 0, 1), admitted(10_000, 10_000, 0)];
    let with = |more: Attempt| check(&[full[0], full[1], more], 2, WINDOW);
    assert_eq!(check(&full, 2, WINDOW), Ok(()));
    assert_eq!(with(refused(20_000, 20_000, 40)), Ok(()));
    let later = Attempt { reset: Some(1_700_000_070), ..admitted(61_000, 61_000, 0) };
    assert_eq!(with(later), Ok(()));
    // A response received a minute late may have been decided at any time before.
    assert_eq!(with(admitted(20_000, 80_000, 0)), Ok(()));
    for (mistake, attempts) in [
        ("admitted too early", [full[0], full[1], admitted(50_000, 50_000, 0)]),
        ("refused too early", [full[0], refused(5_000, 5_000, 55), full[1]]),
        ("refused too late", [full[0], full[1], refused(72_000, 72_000, 1)]),
        ("wait too short", [full[0], full[1], refused(20_000, 20_000, 38)]),
        ("wait too long", [full[0], full[1], refused(20_000, 20_000, 43)]),
        ("remaining too low", [admitted(0, 0, 0), full[1], refused(20_000, 20_000, 40)]),
        ("remaining too high", [full[0], admitted(10_000, 10_000, 1), refused(20_000, 20_000, 40)]),
        (
            "reset too late",
            [
                full[0],
                full[1],
                Attempt { reset: Some(1_700_000_063), ..refused(20_000, 20_000, 40) },
            ],
        ),
        (
            "no wait reported",
            [full[0], full[1], Attempt { retry_after: None, ..refused(20_000, 20_000, 40) }],
        ),
    ] {
        assert!(check(&attempts, 2, WINDOW).is_err(), "{mistake} is not detected");
    }
}
