//! What a client is told of its limits: the headers of admissions and refusals, and the status of
//! every policy of a route without using one.

use std::time::Duration;

use keyward::{
    Access, Challenge, CredentialSource, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher, Limiter,
    ManualClock, MemoryStore, Quota, Quotas, RateHeaders, Timestamp,
    gate::{CheckedRoute, GateBuilder},
    key::OwnerId,
    limit::{Limit, LimiterConfig, Rule},
    quota::{Allowance, PolicyName},
    request::{Draft, PlainHead, RefusalReason},
};
use pollster::block_on;
use rand::{SeedableRng, rngs::StdRng};

const KEYS: KeyFormat = KeyFormat::hex("acme_");
const T0: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

struct World {
    issuer: Issuer<MemoryStore>,
    head: PlainHead,
}

impl World {
    fn new(draft: KeyDraft) -> Self {
        let issuer = Issuer::new(MemoryStore::new(), KEYS, KeyHasher::sha256());
        let rng = &mut StdRng::seed_from_u64(5);
        let issued = block_on(issuer.issue(KEYS.kind(), draft, rng, T0)).unwrap();
        let authorization = format!("Bearer {}", issued.key.expose());
        Self { issuer, head: PlainHead::new().with_header("authorization", authorization) }
    }

    fn builder(&self) -> GateBuilder {
        Gate::builder(KEYS, self.issuer.verifier(), CredentialSource::bearer())
            .with_challenge(Challenge::bearer("acme").unwrap())
            .with_rate_headers(RateHeaders::x_ratelimit().with_draft(Draft::V09))
            .with_limit(Limit::new("search", Quota::per_minute(3)))
            .with_limit(
                Limit::new(
                    "all",
                    Quotas::new(&[Quota::per_second(20), Quota::per_day(1_000)]).unwrap(),
                )
                .per_owner(),
            )
            .with_limit(Limit::new("free", Rule::unlimited()))
    }

    fn route(&self) -> CheckedRoute {
        let limiter = Limiter::new(LimiterConfig::default(), [3; 16]);
        let gate = self.builder().with_limiter(limiter).build().unwrap();
        let route = Access::any_key().with_limit("search").with_limit("all").with_limit("free");
        gate.route(route).unwrap()
    }

    /// The status and the headers of a request.
    fn send(&self, route: &CheckedRoute, now: Timestamp) -> (u16, Vec<String>) {
        let store = self.issuer.registry();
        let outcome = route.gate().check_sync(&self.head, route, store, now);
        match outcome {
            keyward::Outcome::Admitted(admission) => {
                (200, admission.headers().map(|header| header.to_string()).collect())
            }
            keyward::Outcome::Refused(refusal) => {
                (refusal.status(), refusal.headers().map(|header| header.to_string()).collect())
            }
            other => panic!("{other:?}"),
        }
    }
}

fn draft() -> KeyDraft {
    KeyDraft::new(OwnerId::from_static("acme"), "laptop".parse().unwrap())
}

