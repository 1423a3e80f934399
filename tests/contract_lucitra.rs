//! Every row of Lucitra's contract, tested over a real socket against the runnable service (`cargo
//! run --example lucitra`).

mod support;

use std::{
    collections::{BTreeSet, HashSet},
    sync::{LazyLock, Mutex, PoisonError},
    thread,
    time::Duration,
};

use keyward::{Clock, SystemClock, Timestamp};
use regex::Regex;
use serde_json::{Value, json};
use support::{
    banner::{check_banner, check_command_line},
    http::{self, Request, Response},
    service::{Example, Service},
    session_token::claims,
    time::{A_DAY, SLACK, accepted_until, assert_between, given_time, instant, wait_for},
    window::{self, Attempt},
};

static LUCITRA: Example = Example::new("lucitra");

const DATASETS: &str = "/v1/datasets";
const CHALLENGE: &str = r#"Bearer realm="lucitra""#;
const INVALID_TOKEN: &str = r#"Bearer realm="lucitra", error="invalid_token""#;
const INVALID_REQUEST: &str = r#"Bearer realm="lucitra", error="invalid_request""#;
const ADMIN_CHALLENGE: &str = r#"Bearer realm="lucitra-admin""#;
const UNAUTHORIZED: &str =
    r#"{"error":{"code":"UNAUTHORIZED","message":"Missing or invalid API key."}}"#;
/// The exact documented body.
const ENTERPRISE_REQUIRED: &str = r#"{"error":{"code":"ENTERPRISE_REQUIRED","message":"This endpoint requires an Enterprise tier subscription.","upgrade_url":"https://validate.lucitra.ai/settings/billing"}}"#;
const GATED: [&str; 5] = ["compliance", "audit", "provenance", "model-cards", "certifications"];
const LIMIT_HEADERS: [&str; 3] =
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
const ROW: [&str; 11] = [
    "created_at",
    "id",
    "kind",
    "last_used_at",
    "name",
    "owner",
    "prefix",
    "requests",
    "scopes",
    "status",
    "tier",
];

static KEY: LazyLock<Regex> = LazyLock::new(|| Regex::new("^luci_[0-9a-f]{64}$").unwrap());
static REQUEST_ID: LazyLock<Regex> = LazyLock::new(|| Regex::new("^req_[0-9a-f]{14}$").unwrap());

#[test]
fn stdout_contains_only_the_start_line_and_signals_stop_the_service_cleanly() {
    for signal in ["INT", "TERM"] {
        let client = Client::start();
        let expected = ["admin_token", "api_key", "enterprise_key", "listening", "session_jwt"];
        assert_eq!(members(client.service.started()), expected);
        for key in ["api_key", "enterprise_key"] {
            assert!(KEY.is_match(client.service.given(key)));
        }
        assert_eq!(client.service.address().ip().to_string(), "127.0.0.1");
        assert_eq!(client.get(DATASETS, client.key()).status, 200);
        // A client that waits for a response does not delay the shutdown for long.
        let slow = format!(
            "GET {DATASETS}?delay_ms=60000 HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\n\r\n",
            client.key()
        );
        let _waiting = http::connect_and_write(client.service.address(), slow.as_bytes());
        let (status, stdout, _) = client.service.end_by(signal);
        assert_eq!(status.code(), Some(0), "SIG{signal}");
        assert_eq!(stdout, "", "nothing follows the start line");
    }
}

