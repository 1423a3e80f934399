//! Networks, origins and vetoes behind a layer: the address of the client is what the host's own proxies
//! have written.

mod support;

use std::{convert::Infallible, future::ready, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use keyward::{
    Access, KeyDraft, MemoryStore, Quota, SysRng,
    key::KeyName,
    limit::Limit,
    request::{PublicReason, RefusalReason, TrustedProxies, Veto},
};
use keyward_tower::ApiKeys;
use support::*;
use tower::{Layer, ServiceExt, service_fn};

/// The peer of a connection, as a server puts it into the extensions.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn issue(world: &World, change: impl FnOnce(KeyDraft) -> KeyDraft) -> String {
    let draft = change(KeyDraft::new(ACME, KeyName::from_static("test")));
    let issue = async { world.issuer.issue(SECRET.kind(), draft, &mut SysRng, NOON).await };
    pollster::block_on(issue).unwrap().key.expose().to_owned()
}

fn proxied(world: &World) -> ApiKeys<Arc<MemoryStore>> {
    let proxies = TrustedProxies::x_forwarded_for(["192.168.0.0/16".parse().unwrap()]);
    world
        .keys()
        .with_client_ip(|parts| parts.extensions.get().map(|Peer(peer)| *peer))
        .with_trusted_proxies(proxies)
}

/// Returns the status, and the reason of a refusal.
fn send(
    keys: &ApiKeys<Arc<MemoryStore>>,
    route: impl Into<keyward::Route>,
    token: &str,
    peer: Option<&str>,
    headers: &[(&str, &str)],
) -> (u16, Option<PublicReason>) {
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut request = request.body(()).unwrap();
    if let Some(peer) = peer {
        request.extensions_mut().insert(Peer(ip(peer)));
    }
    let inner = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
    let layer = keys.require(route).unwrap();
    let response = pollster::block_on(layer.layer(inner).oneshot(request)).unwrap();
    let reason = response.extensions().get::<RefusalReason>().map(RefusalReason::public);
    (response.status().as_u16(), reason)
}

#[test]
fn the_network_of_a_key_is_checked_against_what_the_own_proxies_wrote() {
    let world = World::new();
    let key = issue(&world, |draft| draft.with_networks("10.0.0.0/8".parse().unwrap()));
    let keys = proxied(&world);
    let forbidden = (403, Some(PublicReason::ForbiddenNetwork));
    for (peer, forwarded, expected) in [
        (Some("10.0.0.1"), None, (200, None)),
        (Some("11.0.0.1"), None, forbidden),
        // Nobody's proxy.
        (Some("11.0.0.1"), Some("10.0.0.1"), forbidden),
        (Some("192.168.0.1"), Some("10.0.0.1"), (200, None)),
        // The client wrote the first one, and the proxy the second.
        (Some("192.168.0.1"), Some("10.0.0.1, 11.0.0.1"), forbidden),
        (Some("192.168.0.1"), Some("11.0.0.1, 10.0.0.1"), (200, None)),
        (Some("192.168.0.1"), Some("unknown"), (503, Some(PublicReason::Unavailable))),
        (None, Some("10.0.0.1"), (503, Some(PublicReason::Unavailable))),
    ] {
        let headers: Vec<_> =
            forwarded.into_iter().map(|value| ("x-forwarded-for", value)).collect();
        let found = send(&keys, Access::any_key(), &key, peer, &headers);
        assert_eq!(found, expected, "{peer:?} {forwarded:?}");
    }
}

#[test]
fn limits_per_address_count_the_client_behind_the_proxies() {
    let world = World::with_gate(|gate| {
        gate.with_limiter(limiter())
            .with_limit(Limit::new("address", Quota::per_minute(1)).per_address())
    });
    let (key, keys) = (issue(&world, |draft| draft), proxied(&world));
    let route = || Access::any_key().with_limit("address");
    let from = |client: &str| {
        send(&keys, route(), &key, Some("192.168.0.1"), &[("x-forwarded-for", client)]).0
    };
    assert_eq!([from("1.1.1.1"), from("1.1.1.1"), from("9.9.9.9, 1.1.1.1")], [200, 429, 429]);
    assert_eq!(from("2.2.2.2"), 200);
}

#[test]
fn origins_and_vetoes_refuse_before_the_charge() {
    let world = World::new();
    let key = issue(&world, |draft| draft.with_origins("https://app.example".parse().unwrap()));
    let keys = world.keys().with_veto(|parts| {
        let is_barred = parts.headers.contains_key("x-barred");
        is_barred.then(|| Veto::new(|_| Err("barred")))
    });
    let route = || limited(Access::any_key(), 1);
    let app = ("origin", "https://app.example");
    for (headers, expected) in [
        (&[][..], (403, Some(PublicReason::ForbiddenOrigin))),
        (&[("origin", "https://evil.example")], (403, Some(PublicReason::ForbiddenOrigin))),
        (&[app, ("x-barred", "1")], (403, Some(PublicReason::Vetoed))),
        // None of them was charged.
        (&[app], (200, None)),
        (&[app], (429, Some(PublicReason::RateLimited))),
    ] {
        assert_eq!(send(&keys, route(), &key, None, headers), expected, "{headers:?}");
    }
}

#[test]
fn proxies_without_a_peer_are_a_mistake_at_start() {
    let world = World::new();
    let proxies = TrustedProxies::forwarded(["192.168.0.0/16".parse().unwrap()]);
    let keys = world.keys().with_trusted_proxies(proxies);
    let error = keys.require(Access::any_key()).unwrap_err();
    assert!(error.to_string().contains("ApiKeys::with_client_ip"), "{error}");
}
