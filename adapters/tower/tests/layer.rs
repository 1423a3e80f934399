//! The layer on a plain tower service.

mod support;

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Ready, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use keyward::{
    Access, KeyStore, Quota, Route,
    limit::{Decision, LimitKey},
    request::{PublicReason, RefusalReason},
};
use keyward_tower::{ApiKeyLayer, Caller, ForeignCredential, Preflights, ResponseBody};
use support::*;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

type Answer = Response<ResponseBody<Full<Bytes>>>;

/// Returns the caller and the remaining limit as text.
fn whoami(request: &Request<()>) -> Response<Full<Bytes>> {
    let extensions = request.extensions();
    let text = match (extensions.get::<Caller>(), extensions.get::<ForeignCredential>()) {
        (Some(caller), None) => caller.owner_id().to_string(),
        (None, Some(_)) => "passed on".to_owned(),
        (None, None) => "nobody".to_owned(),
        (Some(_), Some(_)) => "both".to_owned(),
    };
    Response::new(Full::from(text))
}

/// Returns the response of [`whoami`] behind this layer, and the number of calls.
fn send<K: KeyStore + 'static>(layer: &ApiKeyLayer<K>, request: Request<()>) -> (Answer, usize) {
    let calls = Cell::new(0);
    let inner = service_fn(|request| {
        calls.set(calls.get() + 1);
        ready(Ok::<_, Infallible>(whoami(&request)))
    });
    let answer = pollster::block_on(layer.layer(inner).oneshot(request)).unwrap();
    (answer, calls.get())
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::builder().method(method).uri(target);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap()
}

