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
