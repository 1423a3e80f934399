//! `/admin/owners/{owner}`.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
};
use keyward::{Clock as _, key::OwnerId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, unreadable};
use crate::{ENTERPRISE, Failure, HIGHER, STANDARD, read_json};

#[derive(Deserialize)]
struct NewTier {
    tier: String,
}

const EXPECTED: &str =
    r#"The body must be an object with "tier": "standard", "higher" or "enterprise""#;

/// Sets the tier of an owner. It applies to the next request of each of the owner's keys.
pub(super) async fn put(
    State(admin): State<Arc<Admin>>,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<Value>, Failure> {
    let Path(owner) = path.map_err(unreadable)?;
    let owner =
        OwnerId::new(&owner).map_err(|error| Failure::unprocessable(format!("owner: {error}")))?;
    let NewTier { tier } = read_json(body, EXPECTED).await?;
    let known = [STANDARD, HIGHER, ENTERPRISE].into_iter().find(|known| known.as_str() == tier);
    let tier = known.ok_or_else(|| Failure::unprocessable(EXPECTED))?;
    let now = admin.clock.now();
    admin.issuer.set_tier(&owner, Some(tier.clone()), now).await?;
    Ok(Json(json!({ "owner": owner, "tier": tier })))
}
