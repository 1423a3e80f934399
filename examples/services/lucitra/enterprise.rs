//! The endpoints of the Enterprise tier. In this example, their lists are empty.

use axum::{Json, http::Uri};
use serde_json::{Value, json};

use crate::organization::Organization;

/// The first segment of each path, under `/v1/`.
pub(crate) const SECTIONS: [&str; 5] =
    ["compliance", "audit", "provenance", "model-cards", "certifications"];

/// Returns an empty list.
pub(crate) async fn list(Organization(organization): Organization, uri: Uri) -> Json<Value> {
    let section = uri.path().split('/').nth(2);
    Json(json!({ "section": section, "organization": organization, "items": [] }))
}
