//! Where a key may be used: networks, origins and the veto of the host, after the proof of the secret and
//! before the charge.

use std::{
    convert::Infallible,
    future::ready,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyward::{
    Access, Challenge, CredentialSource, ErrorBodies, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher,
    Limiter, ManualClock, MemoryStore, Outcome, Quota, SysRng, Timestamp,
    clock::Clock,
    gate::{Charge, CheckedRoute, Driver, GateBuilder, PendingCharge},
    issue::Issued,
    key::{Allowlist, OwnerId},
    limit::{Decision, Limit, LimiterConfig},
    request::{PlainHead, PublicReason, RefusalReason, TrustedProxies, Veto},
};
use pollster::block_on;

const API: KeyFormat = KeyFormat::hex("acme_");
const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

struct World {
    issuer: Issuer<MemoryStore>,
}

impl World {
    fn new() -> Self {
        Self { issuer: Issuer::new(MemoryStore::new(), API, KeyHasher::sha256()) }
    }

    fn key(&self, change: impl FnOnce(KeyDraft) -> KeyDraft) -> Issued {
        let draft = KeyDraft::new(OwnerId::from_static("acme"), "ci".parse().unwrap());
        block_on(self.issuer.issue(API.kind(), change(draft), &mut SysRng, NOW)).unwrap()
    }

    fn in_networks(&self, networks: &str) -> Issued {
        self.key(|draft| draft.with_networks(networks.parse().unwrap()))
    }

    fn on_origins(&self, origins: &str) -> Issued {
        self.key(|draft| draft.with_origins(origins.parse().unwrap()))
    }

    fn gate(&self, change: impl FnOnce(GateBuilder) -> GateBuilder) -> Gate {
        let gate = Gate::builder(API, self.issuer.verifier(), CredentialSource::bearer())
            .with_challenge(Challenge::bearer("acme").unwrap().with_errors())
            .with_limit(Limit::new("requests", Quota::per_minute(10)));
        change(gate).build().unwrap()
    }

    /// A gate that counts, and a route with a limit.
    fn route(&self) -> CheckedRoute {
        let limiter = Limiter::new(LimiterConfig::default(), [1; 16]);
        let gate = self.gate(|gate| gate.with_limiter(limiter));
        gate.route(Access::any_key().with_limit("requests")).unwrap()
    }

    fn decide(&self, head: &PlainHead, route: &CheckedRoute) -> Outcome {
        route.gate().check_sync(head, route, self.issuer.registry(), NOW)
    }

    /// The requests that the key has left.
    fn remaining(&self, key: &Issued, route: &CheckedRoute) -> u32 {
        let free = self.gate(|gate| gate).route(Access::any_key()).unwrap();
        let head = PlainHead::new().with_client_ip(ip("10.0.0.1")).with_header("origin", ORIGIN);
        let head = head.with_header("authorization", format!("Bearer {}", key.key.expose()));
        let admission = self.decide(&head, &free).admitted().expect("the key is good");
        let status = route.gate().status(&head, route, admission.caller(), NOW).unwrap();
        status[0].windows[0].remaining
    }
}

const ORIGIN: &str = "https://app.example.com";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn bearing(key: &Issued) -> PlainHead {
    PlainHead::new().with_header("authorization", format!("Bearer {}", key.key.expose()))
}

fn reason(outcome: Outcome) -> Option<(u16, PublicReason)> {
    outcome.refused().map(|refusal| (refusal.status(), refusal.public()))
}

#[test]
fn a_key_is_good_in_its_networks_alone_and_a_refusal_uses_nothing() {
    let world = World::new();
    let (key, route) = (world.in_networks("10.0.0.0/8 2001:db8::/32"), world.route());
    for _ in 0..20 {
        for outside in ["11.0.0.1", "2001:db9::1", "::10.0.0.1", "127.0.0.1"] {
            let head = bearing(&key).with_client_ip(ip(outside));
            let found = reason(world.decide(&head, &route));
            assert_eq!(found, Some((403, PublicReason::ForbiddenNetwork)), "{outside}");
        }
    }
    assert_eq!(world.remaining(&key, &route), 10, "nothing was charged");
    for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"] {
        let head = bearing(&key).with_client_ip(ip(inside));
        assert_eq!(reason(world.decide(&head, &route)), None, "{inside}");
    }
    assert_eq!(world.remaining(&key, &route), 7);
    // A key without a list is good everywhere, with and without an address.
    let free = world.key(|draft| draft);
    for head in [bearing(&free), bearing(&free).with_client_ip(ip("11.0.0.1"))] {
        assert_eq!(reason(world.decide(&head, &route)), None);
    }
    // Without an address nobody can tell.
    let refusal = world.decide(&bearing(&key), &route).refused().unwrap();
    assert_eq!(refusal.status(), 503);
    assert!(matches!(refusal.reason(), RefusalReason::NoClientAddress));
}

