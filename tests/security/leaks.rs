//! A key is visible only through `PlaintextKey::expose`: not in `Debug`, `Display`, serde, errors
//! or panics.

use std::{
    fmt::{Debug, Display, Write},
    panic::catch_unwind,
    sync::{Arc, Mutex},
};

use keyward::{
    Access, Challenge, CredentialSource, ErrorBodies, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher,
    ManualClock, MemoryStore, Outcome, Quota, Quotas, RateHeaders, Scope, Timestamp,
    audit::Audit,
    gate::{Refusal, Step},
    key::{
        Grace, GrantError, HashScheme, KeyFormats, KeyHash, KeyHint, KeyId, KeyKind, KeyName,
        KeyRecord, KeyState, KeyStatus, Owner, OwnerId, PlaintextKey, ScopeCatalog, ScopeSet,
        StoredSecret, Tier,
    },
    limit::{Decision, Limit},
    quota::{Allowance, Overrides, PolicyName},
    request::{CredentialSources, Draft, PlainHead},
    store::{Cursor, Lookup, PageRequest, StoredKey},
    verify::{Verifier, VerifyError},
};
use pollster::block_on;
use rand::{SeedableRng, rngs::StdRng};

const LQT: KeyFormat = KeyFormat::hex("lqt_");
const GITHUB: KeyFormat = KeyFormat::base62("ghp_", 30).with_checksum();

fn now() -> Timestamp {
    Timestamp::from_unix_secs(1_700_000_000)
}

fn formats() -> KeyFormats {
    KeyFormats::new([LQT, GITHUB]).unwrap()
}

// ---------------------------------------------------------------------------------------
// The checker.

/// A key that must not be visible, and the places that were checked.
struct Canary {
    key: PlaintextKey,
    shown: usize,
}

/// The number of consecutive body characters that count as a leak: more than any hint shows.
const SLICE: usize = 12;

impl Canary {
    fn new(format: KeyFormat) -> Self {
        Self { key: format.mint(&mut StdRng::seed_from_u64(0x6361_6e61_7279)).unwrap(), shown: 0 }
    }

    fn key(&self) -> &str {
        self.key.expose()
    }

    fn body(&self) -> &str {
        &self.key()[self.key.kind().as_str().len()..]
    }

    /// Returns the part of the key that `text` contains, in any encoding in which it could appear.
    fn leak(&self, text: &str) -> Option<String> {
        let text = text.to_lowercase();
        let slices = |bytes: &[u8], len: usize, write: &dyn Fn(&[u8]) -> String| {
            bytes.windows(len).map(write).find(|slice| text.contains(&slice.to_lowercase()))
        };
        let plain = |slice: &[u8]| String::from_utf8_lossy(slice).into_owned();
        let list = |slice: &[u8]| format!("{slice:?}").trim_matches(['[', ']']).to_owned();
        let lines = |slice: &[u8]| list(slice).replace(", ", ",\n");
        let hex = |slice: &[u8]| slice.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let body = self.body().as_bytes();
        // For a hex body the decoded bytes too: half as many bytes reveal as much.
        let decoded: Vec<u8> = body
            .chunks_exact(2)
            .map_while(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let squeezed: String = text.split_whitespace().collect();
        slices(body, SLICE, &plain)
            .or_else(|| slices(body, SLICE, &list))
            .or_else(|| slices(body, SLICE, &hex))
            .or_else(|| slices(body, SLICE, &lines))
            .or_else(|| slices(&decoded, SLICE / 2, &list))
            .or_else(|| {
                let compact = |slice: &[u8]| list(slice).replace(' ', "");
                let bytes = [body, &decoded].into_iter().flat_map(|all| all.windows(SLICE));
                bytes.map(compact).find(|slice| squeezed.contains(slice))
            })
    }

    fn text(&mut self, what: &str, text: &str) {
        if let Some(leak) = self.leak(text) {
            panic!("{what} contains {leak:?} of the key: {text}");
        }
        assert!(!text.is_empty(), "{what} has empty output");
        self.shown += 1;
    }

    fn debug(&mut self, what: &str, value: &dyn Debug) {
        self.text(what, &format!("{value:?}"));
        self.text(what, &format!("{value:#?}"));
    }

    fn display(&mut self, what: &str, value: &dyn Display) {
        self.text(what, &value.to_string());
        self.text(what, &format!("{value:#}"));
        self.text(what, &format!("{value:>100}"));
    }

    /// An error with its chain of sources.
    fn error(&mut self, what: &str, error: &(dyn std::error::Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.debug(what, &error);
            self.display(what, &error);
            next = error.source();
        }
    }

    /// Returns the error of an operation that must fail.
    fn fails<T, E: std::error::Error + 'static>(&mut self, what: &str, result: Result<T, E>) {
        match result {
            Ok(_) => panic!("{what} was expected to fail"),
            Err(error) => self.error(what, &error),
        }
    }
}

