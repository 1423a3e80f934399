//! Events for `tracing`, with ids and reasons, and nothing that the client sent.

use keyward::{
    Outcome,
    gate::{CheckedRoute, Refusal},
};

/// Logs the outcome of a request.
#[cfg(feature = "tracing")]
pub(crate) fn decided(outcome: &Outcome, route: &CheckedRoute) {
    match outcome {
        Outcome::Admitted(admission) => {
            let (caller, policy) = (admission.caller(), admission.policy(route));
            let policy = policy.map(tracing::field::display);
            tracing::debug!(key = %caller.key_id(), owner = %caller.owner_id(), policy, "admitted");
        }
        Outcome::Refused(refusal) => refused(refusal),
        Outcome::ForeignCredential => tracing::debug!("passed on without a key"),
        Outcome::Anonymous => tracing::debug!("anonymous"),
    }
}

/// Logs a refusal, as an error if the service is at fault.
#[cfg(feature = "tracing")]
pub(crate) fn refused(refusal: &Refusal) {
    let (status, reason) = (refusal.status(), refusal.reason());
    let key = refusal.key_id().map(tracing::field::display);
    let policy = refusal.policy().map(tracing::field::display);
    if status >= 500 {
        tracing::error!(status, key, policy, %reason, "cannot decide");
    } else {
        tracing::info!(status, key, policy, %reason, "refused");
    }
}

/// Warns that a client has no address to count by.
#[cfg(feature = "tracing")]
pub(crate) fn no_address() {
    tracing::warn!(
        "no client address: a failed attempt is not counted, and a limit per address refuses"
    );
}

/// Logs a mistake in the wiring of the service.
#[cfg(all(feature = "tracing", feature = "axum"))]
pub(crate) fn misconfigured(error: &dyn std::error::Error) {
    tracing::error!(%error, "cannot decide");
}

#[cfg(all(not(feature = "tracing"), feature = "axum"))]
pub(crate) const fn misconfigured(_: &dyn std::error::Error) {}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn no_address() {}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn decided(_: &Outcome, _: &CheckedRoute) {}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn refused(_: &Refusal) {}
