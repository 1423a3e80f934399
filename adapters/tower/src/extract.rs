//! axum's extractors.

use std::{error::Error, fmt, ops::Deref};

use ::axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts, OriginalUri},
    http::{Extensions, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use keyward::{Gate, request::PublicReason};

use crate::{ForeignCredential, head::redacted, trace};

/// Who sent the request: a [`keyward::verify::KeyCaller`] as an extractor, since axum's trait can only be
/// implemented for a type of this crate. In a request's extensions stands the `keyward::verify::KeyCaller`,
/// and never this type.
///
/// ```
/// use keyward_tower::Caller;
///
/// async fn whoami(caller: Caller) -> String {
///     caller.owner_id().to_string()
/// }
///
/// async fn anyone(caller: Option<Caller>) -> String {
///     caller.map_or_else(|| "nobody is proved yet".to_owned(), |Caller(key)| key.name().to_string())
/// }
/// ```
///
/// `Option<Caller>` is `None` where a request was [passed on](crate::ForeignCredential) without a key: then
/// nothing is proved, and whoever takes it must check the credential for itself.
#[derive(Clone, Debug)]
pub struct Caller(pub keyward::verify::KeyCaller);

impl Deref for Caller {
    type Target = keyward::verify::KeyCaller;

    fn deref(&self) -> &keyward::verify::KeyCaller {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = CallerRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, CallerRejection> {
        match found(&parts.extensions) {
            Ok(caller) => Ok(caller),
            Err(Some(passed)) => Err(CallerRejection::Unauthenticated(passed.clone())),
            Err(None) => Err(CallerRejection::no_layer()),
        }
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = CallerRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, CallerRejection> {
        match found(&parts.extensions) {
            Ok(caller) => Ok(Some(caller)),
            Err(Some(_)) => Ok(None),
            Err(None) => Err(CallerRejection::no_layer()),
        }
    }
}

/// Why a handler did not get a [`Caller`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallerRejection {
    /// No [`ApiKeyLayer`](crate::ApiKeyLayer) stands around this route: a mistake in the
    /// service, answered with 500. Nobody is let through for it, and `Option<Caller>` does not
    /// take it for a request without a key.
    NoLayer,
    /// The request was passed on without a key, and this handler wants one. Answered with 401
    /// in the words of the gate.
    Unauthenticated(ForeignCredential),
}

impl CallerRejection {
    /// The service is at fault, so it is told, and not only the client.
    fn no_layer() -> Self {
        trace::misconfigured(&Self::NoLayer);
        Self::NoLayer
    }
}

impl fmt::Display for CallerRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLayer => "no layer for API keys stands around this route",
            Self::Unauthenticated(_) => "the request was passed on without a key",
        })
    }
}

impl Error for CallerRejection {}

impl IntoResponse for CallerRejection {
    fn into_response(self) -> Response {
        match self {
            Self::NoLayer => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Self::Unauthenticated(passed) => {
                passed.refuse(PublicReason::InvalidKey).map(Body::from).into_response()
            }
        }
    }
}

/// What a layer left: a caller, or that there is none, or nothing at all.
fn found(extensions: &Extensions) -> Result<Caller, Option<&ForeignCredential>> {
    match extensions.get::<keyward::verify::KeyCaller>() {
        Some(caller) => Ok(Caller(caller.clone())),
        None => Err(extensions.get()),
    }
}

/// Takes the keys out of the copy of the target that axum keeps beside the request.
pub(crate) fn redact_original_uri(extensions: &mut Extensions, gate: &Gate) {
    if let Some(OriginalUri(uri)) = extensions.get_mut()
        && let Some(redacted) = redacted(uri, gate)
    {
        *uri = redacted;
    }
}