#[test]
fn invalid_settings_exit_with_status_2() {
    for (name, value) in [
        ("PORT", "65536"),
        ("GRACE_SECONDS", "0"),
        ("BIND", "localhost"),
        ("SESSION_SECONDS", "x"),
        ("WINDOW_SECONDS", "0"),
        ("WINDOW_SECONDS", "86401"),
        ("REDIS_MILLISECONDS", "0"),
        ("DEMO_SEED", "-1"),
    ] {
        let output = LUCITRA.run(&["--json"], &[(name, value)]);
        assert_eq!(output.status.code(), Some(2), "{name}={value}");
        assert_eq!(output.stdout, b"", "{name}={value}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(name), "{name}={value}");
    }
    for (words, named) in [
        (&["--redis"][..], "--redis"),
        (&["--leases", "1000"], "--redis"),
        (&["--redis", "redis://canary/", "--leases", "canary"], "--leases"),
    ] {
        let output = LUCITRA.run(words, &[]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(told.contains(named) && !told.contains("canary"), "{words:?}: {told}");
    }
}

#[test]
fn the_help_lists_the_settings_and_unknown_arguments_are_rejected() {
    let variables = ["DEMO_SEED", "REDIS_MILLISECONDS", "SESSION_SECONDS", "WINDOW_SECONDS"];
    let arguments = ["--redis <URL>", "--leases <MILLISECONDS>"];
    check_command_line(&LUCITRA, &arguments, &variables);
}

#[test]
fn the_banner_lists_the_routes_and_its_commands_succeed() {
    let statuses = [200, 403, 200, 200, 201, 200, 204];
    check_banner(&LUCITRA, &statuses, &[("{owner}", "org_standard")]);
}

#[test]
fn a_key_and_a_session_list_only_the_datasets_of_their_organization() {
    let client = Client::start();
    let [key, enterprise, session] = ["api_key", "enterprise_key", "session_jwt"]
        .map(|name| client.get(DATASETS, client.service.given(name)));
    for answer in [&key, &enterprise, &session] {
        assert_eq!(answer.status, 200);
        assert_eq!(members(&answer.json()), ["datasets"]);
        assert!(!answer.json()["datasets"].as_array().unwrap().is_empty());
    }
    assert_eq!(key.json(), session.json(), "the same organization");
    assert_ne!(key.json(), enterprise.json(), "different organizations");
    let other = format!("{DATASETS}?organization=org_enterprise&owner=org_enterprise");
    assert_eq!(
        client.get(&other, client.key()).json(),
        key.json(),
        "only the key selects the organization"
    );
    for line in [format!("bearer {}", client.key()), format!("BEARER   {}", client.key())] {
        let request = Request::get(DATASETS).header("Authorization", line);
        assert_eq!(client.call(request).status, 200);
    }
}

#[test]
fn every_invalid_credential_returns_the_same_401() {
    let client = Client::start();
    let (key, session) = (client.key(), client.session());
    let body = key.strip_prefix("luci_").unwrap();
    let (head, signature) = session.rsplit_once('.').unwrap();
    let (header, payload) = head.split_once('.').unwrap();
    let missing = [String::new(), "Basic eDp5".to_owned(), key.to_owned(), session.to_owned()];
    let invalid = [
        format!("luci_{}", "0".repeat(64)),
        format!("LUCI_{body}"),
        format!("luci_{}", body.to_uppercase()),
        key[..68].to_owned(),
        format!("{key}0"),
        format!("{key} x"),
        format!("\"{key}\""),
        format!("luci_{}", "a".repeat(4_000)),
        format!("lqt_{body}"),
        format!("ｌｕｃｉ＿{body}"),
        format!("{session}x"),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}x.{signature}"),
        // {"alg":"none"}
        format!("eyJhbGciOiJub25lIn0.{payload}."),
        client.service.given("admin_token").to_owned(),
    ]
    .map(|token| format!("Bearer {token}"));
    let missing = missing.map(|line| (line, CHALLENGE));
    let invalid = invalid.map(|line| (line, INVALID_TOKEN));
    for path in [DATASETS, "/v1/compliance/reports", "/v1/unknown"] {
        for (line, challenge) in missing.iter().chain(&invalid) {
            let answer = client.call(Request::get(path).header("Authorization", line));
            assert_eq!((answer.status, text(&answer)), (401, UNAUTHORIZED), "{path} {line}");
            assert_eq!(answer.headers("www-authenticate"), [*challenge], "{path} {line}");
        }
        let answer = client.call(Request::get(path));
        assert_eq!((answer.status, text(&answer)), (401, UNAUTHORIZED));
        assert_eq!(answer.headers("www-authenticate"), [CHALLENGE]);
    }
    for elsewhere in [
        Request::get(&format!("{DATASETS}?api_key={key}&access_token={key}")),
        Request::get(DATASETS).header("x-api-key", key),
        Request::get(DATASETS).header("Cookie", format!("session={session}")),
    ] {
        assert_eq!(client.call(elsewhere).status, 401);
    }
}

#[test]
fn over_100_failures_a_minute_keep_the_same_401_and_good_keys_pass() {
    let client = Client::start();
    let unknown = format!("luci_{}", "0".repeat(64));
    for _ in 0..121 {
        let answer = client.get(DATASETS, &unknown);
        assert_eq!((answer.status, text(&answer)), (401, UNAUTHORIZED));
        assert_eq!(answer.headers("www-authenticate"), [INVALID_TOKEN]);
    }
    assert_eq!(client.get(DATASETS, client.key()).status, 200);
}

#[test]
fn two_different_values_of_the_credential_return_400() {
    let client = Client::start();
    let (key, session) =
        (format!("Bearer {}", client.key()), format!("Bearer {}", client.session()));
    for [first, second] in [[&*key, "Bearer x"], ["Bearer x", &key], [&key, &session], ["", &key]] {
        let request = Request::get(DATASETS).header("Authorization", first);
        let answer = client.call(request.header("authorization", second));
        assert_eq!(answer.status, 400);
        assert_eq!(answer.headers("www-authenticate"), [INVALID_REQUEST]);
        assert_eq!(answer.json()["error"]["code"], "BAD_REQUEST");
    }
    let twice = Request::get(DATASETS).header("Authorization", &key).header("Authorization", &key);
    assert_eq!(client.call(twice).status, 200, "one value, sent twice");
}

/// The only test of the documented 60 seconds in real time. Its name is the first in the harness's
/// order, so that it waits in parallel with all the others.
#[test]
fn a_full_window_lasts_60_seconds_and_ends_at_retry_after() {
    let client = Client::start();
    let window = Duration::from_secs(60);
    let attempts = window::fill_and_wait(100, window, || client.get(DATASETS, client.key()));
    let attempts = attempts.expect("even a slow machine sends 100 requests in 60 seconds");
    let told = |attempt: &Attempt| attempt.remaining.is_some() && attempt.reset.is_some();
    assert!(attempts.iter().all(told), "{attempts:?}");
}

#[test]
fn a_shorter_window_from_the_environment_is_exact_too() {
    for credential in ["api_key", "session_jwt"] {
        given_time(|seconds| {
            let client = Client::start_with(&[("WINDOW_SECONDS", &seconds.to_string())]);
            let credential = client.service.given(credential);
            let window = Duration::from_secs(seconds);
            window::fill_and_wait(100, window, || client.get(DATASETS, credential))
        });
    }
}

#[test]
fn violations_of_the_window_laws_are_detected() {
    window::the_window_laws_detect_planted_violations();
}

#[test]
fn the_101st_request_is_rejected_and_no_other_window_is_charged() {
    let client = Client::start_with(&[A_DAY]);
    for remaining in (0..100).rev() {
        let answer = client.get(DATASETS, client.key());
        assert_eq!(answer.status, 200);
        assert_eq!(limit(&answer)[..2], [100, remaining]);
    }
    // No other window is charged, and invalid keys charge none.
    assert_eq!(limit(&client.get(DATASETS, client.session()))[..2], [100, 99]);
    assert_eq!(limit(&client.get(DATASETS, client.enterprise()))[..2], [1_000, 999]);
    assert_eq!(client.get(DATASETS, &format!("luci_{}", "0".repeat(64))).status, 401);

    for path in [DATASETS, "/v1/compliance/reports"] {
        let answer = client.get(path, client.key());
        assert!(refused_for(&answer) <= 86_400);
        assert_eq!(limit(&answer)[..2], [100, 0]);
    }
}

#[test]
fn a_session_has_its_own_exact_window() {
    let client = Client::start_with(&[A_DAY]);
    for _ in 0..100 {
        assert_eq!(client.get(DATASETS, client.session()).status, 200);
    }
    let answer = client.get(DATASETS, client.session());
    refused_for(&answer);
    assert_eq!(limit(&answer)[..2], [100, 0]);
    assert_eq!(limit(&client.get(DATASETS, client.key()))[..2], [100, 99]);
}

#[test]
fn exactly_100_of_many_concurrent_requests_are_admitted() {
    let client = Client::start_with(&[A_DAY]);
    let admitted = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let answer = client.get(DATASETS, client.key());
                    assert!(matches!(answer.status, 200 | 429), "{answer:?}");
                    if answer.status == 200 {
                        *admitted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                    }
                }
            });
        }
    });
    assert_eq!(*admitted.lock().unwrap_or_else(PoisonError::into_inner), 100);
}