fn bearing(key: &Key) -> Request<()> {
    request("GET", "/", &[("authorization", &format!("Bearer {}", key.token))])
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

fn text(answer: Answer) -> String {
    let bytes = pollster::block_on(answer.into_body().collect()).unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn an_admitted_request_reaches_the_service_with_its_caller() {
    let world = World::new();
    let (answer, calls) = send(&world.keys().require(reading(100)).unwrap(), bearing(&world.key()));
    assert_eq!((answer.status().as_u16(), calls), (200, 1));
    assert_eq!(values(answer.headers(), "x-ratelimit-limit"), ["100"]);
    assert_eq!(values(answer.headers(), "x-ratelimit-remaining"), ["99"]);
    assert_eq!(values(answer.headers(), "x-ratelimit-reset"), ["1700000060"]);
    assert_eq!(text(answer), "acme");
}

#[test]
fn a_refused_request_never_reaches_the_inner_service() {
    let world = World::new();
    let (key, revoked, stranger) = (world.key(), world.key(), World::new().key());
    world.revoke(&revoked);
    let bearer = |key: &Key| format!("Bearer {}", key.token);
    let invalid = r#"{"error":{"code":"UNAUTHORIZED","message":"Missing or invalid API key."}}"#;
    let ambiguous =
        r#"{"error":{"code":"BAD_REQUEST","message":"Several different API keys were sent"}}"#;
    let forbidden =
        r#"{"error":{"code":"FORBIDDEN","message":"Missing required scope: write:data"}}"#;
    let (read, write) = (reading(100), limited(Access::scope(WRITE), 100));
    for (case, route, credentials, status, body) in [
        ("no key", &read, vec![], 401, invalid),
        ("another scheme", &read, vec!["Basic YTpi".to_owned()], 401, invalid),
        ("no token68", &read, vec!["Bearer a b".to_owned()], 401, invalid),
        ("malformed", &read, vec!["Bearer luci_123".to_owned()], 401, invalid),
        ("unknown", &read, vec![bearer(&stranger)], 401, invalid),
        ("revoked", &read, vec![bearer(&revoked)], 401, invalid),
        ("two keys", &read, vec![bearer(&key), bearer(&stranger)], 400, ambiguous),
        ("scope", &write, vec![bearer(&key)], 403, forbidden),
    ] {
        let lines: Vec<_> =
            credentials.iter().map(|line| ("authorization", line.as_str())).collect();
        let (answer, calls) =
            send(&world.keys().require(route.clone()).unwrap(), request("GET", "/", &lines));
        assert_eq!((answer.status().as_u16(), calls), (status, 0), "{case}");
        let challenge: &[&str] = if status == 403 { &[] } else { &[r#"Bearer scope="read:data""#] };
        assert_eq!(values(answer.headers(), "www-authenticate"), challenge, "{case}");
        assert_eq!(values(answer.headers(), "content-type"), ["application/json"], "{case}");
        // An authenticated request is charged, even if it is forbidden; all others are not.
        let limits: &[&str] = if status == 403 { &["100"] } else { &[] };
        assert_eq!(values(answer.headers(), "x-ratelimit-limit"), limits, "{case}");
        assert!(answer.extensions().get::<RefusalReason>().is_some(), "{case}");
        assert_eq!(text(answer), body, "{case}");
    }
}

#[test]
fn the_limit_is_enforced_and_reported_in_headers() {
    let world = World::new();
    let (key, layer) = (world.key(), world.keys().require(reading(2)).unwrap());
    for remaining in ["1", "0"] {
        let (answer, calls) = send(&layer, bearing(&key));
        assert_eq!((answer.status().as_u16(), calls), (200, 1));
        assert_eq!(values(answer.headers(), "x-ratelimit-remaining"), [remaining]);
        assert!(!answer.headers().contains_key("retry-after"));
    }
    world.clock.advance(Duration::from_millis(500));
    let (answer, calls) = send(&layer, bearing(&key));
    assert_eq!((answer.status().as_u16(), calls), (429, 0));
    assert_eq!(values(answer.headers(), "retry-after"), ["60"]);
    assert_eq!(values(answer.headers(), "x-ratelimit-reset"), ["1700000060"]);
    let body =
        r#"{"error":{"code":"RATE_LIMITED","message":"Retry after 60 seconds.","retry_after":60}}"#;
    assert_eq!(text(answer), body);
    world.clock.set(NOON + Duration::from_millis(59_999));
    assert_eq!(send(&layer, bearing(&key)).0.status(), 429);
    world.clock.set(NOON + Duration::from_millis(60_000));
    assert_eq!(send(&layer, bearing(&key)).0.status(), 200);
}

#[test]
fn rate_headers_of_the_gate_replace_those_of_the_service() {
    let world = World::new();
    let inner = service_fn(async |_: Request<()>| {
        let answer =
            Response::builder().status(418).header("x-ratelimit-limit", "9").header("x-own", "1");
        Ok::<_, Infallible>(answer.body(Full::<Bytes>::default()).unwrap())
    });
    let service = world.keys().require(reading(100)).unwrap().layer(inner);
    let answer = pollster::block_on(service.oneshot(bearing(&world.key()))).unwrap();
    assert_eq!(answer.status(), 418);
    assert_eq!(values(answer.headers(), "x-ratelimit-limit"), ["100"]);
    assert_eq!(values(answer.headers(), "x-own"), ["1"]);
}

#[test]
fn the_error_of_the_inner_service_is_returned_unchanged() {
    #[derive(Debug, PartialEq)]
    struct Own(&'static str);

    let world = World::new();
    let inner =
        service_fn(async |_: Request<()>| Err::<Response<Full<Bytes>>, _>(Own("as it was")));
    for recheck in [false, true] {
        let keys = if recheck { world.keys().recheck() } else { world.keys() };
        let service = keys.require(reading(100)).unwrap().layer(inner);
        let answer = pollster::block_on(service.oneshot(bearing(&world.key())));
        assert_eq!(answer.unwrap_err(), Own("as it was"));
    }
}

/// Panics if it is called before it was ready. A clone starts unready, as the contract of
/// [`Service`] allows.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called before it was ready");
        ready(Ok(whoami(&request)))
    }
}

#[test]
fn the_instance_that_was_ready_is_called() {
    let world = World::new();
    let key = world.key();
    let mut service = world.keys().require(reading(100)).unwrap().layer(Strict::default());
    for _ in 0..3 {
        let answer = pollster::block_on(async {
            service.ready().await.unwrap().call(bearing(&key)).await.unwrap()
        });
        assert_eq!(answer.status(), 200);
    }
    // The control: it panics if it was not ready.
    let unready = catch_unwind(AssertUnwindSafe(|| {
        let mut service = world.keys().require(reading(100)).unwrap().layer(Strict::default());
        pollster::block_on(service.call(bearing(&key)))
    }));
    assert!(unready.is_err());
}

#[test]
fn the_layer_is_pending_until_the_inner_service_is_ready() {
    #[derive(Clone)]
    struct Never;

    impl Service<Request<()>> for Never {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Pending
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            unreachable!("never ready")
        }
    }

    let mut service = World::new().keys().require(reading(1)).unwrap().layer(Never);
    let poll =
        Service::<Request<()>>::poll_ready(&mut service, &mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending());
}

fn echo(request: Request<(&str, Rc<()>)>) -> Ready<Result<Response<&str>, Infallible>> {
    ready(Ok(Response::new(request.into_body().0)))
}

#[test]
fn bodies_need_neither_send_nor_static() {
    let world = World::new();
    let borrowed = "borrowed".to_owned();
    let inner = service_fn(echo);
    let service = world.keys().require(reading(100)).unwrap().layer(inner);
    let request = bearing(&world.key()).map(|()| (borrowed.as_str(), Rc::new(())));
    let answer = pollster::block_on(service.oneshot(request)).unwrap();
    // The response's body does not even have to implement `Body`.
    assert_eq!(answer.status(), 200);
}

#[test]
fn response_futures_are_send_if_the_service_is() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    fn is_service<S: Service<Request<()>> + Clone + Send + Sync + 'static>(_: &S) {}

    let world = World::new();
    let inner = service_fn(async |request: Request<()>| Ok::<_, Infallible>(whoami(&request)));
    let mut service = world.keys().recheck().require(reading(100)).unwrap().layer(inner);
    is_service(&service);
    let _sent = is_send(service.call(bearing(&world.key())));
}

#[test]
fn the_layer_works_in_a_service_builder() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .map_response(|answer: Answer| (answer.status().as_u16(), text(answer)))
        .layer(world.keys().require(Access::any_key()).unwrap())
        .map_request(|request: Request<()>| request)
        .service_fn(async |request: Request<()>| Ok::<_, Infallible>(whoami(&request)));
    let answer = pollster::block_on(service.clone().oneshot(bearing(&world.key()))).unwrap();
    assert_eq!(answer, (200, "acme".to_owned()));
    let answer = pollster::block_on(service.oneshot(request("GET", "/", &[]))).unwrap();
    assert_eq!(answer.0, 401);
}

