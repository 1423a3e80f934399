//! A guarded router denies every route that no rule names, however the router was built.

mod support;

use std::{collections::HashMap, net::SocketAddr};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Path, Request},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::Response,
    routing::{get, post},
};
use http_body_util::BodyExt;
use keyward::{Access, ConfigError, error::ConfigErrorKind};
use keyward_tower::{Caller, Guarded, Preflights, Rules};
use support::*;
use tokio::net::TcpListener;
use tower::{Service, ServiceExt};

/// Path parameters by name, because an outer router adds its own.
type Params = HashMap<String, String>;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A router with every kind of route, whose handlers return their names.
fn router() -> Router {
    let nested = Router::new()
        .route("/", get(async || "nested root"))
        .route("/users/{id}", get(async |Path(of): Path<Params>| format!("user {}", of["id"])))
        .route("/secret", get(async || "nested secret"));
    let service = Router::new()
        .route("/", get(async || "service root"))
        .route("/a", get(async || "service a"))
        .fallback(async || "service fallback");
    let merged = Router::new()
        .route("/merged", get(async || "merged"))
        .route("/merged/secret", get(async || "merged secret"));
    Router::new()
        .route("/items", get(async || "list").delete(async || "delete"))
        // The trap: a second method on the path of another.
        .route("/items/{id}", get(async || "item").post(async || "post item"))
        .route("/files/{*path}", get(async |Path(of): Path<Params>| format!("file {}", of["path"])))
        .route("/secret", get(async || "secret").post(async || "secret"))
        .nest("/nest", nested)
        .nest_service("/service", service)
        .nest_service("/closed", Router::new().fallback(async || "closed service"))
        .merge(merged)
        .fallback(async || "fallback")
}

fn rules() -> Rules {
    Rules::new()
        .get("/items", Access::scope(READ))
        .get("/items/{id}", Access::scope(READ))
        .get("/files/{*path}", Access::scope(READ))
        .get("/nest/users/{id}", Access::scope(READ))
        .get("/merged", Access::scope(READ))
        .nested("/service", Access::scope(READ))
}

