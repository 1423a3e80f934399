//! What an inner service sees of the credentials of a request, and the ids of refused requests.

mod support;

use std::{convert::Infallible, future::ready};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use keyward::{
    Access, CredentialSource, ErrorBodies, Gate, Route,
    request::{CredentialSources, ErrorBody},
};
use keyward_tower::{ApiKeys, Caller, Preflights};
use support::*;
use tower::{Layer, ServiceExt, service_fn};

/// A gate that reads every kind of place, the first of them that has something.
fn everywhere(world: &World, allow_foreign: bool) -> Gate {
    let sources = CredentialSources::first_of([
        CredentialSource::bearer(),
        CredentialSource::authorization("ApiKey"),
        CredentialSource::header("x-api-key"),
        CredentialSource::cookie("key"),
        CredentialSource::websocket_protocol("acme.key."),
        CredentialSource::query("api_key").with_kinds([PUBLIC.kind()]),
    ]);
    let gate = Gate::builder(world.gate.formats().clone(), world.issuer.verifier(), sources)
        .with_publishable([PUBLIC.kind()])
        .with_challenge(keyward::Challenge::bearer("test").unwrap());
    if allow_foreign { gate.allow_foreign() } else { gate }.build().unwrap()
}

fn keys(world: &World, gate: Gate) -> ApiKeys<std::sync::Arc<keyward::MemoryStore>> {
    ApiKeys::new(gate, std::sync::Arc::clone(&world.store), std::sync::Arc::clone(&world.clock))
}

/// What the inner service saw: the target, the headers, and whether there is a caller.
type Seen = (Uri, HeaderMap, bool);

