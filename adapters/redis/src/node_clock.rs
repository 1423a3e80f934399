//! The clock of a process, which limits the time of its leases.

use std::time::Duration;

/// A clock of this machine that never goes back and has an origin of its own.
///
/// Leases require that **it counts the time for which the machine is suspended** and is at most the
/// stated rate slower than the server's clock. On Linux `std::time::Instant` does not count that time.
pub trait NodeClock: Send + Sync {
    /// Returns the time since the clock's origin.
    fn now(&self) -> Duration;
}

/// Linux's `CLOCK_BOOTTIME`, which counts suspended time.
///
/// The time for which a hypervisor stops a virtual machine is counted only if the hypervisor reports
/// it to the guest afterwards. Do not use leases where machines are paused or moved without that.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

#[cfg(any(target_os = "linux", target_os = "android"))]
impl NodeClock for BootClock {
    fn now(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Both are never negative.
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }
}

impl<F: Fn() -> Duration + Send + Sync> NodeClock for F {
    fn now(&self) -> Duration {
        self()
    }
}
