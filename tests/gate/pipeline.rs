//! The complete pipeline with the response formats of the three reference services: order of
//! checks, exact responses, failing closed, revocation in flight, and audit events.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyward::{
    Access, Challenge, CredentialSource, ErrorBodies, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher,
    KeyStore, Limiter, ManualClock, MemoryStore, Outcome, Quota, Quotas, RateHeaders, Route, Scope,
    Timestamp,
    audit::{Audit, AuditAction, AuditEvent},
    clock::Timer,
    error::{ConfigError, ConfigErrorKind},
    gate::{
        Admission, CheckedRoute, Driver, GateBuilder, PendingCharge, PendingLookup, PendingRecheck,
        Refusal, Step,
    },
    issue::Issued,
    key::{
        Grace, HashScheme, KeyFormats, KeyHash, KeyId, KeyKind, Owner, OwnerId, ScopeCatalog,
        ScopeSet, StoredSecret, Tier,
    },
    limit::{Decision, Limit, LimitKey, LimiterConfig, PolicyTag, Subject},
    quota::{Overrides, PolicyName},
    request::{
        CredentialError, CredentialSources, ErrorBody, ErrorText, PlainHead, PublicReason,
        RefusalReason, RequestHead,
    },
    store::{Lookup, StoredKey},
    verify::{Forbidden, MatchedSecret, Verifier, VerifyError},
};
use pollster::block_on;
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

const LQT: KeyFormat = KeyFormat::hex("lqt_");
const PUBLIC: KeyFormat = KeyFormat::hex("luc_pk_");
const API: KeyFormat = KeyFormat::hex("luc_api_");
const MCP: KeyFormat = KeyFormat::hex("luc_mcp_").with_successor(API.kind());
const LUCI: KeyFormat = KeyFormat::hex("luci_");

const READ: Scope = Scope::from_static("read:lucent");
const WRITE: Scope = Scope::from_static("write:issues");
const HIGHER: Tier = Tier::from_static("higher");
const ENTERPRISE: Tier = Tier::from_static("enterprise");

const T0: Timestamp = Timestamp::from_unix_millis(1_700_000_000_250);

fn at(secs: u64) -> Timestamp {
    T0 + Duration::from_secs(secs)
}

fn per_minute(limit: u32) -> Quota {
    Quota::per_minute(limit)
}

// ---------------------------------------------------------------------------------------
// A service: its keys, its limiter, its audit log, and a gate for each of the three services.

struct Service {
    issuer: Issuer<MemoryStore>,
    limiter: Arc<Limiter>,
    audit: Audit,
    log: Arc<Mutex<Vec<AuditEvent>>>,
    rng: Mutex<StdRng>,
}

impl Service {
    fn new() -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let audit = Audit::new({
            let log = Arc::clone(&log);
            move |event| log.lock().unwrap().push(event.clone())
        });
        let formats = KeyFormats::new([LQT, PUBLIC, API, MCP, LUCI]).unwrap();
        let catalog = ScopeCatalog::new([READ, WRITE]).unwrap();
        let catalog = catalog.allow(API.kind(), [READ], [READ, WRITE]).unwrap();
        let catalog = catalog.allow(MCP.kind(), [READ], [READ]).unwrap();
        let hasher = KeyHasher::sha256().accept(HashScheme::Sha256Token).unwrap();
        let issuer = Issuer::with_catalog(MemoryStore::new(), formats, hasher, catalog);
        Self {
            issuer: issuer.with_audit(audit.clone()),
            limiter: Arc::new(Limiter::new(LimiterConfig::default(), [3; 16])),
            audit,
            log,
            rng: Mutex::new(StdRng::seed_from_u64(1)),
        }
    }

    fn store(&self) -> &MemoryStore {
        self.issuer.registry()
    }

    fn issue(&self, format: KeyFormat, draft: KeyDraft) -> Issued {
        let mut rng = self.rng.lock().unwrap();
        block_on(self.issuer.issue(format.kind(), draft, &mut *rng, T0)).unwrap()
    }

    fn key(&self, format: KeyFormat) -> Issued {
        self.issue(format, draft("org_a"))
    }

    fn rotate(&self, id: KeyId, now: Timestamp) -> Issued {
        let mut rng = self.rng.lock().unwrap();
        block_on(self.issuer.rotate(id, Grace::DAY, &mut *rng, now)).unwrap()
    }

    fn revoke(&self, id: KeyId) {
        block_on(self.issuer.revoke(id, at(0))).unwrap();
    }

    /// Returns every kind of unusable key of this format, with the time of its use and the expected
    /// error.
    fn dead_keys(&self, format: KeyFormat) -> Vec<(String, Timestamp, VerifyError)> {
        let revoked = self.key(format);
        self.revoke(revoked.record.id());
        let suspended = self.key(format);
        block_on(self.issuer.suspend(suspended.record.id(), at(0))).unwrap();
        let expired = self.issue(format, draft("org_a").with_expiry(at(60)));
        let rotated = self.key(format);
        self.rotate(rotated.record.id(), at(0));
        let unknown = format.mint(&mut *self.rng.lock().unwrap()).unwrap();
        let text = |issued: &Issued| issued.key.expose().to_owned();
        vec![
            (text(&revoked), at(0), VerifyError::Revoked),
            (text(&suspended), at(0), VerifyError::Suspended),
            (text(&expired), at(60), VerifyError::Expired),
            (text(&rotated), at(86_400), VerifyError::PastGrace),
            (unknown.expose().to_owned(), at(0), VerifyError::Unknown),
        ]
    }

    fn events(&self) -> Vec<AuditEvent> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn builder(
        &self,
        formats: impl Into<KeyFormats>,
        sources: impl Into<CredentialSources>,
    ) -> GateBuilder {
        Gate::builder(formats, self.issuer.verifier(), sources).with_audit(self.audit.clone())
    }

    fn lumiqtrace(&self) -> (Gate, CheckedRoute) {
        let gate = self
            .builder(LQT, CredentialSource::header("x-api-key"))
            .with_challenge(Challenge::api_key("lumiqtrace", "x-api-key").unwrap())
            .with_errors(ErrorBodies::flat().with_unauthenticated("Invalid API key"))
            .build()
            .unwrap();
        let route = gate.route(Access::any_key()).unwrap();
        (gate, route)
    }

    fn lucent_ingest(&self) -> (Gate, CheckedRoute) {
        let sources = CredentialSources::first_of([
            CredentialSource::header("X-Lucent-Api-Key"),
            CredentialSource::query("api_key"),
        ]);
        let gate = self
            .builder(PUBLIC, sources)
            .with_publishable([PUBLIC.kind()])
            .with_limiter(Arc::clone(&self.limiter))
            .with_limit(Limit::new("sending", per_minute(100)).with_tier(HIGHER, per_minute(1_000)))
            .with_challenge(Challenge::api_key("lucent", "x-lucent-api-key").unwrap())
            .with_errors(
                ErrorBodies::flat()
                    .with_unauthenticated("Invalid or revoked API key")
                    .with_text(PublicReason::MissingKey, "Missing API key"),
            )
            .build()
            .unwrap();
        let route = gate.route(Access::any_key().with_limit("sending")).unwrap();
        (gate, route)
    }

    fn lucent_data(&self) -> Gate {
        self.builder(KeyFormats::new([API, MCP]).unwrap(), CredentialSource::bearer())
            .with_challenge(Challenge::bearer("lucent").unwrap().with_scope_in_place_of_realm())
            .with_errors(
                ErrorBodies::flat().with_unauthenticated("Missing or invalid bearer token"),
            )
            .build()
            .unwrap()
    }

    fn lucitra_builder(&self) -> GateBuilder {
        let errors = ErrorBodies::nested()
            .with_unauthenticated("Missing or invalid API key.")
            .with_text(
                PublicReason::RateLimited,
                ErrorText::new("Rate limit exceeded. Retry after {retry_after} seconds.")
                    .with_retry_after("retry_after"),
            )
            .with_text(
                PublicReason::ForbiddenTier,
                ErrorText::new("This endpoint requires an Enterprise tier subscription.")
                    .with_code("ENTERPRISE_REQUIRED")
                    .with_field("upgrade_url", "https://validate.lucitra.ai/settings/billing"),
            );
        self.builder(LUCI, CredentialSource::bearer())
            .allow_foreign()
            .with_rate_headers(RateHeaders::x_ratelimit())
            .with_challenge(Challenge::bearer("lucitra").unwrap().with_errors())
            .with_errors(errors)
            .with_limit(
                Limit::new("default", per_minute(100))
                    .with_tier(HIGHER, per_minute(1_000))
                    .with_tier(ENTERPRISE, per_minute(1_000)),
            )
    }

    fn lucitra(&self) -> Gate {
        self.lucitra_with([])
    }

    /// Lucitra's gate, with further limits.
    fn lucitra_with(&self, limits: impl IntoIterator<Item = Limit>) -> Gate {
        let builder = self.lucitra_builder().with_limiter(Arc::clone(&self.limiter));
        limits.into_iter().fold(builder, GateBuilder::with_limit).build().unwrap()
    }
}

fn datasets(gate: &Gate) -> CheckedRoute {
    gate.route(Access::any_key().with_limit("default")).unwrap()
}

fn compliance() -> Route {
    Access::any_key().with_tiers([ENTERPRISE]).with_limit("default")
}

/// The name of the limit that refused, and what it counts by.
fn throttled(refusal: &Refusal) -> (&str, Subject) {
    match refusal.reason() {
        RefusalReason::Throttled { policy, subject, .. } => (policy.as_str(), *subject),
        other => panic!("{other:?}"),
    }
}

/// A clock that stands still.
fn clock(now: Timestamp) -> ManualClock {
    ManualClock::new(now)
}

fn draft(owner: &str) -> KeyDraft {
    KeyDraft::new(owner.parse().unwrap(), "key".parse().unwrap())
}

fn bearer(token: &str) -> PlainHead {
    PlainHead::new().with_header("authorization", format!("Bearer {token}"))
}

// ---------------------------------------------------------------------------------------
// Responses as sent over HTTP.

/// The status, head and body of a refusal.
#[derive(Debug, PartialEq, Eq)]
struct Answer(u16, Vec<String>, String);

fn answer(refusal: &Refusal) -> Answer {
    let head = refusal.headers().map(|line| line.to_string()).collect();
    let body = String::from_utf8(refusal.body().to_vec()).unwrap();
    assert_eq!(refusal.status(), refusal.public().status());
    if refusal.status() == 401 {
        assert!(refusal.headers().any(|line| line.name() == "www-authenticate"));
    }
    Answer(refusal.status(), head, body)
}

fn refused(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("expected a refusal: {other:?}"),
    }
}

fn admitted(outcome: Outcome) -> Admission {
    match outcome {
        Outcome::Admitted(admission) => admission,
        other => panic!("expected an admission: {other:?}"),
    }
}

fn expected(status: u16, head: &[&str], body: &str) -> Answer {
    let json = ["content-type: application/json".to_owned()].into_iter();
    Answer(status, json.chain(head.iter().map(ToString::to_string)).collect(), body.to_owned())
}

/// Decides through every entry point and asserts equal outcomes. The limiter of the service must be
/// unused, because each request would be charged several times.
fn decide_unlimited(
    gate: &Gate,
    head: &PlainHead,
    route: &CheckedRoute,
    service: &Service,
) -> Outcome {
    assert!(!route.is_limited());
    let now = at(0);
    let show = |outcome: &Outcome| match outcome {
        Outcome::Refused(refusal) => format!("{refusal:?} {:?}", answer(refusal)),
        other => format!("{other:?}"),
    };
    let sync = gate.check_sync(head, route, service.store(), now);
    let with = gate.check_with(
        head,
        route,
        |l| Ok::<_, Infallible>(service.store().find_sync(l)),
        &clock(now),
    );
    let future = block_on(gate.check(head, route, service.store(), &clock(now)));
    let steps = match gate.begin(head, route, now) {
        Step::Done(outcome) => outcome,
        Step::Lookup(pending) => {
            let found = service.store().find_sync(pending.lookup());
            match pending.found(found, now) {
                Step::Done(outcome) => outcome,
                other => panic!("{other:?}"),
            }
        }
        Step::Charge(charge) => panic!("{charge:?}"),
    };
    let shown = show(&sync);
    for other in [with, future, steps] {
        assert_eq!(show(&other), shown);
    }
    sync
}

