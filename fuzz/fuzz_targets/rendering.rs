//! Responses: challenges, bodies and rate headers from arbitrary texts and decisions, and complete
//! gates with arbitrary heads over a store of active and ended keys.

#![no_main]

use std::{cell::OnceCell, fmt, time::Duration};

use arbitrary::Arbitrary;
use keyward::{
    Access, Challenge, CredentialSource, ErrorBodies, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher,
    Limiter, MemoryStore, Outcome, Quota, RateHeaders, Route, Scope, Timestamp,
    gate::{CheckedRoute, Refusal, Step},
    key::{Grace, KeyFormats, KeyId, Owner, OwnerId, ScopeCatalog, ScopeSet, Tier},
    limit::{Decision, Limit, LimitKey, LimiterConfig},
    quota::{Allowance, Overrides, PolicyName},
    request::{
        ChallengeErrorCode, CredentialSources, Draft, ErrorBody, ErrorFacts, ErrorText,
        PublicReason, RefusalReason, ResponseHeader,
    },
    store::StoredKey,
    verify::Forbidden,
};
use keyward_fuzz::{Head, percent_decoded};
use libfuzzer_sys::fuzz_target;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::Value;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    challenges: Vec<ChallengeInput<'a>>,
    bodies: Bodies<'a>,
    rate_headers: RateStyle,
    scopes: Vec<&'a str>,
    reason: u8,
    secs: Option<u64>,
    decision: DecisionInput,
    gate: GateInput,
    requests: Vec<Request<'a>>,
}

#[derive(Arbitrary, Debug)]
struct ChallengeInput<'a> {
    scheme: Option<&'a str>,
    realm: &'a str,
    params: Vec<(&'a str, &'a str)>,
    scope: u8,
    errors: bool,
}

#[derive(Arbitrary, Debug)]
struct Bodies<'a> {
    style: u8,
    texts: Vec<(u8, Text<'a>)>,
}

#[derive(Arbitrary, Debug)]
struct Text<'a> {
    message: Vec<Piece<'a>>,
    code: Option<&'a str>,
    problem: Option<(&'a str, &'a str)>,
    fields: Vec<Field<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Piece<'a> {
    Text(&'a str),
    RetryAfter,
    Scope,
    Braces,
}

#[derive(Arbitrary, Debug)]
enum Field<'a> {
    Text(&'a str, &'a str),
    RetryAfter(&'a str),
    Scope(&'a str),
}

#[derive(Arbitrary, Debug)]
struct RateStyle {
    style: u8,
    policy: Option<u8>,
}

/// A decision of the host's own limiter, with arbitrary field values.
#[derive(Arbitrary, Debug)]
struct DecisionInput {
    limit: u32,
    window_millis: u64,
    remaining: u32,
    reset_at: u64,
    now: u64,
    allowed: bool,
    retry_after: Option<Option<(u64, u32)>>,
    position: Option<usize>,
}

#[derive(Arbitrary, Debug)]
struct GateInput {
    sources: u8,
    allow_foreign: bool,
    limiter: bool,
    attempts: bool,
}

#[derive(Arbitrary, Debug)]
struct Request<'a> {
    head: Head<'a>,
    address: bool,
    route: u8,
    cost: u8,
    seconds: u16,
    any_time: Option<u64>,
    by_steps: bool,
    store_fails: bool,
    limiter_fails: bool,
    decision: DecisionInput,
    host_reason: u8,
}

const LQT: KeyFormat = KeyFormat::hex("lqt_");
const API: KeyFormat = KeyFormat::base62("luc_api_", 30).with_checksum();
const PUBLIC: KeyFormat = KeyFormat::hex("luc_pk_");
const READ: Scope = Scope::from_static("read:lucent");
const WRITE: Scope = Scope::from_static("write:issues");
const HIGHER: Tier = Tier::from_static("higher");
const T0: Timestamp = Timestamp::from_unix_millis(1_700_000_000_250);
const LIMIT: Quota = Quota::per_minute(3);
const LIMITS: [&str; 3] = ["keys", "owners", "exports"];

