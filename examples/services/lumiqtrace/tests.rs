//! Tests that need control of the store and the clock: a store that fails or returns a wrong key, and
//! time.
#![allow(dead_code, reason = "what the service shows at its start is for `main.rs`")]

mod app;
mod bearer;
mod database;
mod events;
mod ingest;
mod keys;
mod ndjson;
#[path = "../../../adapters/sqlx/tests/support/postgres.rs"]
mod postgres;
mod sessions;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header::WWW_AUTHENTICATE},
};
use keyward::{
    Clock, KeyStore, ManualClock, MemoryStore, Timestamp,
    key::{Grace, KeyId, KeyRecord, Owner, OwnerChange, OwnerId, Revocation},
    store::{
        InsertError, KeyRegistry, Listing, Lookup, OwnerListing, OwnerPageRequest, OwnerRemoval,
        PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
};
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use tower::ServiceExt;

use crate::{
    app::{App, Demo, router},
    database::Database,
};

const EVENT: &str = r#"{"event_id":"e","trace_id":"t","span_id":"s","timestamp":1}"#;
const HOUR: Duration = Duration::from_secs(3_600);
const START: Timestamp = Timestamp::from_unix_secs(1_700_000_000);
const KEYS: &str = "/v1/projects/proj_abc123/keys";

#[tokio::test]
async fn a_store_that_is_down_lets_nobody_through_and_blames_no_key() {
    let service = Service::start().await;
    let session = service.login().await;
    let (_, listed) = service.as_user(Method::GET, KEYS, &session, "").await;
    let key = format!("{KEYS}/{}", listed["keys"][0]["id"].as_str().unwrap());

    service.store.down.store(true, Ordering::SeqCst);
    let answer = service.ingest(service.demo.ingest_key.expose()).await;
    assert_eq!(answer, (StatusCode::SERVICE_UNAVAILABLE, json!({"error": "Service unavailable"})));
    // A refusal that needs no store does not change.
    assert_eq!(service.ingest("lqt_").await.0, StatusCode::UNAUTHORIZED);
    for (method, path, body) in [
        (Method::GET, KEYS, ""),
        (Method::POST, KEYS, r#"{"name":"n"}"#),
        (Method::POST, &format!("{key}/rotate"), ""),
        (Method::DELETE, &key, ""),
    ] {
        let (status, body) = service.as_user(method, path, &session, body).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(body, json!({"error": "Service unavailable"}));
    }

    service.store.down.store(false, Ordering::SeqCst);
    assert_eq!(service.as_user(Method::GET, KEYS, &session, "").await.1, listed);
    let events = "/v1/events?projectId=proj_abc123";
    let (_, stored) = service.as_user(Method::GET, events, &session, "").await;
    assert_eq!(stored, json!({"events": []}));
    assert_eq!(service.ingest(service.demo.ingest_key.expose()).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_store_that_lies_lets_nobody_through() {
    let service = Service::start().await;
    let key = service.demo.ingest_key.expose();
    let own = service.store.found(key);
    let unknown = format!("lqt_{}", "0".repeat(64));

    *service.store.answer() = Some((own.record().clone(), own.owner().clone()));
    assert_eq!(service.ingest(&unknown).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(service.ingest(key).await.0, StatusCode::ACCEPTED);

    let foreign = Arc::new(Owner::new(service.demo.foreign_project.clone()));
    *service.store.answer() = Some((own.record().clone(), foreign));
    assert_eq!(service.ingest(key).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn failed_logins_of_one_address_are_limited_and_nobody_else_s() {
    let service = Service::start().await;
    let login = |password: &str| {
        let body = json!({"email": service.demo.email, "password": password}).to_string();
        Request::post("/v1/auth/login").body(Body::from(body)).unwrap()
    };
    let from = |mut request: Request<Body>, last: u8| {
        let peer = std::net::SocketAddr::from(([192, 0, 2, last], 1234));
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        request
    };
    let failures = keyward_services::FAILURES.limit();
    for _ in 0..failures {
        // A login that succeeds is not counted.
        let good = service.send(from(login(service.demo.password.expose()), 1)).await;
        assert_eq!(good.0, StatusCode::OK);
        let wrong = service.send(from(login("wrong"), 1)).await;
        assert_eq!(wrong, (StatusCode::UNAUTHORIZED, json!({"error": "Not authenticated"})));
    }
    // Beyond the limit nothing is checked, not even the right password.
    for password in ["wrong", service.demo.password.expose()] {
        let refused = service.send(from(login(password), 1)).await;
        assert_eq!(refused.0, StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(service.send(from(login("wrong"), 2)).await.0, StatusCode::UNAUTHORIZED);
    service.clock.set(START + Duration::from_secs(60));
    let good = service.send(from(login(service.demo.password.expose()), 1)).await;
    assert_eq!(good.0, StatusCode::OK);
}

#[tokio::test]
async fn a_login_is_short() {
    let service = Service::start().await;
    let large = format!("{:>20000}", "{}");
    let request = Request::post("/v1/auth/login").body(Body::from(large)).unwrap();
    assert_eq!(service.send(request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn an_expiry_that_is_asked_for_is_honoured_or_refused() {
    let service = Service::start().await;
    let session = service.login().await;
    let create =
        async |body: Value| service.as_user(Method::POST, KEYS, &session, &body.to_string()).await;
    for refused in [
        json!({"name": "n", "expires_at": START.to_string()}),
        json!({"name": "n", "expires_at": "2020-01-01T00:00:00Z"}),
        json!({"name": "n", "expires_at": "tomorrow"}),
        json!({"name": "n", "expires_at": 1_800_000_000}),
        json!({"name": "n", "expires_at": {}}),
    ] {
        assert_eq!(create(refused.clone()).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    }
    let expiry = START + Duration::from_secs(60);
    let (status, created) = create(json!({"name": "n", "expires_at": expiry.to_string()})).await;
    assert_eq!(status, StatusCode::CREATED);
    let key = created["key"].as_str().unwrap();
    for (now, expected) in [
        (expiry.saturating_sub(Duration::from_millis(1)), StatusCode::ACCEPTED),
        (expiry, StatusCode::UNAUTHORIZED),
    ] {
        service.clock.set(now);
        assert_eq!(service.ingest(key).await.0, expected, "{now}");
    }
    // `null` asks for none.
    let (status, _) = create(json!({"name": "n", "expires_at": null})).await;
    assert_eq!(status, StatusCode::CREATED);
}

#[tokio::test]
async fn the_old_key_works_until_just_before_its_deadline() {
    let service = Service::start().await;
    let session = service.login().await;
    let (_, listed) = service.as_user(Method::GET, KEYS, &session, "").await;
    let rotate = format!("{KEYS}/{}/rotate", listed["keys"][0]["id"].as_str().unwrap());
    let (_, rotated) = service.as_user(Method::POST, &rotate, &session, "").await;
    let deadline: Timestamp = rotated["previous_valid_until"].as_str().unwrap().parse().unwrap();
    assert_eq!(deadline, START + Grace::DAY.duration());

    let old = service.demo.ingest_key.expose();
    let new = rotated["key"].as_str().unwrap();
    let ms = Duration::from_millis(1);
    for (now, expected) in [
        (deadline.saturating_sub(ms), StatusCode::ACCEPTED),
        (deadline, StatusCode::UNAUTHORIZED),
        (deadline + ms, StatusCode::UNAUTHORIZED),
    ] {
        service.clock.set(now);
        assert_eq!(service.ingest(old).await.0, expected, "{now}");
        assert_eq!(service.ingest(new).await.0, StatusCode::ACCEPTED, "{now}");
    }
}

#[tokio::test]
async fn a_session_ends_after_its_hour_to_the_millisecond() {
    let service = Service::start().await;
    let session = service.login().await;
    let ms = Duration::from_millis(1);
    for (now, expected) in [
        ((START + HOUR).saturating_sub(ms), StatusCode::OK),
        (START + HOUR, StatusCode::UNAUTHORIZED),
    ] {
        service.clock.set(now);
        assert_eq!(service.as_user(Method::GET, KEYS, &session, "").await.0, expected, "{now}");
    }
}

#[tokio::test]
async fn rotation_is_due_after_90_days_and_settled_by_rotating() {
    let service = Service::start().await;
    let day = Duration::from_secs(86_400);
    for (after, due) in [(90 * day - Duration::from_millis(1), false), (90 * day, true)] {
        service.clock.set(START + after);
        let session = service.login().await;
        let (_, listed) = service.as_user(Method::GET, KEYS, &session, "").await;
        assert_eq!(listed["keys"][0]["rotation_due"], json!(due), "{after:?}");
        if due {
            let rotate = format!("{KEYS}/{}/rotate", listed["keys"][0]["id"].as_str().unwrap());
            let (_, rotated) = service.as_user(Method::POST, &rotate, &session, "").await;
            assert_eq!(rotated["rotation_due"], json!(false));
            assert_eq!(rotated["created_at"], listed["keys"][0]["created_at"]);
        }
    }
}

#[tokio::test]
async fn keys_in_a_file_outlive_the_service() {
    let name = format!("lumiqtrace-{}.db", std::process::id());
    let file = std::env::temp_dir().join(name);
    outlives_a_restart(&format!("sqlite:{}", file.display())).await;
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
}

#[tokio::test]
async fn keys_in_postgresql_outlive_the_service() {
    let test = "keys_in_postgresql_outlive_the_service";
    let Some(database) = postgres::fresh_database(test).await else { return };
    outlives_a_restart(database.to_url_lossy().as_str()).await;
}

/// A key of an earlier run works, also in its grace period, and a revoked key stays revoked.
async fn outlives_a_restart(database: &str) {
    let first = Service::over(database).await;
    let session = first.login().await;
    let (status, kept) = first.as_user(Method::POST, KEYS, &session, r#"{"name":"kept"}"#).await;
    assert_eq!(status, StatusCode::CREATED);
    let rotate = format!("{KEYS}/{}/rotate", kept["id"].as_str().unwrap());
    let (_, rotated) = first.as_user(Method::POST, &rotate, &session, "").await;
    let (_, lost) = first.as_user(Method::POST, KEYS, &session, r#"{"name":"lost"}"#).await;
    let revoke = format!("{KEYS}/{}", lost["id"].as_str().unwrap());
    let (status, _) = first.as_user(Method::DELETE, &revoke, &session, "").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let keys = [&kept, &rotated, &lost].map(|row| row["key"].as_str().unwrap());
    let demo = first.demo.ingest_key.expose();

    let second = Service::over(database).await;
    for service in [&first, &second] {
        for key in [demo, keys[0], keys[1], second.demo.ingest_key.expose()] {
            assert_eq!(service.ingest(key).await.0, StatusCode::ACCEPTED);
        }
        assert_eq!(service.ingest(keys[2]).await.0, StatusCode::UNAUTHORIZED);
    }
    let session = second.login().await;
    let (_, listed) = second.as_user(Method::GET, KEYS, &session, "").await;
    let names: Vec<_> = listed["keys"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(names.iter().filter(|name| ***name == "kept").count(), 1);
    assert!(!names.iter().any(|name| **name == "lost"));
}

/// The service without a socket, over a store and a clock that the test controls.
struct Service {
    router: Router,
    demo: Demo,
    store: Arc<Switchable>,
    clock: Arc<ManualClock>,
}

impl Service {
    async fn start() -> Self {
        let store = Arc::new(Switchable::default());
        let clock = Arc::new(ManualClock::new(START));
        let shared: Arc<dyn Clock> = clock.clone();
        let (app, demo) = App::with_demo(store.clone(), shared, Grace::DAY, HOUR).await.unwrap();
        Self { router: router(Arc::new(app)).unwrap(), demo, store, clock }
    }

    /// Builds a service with its keys in a database, in the form of `--database`.
    async fn over(database: &str) -> Self {
        let registry = Database::parse(database).unwrap().open().await.unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let shared: Arc<dyn Clock> = clock.clone();
        let (app, demo) = App::with_demo(registry, shared, Grace::DAY, HOUR).await.unwrap();
        let router = router(Arc::new(app)).unwrap();
        Self { router, demo, store: Arc::default(), clock }
    }

    async fn login(&self) -> String {
        let login = json!({"email": self.demo.email, "password": self.demo.password.expose()});
        let request = Request::post("/v1/auth/login").body(login.to_string().into()).unwrap();
        let (status, body) = self.send(request).await;
        assert_eq!(status, StatusCode::OK);
        body["token"].as_str().unwrap().to_owned()
    }

    async fn ingest(&self, key: &str) -> (StatusCode, Value) {
        let request = Request::post("/v1/ingest").header("x-api-key", key);
        self.send(request.body(EVENT.into()).unwrap()).await
    }

    async fn as_user(
        &self,
        method: Method,
        path: &str,
        session: &str,
        body: &str,
    ) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {session}"));
        self.send(request.body(body.to_owned().into()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
        assert_eq!(challenged, status == StatusCode::UNAUTHORIZED);
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

/// A store in memory that a test can make fail or return a chosen key.
#[derive(Default)]
struct Switchable {
    inner: MemoryStore,
    down: AtomicBool,
    answer: Mutex<Option<(KeyRecord, Arc<Owner>)>>,
}

impl Switchable {
    fn answer(&self) -> MutexGuard<'_, Option<(KeyRecord, Arc<Owner>)>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, key: &str) -> StoredKey {
        let verifier = keyward::verify::Verifier::new(keyward::KeyHasher::sha256());
        let formats = keyward::key::KeyFormats::from(crate::app::INGEST);
        let lookup = verifier.lookup(&formats.parse(key).unwrap());
        self.inner.find_sync(&lookup).unwrap()
    }

    fn up(&self) -> io::Result<&MemoryStore> {
        if self.down.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(&self.inner)
    }
}

impl KeyStore for Switchable {
    type Error = io::Error;

    async fn find(&self, lookup: &Lookup) -> io::Result<Option<StoredKey>> {
        let found = self.up()?.find_sync(lookup);
        match self.answer().clone() {
            Some((record, owner)) => {
                StoredKey::join(record, owner).map(Some).map_err(io::Error::other)
            }
            None => Ok(found),
        }
    }

    async fn find_by_id(&self, id: KeyId) -> io::Result<Option<StoredKey>> {
        Ok(self.up()?.find_by_id_sync(id))
    }
}

impl KeyRegistry for Switchable {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<io::Error>> {
        let store = self.up().map_err(InsertError::Store)?;
        store.insert_at_sync(record, now).map_err(|error| error.map_store(|never| match never {}))
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<io::Error>> {
        let store = self.up().map_err(ReplaceError::Store)?;
        store.replace_sync(record).map_err(|error| error.map_store(|never| match never {}))
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> io::Result<Option<Withdrawn>> {
        Ok(self.up()?.revoke_sync(id, within, revocation))
    }

    async fn revoke_all(&self, owner: &OwnerId, revocation: Revocation) -> io::Result<Vec<KeyId>> {
        Ok(self.up()?.revoke_all_sync(owner, revocation))
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> io::Result<Option<Withdrawn>> {
        Ok(self.up()?.suspend_sync(id, within, now))
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> io::Result<Vec<KeyId>> {
        Ok(self.up()?.purge_sync(ended_before, limit))
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> io::Result<Listing> {
        Ok(self.up()?.list_sync(owner, page))
    }

    async fn list_all(&self, page: PageRequest) -> io::Result<Listing> {
        Ok(self.up()?.list_all_sync(page))
    }

    async fn owner(&self, id: &OwnerId) -> io::Result<Option<Arc<Owner>>> {
        Ok(self.up()?.owner_sync(id))
    }

    async fn put_owner(&self, owner: Owner) -> io::Result<()> {
        self.up()?.put_owner_sync(owner);
        Ok(())
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> io::Result<OwnerListing> {
        Ok(self.up()?.list_owners_sync(&page))
    }

    async fn remove_owner(&self, id: &OwnerId) -> io::Result<OwnerRemoval> {
        Ok(self.up()?.remove_owner_sync(id))
    }

    async fn change_owner(&self, owner: &OwnerId, change: OwnerChange) -> io::Result<()> {
        self.up()?.change_owner_sync(owner, change);
        Ok(())
    }
}
