//! Bodies of requests, in bounded memory.

use axum::{
    body::{Body, Bytes, to_bytes},
    http::StatusCode,
};
use serde::de::DeserializeOwned;

use crate::Failure;

/// The most bytes that the JSON of an administrator can have.
const MAX_JSON: usize = 1 << 16;

/// The whole body.
///
/// # Errors
///
/// 413 if it has more than `max` bytes, 400 if it ended early.
pub async fn read_body(body: Body, max: usize) -> Result<Bytes, Failure> {
    to_bytes(body, max).await.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if too_large { too_large_body(max) } else { Failure::bad_request("The body ended early") }
    })
}

/// A short body of JSON under any type, as a `T`. Members that `T` does not have are not read.
///
/// # Errors
///
/// Those of [`read_body`], 400 if it is not JSON, and 422 with `expected` if it is no `T`.
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

/// The refusal of a body with more than `max` bytes.
pub fn too_large_body(max: usize) -> Failure {
    let message = format!("The body has more than {max} bytes");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}