fuzz_target!(|input: Input<'_>| {
    let challenges: Vec<Challenge> =
        input.challenges.iter().take(3).filter_map(ChallengeInput::build).collect();
    let scopes: Vec<Scope> =
        input.scopes.iter().take(4).filter_map(|text| Scope::new(text).ok()).collect();
    for challenge in &challenges {
        challenge_is_read_back(challenge, &scopes);
    }
    body_is_json(&input, scopes.first());
    rate_headers_are_legal(input.rate_headers.build(), &input.decision);
    WORLD.with(|world| gate_answers(world.get_or_init(World::new), &input, challenges));
});

fn challenge_is_read_back(challenge: &Challenge, scopes: &[Scope]) {
    use ChallengeErrorCode::{InsufficientScope, InvalidRequest, InvalidToken};

    for error in [None, Some(InvalidRequest), Some(InvalidToken), Some(InsufficientScope)] {
        let value = challenge.render(scopes, error);
        assert_legal(value.as_bytes());
        let read = http_auth::parse_challenges(&value);
        let read = read.unwrap_or_else(|error| panic!("{value:?}: {error}"));
        let [read] = read.as_slice() else { panic!("expected one challenge: {value:?}") };
        assert!(!read.params.is_empty(), "never a bare scheme: {value:?}");
        let param = |name: &str| {
            let mut named = read.params.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
            let (first, second) = (named.next(), named.next());
            assert!(second.is_none(), "each parameter occurs once: {value:?}");
            first.map(|(_, value)| value.to_unescaped())
        };
        let expected = error.filter(|_| challenge.has_errors());
        assert_eq!(param("error").as_deref(), expected.map(ChallengeErrorCode::as_str));
        if let Some(named) = param("scope") {
            let all: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
            assert_eq!(named, all.join(" "));
        } else {
            assert!(param("realm").is_some());
        }
    }
}

fn body_is_json(input: &Input<'_>, scope: Option<&Scope>) {
    let bodies = input.bodies.build();
    let reason = reason(input.reason);
    let mut facts = ErrorFacts::new(reason);
    facts.retry_after_secs = input.secs;
    facts.missing_scope = scope;
    let body = bodies.render(&facts);
    let read = parsed(&body.bytes);
    assert_eq!(str::from_utf8(&body.bytes), Ok(body.as_str()));
    assert_legal(body.content_type.as_bytes());

    // Unless a custom field of the host has the name, the message uses it.
    let message = bodies.message(&facts);
    let taken = |name: &str| {
        let fields = input.bodies.texts.iter().flat_map(|(_, text)| &text.fields);
        fields.into_iter().any(|field| field.name() == name)
    };
    let (place, name) = match input.bodies.style % 4 {
        0 => ("/error", "error"),
        1 => ("/error/message", "message"),
        2 => ("/detail", "detail"),
        _ => ("/own", "own"),
    };
    if !taken(name) {
        assert_eq!(read.pointer(place).and_then(Value::as_str), Some(message.as_str()));
    }
    if input.bodies.style % 4 == 2 && !taken("status") {
        assert_eq!(read["status"], reason.status());
    }
}

fn rate_headers_are_legal(style: RateHeaders, input: &DecisionInput) {
    let Some(decision) = input.build() else { return };
    let now = Timestamp::from_unix_millis(input.now);
    let lines: Vec<ResponseHeader<'_>> = style.render(&decision, now).collect();
    check_headers(&lines);
    let retry_after = lines.iter().any(|line| line.name() == "retry-after");
    assert_eq!(retry_after, decision.retry_after.is_some());
    let _shown = format!("{decision:?} {}", decision.quota());
}