#[test]
fn the_leak_checker_detects_planted_leaks() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "shown by Debug")]
    struct Derived {
        token: String,
        bytes: Vec<u8>,
    }
    for format in [LQT, GITHUB] {
        let canary = Canary::new(format);
        let (key, body) = (canary.key(), canary.body());
        let derived = Derived { token: "…".to_owned(), bytes: key.as_bytes().to_vec() };
        let mut planted = vec![
            ("the key", key.to_owned()),
            ("the key in a text", format!("invalid key {key:?} at line 1")),
            ("the body", body.to_owned()),
            ("the body in upper case", body.to_uppercase()),
            ("its start", format!("{}…", &body[..12])),
            ("its end", format!("…{}", &body[body.len() - 12..])),
            ("the middle", format!("…{}…", &body[7..19])),
            ("a longer hint", key[..4 + 12].to_owned()),
            ("a derived Debug", format!("{derived:?}")),
            ("a derived Debug, pretty", format!("{derived:#?}")),
            ("a derived Debug of the text", {
                format!("{:?}", Derived { token: key.to_owned(), bytes: Vec::new() })
            }),
            ("the bytes as JSON", format!("{:?}", body.as_bytes()).replace(' ', "")),
            ("the text's bytes in hex", body.bytes().map(|byte| format!("{byte:02x}")).collect()),
        ];
        if format == LQT {
            let decoded: Vec<u8> = (0..32)
                .map(|at| u8::from_str_radix(&body[at * 2..at * 2 + 2], 16).unwrap())
                .collect();
            planted.push(("the secret's bytes", format!("{decoded:?}")));
            planted.push(("the secret's bytes, pretty", format!("{decoded:#?}")));
            planted.push(("the secret's bytes as JSON", format!("{decoded:?}").replace(' ', "")));
        }
        for (what, text) in planted {
            assert!(canary.leak(&text).is_some(), "{what} of {format:?} is not caught: {text}");
        }
        for (what, text) in [
            ("the hint", canary.key.hint().to_string()),
            ("the prefix", canary.key.kind().to_string()),
            ("11 characters", body[..11].to_owned()),
            ("a digest", KeyHasher::sha256().hash(&canary.key).to_string()),
        ] {
            assert_eq!(canary.leak(&text), None, "{what}");
        }
    }
}

#[test]
fn the_leak_checker_panics_on_a_leak() {
    let planted = catch_unwind(|| {
        let mut canary = Canary::new(LQT);
        let key = canary.key().to_owned();
        canary.debug("a planted leak", &key);
    });
    assert!(planted.is_err());
}

// ---------------------------------------------------------------------------------------
// Values.

