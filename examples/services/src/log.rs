//! One line on stderr for each request. It contains nothing that a client can choose.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::Response,
};
use keyward::request::RefusalReason;

use crate::request_ids::X_REQUEST_ID;

/// A note of a handler for the log about its response, such as the reason for a refusal. It is in
/// the extensions of the response and is not sent.
#[derive(Clone, Debug)]
pub struct LogNote(pub Cow<'static, str>);

/// Middleware that logs the method, the route, the status and, if there is one, the request id.
///
/// It logs the pattern of the route and not the path, and the method only if it is a standard one:
/// a path or a method could contain a key that somebody pasted in the wrong place.
pub async fn log_requests(request: Request, next: Next) -> Response {
    let method = standard_name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("(no such route)", MatchedPath::as_str);
    let status = response.status().as_u16();
    let id = response.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    let id = id.map(|id| format!(" {id}")).unwrap_or_default();
    let extensions = response.extensions();
    let why = match (extensions.get::<LogNote>(), extensions.get::<RefusalReason>()) {
        (Some(LogNote(note)), _) => format!(": {note}"),
        // The reason of a gate contains no secret.
        (None, Some(reason)) => format!(": key refused: {reason}"),
        (None, None) => String::new(),
    };
    let line = format!("{method} {route} {status}{id}{why}\n");
    // Unlike `eprintln!`, this does not panic if stderr is closed.
    let _unread = io::stderr().write_all(line.as_bytes());
    response
}

const fn standard_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "(other method)",
    }
}