#[test]
fn the_route_can_depend_on_the_request() {
    let world = World::new();
    let keys = world.keys();
    let read = keys.route(reading(100)).unwrap();
    let write = keys.route(limited(Access::scope(WRITE), 100)).unwrap();
    let layer = keys
        .require_by(move |parts| match parts.uri.path() {
            "/list" => read.clone(),
            _ => write.clone(),
        })
        .unwrap();
    for (path, key, status) in [
        ("/list", world.key(), 200),
        ("/change", world.key(), 403),
        ("/change", world.writing_key(), 200),
        ("/list/", world.key(), 403),
    ] {
        let mut request = bearing(&key);
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(send(&layer, request).0.status(), status, "{path}");
    }
}

const PREFLIGHT: [(&str, &str); 2] =
    [("origin", "https://app.example"), ("access-control-request-method", "POST")];

#[test]
fn preflights_follow_the_policy_and_other_options_requests_need_a_key() {
    let world = World::new();
    let headers = HeaderMap::from_iter([(
        http::header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    )]);
    for (policy, status, body) in [
        (Preflights::Authenticate, 401, None),
        (Preflights::PassOn, 200, Some("nobody")),
        (Preflights::Answer(headers), 204, Some("")),
    ] {
        let layer = world.keys().with_preflights(policy.clone()).require(reading(100)).unwrap();
        let (answer, calls) = send(&layer, request("OPTIONS", "/", &PREFLIGHT));
        assert_eq!(answer.status(), status, "{policy:?}");
        assert_eq!(calls, usize::from(status == 200), "{policy:?}");
        assert_eq!(answer.headers().contains_key("access-control-allow-origin"), status == 204);
        if let Some(body) = body {
            assert_eq!(text(answer), body, "{policy:?}");
        }
        for (case, method, headers) in [
            ("no preflight", "OPTIONS", &PREFLIGHT[..0]),
            ("origin alone", "OPTIONS", &PREFLIGHT[..1]),
            ("method alone", "OPTIONS", &PREFLIGHT[1..]),
            ("no OPTIONS", "POST", &PREFLIGHT[..]),
        ] {
            let (answer, calls) = send(&layer, request(method, "/", headers));
            assert_eq!((answer.status().as_u16(), calls), (401, 0), "{policy:?} {case}");
        }
    }
}

