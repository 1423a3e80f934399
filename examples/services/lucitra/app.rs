//! The parts of the service and its routes.

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state, map_response},
    routing::{any, get},
};
use keyward::{
    Clock, Issuer, KeyDraft, KeyHasher,
    issue::Issued,
    key::{KeyId, KeyName, Owner, OwnerId, PlaintextKey, Tier, TryCryptoRng},
    limit::Limit,
    store::{DynKeyRegistry, KeyRegistry},
};
use keyward_services::{
    ENTERPRISE, Failure, RequestIds, STANDARD, SessionTokens, UsageTable, identify_requests,
    log_requests, nested_errors,
};

use crate::{
    auth::{self, KEYS},
    datasets, enterprise,
    limits::Limits,
    sessions::{Members, or_session},
};

const ORGANIZATION: OwnerId = OwnerId::from_static("org_standard");
const ENTERPRISE_ORGANIZATION: OwnerId = OwnerId::from_static("org_enterprise");
const USER: &str = "user_1";

/// The state that the handlers share.
pub(crate) struct App {
    /// A trait object, so that a test can use a store that fails.
    pub(crate) issuer: Issuer<Arc<dyn DynKeyRegistry>>,
    /// The limiter that counts requests.
    pub(crate) limits: Limits,
    /// The limit of each key. A dashboard user has as much, by the same tiers.
    pub(crate) limit: Limit,
    pub(crate) usage: Arc<UsageTable>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sessions: SessionTokens,
    pub(crate) members: Members,
}

/// The durations that environment variables set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durations {
    /// The lifetime of the session that the service shows at startup.
    pub(crate) session: Duration,
    /// The window of the rate limits.
    pub(crate) window: Duration,
}

/// The credentials that the service shows once, at startup.
#[derive(Debug)]
pub(crate) struct Demo {
    pub(crate) api_key: PlaintextKey,
    pub(crate) api_key_id: KeyId,
    pub(crate) organization: OwnerId,
    pub(crate) enterprise_key: PlaintextKey,
    pub(crate) session_jwt: String,
}

impl App {
    /// Builds a service with two organizations, each with a key from this generator, and with a user
    /// of the first one.
    pub(crate) async fn with_demo(
        registry: Arc<dyn DynKeyRegistry>,
        clock: Arc<dyn Clock>,
        durations: Durations,
        limits: Limits,
        random: &mut impl TryCryptoRng,
    ) -> Result<(Self, Demo), Box<dyn Error>> {
        let app = Self {
            issuer: Issuer::new(registry, KEYS, KeyHasher::sha256()),
            limits,
            limit: auth::limit(durations.window)?,
            usage: Arc::default(),
            clock,
            sessions: SessionTokens::with_random_secret(durations.session)?,
            members: Members::from([(USER, ORGANIZATION)]),
        };
        let api_key = app.found(ORGANIZATION, STANDARD, random).await?;
        let demo = Demo {
            api_key_id: api_key.record.id(),
            api_key: api_key.key,
            organization: ORGANIZATION,
            enterprise_key: app.found(ENTERPRISE_ORGANIZATION, ENTERPRISE, random).await?.key,
            session_jwt: app.sessions.open(USER, app.clock.now())?,
        };
        Ok((app, demo))
    }

    /// Creates an organization and its first key.
    async fn found(
        &self,
        id: OwnerId,
        tier: Tier,
        random: &mut impl TryCryptoRng,
    ) -> Result<Issued, Box<dyn Error>> {
        self.issuer.registry().put_owner(Owner::new(id.clone()).with_tier(tier)).await?;
        let draft = KeyDraft::new(id, KeyName::from_static("demo"));
        let now = self.clock.now();
        Ok(self.issuer.issue(KEYS.kind(), draft, random, now).await?)
    }
}

/// Builds the service: its routes behind the layer for keys, the admin routes, and the layers around
/// both. Unknown paths and methods get a JSON error too.
pub(crate) fn router(app: &Arc<App>, admin: Router) -> Result<Router, Box<dyn Error>> {
    let keys = auth::keys(app)?;
    let or_session = from_fn_with_state(Arc::clone(app), or_session);
    let (open, paid) = routes();
    let open = open.route_layer(or_session.clone()).route_layer(keys.require(auth::any_key())?);
    let paid = paid.route_layer(or_session).route_layer(keys.require(auth::enterprise())?);
    around(open.merge(paid).merge(admin))
}

/// Returns the routes for all tiers and those of the Enterprise tier, without any check. An unknown
/// path under `/v1/` gets 404 only with a good key.
pub(crate) fn routes() -> (Router, Router) {
    let open = Router::new()
        .route("/v1/datasets", get(datasets::list))
        // A parameter is never empty, so `/v1/` needs a route of its own.
        .route("/v1/", any(async || Failure::no_such_route()))
        .route("/v1/{*path}", any(async || Failure::no_such_route()));
    let paid = enterprise::SECTIONS.into_iter().fold(Router::new(), |paid, section| {
        let paths = ["", "/", "/{*path}"].map(|end| format!("/v1/{section}{end}"));
        paths.iter().fold(paid, |paid, path| paid.route(path, get(enterprise::list)))
    });
    let method_not_allowed = async || Failure::method_not_allowed();
    (
        open.method_not_allowed_fallback(method_not_allowed),
        paid.method_not_allowed_fallback(method_not_allowed),
    )
}

/// Adds the layers around all routes: error bodies with a code, a request id, and a line in the log.
pub(crate) fn around(routes: Router) -> Result<Router, Box<dyn Error>> {
    let identify = from_fn_with_state(RequestIds::random()?, identify_requests);
    Ok(routes
        .fallback(async || Failure::no_such_route())
        .layer(map_response(nested_errors))
        .layer(identify)
        .layer(from_fn(log_requests)))
}
