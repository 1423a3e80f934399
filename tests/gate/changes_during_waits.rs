//! Every wait of the gate against every change of a key during it: the outcome is that of the record when
//! the wait ends.

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use keyward::{
    Access, Challenge, CredentialSource, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher, KeyStore,
    Limiter, ManualClock, MemoryStore, Outcome, Quota, Quotas, Route, Scope, Timestamp,
    clock::Clock,
    gate::{Charge, CheckedRoute, Driver, PendingCharge, Step},
    issue::Issued,
    key::{
        Grace, KeyFormats, KeyId, KeyKind, KeyRecord, Owner, OwnerId, ScopeCatalog, ScopeSet,
        StoredSecret, Tier,
    },
    limit::{Decision, Limit, LimitKey, LimiterConfig, PolicyTag, Rule},
    quota::{Allowance, Overrides, PolicyName},
    request::PlainHead,
    store::{Lookup, StoredKey},
};
use pollster::block_on;
use rand::{SeedableRng, rngs::StdRng};

const OLD: KeyFormat = KeyFormat::hex("old_").with_successor(KeyKind::from_static("new_"));
const NEW: KeyFormat = KeyFormat::hex("new_");
const READ: Scope = Scope::from_static("read");
const WRITE: Scope = Scope::from_static("write");
const ACME: OwnerId = OwnerId::from_static("acme");
const RIVAL: OwnerId = OwnerId::from_static("rival");
const GOLD: Tier = Tier::from_static("gold");
const START: Timestamp = Timestamp::from_unix_secs(1_767_323_045);
/// Longer than the driver takes for a short wait.
const LONG: Duration = Duration::from_millis(101);

/// A service with one key of acme, which may read, of a kind that has a successor.
struct World {
    issuer: Issuer<Arc<MemoryStore>>,
    clock: ManualClock,
    key: Issued,
    head: PlainHead,
    rng: Mutex<StdRng>,
}

impl World {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let formats = KeyFormats::new([OLD, NEW]).unwrap();
        let catalog = ScopeCatalog::new([READ, WRITE])
            .and_then(|catalog| catalog.allow(OLD.kind(), [READ], [READ, WRITE]))
            .and_then(|catalog| catalog.allow(NEW.kind(), [READ], [READ, WRITE]))
            .unwrap();
        let issuer = Issuer::with_catalog(store, formats, KeyHasher::sha256(), catalog);
        let mut rng = StdRng::seed_from_u64(7);
        let draft = KeyDraft::new(ACME, "laptop".parse().unwrap());
        let key = block_on(issuer.issue(NEW.kind(), draft, &mut rng, START)).unwrap();
        let authorization = format!("Bearer {}", key.key.expose());
        let head = PlainHead::new()
            .with_header("authorization", &authorization)
            .with_client_ip("10.0.0.1".parse().unwrap());
        Self { issuer, clock: ManualClock::new(START), key, head, rng: Mutex::new(rng) }
    }

    fn store(&self) -> &MemoryStore {
        self.issuer.registry()
    }

    fn id(&self) -> KeyId {
        self.key.record.id()
    }

    fn route(&self, route: Route, limiter: Option<Limiter>) -> CheckedRoute {
        let source = CredentialSource::bearer();
        let gate = Gate::builder(self.issuer.formats().clone(), self.issuer.verifier(), source)
            .with_challenge(Challenge::bearer("waits").unwrap())
            .with_limit(
                Limit::new("requests", Quota::per_minute(10))
                    .with_tier(GOLD, Quota::per_minute(1_000)),
            )
            .with_limit(Limit::new("of_owner", Rule::sliding(Quota::per_minute(10))).per_owner());
        let gate = match limiter {
            Some(limiter) => gate.with_limiter(limiter),
            None => gate,
        };
        gate.build().unwrap().route(route).unwrap()
    }

    /// Removes the key, and stores another one with the same id.
    fn reimport(&self, owner: OwnerId, secret: StoredSecret) {
        block_on(self.issuer.revoke(self.id(), START)).unwrap();
        assert_eq!(self.store().purge_sync(Timestamp::MAX, 10), [self.id()]);
        let draft = KeyDraft::new(owner, "again".parse().unwrap())
            .with_scopes(ScopeSet::new([READ]).unwrap());
        let record = KeyRecord::import(self.id(), draft, secret, START).unwrap();
        self.store().insert_sync(record).unwrap();
    }
}