#[test]
fn only_authenticated_responses_have_rate_limit_headers() {
    let client = Client::start_with(&[A_DAY]);
    let mut left = 100;
    for (method, path, status) in [
        ("GET", DATASETS, 200),
        ("HEAD", DATASETS, 200),
        ("GET", "/v1/compliance/reports", 403),
        ("GET", "/v1/unknown", 404),
        ("GET", "/v1/datasets/", 404),
        ("POST", DATASETS, 405),
        ("OPTIONS", DATASETS, 405),
        ("GET", "/v1/datasets?delay_ms=soon", 400),
        ("GET", "/v1/datasets?delay_ms=-1", 400),
        ("GET", "/v1/datasets?delay_ms=60001", 400),
    ] {
        left -= 1;
        let answer = client.send(method, path, client.key());
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(limit(&answer)[..2], [100, left], "{method} {path}");
        let session = client.send(method, path, client.session());
        assert_eq!(session.status, status, "{method} {path}");
        assert_eq!(limit(&session)[..2], [100, left], "{method} {path}");
        if !matches!(status, 200) {
            assert_eq!(members(&answer.json()), ["error"]);
            let error = &answer.json()["error"];
            assert!(error["code"].is_string() && error["message"].is_string(), "{error}");
        }
    }
    for (path, status) in [(DATASETS, 401), ("/", 404), ("/v2/x", 404), ("/admin/keys", 401)] {
        let answer = client.call(Request::get(path));
        assert_eq!(answer.status, status, "{path}");
        for name in LIMIT_HEADERS {
            assert!(answer.headers(name).is_empty(), "{path} {name}");
        }
    }
    let nowhere = client.call(Request::get("/")).json();
    assert_eq!(members(&nowhere["error"]), ["code", "message"]);
    assert_eq!(nowhere["error"]["code"], "NOT_FOUND");
}