fn pass(
    keys: &ApiKeys<std::sync::Arc<keyward::MemoryStore>>,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Option<Seen> {
    pass_on(keys, Route::new(Access::any_key()), method, target, headers)
}

fn pass_on(
    keys: &ApiKeys<std::sync::Arc<keyward::MemoryStore>>,
    route: Route,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Option<Seen> {
    let request = Request::builder().method(method).uri(target);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let layer = keys.require(route).unwrap();
    let seen = std::cell::RefCell::new(None);
    let inner = service_fn(|request: Request<()>| {
        let has_caller = request.extensions().get::<Caller>().is_some();
        let (parts, ()) = request.into_parts();
        *seen.borrow_mut() = Some((parts.uri, parts.headers, has_caller));
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    });
    let _response = pollster::block_on(layer.layer(inner).oneshot(request.body(()).unwrap()));
    seen.into_inner()
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_stripped_request_has_no_credential_in_any_place() {
    let world = World::new();
    let keys = keys(&world, everywhere(&world, false)).strip_credentials();
    let (secret, public) = (world.key().token, world.public_key().token);
    let bearer = format!("bEaReR  {secret}");
    let cookie = format!("a=1; key={secret}; b=2");
    let protocol = format!("acme.v1, acme.key.{secret},acme.v2");
    for (target, headers, target_left, headers_left) in [
        ("/a?x=1", vec![("authorization", &*bearer), ("accept", "*/*")], "/a?x=1", vec!["accept"]),
        ("/a", vec![("x-api-key", &*secret)], "/a", vec![]),
        ("/a", vec![("cookie", &*cookie)], "/a", vec!["cookie"]),
        ("/a", vec![("sec-websocket-protocol", &*protocol)], "/a", vec!["sec-websocket-protocol"]),
        (&*format!("/a?v=2&api_key={public}&w=3"), vec![], "/a?v=2&w=3", vec![]),
        (&*format!("/a?api%5Fkey={public}"), vec![], "/a", vec![]),
        // Every place is emptied, whichever the key was taken from.
        (
            &*format!("/a?api_key={public}"),
            vec![("authorization", &*bearer), ("x-api-key", "stale"), ("cookie", "key=old")],
            "/a",
            vec![],
        ),
        // Lines that are not read here stay.
        (
            "/a",
            vec![("x-api-key", &*secret), ("authorization", "Basic YTpi"), ("cookie", "keys=1")],
            "/a",
            vec!["authorization", "cookie"],
        ),
    ] {
        let (uri, left, has_caller) = pass(&keys, "GET", target, &headers).expect("admitted");
        assert!(has_caller, "{headers:?}");
        assert_eq!(uri, target_left, "{target}");
        let names: Vec<String> = lines(&left).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, headers_left, "{headers:?}");
        let text = format!("{uri} {:?}", lines(&left));
        assert!(!text.contains(&secret) && !text.contains(&public), "{text}");
    }
    let (_, left, _) = pass(&keys, "GET", "/", &[("cookie", &cookie)]).unwrap();
    assert_eq!(lines(&left), [("cookie".to_owned(), "a=1; b=2".to_owned())]);
    let (_, left, _) = pass(&keys, "GET", "/", &[("sec-websocket-protocol", &protocol)]).unwrap();
    let protocols = ("sec-websocket-protocol".to_owned(), "acme.v1, acme.v2".to_owned());
    assert_eq!(lines(&left), [protocols]);
}

#[test]
fn by_default_headers_stay_and_a_key_in_a_query_is_replaced() {
    let world = World::new();
    let (secret, public) = (world.key().token, world.public_key().token);
    let keys = keys(&world, everywhere(&world, false));
    let (uri, left, _) =
        pass(&keys, "GET", &format!("/a?api_key={public}"), &[("x-api-key", &secret)]).unwrap();
    assert_eq!(uri, "/a?api_key=REDACTED");
    assert_eq!(lines(&left), [("x-api-key".to_owned(), secret)]);
}

/// The name of a parameter is read byte for byte, but a log shows what only looks like it too.
#[test]
fn what_looks_like_a_key_in_a_query_is_replaced_for_an_anonymous_request_too() {
    let world = World::new();
    let public = world.public_key().token;
    let keys = keys(&world, everywhere(&world, false));
    let route = || Route::new(Access::any_key()).allow_missing();
    for target in [format!("/a?API_KEY={public}"), format!("/a?x;api_key={public}")] {
        let (uri, _, has_caller) = pass_on(&keys, route(), "GET", &target, &[]).expect("anonymous");
        assert!(!has_caller);
        assert!(!uri.to_string().contains(&public), "{uri}");
    }
}

#[test]
fn what_nobody_has_checked_is_not_stripped_and_a_preflight_loses_its_key() {
    let world = World::new();
    let public = world.public_key().token;
    let foreign = keys(&world, everywhere(&world, true)).handle_foreign().strip_credentials();
    let jwt = [("authorization", "Bearer a.b.c")];
    let (_, left, has_caller) = pass(&foreign, "GET", "/", &jwt).unwrap();
    assert!(!has_caller);
    assert_eq!(left["authorization"], "Bearer a.b.c");

    let preflights = keys(&world, everywhere(&world, false))
        .with_preflights(Preflights::PassOn)
        .strip_credentials();
    let preflight = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
    let (uri, _, has_caller) =
        pass(&preflights, "OPTIONS", &format!("/a?api_key={public}&v=1"), &preflight).unwrap();
    assert!(!has_caller);
    assert_eq!(uri, "/a?v=1");
}

#[test]
fn the_id_of_a_request_is_in_the_body_of_its_refusal() {
    let world = World::with_gate(|gate| {
        gate.allow_foreign().with_errors(ErrorBodies::custom(|facts, message| ErrorBody {
            content_type: "text/plain",
            bytes: format!("{message} ({})", facts.request_id.map_or("no id", |id| id.as_str()))
                .into(),
        }))
    });
    let (key, revoked) = (world.key(), world.key());
    let with_id = |keys: ApiKeys<_>| {
        keys.recheck()
            .with_request_id(|parts| parts.headers.get("x-request-id")?.to_str().ok()?.parse().ok())
    };
    let body = |token: &str, id: Option<&str>, meanwhile: &dyn Fn()| {
        let request = Request::builder().header("authorization", format!("Bearer {token}"));
        let request =
            id.into_iter().fold(request, |request, id| request.header("x-request-id", id));
        let layer = with_id(world.keys()).require(Access::any_key()).unwrap();
        let inner = service_fn(|request: Request<()>| {
            meanwhile();
            let refused = request.extensions().get::<keyward_tower::ForeignCredential>();
            let refused =
                refused.map(|foreign| foreign.refuse(keyward::request::PublicReason::InvalidKey));
            ready(Ok::<_, Infallible>(refused.unwrap_or_default().map(Full::<Bytes>::from)))
        });
        let response =
            pollster::block_on(layer.layer(inner).oneshot(request.body(()).unwrap())).unwrap();
        let bytes = pollster::block_on(response.into_body().collect()).unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    let nothing = || ();
    assert_eq!(body("luci_1", Some("req_1"), &nothing), "Invalid API key (req_1)");
    assert_eq!(body("luci_1", None, &nothing), "Invalid API key (no id)");
    assert_eq!(body(&key.token, Some("req_2"), &nothing), "");
    // A foreign credential that the host refuses, and a key that is revoked during its request.
    assert_eq!(body("a.b.c", Some("req_3"), &nothing), "Invalid API key (req_3)");
    let revoke = || world.revoke(&revoked);
    assert_eq!(body(&revoked.token, Some("req_4"), &revoke), "Invalid API key (req_4)");
}
