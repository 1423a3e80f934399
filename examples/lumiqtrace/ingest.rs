//! `POST /v1/ingest`: events, under an ingest key in `x-api-key`.

use std::{fmt, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, State},
    http::{
        HeaderMap, HeaderName, StatusCode,
        header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE},
        request::Parts,
    },
};
use keyward::{Access, Caller, KeyStore, VerifyError};
use keyward_examples::{Challenge, Conflict, single_value};
use serde_json::{Value, json};

use crate::{
    app::{App, INGEST},
    errors::{Failure, read},
    ndjson,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const CHALLENGE: Challenge = Challenge::api_key(r#"ApiKey realm="lumiqtrace", header="x-api-key""#);

/// Stores the events under the key's project. `caller` stands first, so that nothing of
/// the body is read before the key is verified.
pub(crate) async fn ingest(
    IngestCaller(caller): IngestCaller,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Failure> {
    check_media_type(&headers)?;
    let body = read(body).await?;
    let project = caller.owner_id();
    let events =
        ndjson::parse(&body, project).map_err(|error| Failure::bad_request(error.to_string()))?;
    let accepted = events.len();
    app.events.append(project, events);
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": accepted }))))
}

/// The key that a request was sent with, verified and entitled to ingest.
pub(crate) struct IngestCaller(Caller);

impl FromRequestParts<Arc<App>> for IngestCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let token = single_value(&parts.headers, &API_KEY)
            .map_err(|Conflict| conflict())?
            .ok_or_else(|| refused(&"no key was sent"))?;
        let presented = app.formats.parse(token).map_err(|error| refused(&error))?;
        let lookup = app.verifier.lookup(&presented);
        let found = app.issuer.registry().find(&lookup).await;
        let found = found.map_err(|error| Failure::unavailable(&error))?;
        let verified = app.verifier.verify(&lookup, found, app.clock.now()).map_err(unverified)?;
        let caller = verified.authorize(&Access::kinds([INGEST.kind()]));
        Ok(Self(caller.map_err(|error| refused(&error))?))
    }
}

/// The one answer to every key that is not good, whatever the reason.
fn refused(reason: &dyn fmt::Display) -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "Invalid API key")
        .with_challenge(CHALLENGE)
        .with_note(format!("key refused: {reason}"))
}

fn unverified(error: VerifyError) -> Failure {
    if error.status() == 401 { refused(&error) } else { Failure::unavailable(&error) }
}

fn conflict() -> Failure {
    Failure::bad_request("x-api-key was sent twice with different values").with_challenge(CHALLENGE)
}

/// A body without a stated type counts as NDJSON (RFC 9110 §8.3 lets a recipient assume
/// one); a body of another type, or compressed, is refused rather than guessed at.
fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    const NDJSON: &str = "application/x-ndjson";

    let is_ndjson = |value: &str| {
        let essence = value.split_once(';').map_or(value, |(essence, _)| essence);
        essence.trim().eq_ignore_ascii_case(NDJSON)
    };
    let types = headers.get_all(CONTENT_TYPE);
    if types.iter().any(|value| !value.to_str().is_ok_and(is_ndjson)) {
        let message = "Content-Type must be application/x-ndjson";
        return Err(
            Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).with_header(ACCEPT, NDJSON)
        );
    }
    let encodings = headers.get_all(CONTENT_ENCODING);
    if encodings.iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let message = "Content-Encoding is not supported";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
            .with_header(ACCEPT_ENCODING, "identity"));
    }
    Ok(())
}
