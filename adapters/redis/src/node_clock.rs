//! The clock by which leases are spent.

use std::time::Duration;

/// A clock of this machine that only ever goes forward, from an origin of its own.
///
/// Leases ask of it that **it counts the time for which the machine is suspended**, and runs at
/// most the stated rate slower than the server's. `std::time::Instant` does not, on Linux.
pub trait NodeClock: Send + Sync {
    /// The time since its origin.
    fn now(&self) -> Duration;
}

/// Linux's `CLOCK_BOOTTIME`, which counts suspended time.
///
/// The time for which a hypervisor stops a virtual machine is counted only if the hypervisor says
/// so to the guest when it goes on. Where machines are paused or moved and that is not so, leases
/// must not be used.
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
