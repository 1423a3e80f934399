//! A suspended owner, and the events of changes: who made them, why, and for which request.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use keyward::{
    Access, Challenge, CredentialSource, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher, ManualClock,
    MemoryStore, Outcome, Timestamp,
    audit::{Audit, AuditAction, AuditEvent},
    gate::Driver,
    issue::{Issued, IssuerError},
    key::{
        Actor, Grace, KeyKind, OwnerId, OwnerState, PlaintextKey, Revocation, RevocationReason,
        TransitionError,
    },
    quota::Overrides,
    request::{PlainHead, PublicReason, RefusalReason, RequestId},
    store::KeyRegistry as _,
    verify::VerifyError,
};
use pollster::block_on;
use rand::{SeedableRng, rngs::StdRng};

const LQT: KeyFormat = KeyFormat::hex("lqt_");
const T0: Timestamp = Timestamp::from_unix_secs(1_700_000_000);
const ORG: OwnerId = OwnerId::from_static("org_a");

fn at(secs: u64) -> Timestamp {
    T0 + Duration::from_secs(secs)
}

struct Service {
    gate: Gate,
    issuer: Issuer<MemoryStore>,
    log: Arc<Mutex<Vec<AuditEvent>>>,
    rng: StdRng,
}

impl Service {
    fn new() -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let audit = Audit::new({
            let log = Arc::clone(&log);
            move |event| log.lock().unwrap().push(event.clone())
        });
        let verifier = keyward::verify::Verifier::new(KeyHasher::sha256());
        let gate = Gate::builder(LQT, verifier, CredentialSource::bearer())
            .with_challenge(Challenge::bearer("test").unwrap())
            .with_audit(audit)
            .build()
            .unwrap();
        let issuer = gate.issuer(MemoryStore::new());
        Self { gate, issuer, log, rng: StdRng::from_seed([7; 32]) }
    }

    fn issue(&mut self, owner: OwnerId) -> Issued {
        let draft = KeyDraft::new(owner, "key".parse().unwrap());
        block_on(self.issuer.issue(LQT.kind(), draft, &mut self.rng, T0)).unwrap()
    }

    /// Returns why a request with this key is refused, if it is.
    fn refused(&self, key: &PlaintextKey, now: Timestamp) -> Option<RefusalReason> {
        let head =
            PlainHead::new().with_header("authorization", format!("Bearer {}", key.expose()));
        let route = self.gate.route(Access::any_key()).unwrap();
        match self.gate.check_sync(&head, &route, self.issuer.registry(), now) {
            Outcome::Refused(refusal) => {
                assert_eq!(refusal.status(), 401);
                Some(refusal.reason().clone())
            }
            _ => None,
        }
    }

    fn events(&self) -> Vec<AuditEvent> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

