//! How keys are checked: one gate, and what each route asks of it.

use std::{error::Error, num::NonZeroU32, sync::Arc, time::Duration};

use keyward::{
    Access, Challenge, CredentialSource, ErrorBodies, Gate, KeyFormat, Quota, RateHeaders, Route,
    gate::RouteQuotas,
    request::{ErrorText, PublicReason},
    store::DynKeyRegistry,
};
use keyward_examples::{ENTERPRISE, HIGHER};
use keyward_tower::ApiKeys;

use crate::app::App;

/// `luci_` and 64 hexadecimal characters.
pub(crate) const KEYS: KeyFormat = KeyFormat::hex("luci_");
/// How long the store may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

const HUNDRED: Quota = Quota::per_minute(NonZeroU32::new(100).unwrap());
const THOUSAND: Quota = Quota::per_minute(NonZeroU32::new(1_000).unwrap());

/// Bearer keys of which every answer tells the limit, and which must still stand when the answer
/// is ready. What is no key at all, such as a session, is passed on to `sessions.rs`.
pub(crate) fn keys(app: &App) -> Result<ApiKeys<Arc<dyn DynKeyRegistry>>, Box<dyn Error>> {
    let builder = Gate::builder(KEYS, app.issuer.verifier(), CredentialSource::bearer())
        .allow_foreign()
        .challenge(Challenge::bearer("lucitra")?.with_errors())
        .errors(errors())
        .rate_headers(RateHeaders::x_ratelimit())
        .audit(app.usage.audit());
    let gate = app.limits.in_gate(builder).build()?;
    let (store, clock) = (Arc::clone(app.issuer.registry()), Arc::clone(&app.clock));
    let keys = ApiKeys::new(gate, store, clock).deadline(DEADLINE, tokio::time::sleep);
    Ok(app.limits.in_layer(keys).recheck().foreign_is_checked())
}

/// Any key, 100 times in any 60 seconds, and 1,000 times for those who pay.
pub(crate) fn any_key() -> Route {
    Route::new(Access::any_key()).limit_key(quotas())
}

/// Only those who pay by contract.
pub(crate) fn enterprise() -> Route {
    Route::new(Access::any_key().tier_in([ENTERPRISE])).limit_key(quotas())
}

pub(crate) fn quotas() -> RouteQuotas {
    RouteQuotas::new(HUNDRED).tier(HIGHER, THOUSAND).tier(ENTERPRISE, THOUSAND)
}

fn errors() -> ErrorBodies {
    let limited = ErrorText::new("Rate limit exceeded. Retry after {retry_after} seconds.");
    let gated = ErrorText::new("This endpoint requires an Enterprise tier subscription.");
    ErrorBodies::nested()
        .unauthenticated("Missing or invalid API key.")
        .on(PublicReason::RateLimited, limited.with_retry_after("retry_after"))
        .on(
            PublicReason::ForbiddenTier,
            gated
                .with_code("ENTERPRISE_REQUIRED")
                .with_field("upgrade_url", "https://validate.lucitra.ai/settings/billing"),
        )
}
