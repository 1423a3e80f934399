//! Every lock of this crate, and the shim for the model checker loom.
//!
//! No other module names a crate of locks. None of these locks is ever poisoned.

pub(crate) use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

pub(crate) use self::short::{ShortLock, ShortLockGuard};

/// A lock for sections of some twenty nanoseconds, whose own cost shows in a decision.
///
/// A plain store releases it. A lock that keeps a list of waiters needs a second locked
/// instruction there, which is a fifth of the time of a decision. The price is that nobody wakes a
/// waiter: it tries again in ever longer intervals. At first it spins, because the holder runs on
/// another core. Then it yields its time slice. At last it sleeps, so that a holder that was
/// interrupted runs whatever the priorities of the threads are.
#[cfg(not(all(test, keyward_loom)))]
mod short {
    use std::{hint, thread, time::Duration};

    use spin::mutex::SpinMutex;

    pub(crate) use spin::mutex::SpinMutexGuard as ShortLockGuard;

    pub(crate) struct ShortLock<T>(SpinMutex<T>);

    impl<T> ShortLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(SpinMutex::new(value))
        }

        #[inline]
        pub(crate) fn lock(&self) -> ShortLockGuard<'_, T> {
            match self.0.try_lock() {
                Some(guard) => guard,
                None => self.wait(),
            }
        }

        #[cold]
        fn wait(&self) -> ShortLockGuard<'_, T> {
            let mut tries = 0_u32;
            loop {
                pause(tries);
                // Looking first leaves the cache line with the holder.
                if !self.0.is_locked()
                    && let Some(guard) = self.0.try_lock()
                {
                    return guard;
                }
                tries = tries.saturating_add(1);
            }
        }
    }

    /// Waits before the next try: 2 to 64 spins of the processor, then eight yields of the time
    /// slice, then 50 µs to 1.6 ms of sleep.
    #[expect(
        clippy::disallowed_methods,
        reason = "a lock waits; no decision depends on for how long"
    )]
    fn pause(tries: u32) {
        match tries {
            0..24 => (0..2_u32 << (tries / 4)).for_each(|_| hint::spin_loop()),
            24..32 => thread::yield_now(),
            _ => thread::sleep(Duration::from_micros(50 << (tries - 32).min(5))),
        }
    }
}

#[cfg(all(test, keyward_loom))]
mod short {
    pub(crate) use loom::sync::MutexGuard as ShortLockGuard;

    pub(crate) struct ShortLock<T>(loom::sync::Mutex<T>);

    impl<T> ShortLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> ShortLockGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

/// The parts of loom that the model checks of the shards use.
#[cfg(all(test, keyward_loom))]
pub(crate) mod checker {
    pub(crate) use loom::{model, sync::Arc, thread};
}