#[test]
fn a_preflight_that_is_passed_on_has_no_credential_and_no_key_in_its_uri() {
    let world = World::new();
    let (key, public) = (world.key(), world.public_key());
    let target = format!("/data?api_key={}&v=1", public.token);
    let lines = [PREFLIGHT[0], PREFLIGHT[1], ("authorization", &format!("Bearer {}", key.token))];
    let inner = service_fn(async |request: Request<()>| {
        let extensions = request.extensions();
        assert!(extensions.get::<Caller>().is_none());
        assert!(extensions.get::<ForeignCredential>().is_none());
        assert!(request.headers()["authorization"].is_sensitive());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(request.uri().to_string())))
    });
    let keys = world.keys().with_preflights(Preflights::PassOn);
    let layer = keys.require(reading(100)).unwrap();
    for (layers, expected) in [
        (layer.clone(), "/data?api_key=REDACTED&v=1".to_owned()),
        (keys.keep_query().require(reading(100)).unwrap(), target.clone()),
    ] {
        let service = layers.layer(inner);
        let answer = pollster::block_on(service.oneshot(request("OPTIONS", &target, &lines)));
        assert_eq!(text(answer.unwrap()), expected);
    }
    // Nothing of it stays behind for a layer inside of this one.
    let inner = world.keys().require(reading(100)).unwrap();
    let service =
        layer.layer(inner.layer(service_fn(async |request| Ok::<_, Infallible>(whoami(&request)))));
    let answer = pollster::block_on(service.oneshot(request("OPTIONS", "/", &PREFLIGHT)));
    assert_eq!(answer.unwrap().status(), 401);
}

#[test]
fn a_failing_store_returns_503_and_a_panicking_store_never_admits() {
    let world = World::new();
    let key = world.key();
    let layer = world.keys_over(Broken::Fails).require(reading(100)).unwrap();
    let (answer, calls) = send(&layer, bearing(&key));
    assert_eq!((answer.status().as_u16(), calls), (503, 0));
    assert!(!text(answer).contains("database"), "the reason appears only in the log");

    for broken in [Broken::Panics, Broken::PanicsAtOnce] {
        let calls = Calls::default();
        let inner = service_fn(async |request| {
            calls.count();
            Ok::<_, Infallible>(whoami(&request))
        });
        let mut service = world.keys_over(broken).require(reading(100)).unwrap().layer(inner);
        let mut future = pin!(service.call(bearing(&key)));
        // Catching the panic and polling again does not admit the request either.
        for _ in 0..3 {
            let poll = catch_unwind(AssertUnwindSafe(|| {
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            }));
            assert!(!matches!(poll, Ok(Poll::Ready(_))), "{broken:?}");
        }
        assert_eq!(calls.get(), 0, "{broken:?}");
    }
}

#[test]
fn a_key_that_expires_during_the_store_query_is_refused() {
    #[derive(Clone)]
    struct Slow(Arc<World>);

    impl KeyStore for Slow {
        type Error = Infallible;

        async fn find(
            &self,
            lookup: &keyward::store::Lookup,
        ) -> Result<Option<keyward::store::StoredKey>, Infallible> {
            self.0.clock.advance(Duration::from_secs(10));
            Ok(self.0.store.find_sync(lookup))
        }

        async fn find_by_id(
            &self,
            id: keyward::key::KeyId,
        ) -> Result<Option<keyward::store::StoredKey>, Infallible> {
            Ok(self.0.store.find_by_id_sync(id))
        }
    }

    for (lifetime, status) in [(10_000, 401), (10_001, 200)] {
        let world = Arc::new(World::new());
        let key = world.key();
        let expiry = world.issuer.expire_at(key.id, NOON + Duration::from_millis(lifetime), NOON);
        pollster::block_on(expiry).unwrap();
        let layer = world.keys_over(Slow(Arc::clone(&world))).require(reading(100)).unwrap();
        assert_eq!(send(&layer, bearing(&key)).0.status(), status, "{lifetime}");
    }
}

