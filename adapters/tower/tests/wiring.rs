//! Wirings that are inconsistent.

mod support;

use std::{convert::Infallible, future::ready, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use keyward::{
    Access, ConfigError, MemoryStore, Quota, Scope,
    error::ConfigErrorKind,
    gate::GateBuilder,
    key::KeyKind,
    limit::{Decision, LimitKey},
    request::RefusalReason,
};
use keyward_tower::{ApiKeyLayer, ApiKeys};
use support::*;
use tower::{Layer, ServiceExt, service_fn};

type Keys = ApiKeys<Arc<MemoryStore>>;

fn plain(gate: GateBuilder) -> GateBuilder {
    gate
}

fn limiting(gate: GateBuilder) -> GateBuilder {
    gate.with_limiter(limiter())
}

fn counting(gate: GateBuilder) -> GateBuilder {
    gate.limit_failed_attempts(limiter(), Quota::per_minute(1))
}

fn passing(gate: GateBuilder) -> GateBuilder {
    gate.allow_foreign()
}

fn as_it_is(keys: Keys) -> Keys {
    keys
}

fn elsewhere(keys: Keys) -> Keys {
    keys.charge_with(|_, _| ready(Err::<Decision, _>(Down)))
}

fn addressed(keys: Keys) -> Keys {
    keys.with_client_address(|_| Some(LimitKey::address([192, 0, 2, 7].into())))
}

#[test]
fn inconsistent_settings_are_rejected() {
    type Gate = fn(GateBuilder) -> GateBuilder;
    type Wiring = fn(Keys) -> Keys;

    const NO_LIMITER: Option<&str> = Some(
        "the route has limits but the gate has no limiter; call GateBuilder::with_limiter or \
         ApiKeys::charge_with",
    );
    const TWO_LIMITERS: Option<&str> = Some(
        "the gate has a limiter, so ApiKeys::charge_with would never be called; drop that \
         call, or GateBuilder::with_limiter, or call ApiKeysBuilder::without_limiter",
    );
    const NO_ADDRESS: Option<&str> = Some(
        "the gate limits failed attempts but no client has an address; call \
         ApiKeys::with_client_ip or ApiKeys::with_client_address",
    );
    const UNCHECKED: Option<&str> = Some(
        "the gate leaves foreign credentials to the host but nothing checks them; check \
         ForeignCredential in the inner service and call ApiKeys::handle_foreign",
    );
    let cases: [(Gate, Wiring, Option<&str>, Option<&str>); 9] = [
        // The gate, the wiring; the error for a route without limits, and for one with limits.
        (plain, as_it_is, None, NO_LIMITER),
        (limiting, as_it_is, None, None),
        (plain, elsewhere, None, None),
        (limiting, elsewhere, TWO_LIMITERS, TWO_LIMITERS),
        (counting, as_it_is, NO_ADDRESS, NO_ADDRESS),
        (counting, addressed, None, NO_LIMITER),
        (plain, addressed, None, NO_LIMITER),
        (passing, as_it_is, UNCHECKED, UNCHECKED),
        (passing, ApiKeys::handle_foreign, None, NO_LIMITER),
    ];
    for (at, (gate, wiring, unlimited, limited)) in cases.into_iter().enumerate() {
        let world = World::with_gate(gate);
        let keys = ApiKeys::new(world.gate.clone(), world.store.clone(), world.clock.clone());
        let keys = wiring(keys);
        let text = |error: ConfigError| {
            assert_eq!(error.kind(), ConfigErrorKind::Layer, "{at}");
            error.to_string()
        };
        assert_eq!(keys.require(Access::any_key()).err().map(text).as_deref(), unlimited, "{at}");
        assert_eq!(keys.require(reading(1)).err().map(text).as_deref(), limited, "{at}");
        // The route is only known per request.
        let route = world.gate.route(reading(1)).unwrap();
        let layer = keys.require_by(move |_| route.clone());
        assert_eq!(layer.err().map(text).as_deref(), unlimited, "{at}");
    }
}

#[test]
fn a_limited_route_without_a_limiter_returns_503() {
    let world = World::with_gate(plain);
    let keys = world.keys();
    let route = world.gate.route(reading(1)).unwrap();
    let layer = keys.require_by(move |_| route.clone()).unwrap();
    let (status, reason) = send(&layer, &world.key());
    assert_eq!(status, 503);
    assert!(matches!(reason, Some(RefusalReason::NoLimiter)));
}

#[test]
fn a_route_of_another_gate_returns_503() {
    let (world, other) = (World::new(), World::new());
    let key = world.key();
    let foreign = other.gate.route(Access::any_key()).unwrap();
    let layer = world.keys().require_by(move |_| foreign.clone()).unwrap();
    let (status, reason) = send(&layer, &key);
    assert_eq!(status, 503);
    assert!(matches!(reason, Some(RefusalReason::ForeignRoute)));
    // A clone of the gate counts as the same gate.
    let own = world.gate.clone().route(Access::any_key()).unwrap();
    let layer = world.keys().require_by(move |_| own.clone()).unwrap();
    assert_eq!(send(&layer, &key).0, 200);
}

#[test]
fn a_layer_with_unknown_scopes_or_kinds_is_rejected() {
    let keys = World::new().keys();
    for access in [
        Access::scope(Scope::from_static("raed:data")),
        Access::kinds([KeyKind::from_static("luki_")]),
    ] {
        let error = keys.require(access.clone()).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Route, "{access:?}");
    }
}

/// Returns the status and the refusal reason of a request through this layer.
fn send(layer: &ApiKeyLayer<Arc<MemoryStore>>, key: &Key) -> (u16, Option<RefusalReason>) {
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let line = format!("Bearer {}", key.token);
    let request = Request::builder().header("authorization", line).body(()).unwrap();
    let response = pollster::block_on(service.oneshot(request)).unwrap();
    (response.status().as_u16(), response.extensions().get().cloned())
}
