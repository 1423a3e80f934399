//! The stored events, and `GET /v1/events` for dashboard users.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use keyward::key::OwnerId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use keyward_services::Failure;

use crate::{app::App, sessions::Session};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Filter {
    project_id: String,
}

#[derive(Serialize)]
pub(crate) struct Events {
    events: Vec<Box<RawValue>>,
}

/// Lists the events of one project, oldest first.
pub(crate) async fn list(
    session: Session,
    State(app): State<Arc<App>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Events>, Failure> {
    let Query(filter) =
        filter.map_err(|_| Failure::bad_request("projectId must be given exactly once"))?;
    let project = session.project(&app, &filter.project_id)?;
    Ok(Json(Events { events: app.events.of(&project) }))
}

/// The events of all projects, in bounded memory: a project that exceeds its bound loses its oldest
/// events.
#[derive(Debug, Default)]
pub(crate) struct EventLog(Mutex<HashMap<OwnerId, ProjectLog>>);

#[derive(Debug, Default)]
struct ProjectLog {
    events: VecDeque<Box<RawValue>>,
    bytes: usize,
}

/// The maximum size of the JSON that is kept for one project, in bytes.
const MAX_PROJECT_BYTES: usize = 16 << 20;

impl EventLog {
    /// Appends `events`. A reader sees all of them or none.
    pub(crate) fn append(&self, project: &OwnerId, events: Vec<Box<RawValue>>) {
        let mut projects = self.lock();
        let log = projects.entry(project.clone()).or_default();
        for event in events {
            log.bytes += event.get().len();
            log.events.push_back(event);
        }
        while log.bytes > MAX_PROJECT_BYTES {
            let Some(oldest) = log.events.pop_front() else { break };
            log.bytes -= oldest.get().len();
        }
    }

    fn of(&self, project: &OwnerId) -> Vec<Box<RawValue>> {
        let projects = self.lock();
        projects.get(project).map(|log| log.events.iter().cloned().collect()).unwrap_or_default()
    }

    /// Locks the events. No code under the lock can leave them half changed, so the lock of a thread
    /// that panicked can be used.
    fn lock(&self) -> MutexGuard<'_, HashMap<OwnerId, ProjectLog>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
