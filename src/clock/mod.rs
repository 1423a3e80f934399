//! Timestamps and clocks. The only room that reads a clock; everything else takes `now` as an
//! argument.

pub(crate) mod manual;
pub(crate) mod system;
pub(crate) mod timer;
pub(crate) mod timestamp;

pub use self::{manual::ManualClock, system::SystemClock, timer::Timer, timestamp::Timestamp};

use std::sync::Arc;

/// A source of [`Timestamp`]s.
///
/// Every decision takes `now` as an argument. A clock is needed only by code that waits, such as
/// the middleware of an adapter: it reads the time again after the wait.
pub trait Clock: Send + Sync {
    /// Returns the current time. On one clock it never goes backwards.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}
