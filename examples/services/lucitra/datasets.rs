//! `GET /v1/datasets`.

use std::time::Duration;

use axum::{
    Json,
    extract::{Query, rejection::QueryRejection},
};
use keyward_services::Failure;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::organization::Organization;

#[derive(Deserialize)]
pub(crate) struct Delay {
    #[serde(default)]
    delay_ms: u64,
}

/// The longest delay that a client can request, in milliseconds.
const LONGEST: u64 = 60_000;

/// Returns the datasets of the organization after the requested delay.
pub(crate) async fn list(
    Organization(organization): Organization,
    delay: Result<Query<Delay>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let Query(Delay { delay_ms }) = delay.map_err(|_| unreadable())?;
    if delay_ms > LONGEST {
        return Err(unreadable());
    }
    if delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    let datasets = ["driving-scenes", "warehouse-aisles"].map(|name| {
        json!({ "id": format!("{organization}/{name}"), "name": name, "organization": organization })
    });
    Ok(Json(json!({ "datasets": datasets })))
}

fn unreadable() -> Failure {
    Failure::bad_request(format!("delay_ms must be a whole number from 0 to {LONGEST}"))
}
