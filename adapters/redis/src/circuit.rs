//! The circuit breaker: decides when to leave the server alone.

use std::time::Duration;

use keyward::clock::Timestamp;

/// A circuit breaker, pure. After a number of failures in a row it opens and the server is left alone
/// for a pause. Then one request in each pause tries the server, until one succeeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circuit {
    failures_to_open: u32,
    pause: Duration,
    failures: u32,
    /// The instant at which it opened or a request last tried.
    open_since: Option<Timestamp>,
}

impl Circuit {
    pub(crate) const fn new(failures_to_open: u32, pause: Duration) -> Self {
        Self { failures_to_open, pause, failures: 0, open_since: None }
    }

    /// Returns whether to send a request now. If the circuit is open and the pause is over, this is the
    /// request that tries.
    pub(crate) fn allows(&mut self, now: Timestamp) -> bool {
        let Some(since) = self.open_since else { return true };
        // A clock that was set back to before the pause must not prolong it.
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
        assert!(circuit.allows(at(0)));
        circuit.failed(at(0));
        assert!(circuit.allows(at(1)), "one failure does not open it");
        circuit.failed(at(1));
        assert!(!circuit.allows(at(1)));
        assert!(!circuit.allows(at(1_000)));
        assert!(circuit.allows(at(1_001)));
        assert!(!circuit.allows(at(1_001)), "one tries, the others do not");
        circuit.failed(at(1_500));
        assert!(!circuit.allows(at(2_499)));
        assert!(circuit.allows(at(2_500)));
        circuit.succeeded();
        assert!(circuit.allows(at(2_500)));
        circuit.failed(at(2_600));
        assert!(circuit.allows(at(2_600)), "the count restarts after a success");
    }

    #[test]
    fn success_forgets_failures_and_a_clock_set_back_does_not_lock_it() {
        let mut circuit = Circuit::new(2, PAUSE);
        circuit.failed(at(0));
        circuit.succeeded();
        circuit.failed(at(0));
        assert!(circuit.allows(at(0)));
        circuit.failed(at(0));
        assert!(!circuit.allows(at(0)));
        assert!(circuit.allows(Timestamp::from_unix_millis(5)));
    }
}