#[test]
fn every_response_has_a_unique_request_id() {
    let client = Client::start();
    let mut ids = HashSet::new();
    let mut seen = |answer: &Response| {
        let [id] = answer.headers("x-request-id")[..] else {
            panic!("expected one id: {answer:?}")
        };
        assert!(REQUEST_ID.is_match(id), "{id}");
        assert!(ids.insert(id.to_owned()), "{id} was used twice");
    };
    let own = "req_0123456789abcd";
    for request in [
        Request::get(DATASETS),
        Request::get("/"),
        Request::new("DELETE", DATASETS),
        Request::get("/admin/keys"),
        Request::new("PATCH", "/admin/keys"),
        Request::get(DATASETS).header("Authorization", "Bearer a").header("Authorization", "b"),
        Request::get(DATASETS).header("Authorization", format!("Bearer {}", client.key())),
        Request::get("/v1/audit/x").header("Authorization", format!("Bearer {}", client.key())),
        client.as_admin_request("GET", "/admin/keys"),
        client.as_admin_request("POST", "/admin/keys").body("{"),
    ] {
        seen(&client.call(request.clone()));
        let answer = client.call(request.header("X-Request-Id", own));
        assert_ne!(answer.headers("x-request-id"), [own]);
        seen(&answer);
    }
    for _ in 0..110 {
        seen(&client.get(DATASETS, client.key()));
    }
}

#[test]
fn gated_endpoints_require_an_owner_of_the_enterprise_tier() {
    let client = Client::start();
    for section in GATED {
        for path in ["", "/", "/x", "/x/y%20z?tier=enterprise"] {
            let path = format!("/v1/{section}{path}");
            for credential in [client.key(), client.session()] {
                let answer = client.get(&path, credential);
                assert_eq!((answer.status, text(&answer)), (403, ENTERPRISE_REQUIRED), "{path}");
                limit(&answer);
            }
            let answer = client.get(&path, client.enterprise());
            assert_eq!((answer.status, &answer.json()["section"]), (200, &json!(section)));
        }
    }
    assert_eq!(client.send("POST", "/v1/audit/x", client.key()).status, 403);
    assert_eq!(client.send("POST", "/v1/audit/x", client.enterprise()).status, 405);
    assert_eq!(client.get("/v1/compliances/x", client.key()).status, 404, "no such route");
}

