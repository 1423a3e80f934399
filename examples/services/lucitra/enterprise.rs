//! The endpoints of the Enterprise tier. What they are about is not this service's to show.

use axum::{Json, http::Uri};
use serde_json::{Value, json};

use crate::organization::Organization;

/// The first segments of their paths, under `/v1/`.
pub(crate) const SECTIONS: [&str; 5] =
    ["compliance", "audit", "provenance", "model-cards", "certifications"];

/// Nothing has been recorded yet.
pub(crate) async fn list(Organization(organization): Organization, uri: Uri) -> Json<Value> {
    let section = uri.path().split('/').nth(2);
    Json(json!({ "section": section, "organization": organization, "items": [] }))
}