#[test]
fn limits_can_be_charged_by_an_external_limiter() {
    let world = World::with_gate(|gate| gate);
    let (key, route) = (world.key(), reading(2));

    // Without a limiter; detected only now, because the route depends on the request.
    let by_request = {
        let route = world.gate.route(route.clone()).unwrap();
        world.keys().require_by(move |_| route.clone()).unwrap()
    };
    let (answer, calls) = send(&by_request, bearing(&key));
    assert_eq!((answer.status().as_u16(), calls), (503, 0));
    let (answer, _) = send(&world.keys().require(Access::scope(READ)).unwrap(), bearing(&key));
    assert_eq!(answer.status(), 200, "this route has no limits");

    let elsewhere = Arc::new(limiter());
    let keys = world.keys().charge_with(move |charge, now| {
        let limits: Vec<_> = charge.limits().map(|(key, quotas)| (key, *quotas)).collect();
        let (elsewhere, cost) = (Arc::clone(&elsewhere), charge.cost());
        async move {
            let limits: Vec<_> = limits.iter().map(|(key, quotas)| (*key, quotas)).collect();
            elsewhere.check_all(&limits, cost, now)
        }
    });
    let layer = keys.require(route.clone()).unwrap();
    for status in [200, 200, 429] {
        let (answer, calls) = send(&layer, bearing(&key));
        assert_eq!((answer.status().as_u16(), calls), (status, usize::from(status == 200)));
        assert_eq!(values(answer.headers(), "x-ratelimit-limit"), ["2"]);
    }

    let down = world.keys().charge_with(|_, _| ready(Err::<Decision, _>(Down)));
    let (answer, calls) = send(&down.require(route.clone()).unwrap(), bearing(&key));
    assert_eq!((answer.status().as_u16(), calls), (503, 0));

    let hung = world.keys().charge_with(|_, _| pending::<Result<Decision, Down>>());
    let hung = hung.with_deadline(Duration::from_secs(1), |_| ready(()));
    let (answer, calls) = send(&hung.require(route).unwrap(), bearing(&key));
    assert_eq!((answer.status().as_u16(), calls), (503, 0));
}

#[test]
fn failed_attempts_are_counted_by_the_configured_client_address() {
    #[derive(Clone, Copy)]
    struct Peer(u8);

    let world = World::with_gate(|gate| {
        let quota = Quota::per_minute(2);
        gate.with_limiter(limiter()).limit_failed_attempts(limiter(), quota)
    });
    let (good, bad) = (world.key(), World::new().key());
    let layer = world
        .keys()
        .with_client_address(|parts| {
            parts.extensions.get().map(|Peer(last)| LimitKey::address([192, 0, 2, *last].into()))
        })
        .require(reading(100))
        .unwrap();
    let from = |peer: Option<u8>, key: &Key| {
        let mut request = bearing(key);
        if let Some(peer) = peer {
            request.extensions_mut().insert(Peer(peer));
        }
        send(&layer, request).0.status().as_u16()
    };
    let statuses = [401, 401, 429, 429].map(|expected| (from(Some(7), &bad), expected));
    assert!(statuses.iter().all(|(found, expected)| found == expected), "{statuses:?}");
    assert_eq!(from(Some(7), &good), 200, "a proved key always passes");
    assert_eq!(from(Some(8), &good), 200, "another address is not affected");
    assert_eq!([(); 4].map(|()| from(None, &bad)), [401; 4], "no address, no count");
}