#[test]
fn no_value_reveals_the_key() {
    for format in [LQT, GITHUB] {
        let mut canary = Canary::new(format);
        let pepper = [3; 32];
        let hasher = KeyHasher::hmac_sha256(1, &pepper)
            .and_then(|hasher| hasher.accept(HashScheme::Sha256Secret))
            .and_then(|hasher| hasher.accept(HashScheme::Sha256Token))
            .unwrap();
        let verifier = Verifier::new(hasher.clone());
        let issuer = Issuer::new(MemoryStore::new(), formats(), hasher.clone());
        let key = canary.key().to_owned();

        canary.debug("PlaintextKey", &Canary::new(format).key);
        canary.display("its hint", &Canary::new(format).key.hint());
        let formats = formats();
        let presented = formats.parse(&key).unwrap();
        canary.debug("PresentedKey", &presented);
        canary.debug("the result of parsing", &formats.parse(&key));
        let lookup = verifier.lookup(&presented);
        canary.debug("Lookup", &lookup);
        for hash in lookup.hashes() {
            canary.debug("KeyHash", hash);
            canary.display("KeyHash", hash);
        }

        let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap());
        canary.debug("KeyDraft", &draft);
        let id = KeyId::from_bytes([5; 16]);
        let secret = StoredSecret::of(&Canary::new(format).key, &KeyHasher::sha256(), now());
        canary.debug("StoredSecret", &secret);
        let record = KeyRecord::issue(id, draft.clone(), secret.clone(), now()).unwrap();
        canary.debug("KeyRecord", &record);
        issuer.registry().insert_sync(record.clone()).unwrap();
        let mut rng = StdRng::seed_from_u64(77);
        let rotated = block_on(issuer.rotate(id, Grace::DAY, &mut rng, now())).unwrap();
        canary.debug("Issued, after a rotation", &rotated);
        canary.debug("RetiringSecret", &rotated.record.retiring());
        canary.debug("StoredRecord", &rotated.record.clone().into_parts());

        let found = issuer.registry().find_sync(&lookup);
        canary.debug("StoredKey", &found);
        let verified = verifier.verify(&lookup, found.clone(), now()).unwrap();
        canary.debug("Verified", &verified);
        canary.debug("MatchedSecret", &verified.matched());
        canary.debug("Rehash", verified.rehash().expect("it is under an older scheme"));
        let moved = block_on(issuer.rehash(&verified, now())).unwrap();
        assert!(moved);
        canary.debug("KeyCaller", &verified.clone().authorize(&Access::any_key()).unwrap());
        let forbidden = verified.authorize(&Access::scope(Scope::from_static("read:lucent")));
        canary.fails("Forbidden", forbidden);

        canary.debug("Issuer", &issuer);
        canary.debug("an issuer within", &issuer.within("proj_abc123".parse().unwrap()));
        canary.debug("MemoryStore", issuer.registry());
        canary.debug("Verifier", &verifier);
        canary.debug("KeyHasher", &hasher);
        canary.debug("KeyFormats", &formats);
        canary.debug("KeyFormat", &format);
        canary.debug("ScannerRule", &format.scanner_rule());
        let owner: OwnerId = "proj_abc123".parse().unwrap();
        canary.debug("Listing", &issuer.registry().list_sync(&owner, PageRequest::first(10)));
        canary.display("Cursor", &Cursor::of(&record));

        // A freshly issued key, with its plaintext.
        let mut rng = StdRng::seed_from_u64(2);
        let issued = block_on(issuer.issue(format.kind(), draft, &mut rng, now())).unwrap();
        let shown = format!("{issued:?} {issued:#?} {:?}", issuer.registry());
        let mut own = Canary { key: issued.key, shown: 0 };
        own.text("Issued", &shown);
        own.debug("its record", &issued.record);
        assert!(canary.shown > 50);

        for error in [
            VerifyError::Unknown,
            VerifyError::Mismatch,
            VerifyError::WrongKind,
            VerifyError::PastGrace,
        ] {
            canary.error("VerifyError", &error);
        }
        let stranger = Arc::new(Owner::new("proj_other".parse().unwrap()));
        canary.fails("RecordError", StoredKey::join(record, stranger));
    }
}

// ---------------------------------------------------------------------------------------
// Requests: pending steps, responses, events.

