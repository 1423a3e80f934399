//! Waits: what a gate does after a store or a limiter elsewhere took its time.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyward::{
    Access, Challenge, CredentialSource, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher, KeyStore,
    Limiter, ManualClock, MemoryStore, Outcome, Quota, Timestamp,
    clock::Clock,
    gate::{Charge, CheckedRoute, Driver, PendingCharge},
    key::{Grace, KeyFormats, KeyId, OwnerId},
    limit::{Decision, Limit, LimiterConfig},
    request::{PlainHead, RefusalReason},
    store::{Lookup, StoredKey},
    verify::VerifyError,
};
use pollster::block_on;
use rand::{SeedableRng, rngs::StdRng};

const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
const START: Timestamp = Timestamp::from_unix_secs(1_767_323_045);
const MILLI: Duration = Duration::from_millis(1);

/// A service with one key under ten requests a second.
struct World {
    issuer: Issuer<Arc<MemoryStore>>,
    clock: ManualClock,
    id: KeyId,
    head: PlainHead,
}

impl World {
    fn new(draft: KeyDraft) -> Self {
        let store = Arc::new(MemoryStore::new());
        let issuer = Issuer::new(store, KeyFormats::from(FORMAT), KeyHasher::sha256());
        let rng = &mut StdRng::seed_from_u64(7);
        let issued = block_on(issuer.issue(FORMAT.kind(), draft, rng, START)).unwrap();
        let authorization = format!("Bearer {}", issued.key.expose());
        let head = PlainHead::new().with_header("authorization", &authorization);
        Self { issuer, clock: ManualClock::new(START), id: issued.record.id(), head }
    }

    fn route(&self, limiter: Option<Limiter>) -> CheckedRoute {
        let source = CredentialSource::bearer();
        let gate = Gate::builder(FORMAT, self.issuer.verifier(), source)
            .with_challenge(Challenge::bearer("waits").unwrap())
            .with_limit(Limit::new("search", Quota::per_second(10)));
        let gate = match limiter {
            Some(limiter) => gate.with_limiter(limiter),
            None => gate,
        };
        gate.build().unwrap().route(Access::any_key().with_limit("search")).unwrap()
    }
}

fn draft() -> KeyDraft {
    KeyDraft::new(OwnerId::from_static("acme"), "laptop".parse().unwrap())
}

fn refused(outcome: Outcome) -> RefusalReason {
    outcome.refused().expect("refused").reason().clone()
}

/// A store whose answer arrives when the clock reaches an instant.
struct Until<'w>(&'w World, Timestamp);

impl KeyStore for Until<'_> {
    type Error = Infallible;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Infallible> {
        self.0.clock.set(self.1);
        Ok(self.0.issuer.registry().find_sync(lookup))
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Infallible> {
        Ok(self.0.issuer.registry().find_by_id_sync(id))
    }
}

/// Ten a second, and in twenty milliseconds twenty requests that each waited 1.2 s for the store:
/// they are counted when they are decided.
#[test]
fn requests_that_waited_for_the_store_are_counted_on_arrival() {
    let world = World::new(draft());
    let route = world.route(Some(Limiter::new(LimiterConfig::default(), [1; 16])));
    let arrival = START + 1_200 * MILLI;
    let mut admitted = 0;
    for step in 0..20 {
        for _ in 0..20 {
            let began = START + step * MILLI;
            world.clock.set(began);
            let store = Until(&world, arrival + step * MILLI);
            let outcome = block_on(route.gate().check(&world.head, &route, &store, &world.clock));
            admitted += usize::from(outcome.admitted().is_some());
        }
    }
    assert_eq!(admitted, 10);
}

/// The same without a future, where the function blocks.
#[test]
fn a_function_that_blocked_is_judged_on_arrival() {
    let world = World::new(draft().with_expiry(START + 50 * MILLI));
    let route = world.route(Some(Limiter::new(LimiterConfig::default(), [1; 16])));
    for (takes, stands) in [(49, true), (50, false)] {
        world.clock.set(START);
        let find = |lookup: &Lookup| {
            world.clock.advance(takes * MILLI);
            Ok::<_, Infallible>(world.issuer.registry().find_sync(lookup))
        };
        let outcome = route.gate().check_with(&world.head, &route, find, &world.clock);
        assert_eq!(outcome.admitted().is_some(), stands, "{takes} ms");
    }
}

/// A limiter elsewhere that takes its time, and counts what it is asked to give back.
#[derive(Default)]
struct Elsewhere {
    refunded: Arc<AtomicUsize>,
}

