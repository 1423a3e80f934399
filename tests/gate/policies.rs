//! Named limits where they meet: two on one key, two layers on one request, overrides on both.

use std::{cell::Cell, collections::HashMap, time::Duration};

use keyward::{
    Access, Challenge, CredentialSource, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher, Limiter,
    MemoryStore, Outcome, Quota, Quotas, Route, Timestamp,
    error::{ConfigError, ConfigErrorKind},
    gate::{Admission, Charged, CheckedRoute, GateBuilder, Refusal, Step},
    key::{Owner, OwnerId, Tier},
    limit::{Decision, Limit, LimitKey, LimiterConfig, PolicyTag, Rule, Subject},
    quota::{Allowance, Overrides, PolicyName, Precision},
    request::{PlainHead, PublicReason, RefusalReason, RequestHead},
};
use pollster::block_on;
use rand::{SeedableRng, rngs::StdRng};

const KEYS: KeyFormat = KeyFormat::hex("acme_");
const T0: Timestamp = Timestamp::from_unix_secs(1_700_000_000);
const ACME: OwnerId = OwnerId::from_static("acme");

fn at(millis: u64) -> Timestamp {
    T0 + Duration::from_millis(millis)
}

/// A store with some keys, and gates to it.
struct World {
    issuer: Issuer<MemoryStore>,
    rng: StdRng,
}

impl World {
    fn new() -> Self {
        let issuer = Issuer::new(MemoryStore::new(), KEYS, KeyHasher::sha256());
        Self { issuer, rng: StdRng::seed_from_u64(12) }
    }

    /// The head of requests with a new key.
    fn key(&mut self, draft: KeyDraft) -> PlainHead {
        let issued = self.issuer.issue(KEYS.kind(), draft, &mut self.rng, T0);
        let issued = block_on(issued).unwrap();
        PlainHead::new().with_header("authorization", format!("Bearer {}", issued.key.expose()))
    }

    fn builder(&self) -> GateBuilder {
        Gate::builder(KEYS, self.issuer.verifier(), CredentialSource::bearer())
            .with_challenge(Challenge::bearer("acme").unwrap())
    }

    fn gate(&self, limits: impl IntoIterator<Item = Limit>) -> Gate {
        let builder = self.builder().with_limiter(Limiter::new(LimiterConfig::default(), [3; 16]));
        limits.into_iter().fold(builder, GateBuilder::with_limit).build().unwrap()
    }

    fn check(&self, head: &PlainHead, route: &CheckedRoute, now: Timestamp) -> Outcome {
        route.gate().check_sync(head, route, self.issuer.registry(), now)
    }

    fn admits(&self, head: &PlainHead, route: &CheckedRoute, now: Timestamp) -> bool {
        matches!(self.check(head, route, now), Outcome::Admitted(_))
    }

