//! Tests that need control of the clock.
#![allow(dead_code, reason = "only `main.rs` shows the demo credentials")]

mod app;
mod auth;
mod datasets;
mod enterprise;
mod limits;
mod organization;
mod sessions;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use keyward::{Clock, Limiter, ManualClock, MemoryStore, SysRng, Timestamp};
use keyward_services::MINUTE;
use tower::ServiceExt;

use crate::{
    app::{App, Demo, Durations, router},
    limits::Limits,
};

const START: Timestamp = Timestamp::from_unix_secs(1_700_000_000);
const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_key_is_told_its_window_to_the_second_and_may_come_again_to_the_millisecond() {
    let service = Service::start().await;
    service.check_window(service.demo.api_key.expose()).await;
}

#[tokio::test]
async fn a_session_is_told_its_window_to_the_second_and_may_come_again_to_the_millisecond() {
    let service = Service::start().await;
    service.check_window(&service.demo.session_jwt).await;
}

/// The page has every path under `/v1/` ask for a key.
#[tokio::test]
async fn every_path_under_v1_asks_for_a_key() {
    let service = Service::start().await;
    let key = service.demo.api_key.expose();
    for path in [
        "/v1/",
        "/v1/?x=1",
        "/v1//",
        "/v1/x",
        "/v1/x/",
        "/v1//x",
        "/v1/%20",
        "/v1/.",
        "/v1/datasets",
        "/v1/datasets/",
        "/v1/compliance",
        "/v1/compliance/",
        "/v1/audit/a/b",
        "/v1/Audit",
        "/v1/%61udit/x",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X-Y"] {
            let request = || Request::builder().method(method).uri(path);
            let without = request().body(Body::empty()).unwrap();
            let response = service.router.clone().oneshot(without).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            assert!(response.headers().contains_key("www-authenticate"), "{method} {path}");
            let with = request().header("authorization", format!("Bearer {key}"));
            let response =
                service.router.clone().oneshot(with.body(Body::empty()).unwrap()).await.unwrap();
            let status = response.status();
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
            // Each window is full after a hundred of them; every response has the headers.
            assert!(response.headers().contains_key("x-ratelimit-limit"), "{method} {path}");
        }
    }
}

/// The service without a socket, with a clock that the test sets.
struct Service {
    router: Router,
    demo: Demo,
    clock: Arc<ManualClock>,
}

impl Service {
    async fn start() -> Self {
        let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(ManualClock::new(START)));
        let shared: Arc<dyn Clock> = clock.clone();
        let limits = Limits::Here(Arc::new(Limiter::system().unwrap()));
        let durations = Durations { session: 2 * MINUTE, window: MINUTE };
        let demo = App::with_demo(store, shared, durations, limits, &mut SysRng).await;
        let (app, demo) = demo.unwrap();
        Self { router: router(&Arc::new(app), Router::new()).unwrap(), demo, clock }
    }

    async fn check_window(&self, credential: &str) {
        // One request every 10 ms: the first one leaves the window at START + 60 s.
        for at in 0..100_u32 {
            let (status, headers, _) = self.at(10 * at * MS, credential).await;
            assert_eq!(status, StatusCode::OK, "{at}");
            assert_eq!(told(&headers), ["100", &*(99 - at).to_string(), "1700000060"], "{at}");
        }
        for (after, retry_after) in [
            (Duration::from_secs(1), "59"),
            (Duration::from_millis(1_001), "59"),
            (Duration::from_millis(1_999), "59"),
            (Duration::from_secs(2), "58"),
            (MINUTE - MS, "1"),
        ] {
            let (status, headers, body) = self.at(after, credential).await;
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{after:?}");
            assert_eq!(headers["retry-after"], retry_after, "{after:?}");
            assert_eq!(told(&headers), ["100", "0", "1700000060"], "{after:?}");
            let expected = format!(
                r#"{{"error":{{"code":"RATE_LIMITED","message":"Rate limit exceeded. Retry after {retry_after} seconds.","retry_after":{retry_after}}}}}"#
            );
            assert_eq!(body, expected);
        }
        // Refusals are not counted: from here on, one request is admitted every 10 ms. The reset is
        // rounded up to a whole second.
        for (after, expected) in [
            (MINUTE, StatusCode::OK),
            (MINUTE, StatusCode::TOO_MANY_REQUESTS),
            (MINUTE + 9 * MS, StatusCode::TOO_MANY_REQUESTS),
            (MINUTE + 10 * MS, StatusCode::OK),
            (MINUTE + 10 * MS, StatusCode::TOO_MANY_REQUESTS),
        ] {
            let (status, headers, _) = self.at(after, credential).await;
            assert_eq!(status, expected, "{after:?}");
            assert_eq!(told(&headers), ["100", "0", "1700000061"], "{after:?}");
        }
    }

    async fn at(&self, after: Duration, credential: &str) -> (StatusCode, HeaderMap, String) {
        self.clock.set(START + after);
        let request = Request::get("/v1/datasets");
        let request = request.header("authorization", format!("Bearer {credential}"));
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

/// The limit, what remains of it, and its reset.
fn told(headers: &HeaderMap) -> [&str; 3] {
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
        .map(|name| headers[name].to_str().unwrap())
}