impl Elsewhere {
    fn drive(
        &self,
        world: &World,
        route: &CheckedRoute,
        takes: Duration,
        meanwhile: impl Fn(),
    ) -> Outcome {
        let charger = |_: &PendingCharge, now: Timestamp| {
            world.clock.advance(takes);
            meanwhile();
            let reset = now + Duration::from_secs(1);
            let decision = Decision::admitted_elsewhere(Quota::per_second(10), 9, reset);
            let refunded = Arc::clone(&self.refunded);
            let charge = Charge::from(decision).with_refund(async move {
                refunded.fetch_add(1, Ordering::SeqCst);
            });
            std::future::ready(Ok::<_, Infallible>(charge))
        };
        let store = Until(world, world.clock.now());
        let driver = Driver::new(&store, &world.clock).with_charger(Some(&charger));
        block_on(driver.decide(&world.head, route))
    }

    fn refunded(&self) -> usize {
        self.refunded.load(Ordering::SeqCst)
    }
}

#[test]
fn a_key_that_expires_while_it_is_charged_is_refused_and_refunded() {
    let world = World::new(draft().with_expiry(START + 50 * MILLI));
    let (route, elsewhere) = (world.route(None), Elsewhere::default());
    assert!(elsewhere.drive(&world, &route, 49 * MILLI, || ()).admitted().is_some());
    assert_eq!(elsewhere.refunded(), 0);
    let reason = refused(elsewhere.drive(&world, &route, MILLI, || ()));
    // The lookup found it in force at 49 ms, and the limiter came back at 50 ms.
    assert!(matches!(reason, RefusalReason::Withdrawn(VerifyError::Expired)), "{reason}");
    assert_eq!(elsewhere.refunded(), 1);
}

#[test]
fn a_grace_that_ends_while_it_is_charged_is_refused_and_refunded() {
    let world = World::new(draft());
    let (route, elsewhere) = (world.route(None), Elsewhere::default());
    let rng = &mut StdRng::seed_from_u64(8);
    let grace = Grace::new(Duration::from_secs(60)).unwrap();
    block_on(world.issuer.rotate(world.id, grace, rng, START)).unwrap();
    world.clock.set(START + Duration::from_millis(59_999));
    let reason = refused(elsewhere.drive(&world, &route, MILLI, || ()));
    assert!(matches!(reason, RefusalReason::Withdrawn(VerifyError::PastGrace)), "{reason}");
    assert_eq!(elsewhere.refunded(), 1);
}

/// After a short wait the record is not asked again; after a long one it is, once and by its id.
#[test]
fn a_key_that_is_revoked_during_a_long_charge_is_refused_and_refunded() {
    for (takes, stands) in [(100, true), (101, false), (5_000, false)] {
        let world = World::new(draft());
        let (route, elsewhere) = (world.route(None), Elsewhere::default());
        let revoke = || {
            block_on(world.issuer.revoke(world.id, START)).unwrap();
        };
        let outcome = elsewhere.drive(&world, &route, takes * MILLI, revoke);
        assert_eq!(elsewhere.refunded(), usize::from(!stands), "{takes} ms");
        if stands {
            assert!(outcome.admitted().is_some(), "{takes} ms");
        } else {
            let reason = refused(outcome);
            assert!(matches!(reason, RefusalReason::Withdrawn(VerifyError::Revoked)), "{reason}");
        }
    }
}

/// The bound is the host's, and a store that fails then admits nobody.
#[test]
fn the_second_look_after_a_charge_fails_closed() {
    struct Down<'w>(Until<'w>);
    impl KeyStore for Down<'_> {
        type Error = std::io::Error;
        async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Self::Error> {
            Ok(self.0.find(lookup).await.unwrap())
        }
        async fn find_by_id(&self, _: KeyId) -> Result<Option<StoredKey>, Self::Error> {
            Err(std::io::Error::other("down"))
        }
    }
    let world = World::new(draft());
    let route = world.route(None);
    for (bound, status) in [(Duration::from_secs(2), None), (Duration::from_secs(1), Some(503))] {
        let charger = |_: &PendingCharge, now: Timestamp| {
            world.clock.advance(Duration::from_millis(1_500));
            let decision = Decision::admitted_elsewhere(Quota::per_second(10), 9, now);
            std::future::ready(Ok::<_, Infallible>(decision))
        };
        let store = Down(Until(&world, world.clock.now()));
        let driver = Driver::new(&store, &world.clock).with_recheck_after(bound);
        let outcome = block_on(driver.with_charger(Some(&charger)).decide(&world.head, &route));
        assert_eq!(outcome.refused().map(|refusal| refusal.status()), status);
    }
}
