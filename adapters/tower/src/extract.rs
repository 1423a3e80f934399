//! axum's extractors.

use std::{error::Error, fmt};

use ::axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{Extensions, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use keyward::request::PublicReason;

use crate::{
    caller::Caller,
    foreign::{ForeignCredential, unproved},
    probe::ProbeResult,
    trace,
};

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = CallerRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, CallerRejection> {
        match extract(&parts.extensions) {
            Ok(caller) => Ok(caller),
            Err(Some(foreign)) => Err(CallerRejection::Unauthenticated(foreign.clone())),
            Err(None) => Err(CallerRejection::no_layer()),
        }
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = CallerRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, CallerRejection> {
        match extract(&parts.extensions) {
            Ok(caller) => Ok(Some(caller)),
            Err(Some(_)) => Ok(None),
            Err(None) => Err(CallerRejection::no_layer()),
        }
    }
}

/// The rejection of the extractors `Caller` and `Option<Caller>`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallerRejection {
    /// The route has no [`ApiKeyLayer`](crate::ApiKeyLayer). The service is at fault, and the
    /// response is 500. `Option<Caller>` does not mistake it for a request without a key.
    /// [`check_layers`](crate::check_layers) finds it before the service starts.
    NoLayer,
    /// The request went on without a key, and this handler requires one. The response is
    /// a 401 in the style of the gate.
    Unauthenticated(ForeignCredential),
}

impl CallerRejection {
    /// Reports the fault to the service too, and not only to the client.
    fn no_layer() -> Self {
        trace::misconfigured(&Self::NoLayer);
        Self::NoLayer
    }
}

impl fmt::Display for CallerRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLayer => "the route has no layer for API keys; add that of ApiKeys::require",
            Self::Unauthenticated(_) => "the request went on without a key",
        })
    }
}

impl Error for CallerRejection {}

impl IntoResponse for CallerRejection {
    fn into_response(self) -> Response {
        match self {
            Self::NoLayer => {
                let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
                response.extensions_mut().insert(ProbeResult::NoLayer);
                response
            }
            Self::Unauthenticated(foreign) => {
                foreign.refuse(PublicReason::InvalidKey).map(Body::from).into_response()
            }
        }
    }
}

/// Returns the caller; else the mark of a request without one, if a layer left it.
fn extract(extensions: &Extensions) -> Result<Caller, Option<&ForeignCredential>> {
    extensions.get::<Caller>().cloned().ok_or_else(|| unproved(extensions))
}