#[test]
fn a_passed_on_request_has_no_caller_even_inside_another_layer() {
    let outer = World::new();
    let inner = World::with_gate(|gate| gate.allow_foreign());
    let key = outer.key();
    let passing = inner.keys().require(Access::any_key()).unwrap();
    let jwt = [("authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln")];
    let (answer, calls) = send(&passing, request("GET", "/", &jwt));
    assert_eq!((answer.status().as_u16(), calls), (200, 1));
    assert_eq!(text(answer), "passed on");
    // A malformed key of a known kind and a missing key are not passed on.
    assert_eq!(
        send(&passing, request("GET", "/", &[("authorization", "Bearer luci_1")])).0.status(),
        401
    );
    assert_eq!(send(&passing, request("GET", "/", &[])).0.status(), 401);

    // The outer layer admits a key from another header; the inner layer must not see its caller.
    let through_both = request("GET", "/", &[jwt[0], ("x-outer", &key.token)]);
    let outside = {
        let sources = keyward::CredentialSource::header("x-outer");
        let gate = keyward::Gate::builder(SECRET, outer.issuer.verifier(), sources)
            .with_challenge(keyward::Challenge::api_key("outer", "x-outer").unwrap())
            .build()
            .unwrap();
        keyward_tower::ApiKeys::new(gate, Arc::clone(&outer.store), Arc::clone(&outer.clock))
    };
    let service = ServiceBuilder::new()
        .layer(outside.require(Access::any_key()).unwrap())
        .layer(passing)
        .service_fn(async |request: Request<()>| Ok::<_, Infallible>(whoami(&request)));
    let answer = pollster::block_on(service.oneshot(through_both)).unwrap();
    let body = pollster::block_on(answer.into_body().collect()).unwrap().to_bytes();
    assert_eq!(body, "passed on");
}

#[test]
fn host_refusals_use_the_protocol_of_the_request() {
    let world = World::with_gate(|gate| gate.allow_foreign());
    let inner = service_fn(async |request: Request<()>| {
        let passed = request.extensions().get::<ForeignCredential>().unwrap();
        assert_eq!(passed.route().access(), &Access::scope(WRITE));
        Ok::<_, Infallible>(passed.refuse(PublicReason::MissingScope).map(Full::from))
    });
    let service = world.keys().serve_grpc().require(Access::scope(WRITE)).unwrap().layer(inner);
    for (content_type, status, code) in
        [("application/json", 403, &[][..]), ("application/grpc", 200, &["7"][..])]
    {
        let lines = [("authorization", "Bearer jwt.of.session"), ("content-type", content_type)];
        let answer = service.clone().oneshot(request("POST", "/", &lines));
        let answer = pollster::block_on(answer).unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(values(answer.headers(), "grpc-status"), code);
        assert!(matches!(answer.extensions().get(), Some(RefusalReason::Host(_))));
        assert_eq!(text(answer).contains("Missing required scope: write:data"), code.is_empty());
    }
}

#[test]
fn response_bodies_report_their_exact_size() {
    let world = World::new();
    let layer = world.keys().require(reading(100)).unwrap();
    for (request, length) in [
        (bearing(&world.key()), 4),
        (request("GET", "/", &[]), 73),
        (request("OPTIONS", "/", &PREFLIGHT), 73),
    ] {
        let body = send(&layer, request).0.into_body();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(length), false));
        let mut body = pin!(body);
        let mut context = Context::from_waker(Waker::noop());
        let mut frames = 0;
        while let Poll::Ready(Some(frame)) = Pin::as_mut(&mut body).poll_frame(&mut context) {
            assert_eq!(frame.unwrap().into_data().unwrap().len() as u64, length);
            frames += 1;
        }
        assert_eq!((frames, body.is_end_stream()), (1, true));
    }
    let empty = ResponseBody::<Full<Bytes>>::default();
    assert_eq!((empty.size_hint().exact(), empty.is_end_stream()), (Some(0), true));
}

#[test]
fn the_rate_decision_is_in_the_request_extensions() {
    let world = World::new();
    let inner = service_fn(async |request: Request<()>| {
        let decision = request.extensions().get::<Decision>();
        let text = decision.map_or_else(String::new, |decision| decision.remaining.to_string());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
    });
    for (route, remaining) in [(reading(7), "6"), (Route::new(Access::scope(READ)), "")] {
        let service = world.keys().require(route).unwrap().layer(inner);
        let answer = pollster::block_on(service.oneshot(bearing(&world.key()))).unwrap();
        assert_eq!(text(answer), remaining);
    }
}