/// A change of the key or its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    Renamed,
    RotatedWithGrace,
    RotatedNow,
    SecretOfAnotherKey,
    KindOfTheSecret,
    ScopeTaken,
    ScopeGiven,
    OwnerReplaced,
    TierGiven,
    TierTaken,
    Blocked,
    OwnerBlocked,
    MoreAllowed,
    Unlimited,
    Suspended,
    Revoked,
    Expired,
    Purged,
    OwnerSuspended,
    NetworkTaken,
    NetworkGiven,
}

const CHANGES: [Change; 22] = [
    Change::Nothing,
    Change::Renamed,
    Change::RotatedWithGrace,
    Change::RotatedNow,
    Change::SecretOfAnotherKey,
    Change::KindOfTheSecret,
    Change::ScopeTaken,
    Change::ScopeGiven,
    Change::OwnerReplaced,
    Change::TierGiven,
    Change::TierTaken,
    Change::Blocked,
    Change::OwnerBlocked,
    Change::MoreAllowed,
    Change::Unlimited,
    Change::Suspended,
    Change::Revoked,
    Change::Expired,
    Change::Purged,
    Change::OwnerSuspended,
    Change::NetworkTaken,
    Change::NetworkGiven,
];

impl Change {
    fn apply(self, world: &World) {
        let (issuer, id, now) = (&world.issuer, world.id(), START);
        let rng = &mut *world.rng.lock().unwrap();
        let own = world.key.record.current().clone();
        let overrides =
            |allowance| Overrides::single(PolicyName::new("requests").unwrap(), allowance);
        let allow = |allowance| {
            block_on(issuer.set_overrides(id, overrides(allowance), now)).unwrap();
        };
        match self {
            Self::Nothing => {}
            Self::Renamed => {
                block_on(issuer.rename(id, "desk".parse().unwrap(), now)).unwrap();
            }
            Self::RotatedWithGrace => {
                block_on(issuer.rotate(id, Grace::DAY, rng, now)).unwrap();
            }
            Self::RotatedNow => {
                block_on(issuer.rotate_now(id, rng, now)).unwrap();
            }
            Self::SecretOfAnotherKey => {
                let other = NEW.mint(rng).unwrap();
                world.reimport(ACME, StoredSecret::of(&other, &KeyHasher::sha256(), now));
            }
            Self::KindOfTheSecret => {
                world.reimport(ACME, StoredSecret::new(own.hash, OLD.kind(), now));
            }
            Self::ScopeTaken => {
                block_on(issuer.set_scopes(id, ScopeSet::empty(), now)).unwrap();
            }
            Self::ScopeGiven => {
                let both = ScopeSet::new([READ, WRITE]).unwrap();
                block_on(issuer.set_scopes(id, both, now)).unwrap();
            }
            Self::OwnerReplaced => world.reimport(RIVAL, own),
            Self::TierGiven => world.store().put_owner_sync(Owner::new(ACME).with_tier(GOLD)),
            Self::TierTaken => world.store().put_owner_sync(Owner::new(ACME)),
            Self::Blocked => allow(Allowance::Blocked),
            Self::OwnerBlocked => {
                let owner = Owner::new(ACME).with_overrides(overrides(Allowance::Blocked));
                world.store().put_owner_sync(owner);
            }
            Self::MoreAllowed => allow(Allowance::from(Quota::per_minute(50))),
            Self::Unlimited => allow(Allowance::Unlimited),
            Self::Suspended => {
                block_on(issuer.suspend(id, now)).unwrap();
            }
            Self::Revoked => {
                block_on(issuer.revoke(id, now)).unwrap();
            }
            Self::Expired => {
                block_on(issuer.expire_at(id, now + Duration::from_millis(1), now)).unwrap();
            }
            Self::Purged => {
                block_on(issuer.revoke(id, now)).unwrap();
                world.store().purge_sync(Timestamp::MAX, 10);
            }
            Self::OwnerSuspended => {
                block_on(issuer.suspend_owner(&ACME, now)).unwrap();
            }
            // The client is in 10.0.0.0/8.
            Self::NetworkTaken => {
                let elsewhere = Some("192.168.0.0/16".parse().unwrap());
                block_on(issuer.set_networks(id, elsewhere, now)).unwrap();
            }
            Self::NetworkGiven => {
                let here = Some("10.0.0.0/8".parse().unwrap());
                block_on(issuer.set_networks(id, here, now)).unwrap();
            }
        }
    }
}