#[test]
fn headers_list_every_policy_and_tell_the_binding_one() {
    let world = World::new(draft());
    let route = world.route();
    let policy =
        r#"ratelimit-policy: "search";q=3;w=60, "all/1";q=20;w=1, "all/86400";q=1000;w=86400"#;
    for remaining in [2, 1, 0] {
        let (status, headers) = world.send(&route, T0);
        assert_eq!(status, 200);
        assert_eq!(
            headers,
            [
                "x-ratelimit-limit: 3".to_owned(),
                format!("x-ratelimit-remaining: {remaining}"),
                "x-ratelimit-reset: 1700000060".to_owned(),
                policy.to_owned(),
                format!(r#"ratelimit: "search";r={remaining};t=60"#),
            ]
        );
    }
    let (status, headers) = world.send(&route, T0 + Duration::from_secs(48));
    assert_eq!(status, 429);
    assert!(headers.iter().any(|header| header == policy), "{headers:?}");
    assert!(headers.iter().any(|header| header == r#"ratelimit: "search";r=0;t=12"#));
    assert!(headers.iter().any(|header| header == "retry-after: 12"));
}

#[test]
fn a_503_tells_when_to_try_again() {
    let world = World::new(draft());
    let limiter = Limiter::new(LimiterConfig::default(), [3; 16]);
    for (wait, told) in
        [(None, "1"), (Some(Duration::ZERO), "1"), (Some(Duration::from_millis(2_001)), "3")]
    {
        let builder = match wait {
            None => world.builder(),
            Some(wait) => world.builder().with_retry_after_unavailable(wait),
        };
        let gate = builder.build().unwrap();
        let route = gate.route(Access::any_key().with_limit("search")).unwrap();
        let failed = gate.check_with(
            &world.head,
            &route,
            |_| Err(std::io::Error::other("down")),
            &ManualClock::new(T0),
        );
        let refusal = failed.refused().unwrap();
        assert_eq!(refusal.status(), 503);
        let after: Vec<_> =
            refusal.headers().filter(|header| header.name() == "retry-after").collect();
        assert_eq!(after.iter().map(|header| header.value()).collect::<Vec<_>>(), [told]);
    }
    // Nobody is told to try again with a wrong key.
    let gate = world.builder().with_limiter(limiter).build().unwrap();
    let route = gate.route(Access::any_key()).unwrap();
    let refusal = gate.check_sync(&PlainHead::new(), &route, world.issuer.registry(), T0).refused();
    assert!(refusal.unwrap().headers().all(|header| header.name() != "retry-after"));
}

#[test]
fn status_tells_every_policy_of_a_route_and_uses_nothing() {
    let own = PolicyName::from_static("free");
    let world = World::new(draft().with_override(own, Allowance::Unlimited).unwrap());
    let route = world.route();
    let gate = route.gate();
    let caller = {
        let free = gate.route(Access::any_key()).unwrap();
        let outcome = gate.check_sync(&world.head, &free, world.issuer.registry(), T0);
        outcome.admitted().unwrap().into_caller()
    };
    for used in 0..=3 {
        let status = gate.status(&world.head, &route, &caller, T0).unwrap();
        assert_eq!(gate.status(&world.head, &route, &caller, T0).unwrap(), status);
        let [search, all, free] = &status[..] else { panic!("{status:?}") };
        let names = [search, all, free].map(|status| status.policy.as_str());
        assert_eq!(names, ["search", "all", "free"]);
        let remaining = |windows: &[keyward::limit::WindowStatus]| -> Vec<(u32, u32, u32)> {
            let numbers =
                windows.iter().map(|window| (window.quota.limit(), window.used, window.remaining));
            numbers.collect()
        };
        assert_eq!(remaining(&search.windows), [(3, used, 3 - used)]);
        assert_eq!(remaining(&all.windows), [(20, used, 20 - used), (1_000, used, 1_000 - used)]);
        assert_eq!((free.allowance, free.windows.len()), (Allowance::Unlimited, 0));
        assert_eq!(world.send(&route, T0).0, if used < 3 { 200 } else { 429 });
    }
}

#[test]
fn status_of_a_limiter_elsewhere_is_the_hosts_to_ask() {
    let world = World::new(draft());
    let gate = world.builder().build().unwrap();
    let route = gate.route(Access::any_key().with_limit("search").with_limit("all")).unwrap();
    let free = gate.route(Access::any_key()).unwrap();
    let outcome = gate.check_sync(&world.head, &free, world.issuer.registry(), T0);
    let caller = outcome.admitted().unwrap().into_caller();
    let status = gate.status(&world.head, &route, &caller, T0);
    assert!(matches!(status, Err(RefusalReason::NoLimiter)));
    let allowances = gate.allowances(&world.head, &route, &caller).unwrap();
    assert_eq!(allowances.len(), 2);
    assert_eq!(allowances[0].allowance, Quota::per_minute(3).into());
    assert_ne!(allowances[0].key, allowances[1].key);
    // Another gate's route tells nothing.
    let foreign = world.route();
    assert!(matches!(
        gate.allowances(&world.head, &foreign, &caller),
        Err(RefusalReason::ForeignRoute)
    ));
}
