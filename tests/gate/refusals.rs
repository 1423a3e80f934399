//! What a refused client is told: the challenge, the body, and nothing without credentials.

use std::fmt;

use keyward::{
    Access, Challenge, CredentialSource, ErrorBodies, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher,
    MemoryStore, Scope, SysRng, Timestamp,
    error::ConfigErrorKind,
    gate::{GateBuilder, Refusal, Route, Step},
    issue::Issued,
    key::{OwnerId, ScopeCatalog},
    request::{
        CredentialSources, ErrorBody, ErrorText, PlainHead, PublicReason, RefusalReason, RequestId,
    },
};
use pollster::block_on;

const API: KeyFormat = KeyFormat::hex("acme_");
const READ: Scope = Scope::from_static("read");
const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

struct World {
    issuer: Issuer<MemoryStore>,
}

impl World {
    fn new() -> Self {
        let catalog = ScopeCatalog::new([READ]).unwrap().allow(API.kind(), [], [READ]).unwrap();
        let store = MemoryStore::new();
        Self { issuer: Issuer::with_catalog(store, API, KeyHasher::sha256(), catalog) }
    }

    fn key(&self) -> Issued {
        let draft = KeyDraft::new(OwnerId::from_static("acme"), "ci".parse().unwrap());
        block_on(self.issuer.issue(API.kind(), draft, &mut SysRng, NOW)).unwrap()
    }

    fn builder(&self, challenge: Challenge, sources: CredentialSources) -> GateBuilder {
        Gate::builder(API, self.issuer.verifier(), sources).with_challenge(challenge)
    }

    fn refused(&self, gate: &Gate, route: impl Into<Route>, head: &PlainHead) -> Refusal {
        let route = gate.route(route).unwrap();
        gate.check_sync(head, &route, self.issuer.registry(), NOW).refused().unwrap()
    }
}

fn bearer() -> Challenge {
    Challenge::bearer("acme").unwrap()
}

fn authorization(value: &str) -> PlainHead {
    PlainHead::new().with_header("authorization", value)
}

fn challenge(refusal: &Refusal) -> String {
    let mut all = refusal.headers().filter(|header| header.name() == "www-authenticate");
    let one = all.next().map(|header| header.value().to_owned()).unwrap_or_default();
    assert!(all.next().is_none());
    one
}

