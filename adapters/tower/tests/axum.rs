//! The layer on axum routes, over a real socket.

mod support;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{OriginalUri, Path, Query, Request, State},
    http::{StatusCode, Uri},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use keyward::{Access, Limiter, Quota, key::OwnerId, limit::LimitKey, request::PublicReason};
use keyward_tower::{
    Caller, CallerRejection, ForeignCredential, HttpHead, Preflights, decoded_segments,
    path_parameter,
};
use support::{client::Reply, *};
use tokio::net::TcpListener;

/// Serves on a free port.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn send(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
    support::client::send(address, method, target, headers).await
}

fn bearer(key: &Key) -> String {
    format!("Bearer {}", key.token)
}

async fn whoami(caller: Caller) -> String {
    format!("{} by {}", caller.owner_id(), caller.key_id())
}

async fn perhaps(caller: Option<Caller>) -> String {
    caller.map_or_else(|| "nobody".to_owned(), |Caller(caller)| caller.owner_id().to_string())
}

#[tokio::test]
async fn each_route_enforces_its_own_access() {
    let world = World::new();
    let (keys, reader, writer) = (world.keys(), world.key(), world.writing_key());
    let read = keys.require(reading(3)).unwrap();
    let write = keys.require(limited(Access::scope(WRITE), 100)).unwrap();
    let enterprise =
        keys.require(limited(Access::any_key().with_tiers([ENTERPRISE]), 100)).unwrap();
    let router = Router::new()
        .route("/data", get(whoami).route_layer(read))
        .route("/data", post(whoami).route_layer(write))
        .merge(Router::new().route("/audit", get(whoami)).route_layer(enterprise))
        .route("/open", get(async || "open"));
    let address = serve(router).await;
    let (reader_line, writer_line) = (bearer(&reader), bearer(&writer));
    let reader_line = [("authorization", reader_line.as_str())];
    let writer_line = [("authorization", writer_line.as_str())];

    let reply = send(address, "GET", "/data", &[]).await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("www-authenticate"), [r#"Bearer scope="read:data""#]);
    let reply = send(address, "POST", "/data", &[]).await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("www-authenticate"), [r#"Bearer scope="write:data""#]);
    let reply = send(address, "POST", "/data", &writer_line).await;
    assert_eq!((reply.status, reply.text()), (200, format!("acme by {}", writer.id)));
    assert_eq!(reply.header("x-ratelimit-remaining"), ["99"]);
    let reply = send(address, "POST", "/data", &reader_line).await;
    assert_eq!(reply.status, 403);
    assert_eq!(
        reply.text(),
        r#"{"error":{"code":"FORBIDDEN","message":"Missing required scope: write:data"}}"#
    );
    assert_eq!(reply.header("x-ratelimit-limit"), ["100"]);

    assert_eq!(send(address, "GET", "/audit", &reader_line).await.status, 403);
    world.make_enterprise();
    assert_eq!(send(address, "GET", "/audit", &reader_line).await.status, 200);
    assert_eq!(send(address, "GET", "/open", &[]).await.status, 200);
    assert_eq!(send(address, "GET", "/nowhere", &[]).await.status, 404);
}

#[tokio::test]
async fn rate_limit_headers_and_refusals_are_sent_over_http() {
    let world = World::new();
    let layer = world.keys().require(reading(2)).unwrap();
    let address = serve(Router::new().route("/data", get(whoami)).route_layer(layer)).await;
    let line = bearer(&world.key());
    for (status, remaining) in [(200, "1"), (200, "0"), (429, "0")] {
        let reply = send(address, "GET", "/data", &[("Authorization", &line)]).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("x-ratelimit-remaining"), [remaining]);
        let retry: &[&str] = if status == 429 { &["60"] } else { &[] };
        assert_eq!(reply.header("retry-after"), retry);
    }
    // A HEAD response has no body but the length of the body.
    let reply = send(address, "HEAD", "/data", &[("Authorization", &line)]).await;
    assert_eq!((reply.status, reply.text().as_str()), (429, ""));
    assert_eq!(reply.header("content-type"), ["application/json"]);
}

#[tokio::test]
async fn a_handler_without_a_layer_returns_500() {
    let router = Router::new().route("/one", get(whoami)).route("/two", get(perhaps));
    let address = serve(router).await;
    let line = bearer(&World::new().key());
    for path in ["/one", "/two"] {
        let reply = send(address, "GET", path, &[("authorization", &line)]).await;
        assert_eq!((reply.status, reply.text().as_str()), (500, ""), "{path}");
    }
    assert!(matches!(
        CallerRejection::NoLayer.into_response().status(),
        StatusCode::INTERNAL_SERVER_ERROR
    ));
}

/// The host's own check of credentials that the gate does not know.
async fn sessions(request: Request, next: Next) -> Response {
    let session = request
        .headers()
        .get("authorization")
        .is_some_and(|value| value == "Bearer jwt.of.session");
    match request.extensions().get::<ForeignCredential>() {
        Some(passed) if !session => passed.refuse(PublicReason::InvalidKey).map(Body::from),
        _ => next.run(request).await,
    }
}

#[tokio::test]
async fn sessions_and_keys_work_on_the_same_routes() {
    let world = World::with_gate(|gate| gate.with_limiter(limiter()).allow_foreign());
    let layer = world.keys().require(reading(100)).unwrap();
    let checked = Router::new()
        .route("/data", get(perhaps))
        .route("/keys-only", get(whoami))
        .route_layer(from_fn(sessions))
        .route_layer(layer.clone());
    let unchecked = Router::new().route("/unchecked", get(whoami)).route_layer(layer);
    let address = serve(checked.merge(unchecked)).await;
    let key = bearer(&world.key());
    let stranger = bearer(&World::new().key());
    let body = r#"{"error":{"code":"UNAUTHORIZED","message":"Missing or invalid API key."}}"#;
    for (path, line, status, text) in [
        ("/data", key.as_str(), 200, "acme"),
        ("/data", "Bearer jwt.of.session", 200, "nobody"),
        ("/data", "Bearer jwt.of.somebody", 401, body),
        ("/data", &stranger, 401, body),
        ("/keys-only", "Bearer jwt.of.session", 401, body),
        // If the host forgets its check, a handler that extracts a caller still gets none.
        ("/unchecked", "Bearer jwt.of.session", 401, body),
    ] {
        let reply = send(address, "GET", path, &[("authorization", line)]).await;
        assert_eq!((reply.status, reply.text().as_str()), (status, text), "{path} {line}");
        let challenge: &[&str] = if status == 401 { &[r#"Bearer scope="read:data""#] } else { &[] };
        assert_eq!(reply.header("www-authenticate"), challenge, "{path} {line}");
    }
}

/// A host check that charges each session to its own limit.
async fn charged_sessions(
    State(limiter): State<Arc<Limiter>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(passed) = request.extensions().get::<ForeignCredential>().cloned() else {
        return next.run(request).await;
    };
    let user = match passed.credential(&HttpHead::from(&request)) {
        Some(jwt) if jwt.token().starts_with(b"jwt.of.") => jwt.token().to_owned(),
        _ => return passed.refuse(PublicReason::InvalidKey).map(Body::from),
    };
    let quota = Quota::per_minute(2).into();
    let decision = limiter.check(LimitKey::host(1, &user), &quota, 1, NOON).unwrap();
    if !decision.allowed {
        return passed.refuse_charged(PublicReason::RateLimited, decision).map(Body::from);
    }
    if request.uri().path() == "/closed" {
        return passed.refuse_charged(PublicReason::ForbiddenTier, decision).map(Body::from);
    }
    (passed.rate_headers(&decision), next.run(request).await).into_response()
}

#[tokio::test]
async fn sessions_charged_by_the_host_get_the_same_responses_as_keys() {
    let limiter = Arc::new(limiter());
    let world = World::with_gate(|gate| gate.with_limiter(Arc::clone(&limiter)).allow_foreign());
    let router = Router::new()
        .route("/data", get(perhaps))
        .route("/closed", get(perhaps))
        .route_layer(from_fn_with_state(limiter, charged_sessions))
        .route_layer(world.keys().require(reading(100)).unwrap());
    let address = serve(router).await;
    let session = [("authorization", "Bearer jwt.of.session")];
    for (path, status, remaining, retry_after) in
        [("/data", 200, "1", &[][..]), ("/closed", 403, "0", &[]), ("/data", 429, "0", &["60"])]
    {
        let reply = send(address, "GET", path, &session).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("x-ratelimit-limit"), ["2"]);
        assert_eq!(reply.header("x-ratelimit-remaining"), [remaining]);
        assert_eq!(reply.header("x-ratelimit-reset"), ["1700000060"]);
        assert_eq!(reply.header("retry-after"), retry_after);
        if status == 429 {
            let body = r#"{"error":{"code":"RATE_LIMITED","message":"Retry after 60 seconds.","retry_after":60}}"#;
            assert_eq!(reply.text(), body);
        }
    }
    // No other limit is charged, and an unauthenticated request has no limit.
    let reply = send(address, "GET", "/data", &[("authorization", "Bearer jwt.of.another")]).await;
    assert_eq!((reply.status, reply.header("x-ratelimit-remaining")), (200, vec!["1"]));
    let reply = send(address, "GET", "/data", &[("authorization", "Bearer stranger")]).await;
    assert_eq!((reply.status, reply.header("x-ratelimit-limit").len()), (401, 0));
    let reply = send(address, "GET", "/data", &[("authorization", &bearer(&world.key()))]).await;
    assert_eq!((reply.status, reply.header("x-ratelimit-remaining")), (200, vec!["99"]));
}

#[tokio::test]
async fn keys_in_the_query_are_removed_by_the_layer() {
    type Parameters = Query<Vec<(String, String)>>;

    async fn targets(
        uri: Uri,
        OriginalUri(original): OriginalUri,
        Query(all): Parameters,
    ) -> String {
        format!("{uri} {original} {}", all.len())
    }

    let world = World::new();
    let public = Access::kinds([PUBLIC.kind()]);
    let (closed, kept) = (
        world.keys().require(public.clone()).unwrap(),
        world.keys().keep_query().require(public).unwrap(),
    );
    let nested = Router::new().route("/closed", post(targets)).route_layer(closed);
    let router = Router::new()
        .nest("/v1", nested)
        .merge(Router::new().route("/kept", post(targets)).route_layer(kept));
    let address = serve(router).await;
    let Key { token, .. } = world.public_key();

    let target = format!("/v1/closed?a=%41&api_key={token}&b=2");
    let reply = send(address, "POST", &target, &[]).await;
    let redacted = "?a=%41&api_key=REDACTED&b=2";
    assert_eq!(reply.text(), format!("/closed{redacted} /v1/closed{redacted} 3"));

    let target = format!("/kept?api_key={token}");
    assert_eq!(send(address, "POST", &target, &[]).await.text(), format!("{target} {target} 1"));

    // Kinds that are not publishable are not read from a query.
    let target = format!("/kept?api_key={}", world.key().token);
    assert_eq!(send(address, "POST", &target, &[]).await.status, 401);
}

#[tokio::test]
async fn a_route_can_respond_to_preflights() {
    let world = World::new();
    let layer = world.keys().with_preflights(Preflights::PassOn).require(reading(100)).unwrap();
    let answer = async |caller: Option<Caller>| {
        (StatusCode::NO_CONTENT, [("x-caller", caller.is_some().to_string())])
    };
    let router = Router::new().route("/data", get(whoami).options(answer)).route_layer(layer);
    let address = serve(router).await;
    let preflight = [("origin", "https://app.example"), ("access-control-request-method", "GET")];
    let reply = send(address, "OPTIONS", "/data", &preflight).await;
    assert_eq!((reply.status, reply.header("x-caller")), (204, vec!["false"]));
    assert_eq!(send(address, "OPTIONS", "/data", &preflight[..1]).await.status, 401);
    assert_eq!(send(address, "GET", "/data", &preflight).await.status, 401);
}

#[tokio::test]
async fn a_route_can_serve_requests_without_a_credential_and_refuses_bad_ones() {
    let world = World::new();
    let layer = || world.keys().require(reading(100).allow_missing()).unwrap();
    let strict = world.keys().require(reading(100)).unwrap();
    let router = Router::new()
        .route("/perhaps", get(perhaps).route_layer(layer()))
        .route("/whoami", get(whoami).route_layer(layer()))
        .route("/inner", get(perhaps).route_layer(strict).route_layer(layer()));
    let address = serve(router).await;
    let (key, revoked) = (world.key(), world.key());
    world.revoke(&revoked);
    let (line, ended) = (bearer(&key), bearer(&revoked));
    for (path, lines, status) in [
        ("/perhaps", &[][..], 200),
        ("/perhaps", &[("authorization", "Bearer")], 200),
        ("/perhaps", &[("x-api-key", "")], 200),
        ("/perhaps", &[("x-api-key", "luci_1")], 401),
        ("/perhaps", &[("authorization", &*ended)], 401),
        ("/perhaps", &[("authorization", &*line)], 200),
        // A handler that takes a caller refuses, and so does a layer inside of this one.
        ("/whoami", &[], 401),
        ("/whoami", &[("authorization", &*line)], 200),
        ("/inner", &[], 401),
        ("/inner", &[("authorization", &*line)], 200),
    ] {
        let reply = send(address, "GET", path, lines).await;
        assert_eq!(reply.status, status, "{path} {lines:?}");
        if path == "/perhaps" && status == 200 {
            let is_anonymous = lines.iter().all(|(_, value)| *value != line);
            assert_eq!(reply.text(), if is_anonymous { "nobody" } else { "acme" });
            assert_eq!(reply.header("x-ratelimit-limit").is_empty(), is_anonymous);
        }
    }
}

/// The keys are those of `acme`, whose name is in the path in every encoding.
#[tokio::test]
async fn an_owner_in_the_path_is_the_same_to_the_rule_and_to_the_handler() {
    let world = World::new();
    let keys = world.keys();
    let of_owner = |find: fn(&axum::http::request::Parts) -> Option<OwnerId>| {
        let own = keys.route(Access::any_key()).unwrap();
        let nobodys = keys.route(Access::kinds([])).unwrap();
        let layer = keys.require_by(move |parts| {
            find(parts).map_or_else(|| nobodys.clone(), |owner| own.clone().with_owner(owner))
        });
        layer.unwrap()
    };
    let by_segments = of_owner(|parts| decoded_segments(&parts.uri)?.get(1)?.parse().ok());
    let by_parameter = of_owner(|parts| path_parameter(parts, "org")?.parse().ok());
    let org = async |Path((org, _)): Path<(String, String)>| org;
    let routes = || Router::new().route("/{org}/items/{id}", get(org));
    let router = Router::new()
        .nest("/nested", routes().route_layer(by_parameter.clone()))
        .route("/orgs/{org}/items/{id}", get(org).route_layer(by_segments))
        .route("/of/{org}/{*rest}", get(org).route_layer(by_parameter));
    let address = serve(router).await;
    let line = bearer(&world.key());
    for place in ["/orgs", "/nested", "/of"] {
        for (owner, status) in [
            ("acme", 200),
            ("%61cme", 200),
            ("%61%63%6D%65", 200),
            ("victim", 403),
            ("%76ictim", 403),
            ("%2561cme", 403),
            ("ACME", 403),
            ("acme%2F..%2Fvictim", 403),
            ("acme%00", 403),
            ("%2e%2e", 403),
            ("%zz", 403),
        ] {
            let target = format!("{place}/{owner}/items/1");
            let reply = send(address, "GET", &target, &[("authorization", &line)]).await;
            assert_eq!(reply.status, status, "{target}");
            assert!(status != 200 || reply.text() == "acme", "{target}");
        }
    }
}

#[tokio::test]
async fn a_failing_store_returns_503_over_http() {
    let world = World::new();
    let layer = world.keys_over(Broken::Fails).require(reading(100)).unwrap();
    let address = serve(Router::new().route("/data", get(whoami)).route_layer(layer)).await;
    let reply = send(address, "GET", "/data", &[("authorization", &bearer(&world.key()))]).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.text(), r#"{"error":{"code":"UNAVAILABLE","message":"Service unavailable"}}"#);
}

async fn optional(_: Option<Caller>) -> &'static str {
    panic!("the check reaches no handler")
}

async fn required(_: Caller) -> &'static str {
    panic!("the check reaches no handler")
}