#[test]
fn a_tier_change_applies_to_all_keys_of_the_owner_from_the_next_request() {
    let client = Client::start_with(&[A_DAY]);
    let minted = client.mint("org_standard", "second");
    let second = minted["key"].as_str().unwrap();
    let gated = "/v1/certifications/x";
    for (tier, most, status) in [
        ("standard", 100, 403),
        ("higher", 1_000, 403),
        ("enterprise", 1_000, 200),
        ("standard", 100, 403),
    ] {
        let answer = client.put_tier("org_standard", tier);
        assert_eq!(answer.status, 200);
        for credential in [client.key(), second, client.session()] {
            let answer = client.get(gated, credential);
            assert_eq!((answer.status, limit(&answer)[0]), (status, most), "{tier}");
        }
    }
    // 1,000 and no more for an owner that pays.
    client.put_tier("org_new", "higher");
    let minted = client.mint("org_new", "first");
    let key = minted["key"].as_str().unwrap();
    for remaining in (0..1_000).rev() {
        let answer = client.get(DATASETS, key);
        assert_eq!((answer.status, limit(&answer)[1]), (200, remaining));
    }
    refused_for(&client.get(DATASETS, key));
    for tier in ["gold", "Enterprise", ""] {
        assert_eq!(client.put_tier("org_new", tier).status, 422, "{tier}");
    }
}

#[test]
fn a_key_revoked_while_its_request_is_served_returns_401() {
    given_time(|seconds| {
        let client = Client::start();
        let slow = format!("{DATASETS}?delay_ms={}", seconds * 1_000);
        let minted = ["doomed", "rotated and doomed", "stays"];
        let minted = minted.map(|name| client.mint("org_standard", name));
        let key = |at: usize| minted[at]["key"].as_str().unwrap();
        let of_key = |at: usize, action: &str| {
            format!("/admin/keys/{}/{action}", minted[at]["id"].as_str().unwrap())
        };
        let clock = SystemClock::new();
        let serve = |credential: &str| {
            let sent = clock.now();
            let response = client.get(&slow, credential);
            (sent, response, clock.now())
        };
        let served = thread::scope(|scope| {
            let session = scope.spawn(|| serve(client.session()));
            let keys = [0, 1, 2].map(|at| scope.spawn(move || serve(key(at))));
            // A request is counted at its admission, before it is served.
            wait_for("three admitted requests", || {
                [0, 1, 2].iter().all(|at| client.row(key(*at))["requests"] == 1)
            });
            assert_eq!(client.as_admin("POST", &of_key(1, "rotate"), None).status, 200);
            for at in [0, 1] {
                let revoked = client.as_admin("POST", &of_key(at, "revoke"), None);
                assert_eq!((revoked.status, revoked.body), (204, Vec::new()));
            }
            let revoked = clock.now();
            let [doomed, rotated, stays] = keys.map(|key| key.join().unwrap());
            for (_, response, _) in [stays, session.join().unwrap()] {
                assert_eq!(response.status, 200);
            }
            // Whether they were still in progress when the keys were revoked.
            let latest = revoked + SLACK;
            let delay = Duration::from_secs(seconds);
            let in_time = [&doomed, &rotated].iter().all(|(sent, ..)| latest < *sent + delay);
            in_time.then_some([doomed, rotated])
        })?;
        for (at, (sent, response, answered)) in served.iter().enumerate() {
            assert_eq!((response.status, text(response)), (401, UNAUTHORIZED));
            assert_eq!(response.headers("www-authenticate"), [INVALID_TOKEN]);
            let took = answered.saturating_since(*sent);
            assert!(took + SLACK >= Duration::from_secs(seconds), "served after only {took:?}");
            assert_eq!(
                client.get(DATASETS, key(at)).status,
                401,
                "the next request is refused too"
            );
        }
        Some(())
    });
}

#[test]
fn the_key_administration_requires_the_admin_token() {
    let client = Client::start();
    let id = client.row(client.key())["id"].as_str().unwrap().to_owned();
    let routes = [
        ("GET", "/admin/keys".to_owned()),
        ("POST", "/admin/keys".to_owned()),
        ("POST", format!("/admin/keys/{id}/rotate")),
        ("POST", format!("/admin/keys/{id}/revoke")),
        ("PUT", "/admin/owners/org_standard".to_owned()),
    ];
    for (method, path) in &routes {
        for credential in
            [client.key(), client.enterprise(), client.session(), "admin", &client.admin()[1..]]
        {
            let answer = client.send(method, path, credential);
            assert_eq!(answer.status, 401, "{method} {path}");
            assert_eq!(answer.headers("www-authenticate"), [ADMIN_CHALLENGE]);
            assert_eq!(answer.json()["error"]["code"], "UNAUTHORIZED");
        }
        assert_eq!(client.call(Request::new(method, path)).status, 401);
    }
    assert_eq!(client.get(DATASETS, client.key()).status, 200, "nothing has changed");
}

