//! A store that never completes, with different timers.

mod support;

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use keyward::{
    Access, KeyStore, Quota,
    key::KeyId,
    limit::LimitKey,
    request::RefusalReason,
    store::{Lookup, StoredKey},
};
use support::*;
use tokio::sync::Notify;
use tower::{Layer, ServiceExt, service_fn};

fn bearing(key: &Key) -> Request<()> {
    Request::builder().header("authorization", format!("Bearer {}", key.token)).body(()).unwrap()
}

fn inner(_: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Full::from("served"))))
}

const DEADLINE: Duration = Duration::from_millis(1_500);

#[test]
fn a_hung_store_returns_503_at_the_deadline_and_not_before() {
    let world = World::new();
    let ring = Arc::new(Notify::new());
    let timer = Arc::clone(&ring);
    let keys = world.keys_over(Broken::Hangs).with_deadline(DEADLINE, move |after| {
        assert_eq!(after, DEADLINE);
        let timer = Arc::clone(&timer);
        async move { timer.notified().await }
    });
    let service = keys.require(reading(100)).unwrap().layer(service_fn(inner));
    let mut future = pin!(service.oneshot(bearing(&world.key())));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert!(future.as_mut().poll(&mut context).is_pending());
    }
    ring.notify_one();
    let Poll::Ready(answer) = future.as_mut().poll(&mut context) else { panic!("still pending") };
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 503);
    let Some(RefusalReason::Store(error)) = answer.extensions().get() else {
        panic!("unexpected reason")
    };
    assert_eq!(error.to_string(), "no response before the deadline");
}

/// A store that completes on a signal.
#[derive(Clone)]
struct Late(Arc<World>, Arc<Notify>);

impl KeyStore for Late {
    type Error = Infallible;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Infallible> {
        self.1.notified().await;
        Ok(self.0.store.find_sync(lookup))
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Infallible> {
        self.1.notified().await;
        Ok(self.0.store.find_by_id_sync(id))
    }
}

#[test]
fn a_store_result_at_the_deadline_is_used() {
    let world = Arc::new(World::new());
    let (answered, ring) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let timer = Arc::clone(&ring);
    let keys = world.keys_over(Late(Arc::clone(&world), Arc::clone(&answered)));
    let keys = keys.with_deadline(DEADLINE, move |_| {
        let timer = Arc::clone(&timer);
        async move { timer.notified().await }
    });
    let service = keys.require(reading(100)).unwrap().layer(service_fn(inner));
    let mut future = pin!(service.oneshot(bearing(&world.key())));
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    answered.notify_one();
    ring.notify_one();
    let Poll::Ready(answer) = future.as_mut().poll(&mut context) else { panic!("still pending") };
    assert_eq!(answer.unwrap().status(), 200);
}

#[test]
fn an_immediate_store_result_starts_no_timer() {
    let world = World::new();
    let timers = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&timers);
    let keys = world.keys().recheck().with_deadline(DEADLINE, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    let service = keys.require(reading(100)).unwrap().layer(service_fn(inner));
    let answer = pollster::block_on(service.oneshot(bearing(&world.key()))).unwrap();
    assert_eq!((answer.status().as_u16(), timers.load(Ordering::SeqCst)), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_works_with_tokio_timers() {
    let world = World::new();
    let begin = tokio::time::Instant::now();
    let keys = world.keys_over(Broken::Hangs).with_deadline(DEADLINE, tokio::time::sleep);
    let service = keys.require(reading(100)).unwrap().layer(service_fn(inner));
    let answer = service.oneshot(bearing(&world.key())).await.unwrap();
    assert_eq!((answer.status().as_u16(), begin.elapsed()), (503, DEADLINE));
}

#[test]
fn requests_dropped_before_the_store_responds_count_as_failed_attempts() {
    let minute = Quota::per_minute(2);
    let world =
        World::with_gate(|gate| gate.limit_failed_attempts(limiter(), minute).shed_before_lookup());
    let address = |_: &http::request::Parts| Some(LimitKey::address([192, 0, 2, 7].into()));
    let require = |broken| {
        let keys = world.keys_over(broken).with_client_address(address);
        keys.with_deadline(DEADLINE, |_| ready(())).require(Access::scope(READ)).unwrap()
    };
    let patient = world.keys_over(Broken::Hangs).with_client_address(address);
    let patient = patient.require(Access::scope(READ)).unwrap();
    let good = world.keys().with_client_address(address).require(Access::scope(READ)).unwrap();
    let key = world.key();
    let mut context = Context::from_waker(Waker::noop());
    let status = || {
        let answer = good.layer(service_fn(inner)).oneshot(bearing(&key));
        pollster::block_on(answer).unwrap().status().as_u16()
    };

    // Store failures are not the client's fault: errors, timeouts and panics.
    for broken in [Broken::Fails, Broken::Hangs, Broken::Panics, Broken::PanicsAtOnce] {
        for _ in 0..3 {
            let answer = require(broken).layer(service_fn(inner)).oneshot(bearing(&key));
            let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                pollster::block_on(answer).unwrap().status().as_u16()
            }));
            assert!(answer.is_err() || answer.is_ok_and(|status| status == 503), "{broken:?}");
        }
    }
    assert_eq!(status(), 200);

    for expected in [200, 429] {
        let mut future = Box::pin(patient.layer(service_fn(inner)).oneshot(bearing(&key)));
        assert!(future.as_mut().poll(&mut context).is_pending());
        drop(future);
        assert_eq!(status(), expected);
    }
    // A dropped request is counted at the time at which it was dropped.
    world.clock.advance(Duration::from_secs(60));
    let mut future = Box::pin(patient.layer(service_fn(inner)).oneshot(bearing(&key)));
    assert!(future.as_mut().poll(&mut context).is_pending());
    world.clock.advance(Duration::from_secs(59));
    drop(future);
    let mut future = Box::pin(patient.layer(service_fn(inner)).oneshot(bearing(&key)));
    assert!(future.as_mut().poll(&mut context).is_pending());
    drop(future);
    world.clock.advance(Duration::from_millis(59_999));
    assert_eq!(status(), 429);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(status(), 200);
}