fn gate_answers(world: &World, input: &Input<'_>, challenges: Vec<Challenge>) {
    // The fuzzer observes compared tokens and copies them into the host's own texts, where they
    // would not be a leak.
    let texts = format!("{challenges:?} {:?}", input.bodies);
    if world.keys.iter().any(|key| texts.contains(key.hidden())) {
        return;
    }
    let config = &input.gate;
    let sources = match config.sources % 4 {
        0 => CredentialSources::from(CredentialSource::header("x-api-key")),
        1 => CredentialSources::from(CredentialSource::bearer()),
        2 => CredentialSources::first_of([
            CredentialSource::header("x-api-key"),
            CredentialSource::query("api_key").with_kinds([PUBLIC.kind()]),
        ]),
        _ => CredentialSources::one_of([
            CredentialSource::bearer(),
            CredentialSource::header("x-api-key"),
            CredentialSource::query("api_key").with_kinds([PUBLIC.kind()]),
        ]),
    };
    let limiter = |seed| {
        let config = LimiterConfig::default().with_max_keys(32);
        Limiter::new(config.with_shards(1), [seed; 16])
    };
    let mut builder =
        Gate::builder(world.issuer.formats().clone(), world.issuer.verifier(), sources)
            .with_publishable([PUBLIC.kind()])
            .with_errors(input.bodies.build())
            .with_rate_headers(input.rate_headers.build());
    for name in LIMITS {
        let limit = Limit::new(name, LIMIT);
        builder = builder.with_limit(if name == "owners" { limit.per_owner() } else { limit });
    }
    for challenge in challenges {
        builder = builder.with_challenge(challenge);
    }
    if config.allow_foreign {
        builder = builder.allow_foreign();
    }
    if config.limiter {
        builder = builder.with_limiter(limiter(1));
    }
    if config.attempts {
        builder = builder.limit_failed_attempts(limiter(2), LIMIT);
    }
    // Texts that no gate or no challenge accepts.
    let Ok(gate) = builder.build() else { return };
    for request in input.requests.iter().take(6) {
        serve(world, &gate, input, request);
    }
}

fn serve(world: &World, gate: &Gate, input: &Input<'_>, request: &Request<'_>) {
    let now = match request.any_time {
        Some(millis) => Timestamp::from_unix_millis(millis),
        None => T0 + Duration::from_secs(request.seconds.into()),
    };
    let tokens = world.tokens();
    let mut head = request.head.plain(&tokens);
    if request.address {
        head = head.with_address(LimitKey::host(1, b"192.0.2.1"));
    }
    let route = gate.route(world.route(request)).expect("the gate knows every scope and kind");
    let store = world.issuer.registry();
    let passes_on = input.gate.allow_foreign;
    let served = Served { world, gate, route: &route, request, passes_on, now };

    if !request.by_steps {
        served.check(gate.check_sync(&head, &route, store, now), None);
        return;
    }
    let mut step = gate.begin(&head, &route, now);
    let mut decided = None;
    loop {
        step = match step {
            Step::Lookup(pending) if request.store_fails => Step::Done(pending.failed(Down, now)),
            Step::Lookup(pending) => {
                let found = store.find_sync(pending.lookup());
                pending.found(found, now)
            }
            Step::Charge(pending) if request.limiter_fails => Step::Done(pending.failed(Down, now)),
            Step::Charge(pending) => {
                assert!((1..=Limiter::MAX_LIMITS).contains(&pending.limits().count()));
                let Some(decision) = request.decision.build() else { return };
                decided = Some(decision.allowed);
                Step::Done(pending.decided(decision, now))
            }
            Step::Done(outcome) => {
                if request.store_fails || (request.limiter_fails && !input.gate.limiter) {
                    // An admitted request was then neither looked up nor charged.
                    let limited = route.is_limited() || request.store_fails;
                    assert!(!limited || !matches!(outcome, Outcome::Admitted(_)));
                }
                served.check(outcome, decided);
                return;
            }
        };
    }
}

/// A served request, and the assertions about its outcome.
struct Served<'s> {
    world: &'s World,
    gate: &'s Gate,
    route: &'s CheckedRoute,
    request: &'s Request<'s>,
    passes_on: bool,
    now: Timestamp,
}

