//! What the inner service is told of a request that nobody was authenticated for.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response};
use keyward::{
    Clock, Gate, Route,
    limit::Decision,
    request::{Credential, PublicReason},
};

use crate::{
    HttpHead,
    answer::{Responses, insert_headers},
};

/// Stands in the extensions of a request that went on without a caller: its credential is of
/// no known kind and the gate was told to
/// [pass those on](keyward::gate::GateBuilder::allow_foreign), or it is a preflight that is
/// [passed on](crate::Preflights::PassOn). **Nothing is proved of it.**
///
/// A layer that passes credentials on is only made once the host has said that something of its own
/// checks them: [`ApiKeys::handle_foreign`](crate::ApiKeys::handle_foreign).
///
/// The host checks it, such as a JWT beside API keys, and refuses it in the gate's words if
/// it is not good either:
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
/// Its limits are the host's to charge, and [`ForeignCredential::refuse_charged`] and
/// [`ForeignCredential::rate_headers`] tell of them as of those of keys.
#[derive(Clone)]
pub struct ForeignCredential {
    pub(crate) gate: Gate,
    pub(crate) route: Route,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) answers: Responses,
}

impl ForeignCredential {
    /// What the route requires.
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// The credential that was passed on, out of the request that carries it. A preflight has
    /// none.
    pub fn credential<'h>(&'h self, head: &'h HttpHead<'_>) -> Option<Credential<'h>> {
        // What contradicts itself or cannot be read was refused and not passed on.
        self.gate.sources().extract(head).ok().flatten()
    }

    /// The answer to a request that the host's own check found not to be good, in the gate's
    /// words and with its challenges. The gate's audit is told.
    pub fn refuse(&self, reason: PublicReason) -> Response<Bytes> {
        self.answers.refusal(&self.gate.refuse(&self.route, reason, self.clock.now()))
    }

    /// As [`ForeignCredential::refuse`], after the host has authenticated and charged somebody itself: the
    /// answer has the headers of that limit too, and a 429 the time to wait.
    pub fn refuse_charged(&self, reason: PublicReason, decision: Decision) -> Response<Bytes> {
        let now = self.clock.now();
        self.answers.refusal(&self.gate.refuse_charged(&self.route, reason, decision, now))
    }

    /// What an answer tells of a limit that the host has charged itself, in the gate's style.
    pub fn rate_headers(&self, decision: &Decision) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let style = self.gate.rate_headers();
        insert_headers(&mut headers, style.render(decision, self.clock.now()));
        headers
    }
}

impl fmt::Debug for ForeignCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignCredential").field("route", &self.route).finish_non_exhaustive()
    }
}
