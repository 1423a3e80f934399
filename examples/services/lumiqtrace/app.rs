//! The parts of the service and its routes.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::from_fn,
    routing::{delete, get, post},
};
use keyward::{
    Access, Clock, ConfigError, Issuer, KeyDraft, KeyFormat, KeyHasher, SysRng,
    key::{Grace, KeyId, KeyName, OwnerId, PlaintextKey},
    store::DynKeyRegistry,
};
use keyward_services::{Attempts, FAILURES, Failure, SessionTokens, log_requests};
use keyward_tower::ApiKeys;

use crate::{
    events::{self, EventLog},
    ingest, keys,
    sessions::{self, Accounts, OrganizationId},
};

/// `lqt_` and 64 hexadecimal characters.
pub(crate) const INGEST: KeyFormat = KeyFormat::hex("lqt_");

/// The maximum size of a request body, in bytes.
pub(crate) const MAX_BODY: usize = 1 << 20;

const EMAIL: &str = "dev@lumiqtrace.example";
const PROJECT: OwnerId = OwnerId::from_static("proj_abc123");
/// A second project of the same organization. It has its own keys.
const SISTER_PROJECT: OwnerId = OwnerId::from_static("proj_def456");
const FOREIGN_PROJECT: OwnerId = OwnerId::from_static("proj_xyz789");
const ORGANIZATION: OrganizationId = OrganizationId("org_lumiq");
const FOREIGN_ORGANIZATION: OrganizationId = OrganizationId("org_other");

/// The state that the handlers share.
pub(crate) struct App {
    pub(crate) ingest_keys: ApiKeys<Arc<dyn DynKeyRegistry>>,
    /// A trait object, so that a test can use a store that fails.
    pub(crate) issuer: Issuer<Arc<dyn DynKeyRegistry>>,
    pub(crate) grace: Grace,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) accounts: Accounts,
    /// The failed logins of each address.
    pub(crate) logins: Attempts,
    pub(crate) sessions: SessionTokens,
    pub(crate) events: EventLog,
}

/// The credentials that the service shows once, at startup.
#[derive(Debug)]
pub(crate) struct Demo {
    pub(crate) ingest_key: PlaintextKey,
    pub(crate) ingest_key_id: KeyId,
    pub(crate) email: &'static str,
    pub(crate) password: sessions::Password,
    pub(crate) project: OwnerId,
    pub(crate) foreign_project: OwnerId,
}

impl App {
    /// Builds a service with one user, three projects and one key.
    pub(crate) async fn with_demo(
        registry: Arc<dyn DynKeyRegistry>,
        clock: Arc<dyn Clock>,
        grace: Grace,
        session: Duration,
    ) -> Result<(Self, Demo), Box<dyn std::error::Error>> {
        let password = sessions::Password::random()?;
        let mut accounts = Accounts::default();
        accounts.add_user("user_1", EMAIL, &password, ORGANIZATION);
        accounts.add_project(PROJECT, ORGANIZATION);
        accounts.add_project(SISTER_PROJECT, ORGANIZATION);
        accounts.add_project(FOREIGN_PROJECT, FOREIGN_ORGANIZATION);
        let issuer = Issuer::new(registry, INGEST, KeyHasher::sha256());
        let app = Self {
            ingest_keys: ingest::keys(&issuer, Arc::clone(&clock))?,
            issuer,
            grace,
            clock,
            accounts,
            logins: Attempts::new(FAILURES)?,
            sessions: SessionTokens::with_random_secret(session)?,
            events: EventLog::default(),
        };
        let draft = KeyDraft::new(PROJECT, KeyName::from_static("demo ingest"));
        let issued = app.issuer.issue(INGEST.kind(), draft, &mut SysRng, app.clock.now()).await?;
        let demo = Demo {
            ingest_key: issued.key,
            ingest_key_id: issued.record.id(),
            email: EMAIL,
            password,
            project: PROJECT,
            foreign_project: FOREIGN_PROJECT,
        };
        Ok((app, demo))
    }

    /// Opens a session like a login with the demo credentials.
    pub(crate) fn demo_session(&self, demo: &Demo) -> Result<String, Failure> {
        let login = sessions::Login::new(demo.email, &demo.password);
        sessions::open(self, &login)
    }
}

/// Builds the routes. Unknown paths and methods get a JSON error too.
pub(crate) fn router(app: Arc<App>) -> Result<Router, ConfigError> {
    let ingest_keys = app.ingest_keys.require(Access::kinds([INGEST.kind()]))?;
    Ok(Router::new()
        .route("/v1/ingest", post(ingest::ingest).route_layer(ingest_keys))
        .route("/v1/auth/login", post(sessions::login))
        .route("/v1/events", get(events::list))
        .route("/v1/projects/{id}/keys", get(keys::list).post(keys::create))
        .route("/v1/projects/{id}/keys/{key}", delete(keys::revoke))
        .route("/v1/projects/{id}/keys/{key}/rotate", post(keys::rotate))
        .fallback(async || Failure::no_such_route())
        .method_not_allowed_fallback(async || Failure::method_not_allowed())
        .layer(from_fn(log_requests))
        .with_state(app))
}