impl Served<'_> {
    fn check(&self, outcome: Outcome, decided: Option<bool>) {
        self.keeps_secrets(&format!("{outcome:?}"));
        match outcome {
            Outcome::ForeignCredential => assert!(self.passes_on, "this gate passes nothing on"),
            Outcome::Anonymous => panic!("no route allows missing credentials"),
            Outcome::Refused(refusal) => self.check_refusal(&refusal),
            Outcome::Admitted(admission) => {
                assert_ne!(decided, Some(false), "the host's limiter refused");
                let caller = admission.caller();
                let key = self.world.keys.iter().find(|key| {
                    key.id == caller.key_id() && key.lives_at(self.now) && self.holds(&key.token)
                });
                let key = key.expect("only a request with an active key is admitted");
                let required = self.route.access().required_scopes();
                assert!(required.iter().all(|scope| key.scopes.contains(scope)));
                let headers: Vec<ResponseHeader<'_>> = admission.headers().collect();
                check_headers(&headers);

                let found = |id: KeyId| -> Option<StoredKey> {
                    self.world.issuer.registry().find_by_id_sync(id)
                };
                let recheck = self.gate.recheck(caller, self.route);
                let found_now = found(recheck.key_id());
                if let Err(refusal) = recheck.found(found_now, self.now) {
                    panic!("withdrawn immediately: {refusal:?}");
                }
                let gone = self.gate.recheck(caller, self.route).found(None, self.now);
                self.check_refusal(&gone.expect_err("a key that is gone is refused"));
                let failed = self.gate.recheck(caller, self.route).failed(Down, self.now);
                self.check_refusal(&failed);
            }
        }
        let host = self.gate.refuse(self.route, reason(self.request.host_reason), None, self.now);
        self.check_refusal(&host);
    }

    fn check_refusal(&self, refusal: &Refusal) {
        let status = refusal.status();
        assert!(matches!(status, 400 | 401 | 403 | 429 | 503), "{refusal:?}");
        assert_eq!(status, refusal.reason().status());
        assert_eq!(status, refusal.public().status());

        let headers: Vec<ResponseHeader<'_>> = refusal.headers().collect();
        check_headers(&headers);
        let count = |name: &str| headers.iter().filter(|line| line.name() == name).count();
        assert_eq!(count("content-type"), 1);
        assert!(count("retry-after") <= 1);
        assert!(status != 401 || count("www-authenticate") >= 1, "{refusal:?}");
        assert!(matches!(status, 400 | 401 | 403) || count("www-authenticate") == 0);
        if matches!(refusal.reason(), RefusalReason::TooManyAttempts) {
            assert_eq!((status, count("retry-after")), (429, 1));
        }
        if let RefusalReason::Forbidden(Forbidden::Scope { missing }) = refusal.reason() {
            assert!(self.route.access().required_scopes().contains(missing));
        }

        let body = refusal.body();
        parsed(body);
        let said = format!("{refusal:?} {} {}", refusal.reason(), refusal.message());
        self.keeps_secrets(&said);
        self.keeps_secrets(&String::from_utf8_lossy(body));
        for line in &headers {
            self.keeps_secrets(line.value());
        }
    }

    /// No output contains a key, whichever request sent it.
    fn keeps_secrets(&self, said: &str) {
        for key in &self.world.keys {
            assert!(!said.contains(key.hidden()), "{said}");
        }
    }

    /// Returns whether the request contains this key anywhere.
    fn holds(&self, token: &str) -> bool {
        let tokens = self.world.tokens();
        let head = &self.request.head;
        let lines = ["x-api-key", "authorization"].map(|name| head.values(name, &tokens));
        let query = head.query_bytes(&tokens).unwrap_or_default();
        let query =
            query.split(|byte| *byte == b'&').map(|pair| percent_decoded(pair).unwrap_or_default());
        let mut places = lines.into_iter().flatten().chain(query);
        places.any(|place| place.ends_with(token.as_bytes()))
    }
}

// ---------------------------------------------------------------------------------------
// A store of keys, created once and then only read.

thread_local! {
    static WORLD: OnceCell<World> = const { OnceCell::new() };
}

struct World {
    issuer: Issuer<MemoryStore>,
    keys: Vec<Key>,
}

struct Key {
    token: String,
    id: KeyId,
    scopes: ScopeSet,
    /// The time from which the key is rejected.
    until: Option<Timestamp>,
}

impl Key {
    /// The part that must never be printed.
    fn hidden(&self) -> &str {
        &self.token[self.token.len() - 24..]
    }

