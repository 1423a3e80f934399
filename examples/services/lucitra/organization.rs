//! The organization of a request.

use axum::{extract::FromRequestParts, http::request::Parts};
use keyward::key::OwnerId;
use keyward_tower::{Caller, CallerRejection};

/// The organization of a request. It comes from the key or the session, and from nothing else in the
/// request.
#[derive(Clone, Debug)]
pub(crate) struct Organization(pub(crate) OwnerId);

impl<S: Send + Sync> FromRequestParts<S> for Organization {
    type Rejection = CallerRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, CallerRejection> {
        // Only `sessions.rs` adds this extension, and only if there is no caller.
        if let Some(organization) = parts.extensions.get::<Self>() {
            return Ok(organization.clone());
        }
        let caller = <Caller as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(Self(caller.owner_id().clone()))
    }
}
