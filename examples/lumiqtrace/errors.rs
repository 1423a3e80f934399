//! Every answer that is not a success: `{"error":"…"}`.

use std::{borrow::Cow, fmt};

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    http::{HeaderName, HeaderValue, StatusCode, header::WWW_AUTHENTICATE},
    response::{IntoResponse, Response},
};
use keyward::{IssuerError, StoreError};
use keyward_examples::{Challenge, LogNote};
use serde_json::json;

/// The most bytes that a request's body can have.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// A refusal: what the client is told, and what the log is told.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    message: Cow<'static, str>,
    header: Option<(HeaderName, &'static str)>,
    note: Option<Cow<'static, str>>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), header: None, note: None }
    }

    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Our own store, clock or generator failed. Nobody is let through on that account,
    /// and the client is told no more than that it may try again.
    pub(crate) fn unavailable(reason: &dyn fmt::Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable")
            .with_note(reason.to_string())
    }

    pub(crate) fn with_challenge(self, challenge: Challenge) -> Self {
        self.with_header(WWW_AUTHENTICATE, challenge.as_str())
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The precise reason, for the log alone.
    pub(crate) fn with_note(mut self, note: impl Into<Cow<'static, str>>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.message }))).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        if let Some(note) = self.note {
            response.extensions_mut().insert(LogNote(note));
        }
        response
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.note.as_ref().unwrap_or(&self.message))
    }
}

impl std::error::Error for Failure {}

/// Managing keys: the library knows the status, and its messages name no secret.
impl From<IssuerError<StoreError>> for Failure {
    fn from(error: IssuerError<StoreError>) -> Self {
        match StatusCode::from_u16(error.status()) {
            Ok(status) if status.is_client_error() => Self::new(status, error.to_string()),
            _ => Self::unavailable(&error),
        }
    }
}

/// The whole body, up to [`MAX_BODY`].
pub(crate) async fn read(body: Body) -> Result<Bytes, Failure> {
    to_bytes(body, MAX_BODY).await.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if too_large {
            Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("The body has more than {MAX_BODY} bytes"),
            )
        } else {
            Failure::bad_request("The body ended early")
        }
    })
}
