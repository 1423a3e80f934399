//! The short form with its defaults, and the replacement of each default.

mod support;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::Response,
    routing::{get, post},
};
use http_body_util::BodyExt;
use keyward::{
    Access, Challenge, ConfigError, ErrorBodies, KeyFormat, KeyHasher, Limiter, ManualClock,
    MemoryStore, Quota, RateHeaders,
    audit::Audit,
    error::ConfigErrorKind,
    gate::CheckedRoute,
    issue::IssuerError,
    key::{KeyFormats, KeyKind, ScopeCatalog, ScopeSet},
    limit::{Decision, Limit, LimiterConfig},
};
use keyward_tower::{ApiKeys, Caller, IssueError};
use rand_core::{TryCryptoRng, TryRng};
use support::{NOON, READ, WRITE};
use tower::ServiceExt;

fn per_minute(limit: u32) -> Quota {
    Quota::per_minute(limit)
}

async fn data(caller: Caller) -> String {
    format!("{} {}", caller.owner_id(), caller.name())
}

fn bearing(target: &str, token: &str) -> Request {
    let request = Request::builder().uri(target);
    request.header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap()
}

async fn send(app: &Router, request: Request) -> Response {
    app.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn the_short_form_serves_and_limits_requests() {
    let clock = Arc::new(ManualClock::new(NOON));
    let keys = ApiKeys::bearer("acme_", MemoryStore::new())
        .limit(per_minute(2))
        .with_clock(Arc::clone(&clock))
        .build()
        .unwrap();
    let key = keys.issue("acme", "laptop").await.unwrap();
    let token = key.key.expose();
    assert!(token.starts_with("acme_"));
    assert_eq!(token.len(), "acme_".len() + 64);
    let any = || keys.require(Access::any_key()).unwrap();
    let app = Router::new()
        .route("/v1/data", get(data).route_layer(any()))
        .route("/v1/other", get(data).route_layer(any()));

    let response = send(&app, bearing("/v1/data", token)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-ratelimit-limit"], "2");
    assert_eq!(response.headers()["x-ratelimit-remaining"], "1");
    assert_eq!(text(response).await, "acme laptop");
    // All routes share one limit.
    assert_eq!(send(&app, bearing("/v1/other", token)).await.status(), 200);
    let response = send(&app, bearing("/v1/data", token)).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "60");
    // Another key of the same owner has its own limit.
    let other = keys.issue("acme", "phone").await.unwrap();
    assert_eq!(send(&app, bearing("/v1/data", other.key.expose())).await.status(), 200);

    let response =
        send(&app, Request::builder().uri("/v1/data").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], r#"Bearer realm="acme""#);
    assert_eq!(text(response).await, r#"{"error":"Missing API key"}"#);

    keys.issuer().revoke(other.record.id(), NOON).await.unwrap();
    assert_eq!(send(&app, bearing("/v1/data", other.key.expose())).await.status(), 401);
}

#[tokio::test]
async fn keys_can_be_read_from_a_custom_header() {
    let keys = ApiKeys::header("acme-", "x-api-key", MemoryStore::new()).build().unwrap();
    let key = keys.issue("acme", "laptop").await.unwrap();
    let layer = keys.require(Access::any_key()).unwrap();
    let app = Router::new().route("/", get(data).route_layer(layer));
    let request = |name: &str, value: &str| {
        Request::builder().header(name, value).body(Body::empty()).unwrap()
    };
    assert_eq!(send(&app, request("x-api-key", key.key.expose())).await.status(), 200);
    let response = send(&app, bearing("/", key.key.expose())).await;
    assert_eq!(response.status(), 401);
    assert_eq!(
        response.headers()["www-authenticate"],
        r#"ApiKey realm="acme", header="x-api-key""#
    );
}

#[tokio::test]
async fn limits_of_a_route_are_charged_with_the_default() {
    let keys = ApiKeys::bearer("acme_", MemoryStore::new())
        .limit(per_minute(100))
        .with_limit(Limit::new("few", per_minute(7)))
        .with_limit(Limit::new("owners", per_minute(50)).per_owner())
        .with_clock(ManualClock::new(NOON))
        .build()
        .unwrap();
    let key = keys.issue("acme", "laptop").await.unwrap();
    let own = Access::any_key().with_limit("few");
    let besides = Access::any_key().with_limit("owners");
    let app = Router::new()
        .route("/own", get(data).route_layer(keys.require(own).unwrap()))
        .route("/besides", get(data).route_layer(keys.require(besides).unwrap()));
    let limit = async |target| {
        let response = send(&app, bearing(target, key.key.expose())).await;
        response.headers()["x-ratelimit-limit"].to_str().unwrap().to_owned()
    };
    assert_eq!(limit("/own").await, "7");
    // The owner's limit has fewer requests left than the key's.
    assert_eq!(limit("/besides").await, "50");
    // Both were charged to the default limit too, whose name is that of every route.
    let any =
        Router::new().route("/", get(data).route_layer(keys.require(Access::any_key()).unwrap()));
    let response = send(&any, bearing("/", key.key.expose())).await;
    assert_eq!(response.headers()["x-ratelimit-remaining"], "97");
    let checked: CheckedRoute = keys.route(Access::any_key()).unwrap();
    assert!(checked.is_limited(), "require_by gets the default limit too");
}

/// A counter, and therefore not a generator for production.
struct Counting(u8);

impl TryRng for Counting {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counting {}

#[tokio::test]
async fn every_default_can_be_replaced() {
    let events = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&events);
    let new = KeyFormat::hex_bytes("new_", 16);
    let old = KeyFormat::hex("old_").with_successor(new.kind());
    let catalog = ScopeCatalog::new([READ, WRITE]).unwrap();
    let catalog = catalog.allow(new.kind(), [READ], [READ, WRITE]).unwrap();
    let keys = ApiKeys::bearer("acme_", MemoryStore::new())
        .with_formats(KeyFormats::new([old, new]).unwrap())
        .with_hasher(KeyHasher::sha256())
        .with_catalog(catalog)
        .with_challenge(Challenge::bearer("one").unwrap())
        .with_challenge(Challenge::new("DPoP", "two").unwrap())
        .with_limiter(Limiter::new(LimiterConfig::default(), [1; 16]))
        .with_rate_headers(RateHeaders::retry_after_only())
        .with_errors(ErrorBodies::nested())
        .with_clock(ManualClock::new(NOON))
        .with_rng(Counting(0))
        .with_audit(Audit::new(move |_| *counted.lock().unwrap() += 1))
        .adjust_gate(|gate| gate.with_publishable([]))
        .limit(per_minute(1))
        .build()
        .unwrap();
    let key = keys.issue("acme", "laptop").await.unwrap();
    // The id took 16 bytes of the generator.
    assert_eq!(key.key.expose(), "new_1112131415161718191a1b1c1d1e1f20");
    assert_eq!(key.record.created_at(), NOON);
    assert_eq!(*key.record.scopes(), ScopeSet::new([READ]).unwrap());
    let app = Router::new()
        .route("/", get(data).route_layer(keys.require(Access::scope(READ)).unwrap()))
        .route("/", post(data).route_layer(keys.require(Access::scope(WRITE)).unwrap()));
    let response = send(&app, Request::new(Body::empty())).await;
    let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, [r#"Bearer realm="one""#, r#"DPoP realm="two""#]);
    assert!(text(response).await.starts_with(r#"{"error":{"code":"UNAUTHORIZED""#));
    let response = send(&app, bearing("/", key.key.expose())).await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("x-ratelimit-limit"));
    assert_eq!(*events.lock().unwrap(), 3, "issued, refused, admitted");
}

/// Panics on its second key, as a generator might halfway through a change of its state.
struct Faulty(u8);

impl TryRng for Faulty {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0 += 1;
        assert_ne!(self.0, 3, "the generator is broken");
        bytes.fill(self.0);
        Ok(())
    }
}

impl TryCryptoRng for Faulty {}

#[tokio::test]
async fn a_generator_that_panicked_mints_no_further_key() {
    let keys = ApiKeys::bearer("acme_", MemoryStore::new()).with_rng(Faulty(0)).build().unwrap();
    keys.issue("acme", "one").await.unwrap();
    let other = keys.clone();
    assert!(tokio::spawn(async move { other.issue("acme", "two").await }).await.is_err());
    let error = keys.issue("acme", "three").await.unwrap_err();
    assert!(matches!(error, IssueError::Issuer(IssuerError::Mint(_))), "{error:?}");
    assert!(error.to_string().contains("panicked"), "{error}");
}

#[tokio::test]
async fn limits_can_be_charged_by_an_external_limiter() {
    let keys = ApiKeys::bearer("acme_", MemoryStore::new())
        .limit(per_minute(9))
        .without_limiter()
        .with_clock(ManualClock::new(NOON))
        .build()
        .unwrap();
    let error = keys.require(Access::any_key()).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Layer);
    let keys = keys.charge_with(|charge, now| {
        assert_eq!(charge.limits().count(), 1);
        let decision = Decision::admitted_elsewhere(per_minute(9), 4, now);
        std::future::ready(Ok::<_, Infallible>(decision))
    });
    let key = keys.issue("acme", "laptop").await.unwrap();
    let layer = keys.require(Access::any_key()).unwrap();
    let app = Router::new().route("/", get(data).route_layer(layer));
    let response = send(&app, bearing("/", key.key.expose())).await;
    assert_eq!(response.headers()["x-ratelimit-remaining"], "4");
}

/// The short form has a limiter that nobody asked for, so the text names what leaves it out.
#[test]
fn a_limiter_by_default_beside_one_elsewhere_is_named() {
    let keys = ApiKeys::bearer("acme_", MemoryStore::new()).limit(per_minute(9)).build().unwrap();
    let keys = keys.charge_with(|_, now| {
        std::future::ready(Ok::<_, Infallible>(Decision::admitted_elsewhere(per_minute(9), 4, now)))
    });
    let error = keys.require(Access::any_key()).unwrap_err();
    assert!(error.to_string().contains("ApiKeysBuilder::without_limiter"), "{error}");
}

#[tokio::test]
async fn configuration_mistakes_return_specific_errors() {
    let kind = |error: ConfigError| error.kind();
    let bearer = |prefix| ApiKeys::bearer(prefix, MemoryStore::new());
    assert_eq!(bearer("").build().map(drop).map_err(kind), Err(ConfigErrorKind::Format));
    assert_eq!(bearer("a b").build().map(drop).map_err(kind), Err(ConfigErrorKind::Format));
    assert!(ApiKeys::header("a_", "x key", MemoryStore::new()).build().is_err());
    // A prefix of separators only still has a realm.
    assert!(bearer("_").build().is_ok());

    let keys = bearer("acme_").build().unwrap();
    let error = keys.require(Access::scope(READ)).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Route);
    assert!(matches!(keys.issue("", "laptop").await, Err(IssueError::Text(_))));
    assert!(matches!(keys.issue("acme", "").await, Err(IssueError::Text(_))));
    let legacy = KeyFormat::hex("old_").with_successor(KeyKind::from_static("acme_"));
    let both = KeyFormats::new([legacy, KeyFormat::hex("acme_")]).unwrap();
    let keys = bearer("acme_").with_formats(both).build().unwrap();
    let issued = keys.issue("acme", "laptop").await.unwrap();
    assert_eq!(issued.key.kind().as_str(), "acme_", "no legacy key is minted");
    let unknown = keys.issuer().revoke(keyward::key::KeyId::from_bytes([1; 16]), NOON).await;
    assert!(matches!(unknown, Err(IssuerError::NotFound)));
}
