//! `POST /v1/ingest`: receives events, with an ingest key in `x-api-key`.

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE},
    },
};
use keyward::{
    Challenge, Clock, CredentialSource, ErrorBodies, Gate, Issuer, store::DynKeyRegistry,
};
use keyward_services::{FAILURES, Failure, Peer, attempts_limiter, read_body};
use keyward_tower::{ApiKeys, Caller};
use serde_json::{Value, json};

use crate::{
    app::{App, INGEST, MAX_BODY},
    ndjson,
};

/// The deadline of the store for a lookup.
const PATIENCE: Duration = Duration::from_secs(2);

/// Builds the gate: the header of the key, the challenge of a 401, and one response for every key that
/// is not good, whatever the reason.
pub(crate) fn keys(
    issuer: &Issuer<Arc<dyn DynKeyRegistry>>,
    clock: Arc<dyn Clock>,
) -> Result<ApiKeys<Arc<dyn DynKeyRegistry>>, Box<dyn Error>> {
    let gate = Gate::builder(INGEST, issuer.verifier(), CredentialSource::header("x-api-key"))
        .with_challenge(Challenge::api_key("lumiqtrace", "x-api-key")?)
        .with_errors(ErrorBodies::flat().with_unauthenticated("Invalid API key"))
        .limit_failed_attempts(attempts_limiter()?, FAILURES)
        .build()?;
    let store = Arc::clone(issuer.registry());
    let keys = ApiKeys::new(gate, store, clock).with_client_address(Peer::address);
    Ok(keys.with_deadline(PATIENCE, tokio::time::sleep))
}

/// Stores the events in the project of the key. The layer has verified the key before, so the body of
/// a refused request is never read.
pub(crate) async fn ingest(
    caller: Caller,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Failure> {
    check_media_type(&headers)?;
    let body = read_body(body, MAX_BODY).await?;
    let project = caller.owner_id();
    let events =
        ndjson::parse(&body, project).map_err(|error| Failure::bad_request(error.to_string()))?;
    let accepted = events.len();
    app.events.append(project, events);
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": accepted }))))
}

/// Checks the type of the body. A body without a `Content-Type` counts as NDJSON (RFC 9110 §8.3
/// allows this). A body of another type and a compressed body are refused.
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
