//! For whom a request is answered.

use axum::{extract::FromRequestParts, http::request::Parts};
use keyward::key::OwnerId;
use keyward_tower::{Caller, CallerRejection};

/// The organization that a request is answered for: of its key, or of its session. Nothing else
/// that stands in the request has a say.
#[derive(Clone, Debug)]
pub(crate) struct Organization(pub(crate) OwnerId);

impl<S: Send + Sync> FromRequestParts<S> for Organization {
    type Rejection = CallerRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, CallerRejection> {
        // Only `sessions.rs` puts one there, and only where there is no caller.
        if let Some(organization) = parts.extensions.get::<Self>() {
            return Ok(organization.clone());
        }
        let caller = <Caller as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(Self(caller.owner_id().clone()))
    }
}