    fn lives_at(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl World {
    fn new() -> Self {
        let formats = KeyFormats::new([LQT, API, PUBLIC]).expect("the formats are distinguishable");
        let catalog = ScopeCatalog::new([READ, WRITE]).expect("two scopes");
        let catalog = catalog.allow(API.kind(), [READ], [READ, WRITE]).expect("known scopes");
        let issuer =
            Issuer::with_catalog(MemoryStore::new(), formats, KeyHasher::sha256(), catalog);
        issuer.registry().put_owner_sync(Owner::new(owner("org_b")).with_tier(HIGHER));

        let mut rng = StdRng::seed_from_u64(1);
        let mut keys = Vec::new();
        let mut issue = |format: KeyFormat, draft: KeyDraft, until: Option<Timestamp>| {
            let issued = pollster::block_on(issuer.issue(format.kind(), draft, &mut rng, T0));
            let issued = issued.expect("a key is issued");
            keys.push(Key {
                token: issued.key.expose().to_owned(),
                id: issued.record.id(),
                scopes: issued.record.scopes().clone(),
                until,
            });
            issued.record.id()
        };
        let draft = |of: &str| KeyDraft::new(owner(of), "k".parse().expect("a name"));
        let both = ScopeSet::new([READ, WRITE]).expect("two scopes");
        let overrides = Overrides::single(PolicyName::from_static("keys"), LIMIT)
            .with(PolicyName::from_static("exports"), Allowance::Unlimited)
            .expect("two overrides");
        issue(LQT, draft("org_a"), None);
        issue(API, draft("org_b"), None);
        issue(API, draft("org_b").with_scopes(both), None);
        issue(PUBLIC, draft("org_a").with_overrides(overrides), None);
        let expiry = T0 + Duration::from_secs(600);
        issue(LQT, draft("org_a").with_expiry(expiry), Some(expiry));
        let revoked = issue(LQT, draft("org_a"), Some(Timestamp::ZERO));
        let suspended = issue(PUBLIC, draft("org_b"), Some(Timestamp::ZERO));
        let grace = Grace::new(Duration::from_secs(900)).expect("a grace");
        let rotated = issue(API, draft("org_a"), Some(T0 + grace.duration()));

        pollster::block_on(issuer.revoke(revoked, T0)).expect("revoked");
        pollster::block_on(issuer.suspend(suspended, T0)).expect("suspended");
        let next = pollster::block_on(issuer.rotate(rotated, grace, &mut rng, T0));
        let next = next.expect("rotated");
        keys.push(Key {
            token: next.key.expose().to_owned(),
            id: rotated,
            scopes: next.record.scopes().clone(),
            until: None,
        });
        Self { issuer, keys }
    }

    fn tokens(&self) -> Vec<&[u8]> {
        self.keys.iter().map(|key| key.token.as_bytes()).collect()
    }

    fn route(&self, request: &Request<'_>) -> Route {
        let access = match request.route / 8 % 6 {
            0 => Access::any_key(),
            1 => Access::scope(READ),
            2 => Access::scope(READ).with_scope(WRITE),
            3 => Access::kinds([PUBLIC.kind(), LQT.kind()]),
            4 => Access::any_key().with_tiers([HIGHER]),
            _ => Access::any_key().with_owner(owner("org_a")),
        };
        let route = Route::new(access);
        let named = LIMITS.iter().enumerate().filter(|(bit, _)| request.route >> bit & 1 != 0);
        let route = named.fold(route, |route, (_, name)| route.with_limit(name));
        route.with_cost(1 + u32::from(request.cost % 5))
    }
}

#[derive(Debug)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for Down {}

// ---------------------------------------------------------------------------------------

fn check_headers(headers: &[ResponseHeader<'_>]) {
    for line in headers {
        let name = line.name();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(!name.is_empty() && name.bytes().all(plain), "{name:?}");
        assert_eq!(line.value().as_bytes(), line.value_bytes());
        assert_legal(line.value_bytes());
        match name {
            "retry-after" => {
                let secs: u64 = line.value().parse().expect("whole seconds");
                assert!(secs >= 1);
            }
            "x-ratelimit-limit" | "x-ratelimit-remaining" | "x-ratelimit-reset" => {
                let number: u64 = line.value().parse().expect("a number");
                assert_eq!(number.to_string(), line.value());
            }
            "ratelimit" | "ratelimit-policy" => {
                sfv::Parser::new(line.value()).parse::<sfv::List>().expect("a structured field");
            }
            "content-type" | "www-authenticate" => {}
            other => panic!("a new header: {other}"),
        }
        let owned = line.clone().into_owned();
        assert_eq!(owned.to_string(), format!("{name}: {}", line.value()));
    }
}

/// Visible ASCII, spaces and tabs, without surrounding whitespace (RFC 9110 §5.5).
fn assert_legal(value: &[u8]) {
    let legal = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    assert!(legal && value.trim_ascii() == value, "{:?}", value.escape_ascii());
}

fn parsed(body: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("{:?}: {error}", body.escape_ascii()));
    assert!(value.is_object());
    value
}

fn owner(id: &str) -> OwnerId {
    id.parse().expect("an id")
}

fn reason(at: u8) -> PublicReason {
    PublicReason::ALL[usize::from(at) % PublicReason::ALL.len()]
}

impl ChallengeInput<'_> {
    fn build(&self) -> Option<Challenge> {
        let mut challenge = match self.scheme {
            Some(scheme) => Challenge::new(scheme, self.realm),
            None if self.scope % 2 == 0 => Challenge::bearer(self.realm),
            None => Challenge::api_key(self.realm, "x-api-key"),
        }
        .ok()?;
        for (name, value) in self.params.iter().take(3) {
            challenge = challenge.with_param(name, value).ok()?;
        }
        let challenge = match self.scope % 3 {
            0 => challenge,
            1 => challenge.with_scope(),
            _ => challenge.with_scope_in_place_of_realm(),
        };
        Some(if self.errors { challenge.with_errors() } else { challenge })
    }
}

impl Bodies<'_> {
    fn build(&self) -> ErrorBodies {
        let bodies = match self.style % 4 {
            0 => ErrorBodies::flat(),
            1 => ErrorBodies::nested(),
            2 => ErrorBodies::problem_details(),
            _ => ErrorBodies::custom(|facts, message| {
                let body = serde_json::json!({ "own": message, "status": facts.reason.status() });
                ErrorBody { content_type: "application/json", bytes: body.to_string().into() }
            }),
        };
        self.texts.iter().take(4).fold(bodies, |bodies, (at, text)| match at {
            250.. => bodies.with_unauthenticated(text.build()),
            240..250 => bodies.with_forbidden(text.build()),
            at => bodies.with_text(reason(*at), text.build()),
        })
    }
}

