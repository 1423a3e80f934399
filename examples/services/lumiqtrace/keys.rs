//! `/v1/projects/{id}/keys`: a session manages the keys of the projects of its organization.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderName, StatusCode, header::CACHE_CONTROL},
};
use keyward::{
    KeyDraft, SysRng, Timestamp,
    issue::{Issued, IssuerError},
    key::{KeyHint, KeyId, KeyName, KeyRecord, KeyState, OwnerId},
    store::{PageRequest, StoredKey},
};

use keyward_services::{Failure, key_list, read_body};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    app::{App, INGEST, MAX_BODY},
    sessions::Session,
};

/// Lists the keys in use, oldest first. A revoked key is deleted for users: it is not listed.
pub(crate) async fn list(
    session: Session,
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let project = session.project(&app, &path.map_err(unreadable)?)?;
    let now = app.clock.now();
    let issuer = app.issuer.within(project.clone());
    let (mut rows, mut damaged) = (Vec::new(), Vec::new());
    let mut page = PageRequest::first(PageRequest::MAX_SIZE);
    loop {
        let listing = issuer.list(&project, page).await?;
        let records = listing.keys.iter().map(StoredKey::record);
        let listed = records.filter(|record| !is_revoked(record));
        rows.extend(listed.map(|record| json!(Row::of(record, now))));
        damaged.extend(listing.damaged);
        match listing.next {
            Some(cursor) => page = page.after(cursor),
            None => return Ok(Json(key_list(json!(rows), &damaged))),
        }
    }
}

#[derive(Deserialize)]
struct NewKey {
    name: String,
    /// The key is refused from then on (RFC 3339).
    expires_at: Option<Timestamp>,
}

/// Mints a key for the project in the path. Other members of the body are ignored.
pub(crate) async fn create(
    session: Session,
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Minted, Failure> {
    let project = session.project(&app, &path.map_err(unreadable)?)?;
    let now = app.clock.now();
    let draft = draft(project.clone(), &read_body(body, MAX_BODY).await?, now)?;
    let issuer = app.issuer.within(project);
    let issued = issuer.issue(INGEST.kind(), draft, &mut SysRng, now).await?;
    Ok(minted(StatusCode::CREATED, &issued, now))
}

/// Mints a new secret for a key. If three earlier secrets are in their grace period, the response is
/// 409, because a grace period is never shortened.
pub(crate) async fn rotate(
    session: Session,
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Minted, Failure> {
    let Path((project, id)) = path.map_err(unreadable)?;
    let project = session.project(&app, &project)?;
    let now = app.clock.now();
    let issuer = app.issuer.within(project);
    let issued = issuer.rotate(key_id(&id)?, app.grace, &mut SysRng, now).await?;
    Ok(minted(StatusCode::OK, &issued, now))
}

/// Revokes a key with all its secrets. For a revoked key, the response is 204 too.
pub(crate) async fn revoke(
    session: Session,
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Failure> {
    let Path((project, id)) = path.map_err(unreadable)?;
    let project = session.project(&app, &project)?;
    app.issuer.within(project).revoke(key_id(&id)?, app.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A key in a listing.
#[derive(Serialize)]
struct Row<'r> {
    id: KeyId,
    name: &'r KeyName,
    project_id: &'r OwnerId,
    prefix: Option<&'r KeyHint>,
    created_at: Timestamp,
    rotation_due: bool,
}

impl<'r> Row<'r> {
    fn of(record: &'r KeyRecord, now: Timestamp) -> Self {
        Self {
            id: record.id(),
            name: record.name(),
            project_id: record.owner(),
            prefix: record.hint(),
            created_at: record.created_at(),
            rotation_due: record.is_rotation_due(now),
        }
    }
}

/// A row with the plaintext key, which is shown only once. Caches must not store this response.
pub(crate) type Minted = (StatusCode, [(HeaderName, &'static str); 1], Json<Value>);

fn minted(status: StatusCode, issued: &Issued, now: Timestamp) -> Minted {
    #[derive(Serialize)]
    struct Answer<'r> {
        #[serde(flatten)]
        row: Row<'r>,
        key: &'r str,
        #[serde(skip_serializing_if = "Option::is_none")]
        previous_valid_until: Option<Timestamp>,
    }

    let row = Row::of(&issued.record, now);
    let previous_valid_until = issued.previous_valid_until;
    let answer = Answer { row, key: issued.key.expose(), previous_valid_until };
    (status, [(CACHE_CONTROL, "no-store")], Json(json!(answer)))
}

fn is_revoked(record: &KeyRecord) -> bool {
    matches!(record.state(), KeyState::Revoked { .. })
}

/// Parses an id. An invalid id gets the same 404 as an unknown one.
fn key_id(text: &str) -> Result<KeyId, Failure> {
    text.parse().map_err(|_| IssuerError::NotFound.into())
}

fn draft(project: OwnerId, body: &[u8], now: Timestamp) -> Result<KeyDraft, Failure> {
    let NewKey { name, expires_at } = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            let expected =
                r#"The body must be an object with a string "name", and maybe "expires_at""#;
            Failure::unprocessable(expected)
        } else {
            Failure::bad_request("The body is not JSON")
        }
    })?;
    let name = KeyName::new(&name).map_err(|error| Failure::unprocessable(error.to_string()))?;
    let draft = KeyDraft::new(project, name);
    match expires_at {
        Some(expires_at) if expires_at <= now => {
            Err(Failure::unprocessable("expires_at: it is in the past"))
        }
        Some(expires_at) => Ok(draft.with_expiry(expires_at)),
        None => Ok(draft),
    }
}

fn unreadable(_: PathRejection) -> Failure {
    Failure::bad_request("The path is not UTF-8")
}