#[test]
fn no_step_response_or_event_reveals_the_key() {
    let quotas = Quota::new(2, std::time::Duration::from_secs(60)).unwrap();
    for format in [LQT, GITHUB] {
        let mut canary = Canary::new(format);
        let key = canary.key().to_owned();
        let events = Arc::new(Mutex::new(Vec::new()));
        let audit = Audit::new({
            let events = Arc::clone(&events);
            move |event| events.lock().unwrap().push(event.clone())
        });
        let hasher = KeyHasher::sha256();
        let issuer =
            Issuer::new(MemoryStore::new(), formats(), hasher.clone()).with_audit(audit.clone());
        let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap());
        let (id, secret) =
            (KeyId::from_bytes([1; 16]), StoredSecret::of(&canary.key, &hasher, now()));
        block_on(issuer.import(id, draft, secret, now())).unwrap();

        let sources = CredentialSources::first_of([
            CredentialSource::header("x-api-key"),
            CredentialSource::bearer(),
            CredentialSource::query("api_key"),
        ]);
        let builder = Gate::builder(formats(), issuer.verifier(), sources)
            .with_publishable([LQT.kind(), GITHUB.kind()])
            .with_challenge(Challenge::bearer("r").unwrap().with_scope().with_errors())
            .with_errors(ErrorBodies::nested())
            .with_rate_headers(RateHeaders::x_ratelimit().with_draft(Draft::V09))
            .with_limit(Limit::new("default", quotas))
            .with_audit(audit);
        canary.debug("GateBuilder", &builder);
        let gate = builder.build().unwrap();
        canary.debug("Gate", &gate);
        let route = Access::any_key().with_limit("default");
        canary.debug("Route", &route);
        let route = gate.route(route).unwrap();
        canary.debug("CheckedRoute", &route);

        let places: [fn(&str) -> PlainHead; 3] = [
            |token| PlainHead::new().with_header("x-api-key", token),
            |token| PlainHead::new().with_header("authorization", format!("Bearer {token}")),
            |token| PlainHead::new().with_query(format!("api_key={token}")),
        ];
        let show_refusal = |canary: &mut Canary, refusal: &Refusal| {
            canary.debug("Refusal", refusal);
            canary.error("RefusalReason", refusal.reason());
            canary.text("its message", &refusal.message());
            canary.text("its body", &String::from_utf8_lossy(refusal.body()));
            for header in refusal.headers() {
                canary.debug("its header", &header);
                canary.display("its header", &header);
            }
        };
        let mut refused = 0;
        for place in places {
            let head = place(&key);
            canary.debug("PlainHead", &head);
            let step = gate.begin(&head, &route, now());
            canary.debug("Step", &step);
            let Step::Lookup(pending) = step else { panic!("{step:?}") };
            canary.debug("PendingLookup", &pending);
            let found = issuer.registry().find_sync(pending.lookup());
            let step = pending.found(found, now());
            canary.debug("Step", &step);
            let Step::Charge(pending) = step else { panic!("{step:?}") };
            canary.debug("PendingCharge", &pending);
            let decision = Decision::admitted_elsewhere(quotas, 1, now());
            let Outcome::Admitted(admission) = pending.decided(decision, now()) else { panic!() };
            canary.debug("Admission", &admission);
            for header in admission.headers() {
                canary.display("its header", &header);
            }
            let recheck = gate.recheck(admission.caller(), &route);
            canary.debug("PendingRecheck", &recheck);
            show_refusal(&mut canary, &recheck.found(None, now()).unwrap_err());

            // Malformed, duplicated or unknown keys, and a store that is down.
            for token in
                [format!("{key}0"), key[4..].to_owned(), format!("{key}%"), format!("{key} ")]
            {
                let outcome = gate.check_sync(&place(&token), &route, issuer.registry(), now());
                canary.debug("Outcome", &outcome);
                show_refusal(&mut canary, &outcome.refused().unwrap());
                refused += 1;
            }
            let outcome = gate.check_sync(&head, &route, &MemoryStore::new(), now());
            show_refusal(&mut canary, &outcome.refused().unwrap());
            let twice = head.clone().with_header("x-api-key", &key).with_header("x-api-key", "b");
            let outcome = gate.check_sync(&twice, &route, issuer.registry(), now());
            show_refusal(&mut canary, &outcome.refused().unwrap());
            let down = |_: &Lookup| Err(std::io::Error::other("down"));
            let outcome = gate.check_with(&head, &route, down, &ManualClock::new(now()));
            show_refusal(&mut canary, &outcome.refused().unwrap());
        }
        assert_eq!(refused, 12);
        let url = format!("/v1?api_key={key}&api%5Fkey={key}");
        canary.text("a redacted URL", &gate.redact(&url));
        for event in events.lock().unwrap().iter() {
            canary.debug("AuditEvent", event);
        }
        let no_place = CredentialSources::first_of([CredentialSource::header(&format!("{key} "))]);
        let refused = Gate::builder(formats(), issuer.verifier(), no_place).build();
        canary.fails("ConfigError", refused);
        canary.fails("ConfigError", Challenge::new("ApiKey", &format!("{key}\n")));
        canary.fails("ConfigError", Challenge::new(&format!("{key} "), "r"));
        assert!(canary.shown > 200, "{}", canary.shown);
    }
}