// ---------------------------------------------------------------------------------------
// The three services, every failure.

#[test]
fn lumiqtrace_returns_the_same_response_for_every_bad_key() {
    let service = Service::new();
    let (gate, route) = service.lumiqtrace();
    let head = |token: &str| PlainHead::new().with_header("X-API-Key", token);
    let unauthenticated = expected(
        401,
        &[r#"www-authenticate: ApiKey realm="lumiqtrace", header="x-api-key""#],
        r#"{"error":"Invalid API key"}"#,
    );
    let good = service.key(LQT);
    let good = good.key.expose();
    let foreign = service.key(LUCI);
    for (what, head) in [
        ("missing", PlainHead::new()),
        ("as bearer", bearer(good)),
        ("in the query", PlainHead::new().with_query(format!("x-api-key={good}"))),
        ("empty", head("")),
        ("short", head(&good[..67])),
        ("long", head(&format!("{good}0"))),
        ("upper case", head(&good.to_uppercase())),
        ("a trailing space", head(&format!("{good} "))),
        ("full-width", head(&good.replacen('l', "ｌ", 1))),
        ("another kind", head(foreign.key.expose())),
        ("a JWT", head("eyJhbGciOiJIUzI1NiJ9.e30.c2ln")),
    ] {
        let outcome = decide_unlimited(&gate, &head, &route, &service);
        assert_eq!(answer(&refused(outcome)), unauthenticated, "{what}");
    }
    for (key, now, why) in service.dead_keys(LQT) {
        let refusal = refused(gate.check_sync(&head(&key), &route, service.store(), now));
        assert_eq!(answer(&refusal), unauthenticated, "{why}");
        let RefusalReason::Verify(found) = refusal.reason() else { panic!("{refusal:?}") };
        assert_eq!(*found, why);
        // The audit event names a key only after its secret was verified.
        assert_eq!(refusal.key_id().is_some(), why != VerifyError::Unknown);
    }
    let twice = head(good).with_header("x-api-key", "lqt_other");
    let refusal = refused(decide_unlimited(&gate, &twice, &route, &service));
    assert_eq!(
        answer(&refusal),
        expected(
            400,
            &[r#"www-authenticate: ApiKey realm="lumiqtrace", header="x-api-key""#],
            r#"{"error":"Several different API keys were sent"}"#,
        )
    );
    let same = head(good).with_header("x-api-key", good);
    for head in [head(good), same] {
        let admission = admitted(decide_unlimited(&gate, &head, &route, &service));
        assert_eq!(admission.caller().owner_id().as_str(), "org_a");
        assert_eq!(admission.headers().count(), 0);
        assert!(admission.decision().is_none());
    }
}

#[test]
fn lucent_reads_public_keys_from_the_header_before_the_query() {
    let service = Service::new();
    let (gate, route) = service.lucent_ingest();
    let check = |head: &PlainHead| gate.check_sync(head, &route, service.store(), at(0));
    let challenge = r#"www-authenticate: ApiKey realm="lucent", header="x-lucent-api-key""#;
    let missing = expected(401, &[challenge], r#"{"error":"Missing API key"}"#);
    let invalid = expected(401, &[challenge], r#"{"error":"Invalid or revoked API key"}"#);
    let good = service.key(PUBLIC);
    let good = good.key.expose();
    let api = service.key(API);
    let header = |token: &str| PlainHead::new().with_header("x-lucent-api-key", token);
    let query = |token: &str| PlainHead::new().with_query(format!("v=1&api_key={token}&w"));

    assert_eq!(answer(&refused(check(&PlainHead::new()))), missing);
    assert_eq!(answer(&refused(check(&PlainHead::new().with_query("apikey=x")))), missing);
    for place in [header, query] {
        assert!(matches!(check(&place(good)), Outcome::Admitted(_)));
        assert_eq!(answer(&refused(check(&place("")))), missing);
        for bad in ["luc_pk_", api.key.expose(), &good.to_uppercase()] {
            assert_eq!(answer(&refused(check(&place(bad)))), invalid, "{bad}");
        }
    }
    for bad in [format!("{good}%20"), format!("{good}+"), format!("%{good}")] {
        assert_eq!(answer(&refused(check(&query(&bad)))), invalid, "{bad}");
    }
    for (key, now, why) in service.dead_keys(PUBLIC) {
        for place in [header, query] {
            let refusal = refused(gate.check_sync(&place(&key), &route, service.store(), now));
            assert_eq!(answer(&refusal), invalid, "{why}");
        }
    }
    // If both are present, the header is used, valid or not.
    let both = header(good).with_query("api_key=luc_pk_bad&api_key=b");
    assert!(matches!(check(&both), Outcome::Admitted(_)));
    let both = header("luc_pk_bad").with_query(format!("api_key={good}"));
    assert_eq!(answer(&refused(check(&both))), invalid);
    assert_eq!(gate.redact(&format!("/r?api_key={good}&x=1")), "/r?api_key=REDACTED&x=1");
}

#[test]
fn lucent_rejects_the_101st_request_until_retry_after_has_passed() {
    let service = Service::new();
    let (gate, route) = service.lucent_ingest();
    let issued = service.key(PUBLIC);
    let head = PlainHead::new().with_header("x-lucent-api-key", issued.key.expose());
    let check = |now| gate.check_sync(&head, &route, service.store(), now);
    for _ in 0..100 {
        assert_eq!(admitted(check(at(0))).headers().count(), 0);
    }
    let late = at(47) + Duration::from_millis(1);
    let refusal = refused(check(late));
    assert_eq!(
        answer(&refusal),
        expected(429, &["retry-after: 13"], r#"{"error":"Rate limit exceeded"}"#)
    );
    assert_eq!(throttled(&refusal), ("sending", Subject::Key));
    let early = at(60).saturating_sub(Duration::from_millis(1));
    assert_eq!(refused(check(early)).status(), 429);
    assert!(matches!(check(at(60)), Outcome::Admitted(_)));

    // An owner of the higher tier has 1,000 from its next request on.
    let owner = Owner::new(OwnerId::from_static("org_a")).with_tier(HIGHER);
    service.store().put_owner_sync(owner);
    for _ in 1..1_000 {
        admitted(check(at(60)));
    }
    assert_eq!(refused(check(at(60))).status(), 429);
}

#[test]
fn lucent_includes_the_required_scope_in_every_401() {
    let service = Service::new();
    let gate = service.lucent_data();
    let [read, write] = [READ, WRITE].map(|scope| gate.route(Access::scope(scope)).unwrap());
    let public = service.key(PUBLIC);
    let reader = service.key(API);
    let writer = service.issue(API, draft("org_a").with_scopes(ScopeSet::new([WRITE]).unwrap()));
    for (route, scope) in [(&read, "read:lucent"), (&write, "write:issues")] {
        let challenge = format!(r#"www-authenticate: Bearer scope="{scope}""#);
        let unauthenticated =
            expected(401, &[&challenge], r#"{"error":"Missing or invalid bearer token"}"#);
        for head in [
            PlainHead::new(),
            PlainHead::new().with_header("authorization", "Bearer"),
            PlainHead::new().with_header("authorization", "Basic YTpi"),
            bearer("eyJhbGciOiJIUzI1NiJ9.e30.c2ln"),
            bearer(public.key.expose()),
            bearer("luc_api_"),
            bearer(&format!("{} x", reader.key.expose())),
        ] {
            let outcome = decide_unlimited(&gate, &head, route, &service);
            assert_eq!(answer(&refused(outcome)), unauthenticated, "{head:?}");
        }
        for (key, now, why) in service.dead_keys(API) {
            let refusal = refused(gate.check_sync(&bearer(&key), route, service.store(), now));
            assert_eq!(answer(&refusal), unauthenticated, "{why}");
        }
    }
    let lower =
        PlainHead::new().with_header("authorization", format!("bEARER   {}", reader.key.expose()));
    for (issued, route, missing) in [
        (&reader, &read, None),
        (&writer, &write, None),
        (&reader, &write, Some("write:issues")),
        (&writer, &read, Some("read:lucent")),
    ] {
        let outcome = decide_unlimited(&gate, &bearer(issued.key.expose()), route, &service);
        match missing {
            None => drop(admitted(outcome)),
            Some(scope) => assert_eq!(
                answer(&refused(outcome)),
                expected(403, &[], &format!(r#"{{"error":"Missing required scope: {scope}"}}"#))
            ),
        }
    }
    drop(admitted(decide_unlimited(&gate, &lower, &read, &service)));
}

#[test]
fn lucitra_reports_limits_in_every_authenticated_response() {
    let service = Service::new();
    let gate = service.lucitra();
    let issued = service.key(LUCI);
    let head = bearer(issued.key.expose());
    let check = |route: &CheckedRoute, now| gate.check_sync(&head, route, service.store(), now);
    let (datasets, compliance) = (datasets(&gate), gate.route(compliance()).unwrap());
    let lines = |admission: &Admission| -> Vec<String> {
        admission.headers().map(|line| line.to_string()).collect()
    };
    // Rounded up from 1,700,000,060.250.
    let reset = "x-ratelimit-reset: 1700000061";
    let admission = admitted(check(&datasets, at(0)));
    assert_eq!(lines(&admission), ["x-ratelimit-limit: 100", "x-ratelimit-remaining: 99", reset]);

    // Forbidden requests are charged too.
    assert_eq!(
        answer(&refused(check(&compliance, at(1)))),
        expected(
            403,
            &["x-ratelimit-limit: 100", "x-ratelimit-remaining: 98", reset],
            r#"{"error":{"code":"ENTERPRISE_REQUIRED","message":"This endpoint requires an Enterprise tier subscription.","upgrade_url":"https://validate.lucitra.ai/settings/billing"}}"#,
        )
    );
    for left in (0..98).rev() {
        let admission = admitted(check(&datasets, at(1)));
        assert_eq!(lines(&admission)[1], format!("x-ratelimit-remaining: {left}"));
    }
    let throttled = expected(
        429,
        &["x-ratelimit-limit: 100", "x-ratelimit-remaining: 0", reset, "retry-after: 12"],
        r#"{"error":{"code":"RATE_LIMITED","message":"Rate limit exceeded. Retry after 12 seconds.","retry_after":12}}"#,
    );
    assert_eq!(answer(&refused(check(&datasets, at(48)))), throttled);
    // Without remaining quota, the response does not reveal that the path is forbidden, and nothing
    // is charged.
    assert_eq!(answer(&refused(check(&compliance, at(48)))), throttled);

    let realm = r#"www-authenticate: Bearer realm="lucitra""#;
    let invalid = format!(r#"{realm}, error="invalid_token""#);
    let body = r#"{"error":{"code":"UNAUTHORIZED","message":"Missing or invalid API key."}}"#;
    let without = |head: &PlainHead| {
        answer(&refused(gate.check_sync(head, &datasets, service.store(), at(1))))
    };
    assert_eq!(without(&PlainHead::new()), expected(401, &[realm], body));
    assert_eq!(without(&bearer("luci_")), expected(401, &[&invalid], body));
    let conflict = head.clone().with_header("authorization", "Bearer x");
    let invalid_request = format!(r#"{realm}, error="invalid_request""#);
    let body =
        r#"{"error":{"code":"BAD_REQUEST","message":"Several different API keys were sent"}}"#;
    assert_eq!(without(&conflict), expected(400, &[&invalid_request], body));

    let enterprise = service.issue(LUCI, draft("org_e"));
    let owner = Owner::new(OwnerId::from_static("org_e")).with_tier(ENTERPRISE);
    service.store().put_owner_sync(owner);
    let head = bearer(enterprise.key.expose());
    let admission = admitted(gate.check_sync(&head, &compliance, service.store(), at(1)));
    assert_eq!(lines(&admission)[..2], ["x-ratelimit-limit: 1000", "x-ratelimit-remaining: 999"]);
}

#[test]
fn a_403_includes_the_missing_scope_if_the_challenge_has_errors() {
    let service = Service::new();
    let gate = service
        .builder(KeyFormats::new([API, MCP]).unwrap(), CredentialSource::bearer())
        .with_challenge(Challenge::bearer("r").unwrap().with_scope().with_errors())
        .with_challenge(Challenge::new("DPoP", "r").unwrap())
        .build()
        .unwrap();
    let head = bearer(service.key(API).key.expose());
    let write = gate.route(Access::scope(WRITE)).unwrap();
    let challenge =
        r#"www-authenticate: Bearer realm="r", scope="write:issues", error="insufficient_scope""#;
    assert_eq!(
        answer(&refused(decide_unlimited(&gate, &head, &write, &service))),
        expected(403, &[challenge], r#"{"error":"Missing required scope: write:issues"}"#)
    );
    // A 401 has one header line for each challenge; a 403 for another reason has none.
    let none = refused(decide_unlimited(&gate, &PlainHead::new(), &write, &service));
    assert_eq!(none.headers().filter(|line| line.name() == "www-authenticate").count(), 2);
    let other = Access::any_key().with_owner(OwnerId::from_static("org_b"));
    let other = gate.route(other).unwrap();
    let foreign = refused(decide_unlimited(&gate, &head, &other, &service));
    assert_eq!(
        answer(&foreign),
        expected(403, &[], r#"{"error":"The key belongs to another owner"}"#)
    );
    assert!(matches!(foreign.reason(), RefusalReason::Forbidden(Forbidden::Owner)));
    let kind = gate.route(Access::kinds([MCP.kind()])).unwrap();
    let refusal = refused(decide_unlimited(&gate, &head, &kind, &service));
    assert_eq!((refusal.status(), refusal.public()), (403, PublicReason::ForbiddenKind));
}

// ---------------------------------------------------------------------------------------
// Order: authenticate, charge, authorize.

#[test]
fn a_failed_authentication_charges_no_limit() {
    let service = Service::new();
    let gate = service.lucitra_with([
        Limit::new("owners", per_minute(100)).per_owner(),
        Limit::new("exports", per_minute(100)),
        Limit::new("all", per_minute(100)).shared(),
    ]);
    let limits = ["default", "owners", "exports", "all"];
    let limits = limits.into_iter().fold(Route::new(Access::any_key()), Route::with_limit);
    let limits = gate.route(limits).unwrap();
    let keys = service.dead_keys(LUCI);
    for (key, now, _) in &keys {
        let outcome = gate.check_sync(&bearer(key), &limits, service.store(), *now);
        assert_eq!(refused(outcome).status(), 401);
    }
    for head in [PlainHead::new(), bearer("luci_x")] {
        let outcome = gate.check_sync(&head, &limits, service.store(), at(0));
        assert_eq!(refused(outcome).status(), 401);
    }
    assert!(service.limiter.is_empty(), "a limit was charged");
    // The control: a valid key is charged.
    let good = service.key(LUCI);
    drop(admitted(gate.check_sync(&bearer(good.key.expose()), &limits, service.store(), at(0))));
    assert_eq!(service.limiter.len(), 4);
}

#[test]
fn several_limits_are_charged_together_and_the_audit_names_the_binding_one() {
    let service = Service::new();
    let gate = service.lucitra_with([
        Limit::new("keys", per_minute(8)),
        Limit::new("owners", per_minute(10)).per_owner(),
        Limit::new("exports", per_minute(6)),
        Limit::new("search", per_minute(12)).shared(),
    ]);
    let [one, two] = [service.key(LUCI), service.key(LUCI)];
    let other = service.issue(LUCI, draft("org_b"));
    let route = ["keys", "owners", "exports", "search"];
    let route = route.into_iter().fold(Route::new(Access::any_key()), Route::with_limit);
    let route = gate.route(route).unwrap();
    let check = |issued: &Issued, now| {
        gate.check_sync(&bearer(issued.key.expose()), &route, service.store(), now)
    };
    let by = |outcome| {
        let refusal = refused(outcome);
        let (policy, subject) = throttled(&refusal);
        assert_eq!(refusal.policy().unwrap().as_str(), policy);
        (policy.to_owned(), subject)
    };
    for _ in 0..6 {
        drop(admitted(check(&one, at(0))));
    }
    assert_eq!(by(check(&one, at(0))), ("exports".to_owned(), Subject::Key));
    for _ in 0..4 {
        drop(admitted(check(&two, at(0))));
    }
    assert_eq!(by(check(&two, at(0))), ("owners".to_owned(), Subject::Owner));
    for _ in 0..2 {
        drop(admitted(check(&other, at(0))));
    }
    assert_eq!(by(check(&other, at(0))), ("search".to_owned(), Subject::Shared));
    // Apart from the other limits, the key still has two of its own.
    let own = gate.route(Access::any_key().with_limit("keys")).unwrap();
    let check = |issued: &Issued| {
        gate.check_sync(&bearer(issued.key.expose()), &own, service.store(), at(0))
    };
    for _ in 0..2 {
        drop(admitted(check(&one)));
    }
    assert_eq!(by(check(&one)), ("keys".to_owned(), Subject::Key));
}

#[test]
fn key_overrides_precede_owner_overrides_which_precede_the_limit() {
    let service = Service::new();
    let gate = service.lucitra();
    let owner = Owner::new(OwnerId::from_static("org_q")).with_tier(HIGHER);
    let limit_of = |draft: KeyDraft| {
        let issued = service.issue(LUCI, draft);
        let head = bearer(issued.key.expose());
        let admission = admitted(gate.check_sync(&head, &datasets(&gate), service.store(), at(0)));
        admission.decision().unwrap().limit
    };
    service.store().put_owner_sync(owner.clone());
    assert_eq!(limit_of(draft("org_q")), 1_000, "the limit of the tier");
    assert_eq!(limit_of(draft("org_r")), 100, "the default of the limit");
    service
        .store()
        .put_owner_sync(owner.with_override(PolicyName::DEFAULT, per_minute(50)).unwrap());
    assert_eq!(limit_of(draft("org_q")), 50, "the owner's override");
    let own = draft("org_q").with_override(PolicyName::DEFAULT, per_minute(5)).unwrap();
    assert_eq!(limit_of(own), 5, "the key's override");
}

#[test]
fn rotation_does_not_double_a_quota() {
    let service = Service::new();
    let gate = service.lucitra_with([Limit::new("two", per_minute(2))]);
    let route = gate.route(Access::any_key().with_limit("two")).unwrap();
    let first = service.key(LUCI);
    let second = service.rotate(first.record.id(), at(0));
    let check = |issued: &Issued| {
        gate.check_sync(&bearer(issued.key.expose()), &route, service.store(), at(0))
    };
    let admission = admitted(check(&first));
    let valid_until = at(86_400);
    assert_eq!(admission.caller().matched(), MatchedSecret::Retiring { valid_until });
    assert_eq!(admitted(check(&second)).caller().matched(), MatchedSecret::Current);
    assert_eq!(refused(check(&first)).status(), 429);
    assert_eq!(refused(check(&second)).status(), 429);
}

#[test]
fn costs_are_charged_and_a_cost_above_the_limit_has_no_retry_time() {
    let service = Service::new();
    let gate = service.lucitra();
    let head = bearer(service.key(LUCI).key.expose());
    let check = |cost: u32| {
        let route = datasets(&gate).with_cost(cost);
        gate.check_sync(&head, &route, service.store(), at(0))
    };
    assert_eq!(admitted(check(60)).decision().unwrap().remaining, 40);
    assert_eq!(refused(check(41)).decision().unwrap().remaining, 40);
    let refusal = refused(check(101));
    assert_eq!(refusal.public(), PublicReason::CostAboveLimit);
    let Answer(status, head, _) = answer(&refusal);
    // No client would do better later, so it is not asked to wait.
    assert_eq!((status, head.len()), (403, 1), "{head:?}");
    assert_eq!(admitted(check(40)).decision().unwrap().remaining, 0);
}

// ---------------------------------------------------------------------------------------
// Failures never admit a request.

#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection refused")
    }
}

impl std::error::Error for Broken {}

struct BrokenStore;

impl KeyStore for BrokenStore {
    type Error = Broken;

    async fn find(&self, _: &Lookup) -> Result<Option<StoredKey>, Broken> {
        Err(Broken)
    }

    async fn find_by_id(&self, _: KeyId) -> Result<Option<StoredKey>, Broken> {
        Err(Broken)
    }
}

#[test]
fn a_failing_store_returns_503_and_never_admits() {
    let service = Service::new();
    let good = service.key(LUCI);
    let head = bearer(good.key.expose());
    let unavailable = expected(
        503,
        &["retry-after: 1"],
        r#"{"error":{"code":"UNAVAILABLE","message":"Service unavailable"}}"#,
    );
    let gate = service.lucitra();
    let pending = |route: &CheckedRoute| match gate.begin(&head, route, at(0)) {
        Step::Lookup(pending) => pending,
        other => panic!("{other:?}"),
    };
    for route in [datasets(&gate), gate.route(Access::any_key()).unwrap()] {
        for outcome in [
            block_on(gate.check(&head, &route, &BrokenStore, &clock(at(0)))),
            gate.check_with(&head, &route, |_| Err(Broken), &clock(at(0))),
            pending(&route).failed(Broken, at(0)),
        ] {
            let refusal = refused(outcome);
            assert_eq!(answer(&refusal), unavailable);
            assert_eq!(refusal.reason().to_string(), "the store failed: connection refused");
        }
    }
    assert!(service.limiter.is_empty());
    // A clock far behind the creation of the key cannot decide about it.
    let behind = T0.saturating_sub(Duration::from_secs(2 * 86_400));
    let refusal = refused(gate.check_sync(&head, &datasets(&gate), service.store(), behind));
    assert_eq!(answer(&refusal), unavailable);
}

#[test]
fn a_store_that_returns_a_wrong_record_admits_no_request() {
    let service = Service::new();
    let gate = service.lucitra();
    let [mine, other] = [service.key(LUCI), service.key(LUCI)];
    let lie = service.store().find_by_id_sync(other.record.id());
    let head = bearer(mine.key.expose());
    let outcome =
        gate.check_with(&head, &datasets(&gate), |_| Ok::<_, Broken>(lie.clone()), &clock(at(0)));
    let refusal = refused(outcome);
    assert!(matches!(refusal.reason(), RefusalReason::Verify(VerifyError::Mismatch)));
    assert_eq!((refusal.status(), refusal.key_id()), (401, None), "the refusal names no key");
}

#[test]
fn a_limited_route_without_a_limiter_returns_503() {
    let service = Service::new();
    let gate = service.lucitra_builder().build().unwrap();
    let head = bearer(service.key(LUCI).key.expose());
    for outcome in [
        gate.check_sync(&head, &datasets(&gate), service.store(), at(0)),
        block_on(gate.check(&head, &datasets(&gate), service.store(), &clock(at(0)))),
    ] {
        let refusal = refused(outcome);
        assert_eq!(refusal.status(), 503);
        assert!(matches!(refusal.reason(), RefusalReason::NoLimiter));
    }
    let free = gate.route(Access::any_key()).unwrap();
    drop(admitted(gate.check_sync(&head, &free, service.store(), at(0))));
}

#[test]
fn an_external_limiter_decides_over_admission() {
    let service = Service::new();
    let owners = Limit::new("owners", per_minute(7)).per_owner();
    let gate = service.lucitra_builder().with_limit(owners).build().unwrap();
    let issued = service.key(LUCI);
    let head = bearer(issued.key.expose());
    let route = compliance().with_limit("owners").with_cost(3);
    let route = gate.route(route).unwrap();
    let charge = || -> PendingCharge {
        let Step::Lookup(pending) = gate.begin(&head, &route, at(0)) else { panic!() };
        let found = service.store().find_sync(pending.lookup());
        match pending.found(found, at(0)) {
            Step::Charge(charge) => charge,
            other => panic!("{other:?}"),
        }
    };
    let pending = charge();
    let owner = OwnerId::from_static("org_a");
    let tag = |name: &str| PolicyTag::of(&name.parse().unwrap());
    assert_eq!(
        pending.limits().collect::<Vec<_>>(),
        [
            (
                LimitKey::from(issued.record.id()).with_policy(tag("default")),
                &Quotas::single(per_minute(100))
            ),
            (LimitKey::from(&owner).with_policy(tag("owners")), &Quotas::single(per_minute(7))),
        ]
    );
    let policies: Vec<&str> = pending.policies().map(PolicyName::as_str).collect();
    assert_eq!(policies, ["default", "owners"]);
    assert_eq!((pending.cost(), pending.verified().key_id()), (3, issued.record.id()));

    let reset = "x-ratelimit-reset: 1700000011";
    let refused_by = |position| {
        let decision = Decision::refused_elsewhere(per_minute(7), 1, at(10), at(0));
        refused(charge().decided(decision.with_position(position), at(0)))
    };
    let refusal = refused_by(1);
    assert_eq!(throttled(&refusal), ("owners", Subject::Owner));
    assert_eq!(
        answer(&refusal).1[1..],
        ["x-ratelimit-limit: 7", "x-ratelimit-remaining: 1", reset, "retry-after: 10"]
    );
    for position in [0, 9, usize::MAX] {
        let refusal = refused_by(position);
        assert_eq!(throttled(&refusal), ("default", Subject::Key));
    }
    // After the external limiter admits, the request is still authorized here, and the response
    // reports its limit.
    let decision = Decision::admitted_elsewhere(per_minute(7), 4, at(10));
    let refusal = refused(pending.decided(decision, at(0)));
    assert_eq!(refusal.public(), PublicReason::ForbiddenTier);
    assert_eq!(
        answer(&refusal).1[1..],
        ["x-ratelimit-limit: 7", "x-ratelimit-remaining: 4", reset]
    );
    let failed = refused(charge().failed(Broken, at(0)));
    assert_eq!(failed.status(), 503);
    assert_eq!(failed.reason().to_string(), "the limiter failed: connection refused");
}

// ---------------------------------------------------------------------------------------
// Foreign credentials and too many failed attempts.

#[test]
fn only_credentials_in_no_key_format_are_passed_to_the_host() {
    let service = Service::new();
    let gate = service.lucitra();
    let jwt = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln";
    let check = |head: &PlainHead| gate.check_sync(head, &datasets(&gate), service.store(), at(0));
    assert!(matches!(check(&bearer(jwt)), Outcome::ForeignCredential));
    assert!(matches!(
        gate.begin(&bearer(jwt), &datasets(&gate), at(0)),
        Step::Done(Outcome::ForeignCredential)
    ));
    for head in [
        PlainHead::new(),
        bearer(""),
        bearer("luci_"),
        bearer(&format!("luci_{}", "0".repeat(64))),
        bearer(&format!("{jwt} {jwt}")),
        bearer("e\u{e9}"),
        bearer(jwt).with_header("authorization", "Bearer other"),
    ] {
        let status = refused(check(&head)).status();
        assert!(matches!(status, 400 | 401), "{head:?}: {status}");
    }
    // A refusal by the host has the same body.
    let refusal = gate.refuse(&datasets(&gate), PublicReason::InvalidKey, None, at(0));
    let key = refused(check(&bearer("luci_")));
    assert_eq!(answer(&refusal), answer(&key));
    assert!(matches!(refusal.reason(), RefusalReason::Host(PublicReason::InvalidKey)));
    // A missing credential is not a foreign credential.
    let header = service
        .builder(LUCI, CredentialSource::header("x-api-key"))
        .allow_foreign()
        .with_challenge(Challenge::api_key("lucitra", "x-api-key").unwrap())
        .build()
        .unwrap();
    let route = header.route(Access::any_key()).unwrap();
    let head = |value: &str| PlainHead::new().with_header("x-api-key", value);
    assert_eq!(refused(decide_unlimited(&header, &head(""), &route, &service)).status(), 401);
    let passed = decide_unlimited(&header, &head("anything else"), &route, &service);
    assert!(matches!(passed, Outcome::ForeignCredential));
    // A gate without this option passes nothing to the host.
    let (strict, route) = service.lumiqtrace();
    let head = PlainHead::new().with_header("x-api-key", jwt);
    assert_eq!(refused(decide_unlimited(&strict, &head, &route, &service)).status(), 401);
}

/// The gate of Lucitra with a limit of failed attempts, and what counts them.
fn counting_gate(service: &Service, quota: Quota) -> (GateBuilder, Arc<Limiter>) {
    let attempts = Arc::new(Limiter::new(LimiterConfig::default(), [5; 16]));
    let builder = service.lucitra_builder().with_limiter(Arc::clone(&service.limiter));
    (builder.limit_failed_attempts(Arc::clone(&attempts), quota), attempts)
}

fn unknown_key() -> String {
    format!("luci_{}", "0".repeat(64))
}

#[test]
fn failures_above_the_limit_get_429_and_a_proved_key_always_passes() {
    let service = Service::new();
    let (builder, attempts) = counting_gate(&service, per_minute(3));
    let gate = builder.build().unwrap();
    let good = service.key(LUCI);
    let attacker = LimitKey::host(1, &[192, 0, 2, 7]);
    let check = |head: PlainHead, address: Option<LimitKey>, now| {
        let head = match address {
            Some(address) => head.with_address(address),
            None => head,
        };
        gate.check_sync(&head, &datasets(&gate), service.store(), now)
    };
    let ended = service.dead_keys(LUCI);
    let ended = || ended.iter().filter(|(_, _, error)| *error != VerifyError::Unknown);
    // Missing, conflicting and foreign credentials, valid keys and proved keys that have ended are
    // not failed attempts.
    let no_attempts = || {
        for (token, _, error) in ended().filter(|(_, now, _)| *now == at(0)) {
            let refusal = refused(check(bearer(token), Some(attacker), at(0)));
            assert_eq!(refusal.status(), 401, "{error}");
            assert!(matches!(refusal.reason(), RefusalReason::Verify(own) if own == error));
        }
        assert_eq!(refused(check(PlainHead::new(), Some(attacker), at(0))).status(), 401);
        assert_eq!(refused(check(bearer(""), Some(attacker), at(0))).status(), 401);
        let twice = bearer("a").with_header("authorization", "Bearer b");
        assert_eq!(refused(check(twice, Some(attacker), at(0))).status(), 400);
        assert!(matches!(check(bearer("jwt"), Some(attacker), at(0)), Outcome::ForeignCredential));
        drop(admitted(check(bearer(good.key.expose()), Some(attacker), at(0))));
    };
    for _ in 0..10 {
        no_attempts();
    }
    assert!(attempts.is_empty());
    // Malformed or unknown: three attempts get a 401.
    for bad in [&*unknown_key(), "luci_", "a b"] {
        assert_eq!(refused(check(bearer(bad), Some(attacker), at(0))).status(), 401, "{bad}");
    }
    // After that, failures get a 429, and everything else is as before.
    for token in [&*unknown_key(), "luci_", "a b"] {
        let refusal = refused(check(bearer(token), Some(attacker), at(48)));
        assert!(matches!(refusal.reason(), RefusalReason::TooManyAttempts));
        assert_eq!(
            answer(&refusal),
            expected(
                429,
                &["retry-after: 12"],
                r#"{"error":{"code":"RATE_LIMITED","message":"Too many failed attempts"}}"#
            )
        );
    }
    no_attempts();
    for (token, now, error) in ended() {
        let refusal = refused(check(bearer(token), Some(attacker), *now));
        assert!(matches!(refusal.reason(), RefusalReason::Verify(own) if own == error), "{error}");
    }
    // Other addresses and requests without an address are not affected.
    let neighbour = LimitKey::host(1, &[192, 0, 2, 8]);
    assert_eq!(refused(check(bearer(&unknown_key()), Some(neighbour), at(48))).status(), 401);
    for _ in 0..10 {
        assert_eq!(refused(check(bearer(&unknown_key()), None, at(48))).status(), 401);
    }
    // After the time in Retry-After a failure gets a 401 again.
    assert_eq!(refused(check(bearer(&unknown_key()), Some(attacker), at(60))).status(), 401);
}

#[test]
fn shedding_refuses_good_keys_too_and_queries_no_store() {
    let service = Service::new();
    let (builder, _) = counting_gate(&service, per_minute(3));
    let gate = builder.shed_before_lookup().build().unwrap();
    let good = service.key(LUCI);
    let attacker = LimitKey::address([192, 0, 2, 7].into());
    let check = |token: &str, now| {
        let head = bearer(token).with_address(attacker);
        gate.check_sync(&head, &datasets(&gate), service.store(), now)
    };
    for _ in 0..3 {
        drop(admitted(check(good.key.expose(), at(0))));
        assert_eq!(refused(check(&unknown_key(), at(0))).status(), 401);
    }
    for token in [&*unknown_key(), "luci_", good.key.expose()] {
        let refusal = refused(check(token, at(48)));
        assert!(matches!(refusal.reason(), RefusalReason::TooManyAttempts));
        let body = r#"{"error":{"code":"RATE_LIMITED","message":"Too many failed attempts"}}"#;
        assert_eq!(answer(&refusal), expected(429, &["retry-after: 12"], body));
    }
    let head = bearer(good.key.expose()).with_address(attacker);
    let begun = gate.begin(&head, &datasets(&gate), at(48));
    assert!(matches!(begun, Step::Done(_)), "the store was queried");
    drop(admitted(check(good.key.expose(), at(60))));

    // Shedding without a limit would silently do nothing.
    let built = service.lucitra_builder().shed_before_lookup().build();
    let error = built.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("GateBuilder::limit_failed_attempts"), "{error}");
}

#[test]
fn keys_in_a_query_are_no_failed_attempts() {
    let service = Service::new();
    let attempts = Arc::new(Limiter::new(LimiterConfig::default(), [5; 16]));
    let sources = CredentialSources::first_of([
        CredentialSource::header("x-api-key"),
        CredentialSource::query("api_key"),
    ]);
    let gate = service
        .builder(PUBLIC, sources)
        .with_publishable([PUBLIC.kind()])
        .limit_failed_attempts(Arc::clone(&attempts), per_minute(1))
        .with_challenge(Challenge::api_key("test", "x-api-key").unwrap())
        .build()
        .unwrap();
    let route = gate.route(Access::any_key()).unwrap();
    let address = LimitKey::address([192, 0, 2, 7].into());
    let unknown = format!("luc_pk_{}", "0".repeat(64));
    let status = |head: PlainHead| {
        let head = head.with_address(address);
        let refusal = refused(gate.check_sync(&head, &route, service.store(), at(0)));
        // A dropped lookup does not count either.
        if let Step::Lookup(pending) = gate.begin(&head, &route, at(0))
            && head.query().is_some()
        {
            pending.abandoned(at(0));
        }
        refusal.status()
    };
    let in_query = |value: &str| PlainHead::new().with_query(format!("api_key={value}"));
    let in_header = |value: &str| PlainHead::new().with_header("x-api-key", value);
    for _ in 0..3 {
        for value in [&*unknown, "x", "luc_pk_", "%zz", "%20"] {
            assert_eq!(status(in_query(value)), 401, "{value}");
        }
    }
    assert!(attempts.is_empty());
    assert_eq!([status(in_header(&unknown)), status(in_header("x"))], [401, 429]);
    assert_eq!(status(in_query(&unknown)), 401, "above the limit too");
}

#[test]
fn ipv6_networks_count_at_1_4_and_16_times_the_quota() {
    let service = Service::new();
    let (builder, _) = counting_gate(&service, per_minute(3));
    let gate = builder.build().unwrap();
    let (builder, _) = counting_gate(&service, per_minute(3));
    let shedding = builder.shed_before_lookup().build().unwrap();
    let of = |gate: &Gate, token: &str, address: String| {
        let head = bearer(token).with_address(LimitKey::address(address.parse().unwrap()));
        match gate.check_sync(&head, &datasets(gate), service.store(), at(0)) {
            Outcome::Refused(refusal) => refusal.status(),
            outcome => {
                drop(admitted(outcome));
                200
            }
        }
    };
    let good = service.key(LUCI);
    for gate in [&gate, &shedding] {
        let failures = |network: &dyn Fn(u32) -> String, networks: std::ops::Range<u32>| {
            let mut unauthorized = 0;
            for at in networks {
                // Twice as many as one network of 64 bits may have.
                for _ in 0..6 {
                    unauthorized += u32::from(of(gate, &unknown_key(), network(at)) == 401);
                }
            }
            unauthorized
        };
        // One network of 64 bits, then all of its 56 bits, then all of its 48 bits.
        let in_56 = |at: u32| format!("2001:db8:1:2{at:02x}::{at}");
        let in_48 = |at: u32| format!("2001:db8:1:{:x}::1", at << 8);
        assert_eq!(failures(&in_56, 0..1), 3);
        assert_eq!(failures(&in_56, 1..40), 9);
        assert_eq!(failures(&in_48, 3..255), 36);
        assert_eq!(failures(&|_| "2001:db8:2::1".to_owned(), 0..1), 3, "another network");
        let passes = if std::ptr::eq(gate, &raw const shedding) { 429 } else { 200 };
        assert_eq!(of(gate, good.key.expose(), "2001:db8:1:ffff::".to_owned()), passes);
        // NAT64 counts as the IPv4 address inside it, which has no network around it.
        let through_nat64 = |at: u32| format!("64:ff9b::192.0.2.{at}");
        assert_eq!(failures(&through_nat64, 0..40), 120);
        assert_eq!(of(gate, &unknown_key(), "192.0.2.7".to_owned()), 429);
    }
}

#[test]
fn the_three_services_keep_their_401_for_100_failures_a_minute() {
    let service = Service::new();
    let attempts = || Arc::new(Limiter::new(LimiterConfig::default(), [5; 16]));
    let bearer_401 = r#"{"error":{"code":"UNAUTHORIZED","message":"Missing or invalid API key."}}"#;
    let lumiqtrace = service
        .builder(LQT, CredentialSource::header("x-api-key"))
        .with_challenge(Challenge::api_key("lumiqtrace", "x-api-key").unwrap())
        .with_errors(ErrorBodies::flat().with_unauthenticated("Invalid API key"));
    let lucent = service
        .builder(PUBLIC, CredentialSource::header("X-Lucent-Api-Key"))
        .with_challenge(Challenge::api_key("lucent", "x-lucent-api-key").unwrap())
        .with_errors(ErrorBodies::flat().with_unauthenticated("Invalid or revoked API key"));
    let zeros = "0".repeat(64);
    for (builder, head, body) in [
        (
            lumiqtrace,
            PlainHead::new().with_header("x-api-key", format!("lqt_{zeros}")),
            r#"{"error":"Invalid API key"}"#,
        ),
        (
            lucent,
            PlainHead::new().with_header("x-lucent-api-key", format!("luc_pk_{zeros}")),
            r#"{"error":"Invalid or revoked API key"}"#,
        ),
        (service.lucitra_builder(), bearer(&unknown_key()), bearer_401),
    ] {
        let gate = builder.limit_failed_attempts(attempts(), per_minute(100)).build().unwrap();
        let route = gate.route(Access::any_key()).unwrap();
        let head = head.with_address(LimitKey::address([192, 0, 2, 7].into()));
        for failures in 0..100 {
            let refusal = refused(gate.check_sync(&head, &route, service.store(), at(0)));
            assert_eq!((refusal.status(), refusal.body()), (401, body.as_bytes()), "{failures}");
        }
        let refusal = refused(gate.check_sync(&head, &route, service.store(), at(0)));
        assert_eq!(refusal.status(), 429);
    }
}

#[test]
fn an_empty_credential_is_a_missing_one_and_no_failed_attempt() {
    let service = Service::new();
    let attempts = Arc::new(Limiter::new(LimiterConfig::default(), [5; 16]));
    let places = [
        CredentialSource::header("x-api-key"),
        CredentialSource::bearer(),
        CredentialSource::query("api_key"),
    ];
    let key = service.key(PUBLIC);
    let address = LimitKey::address([192, 0, 2, 7].into());
    for sources in [CredentialSources::first_of(places.clone()), CredentialSources::one_of(places)]
    {
        let gate = service
            .builder(PUBLIC, sources)
            .with_publishable([PUBLIC.kind()])
            .limit_failed_attempts(Arc::clone(&attempts), per_minute(1))
            .allow_foreign()
            .with_challenge(Challenge::api_key("test", "x-api-key").unwrap())
            .build()
            .unwrap();
        let route = gate.route(Access::any_key()).unwrap();
        let check = |head: &PlainHead| {
            gate.check_sync(&head.clone().with_address(address), &route, service.store(), at(0))
        };
        for (empty, elsewhere) in [
            (PlainHead::new().with_header("x-api-key", ""), bearer(key.key.expose())),
            (
                bearer(""),
                PlainHead::new().with_query(format!("api_key=&api_key={}", key.key.expose())),
            ),
            (PlainHead::new().with_query("api_key="), bearer(key.key.expose())),
        ] {
            for _ in 0..3 {
                let refusal = refused(check(&empty));
                assert!(matches!(refusal.reason(), RefusalReason::Missing), "{empty:?}");
                assert_eq!(refusal.public(), PublicReason::MissingKey);
            }
            drop(admitted(check(&elsewhere)));
        }
        let beside = bearer(key.key.expose()).with_header("x-api-key", "").with_query("api_key=");
        drop(admitted(check(&beside)));
    }
    assert!(attempts.is_empty(), "an empty credential is no attempt");
}

#[test]
fn a_route_that_allows_missing_credentials_refuses_bad_ones() {
    let service = Service::new();
    let sources = CredentialSources::one_of([
        CredentialSource::header("x-api-key"),
        CredentialSource::bearer(),
    ]);
    let gate = service
        .builder(LQT, sources)
        .with_limiter(Arc::clone(&service.limiter))
        .with_limit(Limit::new("shared", per_minute(1)).shared())
        .with_challenge(Challenge::api_key("test", "x-api-key").unwrap())
        .build()
        .unwrap();
    let access = || Access::kinds([LQT.kind()]).with_tiers([HIGHER]);
    let strict = gate.route(access()).unwrap();
    let open = gate.route(Route::new(access()).allow_missing()).unwrap();
    assert_eq!([strict.allows_missing(), open.allows_missing()], [false, true]);
    let head = PlainHead::new;
    for nobody in [
        head(),
        head().with_header("x-api-key", ""),
        head().with_header("authorization", "Bearer"),
        // What the gate does not read is no credential.
        head().with_header("authorization", "Basic eDp5").with_query("x-api-key=abc"),
    ] {
        service.events();
        let anonymous = decide_unlimited(&gate, &nobody, &open, &service);
        assert!(matches!(anonymous, Outcome::Anonymous), "{nobody:?}");
        let events = service.events();
        assert!(events.iter().all(|event| matches!(event.action, AuditAction::Anonymous)));
        assert!(!events.is_empty() && events.iter().all(|event| event.key.is_none()));
        let refusal = refused(decide_unlimited(&gate, &nobody, &strict, &service));
        let other_scheme = nobody.header("authorization").any(|line| line.starts_with(b"Basic"));
        let expected = match other_scheme {
            true => PublicReason::WrongScheme,
            false => PublicReason::MissingKey,
        };
        assert_eq!(refusal.public(), expected);
    }
    let key = service.key(LQT);
    let with_key = |text: &str| head().with_header("x-api-key", text);
    for (bad, status) in [
        (with_key("x"), 401),
        (with_key("lqt_"), 401),
        (with_key(&format!("lqt_{}", "0".repeat(64))), 401),
        (bearer("a b"), 401),
        (with_key(key.key.expose()).with_header("x-api-key", "other"), 400),
        (with_key(key.key.expose()).with_header("authorization", "Bearer other"), 400),
        // The requirements hold for a caller with a key.
        (with_key(key.key.expose()), 403),
    ] {
        let refusal = refused(decide_unlimited(&gate, &bad, &open, &service));
        assert_eq!(refusal.status(), status, "{bad:?}");
    }
    for (token, now, error) in service.dead_keys(LQT) {
        let refusal = refused(gate.check_sync(&with_key(&token), &open, service.store(), now));
        assert!(matches!(refusal.reason(), RefusalReason::Verify(own) if *own == error), "{error}");
    }
    // Nobody is charged, and a route of another gate is refused as ever.
    let limited = gate.route(access().with_limit("shared").allow_missing()).unwrap();
    for _ in 0..3 {
        let anonymous = gate.check_sync(&head(), &limited, service.store(), at(0));
        assert!(matches!(anonymous, Outcome::Anonymous));
    }
    let (other, _) = service.lumiqtrace();
    let refusal = refused(other.check_sync(&head(), &open, service.store(), at(0)));
    assert!(matches!(refusal.reason(), RefusalReason::ForeignRoute));
}

#[test]
fn a_key_in_two_places_is_refused_with_a_reason_of_its_own() {
    let service = Service::new();
    let sources = CredentialSources::one_of([
        CredentialSource::header("x-api-key"),
        CredentialSource::bearer(),
    ]);
    let gate = |errors| {
        let builder = service.builder(LQT, sources.clone()).with_errors(errors);
        let challenge = Challenge::api_key("test", "x-api-key").unwrap();
        builder.with_challenge(challenge).build().unwrap()
    };
    let plain = gate(ErrorBodies::flat());
    let worded = gate(
        ErrorBodies::flat().with_text(PublicReason::AmbiguousCredentials, "Send one credential"),
    );
    let key = service.key(LQT);
    let twice = bearer(key.key.expose()).with_header("x-api-key", key.key.expose());
    let other = bearer("another").with_header("x-api-key", key.key.expose());
    for (gate, repeated, several) in [
        (&plain, "The API key was sent in several places", "Several different API keys were sent"),
        (&worded, "Send one credential", "Send one credential"),
    ] {
        let route = gate.route(Access::any_key()).unwrap();
        for (head, error, message) in [
            (&twice, CredentialError::Repeated, repeated),
            (&other, CredentialError::SeveralSources, several),
        ] {
            let refusal = refused(decide_unlimited(gate, head, &route, &service));
            let reason = refusal.reason();
            assert!(matches!(reason, RefusalReason::Credential(own) if *own == error), "{reason}");
            assert_eq!((refusal.status(), &*refusal.message()), (400, message));
        }
    }
}

/// A store whose futures never complete.
struct Hanging;

impl KeyStore for Hanging {
    type Error = Infallible;

    async fn find(&self, _: &Lookup) -> Result<Option<StoredKey>, Infallible> {
        std::future::pending().await
    }

    async fn find_by_id(&self, _: KeyId) -> Result<Option<StoredKey>, Infallible> {
        std::future::pending().await
    }
}

#[test]
fn a_dropped_attempt_is_counted_as_failed() {
    let service = Service::new();
    let (builder, attempts) = counting_gate(&service, per_minute(2));
    let gate = builder.shed_before_lookup().build().unwrap();
    assert!(gate.limits_failed_attempts() && gate.has_limiter() && gate.allows_foreign());
    let address = LimitKey::address([192, 0, 2, 7].into());
    let head = bearer(service.key(LUCI).key.expose()).with_address(address);
    let left = |now| {
        let quotas = Quotas::from(per_minute(2));
        attempts.peek(address, &quotas, 1, now).unwrap().remaining
    };
    let route = datasets(&gate);
    let noon = clock(at(0));
    let begin = || match gate.begin(&head, &route, at(0)) {
        Step::Lookup(pending) => pending,
        other => panic!("{other:?}"),
    };
    // A completed attempt is counted by its result.
    drop(admitted(gate.check_sync(&head, &route, service.store(), at(0))));
    drop(admitted(block_on(gate.check(&head, &route, service.store(), &noon))));
    drop(refused(begin().failed(Broken, at(0))));
    drop(refused(block_on(gate.check(&head, &route, &BrokenStore, &noon))));
    drop(begin().found(None, at(0)));
    assert_eq!(attempts.len(), 1, "only the key that was not found");
    let before = left(at(0));

    // A future that was never polled has not queried the store.
    drop(gate.check(&head, &route, &Hanging, &noon));
    assert_eq!(left(at(0)), before);
    let mut future = Box::pin(gate.check(&head, &route, &Hanging, &noon));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    assert_eq!(left(at(0)), before, "still in progress");
    drop(future);
    let refusal = refused(gate.check_sync(&head, &route, service.store(), at(0)));
    assert!(matches!(refusal.reason(), RefusalReason::TooManyAttempts));

    // The same without the driver, at the host's own time.
    let attempt = match gate.begin(&head, &route, at(60)) {
        Step::Lookup(pending) => pending,
        other => panic!("{other:?}"),
    };
    let before = left(at(61));
    attempt.abandoned(at(61));
    assert_eq!(left(at(61)), before - 1);
}

#[test]
fn a_host_refusal_without_facts_has_a_complete_message() {
    let service = Service::new();
    let gate = |errors: ErrorBodies| {
        let challenge = Challenge::bearer("r").unwrap();
        let builder = service.builder(LUCI, CredentialSource::bearer()).with_challenge(challenge);
        builder.with_errors(errors).build().unwrap()
    };
    let worded = ErrorBodies::flat()
        .with_text(
            PublicReason::RateLimited,
            ErrorText::new("Wait {retry_after} seconds.").with_retry_after("retry_after"),
        )
        .with_text(
            PublicReason::MissingScope,
            ErrorText::new("You need {scope}.").with_missing_scope("scope"),
        )
        .with_text(PublicReason::TooManyAttempts, "{retry_after} seconds to go");
    let (plain, worded) = (gate(ErrorBodies::flat()), gate(worded));
    let any = |gate: &Gate| gate.route(Access::any_key()).unwrap();
    let write = |gate: &Gate| gate.route(Access::scope(WRITE)).unwrap();
    let slow = Decision::refused_elsewhere(per_minute(7), 0, at(10), at(0));
    let (limited, scope) = (PublicReason::RateLimited, PublicReason::MissingScope);
    for (refusal, message, fields) in [
        (plain.refuse(&any(&plain), limited, None, at(0)), "Rate limit exceeded", ""),
        (worded.refuse(&any(&worded), limited, None, at(0)), "Rate limit exceeded", ""),
        (
            worded.refuse_charged(&any(&worded), limited, slow, None, at(0)),
            "Wait 10 seconds.",
            r#","retry_after":10"#,
        ),
        (
            worded.refuse(&any(&worded), PublicReason::TooManyAttempts, None, at(0)),
            "Too many failed attempts",
            "",
        ),
        (plain.refuse(&any(&plain), scope, None, at(0)), "Missing a required scope", ""),
        (worded.refuse(&any(&worded), scope, None, at(0)), "Missing a required scope", ""),
        (
            plain.refuse(&write(&plain), scope, None, at(0)),
            "Missing required scope: write:issues",
            "",
        ),
        (
            worded.refuse(&write(&worded), scope, None, at(0)),
            "You need write:issues.",
            r#","scope":"write:issues""#,
        ),
    ] {
        assert_eq!(refusal.message(), message);
        let body = format!(r#"{{"error":"{message}"{fields}}}"#);
        assert_eq!(String::from_utf8_lossy(refusal.body()), body);
    }
}

#[test]
fn a_custom_body_function_is_called_once_per_response() {
    let service = Service::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let errors = ErrorBodies::custom({
        let calls = Arc::clone(&calls);
        move |facts, message| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            let bytes = format!("{} {message} {call}", facts.reason.status()).into();
            ErrorBody { content_type: "text/plain", bytes }
        }
    });
    let challenge = Challenge::bearer("r").unwrap();
    let builder = service.builder(LUCI, CredentialSource::bearer()).with_challenge(challenge);
    let gate = builder.with_errors(errors).build().unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 0, "no body was requested yet");
    for call in 0..2 {
        let route = gate.route(Access::any_key()).unwrap();
        let refusal = refused(gate.check_sync(&bearer("luci_"), &route, service.store(), at(0)));
        let Answer(status, head, body) = answer(&refusal);
        assert_eq!((status, body), (401, format!("401 Invalid API key {call}")));
        assert_eq!(head, ["content-type: text/plain", r#"www-authenticate: Bearer realm="r""#]);
        assert_eq!(refusal.body(), format!("401 Invalid API key {call}").as_bytes());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// A flood of addresses must not displace keys, so the two tables are two.
#[test]
fn failed_attempts_do_not_count_in_the_table_of_the_routes() {
    let service = Service::new();
    let shared = service
        .lucitra_builder()
        .with_limiter(Arc::clone(&service.limiter))
        .limit_failed_attempts(Arc::clone(&service.limiter), per_minute(2));
    let error = shared.build().unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Gate);
    assert!(error.to_string().contains("GateBuilder::limit_failed_attempts"), "{error}");
}

#[test]
fn concurrent_attempts_are_counted_individually() {
    let service = Service::new();
    let attempts = Arc::new(Limiter::new(LimiterConfig::default(), [4; 16]));
    let gate =
        service.lucitra_builder().limit_failed_attempts(attempts, per_minute(2)).build().unwrap();
    let head = bearer(&format!("luci_{}", "0".repeat(64)))
        .with_address(LimitKey::host(1, &[192, 0, 2, 7]));
    let route = gate.route(Access::any_key()).unwrap();
    let pending: Vec<PendingLookup> = (0..5)
        .map(|_| match gate.begin(&head, &route, at(0)) {
            Step::Lookup(pending) => pending,
            other => panic!("{other:?}"),
        })
        .collect();
    let statuses: Vec<u16> = pending
        .into_iter()
        .map(|pending| match pending.found(None, at(0)) {
            Step::Done(outcome) => refused(outcome).status(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(statuses, [401, 401, 429, 429, 429]);
}

// ---------------------------------------------------------------------------------------
// Keys revoked while their request is served.

#[test]
fn a_key_revoked_in_flight_is_rejected_after_the_handler() {
    let service = Service::new();
    let gate = service.lucitra();
    let route = datasets(&gate);
    let invalid = expected(
        401,
        &[r#"www-authenticate: Bearer realm="lucitra", error="invalid_token""#],
        r#"{"error":{"code":"UNAUTHORIZED","message":"Missing or invalid API key."}}"#,
    );
    let begin = |issued: &Issued| {
        let head = bearer(issued.key.expose());
        admitted(gate.check_sync(&head, &route, service.store(), at(0)))
    };
    // The final response, through every entry point; `None` if the key is still valid.
    let end = |admission: &Admission, now| {
        let recheck = || gate.recheck(admission.caller(), &route);
        let by_id = recheck();
        let found = service.store().find_by_id_sync(by_id.key_id());
        let by_id = by_id.found(found, now);
        let by_future = block_on(Driver::new(service.store(), &clock(now)).recheck(recheck()));
        let seen = [by_id, by_future].map(|result| match result {
            Ok(()) => None,
            Err(refusal) => {
                assert!(matches!(refusal.reason(), RefusalReason::Withdrawn(_)));
                assert_eq!(refusal.key_id(), Some(admission.caller().key_id()));
                Some(answer(&refusal))
            }
        });
        let [first, others @ ..] = seen;
        assert!(others.iter().all(|other| *other == first), "{others:?}");
        first
    };

    // Unchanged, or rotated: it is about the key and not about its secret.
    let first = service.key(LUCI);
    let id = first.record.id();
    let admission = begin(&first);
    assert_eq!(end(&admission, at(1)), None);
    let second = service.rotate(id, at(1));
    let deadline = at(1) + Grace::DAY.duration();
    assert_eq!(end(&admission, deadline), None);

    // Suspended and resumed; rotated without a grace period.
    let admission = begin(&second);
    block_on(service.issuer.suspend(id, at(2))).unwrap();
    assert_eq!(end(&admission, at(2)).as_ref(), Some(&invalid));
    block_on(service.issuer.resume(id, at(3))).unwrap();
    assert_eq!(end(&admission, at(3)), None);
    block_on(service.issuer.rotate_now(id, &mut *service.rng.lock().unwrap(), at(4))).unwrap();
    assert_eq!(end(&admission, at(4)), None, "the response that has the new key is not lost");

    // Revoked; expired.
    let revoked = service.key(LUCI);
    let admission = begin(&revoked);
    service.revoke(revoked.record.id());
    assert_eq!(end(&admission, at(1)).as_ref(), Some(&invalid));
    let expiring = service.issue(LUCI, draft("org_a").with_expiry(at(60)));
    let admission = begin(&expiring);
    assert_eq!(end(&admission, at(60).saturating_sub(Duration::from_millis(1))), None);
    assert_eq!(end(&admission, at(60)).as_ref(), Some(&invalid));

    // A store that fails or returns a wrong record does not confirm the key.
    let admission = begin(&service.key(LUCI));
    let recheck = || gate.recheck(admission.caller(), &route);
    assert_eq!(
        block_on(Driver::new(&BrokenStore, &clock(at(1))).recheck(recheck())).unwrap_err().status(),
        503
    );
    assert_eq!(recheck().failed(Broken, at(1)).status(), 503);
    let lie = service.store().find_by_id_sync(id);
    assert_eq!(recheck().found(lie, at(1)).unwrap_err().status(), 401);
    assert_eq!(recheck().found(None, at(1)).unwrap_err().status(), 401);
}

/// A key that was purged stays withdrawn if its secret is imported again, for another owner.
#[test]
fn a_recheck_is_about_the_key_and_not_about_its_secret() {
    let service = Service::new();
    let gate = service.lucitra();
    let key = LUCI.mint(&mut *service.rng.lock().unwrap()).unwrap();
    let secret = StoredSecret::of(&key, &KeyHasher::sha256(), T0);
    let import = |service: &Service, id, owner| {
        let id = KeyId::from_bytes([id; 16]);
        block_on(service.issuer.import(id, draft(owner), secret.clone(), T0)).unwrap();
    };
    import(&service, 7, "org_a");
    let head = bearer(key.expose());
    let admission = admitted(gate.check_sync(&head, &datasets(&gate), service.store(), at(0)));
    let other = Service::new();
    import(&other, 8, "org_b");
    for (store, id, stands) in [(service.store(), 7, true), (other.store(), 8, false)] {
        let recheck = gate.recheck(admission.caller(), &datasets(&gate));
        let found = store.find_by_id_sync(KeyId::from_bytes([id; 16]));
        assert!(found.is_some());
        assert_eq!(recheck.found(found, at(1)).is_ok(), stands);
    }
}

#[test]
fn a_key_rehashed_in_flight_stays_valid() {
    let service = Service::new();
    let gate = service.lucitra();
    let key = LUCI.mint(&mut *service.rng.lock().unwrap()).unwrap();
    let digest: [u8; 32] =
        sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(key.expose()))
            .into();
    let secret = StoredSecret::new(KeyHash::new(HashScheme::Sha256Token, digest), LUCI.kind(), T0);
    let id = KeyId::from_bytes([7; 16]);
    block_on(service.issuer.import(id, draft("org_a"), secret, T0)).unwrap();

    let head = bearer(key.expose());
    let admission = admitted(gate.check_sync(&head, &datasets(&gate), service.store(), at(0)));
    assert!(admission.caller().rehash().is_some());
    let stands = |now| {
        let recheck = gate.recheck(admission.caller(), &datasets(&gate));
        block_on(Driver::new(service.store(), &clock(now)).recheck(recheck)).is_ok()
    };
    assert!(stands(at(1)), "before");
    assert_eq!(block_on(service.issuer.rehash(admission.caller(), at(2))), Ok(true));
    assert!(stands(at(2)), "after");
    service.revoke(id);
    assert!(!stands(at(3)));
}

// ---------------------------------------------------------------------------------------
// Audit events.

/// Summarizes an event in one line.
fn told(event: &AuditEvent) -> String {
    let action = match &event.action {
        AuditAction::Admitted { matched, decision, .. } => {
            let remaining = decision.map(|decision| decision.remaining);
            format!("admitted {matched:?} {remaining:?}")
        }
        AuditAction::Refused { reason, decision, .. } => {
            let retry = decision.and_then(|decision| decision.retry_after_secs());
            format!("{} {reason} {retry:?}", reason.status())
        }
        other => format!("{other:?}"),
    };
    let kind = event.kind.map(|kind| kind.to_string()).unwrap_or_default();
    let owner = event.owner.as_ref().map(OwnerId::as_str).unwrap_or_default();
    let key = if event.key.is_some() { "key" } else { "-" };
    format!("{} {key} {owner} {kind} {action}", event.at.saturating_since(T0).as_secs())
}

#[test]
fn every_outcome_and_every_change_emits_one_audit_event() {
    let service = Service::new();
    let gate = service.lucitra_with([Limit::new("three", per_minute(3))]);
    let route = gate.route(Access::any_key().with_limit("three")).unwrap();
    let forbidden = gate.route(Access::scope(WRITE).with_limit("three")).unwrap();
    let mut expected: Vec<String> = Vec::new();
    let mut check = |head: &PlainHead, route: &CheckedRoute, secs, told: &str| {
        let _outcome = gate.check_sync(head, route, service.store(), at(secs));
        expected.push(format!("{secs} {told}"));
    };

    let issued = service.key(LUCI);
    let id = issued.record.id();
    let head = bearer(issued.key.expose());
    check(&head, &route, 1, "key org_a luci_ admitted Current Some(2)");
    check(&head, &forbidden, 1, "key org_a luci_ 403 missing required scope: write:issues None");
    check(&PlainHead::new(), &route, 2, "-   401 no credential was sent None");
    let twice = head.clone().with_header("authorization", "Bearer x");
    check(&twice, &route, 2, "-   400 one credential was sent with different values None");
    check(&bearer("luci_"), &route, 2, "-   401 the key has 5 bytes, not 69 None");
    check(&bearer("jwt"), &route, 2, "-   ForeignCredential");
    let unknown = bearer(&format!("luci_{}", "0".repeat(64)));
    check(&unknown, &route, 3, "-  luci_ 401 no key has this secret None");
    check(&head, &route, 3, "key org_a luci_ admitted Current Some(0)");
    check(
        &head,
        &route,
        49,
        "key org_a luci_ 429 the limit three (3/min per key) is used up Some(12)",
    );
    let _failed = gate.check_with(&head, &route, |_| Err(Broken), &clock(at(50)));
    expected.push("50 -  luci_ 503 the store failed: connection refused None".to_owned());
    let _refused = gate.refuse(&route, PublicReason::InvalidKey, None, at(51));
    expected.push("51 -   401 refused by the host: InvalidKey None".to_owned());

    let second = service.rotate(id, at(60));
    let valid_until = at(60) + Grace::DAY.duration();
    let rotated = AuditAction::Rotated { previous_valid_until: Some(valid_until) };
    expected.push(format!("60 key org_a luci_ {rotated:?}"));
    let mut check = |head: &PlainHead, route: &CheckedRoute, secs, told: &str| {
        let outcome = gate.check_sync(head, route, service.store(), at(secs));
        expected.push(format!("{secs} {told}"));
        outcome
    };
    let matched = MatchedSecret::Retiring { valid_until };
    let _ = check(&head, &route, 120, &format!("key org_a luci_ admitted {matched:?} Some(2)"));
    let head = bearer(second.key.expose());
    let outcome = check(&head, &route, 121, "key org_a luci_ admitted Current Some(1)");
    let recheck = gate.recheck(admitted(outcome).caller(), &route);
    block_on(service.issuer.revoke(id, at(122))).unwrap();
    block_on(service.issuer.revoke(id, at(123))).unwrap();
    assert!(block_on(Driver::new(service.store(), &clock(at(124))).recheck(recheck)).is_err());
    let _ = gate.check_sync(&head, &route, service.store(), at(125));
    expected.extend([
        "122 key org_a luci_ Revoked { reason: None }".to_owned(),
        "124 key org_a luci_ 401 withdrawn while the request was served: the key is revoked None"
            .to_owned(),
        "125 key org_a luci_ 401 the key is revoked None".to_owned(),
    ]);

    let events = service.events();
    let told: Vec<String> = events.iter().map(told).collect();
    let issued = AuditAction::Issued { expires_at: None };
    assert_eq!(told[0], format!("0 key org_a luci_ {issued:?}"));
    assert_eq!(told[1..], expected);
    assert!(events.iter().all(|event| event.key.is_none_or(|key| key == id)));
}

#[test]
fn every_saved_lifecycle_change_emits_an_audit_event() {
    let service = Service::new();
    let issuer = &service.issuer;
    let mut rng = StdRng::seed_from_u64(4);
    let id = KeyId::from_bytes([9; 16]);
    let key = LUCI.mint(&mut rng).unwrap();
    let secret = StoredSecret::of(&key, &KeyHasher::sha256(), T0);
    block_on(async {
        let import = || issuer.import(id, draft("org_a"), secret.clone(), at(1));
        import().await.unwrap();
        assert!(import().await.is_err());
        issuer.expire_at(id, at(1_000), at(2)).await.unwrap();
        assert!(issuer.expire_at(id, at(1), at(2)).await.is_err());
        issuer.suspend(id, at(3)).await.unwrap();
        // It stays suspended since the same instant, and its revision is raised.
        issuer.suspend(id, at(4)).await.unwrap();
        // An owner-confined issuer reports to the same callback.
        let confined = issuer.within(OwnerId::from_static("org_a"));
        confined.resume(id, at(4)).await.unwrap();
        confined.rotate_now(id, &mut rng, at(5)).await.unwrap();
        issuer.rename(id, "other".parse().unwrap(), at(5)).await.unwrap();
        assert!(issuer.set_scopes(id, ScopeSet::new([WRITE]).unwrap(), at(5)).await.is_err());
        issuer.set_scopes(id, ScopeSet::empty(), at(5)).await.unwrap();
        issuer.set_overrides(id, Overrides::none(), at(5)).await.unwrap();
        issuer.revoke(id, at(5)).await.unwrap();
        assert_eq!(issuer.purge(Duration::ZERO, 9, at(6)).await, Ok(vec![id]));
        assert_eq!(issuer.purge(Duration::ZERO, 9, at(6)).await, Ok(vec![]));
        let nobodys = issuer.within(OwnerId::from_static("org_b"));
        assert!(nobodys.revoke(id, at(6)).await.is_err());
    });
    let events = service.events();
    let told: Vec<String> = events.iter().map(|event| format!("{:?}", event.action)).collect();
    let changed = AuditAction::ExpiryChanged { expires_at: Some(at(1_000)) };
    assert_eq!(
        told,
        [
            format!("{:?}", AuditAction::Imported { expires_at: None }),
            format!("{changed:?}"),
            "Suspended".to_owned(),
            "Suspended".to_owned(),
            "Resumed".to_owned(),
            format!("{:?}", AuditAction::Rotated { previous_valid_until: None }),
            "Renamed".to_owned(),
            format!("{:?}", AuditAction::ScopesChanged { scopes: ScopeSet::empty() }),
            format!("{:?}", AuditAction::OverridesChanged { overrides: Overrides::none() }),
            "Revoked { reason: None }".to_owned(),
            "Purged".to_owned(),
        ]
    );
    assert!(events.iter().all(|event| event.key == Some(id)));
}

// ---------------------------------------------------------------------------------------
// Checked routes.

#[test]
fn a_route_with_unknown_scopes_or_kinds_is_rejected() {
    let service = Service::new();
    let (data, any) = (service.lucent_data(), Access::any_key);
    let (unknown, typo) = (LUCI.kind(), Scope::from_static("raed:lucent"));
    for access in [
        any(),
        any().with_tiers([ENTERPRISE]).with_owner(OwnerId::from_static("org_a")),
        Access::scope(READ).with_scope(WRITE),
        Access::kinds([API.kind(), MCP.kind()]),
        // This route refuses every request, as configured.
        Access::kinds([]),
    ] {
        assert!(data.route(access.clone()).is_ok(), "{access:?}");
    }
    for (access, named) in [
        (Access::kinds([API.kind(), unknown]), "luci_"),
        (Access::scope(typo.clone()), "raed:lucent"),
        (Access::scope(READ).with_scope(typo.clone()), "raed:lucent"),
    ] {
        let error = data.route(access.clone()).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Route, "{access:?}");
        assert!(error.to_string().contains(named), "{error}");
    }
    // A verifier without a catalogue knows no scope names.
    let gate = Gate::builder(LUCI, Verifier::new(KeyHasher::sha256()), CredentialSource::bearer())
        .with_challenge(Challenge::bearer("r").unwrap())
        .build()
        .unwrap();
    assert!(gate.route(Access::scope(typo)).is_ok());
    // Limits are charged here or by the host; the gate cannot know which.
    let elsewhere = service.lucitra_builder().build().unwrap();
    assert!(elsewhere.route(any().with_limit("default")).unwrap().is_limited());
}

#[test]
fn a_route_of_another_gate_returns_503_in_every_call() {
    let service = Service::new();
    let (gate, other) = (service.lucitra(), service.lucitra());
    let head = bearer(service.key(LUCI).key.expose());
    let (own, foreign) = (datasets(&gate), datasets(&other));
    let now = at(0);
    let noon = clock(now);
    let admission = admitted(gate.check_sync(&head, &own, service.store(), now));
    let begun = match gate.begin(&head, &foreign, now) {
        Step::Done(outcome) => outcome,
        other => panic!("{other:?}"),
    };
    let record = service.store().find_by_id_sync(admission.caller().key_id());
    let decision = *admission.decision().unwrap();
    for (what, refusal) in [
        ("begin", refused(begun)),
        ("check_sync", refused(gate.check_sync(&head, &foreign, service.store(), now))),
        ("check", refused(block_on(gate.check(&head, &foreign, service.store(), &noon)))),
        ("check_with", refused(gate.check_with(&head, &foreign, |_| Err(Broken), &noon))),
        ("no key", refused(gate.check_sync(&PlainHead::new(), &foreign, service.store(), now))),
        ("a JWT", refused(gate.check_sync(&bearer("a.b.c"), &foreign, service.store(), now))),
        ("refuse", gate.refuse(&foreign, PublicReason::InvalidKey, None, now)),
        ("refuse_charged", {
            gate.refuse_charged(&foreign, PublicReason::RateLimited, decision, None, now)
        }),
        ("recheck", {
            *gate.recheck(admission.caller(), &foreign).found(record, now).unwrap_err()
        }),
    ] {
        assert_eq!(refusal.status(), 503, "{what}");
        assert!(matches!(refusal.reason(), RefusalReason::ForeignRoute), "{what}: {refusal:?}");
    }
    // A clone of the gate counts as the same gate, and a clone of the route as the same route.
    drop(admitted(gate.clone().check_sync(&head, &own.clone(), service.store(), now)));
    // The driver uses the gate that checked the route.
    let driver = Driver::new(service.store(), &noon);
    drop(admitted(block_on(driver.decide(&head, &foreign))));
}

#[test]
fn cost_and_owner_apply_to_one_request_only() {
    let service = Service::new();
    let gate = service.lucitra();
    let head = bearer(service.key(LUCI).key.expose());
    let route = datasets(&gate);
    let check = |route: &CheckedRoute| gate.check_sync(&head, route, service.store(), at(0));
    let remaining = |route: &CheckedRoute| admitted(check(route)).decision().unwrap().remaining;
    assert_eq!(remaining(&route.clone().with_cost(10)), 90);
    assert_eq!(remaining(&route), 89);
    assert_eq!(remaining(&route.clone().with_cost(0)), 88, "0 counts as 1");
    let owned = |owner| route.clone().with_owner(OwnerId::from_static(owner));
    drop(admitted(check(&owned("org_a"))));
    assert_eq!(refused(check(&owned("org_b"))).public(), PublicReason::ForeignOwner);
    drop(admitted(check(&route)));
}

// ---------------------------------------------------------------------------------------
// The driver.

/// A store that advances the clock during each query.
struct Slow<'s>(&'s Service, &'s ManualClock, Duration);

impl KeyStore for Slow<'_> {
    type Error = Infallible;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Infallible> {
        let Self(service, clock, takes) = self;
        clock.advance(*takes);
        Ok(service.store().find_sync(lookup))
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Infallible> {
        let Self(service, clock, takes) = self;
        clock.advance(*takes);
        Ok(service.store().find_by_id_sync(id))
    }
}

#[test]
fn a_key_that_expires_during_the_lookup_is_rejected() {
    let service = Service::new();
    let gate = service.lucitra();
    let issued = service.issue(LUCI, draft("org_a").with_expiry(at(60)));
    let head = bearer(issued.key.expose());
    let route = datasets(&gate);
    let check = |begins| {
        let clock = clock(begins);
        let store = Slow(&service, &clock, Duration::from_secs(2));
        block_on(gate.check(&head, &route, &store, &clock))
    };
    drop(admitted(check(at(57))));
    let refusal = refused(check(at(58)));
    assert!(matches!(refusal.reason(), RefusalReason::Verify(VerifyError::Expired)));

    // The second check reads the clock after its wait too.
    let admission = admitted(check(at(50)));
    let clock = clock(at(58));
    let store = Slow(&service, &clock, Duration::from_secs(2));
    let recheck = gate.recheck(admission.caller(), &route);
    let refusal = block_on(Driver::new(&store, &clock).recheck(recheck)).unwrap_err();
    assert!(matches!(refusal.reason(), RefusalReason::Withdrawn(VerifyError::Expired)));
}

#[test]
fn a_wait_past_the_deadline_returns_503() {
    let service = Service::new();
    let gate = service.lucitra_builder().build().unwrap();
    let head = bearer(service.key(LUCI).key.expose());
    let (free, limited) = (gate.route(Access::any_key()).unwrap(), datasets(&gate));
    let (noon, timer) = (clock(at(0)), Timer::new(|_| std::future::ready(())));
    let second = Duration::from_secs(1);
    let hung = Driver::new(&Hanging, &noon).with_deadline(second, &timer);
    let refusal = refused(block_on(hung.decide(&head, &free)));
    assert_eq!(refusal.status(), 503);
    assert_eq!(refusal.reason().to_string(), "the store failed: no response before the deadline");
    let admission = admitted(gate.check_sync(&head, &free, service.store(), at(0)));
    let refusal = block_on(hung.recheck(gate.recheck(admission.caller(), &free))).unwrap_err();
    assert_eq!(refusal.status(), 503);

    let never = |_: &PendingCharge, _| std::future::pending::<Result<Decision, Broken>>();
    let driver = Driver::new(service.store(), &noon).with_deadline(second, &timer);
    let refusal = refused(block_on(driver.with_charger(Some(&never)).decide(&head, &limited)));
    assert_eq!(refusal.reason().to_string(), "the limiter failed: no response before the deadline");
}

#[test]
fn a_charger_decides_and_a_limited_route_without_one_returns_503() {
    let service = Service::new();
    let gate = service.lucitra_builder().build().unwrap();
    let head = bearer(service.key(LUCI).key.expose());
    let route = datasets(&gate);
    let noon = clock(at(0));
    // The charger's future does not have to be `Send`.
    let local = std::rc::Rc::new(per_minute(7));
    let admits = |charge: &PendingCharge, now: Timestamp| {
        assert_eq!((charge.limits().count(), now), (1, at(0)));
        let local = std::rc::Rc::clone(&local);
        async move { Ok::<_, Broken>(Decision::admitted_elsewhere(*local, 3, at(10))) }
    };
    let driver = Driver::new(service.store(), &noon).with_charger(Some(&admits));
    let admission = admitted(block_on(driver.decide(&head, &route)));
    assert_eq!(admission.decision().unwrap().remaining, 3);
    let fails = |_: &PendingCharge, _| std::future::ready(Err::<Decision, _>(Broken));
    let driver = Driver::new(service.store(), &noon).with_charger(Some(&fails));
    assert_eq!(refused(block_on(driver.decide(&head, &route))).status(), 503);
    let driver = Driver::new(service.store(), &noon);
    let refusal = refused(block_on(driver.decide(&head, &route)));
    assert!(matches!(refusal.reason(), RefusalReason::NoLimiter));
    // The gate's own limiter takes precedence over a charger.
    let own = service.lucitra();
    let driver = Driver::new(service.store(), &noon).with_charger(Some(&fails));
    drop(admitted(block_on(driver.decide(&head, &datasets(&own)))));
}

#[test]
fn a_gate_issues_keys_that_it_accepts() {
    let service = Service::new();
    let gate = service.lucent_data();
    let issuer = gate.issuer(service.store());
    let mut rng = StdRng::seed_from_u64(9);
    let issued = block_on(issuer.issue(API.kind(), draft("org_a"), &mut rng, T0)).unwrap();
    let read = gate.route(Access::scope(READ)).unwrap();
    let head = bearer(issued.key.expose());
    drop(admitted(gate.check_sync(&head, &read, service.store(), at(0))));
    assert!(block_on(issuer.issue(LUCI.kind(), draft("org_a"), &mut rng, T0)).is_err());
    let told = service.events();
    assert!(
        matches!(told[0].action, AuditAction::Issued { .. }),
        "the gate's audit receives the event"
    );
}

// ---------------------------------------------------------------------------------------
// Building gates, and moving their values between threads.

/// Returns the wiring part that an error names, and the first clause of its text.
fn built(builder: GateBuilder) -> Result<(), (ConfigErrorKind, String)> {
    let refused = |error: ConfigError| {
        let text = error.to_string();
        (error.kind(), text.split([',', ';']).next().unwrap().to_owned())
    };
    builder.build().map(drop).map_err(refused)
}

#[test]
fn a_contradictory_gate_configuration_fails_to_build() {
    let service = Service::new();
    let both = || KeyFormats::new([PUBLIC, API]).unwrap();
    let challenge = || Challenge::bearer("r").unwrap();
    let build = |sources: CredentialSources, publishable: &[KeyKind]| {
        let builder = service.builder(both(), sources).with_challenge(challenge());
        built(builder.with_publishable(publishable.iter().copied()))
    };
    let query = || CredentialSource::query("api_key");
    let header = CredentialSource::header;
    let (public, api) = (PUBLIC.kind(), API.kind());
    let source = |text: &str| Err((ConfigErrorKind::Source, text.to_owned()));
    let not_publishable = |kind| source(&format!("keys of kind {kind} are not publishable"));
    let unknown = |kind| source(&format!("a source takes keys of kind {kind}"));

    // Only kinds declared publishable are allowed in a query.
    assert_eq!(build(query().into(), &[]), not_publishable(api));
    assert_eq!(build(query().into(), &[public]), not_publishable(api));
    assert_eq!(build(query().with_kinds([public]).into(), &[]), not_publishable(public));
    assert_eq!(build(query().with_kinds([public, api]).into(), &[public]), not_publishable(api));
    assert_eq!(build(query().with_kinds([public]).into(), &[public]), Ok(()));
    assert_eq!(build(query().into(), &[public, api]), Ok(()));
    assert_eq!(build(header("x-key").into(), &[]), Ok(()));

    assert_eq!(build(CredentialSources::first_of([]), &[]), source("a gate reads no credentials"));
    let bearer = CredentialSource::bearer;
    for (one, other) in [
        (header("X-Key"), header("x-key")),
        (header("Authorization"), bearer()),
        (bearer(), header("AUTHORIZATION")),
        (bearer(), bearer().with_kinds([api])),
        (query(), query()),
        (bearer(), CredentialSource::authorization("BEARER")),
        (CredentialSource::authorization("ApiKey"), CredentialSource::authorization("apikey")),
        (CredentialSource::authorization("ApiKey"), header("authorization")),
        (CredentialSource::cookie("k"), CredentialSource::cookie("k")),
        (CredentialSource::cookie("k"), header("Cookie")),
    ] {
        for sources in [
            CredentialSources::first_of([one.clone(), other.clone()]),
            CredentialSources::one_of([one.clone(), header("x-between"), other.clone()]),
        ] {
            assert_eq!(
                build(sources.clone(), &[public, api]),
                source("two sources read the same place"),
                "{one:?} {other:?}"
            );
            let passing = service.builder(both(), sources).with_challenge(challenge());
            let passing = built(passing.with_publishable([public, api]).allow_foreign());
            assert_eq!(passing, source("two sources read the same place"), "{one:?} {other:?}");
        }
    }
    for (one, other) in [
        (header("authorization"), header("x-key")),
        (bearer(), header("proxy-authorization")),
        (bearer(), CredentialSource::query("authorization")),
        (query(), CredentialSource::query("API_KEY")),
        (bearer(), CredentialSource::authorization("ApiKey")),
        (CredentialSource::cookie("k"), CredentialSource::cookie("K")),
        (CredentialSource::cookie("api_key"), query()),
    ] {
        let sources = CredentialSources::first_of([one, other]);
        assert_eq!(build(sources, &[public, api]), Ok(()));
    }
    for name in [
        "", "a b", "a:", "ä", "a
",
    ] {
        assert_eq!(
            build(header(name).into(), &[]),
            source("the name of a header is a token of RFC 9110"),
            "{name:?}"
        );
    }
    for name in ["", "a b", "a=b", "ä"] {
        for (place, problem) in [
            (CredentialSource::authorization(name), "the name of a scheme is a token of RFC 9110"),
            (CredentialSource::cookie(name), "the name of a cookie is a token of RFC 9110"),
        ] {
            assert_eq!(build(place.into(), &[]), source(problem), "{name:?}");
        }
    }
    for name in ["", "a b", "a=b", "a&b", "a%62", "ä"] {
        let query = CredentialSource::query(name).with_kinds([public]);
        let built = build(query.into(), &[public]);
        assert_eq!(
            built,
            source("the name of a query parameter has characters of [A-Za-z0-9._~-]"),
            "{name:?}"
        );
    }
    let foreign = header("x-key").with_kinds([public, LUCI.kind()]);
    assert_eq!(build(foreign.into(), &[]), unknown(LUCI.kind()));
    assert_eq!(
        build(header("x-key").into(), &[LUCI.kind()]),
        Err((
            ConfigErrorKind::Gate,
            format!("the kind {} is publishable but not accepted", LUCI.kind())
        ))
    );
    let without = service.builder(LUCI, CredentialSource::bearer()).build();
    assert!(without.unwrap_err().to_string().contains("GateBuilder::with_challenge"));
}

#[test]
fn a_kind_not_allowed_in_a_source_is_treated_as_unknown() {
    let service = Service::new();
    let sources = CredentialSources::first_of([
        CredentialSource::bearer().with_kinds([API.kind()]),
        CredentialSource::query("k").with_kinds([PUBLIC.kind()]),
    ]);
    let gate = service
        .builder(KeyFormats::new([PUBLIC, API]).unwrap(), sources)
        .with_publishable([PUBLIC.kind()])
        .with_challenge(Challenge::bearer("r").unwrap())
        .build()
        .unwrap();
    let route = gate.route(Access::any_key()).unwrap();
    let (public, api) = (service.key(PUBLIC), service.key(API));
    let query = |issued: &Issued| PlainHead::new().with_query(format!("k={}", issued.key.expose()));
    for (head, good) in [
        (bearer(api.key.expose()), true),
        (query(&public), true),
        (bearer(public.key.expose()), false),
        (query(&api), false),
    ] {
        let outcome = decide_unlimited(&gate, &head, &route, &service);
        if good {
            drop(admitted(outcome));
        } else {
            let refusal = refused(outcome);
            assert!(matches!(refusal.reason(), RefusalReason::NotTaken { .. }));
            assert_eq!(refusal.public(), PublicReason::InvalidKey);
        }
    }
}

#[test]
fn pending_steps_can_be_stored_and_sent_between_threads() {
    fn owned<T: Send + 'static>() {}
    fn shared<T: Send + Sync + 'static>() {}

    owned::<PendingLookup>();
    owned::<PendingCharge>();
    owned::<PendingRecheck>();
    owned::<Step>();
    shared::<Gate>();
    shared::<Route>();
    shared::<CheckedRoute>();
    shared::<Outcome>();
    shared::<Admission>();
    shared::<Refusal>();
    shared::<AuditEvent>();

    // The future does not borrow the head, which is not `Send` here.
    fn sent<F: Future<Output = Outcome> + Send>(future: F) -> Outcome {
        block_on(future)
    }
    struct Local(std::rc::Rc<PlainHead>);
    impl keyward::request::RequestHead for Local {
        fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
            self.0.header(name)
        }

        fn query(&self) -> Option<&[u8]> {
            self.0.query()
        }
    }
    let service = Service::new();
    let gate = service.lucitra();
    let head = Local(bearer(service.key(LUCI).key.expose()).into());
    let route = datasets(&gate);
    let now = clock(at(0));
    let future = gate.check(&head, &route, service.store(), &now);
    drop(head);
    drop(admitted(sent(future)));
}

proptest! {
    /// Only requests with the key are admitted, and no input panics.
    #[test]
    fn only_a_request_with_the_key_is_admitted(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..3),
        query in prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
        shape in 0..4_u8,
        cut in 0..72_usize,
        byte in any::<u8>(),
    ) {
        let service = Service::new();
        let (ingest, replay) = service.lucent_ingest();
        let luci = service.lucitra();
        let sets = datasets(&luci);
        let key = service.key(PUBLIC);
        let mut spoilt = key.key.expose().as_bytes().to_vec();
        let cut = cut.min(spoilt.len() - 1);
        let good = spoilt[cut] == byte;
        spoilt[cut] = byte;
        let mut head = PlainHead::new();
        for value in &values {
            let value = match shape {
                0 => value.clone(),
                1 => [b"Bearer ", value.as_slice()].concat(),
                _ => spoilt.clone(),
            };
            head = head.with_header("x-lucent-api-key", &value).with_header("authorization", value);
        }
        if let Some(query) = &query {
            head = head.with_query([b"api_key=", query.as_slice()].concat());
        }
        let outcome = ingest.check_sync(&head, &replay, service.store(), at(0));
        let expected = good && shape > 1 && !values.is_empty();
        prop_assert_eq!(matches!(outcome, Outcome::Admitted(_)), expected);
        let outcome = luci.check_sync(&head, &sets, service.store(), at(0));
        prop_assert!(!matches!(outcome, Outcome::Admitted(_)));
    }
}