#[test]
fn a_key_is_good_on_its_origins_alone() {
    let world = World::new();
    let (key, route) =
        (world.on_origins("https://app.example.com http://localhost:3000"), world.route());
    for (sent, admitted) in [
        (&[ORIGIN][..], true),
        (&["http://localhost:3000"], true),
        (&[], false),
        (&[""], false),
        (&["null"], false),
        (&["https://app.example.com.evil.example"], false),
        (&["https://app.example.com/"], false),
        (&["https://APP.example.com"], false),
        (&["http://app.example.com"], false),
        (&["https://evil.example"], false),
        (&[ORIGIN, "https://evil.example"], false),
        (&["https://evil.example", ORIGIN], false),
        (&[ORIGIN, ORIGIN], true),
    ] {
        let head =
            sent.iter().fold(bearing(&key), |head, origin| head.with_header("origin", origin));
        let found = reason(world.decide(&head, &route));
        let expected = (!admitted).then_some((403, PublicReason::ForbiddenOrigin));
        assert_eq!(found, expected, "{sent:?}");
    }
    assert_eq!(world.remaining(&key, &route), 7, "three were admitted");
}

#[test]
fn only_a_proved_key_learns_that_it_is_elsewhere() {
    let world = World::new();
    let (key, route) = (world.in_networks("10.0.0.0/8"), world.route());
    let outside = ip("11.0.0.1");
    let unknown = format!("Bearer acme_{}", "0".repeat(64));
    let head = PlainHead::new().with_header("authorization", unknown).with_client_ip(outside);
    assert_eq!(reason(world.decide(&head, &route)), Some((401, PublicReason::InvalidKey)));
    block_on(world.issuer.revoke(key.record.id(), NOW)).unwrap();
    let head = bearing(&key).with_client_ip(outside);
    assert_eq!(reason(world.decide(&head, &route)), Some((401, PublicReason::RevokedKey)));
}

