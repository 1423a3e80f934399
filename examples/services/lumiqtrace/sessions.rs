//! Dashboard users: `POST /v1/auth/login`, and the sessions that it opens.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, State},
    http::{
        HeaderName, StatusCode,
        header::{CACHE_CONTROL, WWW_AUTHENTICATE},
        request::Parts,
    },
};
use keyward::key::OwnerId;
use keyward_services::{Failure, Peer, read_short_body};
use rand::{
    TryRng,
    rngs::{SysError, SysRng},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    app::App,
    bearer::{Conflict, bearer_token},
};

/// The maximum size of a login, in bytes.
const MAX_LOGIN: usize = 1 << 14;

/// The challenge for a request without credentials, which has no error code (RFC 6750 §3.1).
const CHALLENGE: &str = r#"Bearer realm="lumiqtrace""#;
const INVALID_TOKEN: &str = r#"Bearer realm="lumiqtrace", error="invalid_token""#;
const INVALID_REQUEST: &str = r#"Bearer realm="lumiqtrace", error="invalid_request""#;

/// Opens a session. Every failure gets the same response: a body that is not a login, an unknown
/// email, a wrong password.
///
/// Beyond [`FAILURES`](keyward_services::FAILURES) of one address the response is 429, and nothing is
/// checked.
pub(crate) async fn login(
    State(app): State<Arc<App>>,
    Peer(peer): Peer,
    body: Body,
) -> Result<([(HeaderName, &'static str); 1], Json<Value>), Failure> {
    let attempt = app.logins.begin(peer, app.clock.now()).map_err(Failure::too_many_attempts)?;
    let body = read_short_body(body, MAX_LOGIN).await?;
    let login = serde_json::from_slice(&body)
        .map_err(|_| unauthenticated(CHALLENGE, "the body is no login"))?;
    let token = open(&app, &login)?;
    app.logins.succeeded(attempt);
    Ok(([(CACHE_CONTROL, "no-store")], Json(json!({ "token": token }))))
}

/// Checks a login and returns the token of a new session.
pub(crate) fn open(app: &App, login: &Login<'_>) -> Result<String, Failure> {
    let user = app
        .accounts
        .user(login)
        .ok_or_else(|| unauthenticated(CHALLENGE, "unknown email or wrong password"))?;
    app.sessions.open(user.id, app.clock.now()).map_err(|error| Failure::unavailable(&error))
}

/// An email and a password.
#[derive(Deserialize)]
pub(crate) struct Login<'a> {
    #[serde(borrow)]
    email: Cow<'a, str>,
    #[serde(borrow)]
    password: Cow<'a, str>,
}

impl<'a> Login<'a> {
    pub(crate) fn new(email: &'a str, password: &'a Password) -> Self {
        Self { email: email.into(), password: password.0.as_str().into() }
    }
}

/// A logged-in user. A handler with this extractor runs only for a valid session.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    organization: OrganizationId,
}

impl Session {
    /// Returns the project with this id, if the user's organization owns it. An unknown project gets
    /// the same refusal as a foreign one, so that nobody learns which ids exist.
    pub(crate) fn project(&self, app: &App, id: &str) -> Result<OwnerId, Failure> {
        let project = OwnerId::new(id).ok();
        project
            .filter(|id| app.accounts.projects.get(id) == Some(&self.organization))
            .ok_or_else(|| Failure::new(StatusCode::FORBIDDEN, "Not a member of this organization"))
    }
}

impl FromRequestParts<Arc<App>> for Session {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let token = bearer_token(&parts.headers)
            .map_err(|Conflict| {
                Failure::bad_request("Authorization was sent twice with different values")
                    .with_header(WWW_AUTHENTICATE, INVALID_REQUEST)
            })?
            .ok_or_else(|| unauthenticated(CHALLENGE, "no bearer token was sent"))?;
        let user = app
            .sessions
            .user(token, app.clock.now())
            .and_then(|id| app.accounts.users.values().find(|user| user.id == id))
            .ok_or_else(|| unauthenticated(INVALID_TOKEN, "not the token of a session"))?;
        Ok(Self { organization: user.organization })
    }
}

fn unauthenticated(challenge: &'static str, note: &'static str) -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "Not authenticated")
        .with_header(WWW_AUTHENTICATE, challenge)
        .with_note(note)
}

/// An organization. Its members can manage its projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrganizationId(pub(crate) &'static str);

/// The users by email, and the organization of each project.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    users: HashMap<&'static str, User>,
    projects: HashMap<OwnerId, OrganizationId>,
}

#[derive(Debug)]
struct User {
    id: &'static str,
    password: PasswordHash,
    organization: OrganizationId,
}

impl Accounts {
    pub(crate) fn add_user(
        &mut self,
        id: &'static str,
        email: &'static str,
        password: &Password,
        organization: OrganizationId,
    ) {
        let password = PasswordHash::of(&password.0);
        self.users.insert(email, User { id, password, organization });
    }

    pub(crate) fn add_project(&mut self, id: OwnerId, organization: OrganizationId) {
        self.projects.insert(id, organization);
    }

    fn user(&self, login: &Login<'_>) -> Option<&User> {
        let user = self.users.get(&*login.email);
        // An unknown email takes as much time as a wrong password.
        let stored = user.map_or(&PasswordHash::NOBODYS, |user| &user.password);
        let matches = stored.matches(&login.password);
        user.filter(|_| matches)
    }
}

/// A random password, made at startup and shown once.
pub(crate) struct Password(String);

impl Password {
    /// Makes a password of 128 random bits.
    pub(crate) fn random() -> Result<Self, SysError> {
        let mut bytes = [0; 16];
        SysRng.try_fill_bytes(&mut bytes)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }

    /// Returns the text of the password, to show it once.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The stored hash of a password. A fast hash is enough, because [`Password::random`] makes all
/// passwords. If people choose passwords, use Argon2.
struct PasswordHash([u8; 32]);

impl PasswordHash {
    const NOBODYS: Self = Self([0; 32]);

    fn of(password: &str) -> Self {
        Self(Sha256::digest(password).into())
    }

    fn matches(&self, password: &str) -> bool {
        self.0.ct_eq(&Self::of(password).0).into()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}