// ---------------------------------------------------------------------------------------
// Errors.

#[test]
fn no_error_contains_a_key_passed_by_mistake() {
    for format in [LQT, GITHUB] {
        let mut canary = Canary::new(format);
        let key = canary.key().to_owned();
        let digest = "0123456789abcdef".repeat(4);
        let text = format!("{key} ");

        let formats = formats();
        let parse = |token: &str| formats.parse(token).map(|presented| presented.kind());
        let mut wrong_digit = key.clone();
        wrong_digit.replace_range(20..21, "!");
        for (what, token) in [
            ("a key that is too long", format!("{key}0")),
            ("a key that is too short", key[..key.len() - 1].to_owned()),
            ("a key with a wrong character", wrong_digit),
            ("a key without its prefix", key[4..].to_owned()),
            ("a key in upper case", key.to_uppercase()),
            ("a key behind a scheme", format!("Bearer {key}")),
        ] {
            canary.fails(what, parse(&token));
        }
        if format == GITHUB {
            let flipped = if key.ends_with('0') { "1" } else { "0" };
            canary.fails("a wrong checksum", parse(&format!("{}{flipped}", &key[..key.len() - 1])));
        }

        canary.fails("KeyHash", key.parse::<KeyHash>());
        canary.fails("KeyHash", format!("sha256:{key}").parse::<KeyHash>());
        canary.fails("KeyHash", format!("sha256-secret:{key}").parse::<KeyHash>());
        canary.fails("KeyHash", format!("{key}:{digest}").parse::<KeyHash>());
        canary.fails("KeyHash", format!("hmac-sha256.{key}:{digest}").parse::<KeyHash>());
        canary.fails("KeyKind", KeyKind::new(&key));
        canary.fails("KeyKind", key.parse::<KeyKind>());
        canary.fails("KeyFormat", KeyFormat::try_hex(&key));
        canary.fails("KeyFormat", KeyFormat::try_base62(&key, 30));
        canary.fails("KeyId", key.parse::<KeyId>());
        canary.fails("Cursor", key.parse::<Cursor>());
        canary.fails("Cursor", format!("1700000000000-{key}").parse::<Cursor>());
        canary.fails("Cursor", format!("{key}-{}", KeyId::from_bytes([1; 16])).parse::<Cursor>());
        canary.fails("Timestamp", key.parse::<Timestamp>());
        canary.fails("KeyHint", KeyHint::new(&text));
        canary.fails("KeyHint", KeyHint::new(&format!("{key}…")));
        canary.fails("Scope", Scope::new(&text));
        canary.fails("ScopeSet", format!("{key}  {key}").parse::<ScopeSet>());
        canary.fails("KeyName", KeyName::new(&format!("{key}\n")));
        canary.fails("OwnerId", OwnerId::new(&format!("{key}\0")));
        canary.fails("Tier", Tier::new(&format!("{key}\r")));
        if format == LQT {
            canary.fails("KeyHint", KeyHint::new(&key));
            canary.fails("Tier", Tier::new(&key));
        }

        let catalog = ScopeCatalog::new([Scope::from_static("read:lucent")]).unwrap();
        let kind = format.kind();
        canary.fails("ScopeCatalog", catalog.scope(&key));
        canary.fails("ScopeCatalog", catalog.grant(kind, Some(&[key.as_str()])));
        let as_scope = Scope::new(&key).unwrap();
        let scopes = ScopeSet::new([as_scope.clone()]).unwrap();
        canary.fails("ScopeCatalog", catalog.check(kind, &scopes));
        canary.fails("ScopeCatalog", catalog.clone().allow(kind, [], [as_scope]));
        canary.error("GrantError", &GrantError::UnknownScope);

        let issuer =
            Issuer::with_catalog(MemoryStore::new(), formats, KeyHasher::sha256(), catalog);
        let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap());
        let mut rng = StdRng::seed_from_u64(1);
        let wrong = draft.clone().with_scopes(scopes);
        canary.fails("Issuer", block_on(issuer.issue(kind, wrong, &mut rng, now())));
        let secret = StoredSecret::of(&Canary::new(format).key, &KeyHasher::sha256(), now());
        let record = block_on(issuer.import(
            KeyId::from_bytes([1; 16]),
            draft.clone(),
            secret.clone(),
            now(),
        ))
        .unwrap();
        let again =
            block_on(issuer.import(KeyId::from_bytes([2; 16]), draft, secret.clone(), now()));
        canary.fails("the same secret twice", again);
        canary.fails("the same secret again", record.rotate(secret, Grace::DAY, now()));
        canary.fails("the same id again", issuer.registry().insert_sync(record.clone()));
        canary.fails("a stale record", issuer.registry().replace_sync(record.clone()));
        let hash = KeyHash::new(HashScheme::Sha256Token, [1; 32]);
        canary.fails("a rehash of nothing", record.rehash(&hash, hash));
        assert!(canary.shown > 150, "{}", canary.shown);
    }
}