/// What routes require.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Read,
    Write,
    New,
    Acme,
    Gold,
}

impl Needs {
    fn access(self) -> Access {
        match self {
            Self::Read => Access::scope(READ),
            Self::Write => Access::scope(WRITE),
            Self::New => Access::kinds([NEW.kind()]),
            Self::Acme => Access::any_key().with_owner(ACME),
            Self::Gold => Access::any_key().with_tiers([GOLD]),
        }
    }

    /// The status that a request gets whose record has this change, written out: 200, or that of the
    /// refusal. Before a tier is taken the owner has it.
    fn status(self, change: Change) -> u16 {
        match (change, self) {
            (
                Change::RotatedNow
                | Change::SecretOfAnotherKey
                | Change::KindOfTheSecret
                | Change::Suspended
                | Change::Revoked
                | Change::Expired
                | Change::Purged
                | Change::OwnerSuspended,
                _,
            ) => 401,
            (Change::Blocked | Change::OwnerBlocked | Change::NetworkTaken, _) => 403,
            (Change::ScopeTaken, Self::Read) | (Change::OwnerReplaced, Self::Acme) => 403,
            (Change::ScopeGiven, Self::Write) => 200,
            (_, Self::Write) => 403,
            (Change::TierGiven, Self::Gold) => 200,
            (_, Self::Gold) => 403,
            _ => 200,
        }
    }
}

const NEEDS: [Needs; 5] = [Needs::Read, Needs::Write, Needs::New, Needs::Acme, Needs::Gold];

fn status(outcome: &Outcome) -> u16 {
    match outcome {
        Outcome::Admitted(_) => 200,
        Outcome::Refused(refusal) => refusal.status(),
        other => panic!("{other:?}"),
    }
}

/// A store in whose query, by a secret, the change is made. Its answer is that of the end.
struct During<'w>(&'w World, Change);

impl KeyStore for During<'_> {
    type Error = Infallible;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Infallible> {
        self.0.clock.advance(LONG);
        self.1.apply(self.0);
        Ok(self.0.store().find_sync(lookup))
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Infallible> {
        Ok(self.0.store().find_by_id_sync(id))
    }
}

/// A world before a change.
fn before(change: Change) -> World {
    let world = World::new();
    if change == Change::TierTaken {
        world.store().put_owner_sync(Owner::new(ACME).with_tier(GOLD));
    }
    world
}

fn limited(needs: Needs) -> Route {
    needs.access().with_limit("requests").with_limit("of_owner")
}

