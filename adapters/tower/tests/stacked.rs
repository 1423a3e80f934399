//! Nested layers: which limit a response reports.

mod support;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use keyward::{Access, Challenge, CredentialSource, Gate, RateHeaders};
use support::*;
use tower::{ServiceBuilder, ServiceExt};

/// Sends this many requests through both layers and returns the last response.
fn last(
    outer: (&World, u32),
    inner: (&World, u32),
    key: &Key,
    requests: usize,
) -> (u16, HeaderMap) {
    let layer = |(world, limit): (&World, u32)| world.keys().keep_query().require(reading(limit));
    let (outer, inner) = (layer(outer).unwrap(), layer(inner).unwrap());
    let service =
        ServiceBuilder::new().layer(outer).layer(inner).service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
    let mut last = None;
    for _ in 0..requests {
        let line = format!("Bearer {}", key.token);
        let request = Request::builder().header("authorization", line).body(()).unwrap();
        let answer = pollster::block_on(service.clone().oneshot(request)).unwrap();
        last = Some((answer.status().as_u16(), answer.headers().clone()));
    }
    last.unwrap()
}

fn said(headers: &HeaderMap) -> Vec<String> {
    let names = ["x-ratelimit-limit", "x-ratelimit-remaining", "ratelimit", "retry-after"];
    let lines = names.iter().flat_map(|name| headers.get_all(*name));
    lines.map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// The same keys with another limiter.
fn beside(world: &World, style: RateHeaders) -> World {
    let gate = Gate::builder(SECRET, world.issuer.verifier(), CredentialSource::bearer());
    let gate = with_limits(gate)
        .with_challenge(Challenge::bearer("inner").unwrap())
        .with_limiter(limiter())
        .with_rate_headers(style)
        .build()
        .unwrap();
    World { store: Arc::clone(&world.store), clock: Arc::clone(&world.clock), gate, ..World::new() }
}

#[test]
fn the_response_reports_the_strictest_limit() {
    let style = RateHeaders::x_ratelimit();
    for (outer_limit, inner_limit, requests, status, expected) in [
        (10, 100, 1, 200, &["10", "9"][..]),
        (100, 10, 1, 200, &["10", "9"]),
        (10, 10, 3, 200, &["10", "7"]),
        // The inner layer refuses, whether the outer one has less or more left.
        (100, 2, 3, 429, &["2", "0", "60"]),
        (3, 2, 3, 429, &["2", "0", "60"]),
        // The outer layer refuses, and the inner one is not called.
        (2, 100, 3, 429, &["2", "0", "60"]),
    ] {
        let outer = World::new();
        let inner = beside(&outer, style);
        let key = outer.key();
        let (found, headers) = last((&outer, outer_limit), (&inner, inner_limit), &key, requests);
        assert_eq!(found, status, "{outer_limit} {inner_limit}");
        assert_eq!(said(&headers), expected, "{outer_limit} {inner_limit}");
    }
}

#[test]
fn equal_remaining_counts_report_the_later_reset() {
    let outer = World::new();
    let inner = beside(&outer, RateHeaders::x_ratelimit());
    let key = outer.key();
    // The inner layer has counted two more requests, half a minute ago. Both layers name one limit
    // there, which is charged once a request.
    let (_, _) = last((&inner, 9), (&inner, 9), &key, 2);
    outer.clock.advance(Duration::from_secs(30));
    let (status, headers) = last((&outer, 7), (&inner, 9), &key, 1);
    assert_eq!((status, said(&headers)), (200, vec!["7".to_owned(), "6".to_owned()]));
    assert_eq!(headers["x-ratelimit-reset"], "1700000090");
}

#[test]
fn rate_headers_of_another_style_are_removed() {
    let outer = World::new();
    let drafted = RateHeaders::retry_after_only().with_draft_09("inner").unwrap();
    let inner = beside(&outer, drafted);
    let key = outer.key();
    let (status, headers) = last((&outer, 10), (&inner, 100), &key, 1);
    assert_eq!((status, said(&headers)), (200, vec!["10".to_owned(), "9".to_owned()]));
    assert!(!headers.contains_key("ratelimit-policy"));
    let (status, headers) = last((&outer, 100), (&inner, 20), &key, 1);
    assert_eq!((status, said(&headers)), (200, vec![r#""inner";r=18;t=60"#.to_owned()]));
    assert!(!headers.contains_key("x-ratelimit-limit"));
}

#[test]
fn a_key_kept_in_the_query_reaches_the_inner_layer() {
    let world = World::new();
    let target = format!("/?api_key={}", world.public_key().token);
    for (keys, status) in [(world.keys(), 401), (world.keys().keep_query(), 200)] {
        let service = ServiceBuilder::new()
            .layer(keys.require(Access::any_key()).unwrap())
            .layer(world.keys().require(Access::any_key()).unwrap())
            .service_fn(async |request: Request<()>| {
                assert_eq!(request.uri().query(), Some("api_key=REDACTED"));
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            });
        let request = Request::builder().uri(&target).body(()).unwrap();
        let answer = pollster::block_on(service.oneshot(request)).unwrap();
        assert_eq!(answer.status(), status);
    }
}
