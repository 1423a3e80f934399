//! `POST /api/sdk/replay`: receives the replay of a session on a web page.

use axum::{
    Json,
    body::Body,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING},
    },
};
use keyward_services::{Failure, read_body, too_large_body};
use keyward_tower::Caller;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::gzip::{self, GzipError};

/// The maximum size of a replay in bytes, compressed or not.
const MAX_REPLAY: usize = 4 << 20;

/// Accepts a replay for the organization of the key, whatever the body contains. It ignores
/// `Content-Type`: `sendBeacon` sends `text/plain`, for which a browser sends no preflight.
pub(crate) async fn replay(
    _caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let encoding = Encoding::of(&headers)?;
    let body = read_body(body, MAX_REPLAY).await?;
    if encoding == Encoding::Gzip || gzip::looks_like(&body) {
        check_json(&gzip::inflate(&body, MAX_REPLAY).map_err(unreadable)?)?;
    } else {
        check_json(&body)?;
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": true }))))
}

/// The encoding of a body, according to the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut lines = headers.get_all(CONTENT_ENCODING).iter();
        let (first, None) = (lines.next(), lines.next()) else { return Err(unsupported()) };
        let Some(value) = first else { return Ok(Self::Identity) };
        // RFC 9110 §8.4.1: names of codings are case-insensitive, and x-gzip is gzip.
        match value.to_str().unwrap_or_default().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "identity" => Ok(Self::Identity),
            _ => Err(unsupported()),
        }
    }
}

fn check_json(body: &[u8]) -> Result<(), Failure> {
    // JSON is UTF-8 (RFC 8259 §8.1). serde_json does not check this in values that it ignores.
    let json = str::from_utf8(body).ok();
    match json.map(serde_json::from_str::<IgnoredAny>) {
        Some(Ok(IgnoredAny)) => Ok(()),
        _ => Err(Failure::bad_request("The body is not JSON")),
    }
}

fn unreadable(error: GzipError) -> Failure {
    match error {
        GzipError::TooLarge => too_large_body(MAX_REPLAY),
        GzipError::Broken => Failure::bad_request("The body is not gzip"),
    }
}

fn unsupported() -> Failure {
    let message = "Content-Encoding must be gzip";
    Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).with_header(ACCEPT_ENCODING, "gzip")
}