#[test]
fn after_a_lookup_the_record_of_its_end_decides() {
    let limiter = || Some(Limiter::new(LimiterConfig::default(), [1; 16]));
    for (change, needs) in CHANGES.into_iter().flat_map(|one| NEEDS.map(|needs| (one, needs))) {
        for wait in ["check", "check_with", "driver", "steps"] {
            let world = before(change);
            let route = world.route(limited(needs), limiter());
            let (gate, store) = (route.gate(), During(&world, change));
            let outcome = match wait {
                "check" => block_on(gate.check(&world.head, &route, &store, &world.clock)),
                "driver" => block_on(Driver::new(&store, &world.clock).decide(&world.head, &route)),
                "check_with" => {
                    let find = |lookup: &Lookup| block_on(store.find(lookup));
                    gate.check_with(&world.head, &route, find, &world.clock)
                }
                _ => {
                    let Step::Lookup(pending) = gate.begin(&world.head, &route, START) else {
                        panic!("a lookup")
                    };
                    let found = block_on(store.find(pending.lookup())).unwrap();
                    let Step::Done(outcome) = pending.found(found, world.clock.now()) else {
                        panic!("the gate has a limiter")
                    };
                    outcome
                }
            };
            assert_eq!(status(&outcome), needs.status(change), "{change:?} {needs:?} {wait}");
        }
    }
}

/// What was charged elsewhere and not refunded, in order.
type Charged = Arc<Mutex<Vec<Vec<(LimitKey, Quotas)>>>>;

/// Drives a request whose limiter is elsewhere. The change is made during the first charge.
fn charge_elsewhere(world: &World, route: &CheckedRoute, change: Change) -> (Outcome, Charged) {
    let charged = Charged::default();
    let changed = Mutex::new(false);
    let charger = |pending: &PendingCharge, now: Timestamp| {
        world.clock.advance(LONG);
        if !std::mem::replace(&mut *changed.lock().unwrap(), true) {
            change.apply(world);
        }
        let limits: Vec<_> = pending.limits().map(|(key, quotas)| (key, *quotas)).collect();
        charged.lock().unwrap().push(limits.clone());
        let reset = now + Duration::from_secs(60);
        let decision = Decision::admitted_elsewhere(Quota::per_minute(10), 9, reset);
        let refunded = Arc::clone(&charged);
        let charge = Charge::from(decision).with_refund(async move {
            let mut charged = refunded.lock().unwrap();
            let at = charged.iter().position(|own| *own == limits).expect("charged before");
            charged.remove(at);
        });
        ready(Ok::<_, Infallible>(charge))
    };
    let store = During(world, Change::Nothing);
    let driver = Driver::new(&store, &world.clock).with_charger(Some(&charger));
    let outcome = block_on(driver.decide(&world.head, route));
    (outcome, charged)
}

fn named(name: &str) -> PolicyTag {
    PolicyTag::of(&PolicyName::new(name).unwrap())
}

#[test]
fn after_a_charge_elsewhere_the_record_of_its_end_decides_and_is_charged() {
    for (change, needs) in CHANGES.into_iter().flat_map(|one| NEEDS.map(|needs| (one, needs))) {
        let world = before(change);
        let route = world.route(limited(needs), None);
        let (outcome, charged) = charge_elsewhere(&world, &route, change);
        let expected = needs.status(change);
        assert_eq!(status(&outcome), expected, "{change:?} {needs:?}");
        let charged = charged.lock().unwrap();
        // Who is not authenticated or is blocked has nothing left charged. Who is forbidden has.
        let is_blocked =
            matches!(change, Change::Blocked | Change::OwnerBlocked | Change::NetworkTaken);
        let count = usize::from(expected != 401 && !is_blocked);
        assert_eq!(charged.len(), count, "{change:?} {needs:?}");
        let Some(limits) = charged.first() else { continue };
        let owner = if change == Change::OwnerReplaced { RIVAL } else { ACME };
        let of_owner = LimitKey::owner(owner.as_str()).with_policy(named("of_owner"));
        let of_key = LimitKey::from(world.id()).with_policy(named("requests"));
        let per_minute = |limit| Quotas::from(Quota::per_minute(limit));
        let requests = match change {
            Change::Unlimited => None,
            Change::MoreAllowed => Some(per_minute(50)),
            Change::TierGiven => Some(per_minute(1_000)),
            _ => Some(per_minute(10)),
        };
        let expected = requests.into_iter().map(|quotas| (of_key, quotas));
        let expected: Vec<_> = expected.chain([(of_owner, per_minute(10))]).collect();
        assert_eq!(*limits, expected, "{change:?} {needs:?}");
    }
}