#[test]
fn each_reason_has_its_description_and_none_without_credentials() {
    let world = World::new();
    let gate = world.builder(bearer().with_descriptions(), CredentialSource::bearer().into());
    let gate = gate.build().unwrap();
    let (good, revoked, suspended) = (world.key(), world.key(), world.key());
    block_on(world.issuer.revoke(revoked.record.id(), NOW)).unwrap();
    block_on(world.issuer.suspend(suspended.record.id(), NOW)).unwrap();
    let of = |issued: &Issued| authorization(&format!("Bearer {}", issued.key.expose()));
    let invalid = |text: &str| {
        format!(r#"Bearer realm="acme", error="invalid_token", error_description="{text}""#)
    };
    let plain = r#"Bearer realm="acme""#.to_owned();
    for (what, head, expected) in [
        ("no credential", PlainHead::new(), plain.clone()),
        ("an empty one", authorization("Bearer "), plain.clone()),
        ("another scheme", authorization("Basic YTpi"), plain),
        ("no key", authorization("Bearer acme_1"), invalid("the key is not valid")),
        (
            "an unknown key",
            authorization(&format!("Bearer acme_{}", "0".repeat(64))),
            invalid("the key is not valid"),
        ),
        ("a revoked key", of(&revoked), invalid("the key is revoked")),
        ("a suspended key", of(&suspended), invalid("the key is suspended")),
        (
            "two keys",
            of(&good).with_header("authorization", "Bearer x"),
            r#"Bearer realm="acme", error="invalid_request", error_description="several different credentials were sent""#
                .to_owned(),
        ),
    ] {
        assert_eq!(challenge(&world.refused(&gate, Access::any_key(), &head)), expected, "{what}");
    }
    let forbidden = world.refused(&gate, Access::scope(READ), &of(&good));
    assert_eq!(
        challenge(&forbidden),
        r#"Bearer realm="acme", error="insufficient_scope", error_description="the key lacks a required scope""#
    );
}

#[test]
fn a_host_chooses_its_descriptions() {
    let described = bearer()
        .with_description(PublicReason::ExpiredKey, "renew it in the dashboard")
        .and_then(|all| all.with_description(PublicReason::ExpiredKey, "renew it"))
        .unwrap();
    assert_eq!(
        described.render_for(&[], PublicReason::ExpiredKey),
        r#"Bearer realm="acme", error="invalid_token", error_description="renew it""#
    );
    assert!(described.render_for(&[], PublicReason::RevokedKey).contains("the key is revoked"));
    for reason in PublicReason::ALL {
        let plain = bearer().render_for(&[], reason);
        assert_eq!(plain, r#"Bearer realm="acme""#, "only on demand");
        let has_code = described.render_for(&[], reason).contains("error=");
        assert_eq!(has_code, described.render_for(&[], reason).contains("error_description="));
    }
    for bad in ["a \"quote\"", "a\\b", "tab\t", "ü", "line\nbreak"] {
        let error = bearer().with_description(PublicReason::InvalidKey, bad).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Challenge, "{bad:?}");
    }
    assert!(bearer().with_param("error_description", "always").is_err());
}

#[test]
fn another_scheme_is_told_apart_from_no_credential() {
    let world = World::new();
    let key = world.key();
    let gate = |sources: CredentialSources, errors: ErrorBodies| {
        world.builder(bearer(), sources).with_errors(errors).build().unwrap()
    };
    let both = CredentialSources::first_of([
        CredentialSource::bearer(),
        CredentialSource::authorization("ApiKey"),
    ]);
    let header = CredentialSources::from(CredentialSource::header("x-api-key"));
    let text = "Authorization has another scheme than that of API keys";
    for (what, sources, head, told) in [
        ("Basic", both.clone(), authorization("Basic YTpi"), Some(text)),
        ("a bare token", both.clone(), authorization(key.key.expose()), Some(text)),
        ("an empty Bearer", both.clone(), authorization("Bearer "), None),
        ("an empty ApiKey", both.clone(), authorization("apikey"), None),
        ("an empty header", both.clone(), authorization(""), None),
        ("nothing", both, PlainHead::new(), None),
        // Where `Authorization` is not read, it means nothing.
        ("Basic beside a header", header, authorization("Basic YTpi"), None),
    ] {
        let gate = gate(sources, ErrorBodies::flat());
        let refusal = world.refused(&gate, Access::any_key(), &head);
        assert_eq!(refusal.status(), 401, "{what}");
        assert_eq!(refusal.message(), told.unwrap_or("Missing API key"), "{what}");
        let is_told = matches!(refusal.reason(), RefusalReason::WrongScheme);
        assert_eq!(is_told, told.is_some(), "{what}");
    }
    // A text for a missing key is that of another scheme too, unless it has its own.
    let missing = || ErrorBodies::flat().with_text(PublicReason::MissingKey, "Send a key");
    for (errors, told) in [
        (missing(), "Send a key"),
        (missing().with_text(PublicReason::WrongScheme, "Use Bearer"), "Use Bearer"),
        (ErrorBodies::flat().with_unauthenticated("No"), "No"),
    ] {
        let gate = gate(CredentialSource::bearer().into(), errors);
        let refusal = world.refused(&gate, Access::any_key(), &authorization("Basic YTpi"));
        assert_eq!(refusal.message(), told);
    }
}

#[test]
fn the_id_of_a_request_is_in_its_body() {
    let world = World::new();
    let custom = ErrorBodies::custom(|facts, message| ErrorBody {
        content_type: "text/plain",
        bytes: format!("{message} [{}]", facts.request_id.map_or("none", RequestId::as_str)).into(),
    });
    let field = || ErrorText::new("No").with_request_id("request_id");
    for (errors, with, without) in [
        (custom, "Missing API key [req_1\"]", "Missing API key [none]"),
        (
            ErrorBodies::flat().with_unauthenticated(field()),
            r#"{"error":"No","request_id":"req_1\""}"#,
            r#"{"error":"No"}"#,
        ),
        (
            ErrorBodies::nested().with_unauthenticated(field()),
            r#"{"error":{"code":"UNAUTHORIZED","message":"No","request_id":"req_1\""}}"#,
            r#"{"error":{"code":"UNAUTHORIZED","message":"No"}}"#,
        ),
        // A body that does not contain it is what it was.
        (ErrorBodies::flat(), r#"{"error":"Missing API key"}"#, r#"{"error":"Missing API key"}"#),
    ] {
        let gate = world.builder(bearer(), CredentialSource::bearer().into());
        let gate = gate.with_errors(errors).build().unwrap();
        let refusal = world.refused(&gate, Access::any_key(), &PlainHead::new());
        assert_eq!(refusal.body(), without.as_bytes());
        let id = RequestId::new("req_1\"").unwrap();
        let refusal = refusal.with_request_id(id.clone());
        assert_eq!(str::from_utf8(refusal.body()).unwrap(), with);
        assert_eq!(refusal.request_id(), Some(&id));
    }
}

/// An error whose text is only its kind, as those of adapters are.
#[derive(Debug)]
struct Layered(&'static str, Option<Box<Layered>>);

impl fmt::Display for Layered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Layered {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

#[test]
fn a_reason_has_every_source_of_an_error() {
    let world = World::new();
    let gate = world.builder(bearer(), CredentialSource::bearer().into()).build().unwrap();
    let route = gate.route(Access::any_key()).unwrap();
    let head = authorization(&format!("Bearer {}", world.key().key.expose()));
    let layered = |texts: [&'static str; 3]| {
        let [first, second, third] = texts;
        Layered(first, Some(Box::new(Layered(second, Some(Box::new(Layered(third, None)))))))
    };
    for (error, text) in [
        (
            layered(["the database refused the statement", "query failed", "no such table: keys"]),
            "the store failed: the database refused the statement: query failed: no such table: keys",
        ),
        // Texts that repeat that of their source are not written twice.
        (
            layered(["refused: no such table", "no such table", "no such table"]),
            "the store failed: refused: no such table",
        ),
        (Layered("down", None), "the store failed: down"),
    ] {
        let Step::Lookup(pending) = gate.begin(&head, &route, NOW) else { panic!("a lookup") };
        let refusal = pending.failed(error, NOW).refused().unwrap();
        assert_eq!(refusal.reason().to_string(), text);
        // The client is told nothing of it.
        assert_eq!(refusal.body(), br#"{"error":"Service unavailable"}"#);
    }
}

/// Each step of a request moves its outcome, and above 128 bytes that is a call.
#[test]
fn outcomes_are_small() {
    assert!(size_of::<Refusal>() <= 128, "{}", size_of::<Refusal>());
    assert!(size_of::<keyward::Outcome>() <= 128, "{}", size_of::<keyward::Outcome>());
}
