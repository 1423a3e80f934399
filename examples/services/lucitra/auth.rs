//! The gate that checks keys, and the requirements of each route.

use std::{error::Error, sync::Arc, time::Duration};

use keyward::{
    Access, Challenge, ConfigError, CredentialSource, ErrorBodies, Gate, KeyFormat, Quota,
    RateHeaders, Route,
    limit::Limit,
    request::{ErrorText, PublicReason},
    store::DynKeyRegistry,
};
use keyward_services::{ENTERPRISE, FAILURES, HIGHER, Peer, attempts_limiter};
use keyward_tower::ApiKeys;

use crate::app::App;

/// `luci_` and 64 hexadecimal characters.
pub(crate) const KEYS: KeyFormat = KeyFormat::hex("luci_");
/// The deadline of the store.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// Builds the layer for bearer keys. Every response has the rate-limit headers, and a key is checked
/// again when the response is ready. A credential that is not a key, such as a session, is passed to
/// `sessions.rs`.
pub(crate) fn keys(app: &App) -> Result<ApiKeys<Arc<dyn DynKeyRegistry>>, Box<dyn Error>> {
    let builder = Gate::builder(KEYS, app.issuer.verifier(), CredentialSource::bearer())
        .allow_foreign()
        .with_challenge(Challenge::bearer("lucitra")?.with_errors())
        .with_errors(errors())
        .with_rate_headers(RateHeaders::x_ratelimit())
        .with_limit(app.limit.clone())
        .limit_failed_attempts(attempts_limiter()?, FAILURES)
        .with_audit(app.usage.audit());
    let gate = app.limits.in_gate(builder).build()?;
    let (store, clock) = (Arc::clone(app.issuer.registry()), Arc::clone(&app.clock));
    let keys = ApiKeys::new(gate, store, clock)
        .with_client_address(Peer::address)
        .with_deadline(DEADLINE, tokio::time::sleep);
    Ok(app.limits.in_layer(keys, &app.clock).recheck().handle_foreign())
}

/// The name of the limit on all routes.
const REQUESTS: &str = "requests";

/// The route of any key, within its limit.
pub(crate) fn any_key() -> Route {
    Access::any_key().with_limit(REQUESTS)
}

/// The route of the Enterprise tier.
pub(crate) fn enterprise() -> Route {
    Access::any_key().with_tiers([ENTERPRISE]).with_limit(REQUESTS)
}

/// 100 requests of each key in any 60 seconds (`window`), and 1,000 for higher tiers.
pub(crate) fn limit(window: Duration) -> Result<Limit, ConfigError> {
    let (hundred, thousand) = (Quota::new(100, window)?, Quota::new(1_000, window)?);
    let limit = Limit::new(REQUESTS, hundred);
    Ok(limit.with_tier(HIGHER, thousand).with_tier(ENTERPRISE, thousand))
}

fn errors() -> ErrorBodies {
    let limited = ErrorText::new("Rate limit exceeded. Retry after {retry_after} seconds.");
    let gated = ErrorText::new("This endpoint requires an Enterprise tier subscription.");
    ErrorBodies::nested()
        .with_unauthenticated("Missing or invalid API key.")
        .with_text(PublicReason::RateLimited, limited.with_retry_after("retry_after"))
        .with_text(
            PublicReason::ForbiddenTier,
            gated
                .with_code("ENTERPRISE_REQUIRED")
                .with_field("upgrade_url", "https://validate.lucitra.ai/settings/billing"),
        )
}
