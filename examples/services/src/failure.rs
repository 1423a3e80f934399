//! Error responses of the handlers: `{"error":"…"}`.

use std::{borrow::Cow, error::Error, fmt};

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use keyward::{issue::IssuerError, store::StoreError};
use serde_json::json;

use crate::LogNote;

/// An error response of a handler, with a message for the client and a note for the log. The gate
/// writes the responses that refuse keys.
#[derive(Clone, Debug)]
pub struct Failure {
    status: StatusCode,
    message: Cow<'static, str>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
    note: Option<Cow<'static, str>>,
}

impl Failure {
    /// Builds a failure from a status and a message for the client.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), header: None, note: None }
    }

    /// 400: the request cannot be read.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 422: the request is well-formed, but cannot be carried out.
    pub fn unprocessable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// 503: the store, the clock or the random generator of this service failed. The request is
    /// refused, and the response does not contain the reason. The log has it with all of its sources,
    /// because the text of a store's error is only its kind.
    pub fn unavailable(reason: &(dyn Error + 'static)) -> Self {
        let sources = std::iter::successors(reason.source(), |error: &&(dyn Error + 'static)| {
            (*error).source()
        });
        let mut note = reason.to_string();
        // An error could be its own source.
        for error in sources.take(16) {
            let text = error.to_string();
            if !note.ends_with(&text) {
                note = format!("{note}: {text}");
            }
        }
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable").with_note(note)
    }

    /// 404, for the fallback of a router.
    pub fn no_such_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "No such route")
    }

    /// 405, for the fallback of a router's methods.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
    }

    /// 429: too many attempts failed. Nothing was checked.
    pub fn too_many_attempts(retry_after_secs: u64) -> Self {
        let mut failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many failed attempts");
        failure.header = Some(Box::new((RETRY_AFTER, HeaderValue::from(retry_after_secs))));
        failure
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some(Box::new((name, HeaderValue::from_static(value))));
        self
    }

    /// Adds a precise reason, which is written only to the log.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<Cow<'static, str>>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.message }))).into_response();
        if let Some((name, value)) = self.header.as_deref().cloned() {
            response.headers_mut().insert(name, value);
        }
        if let Some(note) = self.note.clone() {
            response.extensions_mut().insert(LogNote(note));
        }
        // `nested_errors` reads it and writes the body in another form.
        response.extensions_mut().insert(self);
        response
    }
}

/// Rewrites the body of a [`Failure`] as `{"error":{"code":"…","message":"…"}}`, for
/// `axum::middleware::map_response` around the routes of a service whose gate has
/// [nested](keyward::ErrorBodies::nested) bodies. Other responses stay unchanged.
pub async fn nested_errors(response: Response) -> Response {
    let Some(failure) = response.extensions().get::<Failure>().cloned() else { return response };
    let code = match failure.status {
        StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE".to_owned(),
        status => {
            let name = status.canonical_reason().unwrap_or("error");
            name.to_ascii_uppercase().replace(' ', "_")
        }
    };
    let body = Json(json!({ "error": { "code": code, "message": failure.message } }));
    let (mut head, _flat) = response.into_parts();
    let (own, body) = body.into_response().into_parts();
    head.headers.remove(axum::http::header::CONTENT_LENGTH);
    head.headers.extend(own.headers);
    Response::from_parts(head, body)
}

/// An error in the management of keys: keyward gives the status, and its messages contain no secret.
impl From<IssuerError<StoreError>> for Failure {
    fn from(error: IssuerError<StoreError>) -> Self {
        match StatusCode::from_u16(error.status()) {
            Ok(status) if status.is_client_error() => Self::new(status, error.to_string()),
            _ => Self::unavailable(&error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::unavailable(&error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.note.as_ref().unwrap_or(&self.message))
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use keyward::issue::IssuerError;

    use super::*;

    #[test]
    fn the_log_has_the_cause_of_a_failure() {
        let cause = std::io::Error::other("no such table: keyward_keys");
        let failure = Failure::from(IssuerError::Store(StoreError::new(cause)));
        assert!(failure.to_string().ends_with("no such table: keyward_keys"), "{failure}");
        assert!(!failure.message.contains("table"));
    }
}
