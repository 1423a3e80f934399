//! A key that is revoked while its request is served.

mod support;

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use keyward::{
    KeyStore,
    audit::{Audit, AuditAction},
    key::KeyId,
    request::RefusalReason,
    store::{Lookup, StoredKey},
    verify::VerifyError,
};
use keyward_tower::{KeepResponse, ResponseBody};
use std::sync::Mutex;
use support::*;
use tokio::sync::Notify;
use tower::{Layer, ServiceExt, service_fn};

fn bearing(key: &Key) -> Request<()> {
    Request::builder().header("authorization", format!("Bearer {}", key.token)).body(()).unwrap()
}

/// Returns the response if `meanwhile` runs between the admission of the request and its response.
fn answer(
    world: &World,
    key: &Key,
    recheck: bool,
    meanwhile: impl FnOnce(),
) -> Response<ResponseBody<Full<Bytes>>> {
    let done = Arc::new(Notify::new());
    let slow = Arc::clone(&done);
    let inner = service_fn(async |_: Request<()>| {
        slow.notified().await;
        Ok::<_, Infallible>(
            Response::builder().header("x-own", "1").body(Full::from("secret data")).unwrap(),
        )
    });
    let keys = if recheck { world.keys().recheck() } else { world.keys() };
    let mut future = pin!(keys.require(reading(100)).unwrap().layer(inner).oneshot(bearing(key)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    meanwhile();
    done.notify_one();
    let Poll::Ready(answer) = future.as_mut().poll(&mut context) else { panic!("still pending") };
    answer.unwrap()
}

fn text(answer: Response<ResponseBody<Full<Bytes>>>) -> String {
    let bytes = pollster::block_on(answer.into_body().collect()).unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_request_in_flight_is_refused_if_its_key_is_revoked() {
    let world = World::new();
    let key = world.key();
    let refused = answer(&world, &key, true, || world.revoke(&key));
    assert_eq!(refused.status(), 401);
    assert!(matches!(
        refused.extensions().get(),
        Some(RefusalReason::Withdrawn(VerifyError::Revoked))
    ));
    assert!(refused.headers().contains_key("www-authenticate"));
    assert!(!refused.headers().contains_key("x-own"), "nothing of the handler's response is left");
    // The request was authenticated and charged, and its response reports the limit.
    assert_eq!(refused.headers()["x-ratelimit-remaining"], "99");
    let body = r#"{"error":{"code":"UNAUTHORIZED","message":"Missing or invalid API key."}}"#;
    assert_eq!(text(refused), body);
}

#[test]
fn without_the_recheck_option_the_response_is_served() {
    let world = World::new();
    let key = world.key();
    let served = answer(&world, &key, false, || world.revoke(&key));
    assert_eq!((served.status().as_u16(), text(served).as_str()), (200, "secret data"));
}

#[test]
fn a_key_that_is_still_valid_is_served() {
    for what in ["nothing", "rotated with a grace", "another key revoked"] {
        let world = World::new();
        let (key, other) = (world.key(), world.key());
        let served = answer(&world, &key, true, || match what {
            "nothing" => {}
            "rotated with a grace" => world.rotate(&key),
            _ => world.revoke(&other),
        });
        assert_eq!(served.headers()["x-ratelimit-remaining"], "99", "{what}");
        assert_eq!(
            (served.status().as_u16(), text(served).as_str()),
            (200, "secret data"),
            "{what}"
        );
    }
}

#[test]
fn suspension_refuses_requests_in_flight_and_rotation_does_not() {
    for (what, status) in [("rotated at once", 200), ("suspended", 401)] {
        let world = World::new();
        let key = world.key();
        let answer = answer(&world, &key, true, || match what {
            "suspended" => world.suspend(&key),
            _ => world.rotate_now(&key),
        });
        assert_eq!(answer.status(), status, "{what}");
    }
}

/// Sends a request through two layers with the second look, to a handler that changes its own key.
fn answer_of_self_service(
    world: &World,
    key: &Key,
    change: impl Fn() + Clone,
    is_kept: bool,
) -> Response<ResponseBody<ResponseBody<Full<Bytes>>>> {
    let inner = service_fn(async |_: Request<()>| {
        change();
        let mut response = Response::new(Full::<Bytes>::from("the new key"));
        if is_kept {
            response.extensions_mut().insert(KeepResponse);
        }
        Ok::<_, Infallible>(response)
    });
    let layer = world.keys().recheck().require(reading(100)).unwrap();
    pollster::block_on(layer.layer(layer.layer(inner)).oneshot(bearing(key))).unwrap()
}

#[test]
fn a_response_that_is_kept_goes_out_after_its_handler_revoked_the_key() {
    for is_kept in [true, false] {
        let world = World::new();
        let key = world.key();
        let answer = answer_of_self_service(&world, &key, || world.revoke(&key), is_kept);
        assert_eq!(answer.status(), if is_kept { 200 } else { 401 });
        assert_eq!(answer.headers()["x-ratelimit-remaining"], "99");
        let bytes = pollster::block_on(answer.into_body().collect()).unwrap().to_bytes();
        assert_eq!(bytes == "the new key", is_kept);
        // The next request is refused in any case.
        let next = answer_of_self_service(&world, &key, || {}, true);
        assert_eq!(next.status(), 401);
    }
}

#[test]
fn a_handler_that_rotates_its_own_key_needs_no_mark() {
    let world = World::new();
    let key = world.key();
    let answer = answer_of_self_service(&world, &key, || world.rotate_now(&key), false);
    assert_eq!(answer.status(), 200);
    let bytes = pollster::block_on(answer.into_body().collect()).unwrap().to_bytes();
    assert_eq!(bytes, "the new key");
}

#[test]
fn the_audit_log_receives_admission_and_withdrawal() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&events);
    let world = World::with_gate(|gate| {
        gate.with_limiter(limiter())
            .with_audit(Audit::new(move |event| log.lock().unwrap().push(event.clone())))
    });
    let key = world.key();
    let _refused = answer(&world, &key, true, || world.revoke(&key));
    let events = events.lock().unwrap();
    assert!(matches!(events[0].action, AuditAction::Admitted { .. }));
    assert!(matches!(
        events[1].action,
        AuditAction::Refused { reason: RefusalReason::Withdrawn(VerifyError::Revoked), .. }
    ));
    assert!(events.len() == 2 && events.iter().all(|event| event.key == Some(key.id)));
}

/// A store that succeeds on the first query and fails on later ones.
#[derive(Clone)]
struct OnceThen(Arc<World>, Calls, Broken);

impl KeyStore for OnceThen {
    type Error = Down;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Down> {
        let Self(world, calls, broken) = self;
        calls.count();
        if calls.get() == 1 { Ok(world.store.find_sync(lookup)) } else { broken.find(lookup).await }
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Down> {
        self.2.find_by_id(id).await
    }
}

#[test]
fn a_store_that_fails_on_the_recheck_returns_503() {
    for broken in [Broken::Fails, Broken::Hangs] {
        let world = Arc::new(World::new());
        let store = OnceThen(Arc::clone(&world), Calls::default(), broken);
        let keys = world.keys_over(store).recheck();
        let keys =
            keys.with_deadline(std::time::Duration::from_secs(1), |_| std::future::ready(()));
        let inner = service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("secret data")))
        });
        let service = keys.require(reading(100)).unwrap().layer(inner);
        let refused = pollster::block_on(service.oneshot(bearing(&world.key()))).unwrap();
        assert_eq!(refused.status(), 503, "{broken:?}");
        assert!(!text(refused).contains("secret"), "{broken:?}");
    }
}
