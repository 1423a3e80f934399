//! The configuration of leases.

use std::time::Duration;

use keyward::quota::Quotas;

use crate::protocol::LeaseTerms;

/// The configuration of leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct LeaseConfig {
    pub(super) length: Duration,
    most: u32,
    divisor: u32,
    drift_ppm: u32,
    pub(super) max_limits: usize,
}

impl LeaseConfig {
    /// Sets the length of leases. Capacity comes back up to this much later than in the exact mode.
    /// The leases of a limit are no longer than a quarter of its shortest window.
    ///
    /// By default at most 1,024 permits are granted at once, and at most a quarter of the remaining
    /// ones. This machine's clock is at most 1,000 millionths slower than the server's.
    pub const fn new(length: Duration) -> Self {
        Self { length, most: 1_024, divisor: 4, drift_ppm: 1_000, max_limits: 65_536 }
    }

    /// Sets the maximum number of permits granted at once.
    pub const fn with_most(self, most: u32) -> Self {
        Self { most, ..self }
    }

    /// Grants at most the remaining permits divided by `divisor` at once. Use the number of processes,
    /// so that one of them leaves permits for the others.
    pub const fn with_divisor(self, divisor: u32) -> Self {
        Self { divisor, ..self }
    }

    /// Sets by how many millionths this machine's clock may be slower than the server's. A lease is
    /// spent for that much less time. At most 500,000.
    pub const fn with_drift_ppm(self, drift_ppm: u32) -> Self {
        let drift_ppm = if drift_ppm > 500_000 { 500_000 } else { drift_ppm };
        Self { drift_ppm, ..self }
    }

    /// Sets the maximum number of limits of which permits are held at once; the default is 65,536.
    /// Requests against further limits are decided exactly.
    pub const fn with_max_limits(self, max_limits: usize) -> Self {
        Self { max_limits, ..self }
    }

    /// Returns the terms for a limit with these quotas.
    pub(super) fn terms(&self, quotas: &[Quotas], want: u32) -> LeaseTerms {
        let windows = quotas.iter().flat_map(Quotas::as_slice).map(|quota| quota.window_millis());
        let shortest = windows.min().unwrap_or(0);
        // In whole milliseconds, as the script counts, and never longer than the script stamps.
        let longest = LeaseTerms::MAX_LENGTH.as_millis().min(u128::from(shortest / 4));
        let length = self.length.as_millis().min(longest) as u64;
        let most = if length == 0 { 1 } else { want.min(self.most) };
        LeaseTerms { length: Duration::from_millis(length), most, divisor: self.divisor.max(1) }
    }

    /// Returns the time by this machine's clock after which at most `span` has passed by the server's.
    pub(super) fn shortened(&self, span: Duration) -> Duration {
        let nanos = span.as_nanos() * u128::from(1_000_000 - self.drift_ppm) / 1_000_000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns the time by this machine's clock after which at least `span` has passed by the server's.
    pub(super) fn lengthened(&self, span: Duration) -> Duration {
        let parts = u128::from(1_000_000 - self.drift_ppm);
        let nanos = (span.as_nanos() * 1_000_000).div_ceil(parts);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