#[test]
fn a_minted_key_is_returned_once_and_listed_with_its_usage() {
    let client = Client::start_with(&[A_DAY]);
    let clock = SystemClock::new();
    let before = clock.now();
    let answer = client.as_admin(
        "POST",
        "/admin/keys",
        Some(json!({"kind": "luci_", "name": "pipeline", "owner": "org_new"})),
    );
    assert_eq!(answer.status, 201);
    assert_eq!(answer.headers("cache-control"), ["no-store"]);
    let minted = answer.json();
    let with_key: BTreeSet<&str> = ROW.into_iter().chain(["key"]).collect();
    assert_eq!(members(&minted), with_key.into_iter().collect::<Vec<_>>());
    let key = minted["key"].as_str().unwrap();
    assert!(KEY.is_match(key));
    assert_eq!(minted["prefix"], key[.."luci_".len() + 8]);
    for (member, value) in [
        ("kind", json!("luci_")),
        ("name", json!("pipeline")),
        ("owner", json!("org_new")),
        ("tier", json!("standard")),
        ("scopes", json!([])),
        ("status", json!("active")),
        ("requests", json!(0)),
        ("last_used_at", Value::Null),
    ] {
        assert_eq!(minted[member], value, "{member}");
    }
    let created = instant(&minted["created_at"]);
    assert_between(before, created, clock.now());

    // Throttled and forbidden requests count; unauthenticated requests do not.
    for _ in 0..100 {
        client.get(DATASETS, key);
    }
    assert_eq!(client.get("/v1/audit/x", key).status, 429);
    client.get(DATASETS, &format!("{key}0"));
    let row = client.row(key);
    assert_eq!(members(&row), ROW);
    assert_eq!(row["requests"], 101, "a spike is visible");
    assert_between(created, instant(&row["last_used_at"]), clock.now());
    let listing = client.as_admin("GET", "/admin/keys", None);
    assert!(!text(&listing).contains(&key[..14]), "no more than the prefix");
    assert_eq!(members(&listing.json()), ["keys"]);
    assert_eq!(client.row(client.key())["requests"], 0);
    assert_eq!(client.row(client.enterprise())["tier"], "enterprise");
}

#[test]
fn invalid_mint_and_change_requests_are_rejected() {
    let client = Client::start();
    for (body, status) in [
        (json!({"kind": "luci_"}), 422),
        (json!({"kind": "lqt_", "name": "n", "owner": "o"}), 422),
        (json!({"kind": "LUCI_", "name": "n", "owner": "o"}), 422),
        (json!({"kind": "luci_", "name": "", "owner": "o"}), 422),
        (json!({"kind": "luci_", "name": "n", "owner": "o\n"}), 422),
        (json!({"kind": "luci_", "name": "n", "owner": "o", "scopes": ["read:all"]}), 422),
        (json!("luci_"), 422),
        (json!({"kind": "luci_", "name": "n", "owner": "o", "scopes": []}), 201),
    ] {
        let answer = client.as_admin("POST", "/admin/keys", Some(body.clone()));
        assert_eq!(answer.status, status, "{body}");
        if status == 422 {
            assert_eq!(answer.json()["error"]["code"], "UNPROCESSABLE_ENTITY");
        }
    }
    let broken = client.as_admin_request("POST", "/admin/keys").body("{");
    assert_eq!(client.call(broken).status, 400);
    for (method, path, status) in [
        ("POST", format!("/admin/keys/{}/rotate", "0".repeat(32)), 404),
        ("POST", "/admin/keys/x/revoke".to_owned(), 404),
        ("DELETE", "/admin/keys".to_owned(), 405),
        ("GET", "/admin".to_owned(), 404),
    ] {
        assert_eq!(client.as_admin(method, &path, None).status, status, "{method} {path}");
    }
}

