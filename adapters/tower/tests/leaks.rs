//! Printable output never contains a key.

mod support;

use std::{convert::Infallible, sync::Mutex};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{Empty, Full};
use keyward::{Access, KeyStore};
use keyward_tower::{ApiKeyLayer, ApiKeys};
use support::*;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    sensitive_headers::SetSensitiveRequestHeadersLayer,
    trace::{DefaultMakeSpan, DefaultOnFailure, DefaultOnRequest, DefaultOnResponse, TraceLayer},
};
use tracing::Level;
use tracing_subscriber::fmt::format::FmtSpan;

/// Returns everything that is logged during `work`: spans and events of all levels.
fn logged(work: impl FnOnce()) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    log.text()
}

/// Returns the body of a key, which must not appear anywhere.
fn canary(key: &Key) -> &str {
    key.token.rsplit('_').next().unwrap()
}

async fn handler(request: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    tracing::info!(?request, extensions = ?request.extensions(), "in the handler");
    Ok(Response::new(Full::default()))
}

fn requests(key: &Key) -> Vec<Request<Empty<Bytes>>> {
    let Key { token, .. } = key;
    let with = |name: &str, value: &str, target: &str| {
        Request::builder().uri(target).header(name, value).body(Empty::new()).unwrap()
    };
    vec![
        with("authorization", &format!("Bearer {token}"), "/data"),
        with("x-api-key", token, "/data"),
        with("accept", "*/*", &format!("/data?a=1&api_key={token}&b=2")),
        with("accept", "*/*", &format!("/data?a=1&api%5Fkey={token}&b=2")),
        // In the wrong place, in two places, and in the wrong format.
        with("authorization", token, "/data"),
        with("authorization", &format!("Basic {token}"), "/data"),
        with("authorization", &format!("Bearer {token}x"), "/data"),
        with("x-api-key", token, &format!("/data?api_key={token}")),
    ]
}

fn run<S, A>(service: S, requests: Vec<Request<Empty<Bytes>>>) -> Vec<A>
where
    S: Service<Request<Empty<Bytes>>, Response = A, Error = Infallible> + Clone,
{
    requests
        .into_iter()
        .map(|request| pollster::block_on(service.clone().oneshot(request)).unwrap())
        .collect()
}

#[test]
fn spans_and_events_inside_the_layer_contain_no_key() {
    for world in [
        World::new(),
        World::with_gate(|gate| gate.with_limiter(limiter()).allow_foreign()),
        World::with_gate(|gate| gate),
    ] {
        let mut statuses = Vec::new();
        let (public, secret) = (world.public_key(), world.key());
        let text = logged(|| {
            // All events of tower-http happen inside the layer.
            let inside = || {
                TraceLayer::new_for_http()
                    .make_span_with(DefaultMakeSpan::new().include_headers(true).level(Level::INFO))
                    .on_request(DefaultOnRequest::new().level(Level::INFO))
                    .on_response(DefaultOnResponse::new().include_headers(true).level(Level::INFO))
                    .on_failure(DefaultOnFailure::new())
            };
            for keys in [world.keys(), world.keys().recheck()] {
                let route = world.gate.route(limited(Access::any_key(), 2)).unwrap();
                for layer in [
                    keys.require_by(move |_| route.clone()).unwrap(),
                    keys.require(Access::scope(READ)).unwrap(),
                ] {
                    for key in [&public, &secret] {
                        let service = ServiceBuilder::new()
                            .layer(layer.clone())
                            .layer(inside())
                            .service_fn(handler);
                        let answers = run(service, requests(key));
                        statuses.extend(answers.iter().map(|answer| answer.status().as_u16()));
                        tracing::info!(?answers, ?layer, ?keys, ?key.id, "outside");
                    }
                }
            }
        });
        assert!(statuses.contains(&200) && statuses.contains(&401) && statuses.contains(&403));
        assert!(
            text.contains("in the handler")
                && text.contains("REDACTED")
                && text.contains("Sensitive")
        );
        assert!(text.contains("refused") && text.contains("admitted"), "our own events");
        for key in [&public, &secret] {
            assert!(!text.contains(canary(key)), "{}", around(&text, canary(key)));
        }
    }
}

