//! The mark of a request that goes on without a caller.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response};
use keyward::{
    Clock, Gate,
    gate::CheckedRoute,
    limit::Decision,
    request::{Credential, PublicReason, RequestId},
};

use crate::{
    head::HttpHead,
    response::{Protocol, insert_headers},
};

/// The mark, in the extensions, of a request that goes on without a caller: its credential is of
/// no known kind and the gate [leaves those to the host](keyward::gate::GateBuilder::allow_foreign).
/// **Nothing is proved.** A preflight that is [passed on](crate::Preflights::PassOn), and a request
/// without a credential on a route that [allows it](keyward::Route::allow_missing), has neither a caller
/// nor this mark.
///
/// A layer passes credentials on only after the host has declared that it checks them, with
/// [`ApiKeys::handle_foreign`](crate::ApiKeys::handle_foreign).
///
/// The host checks the credential, such as a JWT beside API keys, and refuses it in the style of
/// the gate if it is invalid too:
///
/// ```
/// use axum::{body::Body, extract::Request, middleware::Next, response::Response};
/// use keyward::request::PublicReason;
/// use keyward_tower::{HttpHead, ForeignCredential};
///
/// # fn is_session(_: &[u8]) -> bool { false }
/// async fn sessions(request: Request, next: Next) -> Response {
///     if let Some(passed) = request.extensions().get::<ForeignCredential>() {
///         let head = HttpHead::from(&request);
///         if !passed.credential(&head).is_some_and(|jwt| is_session(jwt.token())) {
///             return passed.refuse(PublicReason::InvalidKey).map(Body::from);
///         }
///     }
///     next.run(request).await
/// }
/// ```
///
/// The host charges its limits. [`ForeignCredential::refuse_charged`] and
/// [`ForeignCredential::rate_headers`] report them as the gate reports those of keys.
#[derive(Clone)]
pub struct ForeignCredential {
    pub(crate) gate: Gate,
    pub(crate) route: CheckedRoute,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) protocol: Protocol,
    pub(crate) request_id: Option<RequestId>,
}

impl ForeignCredential {
    /// Returns the route of the request.
    pub const fn route(&self) -> &CheckedRoute {
        &self.route
    }

    /// Returns the foreign credential of the request.
    pub fn credential<'h>(&'h self, head: &'h HttpHead<'_>) -> Option<Credential<'h>> {
        // Contradictory and unreadable credentials were refused before.
        self.gate.sources().extract(head).ok().flatten()
    }

    /// Returns the response to a request that the host's own check refuses, in the style of the
    /// gate and with its challenges, and reports the refusal to the audit.
    pub fn refuse(&self, reason: PublicReason) -> Response<Bytes> {
        let (id, now) = (self.request_id.clone(), self.clock.now());
        self.protocol.refusal(&self.gate.refuse(&self.route, reason, id, now))
    }

    /// As [`ForeignCredential::refuse`], after the host has authenticated and charged a caller
    /// itself. The response has the headers of that limit too, and a 429 the time to wait.
    pub fn refuse_charged(&self, reason: PublicReason, decision: Decision) -> Response<Bytes> {
        let (id, now) = (self.request_id.clone(), self.clock.now());
        self.protocol.refusal(&self.gate.refuse_charged(&self.route, reason, decision, id, now))
    }

    /// Returns the rate-limit headers for a limit that the host has charged itself, in the style
    /// of the gate.
    pub fn rate_headers(&self, decision: &Decision) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let style = self.gate.rate_headers();
        insert_headers(&mut headers, style.render(decision, self.clock.now()));
        headers
    }
}

/// The mark of a preflight that is passed on, or of an anonymous request, for this crate alone: its inner
/// layers, extractors and guard.
#[derive(Clone)]
pub(crate) struct WithoutCaller(
    #[cfg_attr(not(feature = "axum"), expect(dead_code, reason = "read by extractors and guard"))]
    pub(crate) ForeignCredential,
);

/// Returns how to refuse a request that a layer has passed on without a caller.
#[cfg(feature = "axum")]
pub(crate) fn unproved(extensions: &http::Extensions) -> Option<&ForeignCredential> {
    let without = || extensions.get().map(|WithoutCaller(passed)| passed);
    extensions.get::<ForeignCredential>().or_else(without)
}

impl fmt::Debug for ForeignCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignCredential").field("route", &self.route).finish_non_exhaustive()
    }
}