#[test]
fn old_and_new_secrets_share_a_window_and_are_revoked_together() {
    let client = Client::start_with(&[A_DAY]);
    let id = client.row(client.key())["id"].as_str().unwrap().to_owned();
    let rotated = client.as_admin("POST", &format!("/admin/keys/{id}/rotate"), None);
    assert_eq!((rotated.status, rotated.headers("cache-control")), (200, vec!["no-store"]));
    let rotated = rotated.json();
    assert_eq!(rotated["id"], id);
    let new = rotated["key"].as_str().unwrap();
    assert!(KEY.is_match(new) && new != client.key());
    assert_eq!(limit(&client.get(DATASETS, client.key()))[1], 99);
    assert_eq!(limit(&client.get(DATASETS, new))[1], 98, "one key, one window");
    let revoked = client.as_admin("POST", &format!("/admin/keys/{id}/revoke"), None);
    assert_eq!(revoked.status, 204);
    for key in [client.key(), new] {
        assert_eq!(client.get(DATASETS, key).status, 401, "rejected immediately");
    }
    assert_eq!(client.as_admin("POST", &format!("/admin/keys/{id}/revoke"), None).status, 204);
    assert_eq!(client.as_admin("POST", &format!("/admin/keys/{id}/rotate"), None).status, 409);
    assert_eq!(client.row(new)["status"], "revoked");
}

#[test]
fn a_rotated_key_works_until_the_end_of_its_grace() {
    given_time(|seconds| {
        let client = Client::start_with(&[("GRACE_SECONDS", &seconds.to_string()), A_SECOND]);
        let id = client.row(client.key())["id"].as_str().unwrap().to_owned();
        let rotated = client.as_admin("POST", &format!("/admin/keys/{id}/rotate"), None).json();
        let end = instant(&rotated["previous_valid_until"]);
        let refused = accepted_until(end, end, || client.get(DATASETS, client.key()))?;
        assert_eq!(text(&refused), UNAUTHORIZED);
        assert_eq!(client.get(DATASETS, rotated["key"].as_str().unwrap()).status, 200);
        Some(())
    });
}

#[test]
fn a_session_is_rejected_after_its_expiry() {
    given_time(|seconds| {
        let client = Client::start_with(&[("SESSION_SECONDS", &seconds.to_string()), A_SECOND]);
        let end = Timestamp::from_unix_secs(claims(client.session())["exp"].as_u64().unwrap());
        let refused = accepted_until(end, end, || client.get(DATASETS, client.session()))?;
        assert_eq!(text(&refused), UNAUTHORIZED);
        assert_eq!(client.get(DATASETS, client.key()).status, 200);
        Some(())
    });
}

#[test]
fn the_log_contains_no_key_no_token_and_no_client_input() {
    let client = Client::start();
    let key = client.key().to_owned();
    let minted = client.mint("org_canary", "canary");
    let id = client.get(DATASETS, &key).headers("x-request-id")[0].to_owned();
    client.get(DATASETS, &format!("{key}0"));
    client.get(&format!("{DATASETS}?api_key={key}&delay_ms=canary"), &key);
    client.get(&format!("/v1/audit/{key}"), &key);
    client.get(&format!("/{key}/canary"), &key);
    client.send(&key, DATASETS, &key);
    client.get(DATASETS, client.session());
    client.get(DATASETS, &format!("{}canary", client.session()));
    client.as_admin("POST", &format!("/admin/keys/{key}/revoke"), None);
    client.put_tier("canary", "canary");
    client.call(Request::get(DATASETS).header("X-Request-Id", format!("canary {key}")));

    let secrets = [
        key[13..29].to_owned(),
        minted["key"].as_str().unwrap()[13..29].to_owned(),
        client.enterprise()[13..29].to_owned(),
        client.admin()[14..30].to_owned(),
        client.session().rsplit_once('.').unwrap().1.to_owned(),
        "canary".to_owned(),
    ];
    let (status, stdout, log) = client.service.end_by("INT");
    assert_eq!((status.code(), &*stdout), (Some(0), ""));
    assert!(log.contains(&format!("GET /v1/datasets 200 {id}\n")), "{log}");
    assert!(log.contains("401 req_"), "{log}");
    assert!(log.contains(": key refused: "), "{log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} in {log}");
    }
}

