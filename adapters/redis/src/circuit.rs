//! When not to ask.

use std::time::Duration;

use keyward::Timestamp;

/// After so many failures in a row, the server is left alone for a while; then one request at a
/// time tries it, until one succeeds. Pure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circuit {
    failures_to_open: u32,
    pause: Duration,
    failures: u32,
    /// Since when it is open, or was last tried.
    open_since: Option<Timestamp>,
}

impl Circuit {
    pub(crate) const fn new(failures_to_open: u32, pause: Duration) -> Self {
        Self { failures_to_open, pause, failures: 0, open_since: None }
    }

    /// Whether to ask now. If it is open and the pause is over, this is the one that tries.
    pub(crate) fn asks(&mut self, now: Timestamp) -> bool {
        let Some(since) = self.open_since else { return true };
        // A clock that was set back has not begun the pause yet.
        let due = now < since || now.saturating_since(since) >= self.pause;
        if due {
            self.open_since = Some(now);
        }
        due
    }

    pub(crate) fn succeeded(&mut self) {
        (self.failures, self.open_since) = (0, None);
    }

    pub(crate) fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.failures_to_open {
            self.open_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_millis(10_000 + millis)
    }

    #[test]
    fn it_opens_tries_once_and_closes() {
        let mut circuit = Circuit::new(2, PAUSE);
        assert!(circuit.asks(at(0)));
        circuit.failed(at(0));
        assert!(circuit.asks(at(1)), "one failure is none");
        circuit.failed(at(1));
        assert!(!circuit.asks(at(1)));
        assert!(!circuit.asks(at(1_000)));
        assert!(circuit.asks(at(1_001)));
        assert!(!circuit.asks(at(1_001)), "one tries, the others do not");
        circuit.failed(at(1_500));
        assert!(!circuit.asks(at(2_499)));
        assert!(circuit.asks(at(2_500)));
        circuit.succeeded();
        assert!(circuit.asks(at(2_500)));
        circuit.failed(at(2_600));
        assert!(circuit.asks(at(2_600)), "the count begins anew");
    }

    #[test]
    fn success_forgets_failures_and_a_clock_set_back_does_not_lock_it() {
        let mut circuit = Circuit::new(2, PAUSE);
        circuit.failed(at(0));
        circuit.succeeded();
        circuit.failed(at(0));
        assert!(circuit.asks(at(0)));
        circuit.failed(at(0));
        assert!(!circuit.asks(at(0)));
        assert!(circuit.asks(Timestamp::from_unix_millis(5)));
    }
}
