//! Events for `tracing`, with ids and reasons, and nothing that the client sent.

use keyward::{Outcome, gate::Refusal};

/// Logs the outcome of a request.
#[cfg(feature = "tracing")]
pub(crate) fn decided(outcome: &Outcome) {
    match outcome {
        Outcome::Admitted(admission) => {
            let caller = admission.caller();
            tracing::debug!(key = %caller.key_id(), owner = %caller.owner_id(), "admitted");
        }
        Outcome::Refused(refusal) => refused(refusal),
        Outcome::ForeignCredential => tracing::debug!("passed on without a key"),
    }
}

/// Logs a refusal, as an error if the service is at fault.
#[cfg(feature = "tracing")]
pub(crate) fn refused(refusal: &Refusal) {
    let (status, reason) = (refusal.status(), refusal.reason());
    let key = refusal.key_id().map(tracing::field::display);
    if status >= 500 {
        tracing::error!(status, key, %reason, "cannot decide");
    } else {
        tracing::info!(status, key, %reason, "refused");
    }
}

/// Warns that an attempt cannot be counted because its client has no address.
#[cfg(feature = "tracing")]
pub(crate) fn no_address() {
    tracing::warn!("no client address: a failed attempt is not counted");
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
pub(crate) const fn decided(_: &Outcome) {}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn refused(_: &Refusal) {}
