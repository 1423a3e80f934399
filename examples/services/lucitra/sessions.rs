//! Dashboard sessions beside keys: the host's own check of what the gate passes on.

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

/// Middleware inside of the layer for keys. It tells the handlers for whom they answer: the
/// owner of the key, or the organization of the session.
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

/// Whose session this is, if the credential is one.
fn user(app: &App, passed: &ForeignCredential, request: &Request) -> Option<String> {
    let head = HttpHead::from(request);
    let token = passed.credential(&head)?;
    app.sessions.user(token.token(), app.clock.now())
}

/// The same three steps as for a key: authenticate, charge, authorize.
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

    // Each user has a window, by the tier of the organization; as much as one key has.
    let window = LimitKey::host(USERS, user.as_bytes()).with_policy(PolicyTag::of(&SESSIONS));
    let Allowance::Limited(quotas) = app.limit.allowance(owner.tier.as_ref()) else {
        return Err(refuse(PublicReason::Unavailable));
    };
    let charged = app.limits.check(window, &quotas, app.clock.now()).await;
    let decision = charged.map_err(|_undecided| refuse(PublicReason::Unavailable))?;
    let refuse = |reason| passed.refuse_charged(reason, decision).map(Body::from);
    if !decision.allowed {
        return Err(refuse(PublicReason::RateLimited));
    }
    // A session may do what a key of its organization may.
    let access = passed.route().access().check(KEYS.kind(), &ScopeSet::empty(), &owner);
    access.map_err(|why| refuse(RefusalReason::Forbidden(why).public()))?;
    Ok((Organization(organization.clone()), decision))
}

/// The name of the limit of sessions, which counts them apart from keys.
const SESSIONS: PolicyName = PolicyName::from_static("sessions");
/// The number of users among what the service counts by.
const USERS: u8 = 1;
