//! Events for `tracing`, with ids and reasons, and nothing that the client sent.
//!
//! Failures of the service itself have at most one event a second for each kind: see `outages.rs`.

use keyward::{
    Clock, Outcome,
    gate::{CheckedRoute, Refusal},
};

#[cfg(feature = "tracing")]
use crate::outages::{Kind, Line, Outages};

/// The log of the layers of one service.
#[derive(Default)]
pub(crate) struct Log {
    #[cfg(feature = "tracing")]
    outages: Outages,
}

#[cfg(feature = "tracing")]
impl Log {
    /// Logs the outcome of a request.
    pub(crate) fn decided(&self, outcome: &Outcome, route: &CheckedRoute, clock: &dyn Clock) {
        match outcome {
            Outcome::Admitted(admission) => {
                let (caller, policy) = (admission.caller(), admission.policy(route));
                let policy = policy.map(tracing::field::display);
                tracing::debug!(key = %caller.key_id(), owner = %caller.owner_id(), policy, "admitted");
            }
            Outcome::Refused(refusal) => return self.refused(refusal, clock),
            Outcome::ForeignCredential => tracing::debug!("passed on without a key"),
            Outcome::Anonymous => tracing::debug!("anonymous"),
        }
        self.overdue(clock);
    }

    /// Logs a refusal, as an error if the service is at fault.
    pub(crate) fn refused(&self, refusal: &Refusal, clock: &dyn Clock) {
        let (status, reason) = (refusal.status(), refusal.reason());
        if status >= 500 {
            let kind = Kind::Refusal(std::mem::discriminant(reason));
            if let Some(line) = self.outages.failed(kind, || reason.to_string(), clock.now()) {
                line.write();
            }
            return;
        }
        let key = refusal.key_id().map(tracing::field::display);
        let policy = refusal.policy().map(tracing::field::display);
        // The window that refused.
        let window = refusal.decision().filter(|decision| !decision.allowed);
        let window = window.map(|decision| tracing::field::display(decision.quota()));
        tracing::info!(status, key, policy, window, %reason, "refused");
        self.overdue(clock);
    }

    /// Warns that a client has no address to count by.
    pub(crate) fn no_address(&self, clock: &dyn Clock) {
        if let Some(line) = self.outages.failed(Kind::NoAddress, String::new, clock.now()) {
            line.write();
        }
    }

    /// Logs failures after which nothing else failed.
    fn overdue(&self, clock: &dyn Clock) {
        self.outages.overdue(|| clock.now()).iter().for_each(Line::write);
    }
}

#[cfg(feature = "tracing")]
impl Line {
    fn write(&self) {
        let Self { kind, reason, count } = self;
        match kind {
            Kind::Refusal(_) => tracing::error!(status = 503, count, %reason, "cannot decide"),
            Kind::NoAddress => tracing::warn!(
                count,
                "no client address: a failed attempt is not counted, and a limit per address refuses"
            ),
        }
    }
}

#[cfg(not(feature = "tracing"))]
#[expect(clippy::unused_self, reason = "as with the feature `tracing`")]
impl Log {
    pub(crate) const fn decided(&self, _: &Outcome, _: &CheckedRoute, _: &dyn Clock) {}

    pub(crate) const fn refused(&self, _: &Refusal, _: &dyn Clock) {}

    pub(crate) const fn no_address(&self, _: &dyn Clock) {}
}

/// Warns that the hash of a key was not saved under the current scheme.
#[cfg(feature = "tracing")]
pub(crate) fn not_rehashed(error: Option<&keyward::store::StoreError>) {
    match error {
        Some(error) => tracing::warn!(%error, "a key was not rehashed"),
        None => tracing::warn!("a key was not rehashed before the deadline"),
    }
}

/// Logs a mistake in the wiring of the service.
#[cfg(all(feature = "tracing", feature = "axum"))]
pub(crate) fn misconfigured(error: &dyn std::error::Error) {
    tracing::error!(%error, "cannot decide");
}

#[cfg(all(not(feature = "tracing"), feature = "axum"))]
pub(crate) const fn misconfigured(_: &dyn std::error::Error) {}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn not_rehashed(_: Option<&keyward::store::StoreError>) {}
