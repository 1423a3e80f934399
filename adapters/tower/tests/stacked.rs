//! Nested layers: which limit a response reports.

mod support;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use keyward::{
    Access, Challenge, CredentialSource, Gate, MemoryStore, Quota, RateHeaders,
    gate::GateBuilder,
    limit::{Decision, Limit, LimitKey, Subject},
    request::Draft,
};
use keyward_tower::ApiKeys;
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
    let drafted = RateHeaders::retry_after_only().with_draft(Draft::V09);
    let inner = beside(&outer, drafted);
    let key = outer.key();
    let (status, headers) = last((&outer, 10), (&inner, 100), &key, 1);
    assert_eq!((status, said(&headers)), (200, vec!["10".to_owned(), "9".to_owned()]));
    assert!(!headers.contains_key("ratelimit-policy"));
    let (status, headers) = last((&outer, 100), (&inner, 20), &key, 1);
    assert_eq!((status, said(&headers)), (200, vec![r#""20-a-minute";r=19;t=60"#.to_owned()]));
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

/// The keys of one gate with these limits, over the store and the clock of `world`.
fn named(world: &World, limits: impl IntoIterator<Item = Limit>) -> ApiKeys<Arc<MemoryStore>> {
    let gate = Gate::builder(SECRET, world.issuer.verifier(), CredentialSource::bearer())
        .with_challenge(Challenge::bearer("named").unwrap())
        .with_limiter(limiter())
        .with_rate_headers(RateHeaders::x_ratelimit());
    let gate = limits.into_iter().fold(gate, GateBuilder::with_limit).build().unwrap();
    ApiKeys::new(gate, Arc::clone(&world.store), Arc::clone(&world.clock))
}

/// The remaining requests of the decision that the handler sees.
fn seen(request: &Request<()>) -> Option<u32> {
    request.extensions().get::<Decision>().map(|decision| decision.remaining)
}

#[test]
fn twenty_a_day_around_the_router_hold_beside_four_a_second_on_a_route() {
    let world = World::new();
    let keys = named(
        &world,
        [Limit::new("day", Quota::per_day(20)), Limit::new("burst", Quota::per_second(4))],
    );
    // The route names the limit of the router too. It is charged once.
    let router = keys.require(Access::any_key().with_limit("day")).unwrap();
    let route = keys.require(Access::any_key().with_limit("day").with_limit("burst")).unwrap();
    let service =
        ServiceBuilder::new().layer(router).layer(route).service_fn(async |request: Request<()>| {
            assert_eq!(seen(&request), Some(3), "the handler sees the decision of its own layer");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
    let key = world.key();
    let line = format!("Bearer {}", key.token);
    let mut statuses = Vec::new();
    for _ in 0..100 {
        let request = Request::builder().header("authorization", &line).body(()).unwrap();
        let answer = pollster::block_on(service.clone().oneshot(request)).unwrap();
        statuses.push(answer.status().as_u16());
        if statuses.len() == 18 {
            // Two are left of the day, and three of the second.
            assert_eq!(said(answer.headers()), ["20", "2"]);
        }
        world.clock.advance(Duration::from_secs(2));
    }
    assert_eq!(statuses[..20], [200; 20]);
    assert_eq!(statuses[20..], [429; 80]);
}

#[test]
fn a_limit_of_both_layers_is_charged_once_and_reported_by_the_outer_one() {
    let world = World::new();
    let keys = named(&world, [Limit::new("minute", Quota::per_minute(9))]);
    let layer = || keys.require(Access::any_key().with_limit("minute")).unwrap();
    let service = ServiceBuilder::new().layer(layer()).layer(layer()).layer(layer()).service_fn(
        async |request: Request<()>| {
            assert!(seen(&request).is_some(), "the handler sees what was charged for it");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        },
    );
    let (one, two) = (world.key(), world.key());
    for (key, left) in [(&one, "8"), (&one, "7"), (&two, "8"), (&one, "6")] {
        let line = format!("Bearer {}", key.token);
        let request = Request::builder().header("authorization", line).body(()).unwrap();
        let answer = pollster::block_on(service.clone().oneshot(request)).unwrap();
        assert_eq!(said(answer.headers()), ["9", left]);
    }
}

#[test]
fn an_inner_layer_of_another_gate_charges_its_own_limit_of_the_same_name() {
    let world = World::new();
    let limits = || [Limit::new("minute", Quota::per_minute(9))];
    let (outer, inner) = (named(&world, limits()), named(&world, limits()));
    let layer = |keys: &ApiKeys<_>| keys.require(Access::any_key().with_limit("minute")).unwrap();
    let key = world.key();
    let line = format!("Bearer {}", key.token);
    let send = |remaining: &str, layers: &[&ApiKeys<Arc<MemoryStore>>]| {
        let service = ServiceBuilder::new().layer(layer(layers[0])).layer(layer(layers[1]));
        let service = service.service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let request = Request::builder().header("authorization", &line).body(()).unwrap();
        let answer = pollster::block_on(service.oneshot(request)).unwrap();
        assert_eq!(said(answer.headers()), ["9", remaining]);
    };
    send("8", &[&outer, &inner]);
    send("7", &[&outer, &outer]);
    send("7", &[&inner, &inner]);
    send("6", &[&inner, &outer]);
}

#[test]
fn limits_count_by_what_the_host_finds_in_a_request() {
    const TENANT: u8 = 1;
    let world = World::new();
    let keys = named(
        &world,
        [
            Limit::new("address", Quota::per_minute(3)).per_address(),
            Limit::new("tenant", Quota::per_minute(2)).per(Subject::Host(TENANT)),
        ],
    );
    let route = || Access::any_key().with_limit("address").with_limit("tenant");
    let text = |keys: &ApiKeys<_>| keys.require(route()).err().unwrap().to_string();
    assert!(text(&keys).contains("ApiKeys::with_client_address"));
    let keys = keys.with_client_address(|parts| {
        Some(LimitKey::address(parts.headers.get("x-from")?.to_str().ok()?.parse().ok()?))
    });
    assert!(text(&keys).contains("ApiKeys::with_subject(1"));
    let keys = keys.with_subject(TENANT, |parts| {
        let tenant = parts.uri.path().strip_prefix("/tenants/")?;
        Some(LimitKey::host(TENANT, tenant.as_bytes()))
    });
    let service = ServiceBuilder::new().layer(keys.require(route()).unwrap()).service_fn(
        async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())),
    );
    let line = format!("Bearer {}", world.key().token);
    let send = |from: Option<&str>, path: &str| {
        let request = Request::builder().uri(path).header("authorization", &line);
        let request =
            from.into_iter().fold(request, |request, from| request.header("x-from", from));
        let answer = service.clone().oneshot(request.body(()).unwrap());
        pollster::block_on(answer).unwrap().status().as_u16()
    };
    let one = Some("192.0.2.1");
    assert_eq!([(); 3].map(|()| send(one, "/tenants/a")), [200, 200, 429]);
    assert_eq!([(); 2].map(|()| send(one, "/tenants/b")), [200, 429]);
    assert_eq!(send(Some("192.0.2.2"), "/tenants/b"), 200);
    assert_eq!(send(None, "/tenants/c"), 503);
    assert_eq!(send(one, "/elsewhere"), 503);
}
