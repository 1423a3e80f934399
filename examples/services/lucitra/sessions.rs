//! Dashboard sessions: the service itself checks the credentials that the gate passes on.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use keyward::{
    key::{OwnerId, ScopeSet},
    limit::{Decision, LimitKey, PolicyTag},
    quota::{Allowance, PolicyName},
    request::{PublicReason, RefusalReason},
    store::KeyRegistry,
};
use keyward_tower::{ForeignCredential, HttpHead};
use tokio::time::timeout;

use crate::{
    app::App,
    auth::{DEADLINE, KEYS},
    organization::Organization,
};

/// The users of the dashboard, and the organization of each.
pub(crate) type Members = HashMap<&'static str, OwnerId>;

/// Middleware inside of the layer for keys. It adds the organization of a session to the request; for a
/// key, the handlers use the owner of the key.
pub(crate) async fn or_session(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(passed) = request.extensions().get::<ForeignCredential>().cloned() else {
        return next.run(request).await;
    };
    let user = user(&app, &passed, &request);
    match admit(&app, &passed, user).await {
        Ok((organization, decision)) => {
            request.extensions_mut().insert(organization);
            (passed.rate_headers(&decision), next.run(request).await).into_response()
        }
        Err(refusal) => refusal,
    }
}

/// Returns the user of the session, if the credential is a session.
fn user(app: &App, passed: &ForeignCredential, request: &Request) -> Option<String> {
    let head = HttpHead::from(request);
    let token = passed.credential(&head)?;
    app.sessions.user(token.token(), app.clock.now())
}

/// Checks a session in the same three steps as a key: authenticate, charge, authorize.
async fn admit(
    app: &App,
    passed: &ForeignCredential,
    user: Option<String>,
) -> Result<(Organization, Decision), Response> {
    let refuse = |reason| passed.refuse(reason).map(Body::from);
    let member = user.and_then(|user| app.members.get_key_value(user.as_str()));
    let (user, organization) = member.ok_or_else(|| refuse(PublicReason::InvalidKey))?;
    let Ok(Ok(owner)) = timeout(DEADLINE, app.issuer.registry().owner(organization)).await else {
        return Err(refuse(PublicReason::Unavailable));
    };
    let owner = owner.ok_or_else(|| refuse(PublicReason::InvalidKey))?;

    // Each user has a window with the limit of one key, by the tier of the organization.
    let window = LimitKey::host(USERS, user.as_bytes()).with_policy(PolicyTag::of(&SESSIONS));
    let Allowance::Limited(quotas) = app.limit.allowance(owner.tier.as_ref()) else {
        return Err(refuse(PublicReason::Unavailable));
    };
    let charged = app.limits.check(window, &quotas, &app.clock).await;
    let decision = charged.map_err(|_undecided| refuse(PublicReason::Unavailable))?;
    let refuse = |reason| passed.refuse_charged(reason, decision).map(Body::from);
    if !decision.allowed {
        return Err(refuse(PublicReason::RateLimited));
    }
    // A session has the rights of a key of its organization.
    let access = passed.route().access().check(KEYS.kind(), &ScopeSet::empty(), &owner);
    access.map_err(|why| refuse(RefusalReason::Forbidden(why).public()))?;
    Ok((Organization(organization.clone()), decision))
}

/// The name of the limit of sessions, which counts them apart from keys.
const SESSIONS: PolicyName = PolicyName::from_static("sessions");
/// The number of users among the subjects that the service counts by.
const USERS: u8 = 1;
