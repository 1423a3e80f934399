//! Tests that need control of the store and the clock: a store that fails or hangs, and time.
#![allow(dead_code, reason = "only `main.rs` shows the demo credentials")]

mod app;
mod auth;
mod clients;
mod gzip;
mod ingest;
mod issues;
mod kinds;
mod oauth;

use std::{
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{
        HeaderMap, Method, Request, StatusCode,
        header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, RETRY_AFTER},
    },
};
use keyward::{
    Clock, ErrorBodies, KeyStore, ManualClock, MemoryStore, Timestamp,
    key::{Grace, KeyId, KeyRecord, Owner, OwnerChange, OwnerId, PlaintextKey, Revocation},
    store::{
        InsertError, KeyRegistry, Listing, Lookup, OwnerListing, OwnerPageRequest, OwnerRemoval,
        PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
};
use keyward_services::{Admin, MINUTE};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::app::{App, Demo, Durations, router};

const HOUR: Duration = Duration::from_secs(3_600);
const START: Timestamp = Timestamp::from_unix_secs(1_700_000_000);
const MS: Duration = Duration::from_millis(1);
const REPLAY: &str = "/api/sdk/replay";
const ISSUES: &str = "/api/v1/issues";

#[tokio::test]
async fn whoever_waits_as_long_as_told_is_admitted_and_not_a_second_before() {
    let service = Service::start().await;
    let window = Duration::from_secs(60);
    // One request every 10 ms: the first one leaves the window at START + 60 s.
    for at in 0..100 {
        service.clock.set(START + 10 * at * MS);
        assert_eq!(service.replay().await.0, StatusCode::ACCEPTED, "{at}");
    }
    for (after, retry_after) in [
        (Duration::from_secs(1), "59"),
        (Duration::from_millis(1_001), "59"),
        (Duration::from_millis(1_999), "59"),
        (Duration::from_secs(2), "58"),
        (window - MS, "1"),
    ] {
        service.clock.set(START + after);
        let (status, headers, body) = service.replay().await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{after:?}");
        assert_eq!(headers[RETRY_AFTER], retry_after, "{after:?}");
        assert_eq!(body, json!({"error": "Rate limit exceeded"}));
    }
    // Refusals are not counted: from here on, one request is admitted every 10 ms.
    for (after, expected) in [
        (window, StatusCode::ACCEPTED),
        (window, StatusCode::TOO_MANY_REQUESTS),
        (window + 9 * MS, StatusCode::TOO_MANY_REQUESTS),
        (window + 10 * MS, StatusCode::ACCEPTED),
        (window + 10 * MS, StatusCode::TOO_MANY_REQUESTS),
    ] {
        service.clock.set(START + after);
        assert_eq!(service.replay().await.0, expected, "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_or_hangs_lets_nobody_through_and_says_so_to_scripts() {
    let service = Service::start().await;
    let read = service.demo.api_key.expose().to_owned();
    let unavailable = (StatusCode::SERVICE_UNAVAILABLE, json!({"error": "Service unavailable"}));
    for mood in [Faulty::DOWN, Faulty::HUNG] {
        service.store.mood.store(mood, Ordering::SeqCst);
        let (status, headers, body) = service.replay().await;
        assert_eq!((status, body), unavailable);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(headers[ACCESS_CONTROL_EXPOSE_HEADERS], "retry-after");
        let (status, _, body) = service.send(Method::GET, ISSUES, &read, "").await;
        assert_eq!((status, body), unavailable);
        // A refusal that needs no store does not change.
        let (status, ..) = service.send(Method::GET, ISSUES, "luc_api_", "").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    service.store.mood.store(Faulty::DOWN, Ordering::SeqCst);
    let (status, body) = service.grant("read:lucent").await;
    assert_eq!((status, body), unavailable);
    for (method, path, body) in [
        (Method::GET, "/admin/keys", ""),
        (Method::POST, "/admin/keys", r#"{"kind":"luc_pk_","name":"n","owner":"o"}"#),
        (Method::POST, "/admin/keys/00000000000000000000000000000000/rotate", ""),
        (Method::POST, "/admin/keys/00000000000000000000000000000000/revoke", ""),
        (Method::PUT, "/admin/owners/org_a", r#"{"tier":"higher"}"#),
    ] {
        let (status, _, body) = service.as_admin(method, path, body).await;
        assert_eq!((status, body), unavailable, "{path}");
    }
    service.store.mood.store(Faulty::WELL, Ordering::SeqCst);
    assert_eq!(service.replay().await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_token_ends_after_its_hour_to_the_millisecond_and_is_forgotten_a_day_later() {
    let service = Service::start().await;
    let (_, granted) = service.grant("read:lucent").await;
    let token = granted["access_token"].as_str().unwrap();
    assert_eq!(granted["expires_in"], 3_600);
    for (now, expected) in [
        ((START + HOUR).saturating_sub(MS), StatusCode::OK),
        (START + HOUR, StatusCode::UNAUTHORIZED),
        (START + HOUR + MS, StatusCode::UNAUTHORIZED),
    ] {
        service.clock.set(now);
        assert_eq!(service.send(Method::GET, ISSUES, token, "").await.0, expected, "{now}");
    }
    let day = Duration::from_secs(86_400);
    for (after, statuses) in
        [(HOUR + day - MS, ["expired", "active"]), (HOUR + day + 2 * MS, ["active", "active"])]
    {
        service.clock.set(START + after);
        service.grant("read:lucent").await;
        let (_, _, listed) = service.as_admin(Method::GET, "/admin/keys", "").await;
        let tokens = listed["keys"].as_array().unwrap().iter();
        let tokens = tokens.filter(|row| row["kind"] == "luc_oat_");
        assert_eq!(tokens.map(|row| &row["status"]).collect::<Vec<_>>(), statuses, "{after:?}");
    }
}

#[tokio::test]
async fn attempts_and_tokens_are_limited() {
    let service = Service::start().await;
    let failures = keyward_services::FAILURES.limit();
    let ask = |secret: &str| {
        let form = format!(
            "grant_type=client_credentials&scope=read:lucent&client_id={}&client_secret={secret}",
            service.demo.client.id,
        );
        Request::post("/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap()
    };
    let secret = service.demo.client.secret.expose();
    // A token that is granted counts as no failure, and 120 of them are all that a client gets.
    for _ in 0..120 {
        assert_eq!(service.call(ask(secret)).await.0, StatusCode::OK);
    }
    let (status, headers, body) = service.call(ask(secret)).await;
    assert_eq!((status, body), (StatusCode::TOO_MANY_REQUESTS, json!({"error": "slow_down"})));
    assert_eq!(headers[RETRY_AFTER], "60");
    for _ in 0..failures {
        let (status, _, body) = service.call(ask("wrong")).await;
        assert_eq!((status, body), (StatusCode::UNAUTHORIZED, json!({"error": "invalid_client"})));
    }
    let (status, headers, body) = service.call(ask("wrong")).await;
    assert_eq!((status, body), (StatusCode::TOO_MANY_REQUESTS, json!({"error": "slow_down"})));
    assert_eq!(headers[RETRY_AFTER], "60");
    service.clock.set(START + Duration::from_secs(60));
    assert_eq!(service.call(ask(secret)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_administrator_s_expiry_is_honoured_or_refused() {
    let service = Service::start().await;
    let create = async |kind: &str, expires_at: Value| {
        let body = json!({"kind": kind, "name": "n", "owner": "o", "expires_at": expires_at});
        service.as_admin(Method::POST, "/admin/keys", &body.to_string()).await
    };
    let second = Duration::from_secs(1);
    for (kind, expires_at) in [
        ("luc_api_", json!(START.to_string())),
        ("luc_api_", json!("soon")),
        ("luc_api_", json!(60)),
        // Access tokens live for an hour.
        ("luc_oat_", json!((START + HOUR + second).to_string())),
    ] {
        let (status, _, _) = create(kind, expires_at.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{kind} {expires_at}");
    }
    for kind in ["luc_api_", "luc_oat_"] {
        service.clock.set(START);
        let (status, _, created) = create(kind, json!((START + second).to_string())).await;
        assert_eq!(status, StatusCode::CREATED, "{kind}");
        // Neither has a scope that the route requires unless the key is in force.
        for (now, expected) in [(second - MS, [200, 403]), (second, [401, 401])] {
            service.clock.set(START + now);
            let key = created["key"].as_str().unwrap();
            let status = service.send(Method::GET, ISSUES, key, "").await.0.as_u16();
            assert!(expected.contains(&status), "{kind} {now:?}: {status}");
        }
    }
}

#[tokio::test]
async fn a_legacy_secret_works_until_just_before_the_end_of_its_grace() {
    let service = Service::start().await;
    let old = service.demo.legacy_key.expose();
    let (_, _, listed) = service.as_admin(Method::GET, "/admin/keys", "").await;
    let rows = listed["keys"].as_array().unwrap();
    let row = rows.iter().find(|row| row["kind"] == "luc_mcp_").unwrap();
    let rotate = format!("/admin/keys/{}/rotate", row["id"].as_str().unwrap());
    let (_, _, rotated) = service.as_admin(Method::POST, &rotate, "").await;
    let deadline: Timestamp = rotated["previous_valid_until"].as_str().unwrap().parse().unwrap();
    assert_eq!(deadline, START + Grace::DAY.duration());
    for (now, expected) in [
        (deadline.saturating_sub(MS), StatusCode::OK),
        (deadline, StatusCode::UNAUTHORIZED),
        (deadline + MS, StatusCode::UNAUTHORIZED),
    ] {
        service.clock.set(now);
        assert_eq!(service.send(Method::GET, ISSUES, old, "").await.0, expected, "{now}");
        let new = rotated["key"].as_str().unwrap();
        assert_eq!(service.send(Method::GET, ISSUES, new, "").await.0, StatusCode::OK, "{now}");
    }
}

/// The service without a socket, over a store and a clock that the test controls.
struct Service {
    router: Router,
    demo: Demo,
    admin_token: PlaintextKey,
    store: Arc<Faulty>,
    clock: Arc<ManualClock>,
}

impl Service {
    async fn start() -> Self {
        let store = Arc::new(Faulty::default());
        let clock = Arc::new(ManualClock::new(START));
        let shared: Arc<dyn Clock> = clock.clone();
        let durations = Durations { token: HOUR, window: MINUTE };
        let (app, demo) = App::with_demo(store.clone(), shared, durations).await.unwrap();
        let usage = Arc::clone(&app.usage);
        let admin = Admin::new(app.issuer.clone(), usage, Arc::clone(&app.clock), Grace::DAY)
            .with_lifetime(kinds::ACCESS_TOKEN.kind(), HOUR);
        let (admin, admin_token) = admin.into_router("admin", ErrorBodies::flat()).await.unwrap();
        let router = router(Arc::new(app), admin).unwrap();
        Self { router, demo, admin_token, store, clock }
    }

    async fn replay(&self) -> (StatusCode, HeaderMap, Value) {
        let request =
            Request::post(REPLAY).header("x-lucent-api-key", self.demo.public_key.expose());
        self.call(request.body("{}".into()).unwrap()).await
    }

    async fn grant(&self, scope: &str) -> (StatusCode, Value) {
        let (id, secret) = (self.demo.client.id, self.demo.client.secret.expose());
        let form = format!(
            "grant_type=client_credentials&client_id={id}&client_secret={secret}&scope={scope}"
        );
        let request = Request::post("/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.into());
        let (status, _, body) = self.call(request.unwrap()).await;
        (status, body)
    }

    async fn as_admin(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> (StatusCode, HeaderMap, Value) {
        self.send(method, path, self.admin_token.expose(), body).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: &str,
    ) -> (StatusCode, HeaderMap, Value) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {token}"));
        self.call(request.body(body.to_owned().into()).unwrap()).await
    }

    async fn call(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap_or_default())
    }
}

/// A store in memory that a test can make fail or hang.
#[derive(Default)]
struct Faulty {
    inner: MemoryStore,
    mood: AtomicU8,
}

impl Faulty {
    const WELL: u8 = 0;
    const DOWN: u8 = 1;
    const HUNG: u8 = 2;

    async fn up(&self) -> io::Result<&MemoryStore> {
        match self.mood.load(Ordering::SeqCst) {
            Self::WELL => Ok(&self.inner),
            Self::DOWN => Err(io::ErrorKind::ConnectionRefused.into()),
            _ => pending().await,
        }
    }
}

impl KeyStore for Faulty {
    type Error = io::Error;

    async fn find(&self, lookup: &Lookup) -> io::Result<Option<StoredKey>> {
        Ok(self.up().await?.find_sync(lookup))
    }

    async fn find_by_id(&self, id: KeyId) -> io::Result<Option<StoredKey>> {
        Ok(self.up().await?.find_by_id_sync(id))
    }
}

impl KeyRegistry for Faulty {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<io::Error>> {
        let store = self.up().await.map_err(InsertError::Store)?;
        store.insert_at_sync(record, now).map_err(|error| error.map_store(|never| match never {}))
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<io::Error>> {
        let store = self.up().await.map_err(ReplaceError::Store)?;
        store.replace_sync(record).map_err(|error| error.map_store(|never| match never {}))
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> io::Result<Option<Withdrawn>> {
        Ok(self.up().await?.revoke_sync(id, within, revocation))
    }

    async fn revoke_all(&self, owner: &OwnerId, revocation: Revocation) -> io::Result<Vec<KeyId>> {
        Ok(self.up().await?.revoke_all_sync(owner, revocation))
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> io::Result<Option<Withdrawn>> {
        Ok(self.up().await?.suspend_sync(id, within, now))
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> io::Result<Vec<KeyId>> {
        Ok(self.up().await?.purge_sync(ended_before, limit))
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> io::Result<Listing> {
        Ok(self.up().await?.list_sync(owner, page))
    }

    async fn list_all(&self, page: PageRequest) -> io::Result<Listing> {
        Ok(self.up().await?.list_all_sync(page))
    }

    async fn owner(&self, id: &OwnerId) -> io::Result<Option<Arc<Owner>>> {
        Ok(self.up().await?.owner_sync(id))
    }

    async fn put_owner(&self, owner: Owner) -> io::Result<()> {
        self.up().await?.put_owner_sync(owner);
        Ok(())
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> io::Result<OwnerListing> {
        Ok(self.up().await?.list_owners_sync(&page))
    }

    async fn remove_owner(&self, id: &OwnerId) -> io::Result<OwnerRemoval> {
        Ok(self.up().await?.remove_owner_sync(id))
    }

    async fn change_owner(&self, owner: &OwnerId, change: OwnerChange) -> io::Result<()> {
        self.up().await?.change_owner_sync(owner, change);
        Ok(())
    }
}
