//! The two gates that check keys, and the requirements of each route.

use std::{error::Error, sync::Arc, time::Duration};

use axum::http::{
    Method,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER},
};
use keyward::{
    Access, Challenge, ConfigError, CredentialSource, ErrorBodies, Gate, Limiter, Quota, Route,
    limit::Limit,
    request::{CredentialSources, PublicReason},
    store::DynKeyRegistry,
};
use keyward_services::{ENTERPRISE, FAILURES, HIGHER, Peer, attempts_limiter};
use keyward_tower::{ApiKeys, TruePreflightsLayer};
use tower_http::cors::{Any, CorsLayer};

use crate::{
    app::App,
    kinds::{PUBLIC, tokens},
};

/// The header for the key of a web page.
const API_KEY: &str = "x-lucent-api-key";
/// The deadline of the store.
const DEADLINE: Duration = Duration::from_secs(2);

/// Builds the gate for keys of web pages, in a header or in the query.
pub(crate) fn ingest(app: &App) -> Result<ApiKeys<Arc<dyn DynKeyRegistry>>, Box<dyn Error>> {
    let header = CredentialSource::header(API_KEY);
    let sources = CredentialSources::first_of([header, CredentialSource::query("api_key")]);
    let errors = ErrorBodies::flat()
        .with_unauthenticated("Invalid or revoked API key")
        .with_text(PublicReason::MissingKey, "Missing API key");
    let gate = Gate::builder(PUBLIC, app.issuer.verifier(), sources)
        .with_publishable([PUBLIC.kind()])
        .with_challenge(Challenge::api_key("lucent", API_KEY)?)
        .with_errors(errors)
        .with_limiter(Limiter::system()?)
        .with_limit(limit(app.durations.window)?)
        .limit_failed_attempts(attempts_limiter()?, FAILURES)
        .with_audit(app.usage.audit())
        .build()?;
    Ok(keys(app, gate))
}

/// The name of the limit on ingest.
const INGEST: &str = "ingest";

/// 100 requests of each key in any 60 seconds (`window`), and 1,000 for higher tiers.
fn limit(window: Duration) -> Result<Limit, ConfigError> {
    let (hundred, thousand) = (Quota::new(100, window)?, Quota::new(1_000, window)?);
    let limit = Limit::new(INGEST, hundred);
    Ok(limit.with_tier(HIGHER, thousand).with_tier(ENTERPRISE, thousand))
}

/// The route of any public key, within the limit on ingest.
pub(crate) fn sending() -> Route {
    Access::any_key().with_limit(INGEST)
}

/// Builds the gate for tokens of programs. Its challenge names the scope that a route requires.
pub(crate) fn data(app: &App) -> Result<ApiKeys<Arc<dyn DynKeyRegistry>>, Box<dyn Error>> {
    let gate = Gate::builder(tokens()?, app.issuer.verifier(), CredentialSource::bearer())
        .with_challenge(Challenge::bearer("lucent")?.with_scope_in_place_of_realm())
        .with_errors(ErrorBodies::flat().with_unauthenticated("Missing or invalid bearer token"))
        .limit_failed_attempts(attempts_limiter()?, FAILURES)
        .with_audit(app.usage.audit())
        .build()?;
    Ok(keys(app, gate))
}

/// Builds the CORS layer around ingest, for scripts of every origin. It covers refusals too. It
/// responds only to true preflights; any other `OPTIONS` request needs a key.
pub(crate) fn cors() -> TruePreflightsLayer<CorsLayer> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST])
        .allow_headers([CONTENT_TYPE, CONTENT_ENCODING, HeaderName::from_static(API_KEY)])
        .expose_headers([RETRY_AFTER]);
    TruePreflightsLayer::new(cors)
}

fn keys(app: &App, gate: Gate) -> ApiKeys<Arc<dyn DynKeyRegistry>> {
    let (store, clock) = (Arc::clone(app.issuer.registry()), Arc::clone(&app.clock));
    let keys = ApiKeys::new(gate, store, clock).with_client_address(Peer::address);
    keys.with_deadline(DEADLINE, tokio::time::sleep)
}
