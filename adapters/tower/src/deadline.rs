//! How long the store may take, on a timer of the host's.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use keyward::store::StoreFuture;

/// A duration and where to get a timer for it: this crate has no runtime of its own.
#[derive(Clone)]
pub(crate) struct Deadline {
    after: Duration,
    timer: Arc<dyn Fn(Duration) -> StoreFuture<'static, ()> + Send + Sync>,
}

impl Deadline {
    pub(crate) fn new<F>(
        after: Duration,
        timer: impl Fn(Duration) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { after, timer: Arc::new(move |after| StoreFuture::new(timer(after))) }
    }

    /// What `future` comes to, or `None` if the timer is done first. A timer is only asked for
    /// once the future has to be waited for.
    pub(crate) async fn race<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut timer = None;
        poll_fn(|context| {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            let timer = timer.get_or_insert_with(|| (self.timer)(self.after));
            Pin::new(timer).poll(context).map(|()| None)
        })
        .await
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").field("after", &self.after).finish_non_exhaustive()
    }
}