#[tokio::test]
async fn a_preflight_that_is_passed_on_opens_no_route_that_no_rule_names() {
    let world = World::new();
    let keys = world.keys().with_preflights(Preflights::PassOn);
    let router = Router::new()
        .route("/items", get(async || "list").options(async || "options"))
        .route("/secret", get(async || "secret").options(async || "secret"))
        .route("/caller", get(async || "").options(async |_: Caller| "caller"));
    let access = || Access::scope(READ);
    let rules = Rules::new().any("/items", access()).any("/caller", access());
    let guarded = keys.guard(rules, router).unwrap();
    for (path, status) in [("/items", 200), ("/secret", 401), ("/nowhere", 401), ("/caller", 401)] {
        let request = Request::builder()
            .method("OPTIONS")
            .uri(path)
            .header("origin", "https://app.example")
            .header("access-control-request-method", "GET");
        let response = send(&guarded, request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
}

fn guarded(world: &World, rules: Rules) -> Guarded {
    world.keys().guard(rules, router()).unwrap()
}

fn request(method: &str, target: &str, key: Option<&Key>) -> Request {
    let request = Request::builder().method(method).uri(target);
    let request = match key {
        Some(key) => request.header("authorization", format!("Bearer {}", key.token)),
        None => request,
    };
    request.body(Body::empty()).unwrap()
}

async fn send<S>(service: &S, request: Request) -> Response
where
    S: Service<Request, Response = Response, Error = std::convert::Infallible> + Clone,
{
    service.clone().oneshot(request).await.unwrap()
}

async fn whole(response: Response) -> (StatusCode, HeaderMap, Bytes) {
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
}

/// Returns the response to a request with a key.
async fn served<S>(service: &S, method: &str, target: &str, key: &Key) -> (u16, String)
where
    S: Service<Request, Response = Response, Error = std::convert::Infallible> + Clone,
{
    let (status, _, body) = whole(send(service, request(method, target, Some(key))).await).await;
    (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn routes_named_by_a_rule_are_served_to_authorized_keys() {
    let world = World::new();
    let service = guarded(&world, rules());
    let reader = world.key();
    for (target, text) in [
        ("/items", "list"),
        ("/items/7", "item"),
        ("/files/a/b", "file a/b"),
        ("/nest/users/7", "user 7"),
        ("/merged", "merged"),
        ("/service", "service root"),
        ("/service/", "service root"),
        ("/service/a", "service a"),
        ("/service/b", "service fallback"),
    ] {
        assert_eq!(served(&service, "GET", target, &reader).await, (200, text.to_owned()));
        // A rule for GET also covers HEAD.
        assert_eq!(served(&service, "HEAD", target, &reader).await, (200, String::new()));
        for method in ["GET", "HEAD"] {
            assert_eq!(send(&service, request(method, target, None)).await.status(), 401);
            // A public key has no scope.
            let public = world.public_key();
            let response = send(&service, request(method, target, Some(&public))).await;
            assert_eq!(response.status(), 403, "{method} {target}");
        }
    }
}

#[tokio::test]
async fn routes_named_by_no_rule_return_404_with_a_key_and_401_without() {
    let world = World::new();
    let service = guarded(&world, rules());
    let key = world.writing_key();
    for (methods, target) in [
        (&["DELETE", "POST", "OPTIONS"][..], "/items"),
        (&["POST"], "/items/7"),
        (&["POST"], "/nest/users/7"),
        (&METHODS, "/secret"),
        (&METHODS, "/nest"),
        (&METHODS, "/nest/"),
        (&METHODS, "/nest/secret"),
        (&METHODS, "/merged/secret"),
        (&METHODS, "/closed"),
        (&METHODS, "/closed/x"),
        (&METHODS, "/nowhere"),
        (&METHODS, "/"),
        (&METHODS, "//items"),
        (&METHODS, "/items/"),
        (&METHODS, "/service2/a"),
        (&METHODS, "/nest/service/a"),
        (&METHODS, "/%69tems"),
    ] {
        for method in methods {
            let with_key = served(&service, method, target, &key).await;
            assert_eq!(with_key, (404, String::new()), "{method} {target}");
            let without = send(&service, request(method, target, None)).await;
            assert_eq!(without.status(), 401, "{method} {target}");
        }
    }
}

/// Without a key, the response does not reveal whether a path or one of its methods exists: not
/// even axum's `Allow` header differs.
#[tokio::test]
async fn without_a_key_existing_and_unknown_routes_get_the_same_response() {
    let world = World::with_gate(|gate| {
        // A challenge without the scope of the route.
        let realm = keyward::Challenge::bearer("test").unwrap();
        gate.with_limiter(limiter()).with_challenge(realm)
    });
    let keys = world.keys();
    let open = Rules::new().any("/items", Access::any_key()).get("/items/{id}", Access::any_key());
    let service = keys.guard(open, router()).unwrap();
    let stranger = World::new().key();
    for key in [None, Some(&stranger)] {
        for method in METHODS {
            let nowhere = whole(send(&service, request(method, "/nowhere", key)).await).await;
            assert_eq!(nowhere.0, 401);
            for target in ["/items", "/items/7", "/secret", "/nest/secret", "/service/a"] {
                let found = whole(send(&service, request(method, target, key)).await).await;
                assert_eq!(found, nowhere, "{method} {target}");
            }
        }
    }
    // With a key, and a rule for all methods, axum itself returns 405.
    let response = send(&service, request("PUT", "/items", Some(&world.key()))).await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET,HEAD,DELETE");
    // A denied method does not reveal the other methods either.
    let response = send(&service, request("PUT", "/items/7", Some(&world.key()))).await;
    assert_eq!((response.status().as_u16(), response.headers().get("allow")), (404, None));
    let response = send(&service, request("PUT", "/secret", Some(&world.key()))).await;
    assert_eq!((response.status().as_u16(), response.headers().get("allow")), (404, None));
}

#[tokio::test]
async fn a_rule_for_one_method_overrides_a_rule_for_all_methods() {
    let world = World::new();
    let rules = Rules::new()
        .delete("/items", Access::scope(WRITE))
        .any("/items", Access::scope(READ))
        .method(Method::HEAD, "/items/{id}", Access::scope(WRITE))
        .get("/items/{id}", Access::scope(READ))
        .post("/items/{id}", Access::scope(WRITE));
    let service = guarded(&world, rules);
    let (reader, writer) = (world.key(), world.writing_key());
    for (method, target, read, write) in [
        ("GET", "/items", 200, 200),
        ("DELETE", "/items", 403, 200),
        ("PUT", "/items", 405, 405),
        ("GET", "/items/7", 200, 200),
        ("HEAD", "/items/7", 403, 200),
        ("POST", "/items/7", 403, 200),
        ("PUT", "/items/7", 404, 404),
    ] {
        assert_eq!(served(&service, method, target, &reader).await.0, read, "{method} {target}");
        assert_eq!(served(&service, method, target, &writer).await.0, write, "{method} {target}");
    }
}

#[tokio::test]
async fn the_fallback_is_reached_only_through_its_own_rule() {
    let world = World::new();
    let key = world.key();
    let service = guarded(&world, rules().fallback(Access::scope(READ)));
    assert_eq!(served(&service, "GET", "/nowhere", &key).await, (200, "fallback".to_owned()));
    assert_eq!(served(&service, "POST", "/", &key).await, (200, "fallback".to_owned()));
    assert_eq!(send(&service, request("GET", "/nowhere", None)).await.status(), 401);
    // The rule of the fallback does not cover an existing route, nor the fallback of a nested
    // service whose prefix has a rule.
    assert_eq!(served(&service, "GET", "/secret", &key).await.0, 404);
    assert_eq!(served(&service, "GET", "/service/b", &key).await.1, "service fallback");
}

#[tokio::test]
async fn a_nested_guarded_router_matches_its_own_paths() {
    let world = World::new();
    let key = world.key();
    let inner = || guarded(&world, rules());
    let health = || Router::new().route("/health", get(async || "ok"));
    // A route of the outer router with the path of an inner rule gives no access inside.
    let outer = [
        ("", health().fallback_service(inner())),
        ("/api", health().nest_service("/api", inner())),
        ("/api/v1", health().nest("/api", Router::new().nest_service("/v1", inner()))),
        ("/a/b", health().nest_service("/a", Router::new().nest_service("/b", inner()))),
        ("/t/acme", health().nest_service("/t/{tenant}", inner())),
    ];
    for (prefix, outer) in outer {
        let at = |target: &str| format!("{prefix}{target}");
        let service = outer.into_service();
        assert_eq!(served(&service, "GET", "/health", &key).await, (200, "ok".to_owned()));
        for (target, expected) in [
            ("/items", (200, "list")),
            ("/items/7", (200, "item")),
            ("/files/a/b", (200, "file a/b")),
            ("/nest/users/7", (200, "user 7")),
            ("/service/a", (200, "service a")),
            ("/service/b", (200, "service fallback")),
            ("/secret", (404, "")),
            ("/nest/secret", (404, "")),
            ("/nowhere", (404, "")),
        ] {
            let target = at(target);
            let (status, text) = served(&service, "GET", &target, &key).await;
            assert_eq!((status, text.as_str()), expected, "{target}");
            let response = send(&service, request("GET", &target, None)).await;
            assert_eq!(response.status(), 401, "{target}");
        }
    }
}

/// An outer router that matched the path of an inner rule gives no access inside.
#[tokio::test]
async fn a_path_matched_by_an_outer_router_matches_no_inner_rule() {
    let world = World::new();
    let key = world.key();
    let inner = Router::new().route("/other", get(async || "other")).fallback(async || "open?");
    let rules = Rules::new().get("/items", Access::scope(READ));
    let inner = world.keys().guard(rules, inner).unwrap();
    let outer = Router::new().route_service("/items", inner).into_service();
    assert_eq!(served(&outer, "GET", "/items", &key).await, (404, String::new()));
    assert_eq!(send(&outer, request("GET", "/items", None)).await.status(), 401);
}

/// The fallback of a nested router leaves another mark than a nested service: axum strips the
/// prefix from the target and does not put it before the matched path.
#[tokio::test]
async fn behind_the_fallback_of_a_nested_router_every_path_keeps_its_own_rule() {
    let world = World::new();
    let key = world.key();
    let inner = || {
        let router = Router::new()
            .route("/secret", get(async || "secret"))
            .route("/items", get(async || "list"))
            // Its path begins with the prefix of the outer router.
            .route("/api/items", get(async || "other list"))
            .route("/api/{*rest}", get(async || "other rest"))
            .route("/files/{*rest}", get(async || "files"))
            .nest_service("/service", Router::new().fallback(async || "service"))
            .fallback(async || "fallback");
        let rules = Rules::new()
            .get("/items", Access::scope(READ))
            .get("/files/{*rest}", Access::scope(READ))
            .nested("/service", Access::scope(READ))
            .fallback(Access::scope(READ));
        world.keys().guard(rules, router).unwrap()
    };
    let outer = [
        ("/api", Router::new().nest("/api", Router::new().fallback_service(inner()))),
        ("/api/api", Router::new().nest("/api/api", Router::new().fallback_service(inner()))),
        (
            "/api/api",
            Router::new().nest_service(
                "/api",
                Router::new().nest("/api", Router::new().fallback_service(inner())),
            ),
        ),
        ("/v/x", Router::new().nest("/v/{a}", Router::new().fallback_service(inner()))),
    ];
    for (prefix, outer) in outer {
        let service = outer.into_service();
        for (target, expected) in [
            ("/items", (200, "list")),
            ("/files/a/b", (200, "files")),
            ("/service/a", (200, "service")),
            ("/nowhere", (200, "fallback")),
            // Named by no rule, and no fallback.
            ("/secret", (404, "")),
            ("/api/items", (404, "")),
            ("/api/other", (404, "")),
        ] {
            let target = format!("{prefix}{target}");
            let (status, text) = served(&service, "GET", &target, &key).await;
            assert_eq!((status, text.as_str()), expected, "{target}");
            assert_eq!(send(&service, request("GET", &target, None)).await.status(), 401);
        }
    }
}

/// axum prefers a written segment to a parameter, and whatever is more specific further left. The
/// order of the rules does not matter.
#[tokio::test]
async fn of_nested_services_the_rule_of_the_one_that_axum_calls_applies() {
    let world = World::new();
    let key = world.key();
    let router = || {
        let service = |text: &'static str| Router::new().fallback(async move || text);
        Router::new()
            .nest_service("/{tenant}/files", service("of a tenant"))
            .nest_service("/acme/files", service("of acme"))
            .nest_service("/{tenant}/files/deep/down", service("deep"))
    };
    // The key has the scope to read only.
    let (open, closed) = (|| Access::scope(READ), || Access::scope(WRITE));
    for rules in [
        Rules::new()
            .nested("/{tenant}/files", open())
            .nested("/{tenant}/files/deep/down", open())
            .nested("/acme/files", closed()),
        Rules::new()
            .nested("/acme/files", closed())
            .nested("/{tenant}/files/deep/down", open())
            .nested("/{tenant}/files", open()),
    ] {
        let service = world.keys().guard(rules, router()).unwrap();
        for (target, expected) in [
            ("/other/files/a", (200, "of a tenant")),
            ("/other/files/deep/down/a", (200, "deep")),
            ("/acme/files/a", (403, "")),
            ("/acme/files/deep/down/a", (403, "")),
        ] {
            let (status, text) = served(&service, "GET", target, &key).await;
            let text = if status == 200 { text.as_str() } else { "" };
            assert_eq!((status, text), expected, "{target}");
        }
    }
}

#[tokio::test]
async fn a_foreign_credential_reaches_only_routes_named_by_a_rule() {
    let world = World::with_gate(|gate| gate.with_limiter(limiter()).allow_foreign());
    let service = guarded(&world, rules());
    let jwt = |target: &str| {
        let request = Request::builder().uri(target).header("authorization", "Bearer a.b.c");
        request.body(Body::empty()).unwrap()
    };
    // A rule names this route, so the host's own check decides.
    assert_eq!(send(&service, jwt("/items")).await.status(), 200);
    for target in ["/secret", "/nowhere"] {
        let response = send(&service, jwt(target)).await;
        assert_eq!(response.status(), 401, "{target}");
        assert!(response.headers().contains_key("www-authenticate"));
    }
}

#[tokio::test]
async fn a_guarded_router_is_served_directly_with_the_peer_address() {
    async fn peer(caller: Caller, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
        format!("{} at {}", caller.owner_id(), peer.ip())
    }

    let world = World::new();
    let key = world.key();
    let guarded = || {
        let router = Router::new().route("/peer", get(peer)).route("/open", get(async || "open"));
        world.keys().guard(Rules::new().get("/peer", Access::any_key()), router).unwrap()
    };
    let line = format!("Bearer {}", key.token);
    let headers = [("authorization", line.as_str())];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = guarded().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    let reply = client::send(address, "GET", "/peer", &headers).await;
    assert_eq!((reply.status, reply.text()), (200, "acme at 127.0.0.1".to_owned()));
    assert_eq!(client::send(address, "GET", "/open", &headers).await.status, 404);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = guarded().into_make_service();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    assert_eq!(client::send(address, "GET", "/peer", &[]).await.status, 401);
    assert_eq!(client::send(address, "GET", "/open", &headers).await.status, 404);
}

#[tokio::test]
async fn denied_requests_with_a_key_are_charged_to_the_default_limit() {
    let keys = keyward_tower::ApiKeys::bearer("acme_", keyward::MemoryStore::new())
        .limit(keyward::Quota::per_minute(2))
        .with_clock(keyward::ManualClock::new(NOON))
        .build()
        .unwrap();
    let issued = keys.issue("acme", "laptop").await.unwrap();
    let key = Key { id: issued.record.id(), token: issued.key.expose().to_owned() };
    let router = Router::new().route("/items", post(async |uri: Uri| uri.to_string()));
    let service = keys.guard(Rules::new(), router).unwrap();
    let statuses = [404, 404, 429];
    for status in statuses {
        assert_eq!(served(&service, "GET", "/nowhere", &key).await.0, status);
    }
}

#[test]
fn contradictory_rules_are_rejected() {
    let keys = World::new().keys();
    let any = Access::any_key;
    let text = |rules: Rules| {
        let error: ConfigError = keys.guard(rules, Router::new()).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Layer);
        error.to_string()
    };
    for (rules, message) in [
        (
            Rules::new().get("/a", any()).get("/a", any()),
            "two rules for GET /a; drop one of them from Rules",
        ),
        (
            Rules::new().any("/a", any()).any("/a", any()),
            "two rules for all methods of /a; drop one of them from Rules",
        ),
        (
            Rules::new().nested("/a", any()).nested("/a/", any()),
            "two rules for everything below /a; drop one of them from Rules",
        ),
        (
            Rules::new().fallback(any()).fallback(any()),
            "two rules for the fallback; drop one of them from Rules",
        ),
        (
            Rules::new().nested("/{a}/b", any()).nested("/{c}/b", any()),
            "two rules for everything below /{c}/b; drop one of them from Rules",
        ),
        (
            Rules::new().get("a", any()),
            "the path \"a\" of a rule does not begin with /; write it as in Router::route, and what \
             has no path as Rules::fallback",
        ),
    ] {
        assert_eq!(text(rules), message);
    }
    let unknown = Access::scope(keyward::Scope::from_static("raed"));
    let error = keys.guard(Rules::new().get("/a", unknown), Router::new()).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Route);
    assert!(keys.guard(Rules::new().get("/a", any()).post("/a", any()), Router::new()).is_ok());
}
