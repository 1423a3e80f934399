//! `/api/v1/issues`: the issues that were found on the pages of an organization.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use keyward::key::OwnerId;
use keyward_services::{Failure, read_json};
use keyward_tower::Caller;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::App;

/// The maximum length of a status, in characters.
const MAX_STATUS: usize = 64;

/// Lists the issues of the token's organization, in a fixed order. It reads nothing else of the
/// request.
pub(crate) async fn list(caller: Caller, State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "issues": app.issues.of(caller.owner_id()) }))
}

#[derive(Deserialize)]
struct Change {
    status: String,
}

impl Change {
    const EXPECTED: &'static str =
        r#"The body must be an object with a "status" of 1 to 64 characters"#;
}

/// Changes an issue of the token's organization. Issues of other organizations get 404.
pub(crate) async fn change(
    caller: Caller,
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<Issue>, Failure> {
    let Path(id) = path.map_err(|_| Failure::bad_request("The path is not UTF-8"))?;
    let Change { status } = read_json(body, Change::EXPECTED).await?;
    let length = status.chars().count();
    if !(1..=MAX_STATUS).contains(&length) || status.chars().any(char::is_control) {
        return Err(Failure::unprocessable(Change::EXPECTED));
    }
    let changed = app.issues.set_status(caller.owner_id(), &id, status);
    changed.map(Json).ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "No such issue"))
}

/// One issue.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Issue {
    id: String,
    status: String,
    title: &'static str,
    organization: OwnerId,
}

/// The issues of all organizations, in a fixed order.
#[derive(Debug)]
pub(crate) struct Issues(Mutex<Vec<Issue>>);

impl Issues {
    /// Makes a few issues for each organization. Ids are unique in all organizations.
    pub(crate) fn seeded(organizations: &[OwnerId]) -> Self {
        const TITLES: [&str; 2] = ["Checkout button does nothing", "Rage clicks on the logo"];
        let all = organizations.iter().flat_map(|owner| TITLES.map(|title| (owner, title)));
        let issues = all.enumerate().map(|(at, (owner, title))| Issue {
            id: format!("issue_{}", at + 1),
            status: "open".to_owned(),
            title,
            organization: owner.clone(),
        });
        Self(Mutex::new(issues.collect()))
    }

    fn of(&self, owner: &OwnerId) -> Vec<Issue> {
        self.lock().iter().filter(|issue| issue.organization == *owner).cloned().collect()
    }

    fn set_status(&self, owner: &OwnerId, id: &str, status: String) -> Option<Issue> {
        let mut issues = self.lock();
        let issue =
            issues.iter_mut().find(|issue| issue.id == id && issue.organization == *owner)?;
        issue.status = status;
        Some(issue.clone())
    }

    /// Locks the issues. A change is one assignment, so a panic in another thread cannot leave one
    /// half done.
    fn lock(&self) -> MutexGuard<'_, Vec<Issue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