/// The control: without the layer, the same requests write their keys to the log.
#[test]
fn spans_and_events_without_the_layer_contain_the_key() {
    let world = World::new();
    let key = world.public_key();
    let text = logged(|| {
        run(
            ServiceBuilder::new().layer(TraceLayer::new_for_http()).service_fn(handler),
            requests(&key),
        );
    });
    assert!(text.contains(canary(&key)));
}

/// Outside the layer, where it has not marked headers yet, the documented order protects the key.
#[test]
fn spans_outside_the_layer_contain_no_key_in_the_documented_order() {
    let world = World::new();
    let key = world.public_key();
    let gate = world.gate.clone();
    let layer = world.keys().require(Access::any_key()).unwrap();
    let text = logged(|| {
        let service = ServiceBuilder::new()
            .layer(SetSensitiveRequestHeadersLayer::new([
                header::AUTHORIZATION,
                header::HeaderName::from_static("x-api-key"),
            ]))
            .layer(TraceLayer::new_for_http().make_span_with(
                move |request: &Request<Empty<Bytes>>| {
                    let target = request.uri().to_string();
                    let (target, headers) = (gate.redact(&target), request.headers());
                    tracing::info_span!("request", %target, ?headers)
                },
            ))
            .layer(layer)
            .service_fn(handler);
        run(service, requests(&key));
    });
    assert!(text.contains("target=/data?a=1&api_key=REDACTED&b=2"));
    assert!(!text.contains(canary(&key)), "{}", around(&text, canary(&key)));
}

#[test]
fn every_credential_header_is_marked_as_sensitive() {
    let world = World::with_gate(|gate| gate.with_limiter(limiter()).allow_foreign());
    let key = world.key();
    let bearer = format!("Bearer {}", key.token);
    let seen = Mutex::new(Vec::new());
    let inner = service_fn(async |request: Request<Empty<Bytes>>| {
        let headers = request.headers();
        let values = ["authorization", "x-api-key"].map(|name| {
            headers.get_all(name).iter().map(HeaderValue::is_sensitive).collect::<Vec<_>>()
        });
        seen.lock().unwrap().push((values, headers["accept"].is_sensitive()));
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = world.keys().require(Access::any_key()).unwrap().layer(inner);
    for lines in [
        vec![("authorization", bearer.as_str()), ("authorization", &bearer), ("x-api-key", "a")],
        vec![("x-api-key", &key.token)],
        // Requests passed to the host.
        vec![("authorization", "Bearer jwt.of.session"), ("x-api-key", "b"), ("x-api-key", "c")],
    ] {
        let request = Request::builder().header("accept", "*/*");
        let request =
            lines.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer =
            pollster::block_on(service.clone().oneshot(request.body(Empty::new()).unwrap()))
                .unwrap();
        assert_eq!(answer.status(), 200);
    }
    let seen = seen.lock().unwrap();
    assert_eq!(
        *seen,
        [
            ([vec![true, true], vec![true]], false),
            ([vec![], vec![true]], false),
            ([vec![true], vec![true, true]], false),
        ]
    );
}

#[test]
fn debug_output_of_futures_contains_nothing_of_the_request() {
    fn shown<K: KeyStore + 'static>(keys: ApiKeys<K>, request: Request<Empty<Bytes>>) -> String {
        let layer: ApiKeyLayer<K> = keys.require(reading(100)).unwrap();
        let mut service = layer.layer(service_fn(handler));
        let text = format!("{keys:?} {layer:?}");
        let future = service.call(request);
        format!("{text} {future:?} {future:#?}")
    }

    let world = World::new();
    let key = world.key();
    for request in requests(&key) {
        assert!(!shown(world.keys(), request).contains(canary(&key)));
    }
}

fn around<'t>(text: &'t str, canary: &str) -> &'t str {
    text.lines().find(|line| line.contains(canary)).unwrap_or_default()
}
