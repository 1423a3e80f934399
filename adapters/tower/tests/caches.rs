//! The `Cache-Control` header of responses.

mod support;

use std::{
    convert::Infallible,
    future::{Ready, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header::CACHE_CONTROL};
use http_body_util::Full;
use keyward::{Access, KeyStore};
use keyward_tower::ApiKeyLayer;
use support::*;
use tower::{Layer, ServiceExt, service_fn};

/// Returns the `Cache-Control` values of a response whose inner service sets this one itself.
fn cache_control<K: KeyStore + 'static>(
    layer: &ApiKeyLayer<K>,
    request: Request<()>,
    own: Option<&'static str>,
) -> (u16, Vec<HeaderValue>) {
    let inner = service_fn(move |_: Request<()>| -> Ready<Result<_, Infallible>> {
        let mut answer = Response::new(Full::<Bytes>::default());
        if let Some(own) = own {
            answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(own));
        }
        ready(Ok(answer))
    });
    let answer = pollster::block_on(layer.layer(inner).oneshot(request)).unwrap();
    let values = answer.headers().get_all(CACHE_CONTROL).iter().cloned().collect();
    (answer.status().as_u16(), values)
}

#[test]
fn responses_to_keys_outside_authorization_are_private() {
    let world = World::with_gate(|gate| gate.with_limiter(limiter()).allow_foreign());
    let (key, public) = (world.key(), world.public_key());
    let bearer = format!("Bearer {}", key.token);
    let query = format!("/?api_key={}", public.token);
    let layer = world.keys().require(Access::any_key()).unwrap();
    let no_store = HeaderValue::from_static("no-store");
    let never = world.keys().with_cache_control(no_store).require(Access::any_key()).unwrap();
    let silent = world.keys().with_cache_control(None).require(Access::any_key()).unwrap();
    let request = |method: Method, target: &str, header: Option<(&str, &str)>| {
        let request = Request::builder().method(method).uri(target);
        let request =
            header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        request.body(()).unwrap()
    };
    let own_header = Some(("x-api-key", key.token.as_str()));
    let authorization = Some(("authorization", bearer.as_str()));
    for (method, target, header, own, said) in [
        (Method::GET, "/", own_header, None, Some("private")),
        (Method::HEAD, "/", own_header, None, Some("private")),
        (Method::GET, query.as_str(), None, None, Some("private")),
        // Passed to the host, so possibly private too.
        (Method::GET, "/", Some(("x-api-key", "a session")), None, Some("private")),
        // Caches treat requests with `Authorization` as private themselves.
        (Method::GET, "/", authorization, None, None),
        // Caches do not store responses to this method.
        (Method::POST, "/", own_header, None, None),
        // The service sets the header itself.
        (Method::GET, "/", own_header, Some("public, max-age=60"), Some("public, max-age=60")),
        (Method::GET, "/", authorization, Some("public"), Some("public")),
    ] {
        let send = |layer| cache_control(layer, request(method.clone(), target, header), own);
        let is_ours = said == Some("private");
        let expect = |said: Option<&'static str>| {
            (200, said.into_iter().map(HeaderValue::from_static).collect::<Vec<_>>())
        };
        assert_eq!(send(&layer), expect(said), "{method} {header:?}");
        assert_eq!(send(&never), expect(if is_ours { Some("no-store") } else { said }));
        assert_eq!(send(&silent), expect(own));
    }
    let nobody = request(Method::GET, "/", None);
    assert_eq!(cache_control(&layer, nobody, None), (401, vec![]));
}
