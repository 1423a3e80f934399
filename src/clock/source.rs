//! The source of timestamps that a host supplies.

use std::sync::Arc;

use crate::clock::timestamp::Timestamp;

/// A source of [`Timestamp`]s.
///
/// Every decision takes `now` as an argument. A clock is needed only by code that waits, such as
/// the middleware of an adapter: it reads the time again after the wait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no clock",
    note = "use `keyward::SystemClock`, or `keyward::ManualClock` in a test; a type of your own \
            implements `keyward::Clock` with `fn now(&self) -> Timestamp`"
)]
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
