//! One line on stderr for each request, never with anything that a client can choose.

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
use keyward::RefusalReason;

/// What a handler has to say in the log about its answer, such as why a key was refused.
/// It travels in the response's extensions and is not sent.
#[derive(Clone, Debug)]
pub struct LogNote(pub Cow<'static, str>);

/// Middleware that logs method, route and status.
///
/// The route is logged as it was declared and the method only if it is a standard one:
/// both could hold a key that somebody pasted in the wrong place.
pub async fn log_requests(request: Request, next: Next) -> Response {
    let method = standard_name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("(no such route)", MatchedPath::as_str);
    let status = response.status().as_u16();
    let extensions = response.extensions();
    let line = match (extensions.get::<LogNote>(), extensions.get::<RefusalReason>()) {
        (Some(LogNote(note)), _) => format!("{method} {route} {status}: {note}\n"),
        // A gate's own, which names no secret.
        (None, Some(reason)) => format!("{method} {route} {status}: key refused: {reason}\n"),
        (None, None) => format!("{method} {route} {status}\n"),
    };
    // Unlike `eprintln!` this does not panic when nobody reads stderr any more.
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
