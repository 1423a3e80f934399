//! `/admin/keys`.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use keyward::{
    KeyDraft, Scope, SysRng, Timestamp,
    issue::{Issued, IssuerError},
    key::{KeyId, KeyKind, KeyName, OwnerId, ScopeSet},
    store::{KeyRegistry, PageRequest},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Admin, row::Row, unreadable};
use crate::{Failure, key_list, read_json};

/// Lists all keys, oldest first. Keys that cannot be read are listed as damaged.
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Value>, Failure> {
    let now = admin.clock.now();
    let (mut keys, mut damaged) = (Vec::new(), Vec::new());
    let mut page = PageRequest::first(PageRequest::MAX_SIZE);
    loop {
        let listing = admin.issuer.registry().list_all(page).await?;
        keys.extend(listing.keys);
        damaged.extend(listing.damaged);
        match listing.next {
            Some(cursor) => page = page.after(cursor),
            None => break,
        }
    }
    let usage = admin.usage.of_all(keys.iter().map(|found| found.record().id()));
    let rows: Vec<_> = keys
        .iter()
        .zip(usage)
        .map(|(found, usage)| Row::of(found.record(), Some(found.owner()), usage, now))
        .collect();
    Ok(Json(key_list(json!(rows), &damaged)))
}

#[derive(Deserialize)]
pub(super) struct NewKey {
    kind: String,
    name: String,
    owner: String,
    scopes: Option<Vec<String>>,
    /// The key is refused from then on (RFC 3339).
    expires_at: Option<Timestamp>,
}

impl NewKey {
    const EXPECTED: &'static str =
        r#"The body must be an object with strings "kind", "name", "owner", and maybe "scopes""#;

    fn draft(&self) -> Result<KeyDraft, Failure> {
        let owner = OwnerId::new(&self.owner).map_err(|error| unprocessable("owner", &error))?;
        let name = KeyName::new(&self.name).map_err(|error| unprocessable("name", &error))?;
        let draft = KeyDraft::new(owner, name);
        let Some(scopes) = &self.scopes else { return Ok(draft) };
        let scopes = scopes.iter().map(|scope| Scope::new(scope)).collect::<Result<Vec<_>, _>>();
        let scopes = scopes.and_then(ScopeSet::new);
        Ok(draft.with_scopes(scopes.map_err(|error| unprocessable("scopes", &error))?))
    }
}

/// Mints a key. The issuer decides which scopes its kind can have.
pub(super) async fn create(State(admin): State<Arc<Admin>>, body: Body) -> Result<Minted, Failure> {
    let new: NewKey = read_json(body, NewKey::EXPECTED).await?;
    let kind = KeyKind::new(&new.kind).map_err(|error| unprocessable("kind", &error))?;
    let (mut draft, now) = (new.draft()?, admin.clock.now());
    let lifetime = admin.lifetimes.iter().find(|(own, _)| *own == kind);
    let latest = lifetime.map(|(_, lifetime)| now + *lifetime);
    if let Some(expires_at) = expiry(new.expires_at, latest, now)? {
        draft = draft.with_expiry(expires_at);
    }
    let issued = admin.issuer.issue(kind, draft, &mut SysRng, now).await?;
    admin.minted(StatusCode::CREATED, &issued, now).await
}

/// Mints a new secret for a key. The previous secret works until the grace period ends.
pub(super) async fn rotate(
    State(admin): State<Arc<Admin>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Minted, Failure> {
    let id = key_id(&path.map_err(unreadable)?)?;
    let now = admin.clock.now();
    let issued = admin.issuer.rotate(id, admin.grace, &mut SysRng, now).await?;
    admin.minted(StatusCode::OK, &issued, now).await
}

/// Revokes a key with all its secrets.
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Failure> {
    let id = key_id(&path.map_err(unreadable)?)?;
    admin.issuer.revoke(id, admin.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A row with the plaintext key, which is shown only once. Caches must not store this response.
pub(super) struct Minted(StatusCode, Value);

impl IntoResponse for Minted {
    fn into_response(self) -> Response {
        (self.0, [(CACHE_CONTROL, "no-store")], Json(self.1)).into_response()
    }
}

impl Admin {
    async fn minted(
        &self,
        status: StatusCode,
        issued: &Issued,
        now: Timestamp,
    ) -> Result<Minted, Failure> {
        #[derive(Serialize)]
        struct Answer<'r> {
            #[serde(flatten)]
            row: Row<'r>,
            key: &'r str,
            #[serde(skip_serializing_if = "Option::is_none")]
            previous_valid_until: Option<Timestamp>,
        }

        let owner = self.issuer.registry().owner(issued.record.owner()).await?;
        let usage = self.usage.of(issued.record.id());
        let answer = Answer {
            row: Row::of(&issued.record, owner.as_deref(), usage, now),
            key: issued.key.expose(),
            previous_valid_until: issued.previous_valid_until,
        };
        Ok(Minted(status, json!(answer)))
    }
}

/// Parses an id. An invalid id gets the same 404 as an unknown one.
fn key_id(text: &str) -> Result<KeyId, Failure> {
    text.parse().map_err(|_| IssuerError::NotFound.into())
}

/// Returns the expiry of a new key: the one that was asked for, or else the latest one of its kind.
fn expiry(
    asked: Option<Timestamp>,
    latest: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Failure> {
    match (asked, latest) {
        (Some(asked), _) if asked <= now => {
            Err(Failure::unprocessable("expires_at: it is in the past"))
        }
        (Some(asked), Some(latest)) if asked > latest => {
            Err(Failure::unprocessable("expires_at: keys of this kind do not live that long"))
        }
        (asked, latest) => Ok(asked.or(latest)),
    }
}

fn unprocessable(member: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::unprocessable(format!("{member}: {error}"))
}