/// A window that no test fills by polling every 20 ms.
const A_SECOND: (&str, &str) = ("WINDOW_SECONDS", "1");

/// A client with all credentials of the start line.
struct Client {
    service: Service,
}

impl Client {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(environment: &[(&str, &str)]) -> Self {
        Self { service: LUCITRA.start(environment) }
    }

    fn key(&self) -> &str {
        self.service.given("api_key")
    }

    fn enterprise(&self) -> &str {
        self.service.given("enterprise_key")
    }

    fn session(&self) -> &str {
        self.service.given("session_jwt")
    }

    fn admin(&self) -> &str {
        self.service.given("admin_token")
    }

    /// Sends a request and asserts rules for all responses: each has one request id, and a 401 has
    /// one challenge with a parameter.
    fn call(&self, request: Request) -> Response {
        let response = http::send(self.service.address(), request);
        assert_eq!(response.headers("x-request-id").len(), 1, "{response:?}");
        let challenges = response.headers("www-authenticate");
        match response.status {
            401 => {
                let [challenge] = challenges[..] else {
                    panic!("expected one challenge: {response:?}")
                };
                assert!(challenge.starts_with(r#"Bearer realm="lucitra"#), "{challenge}");
            }
            400 => {}
            _ => assert!(challenges.is_empty(), "{response:?}"),
        }
        let retry = response.headers("retry-after");
        assert_eq!(retry.len(), usize::from(response.status == 429), "{response:?}");
        response
    }

    fn send(&self, method: &str, path: &str, credential: &str) -> Response {
        let line = format!("Bearer {credential}");
        self.call(Request::new(method, path).header("Authorization", line))
    }

    fn get(&self, path: &str, credential: &str) -> Response {
        self.send("GET", path, credential)
    }

    fn as_admin_request(&self, method: &str, path: &str) -> Request {
        Request::new(method, path).header("Authorization", format!("Bearer {}", self.admin()))
    }

    fn as_admin(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        let request = self.as_admin_request(method, path);
        self.call(match body {
            Some(body) => request.json(&body),
            None => request,
        })
    }

    fn mint(&self, owner: &str, name: &str) -> Value {
        let new = json!({"kind": "luci_", "name": name, "owner": owner});
        let answer = self.as_admin("POST", "/admin/keys", Some(new));
        assert_eq!(answer.status, 201);
        answer.json()
    }

    fn put_tier(&self, owner: &str, tier: &str) -> Response {
        self.as_admin("PUT", &format!("/admin/owners/{owner}"), Some(json!({ "tier": tier })))
    }

    /// Returns the listed row of this key.
    fn row(&self, key: &str) -> Value {
        let listing = self.as_admin("GET", "/admin/keys", None).json();
        let rows = listing["keys"].as_array().expect("keys");
        let row = rows.iter().find(|row| row["prefix"] == key[..13]);
        row.unwrap_or_else(|| panic!("no row in {listing}")).clone()
    }
}

/// Returns the limit, the remaining requests and the reset; each header must occur once.
fn limit(answer: &Response) -> [u64; 3] {
    LIMIT_HEADERS.map(|name| match answer.headers(name)[..] {
        [value] => value.parse().unwrap_or_else(|_| panic!("{name}: {value}")),
        _ => panic!("expected {name} once in {answer:?}"),
    })
}

/// Returns the seconds to wait, which a 429 reports consistently in three places.
fn refused_for(answer: &Response) -> u64 {
    assert_eq!(answer.status, 429, "{answer:?}");
    let [wait] = answer.headers("retry-after")[..] else { panic!("{answer:?}") };
    let expected = format!(
        r#"{{"error":{{"code":"RATE_LIMITED","message":"Rate limit exceeded. Retry after {wait} seconds.","retry_after":{wait}}}}}"#
    );
    assert_eq!(text(answer), expected);
    answer.json();
    let wait = wait.parse().expect("whole seconds");
    assert!(wait >= 1);
    wait
}

fn text(answer: &Response) -> &str {
    str::from_utf8(&answer.body).expect("text")
}

/// Returns the names of an object's members, sorted.
fn members(object: &Value) -> Vec<String> {
    let object = object.as_object().unwrap_or_else(|| panic!("expected an object: {object}"));
    object.keys().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}