/// A record that changes its limits during every charge is not charged without an end.
#[test]
fn limits_that_change_during_each_charge_are_refused_in_the_end() {
    let world = World::new();
    let route = world.route(limited(Needs::Read), None);
    let charges = Mutex::new(0_u32);
    let charger = |_: &PendingCharge, now: Timestamp| {
        world.clock.advance(LONG);
        let mut charges = charges.lock().unwrap();
        *charges += 1;
        let allowance = Allowance::from(Quota::per_minute(100 + *charges));
        let overrides = Overrides::single(PolicyName::new("requests").unwrap(), allowance);
        block_on(world.issuer.set_overrides(world.id(), overrides, START)).unwrap();
        let decision = Decision::admitted_elsewhere(Quota::per_minute(10), 9, now);
        ready(Ok::<_, Infallible>(decision))
    };
    let store = During(&world, Change::Nothing);
    let driver = Driver::new(&store, &world.clock).with_charger(Some(&charger));
    let outcome = block_on(driver.decide(&world.head, &route));
    assert_eq!((status(&outcome), *charges.lock().unwrap()), (503, 3));
}

/// A refund is a wait too. What was decided before it is judged again after it.
#[test]
fn a_key_that_ends_during_a_refund_is_refused() {
    for (wait, expected) in [(Duration::ZERO, 200), (Duration::from_secs(60), 401)] {
        let world = World::new();
        let route = world.route(limited(Needs::Read), None);
        let end = START + Duration::from_secs(30);
        block_on(world.issuer.expire_at(world.id(), Some(end), START)).unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let charger = |_: &PendingCharge, now: Timestamp| {
            clock.advance(LONG);
            // Nothing is left to charge, so the charge is refunded.
            let name = PolicyName::new("requests").unwrap();
            let overrides = Overrides::single(name, Allowance::Unlimited);
            block_on(world.issuer.set_overrides(world.id(), overrides, START)).unwrap();
            let decision = Decision::admitted_elsewhere(Quota::per_minute(10), 9, now);
            let clock = Arc::clone(&clock);
            let charge = Charge::from(decision).with_refund(async move { clock.advance(wait) });
            ready(Ok::<_, Infallible>(charge))
        };
        let store = During(&world, Change::Nothing);
        let driver = Driver::new(&store, &*clock).with_charger(Some(&charger));
        let outcome = block_on(driver.decide(&world.head, &route));
        assert_eq!(status(&outcome), expected, "{wait:?}");
    }
}

/// The second look after a handler is about the key alone: the work was done for its caller.
#[test]
fn after_a_handler_only_the_end_of_the_key_withdraws_its_response() {
    for change in CHANGES {
        let world = before(change);
        let route = world.route(Needs::Read.access().into(), None);
        let outcome = route.gate().check_sync(&world.head, &route, world.store(), START);
        let admission = outcome.admitted().expect("admitted");
        let pending = route.gate().recheck(admission.caller(), &route);
        change.apply(&world);
        world.clock.advance(LONG);
        let driver = During(&world, Change::Nothing);
        let result = block_on(Driver::new(&driver, &world.clock).recheck(pending));
        let is_withdrawn = matches!(
            change,
            Change::SecretOfAnotherKey
                | Change::OwnerReplaced
                | Change::OwnerSuspended
                | Change::Suspended
                | Change::Revoked
                | Change::Expired
                | Change::Purged
        );
        assert_eq!(
            result.err().map(|refusal| refusal.status()),
            is_withdrawn.then_some(401),
            "{change:?}"
        );
    }
}
