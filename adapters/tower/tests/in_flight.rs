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
use keyward_tower::ResponseBody;
use std::sync::Mutex;
use support::*;
use tokio::sync::Notify;
use tower::{Layer, ServiceExt, service_fn};

fn bearing(key: &Key) -> Request<()> {
    Request::builder().header("authorization", format!("Bearer {}", key.token)).body(()).unwrap()
}

/// What comes out if `meanwhile` happens between the request's admission and its answer.
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
    let Poll::Ready(answer) = future.as_mut().poll(&mut context) else { panic!("still waiting") };
    answer.unwrap()
}

fn text(answer: Response<ResponseBody<Full<Bytes>>>) -> String {
    let bytes = pollster::block_on(answer.into_body().collect()).unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_request_in_flight_is_refused_when_its_key_is_revoked() {
    let world = World::new();
    let key = world.key();
    let refused = answer(&world, &key, true, || world.revoke(&key));
    assert_eq!(refused.status(), 401);
    assert!(matches!(
        refused.extensions().get(),
        Some(RefusalReason::Withdrawn(VerifyError::Revoked))
    ));
    assert!(refused.headers().contains_key("www-authenticate"));
    assert!(!refused.headers().contains_key("x-own"), "nothing of the handler's answer is left");
    // It was authenticated and charged, and its answer says so.
    assert_eq!(refused.headers()["x-ratelimit-remaining"], "99");
    let body = r#"{"error":{"code":"UNAUTHORIZED","message":"Missing or invalid API key."}}"#;
    assert_eq!(text(refused), body);
}

#[test]
fn the_option_is_what_does_it() {
    let world = World::new();
    let key = world.key();
    let served = answer(&world, &key, false, || world.revoke(&key));
    assert_eq!((served.status().as_u16(), text(served).as_str()), (200, "secret data"));
}

#[test]
fn a_key_that_still_stands_is_served() {
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
fn whatever_ends_a_key_ends_its_requests() {
    for (what, status) in [("rotated at once", 401), ("suspended", 401)] {
        let world = World::new();
        let key = world.key();
        let refused = answer(&world, &key, true, || match what {
            "suspended" => world.suspend(&key),
            _ => world.rotate_now(&key),
        });
        assert_eq!(refused.status(), status, "{what}");
    }
}

#[test]
fn the_log_is_told_of_both() {
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

/// Finds the first time it is asked, and then does something else.
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
fn a_store_that_cannot_be_asked_again_is_503() {
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
