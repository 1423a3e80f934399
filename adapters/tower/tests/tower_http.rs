//! The layer together with tower-http's layers, in the order that the crate documentation gives.

mod support;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Empty, Full};
use keyward::{Access, KeyStore};
use keyward_tower::{ApiKeyLayer, TruePreflightsLayer};
use support::*;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{Any, CorsLayer},
    request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    sensitive_headers::SetSensitiveRequestHeadersLayer,
    trace::TraceLayer,
};

/// Ids in Lucitra's documented format, but without randomness.
#[derive(Clone, Default)]
struct Numbered(Calls);

impl MakeRequestId for Numbered {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        self.0.count();
        Some(RequestId::new(format!("req_{:014x}", self.0.get()).parse().unwrap()))
    }
}

fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER])
}

async fn handler(request: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(request.method().to_string())))
}

/// The observed response: status, selected headers, body.
struct Answer {
    status: u16,
    origin: Option<String>,
    exposed: Option<String>,
    id: Option<String>,
    body: String,
}

/// Sends through the complete stack.
fn send<K: KeyStore + 'static>(layer: ApiKeyLayer<K>, request: Request<Empty<Bytes>>) -> Answer {
    let id = header::HeaderName::from_static("x-request-id");
    let service = ServiceBuilder::new()
        .layer(SetSensitiveRequestHeadersLayer::new([header::AUTHORIZATION]))
        .map_request(|mut request: Request<Empty<Bytes>>| {
            request.headers_mut().remove("x-request-id");
            request
        })
        .layer(SetRequestIdLayer::new(id.clone(), Numbered::default()))
        .layer(TraceLayer::new_for_http())
        .layer(PropagateRequestIdLayer::new(id))
        .layer(TruePreflightsLayer::new(cors()))
        .layer(layer)
        .service_fn(handler);
    let answer = pollster::block_on(service.oneshot(request)).unwrap();
    let value = |name: &str| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
    let (status, origin, exposed, id) = (
        answer.status().as_u16(),
        value("access-control-allow-origin"),
        value("access-control-expose-headers"),
        value("x-request-id"),
    );
    let body = pollster::block_on(answer.into_body().collect()).unwrap().to_bytes();
    Answer { status, origin, exposed, id, body: String::from_utf8(body.to_vec()).unwrap() }
}

fn request(method: &str, key: Option<&Key>, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let request = Request::builder().method(method).header("origin", "https://app.example");
    let request = request.header("x-request-id", "req_of_the_client");
    let request = match key {
        Some(key) => request.header("authorization", format!("Bearer {}", key.token)),
        None => request,
    };
    headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value))
        .body(Empty::new())
        .unwrap()
}

#[test]
fn outer_layers_add_their_headers_to_every_response() {
    let world = World::new();
    let key = world.key();
    let layer = world.keys().require(reading(1)).unwrap();
    let down = world.keys_over(Broken::Fails).require(reading(1)).unwrap();
    let writing = world.keys().require(Access::scope(WRITE)).unwrap();
    let stranger = World::new().key();
    for (answer, status) in [
        (send(layer.clone(), request("GET", Some(&key), &[])), 200),
        (send(layer.clone(), request("GET", None, &[])), 401),
        (send(layer.clone(), request("GET", Some(&stranger), &[])), 401),
        (send(layer.clone(), request("GET", Some(&key), &[("x-api-key", "other")])), 429),
        (send(writing, request("GET", Some(&key), &[])), 403),
        (send(down, request("GET", Some(&key), &[])), 503),
    ] {
        assert_eq!(answer.status, status);
        assert_eq!(answer.origin.as_deref(), Some("*"), "{status}");
        assert_eq!(answer.exposed.as_deref(), Some("retry-after"), "{status}");
        assert_eq!(answer.id.as_deref(), Some("req_00000000000001"), "{status}");
    }
}

#[test]
fn only_real_preflights_are_answered_without_a_key() {
    let world = World::new();
    let key = world.key();
    let layer = world.keys().require(reading(100)).unwrap();
    let asks = [("access-control-request-method", "POST")];

    let preflight = send(layer.clone(), request("OPTIONS", None, &asks));
    assert_eq!((preflight.status, preflight.body.as_str()), (200, ""));
    assert_eq!(preflight.origin.as_deref(), Some("*"));
    assert_eq!(preflight.id.as_deref(), Some("req_00000000000001"));

    // Not a preflight: refused like any other request, and readable by the sending script.
    let refused = send(layer.clone(), request("OPTIONS", None, &[]));
    assert_eq!((refused.status, refused.origin.as_deref()), (401, Some("*")));
    assert_eq!(refused.exposed.as_deref(), Some("retry-after"));

    // With a key it reaches the handler as an OPTIONS request.
    let served = send(layer, request("OPTIONS", Some(&key), &[]));
    assert_eq!((served.status, served.body.as_str()), (200, "OPTIONS"));
    assert_eq!(served.origin.as_deref(), Some("*"));
}

/// The control: shows why tower-http's CORS layer needs the guard.
#[test]
fn cors_layer_without_the_guard_answers_every_options_request() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(cors())
        .layer(world.keys().require(reading(100)).unwrap())
        .service_fn(handler);
    let answer = pollster::block_on(service.oneshot(request("OPTIONS", None, &[]))).unwrap();
    assert_eq!(answer.status(), 200);
}

/// The control: without the layer that removes it, the client's own id is kept.
#[test]
fn request_id_layer_alone_keeps_the_id_of_the_client() {
    let id = header::HeaderName::from_static("x-request-id");
    let service = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(id.clone(), Numbered::default()))
        .layer(PropagateRequestIdLayer::new(id))
        .service_fn(handler);
    let answer = pollster::block_on(service.oneshot(request("GET", None, &[]))).unwrap();
    assert_eq!(answer.headers()["x-request-id"], "req_of_the_client");
}

#[test]
fn the_inner_service_sees_the_original_method() {
    let methods = |request: &Request<Empty<Bytes>>| request.method().clone();
    let inner =
        service_fn(async |request: Request<Empty<Bytes>>| Ok::<_, Infallible>(methods(&request)));
    let guard = TruePreflightsLayer::new(tower::layer::layer_fn(|inner| {
        tower::util::MapRequest::new(inner, |request: Request<Empty<Bytes>>| {
            assert_ne!(request.method(), Method::OPTIONS, "a CORS layer would respond to OPTIONS");
            request
        })
    }));
    for method in ["OPTIONS", "GET", "POST", "ACTUAL-OPTIONS"] {
        let request = Request::builder().method(method).body(Empty::new()).unwrap();
        let seen = pollster::block_on(guard.clone().layer(inner).oneshot(request)).unwrap();
        assert_eq!(seen, method);
    }
}

#[test]
fn a_panic_inside_catch_panic_returns_500() {
    let world = World::new();
    for broken in [Broken::Panics, Broken::PanicsAtOnce] {
        let calls = Calls::default();
        let inner = service_fn(async |request: Request<Empty<Bytes>>| {
            calls.count();
            handler(request).await
        });
        let service = ServiceBuilder::new()
            .layer(CatchPanicLayer::new())
            .layer(world.keys_over(broken).require(reading(100)).unwrap())
            .service(inner);
        let request = request("GET", Some(&world.key()), &[]);
        let answer = pollster::block_on(service.oneshot(request)).unwrap();
        assert_eq!((answer.status().as_u16(), calls.get()), (500, 0), "{broken:?}");
    }
}