#[test]
fn no_panic_message_contains_a_key_passed_by_mistake() {
    /// Constructors that panic for an invalid literal.
    type Misuse = fn(&'static str);
    const MISUSES: [(&str, Misuse); 10] = [
        ("KeyFormat::hex", |key| drop(KeyFormat::hex(key).kind().to_string())),
        ("KeyFormat::hex_bytes", |key| drop(KeyFormat::hex_bytes(key, 32).kind().to_string())),
        ("KeyFormat::hex_bytes", |_| drop(KeyFormat::hex_bytes("k_", 3).kind().to_string())),
        ("KeyFormat::base62", |key| drop(KeyFormat::base62(key, 30).kind().to_string())),
        ("KeyFormat::with_hint", |_| drop(LQT.with_hint(64).kind().to_string())),
        ("KeyKind::from_static", |key| drop(KeyKind::from_static(key).to_string())),
        ("KeyHint::from_static", |key| drop(KeyHint::from_static(key))),
        ("Scope::from_static", |key| drop(Scope::from_static(key))),
        ("KeyName::from_static", |key| drop(KeyName::from_static(key))),
        ("OwnerId::from_static", |key| drop(OwnerId::from_static(key))),
    ];
    let mut canary = Canary::new(LQT);
    let literal: &'static str = Box::leak(format!("{}\n", canary.key()).into_boxed_str());
    for (what, misuse) in MISUSES {
        let panic = catch_unwind(|| misuse(literal)).expect_err(what);
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .expect("a panic with a message");
        canary.text(what, &message);
    }
    // A failed test prints both sides of a comparison.
    let panic = catch_unwind(|| {
        let key = Canary::new(LQT).key;
        let formats = formats();
        let presented = formats.parse(key.expose());
        assert!(presented.is_err(), "{presented:?} {key:?}");
    });
    let message = panic.expect_err("it parses").downcast_ref::<String>().cloned().unwrap();
    assert!(message.contains("PresentedKey"), "{message}");
    canary.text("an assertion", &message);
}

// ---------------------------------------------------------------------------------------
// Serde.

mod serialized {
    use super::*;
    use keyward::key::{RetiringSecret, ScannerRule, StoredRecord};
    use serde_json::{Value, from_value, json, to_string, to_string_pretty, to_value};

    #[test]
    fn no_serialized_form_reveals_the_key() {
        for format in [LQT, GITHUB] {
            let mut canary = Canary::new(format);
            let secret = StoredSecret::of(&Canary::new(format).key, &KeyHasher::sha256(), now());
            let quotas: Quotas =
                Quota::new(100, std::time::Duration::from_secs(60)).unwrap().into();
            let overrides = Overrides::single(PolicyName::DEFAULT, quotas)
                .with("exports".parse().unwrap(), Allowance::Blocked)
                .unwrap();
            let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap())
                .with_scopes("read:lucent".parse().unwrap())
                .with_overrides(overrides.clone());
            let next = format.mint(&mut StdRng::seed_from_u64(8)).unwrap();
            let record = KeyRecord::issue(KeyId::from_bytes([1; 16]), draft, secret.clone(), now())
                .and_then(|record| {
                    record.rotate(
                        StoredSecret::of(&next, &KeyHasher::sha256(), now()),
                        Grace::DAY,
                        now(),
                    )
                })
                .unwrap();
            let owner = Owner::new("proj_abc123".parse().unwrap())
                .with_tier("enterprise".parse().unwrap())
                .with_overrides(overrides.clone());
            let retiring: RetiringSecret = record.retiring()[0].clone();
            let parts: StoredRecord = record.clone().into_parts();
            let rule: ScannerRule = format.scanner_rule();
            let mut show = |what: &str, value: Result<Value, serde_json::Error>| {
                let value = value.unwrap();
                canary.text(what, &to_string(&value).unwrap());
                canary.text(what, &to_string_pretty(&value).unwrap());
            };
            show("StoredRecord", to_value(&parts));
            show("KeyView", to_value(record.view(now())));
            show("StoredSecret", to_value(&secret));
            show("RetiringSecret", to_value(&retiring));
            show("KeyHash", to_value(secret.hash));
            show("KeyHint", to_value(&secret.hint));
            show("KeyKind", to_value(secret.kind));
            show("KeyFormat", to_value(format));
            show("KeyFormats", to_value(formats()));
            show("ScannerRule", to_value(&rule));
            show("KeyId", to_value(record.id()));
            show("KeyState", to_value(record.state()));
            show("KeyState", to_value(KeyState::Suspended { since: now() }));
            show("KeyStatus", to_value(KeyStatus::Active));
            show("Owner", to_value(&owner));
            show("OwnerId", to_value(&owner.id));
            show("Tier", to_value(&owner.tier));
            show("KeyName", to_value(record.name()));
            show("Scope", to_value(Scope::from_static("read:lucent")));
            show("ScopeSet", to_value(record.scopes()));
            show("Overrides", to_value(&overrides));
            show("Quotas", to_value(quotas));
            show("Quota", to_value(quotas.as_slice()[0]));
            show("Timestamp", to_value(now()));
            // The serialized form deserializes to the same value.
            let read = from_value::<StoredRecord>(to_value(&parts).unwrap()).unwrap();
            assert_eq!(read.build(), Ok(record));
            assert_eq!(from_value::<Owner>(to_value(&owner).unwrap()).unwrap(), owner);
        }
    }

    /// A key in place of another text. The library validates the input, so the error is its own.
    #[test]
    fn no_deserialization_error_contains_a_key_passed_by_mistake() {
        let mut canary = Canary::new(LQT);
        let key = canary.key().to_owned();
        canary.fails("KeyHash", from_value::<KeyHash>(json!(key)));
        canary.fails("KeyHash", from_value::<KeyHash>(json!(format!("sha256:{key}"))));
        canary.fails("KeyId", from_value::<KeyId>(json!(key)));
        canary.fails("KeyKind", from_value::<KeyKind>(json!(key)));
        canary.fails("KeyHint", from_value::<KeyHint>(json!(key)));
        canary.fails("Tier", from_value::<Tier>(json!(key)));
        canary.fails("Scope", from_value::<Scope>(json!(format!("{key} "))));
        canary.fails("ScopeSet", from_value::<ScopeSet>(json!([format!("{key} ")])));
        canary.fails("KeyName", from_value::<KeyName>(json!(format!("{key}\n"))));
        canary.fails("Timestamp", from_value::<Timestamp>(json!(key)));
        canary.fails("KeyFormat", from_value::<KeyFormat>(json!({ "prefix": key })));
        canary.fails("KeyFormats", from_value::<KeyFormats>(json!([{ "prefix": key }])));

        // In each text field of a stored record.
        let secret = StoredSecret::of(&Canary::new(LQT).key, &KeyHasher::sha256(), now());
        let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap());
        let record = KeyRecord::issue(KeyId::from_bytes([1; 16]), draft, secret, now()).unwrap();
        for pointer in [
            "/id",
            "/created_at",
            "/current/hash",
            "/current/kind",
            "/current/hint",
            "/current/created_at",
        ] {
            let mut value = to_value(record.clone().into_parts()).unwrap();
            *value.pointer_mut(pointer).expect(pointer) = json!(key);
            canary.fails(pointer, from_value::<StoredRecord>(value.clone()));
            let text = to_string(&value).unwrap();
            canary.fails(pointer, serde_json::from_str::<StoredRecord>(&text));
        }
    }

    /// What a listing shows has every field of the record, and none of the hashes.
    #[test]
    fn a_view_of_a_key_contains_no_hash() {
        let secret = |seed| {
            let key = LQT.mint(&mut StdRng::seed_from_u64(seed)).unwrap();
            StoredSecret::of(&key, &KeyHasher::sha256(), now())
        };
        let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap())
            .with_scopes("read:lucent".parse().unwrap())
            .with_expiry(Timestamp::MAX)
            .with_networks("10.0.0.0/8 2001:db8::/32".parse().unwrap())
            .with_origins("https://app.example.com".parse().unwrap())
            .with_metadata(r#"{"team":"core"}"#.parse().unwrap())
            .with_creator("user_42".parse().unwrap());
        let record = KeyRecord::issue(KeyId::from_bytes([1; 16]), draft, secret(1), now())
            .and_then(|record| record.rotate(secret(2), Grace::DAY, now()))
            .and_then(|record| {
                let reason = "leaked".parse().unwrap();
                record.revoke(keyward::key::Revocation::at(now()).because(reason))
            })
            .unwrap();
        let text = to_string(&record.view(now())).unwrap();
        for hash in record.hashes() {
            let written = hash.to_string();
            assert!(!text.contains(&written) && !text.contains(&written[written.len() - 64..]));
        }
        let at = now().to_string();
        let view = to_value(record.view(now())).unwrap();
        assert_eq!(
            view,
            json!({
                "id": "01".repeat(16),
                "owner": "proj_abc123",
                "name": "ingest",
                "kind": "lqt_",
                "hint": record.hint(),
                "status": "revoked",
                "scopes": ["read:lucent"],
                "overrides": {},
                "networks": ["10.0.0.0/8", "2001:db8::/32"],
                "origins": ["https://app.example.com"],
                "metadata": r#"{"team":"core"}"#,
                "created_at": at,
                "created_by": "user_42",
                "expires_at": "9999-12-31T23:59:59.999Z",
                "suspended_at": null,
                "revoked_at": at,
                "revocation_reason": "leaked",
                "secret_created_at": at,
                "rotation_due_at": record.rotation_due_at(),
                "retiring": [{
                    "kind": "lqt_",
                    "hint": record.retiring()[0].secret.hint,
                    "created_at": at,
                    "valid_until": now() + Grace::DAY.duration(),
                }],
                "revision": 3,
            })
        );
    }
}

/// All results about a key can be logged as they are.
#[test]
fn logging_every_value_reveals_no_key() {
    let mut canary = Canary::new(LQT);
    let secret = StoredSecret::of(&Canary::new(LQT).key, &KeyHasher::sha256(), now());
    let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap());
    let record = KeyRecord::issue(KeyId::from_bytes([1; 16]), draft, secret, now()).unwrap();
    let mut line = String::new();
    let owner = Owner::new(record.owner().clone());
    let found = StoredKey::join(record, Arc::new(owner)).unwrap();
    let formats = formats();
    let key = canary.key().to_owned();
    let presented = formats.parse(&key).unwrap();
    let verifier = Verifier::new(KeyHasher::sha256());
    let lookup = verifier.lookup(&presented);
    write!(line, "{presented:?} {lookup:?} {found:?} ").unwrap();
    let verified = verifier.verify(&lookup, Some(found), now());
    write!(line, "{verified:?} {verifier:?} {formats:?}").unwrap();
    canary.text("a log line", &line);
    assert!(line.contains("proj_abc123") && line.contains(canary.key.hint().as_str()));
}
