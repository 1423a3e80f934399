//! `POST /oauth/token`: returns an access token for client credentials (RFC 6749 §4.4).

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{
            AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
        },
    },
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use keyward::{
    KeyDraft, Quota, SysRng, Timestamp,
    issue::IssuerError,
    key::{KeyName, ScopeSet},
    store::StoreError,
};
use keyward_services::{Failure, LogNote, Peer, read_short_body};
use serde_json::{Value, json};
use thiserror::Error;

use crate::{app::App, clients::Client, kinds::ACCESS_TOKEN};

const MAX_FORM: usize = 1 << 14;
/// The tokens that one client can get in any minute.
pub(crate) const TOKENS: Quota = Quota::per_minute(120);
const CHALLENGE: &str = r#"Basic realm="lucent""#;
/// The time for which revoked and expired keys stay listed.
const KEPT: Duration = Duration::from_secs(86_400);
/// The number of ended keys that one token request purges. It is more than one, so that ended keys do not
/// accumulate.
const PURGED: u16 = 16;

/// Mints a token for the organization of the client, with the requested scopes.
///
/// Failures of one address and tokens of one client are limited. Beyond that the response is 429.
pub(crate) async fn token(
    State(app): State<Arc<App>>,
    Peer(peer): Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, TokenError> {
    let attempt = app.attempts.begin(peer, app.clock.now()).map_err(TokenError::TooMany)?;
    let body = read_short_body(body, MAX_FORM).await.map_err(TokenError::Body)?;
    let form = Form::read(&headers, &body)?;
    let now = app.clock.now();
    let client = authenticate(&app, &headers, &form, now)?;
    app.attempts.succeeded(attempt);
    match form.get("grant_type") {
        Some("client_credentials") => {}
        Some(_) => return Err(TokenError::UnsupportedGrantType),
        None => return Err(TokenError::InvalidRequest("grant_type is missing")),
    }
    let scopes = scopes(&form)?;
    let scope = scopes.to_string();
    let _granted = app.tokens.begin(client.id, now).map_err(TokenError::TooMany)?;
    let draft = KeyDraft::new(client.organization, KeyName::from_static("access token"))
        .with_scopes(scopes)
        .with_expiry(now + app.durations.token);
    let issued = app.issuer.issue(ACCESS_TOKEN.kind(), draft, &mut SysRng, now).await?;
    app.usage.forget(&app.issuer.purge(KEPT, PURGED, now).await?);
    Ok(no_store(
        StatusCode::OK,
        json!({
            "access_token": issued.key.expose(),
            "token_type": "Bearer",
            "expires_in": app.durations.token.as_secs(),
            "scope": scope,
        }),
    ))
}

/// Authenticates the client by Basic or by the form, but not by both (RFC 6749 §2.3).
fn authenticate(
    app: &App,
    headers: &HeaderMap,
    form: &Form<'_>,
    now: Timestamp,
) -> Result<Client, TokenError> {
    let in_form = (form.get("client_id"), form.get("client_secret"));
    let known = |id: &str, secret: &str| {
        app.clients
            .authenticate(id, secret, now)
            .ok_or(TokenError::InvalidClient("unknown client or wrong secret"))
    };
    let Some(authorization) = authorization(headers)? else {
        return match in_form {
            (Some(id), Some(secret)) => known(id, secret),
            _ => Err(TokenError::InvalidClient("no client authentication was sent")),
        };
    };
    if in_form.1.is_some() {
        return Err(TokenError::InvalidRequest("the client authenticates in two ways"));
    }
    let basic = basic(authorization).ok_or(TokenError::InvalidClient("not Basic"))?;
    // Id and secret contain only characters that the form encoding of RFC 6749 §2.3.1 does not change.
    let (id, secret) = basic.split_once(':').ok_or(TokenError::InvalidClient("not Basic"))?;
    if in_form.0.is_some_and(|named| named != id) {
        return Err(TokenError::InvalidRequest("the form names another client"));
    }
    known(id, secret)
}

fn authorization(headers: &HeaderMap) -> Result<Option<&[u8]>, TokenError> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let first = lines.next();
    if lines.any(|line| Some(line) != first) {
        return Err(TokenError::InvalidRequest("Authorization was sent with different values"));
    }
    Ok(first.map(|line| line.as_bytes()))
}

/// Returns the user-id and password of RFC 7617, separated by a colon.
fn basic(authorization: &[u8]) -> Option<String> {
    let (scheme, rest) = authorization.split_at_checked(b"basic".len())?;
    if !scheme.eq_ignore_ascii_case(b"basic") || rest.first() != Some(&b' ') {
        return None;
    }
    let token = rest.iter().position(|&byte| byte != b' ').and_then(|start| rest.get(start..))?;
    String::from_utf8(BASE64_STANDARD.decode(token).ok()?).ok()
}

/// Returns the requested scopes. There are no default scopes (RFC 6749 §3.3 allows this). The issuer
/// checks whether the scopes exist.
fn scopes(form: &Form<'_>) -> Result<ScopeSet, TokenError> {
    let asked = form.get("scope").ok_or(TokenError::InvalidScope)?;
    asked.parse().map_err(|_| TokenError::InvalidScope)
}

/// Returns the parameters of a request. A parameter without a value counts as not sent (RFC 6749 §3.2).
struct Form<'b>(BTreeMap<Cow<'b, str>, Cow<'b, str>>);

impl<'b> Form<'b> {
    fn read(headers: &HeaderMap, body: &'b [u8]) -> Result<Self, TokenError> {
        let essence = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = essence.and_then(|value| value.split(';').next()).unwrap_or_default();
        if !essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(TokenError::InvalidRequest("the body is no form"));
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            if !value.is_empty() && parameters.insert(name, value).is_some() {
                return Err(TokenError::InvalidRequest("a parameter was sent twice"));
            }
        }
        Ok(Self(parameters))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }
}

/// The reason why no token was granted. The client gets the code of RFC 6749 §5.2; the log gets the
/// details.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    #[error("{0}")]
    InvalidRequest(&'static str),
    #[error("client refused: {0}")]
    InvalidClient(&'static str),
    #[error("the grant is not of client credentials")]
    UnsupportedGrantType,
    #[error("no scope, or an unknown one")]
    InvalidScope,
    #[error("too many attempts or tokens")]
    TooMany(u64),
    #[error("{0}")]
    Body(Failure),
    #[error("{0}")]
    Issuer(IssuerError<StoreError>),
}

impl From<IssuerError<StoreError>> for TokenError {
    fn from(error: IssuerError<StoreError>) -> Self {
        match error {
            IssuerError::Grant(_) => Self::InvalidScope,
            error => Self::Issuer(error),
        }
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let (status, code) = match self {
            Self::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::InvalidClient(_) => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::InvalidScope => (StatusCode::BAD_REQUEST, "invalid_scope"),
            // The code of RFC 8628 §3.5. RFC 6749 has none for it.
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "slow_down"),
            Self::Body(failure) => return failure.into_response(),
            Self::Issuer(error) => return Failure::from(error).into_response(),
        };
        let mut response = no_store(status, json!({ "error": code }));
        if status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static(CHALLENGE);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if let Self::TooMany(secs) = self {
            response.headers_mut().insert(RETRY_AFTER, secs.into());
        }
        response.extensions_mut().insert(LogNote(self.to_string().into()));
        response
    }
}

/// RFC 6749 §5.1: caches must not store the response.
fn no_store(status: StatusCode, body: Value) -> Response {
    (status, [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")], Json(body)).into_response()
}
