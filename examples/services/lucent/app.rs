//! The parts of the service and its routes.

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::from_fn,
    routing::{get, patch, post},
};
use keyward::{
    Access, Clock, Issuer, KeyDraft, KeyFormat, KeyHasher, SysRng,
    issue::Issued,
    key::{KeyId, KeyName, OwnerId, PlaintextKey, ScopeSet, StoredSecret},
    store::DynKeyRegistry,
};
use keyward_services::{Attempts, FAILURES, Failure, UsageTable, log_requests};

use crate::{
    auth,
    clients::{ClientCredentials, Clients},
    ingest,
    issues::{self, Issues},
    kinds::{self, API, LEGACY, PUBLIC, READ_LUCENT, WRITE_ISSUES},
    oauth,
};

const ORGANIZATION: OwnerId = OwnerId::from_static("org_a");
const OTHER_ORGANIZATION: OwnerId = OwnerId::from_static("org_b");

/// The state that the handlers share.
pub(crate) struct App {
    /// A trait object, so that a test can use a store that fails.
    pub(crate) issuer: Issuer<Arc<dyn DynKeyRegistry>>,
    pub(crate) usage: Arc<UsageTable>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clients: Clients,
    /// The failed attempts of each address to get a token.
    pub(crate) attempts: Attempts,
    /// The tokens of each client, so that one client cannot fill the store.
    pub(crate) tokens: Attempts,
    pub(crate) issues: Issues,
    pub(crate) durations: Durations,
}

/// The durations that environment variables set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durations {
    /// The lifetime of an access token.
    pub(crate) token: Duration,
    /// The window of the rate limit on ingest.
    pub(crate) window: Duration,
}

/// The credentials that the service shows once, at startup.
#[derive(Debug)]
pub(crate) struct Demo {
    pub(crate) public_key: PlaintextKey,
    pub(crate) public_key_id: KeyId,
    pub(crate) api_key: PlaintextKey,
    pub(crate) write_key: PlaintextKey,
    pub(crate) legacy_key: PlaintextKey,
    pub(crate) client: ClientCredentials,
    pub(crate) organization: OwnerId,
}

impl App {
    /// Builds a service with the keys of one organization and the issues of two.
    pub(crate) async fn with_demo(
        registry: Arc<dyn DynKeyRegistry>,
        clock: Arc<dyn Clock>,
        durations: Durations,
    ) -> Result<(Self, Demo), Box<dyn Error>> {
        let (formats, catalog) = (kinds::all()?, kinds::catalog()?);
        let app = Self {
            issuer: Issuer::with_catalog(registry, formats, KeyHasher::sha256(), catalog),
            usage: Arc::default(),
            clock,
            clients: Clients::new(),
            attempts: Attempts::new(FAILURES)?,
            tokens: Attempts::new(oauth::TOKENS)?,
            issues: Issues::seeded(&[ORGANIZATION, OTHER_ORGANIZATION]),
            durations,
        };
        let both = ScopeSet::new([READ_LUCENT, WRITE_ISSUES])?;
        let write_key = draft("demo write").with_scopes(both);
        let public_key = app.issue(PUBLIC, draft("demo web page")).await?;
        let demo = Demo {
            public_key_id: public_key.record.id(),
            public_key: public_key.key,
            api_key: app.issue(API, draft("demo read")).await?.key,
            write_key: app.issue(API, write_key).await?.key,
            legacy_key: app.import_legacy().await?,
            client: app.clients.register(ORGANIZATION, app.clock.now()).await?,
            organization: ORGANIZATION,
        };
        Ok((app, demo))
    }

    async fn issue(&self, format: KeyFormat, draft: KeyDraft) -> Result<Issued, Box<dyn Error>> {
        Ok(self.issuer.issue(format.kind(), draft, &mut SysRng, self.clock.now()).await?)
    }

    /// Imports a key of the previous service by its hash. This service never mints legacy kinds.
    async fn import_legacy(&self) -> Result<PlaintextKey, Box<dyn Error>> {
        const AS_IT_WAS: KeyFormat = KeyFormat::hex("luc_mcp_");
        const { assert!(LEGACY.successor().is_some()) };
        let now = self.clock.now();
        let key = AS_IT_WAS.mint(&mut SysRng)?;
        let secret = StoredSecret::of(&key, &KeyHasher::sha256(), now);
        let id = KeyId::random(&mut SysRng)?;
        self.issuer.import(id, draft("demo legacy"), secret, now).await?;
        Ok(key)
    }
}

fn draft(name: &'static str) -> KeyDraft {
    KeyDraft::new(ORGANIZATION, KeyName::from_static(name))
}

/// Builds the routes. Unknown paths and methods get a JSON error too.
pub(crate) fn router(app: Arc<App>, admin: Router) -> Result<Router, Box<dyn Error>> {
    let (ingest, data) = (auth::ingest(&app)?, auth::data(&app)?);
    // Around the fallback too, so that ingest requires a key for every method.
    let replay = post(ingest::replay)
        .fallback(async || Failure::method_not_allowed())
        .layer((auth::cors(), ingest.require(auth::sending())?));
    let list = get(issues::list).route_layer(data.require(Access::scope(READ_LUCENT))?);
    let change = patch(issues::change).route_layer(data.require(Access::scope(WRITE_ISSUES))?);
    Ok(Router::new()
        .route("/api/sdk/replay", replay)
        .route("/api/v1/issues", list)
        .route("/api/v1/issues/{id}", change)
        .route("/oauth/token", post(oauth::token))
        .method_not_allowed_fallback(async || Failure::method_not_allowed())
        .with_state(app)
        .merge(admin)
        .fallback(async || Failure::no_such_route())
        .layer(from_fn(log_requests)))
}