/// Before the first request, and without running a handler.
#[tokio::test]
async fn a_caller_without_a_layer_is_told_at_start() {
    let world = World::new();
    let layer = || world.keys().require(reading(100)).unwrap();
    let app = Router::new()
        .route("/a", get(optional).post(required).route_layer(layer()))
        .route("/b/{id}", get(optional).route_layer(layer()).post(optional))
        .route("/c", get(required))
        .route("/open", get(async || "open"))
        .nest("/nested", Router::new().route("/a", get(optional)).route_layer(layer()));
    let check = async |method: http::Method, path: &str| {
        keyward_tower::check_layers(&app, [(method, path)]).await.map_err(|error| error.to_string())
    };
    for (method, path) in [
        (http::Method::GET, "/a"),
        (http::Method::POST, "/a"),
        (http::Method::GET, "/b/1"),
        (http::Method::GET, "/nested/a"),
    ] {
        assert_eq!(check(method.clone(), path).await, Ok(()), "{method} {path}");
    }
    for (method, path, problem) in [
        (http::Method::POST, "/b/1", "has no layer"),
        (http::Method::GET, "/c", "has no layer"),
        (http::Method::GET, "/d", "is no route"),
        (http::Method::PUT, "/a", "is no route"),
        (http::Method::GET, "no path", "is no path"),
        (http::Method::GET, "/open", "takes no caller"),
    ] {
        let error = check(method.clone(), path).await.unwrap_err();
        assert!(error.contains(problem) && error.contains(path), "{error}");
    }
    // The first problem of several routes.
    let both = [(http::Method::GET, "/a"), (http::Method::GET, "/c")];
    assert!(keyward_tower::check_layers(&app, both).await.is_err());
}
