//! Deadlines on a timer of the host's runtime.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The sleep function of the host's runtime, such as `tokio::time::sleep`.
///
/// This crate contains no runtime, so whatever needs a deadline takes a timer. Clones share the
/// function.
///
/// ```
/// use std::{future::{pending, ready}, time::Duration};
/// use keyward::clock::Timer;
///
/// # pollster::block_on(async {
/// let timer = Timer::new(|_| ready(())); // in a service: Timer::new(tokio::time::sleep)
/// assert_eq!(timer.race(Duration::from_secs(1), ready(7)).await, Some(7));
/// assert_eq!(timer.race(Duration::from_secs(1), pending::<u8>()).await, None);
/// # });
/// ```
#[derive(Clone)]
pub struct Timer(Arc<dyn Fn(Duration) -> Sleep + Send + Sync>);

impl Timer {
    /// Wraps a function that returns a future which completes after the given duration.
    pub fn new<F>(sleep: impl Fn(Duration) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move |after| Box::pin(sleep(after))))
    }

    /// Awaits `future`; returns `None` if the timer completes first.
    ///
    /// If both are ready in the same poll, the future wins. The timer starts with the first
    /// poll that leaves the future pending, so a future that is ready at once costs no timer.
    pub async fn race<T>(&self, after: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut sleep = None;
        poll_fn(|context| {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            let sleep = sleep.get_or_insert_with(|| (self.0)(after));
            sleep.as_mut().poll(context).map(|()| None)
        })
        .await
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Ready, pending, ready},
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Waker},
    };

    use super::*;

    const AFTER: Duration = Duration::from_secs(3);

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_future_that_is_ready_starts_no_timer() {
        let started = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&started);
        let timer = Timer::new(move |after| {
            assert_eq!(after, AFTER);
            count.fetch_add(1, Ordering::SeqCst);
            ready(())
        });
        assert_eq!(poll(pin!(timer.race(AFTER, ready(1)))), Poll::Ready(Some(1)));
        assert_eq!(started.load(Ordering::SeqCst), 0);
        assert_eq!(poll(pin!(timer.race(AFTER, pending::<u8>()))), Poll::Ready(None));
        assert_eq!(started.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn the_timer_starts_once() {
        let started = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&started);
        let timer = Timer::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            pending()
        });
        let mut race = pin!(timer.race(AFTER, pending::<u8>()));
        for _ in 0..3 {
            assert_eq!(poll(race.as_mut()), Poll::Pending);
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
    }

    /// If both are ready in one poll, the result counts.
    #[test]
    fn the_future_wins_a_tie() {
        let polls = AtomicUsize::new(0);
        let second = poll_fn(|_| match polls.fetch_add(1, Ordering::SeqCst) {
            0 => Poll::Pending,
            _ => Poll::Ready(7),
        });
        let timer = Timer::new(|_| {
            let polls = AtomicUsize::new(0);
            poll_fn(move |_| match polls.fetch_add(1, Ordering::SeqCst) {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            })
        });
        let mut race = pin!(timer.race(AFTER, second));
        assert_eq!(poll(race.as_mut()), Poll::Pending);
        assert_eq!(poll(race.as_mut()), Poll::Ready(Some(7)));
    }

    /// The raced future need not be `Send`.
    #[test]
    fn a_local_future_can_race() {
        let timer = Timer::new(|_| -> Ready<()> { ready(()) });
        let local = std::rc::Rc::new(5);
        let race = timer.race(AFTER, async move { *local });
        assert_eq!(poll(pin!(race)), Poll::Ready(Some(5)));
    }
}
