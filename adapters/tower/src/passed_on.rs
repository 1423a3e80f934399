//! What the inner service is told of a request that nobody was authenticated for.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Response;
use keyward::{Clock, Gate, PublicReason, Route};

use crate::answer::Answers;

/// Stands in the extensions of a request that went on without a caller: its credential is of
/// no known kind and the gate was told to
/// [pass those on](keyward::GateBuilder::pass_on_unknown), or it is a preflight that is
/// [passed on](crate::Preflights::PassOn). **Nothing is proved of it.**
///
/// The host checks it, such as a JWT beside API keys, and refuses it in the gate's words if
/// it is not good either:
///
/// ```
/// use axum::{body::Body, extract::Request, middleware::Next, response::Response};
/// use keyward::PublicReason;
/// use keyward_tower::PassedOn;
///
/// # fn is_session<B>(_: &axum::http::Request<B>) -> bool { false }
/// async fn sessions(request: Request, next: Next) -> Response {
///     match request.extensions().get::<PassedOn>() {
///         Some(passed) if !is_session(&request) => {
///             passed.refuse(PublicReason::InvalidKey).map(Body::from)
///         }
///         _ => next.run(request).await,
///     }
/// }
/// ```
#[derive(Clone)]
pub struct PassedOn {
    pub(crate) gate: Gate,
    pub(crate) route: Route,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) answers: Answers,
}

impl PassedOn {
    /// What the route requires.
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// The answer to a request that the host's own check found not to be good, in the gate's
    /// words and with its challenges. The gate's audit is told.
    pub fn refuse(&self, reason: PublicReason) -> Response<Bytes> {
        self.answers.refusal(&self.gate.refuse(&self.route, reason, self.clock.now()))
    }
}

impl fmt::Debug for PassedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassedOn").field("route", &self.route).finish_non_exhaustive()
    }
}
