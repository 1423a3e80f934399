//! Request bodies, in bounded memory.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, to_bytes},
    http::StatusCode,
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::Failure;

/// The time for a short body.
const SHORT_BODY: Duration = Duration::from_secs(10);

/// The maximum size of a JSON body, in bytes.
const MAX_JSON: usize = 1 << 16;

/// Reads the whole body.
///
/// # Errors
///
/// 413 if the body has more than `max` bytes, 400 if it ended early.
pub async fn read_body(body: Body, max: usize) -> Result<Bytes, Failure> {
    to_bytes(body, max).await.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if too_large { too_large_body(max) } else { Failure::bad_request("The body ended early") }
    })
}

/// Reads the whole body of a request that nobody has authenticated yet, such as a login: a few bytes,
/// within a few seconds.
///
/// # Errors
///
/// Those of [`read_body`], and 408 if the body takes too long.
pub async fn read_short_body(body: Body, max: usize) -> Result<Bytes, Failure> {
    let late = || Failure::new(StatusCode::REQUEST_TIMEOUT, "The body took too long");
    timeout(SHORT_BODY, read_body(body, max)).await.map_err(|_| late())?
}

/// Reads a short JSON body as a `T`, whatever its `Content-Type`. Members that `T` does not have are
/// ignored.
///
/// # Errors
///
/// Those of [`read_body`], 400 if the body is not JSON, and 422 with the message `expected` if it is
/// not a `T`.
pub async fn read_json<T: DeserializeOwned>(
    body: Body,
    expected: &'static str,
) -> Result<T, Failure> {
    let body = read_body(body, MAX_JSON).await?;
    serde_json::from_slice(&body).map_err(|error| {
        if error.is_data() {
            Failure::unprocessable(expected)
        } else {
            Failure::bad_request("The body is not JSON")
        }
    })
}

/// Returns the refusal of a body with more than `max` bytes.
pub fn too_large_body(max: usize) -> Failure {
    let message = format!("The body has more than {max} bytes");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}