fn verify_error(reason: Option<RefusalReason>) -> Option<VerifyError> {
    match reason {
        Some(RefusalReason::Verify(error)) => Some(error),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_suspended_owner_is_refused_by_each_key_after_the_proof() {
    let mut service = Service::new();
    let (first, second) = (service.issue(ORG), service.issue(ORG));
    let other = service.issue(OwnerId::from_static("org_b"));
    let stranger = LQT.mint(&mut service.rng).unwrap();
    block_on(service.issuer.suspend_owner(&ORG, at(1))).unwrap();
    let later = service.issue(ORG);
    for key in [&first.key, &second.key, &later.key] {
        let reason = service.refused(key, at(2));
        assert_eq!(reason.as_ref().map(RefusalReason::public), Some(PublicReason::SuspendedOwner));
        assert_eq!(verify_error(reason), Some(VerifyError::OwnerSuspended));
    }
    assert_eq!(verify_error(service.refused(&stranger, at(2))), Some(VerifyError::Unknown));
    assert_eq!(verify_error(service.refused(&other.key, at(2))), None, "another owner");
    // A more final reason of the key itself comes first.
    block_on(service.issuer.revoke(second.record.id(), at(2))).unwrap();
    assert_eq!(verify_error(service.refused(&second.key, at(2))), Some(VerifyError::Revoked));
    block_on(service.issuer.suspend(first.record.id(), at(2))).unwrap();
    assert_eq!(verify_error(service.refused(&first.key, at(2))), Some(VerifyError::Suspended));
    // Resuming the owner resumes no key.
    block_on(service.issuer.resume_owner(&ORG, at(3))).unwrap();
    assert_eq!(verify_error(service.refused(&first.key, at(3))), Some(VerifyError::Suspended));
    assert_eq!(verify_error(service.refused(&later.key, at(3))), None);
}

#[test]
fn an_owner_that_is_suspended_in_flight_withdraws_the_response() {
    let mut service = Service::new();
    let issued = service.issue(ORG);
    let head =
        PlainHead::new().with_header("authorization", format!("Bearer {}", issued.key.expose()));
    let route = service.gate.route(Access::any_key()).unwrap();
    let Outcome::Admitted(admission) =
        service.gate.check_sync(&head, &route, service.issuer.registry(), T0)
    else {
        panic!("refused")
    };
    let recheck = service.gate.recheck(admission.caller(), &route);
    block_on(service.issuer.registry().suspend_owner(&ORG, at(1))).unwrap();
    let clock = ManualClock::new(at(2));
    let driver = Driver::new(service.issuer.registry(), &clock);
    let refusal = block_on(driver.recheck(recheck)).unwrap_err();
    assert!(matches!(refusal.reason(), RefusalReason::Withdrawn(VerifyError::OwnerSuspended)));
    assert_eq!(refusal.status(), 401);
}

#[test]
fn a_confined_issuer_changes_no_owner() {
    let service = Service::new();
    let confined = service.issuer.within(ORG);
    let refused = block_on(async {
        [
            confined.suspend_owner(&ORG, T0).await,
            confined.resume_owner(&ORG, T0).await,
            confined.set_tier(&ORG, None, T0).await,
            confined.set_owner_overrides(&ORG, Overrides::none(), T0).await,
            confined.set_key_cap(&ORG, None, T0).await,
        ]
    });
    assert!(refused.iter().all(|it| *it == Err(IssuerError::ForeignOwner)), "{refused:?}");
    assert!(service.issuer.registry().owner_sync(&ORG).is_none());
    assert_eq!(service.events().len(), 0);
}

#[test]
fn an_issuer_refuses_one_key_more_than_the_cap() {
    let mut service = Service::new();
    block_on(service.issuer.set_key_cap(&ORG, Some(1), T0)).unwrap();
    let first = service.issue(ORG);
    let draft = || KeyDraft::new(ORG, "key".parse().unwrap());
    let refused = block_on(service.issuer.issue(LQT.kind(), draft(), &mut service.rng, T0));
    let error = refused.unwrap_err();
    assert_eq!((&error, error.status()), (&IssuerError::TooManyKeys, 409));
    block_on(service.issuer.revoke(first.record.id(), at(0))).unwrap();
    service.issue(ORG);
}

#[test]
fn every_event_names_the_actor_and_the_request() {
    let service = Service::new();
    let (actor, request) = (Actor::from_static("user_42"), RequestId::from_static("req-7"));
    let admin = service.issuer.acting_as(actor.clone());
    let admin = admin.for_request(request.clone());
    let mut rng = StdRng::from_seed([8; 32]);
    let leaked = RevocationReason::from_static("leaked");
    block_on(async {
        let draft = || KeyDraft::new(ORG, "key".parse().unwrap());
        let issued = admin.issue(LQT.kind(), draft(), &mut rng, T0).await.unwrap();
        let id = issued.record.id();
        assert_eq!(issued.record.created_by(), Some(&actor));
        let importer = draft().with_creator("old system".parse().unwrap());
        let second = admin.issue(LQT.kind(), importer, &mut rng, T0).await.unwrap();
        assert_eq!(second.record.created_by().unwrap().as_str(), "old system");
        admin.rotate(id, Grace::DAY, &mut rng, T0).await.unwrap();
        admin.end_grace(id, at(1)).await.unwrap();
        admin.expire_at(id, at(900), at(1)).await.unwrap();
        admin.expire_at(id, None, at(1)).await.unwrap();
        admin.set_networks(id, Some("10.0.0.0/8".parse().unwrap()), at(1)).await.unwrap();
        admin.set_origins(id, Some("https://a.example".parse().unwrap()), at(1)).await.unwrap();
        admin.set_metadata(id, Some("{}".parse().unwrap()), at(1)).await.unwrap();
        let confined = admin.within(ORG);
        confined.suspend(id, at(2)).await.unwrap();
        admin.suspend_owner(&ORG, at(2)).await.unwrap();
        admin.set_tier(&ORG, None, at(2)).await.unwrap();
        admin.set_owner_overrides(&ORG, Overrides::none(), at(2)).await.unwrap();
        admin.set_key_cap(&ORG, Some(9), at(2)).await.unwrap();
        admin.resume_owner(&ORG, at(2)).await.unwrap();
        let because = || Revocation::at(at(3)).because(leaked.clone());
        confined.revoke(id, because()).await.unwrap();
        admin.revoke_all(&ORG, because()).await.unwrap();
        admin.purge(Duration::ZERO, 9, at(4)).await.unwrap();
    });
    let events = service.events();
    let names: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(
        names,
        [
            "issued",
            "issued",
            "rotated",
            "grace_ended",
            "expiry_changed",
            "expiry_changed",
            "networks_changed",
            "origins_changed",
            "metadata_changed",
            "suspended",
            "owner_suspended",
            "tier_changed",
            "owner_overrides_changed",
            "key_cap_changed",
            "owner_resumed",
            "revoked",
            "revoked",
            "purged",
            "purged",
        ]
    );
    for event in &events {
        assert_eq!(event.actor.as_ref(), Some(&actor), "{event:?}");
        assert_eq!(event.request_id.as_ref(), Some(&request), "{event:?}");
        if let AuditAction::Revoked { reason } = &event.action {
            assert_eq!(reason.as_ref(), Some(&leaked));
        }
    }
    // Instants can be read.
    let shown = format!("{:?}", events[0]);
    assert!(shown.contains("2023-11-14T22:13:20.000Z"), "{shown}");
    // Without an actor and a request there is none.
    let mut service = Service::new();
    service.issue(ORG);
    let events = service.events();
    assert!(events.iter().all(|event| event.actor.is_none() && event.request_id.is_none()));
}

/// Each outcome of a gate names its request.
#[test]
fn every_outcome_names_the_request() {
    let mut service = Service::new();
    let issued = service.issue(ORG);
    let stranger = LQT.mint(&mut service.rng).unwrap();
    let ended = service.issue(OwnerId::from_static("org_b"));
    block_on(service.issuer.revoke(ended.record.id(), T0)).unwrap();
    service.events();
    let route = service.gate.route(Access::any_key()).unwrap();
    let forbidden = service.gate.route(Access::kinds([])).unwrap();
    let id = RequestId::from_static("req-7");
    let head = |token: &str| {
        let head = PlainHead::new().with_header("authorization", format!("Bearer {token}"));
        head.with_request_id(id.clone())
    };
    for (token, route, named) in [
        (issued.key.expose(), &route, "admitted"),
        (issued.key.expose(), &forbidden, "refused"),
        (stranger.expose(), &route, "refused"),
        (ended.key.expose(), &route, "refused"),
        ("no key", &route, "refused"),
    ] {
        let _outcome = service.gate.check_sync(&head(token), route, service.issuer.registry(), T0);
        let events = service.events();
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((event.action.as_str(), &event.request_id), (named, &Some(id.clone())));
    }
    let missing = PlainHead::new().with_request_id(id.clone());
    let _outcome = service.gate.check_sync(&missing, &route, service.issuer.registry(), T0);
    assert_eq!(service.events()[0].request_id, Some(id.clone()));
    // The refusals of the host's own checks, and of the second look.
    let named = Some(id.clone());
    let refusal = service.gate.refuse(&route, PublicReason::InvalidKey, named.clone(), T0);
    assert_eq!(
        (service.events()[0].request_id.clone(), refusal.request_id()),
        (named.clone(), Some(&id))
    );
    let outcome =
        service.gate.check_sync(&head(issued.key.expose()), &route, service.issuer.registry(), T0);
    let admission = outcome.admitted().unwrap();
    let _admitted = service.events();
    let recheck = service.gate.recheck(admission.caller(), &route).with_request_id(named.clone());
    let refusal = recheck.found(None, T0).unwrap_err();
    assert_eq!((service.events()[0].request_id.clone(), refusal.request_id()), (named, Some(&id)));
}

#[test]
fn the_use_of_a_retired_secret_is_an_event_of_its_own() {
    let mut service = Service::new();
    let issued = service.issue(ORG);
    let id = issued.record.id();
    let rotated = block_on(service.issuer.rotate(id, Grace::DAY, &mut service.rng, T0)).unwrap();
    assert_eq!(verify_error(service.refused(&issued.key, at(1))), None, "in its grace");
    // The old secret is abused; the new one is deployed and stays.
    block_on(service.issuer.end_grace(id, at(2))).unwrap();
    service.events();
    assert_eq!(verify_error(service.refused(&issued.key, at(2))), Some(VerifyError::PastGrace));
    assert_eq!(verify_error(service.refused(&rotated.key, at(2))), None);
    let events = service.events();
    let names: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(names, ["retired_secret_used", "refused", "admitted"]);
    for event in &events {
        let kind: Option<KeyKind> = Some(LQT.kind());
        assert_eq!((event.key, event.owner.as_ref(), event.kind), (Some(id), Some(&ORG), kind));
    }
    // There is no grace left to end.
    let again = block_on(service.issuer.end_grace(id, at(3))).unwrap_err();
    assert_eq!((&again, again.status()), (&TransitionError::NoGrace.into(), 409));
    // The next rotation drops it, and keeps the metadata and the lists.
    let rotated = block_on(service.issuer.rotate(id, Grace::DAY, &mut service.rng, at(4))).unwrap();
    assert_eq!(rotated.record.retiring().len(), 1);
    assert_eq!(verify_error(service.refused(&issued.key, at(5))), Some(VerifyError::Unknown));
    let owner = service.issuer.registry().owner_sync(&ORG);
    assert!(owner.is_none_or(|owner| owner.state == OwnerState::Active));
}