    fn admitted(&self, head: &PlainHead, route: &CheckedRoute, now: Timestamp) -> Admission {
        match self.check(head, route, now) {
            Outcome::Admitted(admission) => admission,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&self, head: &PlainHead, route: &CheckedRoute, now: Timestamp) -> Refusal {
        self.check(head, route, now).refused().unwrap()
    }
}

fn draft() -> KeyDraft {
    KeyDraft::new(ACME, "key".parse().unwrap())
}

fn with(names: &[&str]) -> Route {
    names.iter().fold(Route::new(Access::any_key()), Route::with_limit)
}

fn name(text: &str) -> PolicyName {
    text.parse().unwrap()
}

fn tag(text: &str) -> PolicyTag {
    PolicyTag::of(&name(text))
}

// ---------------------------------------------------------------------------------------
// Limits that meet on one key.

#[test]
fn ten_an_hour_stay_ten_beside_twenty_a_second() {
    let mut world = World::new();
    let gate = world.gate([
        Limit::new("exports", Quota::per_hour(10)),
        Limit::new("reads", Quota::per_second(20)),
    ]);
    let (export, read) = (with(&["exports"]), with(&["reads"]));
    let [export, read] = [export, read].map(|route| gate.route(route).unwrap());
    let head = world.key(draft());
    let mut exports = Vec::new();
    for step in 0..600 {
        let now = at(step * 2_000);
        for _ in 0..12 {
            exports.extend(world.admits(&head, &export, now).then_some(now));
        }
        assert!(world.admits(&head, &read, now), "step {step}");
    }
    assert_eq!(exports, [T0; 10]);
    assert!(!world.admits(&head, &export, at(3_599_999)));
    assert!(world.admits(&head, &export, at(3_600_000)));
}

#[test]
fn five_a_minute_stay_five_beside_ten_a_second() {
    let mut world = World::new();
    let gate = world.gate([
        Limit::new("search", Quota::per_minute(5)),
        Limit::new("status", Quota::per_second(10)),
    ]);
    let [search, status] = ["search", "status"].map(|name| gate.route(with(&[name])).unwrap());
    let head = world.key(draft());
    let mut searches = 0;
    for step in 0..20 {
        let now = at(step * 1_500);
        searches += (0..8).filter(|_| world.admits(&head, &search, now)).count();
        assert!(world.admits(&head, &status, now));
    }
    assert_eq!(searches, 5);
}

#[test]
fn a_limit_that_is_used_up_waits_as_long_whatever_another_one_admits() {
    let mut world = World::new();
    let both = Quotas::new(&[Quota::per_minute(100), Quota::per_day(1_000)]).unwrap();
    let gate = world.gate([Limit::new("calls", both), Limit::new("pings", Quota::per_second(10))]);
    let [calls, pings] = ["calls", "pings"].map(|name| gate.route(with(&[name])).unwrap());
    let head = world.key(draft());
    let mut now = T0;
    for minute in 0..10 {
        now = at(minute * 60_000);
        (0..100).for_each(|_| assert!(world.admits(&head, &calls, now)));
    }
    let wait = |world: &World, now| {
        let refusal = world.refused(&head, &calls, now);
        assert_eq!(refusal.decision().unwrap().quota(), Quota::per_day(1_000));
        refusal.decision().unwrap().reset_at
    };
    let reset_at = wait(&world, now);
    assert_eq!(reset_at, at(86_400_000));
    let admission = world.admitted(&head, &pings, now);
    assert_eq!(admission.decision().unwrap().remaining, 9);
    assert_eq!(wait(&world, now), reset_at);
    let later = now + Duration::from_secs(3_600);
    assert!(world.admits(&head, &pings, later));
    assert_eq!(wait(&world, later), reset_at);
}

#[test]
fn routes_that_name_one_limit_count_together_and_a_name_twice_counts_once() {
    let mut world = World::new();
    let gate = world.gate([Limit::new("a", Quota::per_minute(3))]);
    let [one, two] = [with(&["a"]), with(&["a", "a"])].map(|route| gate.route(route).unwrap());
    let head = world.key(draft());
    assert_eq!(world.admitted(&head, &one, T0).decision().unwrap().remaining, 2);
    assert_eq!(world.admitted(&head, &two, T0).decision().unwrap().remaining, 1);
    assert_eq!(world.admitted(&head, &one, T0).decision().unwrap().remaining, 0);
    assert!(!world.admits(&head, &two, T0));
}

// ---------------------------------------------------------------------------------------
// Two layers on one request.

#[test]
fn an_inner_decision_charges_only_what_is_missing() {
    let mut world = World::new();
    let gate = world
        .gate([Limit::new("day", Quota::per_day(20)), Limit::new("burst", Quota::per_second(4))]);
    let outer = gate.route(with(&["day"])).unwrap();
    let inner = gate.route(with(&["day", "burst"])).unwrap();
    let head = world.key(draft());
    let mut served = 0;
    for step in 0..100 {
        let now = at(step * 2_000);
        let Outcome::Admitted(admission) = world.check(&head, &outer, now) else { continue };
        let charged = admission.charged(&outer).unwrap();
        let inside = world.admitted(&head.clone().with_charged(charged), &inner, now);
        // The limit that it charged itself is the one of its headers.
        assert_eq!(inside.policy(&inner), Some(&name("burst")));
        assert_eq!(inside.decision().unwrap().remaining, 3);
        served += 1;
    }
    assert_eq!(served, 20);
}

#[test]
fn what_was_charged_counts_for_the_same_gate_and_key_alone() {
    let mut world = World::new();
    let limit = || Limit::new("shared", Quota::per_minute(9)).shared();
    let (gate, other) = (world.gate([limit()]), world.gate([limit()]));
    let route = gate.route(with(&["shared"])).unwrap();
    let elsewhere = other.route(with(&["shared"])).unwrap();
    let (one, two) = (world.key(draft()), world.key(draft()));
    let charged: Charged = world.admitted(&one, &route, T0).charged(&route).unwrap();
    let remaining = |head: &PlainHead, route: &CheckedRoute| {
        let admission = world.admitted(&head.clone().with_charged(charged.clone()), route, T0);
        (admission.decision().map(|decision| decision.remaining), admission)
    };
    // Again here: nothing is charged, and that stays known to a third layer.
    let (again, admission) = remaining(&one, &route);
    assert_eq!((again, admission.policy(&route)), (None, None));
    assert!(admission.headers().next().is_none());
    let third = one.clone().with_charged(admission.charged(&route).unwrap());
    assert_eq!(world.admitted(&third, &route, T0).decision(), None);
    // Another key, another gate.
    assert_eq!(remaining(&two, &route).0, Some(7));
    let (first, admission) = remaining(&one, &elsewhere);
    assert_eq!(first, Some(8));
    // What both gates have charged, either of them knows.
    // The admission knows its route, so another one adds nothing.
    let apart = one.clone().with_charged(admission.charged(&route).unwrap());
    assert!(world.admitted(&apart, &elsewhere, T0).decision().is_some());
    assert_eq!(admission.policy(&route), None);
    let both = one.clone().with_charged(admission.charged(&elsewhere).unwrap());
    assert_eq!(world.admitted(&both, &route, T0).decision(), None);
    assert_eq!(world.admitted(&both, &elsewhere, T0).decision(), None);
}

/// A route that a request is decided on may be gone when what was charged is asked for, and another
/// route may then be in its place in memory.
#[test]
fn another_route_is_never_taken_for_the_one_that_was_charged() {
    let mut world = World::new();
    let gate = world.gate([Limit::new("a", Quota::per_day(9)), Limit::new("b", Quota::per_day(9))]);
    let [a, b] = [with(&["a"]), with(&["b"])].map(|route| gate.route(route).unwrap());
    let head = world.key(draft());
    let owner = draft().owner;
    let mut admissions = Vec::new();
    for _ in 0..4 {
        let narrowed = a.clone().with_owner(owner.clone());
        let admission = world.admitted(&head, &narrowed, T0);
        assert_eq!(admission.policy(&narrowed), Some(&name("a")));
        // The owner changes no limit.
        assert_eq!(admission.policy(&a), Some(&name("a")));
        admissions.push(admission);
        drop(narrowed);
        let other = b.clone().with_owner(owner.clone());
        for admission in &admissions {
            assert_eq!(admission.policy(&other), None);
            assert!(admission.charged(&other).is_none());
        }
    }
}

#[test]
fn a_limiter_elsewhere_is_asked_only_for_what_is_missing() {
    let mut world = World::new();
    let gate = ["a", "b"].into_iter().fold(world.builder(), |gate, name| {
        gate.with_limit(Limit::new(name, Quota::per_minute(9)))
    });
    let gate = gate.build().unwrap();
    let [outer, inner] = [with(&["a"]), with(&["a", "b"])].map(|route| gate.route(route).unwrap());
    let head = world.key(draft());
    let step = |head: &PlainHead, route: &CheckedRoute| {
        let Step::Lookup(pending) = gate.begin(head, route, T0) else { panic!() };
        let found = world.issuer.registry().find_sync(pending.lookup());
        pending.found(found, T0)
    };
    let decision = Decision::admitted_elsewhere(Quota::per_minute(9), 8, T0);
    let Step::Charge(pending) = step(&head, &outer) else { panic!() };
    let charged = pending.decided(decision, T0).admitted().unwrap().charged(&outer).unwrap();
    let head = head.with_charged(charged);
    let Step::Charge(pending) = step(&head, &inner) else { panic!() };
    assert_eq!(pending.policies().collect::<Vec<_>>(), [&name("b")]);
    let admission = pending.decided(decision, T0).admitted().unwrap();
    assert_eq!(admission.policy(&inner), Some(&name("b")));
    let Step::Done(Outcome::Admitted(admission)) = step(&head, &outer) else { panic!() };
    assert_eq!(admission.decision(), None);
}

// ---------------------------------------------------------------------------------------
// What a caller is allowed.

/// Every combination of a key's, an owner's, a tier's and the limit's own value, for both kinds of
/// limits that they can concern.
#[test]
fn blocked_goes_before_key_before_owner_before_tier_before_default() {
    const PAID: Tier = Tier::from_static("paid");
    let values = |limit| {
        [
            None,
            Some(Allowance::Blocked),
            Some(Allowance::Unlimited),
            Some(Allowance::from(Quota::per_minute(limit))),
        ]
    };
    let rule = |allowance: Allowance| match allowance {
        Allowance::Limited(quotas) => Rule::sliding(quotas),
        Allowance::Unlimited => Rule::unlimited(),
        _ => Rule::blocked(),
    };
    let overrides = |allowance: Option<Allowance>| match allowance {
        Some(allowance) => Overrides::single(name("a"), allowance),
        None => Overrides::none(),
    };
    let mut world = World::new();
    let mut cases = 0;
    for subject in [Subject::Key, Subject::Owner] {
        for default in values(4).into_iter().flatten() {
            for of_tier in values(3) {
                let limit = Limit::new("a", rule(default)).per(subject);
                let limit = of_tier
                    .into_iter()
                    .fold(limit, |limit, value| limit.with_tier(PAID, rule(value)));
                let gate = world.gate([limit]);
                let route = gate.route(with(&["a"])).unwrap();
                for of_owner in values(2) {
                    for of_key in values(1) {
                        let owner = Owner::new(ACME).with_tier(PAID);
                        let owner = owner.with_overrides(overrides(of_owner));
                        world.issuer.registry().put_owner_sync(owner);
                        let head = world.key(draft().with_overrides(overrides(of_key)));
                        let of_key = of_key.filter(|_| subject == Subject::Key);
                        let order = [of_key, of_owner, of_tier, Some(default)];
                        let mut order = order.into_iter().flatten();
                        let expected = match order.clone().any(|one| one == Allowance::Blocked) {
                            true => Allowance::Blocked,
                            false => order.next().unwrap(),
                        };
                        let what = format!("{subject}: {of_key:?} {of_owner:?} {of_tier:?}");
                        match (expected, world.check(&head, &route, T0)) {
                            (Allowance::Blocked, Outcome::Refused(refusal)) => {
                                assert_eq!(refusal.public(), PublicReason::Blocked, "{what}");
                            }
                            (Allowance::Unlimited, Outcome::Admitted(admission)) => {
                                assert_eq!(admission.decision(), None, "{what}");
                            }
                            (Allowance::Limited(quotas), Outcome::Admitted(admission)) => {
                                let quota = admission.decision().unwrap().quota();
                                assert_eq!([quota], *quotas.as_slice(), "{what}");
                            }
                            // All keys of the owner share one window, which is then used up.
                            (Allowance::Limited(quotas), Outcome::Refused(refusal)) => {
                                assert_eq!(subject, Subject::Owner, "{what}");
                                let quota = refusal.decision().unwrap().quota();
                                assert_eq!([quota], *quotas.as_slice(), "{what}");
                            }
                            (expected, outcome) => panic!("{what}: {expected}, {outcome:?}"),
                        }
                        cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cases, 2 * 3 * 4 * 4 * 4);
}

#[test]
fn overrides_concern_no_limit_of_another_subject_or_name() {
    let mut world = World::new();
    let gate = world.gate([
        Limit::new("all", Quota::per_minute(9)).shared(),
        Limit::new("address", Quota::per_minute(8)).per_address(),
        Limit::new("tenant", Quota::per_minute(7)).per(Subject::Host(1)),
        Limit::new("owner", Quota::per_minute(6)).per_owner(),
    ]);
    let all = ["all", "address", "tenant", "owner", "nobody's"];
    let all = all.map(|text| PolicyName::new(text.trim_end_matches("'s")).unwrap());
    let overrides = all.iter().fold(Overrides::none(), |overrides, name| {
        overrides.with(name.clone(), Allowance::Blocked).unwrap()
    });
    let owner = Owner::new(ACME).with_overrides(overrides.clone().without(&name("owner")));
    world.issuer.registry().put_owner_sync(owner);
    let head = world.key(draft().with_overrides(overrides));
    let head = head
        .with_address(LimitKey::address([192, 0, 2, 7].into()))
        .with_subject(1, LimitKey::host(1, b"tenant"));
    let route = gate.route(with(&["all", "address", "tenant", "owner"])).unwrap();
    assert_eq!(world.admitted(&head, &route, T0).decision().unwrap().limit, 6);
}

#[test]
fn a_blocked_caller_is_403_and_charged_nothing() {
    let mut world = World::new();
    let gate = world.gate([
        Limit::new("calls", Quota::per_minute(9)),
        Limit::new("exports", Quota::per_minute(9)),
    ]);
    let [calls, both] = [with(&["calls"]), with(&["calls", "exports"])];
    let [calls, both] = [calls, both].map(|route| gate.route(route).unwrap());
    let blocked = draft().with_override(name("exports"), Allowance::Blocked).unwrap();
    let head = world.key(blocked);
    for _ in 0..20 {
        let refusal = world.refused(&head, &both, T0);
        assert_eq!((refusal.status(), refusal.public()), (403, PublicReason::Blocked));
        assert!(matches!(refusal.reason(), RefusalReason::Blocked { .. }));
        assert_eq!(refusal.policy(), Some(&name("exports")));
        assert_eq!(refusal.decision(), None);
        assert!(refusal.headers().all(|header| header.name() != "retry-after"));
        assert_eq!(refusal.body(), br#"{"error":"Access is blocked"}"#);
    }
    assert_eq!(world.admitted(&head, &calls, T0).decision().unwrap().remaining, 8);
}

#[test]
fn an_unlimited_caller_is_not_charged_and_needs_no_limiter() {
    let mut world = World::new();
    let limits = [Limit::new("a", Quota::per_minute(1)), Limit::new("b", Quota::per_minute(5))];
    let gate = world.gate(limits.clone());
    let elsewhere = limits.into_iter().fold(world.builder(), GateBuilder::with_limit);
    let elsewhere = elsewhere.build().unwrap();
    let head = world.key(draft().with_override(name("a"), Allowance::Unlimited).unwrap());
    let [a, both] = [with(&["a"]), with(&["a", "b"])].map(|route| gate.route(route).unwrap());
    for left in (0..5).rev() {
        assert_eq!(world.admitted(&head, &a, T0).decision(), None);
        let admission = world.admitted(&head, &both, T0);
        assert_eq!(admission.policy(&both), Some(&name("b")));
        assert_eq!(admission.decision().unwrap().remaining, left);
    }
    let refusal = world.refused(&head, &both, T0);
    assert_eq!(refusal.policy(), Some(&name("b")));
    assert!(world.admits(&head, &elsewhere.route(with(&["a"])).unwrap(), T0));
    let refusal = world.refused(&head, &elsewhere.route(with(&["a", "b"])).unwrap(), T0);
    assert!(matches!(refusal.reason(), RefusalReason::NoLimiter));
}

#[test]
fn a_cost_that_no_window_holds_is_403_unless_the_host_chooses() {
    use keyward::ErrorBodies;
    let mut world = World::new();
    let head = world.key(draft());
    let dear = |errors: ErrorBodies| {
        let gate = world.builder().with_limiter(Limiter::system().unwrap()).with_errors(errors);
        let gate = gate.with_limit(Limit::new("a", Quota::per_minute(5))).build()?;
        let route = gate.route(with(&["a"]).with_cost(6))?;
        let refusal = world.refused(&head, &route, T0);
        assert_eq!(refusal.public(), PublicReason::CostAboveLimit);
        assert!(refusal.headers().all(|header| header.name() != "retry-after"));
        let body = String::from_utf8(refusal.body().to_vec()).unwrap();
        Ok::<_, ConfigError>((refusal.status(), body))
    };
    let cost = PublicReason::CostAboveLimit;
    let text = "The request costs more than its limit allows";
    for (errors, status, body) in [
        (ErrorBodies::flat(), 403, format!(r#"{{"error":"{text}"}}"#)),
        (
            ErrorBodies::nested().with_status(cost, 413),
            413,
            format!(r#"{{"error":{{"code":"TOO_LARGE","message":"{text}"}}}}"#),
        ),
        (
            ErrorBodies::problem_details().with_status(cost, 429),
            429,
            format!(
                r#"{{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"{text}"}}"#
            ),
        ),
    ] {
        assert_eq!(dear(errors), Ok((status, body)));
    }
    for (reason, status) in [
        (cost, 401),
        (cost, 503),
        (cost, 200),
        (PublicReason::InvalidKey, 403),
        (PublicReason::RateLimited, 403),
    ] {
        let error = dear(ErrorBodies::flat().with_status(reason, status)).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Text);
        assert!(error.to_string().contains("ErrorBodies::with_status"), "{error}");
    }
}

/// The same where the host charges: the charger is not asked, and could not have decided.
#[test]
fn a_cost_that_no_window_holds_is_403_where_the_host_charges() {
    let mut world = World::new();
    let head = world.key(draft());
    let limits = [Limit::new("a", Quota::per_minute(9)), Limit::new("b", Quota::per_minute(5))];
    let gate = limits.into_iter().fold(world.builder(), GateBuilder::with_limit).build().unwrap();
    for (cost, is_asked) in [(5, true), (6, false), (u32::MAX, false)] {
        let route = gate.route(with(&["a", "b"]).with_cost(cost)).unwrap();
        let Step::Lookup(pending) = gate.begin(&head, &route, T0) else { panic!() };
        let found = world.issuer.registry().find_sync(pending.lookup());
        match pending.found(found, T0) {
            Step::Charge(_) => assert!(is_asked, "cost {cost}"),
            Step::Done(outcome) => {
                let refusal = outcome.refused().unwrap();
                assert!(!is_asked, "cost {cost}");
                assert_eq!(refusal.public(), PublicReason::CostAboveLimit);
                assert_eq!(refusal.status(), 403);
                assert!(refusal.headers().all(|header| header.name() != "retry-after"));
            }
            Step::Lookup(_) => panic!(),
        }
    }
}

// ---------------------------------------------------------------------------------------
// Subjects.

#[test]
fn each_subject_is_counted_by_itself_and_under_its_policy() {
    let mut world = World::new();
    let tenants = Subject::Host(7);
    let names = ["keys", "owners", "addresses", "all", "tenants"];
    let limits = [
        Limit::new("keys", Quota::per_minute(9)).per_key(),
        Limit::new("owners", Quota::per_minute(9)).per_owner(),
        Limit::new("addresses", Quota::per_minute(9)).per_address(),
        Limit::new("all", Quota::per_minute(9)).shared(),
        Limit::new("tenants", Quota::per_minute(9)).per(tenants),
    ];
    let gate = limits.into_iter().fold(world.builder(), GateBuilder::with_limit).build().unwrap();
    let route = gate.route(with(&names)).unwrap();
    let (address, tenant) = (LimitKey::address([192, 0, 2, 7].into()), LimitKey::host(7, b"t"));
    let head = world.key(draft()).with_address(address).with_subject(7, tenant);
    let Step::Lookup(pending) = gate.begin(&head, &route, T0) else { panic!() };
    let found = world.issuer.registry().find_sync(pending.lookup());
    let Step::Charge(pending) = pending.found(found, T0) else { panic!() };
    let expected = [
        LimitKey::from(pending.verified().key_id()),
        LimitKey::from(&ACME),
        address,
        LimitKey::shared(),
        tenant,
    ];
    let tagged = expected.into_iter().zip(names).map(|(key, name)| key.with_policy(tag(name)));
    assert_eq!(
        pending.limits().map(|(key, _)| key).collect::<Vec<_>>(),
        tagged.collect::<Vec<_>>()
    );
}

#[test]
fn a_limit_per_address_counts_networks_whatever_their_keys_are() {
    let mut world = World::new();
    let gate = world.gate([Limit::new("address", Quota::per_minute(2)).per_address()]);
    let route = gate.route(with(&["address"])).unwrap();
    let from =
        |head: PlainHead, text: &str| head.with_address(LimitKey::address(text.parse().unwrap()));
    let mut send = |text| {
        let head = world.key(draft());
        world.admits(&from(head, text), &route, T0)
    };
    let sent = ["192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.8", "2001:db8::1"].map(&mut send);
    assert_eq!(sent, [true, true, false, true, true]);
}

#[test]
fn a_request_without_the_subject_of_a_limit_is_503_before_the_lookup() {
    let mut world = World::new();
    let gate = world.gate([
        Limit::new("keys", Quota::per_minute(2)),
        Limit::new("address", Quota::per_minute(2)).per_address(),
        Limit::new("tenant", Quota::per_minute(2)).per(Subject::Host(3)),
    ]);
    let head = world.key(draft());
    let there = head
        .clone()
        .with_address(LimitKey::address([192, 0, 2, 7].into()))
        .with_subject(2, LimitKey::host(2, b"another"));
    for (head, limits, missing) in [
        (&head, &["keys", "address"][..], "address"),
        (&there, &["address", "tenant", "keys"], "tenant"),
    ] {
        let route = gate.route(with(limits)).unwrap();
        let Step::Done(outcome) = gate.begin(head, &route, T0) else { panic!("looked up") };
        let refusal = outcome.refused().unwrap();
        assert_eq!((refusal.status(), refusal.policy()), (503, Some(&name(missing))));
        assert!(matches!(refusal.reason(), RefusalReason::NoSubject { .. }));
        assert!(refusal.reason().to_string().contains("RequestHead::subject"));
        // The client has not caused it, and learns nothing of it.
        assert_eq!(refusal.body(), br#"{"error":"Service unavailable"}"#);
        // Without a credential it is still a request without a credential.
        let refusal = world.refused(&PlainHead::new(), &route, T0);
        assert_eq!(refusal.status(), 401);
    }
    assert!(world.admits(&there, &gate.route(with(&["keys", "address"])).unwrap(), T0));
}

/// A host may compute a subject at some cost, and malformed requests come in floods.
#[test]
fn subjects_are_read_only_for_what_has_the_form_of_a_key() {
    struct Counting<'h>(&'h PlainHead, Cell<u32>);
    impl RequestHead for Counting<'_> {
        fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
            self.0.header(name)
        }

        fn query(&self) -> Option<&[u8]> {
            None
        }

        fn subject(&self, number: u8) -> Option<LimitKey> {
            self.1.set(self.1.get() + 1);
            Some(LimitKey::host(number, b"tenant"))
        }
    }
    let mut world = World::new();
    let gate = world.gate([Limit::new("tenant", Quota::per_minute(9)).per(Subject::Host(3))]);
    let route = gate.route(with(&["tenant"])).unwrap();
    let bearing = |token| PlainHead::new().with_header("authorization", token);
    for (head, reads, status) in [
        (PlainHead::new(), 0, Some(401)),
        (bearing("Bearer acme_short"), 0, Some(401)),
        (bearing("Bearer other_prefix"), 0, Some(401)),
        (world.key(draft()), 1, None),
    ] {
        let head = Counting(&head, Cell::new(0));
        let outcome = gate.check_sync(&head, &route, world.issuer.registry(), T0);
        assert_eq!(outcome.refused().map(|refusal| refusal.status()), status);
        assert_eq!(head.1.get(), reads);
    }
}

// ---------------------------------------------------------------------------------------
// Wiring.

fn build(limits: impl IntoIterator<Item = Limit>) -> Result<Gate, ConfigError> {
    let builder = World::new().builder();
    limits.into_iter().fold(builder, GateBuilder::with_limit).build()
}

/// Asserts that the limits are refused by a text with these words.
fn refused(limits: impl IntoIterator<Item = Limit>, words: &[&str]) {
    let error = build(limits).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Limit, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_gate_refuses_limits_that_would_not_do_what_they_say() {
    let quota = Quota::per_minute(1);
    refused([Limit::new("two words", quota)], &["two words", "Limit::new"]);
    refused([Limit::new("", quota)], &["Limit::new"]);
    let twice = ["a", "b", "a"].map(|name| Limit::new(name, quota));
    refused(twice, &["two limits are named \"a\"", "GateBuilder::with_limit"]);
    let paid = Tier::from_static("paid");
    for subject in [Subject::Address, Subject::Shared, Subject::Host(0)] {
        let tiered = Limit::new("a", quota).with_tier(paid.clone(), quota).per(subject);
        refused([tiered], &["\"a\"", "Limit::with_tier", "Limit::per_key"]);
    }
    assert!(build([Limit::new("a", quota).with_tier(paid, quota).per_owner()]).is_ok());
}

#[test]
fn two_names_of_one_tag_are_refused() {
    let mut names: HashMap<PolicyTag, String> = HashMap::new();
    let (one, two) = (0..)
        .find_map(|number| {
            let text = format!("policy-{number}");
            let other = names.insert(tag(&text), text.clone())?;
            Some((other, text))
        })
        .unwrap();
    assert_eq!(tag(&one), tag(&two));
    let quota = Quota::per_minute(1);
    refused([&one, &two].map(|name| Limit::new(name, quota)), &[&one, &two, "the same tag"]);
    assert!(build([Limit::new(&one, quota)]).is_ok());
    // The tag of keys without a policy belongs to no name.
    let mut names = (0..).map(|number| format!("policy-{number}"));
    let zero = names.find(|text| tag(text).as_u16() == 0).unwrap();
    refused([Limit::new(&zero, quota)], &[&zero, "without a policy"]);
}

#[test]
fn a_route_names_declared_limits_and_at_most_eight() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let gate = build(names.map(|name| Limit::new(name, Quota::per_minute(1)))).unwrap();
    assert!(gate.has_limit("i") && !gate.has_limit("j"));
    let error = gate.route(with(&["a", "j"])).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Route);
    assert!(error.to_string().contains("\"j\"") && error.to_string().contains("with_limit"));
    assert_eq!(Limiter::MAX_LIMITS, 8);
    assert!(gate.route(with(&names[..8])).is_ok());
    let error = gate.route(with(&names)).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Route);
    assert!(error.to_string().contains("Route::with_limit"), "{error}");
    let route = gate.route(with(&["a", "b"])).unwrap();
    assert_eq!(route.subjects().collect::<Vec<_>>(), [Subject::Key; 2]);
}

// ---------------------------------------------------------------------------------------
// Precision.

#[test]
fn quotas_of_one_window_have_the_precision_of_the_largest_declared() {
    let (paid, trial) = (Tier::from_static("paid"), Tier::from_static("trial"));
    // A default of 100 would be exact, and 5,000 coarse. A day has another length.
    let quotas = Quotas::new(&[Quota::per_minute(100), Quota::per_day(1_000)]).unwrap();
    let limit = Limit::new("a", quotas)
        .with_tier(paid.clone(), Quota::per_minute(5_000))
        .with_tier(trial, Quota::per_minute(10));
    let exact = Quota::per_minute(100).with_precision(Precision::Exact);
    let other = Limit::new("b", exact);
    let mut world = World::new();
    let gate = [limit, other].into_iter().fold(world.builder(), GateBuilder::with_limit);
    let gate = gate.build().unwrap();
    let route = gate.route(with(&["a", "b"])).unwrap();
    let mut charged = |draft: KeyDraft| -> [Vec<(u32, Precision)>; 2] {
        let head = world.key(draft);
        let Step::Lookup(pending) = gate.begin(&head, &route, T0) else { panic!() };
        let found = world.issuer.registry().find_sync(pending.lookup());
        let Step::Charge(pending) = pending.found(found, T0) else { panic!() };
        let of = |quotas: &Quotas| -> Vec<_> {
            quotas.as_slice().iter().map(|quota| (quota.limit(), quota.precision())).collect()
        };
        let limits: Vec<_> = pending.limits().map(|(_, quotas)| of(quotas)).collect();
        limits.try_into().unwrap()
    };
    let (exact, coarse) = (Precision::Exact, Precision::Coarse);
    assert_eq!(charged(draft()), [vec![(100, coarse), (1_000, exact)], vec![(100, exact)]]);
    // Overrides follow, where exact precision can hold them.
    let both = Overrides::single(name("a"), Quota::per_minute(7));
    let both = both.with(name("b"), Quota::per_minute(2_000)).unwrap();
    assert_eq!(charged(draft().with_overrides(both)), [vec![(7, coarse)], vec![(2_000, exact)]]);
    let huge = Quotas::new(&[Quota::per_minute(70_000), Quota::per_hour(5)]).unwrap();
    let huge = Overrides::single(name("b"), huge);
    assert_eq!(
        charged(draft().with_overrides(huge)),
        [vec![(100, coarse), (1_000, exact)], vec![(70_000, coarse), (5, exact)]]
    );
}

#[test]
fn a_throttled_response_can_name_the_policy_and_the_window() {
    use keyward::{ErrorBodies, request::ErrorText};
    let mut world = World::new();
    let head = world.key(draft());
    let blocked = world.key(draft().with_override(name("a"), Allowance::Blocked).unwrap());
    let worded = ErrorText::new("{policy}: {quota}").with_policy("p").with_quota("q");
    for (errors, expected, of_blocked) in [
        (
            ErrorBodies::flat(),
            r#"{"error":"Rate limit exceeded"}"#,
            r#"{"error":"Access is blocked"}"#,
        ),
        (
            ErrorBodies::nested().with_text(PublicReason::RateLimited, worded),
            r#"{"error":{"code":"RATE_LIMITED","message":"a: 1/min","p":"a","q":"1/min"}}"#,
            r#"{"error":{"code":"FORBIDDEN","message":"Access is blocked"}}"#,
        ),
        (
            ErrorBodies::problem_details(),
            concat!(
                r#"{"type":"about:blank","title":"Too Many Requests","status":429,"#,
                r#""detail":"Rate limit exceeded","policy":"a","quota":"1/min"}"#
            ),
            concat!(
                r#"{"type":"about:blank","title":"Forbidden","status":403,"#,
                r#""detail":"Access is blocked","policy":"a"}"#
            ),
        ),
    ] {
        let gate = world.builder().with_limiter(Limiter::system().unwrap()).with_errors(errors);
        let gate = gate.with_limit(Limit::new("a", Quota::per_minute(1))).build().unwrap();
        let route = gate.route(with(&["a"])).unwrap();
        assert!(world.admits(&head, &route, T0));
        let body = |head| String::from_utf8(world.refused(head, &route, T0).body().to_vec());
        assert_eq!(body(&head).unwrap(), expected);
        assert_eq!(body(&blocked).unwrap(), of_blocked);
    }
}