#[test]
fn a_veto_runs_after_the_proof_and_before_the_charge() {
    let world = World::new();
    let (key, route) = (world.key(|draft| draft), world.route());
    let calls = Arc::new(AtomicUsize::new(0));
    let veto = |admits: bool| {
        let calls = Arc::clone(&calls);
        Veto::new(move |verified| {
            calls.fetch_add(1, Ordering::SeqCst);
            assert_eq!(verified.owner_id().as_str(), "acme");
            if admits { Ok(()) } else { Err("not today") }
        })
    };
    // Nothing is proved: nobody asks the host.
    let unknown = format!("Bearer acme_{}", "0".repeat(64));
    let head = PlainHead::new().with_header("authorization", unknown).with_veto(veto(false));
    assert_eq!(reason(world.decide(&head, &route)), Some((401, PublicReason::InvalidKey)));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    for _ in 0..20 {
        let refusal =
            world.decide(&bearing(&key).with_veto(veto(false)), &route).refused().unwrap();
        assert_eq!((refusal.status(), refusal.public()), (403, PublicReason::Vetoed));
        assert_eq!(refusal.reason().to_string(), "vetoed by the host: not today");
        assert_eq!(refusal.body(), br#"{"error":"Access denied"}"#);
        assert_eq!(refusal.key_id(), Some(key.record.id()));
        assert!(refusal.headers().all(|header| header.name() == "content-type"));
    }
    assert_eq!(world.remaining(&key, &route), 10);
    assert_eq!(reason(world.decide(&bearing(&key).with_veto(veto(true)), &route)), None);
    assert_eq!(world.remaining(&key, &route), 9);
    assert_eq!(calls.load(Ordering::SeqCst), 21);
}

#[test]
fn the_host_chooses_statuses_and_texts() {
    let world = World::new();
    let key = world.in_networks("10.0.0.0/8");
    let errors = ErrorBodies::flat()
        .with_text(PublicReason::ForbiddenNetwork, "Ask for your network to be added")
        .with_status(PublicReason::ForbiddenNetwork, 404)
        .with_status(PublicReason::ForbiddenOrigin, 400)
        .with_status(PublicReason::Vetoed, 422);
    let gate = world.gate(|gate| gate.with_errors(errors));
    let route = gate.route(Access::any_key()).unwrap();
    let head = bearing(&key).with_client_ip(ip("11.0.0.1"));
    let refusal = world.decide(&head, &route).refused().unwrap();
    assert_eq!(refusal.status(), 404);
    assert_eq!(refusal.body(), br#"{"error":"Ask for your network to be added"}"#);
    let vetoed = world.key(|draft| draft);
    let head = bearing(&vetoed).with_veto(Veto::new(|_| Err("no")));
    assert_eq!(reason(world.decide(&head, &route)), Some((422, PublicReason::Vetoed)));
    let refused = ErrorBodies::flat().with_status(PublicReason::Vetoed, 401);
    let gate = Gate::builder(API, world.issuer.verifier(), CredentialSource::bearer())
        .with_challenge(Challenge::bearer("acme").unwrap())
        .with_errors(refused);
    assert!(gate.build().is_err());
}

/// The list that counts is that of the record when the wait ends, also after a charge elsewhere.
#[test]
fn a_list_that_changes_during_a_charge_elsewhere_decides_and_refunds() {
    let world = World::new();
    let key = world.in_networks("10.0.0.0/8");
    let clock = ManualClock::new(NOW);
    let route = world.gate(|gate| gate).route(Access::any_key().with_limit("requests")).unwrap();
    let refunds = Arc::new(AtomicUsize::new(0));
    let charger = |_: &PendingCharge, now: Timestamp| {
        clock.advance(Duration::from_millis(101));
        let elsewhere: Allowlist<_> = "192.168.0.0/16".parse().unwrap();
        block_on(world.issuer.set_networks(key.record.id(), Some(elsewhere), NOW)).unwrap();
        let decision = Decision::admitted_elsewhere(Quota::per_minute(10), 9, now);
        let refunds = Arc::clone(&refunds);
        let charge = Charge::from(decision).with_refund(async move {
            refunds.fetch_add(1, Ordering::SeqCst);
        });
        ready(Ok::<_, Infallible>(charge))
    };
    let driver = Driver::new(world.issuer.registry(), &clock).with_charger(Some(&charger));
    let head = bearing(&key).with_client_ip(ip("10.0.0.1"));
    let outcome = block_on(driver.decide(&head, &route));
    assert_eq!(reason(outcome), Some((403, PublicReason::ForbiddenNetwork)));
    assert_eq!(refunds.load(Ordering::SeqCst), 1);
    assert!(clock.now() > NOW);
}

/// Everything together: the address that counts is what the host's own proxy has written.
#[test]
fn a_client_cannot_write_itself_into_a_network() {
    let world = World::new();
    let (key, route) = (world.in_networks("10.0.0.0/8"), world.route());
    let own = || ["192.168.0.0/16".parse().unwrap()];
    for (header, proxies, claims) in [
        (
            "x-forwarded-for",
            TrustedProxies::x_forwarded_for(own()),
            ["10.0.0.1", "10.0.0.1, 192.168.0.9", "\"10.0.0.1", "10.0.0.1,"],
        ),
        (
            "forwarded",
            TrustedProxies::forwarded(own()),
            ["for=10.0.0.1", "for=10.0.0.1, for=192.168.0.9", "for=\"10.0.0.1", "for=10.0.0.1;"],
        ),
    ] {
        for claim in claims {
            let written = |client: &str| match header {
                "forwarded" => format!("{claim}, for={client}"),
                _ => format!("{claim}, {client}"),
            };
            for (peer, line, admitted) in [
                ("203.0.113.7", claim.to_owned(), false),
                ("192.168.0.1", written("203.0.113.7"), false),
                ("192.168.0.1", written("10.9.9.9"), true),
            ] {
                let head = bearing(&key).with_header(header, line);
                let client = proxies.client(ip(peer), &head).expect("an address");
                let outcome = world.decide(&head.with_client_ip(client), &route);
                assert_eq!(outcome.admitted().is_some(), admitted, "{peer} {claim}");
            }
        }
    }
}