impl Text<'_> {
    fn build(&self) -> ErrorText {
        let message: String = self.message.iter().take(6).map(Piece::text).collect();
        let mut text = ErrorText::new(message);
        if let Some(code) = self.code {
            text = text.with_code(code.to_owned());
        }
        if let Some((uri, title)) = self.problem {
            text = text.with_type(uri.to_owned(), title.to_owned());
        }
        self.fields.iter().take(4).fold(text, |text, field| match *field {
            Field::Text(name, value) => text.with_field(name.to_owned(), value.to_owned()),
            Field::RetryAfter(name) => text.with_retry_after(name.to_owned()),
            Field::Scope(name) => text.with_missing_scope(name.to_owned()),
        })
    }
}

impl Piece<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::RetryAfter => "{retry_after}",
            Self::Scope => "{scope}",
            Self::Braces => "{{}}",
        }
    }
}

impl Field<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Text(name, _) | Self::RetryAfter(name) | Self::Scope(name) => name,
        }
    }
}

impl RateStyle {
    fn build(&self) -> RateHeaders {
        let style = match self.style % 3 {
            0 => RateHeaders::retry_after_only(),
            1 => RateHeaders::x_ratelimit(),
            _ => RateHeaders::x_ratelimit_delta(),
        };
        match self.policy {
            None => style,
            Some(_) => style.with_draft(Draft::V09),
        }
    }
}

impl DecisionInput {
    fn build(&self) -> Option<Decision> {
        let quota = Quota::new(self.limit, Duration::from_millis(self.window_millis)).ok()?;
        let (reset_at, now) =
            (Timestamp::from_unix_millis(self.reset_at), Timestamp::from_unix_millis(self.now));
        let mut decision = if self.allowed {
            Decision::admitted_elsewhere(quota, self.remaining, reset_at)
        } else {
            Decision::refused_elsewhere(quota, self.remaining, reset_at, now)
        };
        if let Some(retry_after) = self.retry_after {
            decision.retry_after =
                retry_after.map(|(secs, nanos)| Duration::new(secs, nanos % 1_000_000_000));
        }
        Some(match self.position {
            Some(position) => decision.with_position(position),
            None => decision,
        })
    }
}
