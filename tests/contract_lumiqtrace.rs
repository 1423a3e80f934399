//! Every row of LumiqTrace's contract, tested over a real socket against the runnable service
//! (`cargo run --example lumiqtrace`).

mod support;

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use keyward::{Clock, SystemClock, Timestamp};
use regex::Regex;
use serde_json::{Value, json};
use support::{
    banner::{check_banner, check_command_line},
    http::{self, Request, Response},
    service::{Example, Service},
    session_token::claims,
    time::{accepted_until, assert_between, given_time, instant},
};

static LUMIQTRACE: Example = Example::new("lumiqtrace");

const PROJECT: &str = "proj_abc123";
/// A second project of the same organization.
const SISTER_PROJECT: &str = "proj_def456";
const KEYS: &str = "/v1/projects/proj_abc123/keys";
const EVENT: &str =
    r#"{"event_id":"e1","trace_id":"t1","span_id":"s1","timestamp":"2026-01-02T03:04:05Z"}"#;
const ROW: [&str; 6] = ["created_at", "id", "name", "prefix", "project_id", "rotation_due"];
const KEY_CHALLENGE: &str = r#"ApiKey realm="lumiqtrace", header="x-api-key""#;
const CHALLENGE: &str = r#"Bearer realm="lumiqtrace""#;
const INVALID_TOKEN: &str = r#"Bearer realm="lumiqtrace", error="invalid_token""#;
const INVALID_REQUEST: &str = r#"Bearer realm="lumiqtrace", error="invalid_request""#;

static KEY: LazyLock<Regex> = LazyLock::new(|| Regex::new("^lqt_[0-9a-f]{64}$").unwrap());

#[test]
fn stdout_contains_only_the_start_line_and_signals_stop_the_service_cleanly() {
    for signal in ["INT", "TERM"] {
        let client = Client::start();
        let expected =
            ["email", "foreign_project_id", "ingest_key", "listening", "password", "project_id"];
        assert_eq!(members(client.service.started()), expected);
        assert_eq!(client.service.given("project_id"), PROJECT);
        assert_ne!(client.service.given("foreign_project_id"), PROJECT);
        assert!(KEY.is_match(client.key()));
        assert_eq!(client.service.address().ip().to_string(), "127.0.0.1");
        assert_eq!(client.ingest(client.key(), EVENT).status, 202);
        // An open connection or a request in progress does not delay the shutdown.
        let address = client.service.address();
        let _idle = http::connect_and_write(address, b"");
        let _half = http::connect_and_write(address, b"POST /v1/ingest HTTP/1.1\r\nHost:");
        let (status, stdout, _) = client.service.end_by(signal);
        assert_eq!(status.code(), Some(0), "SIG{signal}");
        assert_eq!(stdout, "", "nothing follows the start line");
    }
}

#[test]
fn invalid_settings_exit_with_status_2() {
    for (name, value) in [
        ("PORT", "abc"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", ""),
        ("GRACE_SECONDS", "0"),
        ("GRACE_SECONDS", "1.5"),
        ("GRACE_SECONDS", "7776001"),
        ("GRACE_SECONDS", "99999999999999999999999"),
        ("BIND", "localhost:3000"),
        ("SESSION_SECONDS", "soon"),
    ] {
        let output = LUMIQTRACE.run(&["--json"], &[(name, value)]);
        assert_eq!(output.status.code(), Some(2), "{name}={value}");
        assert_eq!(output.stdout, b"", "{name}={value}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(name), "{name}={value}");
    }
    for arguments in [
        &["--database"][..],
        &["--database", "mysql://host/name"],
        &["--database", "sqlite:a.db", "--database", "sqlite:b.db"],
    ] {
        let output = LUMIQTRACE.run(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("--database") && !told.contains("host"), "{arguments:?}: {told}");
    }
}

#[test]
fn keys_in_a_file_survive_a_killed_service() {
    let file = std::env::temp_dir().join(format!("lumiqtrace-{}.db", std::process::id()));
    let database = format!("sqlite:{}", file.display());
    let start = || Client::of(LUMIQTRACE.start_with(&["--database", &database], &[]));
    let first = start();
    let (old, lost) = (first.key().to_owned(), first.mint(PROJECT, "lost"));
    let key = format!("{KEYS}/{}", lost["id"].as_str().unwrap());
    assert_eq!(first.as_user(Request::new("DELETE", &key)).status, 204);
    // SIGKILL at an arbitrary moment.
    drop(first);
    let second = start();
    for key in [&*old, second.key()] {
        assert_eq!(second.ingest(key, EVENT).status, 202);
    }
    assert_eq!(second.ingest(lost["key"].as_str().unwrap(), EVENT).status, 401);
    drop(second);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
}

#[test]
fn the_help_lists_the_settings_and_unknown_arguments_are_rejected() {
    check_command_line(&LUMIQTRACE, &["--database <URL>"], &["PGPASSWORD", "SESSION_SECONDS"]);
}

#[test]
fn the_banner_lists_the_routes_and_its_commands_succeed() {
    let statuses = [202, 200, 200, 200, 201, 200, 204];
    check_banner(&LUMIQTRACE, &statuses, &[("{project}", PROJECT)]);
}

#[test]
fn events_are_stored_under_the_keys_project_whatever_the_body_contains() {
    let client = Client::start();
    let foreign = client.service.given("foreign_project_id");
    let claims = format!(
        "{}\n{}\r\n",
        json!({"event_id": "a", "trace_id": "t", "span_id": "s", "timestamp": 1,
               "project_id": foreign, "projectId": foreign, "big": 9_007_199_254_740_993_u64}),
        json!({"event_id": "b", "trace_id": "t", "span_id": "s", "timestamp": "x",
               "project_id": SISTER_PROJECT}),
    );
    let answer = client.ingest(client.key(), &claims);
    assert_eq!((answer.status, answer.json()), (202, json!({"accepted": 2})));

    let sister = client.mint(SISTER_PROJECT, "sister");
    let line = json!({"event_id": "c", "trace_id": "t", "span_id": "s", "timestamp": 1.5,
                      "project_id": PROJECT});
    assert_eq!(client.ingest(sister["key"].as_str().unwrap(), line.to_string()).status, 202);

    let ids = |project: &str| {
        let events = client.events(project);
        let events = events["events"].as_array().unwrap().clone();
        assert!(events.iter().all(|event| event["project_id"] == project), "{events:?}");
        events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
    };
    let (own, sisters): (Vec<_>, Vec<_>) = (ids(PROJECT), ids(SISTER_PROJECT));
    assert_eq!((own, sisters), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
    let events = client.events(PROJECT);
    assert_eq!(members(&events), ["events"]);
    assert_eq!(events["events"][0]["big"], json!(9_007_199_254_740_993_u64));
    assert_eq!(client.ingest(client.key(), "").json(), json!({"accepted": 0}));
}

#[test]
fn every_invalid_key_returns_the_same_401() {
    let client = Client::start();
    let good = client.key().to_owned();
    let body = good.strip_prefix("lqt_").unwrap();
    let mut not_text = good.clone().into_bytes();
    not_text[10] = 0xFF;
    let bad: Vec<Vec<u8>> = [
        "".to_owned(),
        "lqt_".to_owned(),
        body.to_owned(),
        format!("lqt_{}", "0".repeat(64)),
        format!("LQT_{body}"),
        format!("lqt_{}", body.to_uppercase()),
        good[..67].to_owned(),
        format!("{good}0"),
        format!("lqt_g{}", &body[1..]),
        format!("ｌｑｔ＿{body}"),
        format!("lqt_{}０", &body[..61]),
        format!("{good} x"),
        format!("lqt_ {}", &body[1..]),
        format!("\"{good}\""),
        format!("{good},"),
        format!("{good}, {good}"),
        format!("Bearer {good}"),
        format!("lqt_{}", "a".repeat(8_000)),
        format!("lqt__{}", &body[1..]),
    ]
    .into_iter()
    .map(String::into_bytes)
    .chain([not_text, [good.as_bytes(), b"\x80"].concat()])
    .collect();
    let refused = client.call(Request::post("/v1/ingest").body(EVENT));
    assert_eq!(refused.json(), json!({"error": "Invalid API key"}));
    for key in bad {
        let answer = client.ingest(&key, EVENT);
        assert_eq!(without_date(&answer), without_date(&refused), "{}", key.escape_ascii());
    }
    // A key in any other place is ignored.
    for elsewhere in [
        Request::post(&format!("/v1/ingest?x-api-key={good}&api_key={good}")),
        Request::post("/v1/ingest").header("Authorization", format!("Bearer {good}")),
        Request::post("/v1/ingest").header("Cookie", format!("x-api-key={good}")),
        Request::post("/v1/ingest").header("x-api_key", &good),
    ] {
        assert_eq!(without_date(&client.call(elsewhere.body(EVENT))), without_date(&refused));
    }
    // HTTP itself forbids these bytes, so a refusal by the HTTP server is equally valid.
    for byte in [0_u8, b'\r', 0x7F] {
        let key = [good.as_bytes(), &[byte], b"x"].concat();
        let answer = http::send(
            client.service.address(),
            Request::post("/v1/ingest").header("x-api-key", key).body(EVENT),
        );
        assert!(matches!(answer.status, 400 | 401), "{byte}: {answer:?}");
    }
    assert_eq!(client.events(PROJECT), json!({"events": []}));
    // HTTP strips whitespace around a value, and header names are case-insensitive.
    let padded = Request::post("/v1/ingest").header("X-API-Key", format!("\t {good} \t"));
    assert_eq!(client.call(padded.body(EVENT)).status, 202);
}

#[test]
fn two_different_values_of_one_credential_return_400() {
    let client = Client::start();
    let (key, unknown) = (client.key(), format!("lqt_{}", "0".repeat(64)));
    for [first, second] in [[key, &unknown], [&unknown, key], [key, ""], ["", key]] {
        let request = Request::post("/v1/ingest").header("x-api-key", first);
        let answer = client.call(request.header("X-Api-Key", second).body(EVENT));
        assert_eq!(answer.status, 400);
        assert_eq!(answer.headers("www-authenticate"), [KEY_CHALLENGE]);
        assert!(answer.json()["error"].is_string());
    }
    let request = Request::post("/v1/ingest").header("x-api-key", key).header("x-api-key", key);
    assert_eq!(client.call(request.body(EVENT)).status, 202, "one value, sent twice");

    let good = format!("Bearer {}", client.session);
    for [first, second] in [[&*good, "Bearer x"], ["Bearer x", &good], [&good, "Basic eDp5"]] {
        let request = Request::get(KEYS).header("Authorization", first);
        let answer = client.call(request.header("authorization", second));
        assert_eq!(answer.status, 400);
        assert_eq!(answer.headers("www-authenticate"), [INVALID_REQUEST]);
        assert!(answer.json()["error"].is_string());
    }
    let request = Request::get(KEYS).header("Authorization", &good).header("Authorization", &good);
    assert_eq!(client.call(request).status, 200);
}

#[test]
fn an_invalid_key_is_rejected_before_the_body_is_read() {
    let client = Client::start();
    // The body is announced but never sent.
    let head = "POST /v1/ingest HTTP/1.1\r\nHost: test\r\nContent-Length: 500\r\n\r\n";
    assert_eq!(http::send_raw(client.service.address(), head.as_bytes()).status, 401);
    let head = format!("POST {KEYS} HTTP/1.1\r\nHost: test\r\nContent-Length: 500\r\n\r\n");
    assert_eq!(http::send_raw(client.service.address(), head.as_bytes()).status, 401);
    // Without a valid key, the response does not reveal what is wrong with the body.
    let answer = client.ingest("lqt_", "not JSON");
    assert_eq!(answer.status, 401);
}

#[test]
fn a_batch_with_one_invalid_line_stores_nothing() {
    let client = Client::start();
    for (third, why) in [
        ("not JSON", "not JSON"),
        ("[]", "not a JSON object"),
        ("", "blank"),
        (r#"{"trace_id":"t","span_id":"s","timestamp":1}"#, "event_id is missing"),
        (r#"{"event_id":"e","span_id":"s","timestamp":1}"#, "trace_id is missing"),
        (r#"{"event_id":"e","trace_id":"t","timestamp":1}"#, "span_id is missing"),
        (r#"{"event_id":"e","trace_id":"t","span_id":"s"}"#, "timestamp is missing"),
        (
            r#"{"event_id":"e","trace_id":"t","span_id":"s","timestamp":null}"#,
            "timestamp is neither a string nor a number",
        ),
    ] {
        for end in ["\n", "\r\n"] {
            let body = [EVENT, EVENT, third, EVENT, ""].join(end);
            let answer = client.ingest(client.key(), body);
            let error = format!("line 3: {why}");
            assert_eq!((answer.status, answer.json()), (400, json!({ "error": error })));
        }
    }
    let not_text = [EVENT.as_bytes(), b"\n\xFF\xFE\n"].concat();
    let answer = client.ingest(client.key(), not_text);
    assert_eq!((answer.status, answer.json()), (400, json!({"error": "line 2: not UTF-8"})));
    let large = format!("{EVENT}\n").repeat((1 << 20) / EVENT.len());
    assert_eq!(client.ingest(client.key(), large).status, 413);
    assert_eq!(client.events(PROJECT), json!({"events": []}));
    assert_eq!(client.ingest(client.key(), [EVENT, EVENT].join("\r\n")).status, 202);
}

#[test]
fn a_wrong_content_type_returns_415_and_a_missing_one_means_ndjson() {
    let client = Client::start();
    let request = || Request::post("/v1/ingest").header("x-api-key", client.key()).body(EVENT);
    assert_eq!(client.call(request()).status, 202);
    for accepted in ["application/x-ndjson", "Application/X-NDJSON; charset=utf-8"] {
        assert_eq!(client.call(request().header("Content-Type", accepted)).status, 202);
    }
    for refused in ["application/json", "text/plain", "application/x-ndjsonx", ""] {
        let answer = client.call(request().header("Content-Type", refused));
        assert_eq!(answer.status, 415, "{refused}");
        assert_eq!(answer.headers("accept"), ["application/x-ndjson"]);
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(client.call(request().header("Content-Encoding", "gzip")).status, 415);
}

#[test]
fn a_login_opens_a_one_hour_session_and_every_invalid_login_returns_the_same_error() {
    let client = Client::start();
    let (email, password) = (client.service.given("email"), client.service.given("password"));
    let clock = SystemClock::new();
    let before = clock.now();
    let answer = client.login(&json!({"email": email, "password": password}));
    let after = clock.now();
    assert_eq!(answer.status, 200);
    assert_eq!(members(&answer.json()), ["token"]);
    assert_eq!(answer.headers("cache-control"), ["no-store"]);
    let claims = claims(answer.json()["token"].as_str().unwrap());
    let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert_eq!(expires - issued, 3_600);
    // In whole seconds, rounded down.
    let before = Timestamp::from_unix_secs(before.as_unix_secs());
    assert_between(before, Timestamp::from_unix_secs(issued), after);

    let refused = client.login(&json!({"email": email, "password": "wrong"}));
    assert_eq!((refused.status, refused.json()), (401, json!({"error": "Not authenticated"})));
    assert_eq!(refused.headers("www-authenticate"), [CHALLENGE]);
    for body in [
        json!({"email": "nobody@lumiqtrace.example", "password": password}),
        json!({"email": email.to_uppercase(), "password": password}),
        json!({"email": email, "password": format!("{password} ")}),
        json!({"email": email, "password": ""}),
        json!({"email": email, "password": null}),
        json!({"email": email}),
        json!({"email": [email], "password": [password]}),
        json!({}),
        json!("login"),
    ] {
        assert_eq!(without_date(&client.login(&body)), without_date(&refused), "{body}");
    }
    for body in ["", "{", "\0"] {
        let answer = client.call(Request::post("/v1/auth/login").body(body));
        assert_eq!(without_date(&answer), without_date(&refused), "{body:?}");
    }
}

#[test]
fn over_100_failures_a_minute_keep_the_same_401_and_good_keys_pass() {
    let client = Client::start();
    let unknown = format!("lqt_{}", "0".repeat(64));
    let first = client.ingest(&unknown, EVENT);
    assert_eq!((first.status, first.json()), (401, json!({"error": "Invalid API key"})));
    for _ in 0..120 {
        assert_eq!(without_date(&client.ingest(&unknown, EVENT)), without_date(&first));
    }
    assert_eq!(client.ingest(client.key(), EVENT).status, 202);
}

#[test]
fn only_a_valid_session_token_is_authenticated() {
    let client = Client::start();
    let session = client.session.as_str();
    for line in
        [format!("Bearer {session}"), format!("bearer {session}"), format!("BEARER    {session}")]
    {
        assert_eq!(client.call(Request::get(KEYS).header("Authorization", line)).status, 200);
    }
    let (head, signature) = session.rsplit_once('.').unwrap();
    let (header, payload) = head.split_once('.').unwrap();
    // {"alg":"none"}, and the header of this token with another algorithm.
    let unsigned = format!("eyJhbGciOiJub25lIn0.{payload}");
    let hs384 = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzM4NCJ9";
    for (line, challenge) in [
        (String::new(), CHALLENGE),
        ("Bearer".to_owned(), CHALLENGE),
        (session.to_owned(), CHALLENGE),
        (format!("Bearer\t{session}"), CHALLENGE),
        (format!("Bearer:{session}"), CHALLENGE),
        (format!("Basic {session}"), CHALLENGE),
        (format!("Bearer {}", client.key()), INVALID_TOKEN),
        (format!("Bearer \"{session}\""), INVALID_TOKEN),
        (format!("Bearer {session} x"), INVALID_TOKEN),
        (format!("Bearer {session}, Bearer {session}"), INVALID_TOKEN),
        (format!("Bearer {header}.{payload}."), INVALID_TOKEN),
        (format!("Bearer {header}.{payload}"), INVALID_TOKEN),
        (format!("Bearer {}", &session[..session.len() - 2]), INVALID_TOKEN),
        (format!("Bearer {unsigned}."), INVALID_TOKEN),
        (format!("Bearer {unsigned}.{signature}"), INVALID_TOKEN),
        (format!("Bearer {hs384}.{payload}.{signature}"), INVALID_TOKEN),
        (format!("Bearer {header}.{payload}x.{signature}"), INVALID_TOKEN),
        (format!("Bearer {}", "a.".repeat(3_000)), INVALID_TOKEN),
    ] {
        for (method, path) in client.session_routes() {
            let request = Request::new(method, &path).header("Authorization", &line);
            let answer = client.call(request);
            assert_eq!(answer.status, 401, "{method} {path} {line}");
            assert_eq!(answer.json(), json!({"error": "Not authenticated"}));
            assert_eq!(answer.headers("www-authenticate"), [challenge], "{line}");
        }
    }
    for (method, path) in client.session_routes() {
        let answer = client.call(Request::new(method, &path));
        assert_eq!((answer.status, answer.json()), (401, json!({"error": "Not authenticated"})));
        assert_eq!(answer.headers("www-authenticate"), [CHALLENGE]);
        let with_key = Request::new(method, &path).header("x-api-key", client.key());
        assert_eq!(client.call(with_key).status, 401, "a key is not a session");
    }
}

#[test]
fn a_session_is_rejected_from_its_expiry_on() {
    let answer = given_time(|seconds| {
        let client = Client::start_with(&[("SESSION_SECONDS", &seconds.to_string())]);
        let end = Timestamp::from_unix_secs(claims(&client.session)["exp"].as_u64().unwrap());
        accepted_until(end, end, || client.as_user(Request::get(KEYS)))
    });
    assert_eq!((answer.status, answer.json()), (401, json!({"error": "Not authenticated"})));
    assert_eq!(answer.headers("www-authenticate"), [INVALID_TOKEN]);
}

#[test]
fn a_session_cannot_access_projects_of_another_organization() {
    let client = Client::start();
    let id = client.first_key_id();
    let foreign = client.service.given("foreign_project_id");
    let too_long = "p".repeat(500);
    for project in [foreign, "proj_unknown", "PROJ_ABC123", "proj_abc123%20", "%00", &too_long] {
        let keys = format!("/v1/projects/{project}/keys");
        for request in [
            Request::get(&format!("/v1/events?projectId={project}")),
            Request::get(&keys),
            Request::post(&keys).json(&json!({"name": "mine"})),
            Request::post(&keys).body("not JSON"),
            Request::post(&format!("{keys}/{id}/rotate")),
            Request::new("DELETE", &format!("{keys}/{id}")),
        ] {
            let answer = client.as_user(request.clone());
            let expected = json!({"error": "Not a member of this organization"});
            assert_eq!((answer.status, answer.json()), (403, expected), "{request:?}");
        }
    }
    assert_eq!(client.ingest(client.key(), EVENT).status, 202, "the key is unchanged");
}

#[test]
fn a_key_is_managed_only_under_its_own_project() {
    let client = Client::start();
    let id = client.first_key_id();
    let unknown = "0".repeat(32);
    let sister = format!("/v1/projects/{SISTER_PROJECT}/keys");
    for (keys, id) in [
        (&*sister, &*id),
        (KEYS, &unknown),
        (KEYS, "x"),
        (KEYS, &id.to_uppercase()),
        (KEYS, &format!("{id}%20")),
    ] {
        for request in [
            Request::post(&format!("{keys}/{id}/rotate")),
            Request::new("DELETE", &format!("{keys}/{id}")),
        ] {
            let answer = client.as_user(request);
            assert_eq!(answer.status, 404, "{keys}/{id}");
            assert_eq!(members(&answer.json()), ["error"]);
        }
    }
    assert_eq!(client.list(SISTER_PROJECT), json!({"keys": []}));
    assert_eq!(client.ingest(client.key(), EVENT).status, 202, "the key is unchanged");
}

#[test]
fn a_minted_key_is_returned_once_and_listed_by_its_prefix() {
    let client = Client::start();
    let clock = SystemClock::new();
    let before = clock.now();
    let answer = client.as_user(Request::post(KEYS).json(&json!({
        "name": "Ärzte 😀", "id": "x", "key": "lqt_mine", "created_at": 0,
        "project_id": client.service.given("foreign_project_id"), "owner": SISTER_PROJECT,
    })));
    assert_eq!(answer.status, 201);
    assert_eq!(answer.headers("cache-control"), ["no-store"]);
    let minted = answer.json();
    let with_key: BTreeSet<&str> = ROW.into_iter().chain(["key"]).collect();
    assert_eq!(members(&minted), with_key.into_iter().collect::<Vec<_>>());
    let key = minted["key"].as_str().unwrap();
    assert!(KEY.is_match(key), "{minted}");
    assert_eq!(minted["name"], "Ärzte 😀");
    assert_eq!(minted["project_id"], PROJECT, "the path decides, not the body");
    assert_eq!(minted["prefix"], key[..12]);
    assert_eq!(minted["rotation_due"], false);
    assert_between(before, instant(&minted["created_at"]), clock.now());
    assert_eq!(client.ingest(key, EVENT).json(), json!({"accepted": 1}));

    let listing = client.list(PROJECT);
    assert_eq!(members(&listing), ["keys"]);
    let [first, second] = &listing["keys"].as_array().unwrap()[..] else {
        panic!("two keys in {listing}");
    };
    // Keys of the same millisecond are listed in the order of their ids.
    let (first, second) =
        if first["id"] == minted["id"] { (second, first) } else { (first, second) };
    assert_eq!(first["prefix"], client.key()[..12]);
    let mut row = minted.clone();
    row.as_object_mut().unwrap().remove("key");
    assert_eq!(*second, row, "the same without the key");
    assert!(!listing.to_string().contains(&key[..13]), "no more than the prefix");
    assert_eq!(members(first), ROW);
}

#[test]
fn a_key_requires_a_readable_name() {
    let client = Client::start();
    for (body, status) in [
        (String::new(), 400),
        ("{".to_owned(), 400),
        ("\u{feff}{}".to_owned(), 400),
        ("[]".to_owned(), 422),
        ("{}".to_owned(), 422),
        (json!({"name": null}).to_string(), 422),
        (json!({"name": 7}).to_string(), 422),
        (json!({"name": ""}).to_string(), 422),
        (json!({"name": "a\nb"}).to_string(), 422),
        (json!({"name": "\u{0}"}).to_string(), 422),
        (json!({"name": "x".repeat(129)}).to_string(), 422),
        (" ".repeat((1 << 20) + 1), 413),
    ] {
        let shown = body.get(..40).unwrap_or(&body).to_owned();
        let answer = client.as_user(Request::post(KEYS).body(body));
        assert_eq!(answer.status, status, "{shown}");
        let error = answer.json();
        assert_eq!(members(&error), ["error"], "{shown}");
        assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()), "{shown}");
    }
    assert_eq!(client.list(PROJECT)["keys"].as_array().unwrap().len(), 1);
    let longest = json!({"name": "x".repeat(128)}).to_string();
    assert_eq!(client.as_user(Request::post(KEYS).body(longest)).status, 201);
}

#[test]
fn a_rotated_key_works_next_to_the_new_one_until_its_grace_ends() {
    given_time(|seconds| {
        let client = Client::start_with(&[("GRACE_SECONDS", &seconds.to_string())]);
        let (old, id) = (client.key(), client.first_key_id());
        let (clock, grace) = (SystemClock::new(), Duration::from_secs(seconds));
        let before = clock.now();
        let answer = client.as_user(Request::post(&format!("{KEYS}/{id}/rotate")));
        let after = clock.now();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers("cache-control"), ["no-store"]);
        let rotated = answer.json();
        let more: BTreeSet<&str> = ROW.into_iter().chain(["key", "previous_valid_until"]).collect();
        assert_eq!(members(&rotated), more.into_iter().collect::<Vec<_>>());
        assert_eq!(rotated["id"], id);
        let new = rotated["key"].as_str().unwrap();
        assert!(KEY.is_match(new) && new != old);
        let end = instant(&rotated["previous_valid_until"]);
        assert_between(before + grace, end, after + grace);

        let listed = client.list(PROJECT);
        assert_eq!(listed["keys"].as_array().unwrap().len(), 1, "one key, two secrets");
        assert_eq!(listed["keys"][0]["prefix"], new[..12]);

        assert_eq!(client.ingest(new, EVENT).status, 202);
        let answer = accepted_until(end, end, || client.ingest(old, EVENT))?;
        assert_eq!(answer.json(), json!({"error": "Invalid API key"}));
        assert_eq!(client.ingest(new, EVENT).status, 202);
        Some(())
    });
}

#[test]
fn the_grace_defaults_to_one_day_and_is_not_shortened_by_another_rotation() {
    let client = Client::start();
    let rotate = format!("{KEYS}/{}/rotate", client.first_key_id());
    let mut keys = vec![client.key().to_owned()];
    let (clock, day) = (SystemClock::new(), Duration::from_secs(86_400));
    for _ in 0..3 {
        let before = clock.now();
        let rotated = client.as_user(Request::post(&rotate)).json();
        keys.push(rotated["key"].as_str().unwrap().to_owned());
        assert_between(before + day, instant(&rotated["previous_valid_until"]), clock.now() + day);
    }
    let answer = client.as_user(Request::post(&rotate));
    assert_eq!(answer.status, 409, "the oldest secret keeps its grace of a day");
    assert_eq!(members(&answer.json()), ["error"]);
    for key in keys {
        assert_eq!(client.ingest(key, EVENT).status, 202);
    }
}

#[test]
fn a_deleted_key_and_its_predecessor_are_rejected_immediately() {
    let client = Client::start();
    let minted = client.mint(PROJECT, "doomed");
    let path = format!("{KEYS}/{}", minted["id"].as_str().unwrap());
    let rotated = client.as_user(Request::post(&format!("{path}/rotate"))).json();
    let keys = [&minted["key"], &rotated["key"]].map(|key| key.as_str().unwrap());
    assert_eq!(keys.map(|key| client.ingest(key, EVENT).status), [202, 202]);

    let answer = client.as_user(Request::new("DELETE", &path));
    assert_eq!((answer.status, answer.body), (204, Vec::new()));
    for key in keys {
        let answer = client.ingest(key, EVENT);
        assert_eq!((answer.status, answer.json()), (401, json!({"error": "Invalid API key"})));
    }
    assert_eq!(client.list(PROJECT)["keys"].as_array().unwrap().len(), 1, "it is not listed");
    let answer = client.as_user(Request::post(&format!("{path}/rotate")));
    assert_eq!((answer.status, members(&answer.json())), (409, vec!["error".to_owned()]));
    assert_eq!(client.as_user(Request::new("DELETE", &path)).status, 204, "again");
    assert_eq!(keys.map(|key| client.ingest(key, EVENT).status), [401, 401]);
    assert_eq!(client.ingest(client.key(), EVENT).status, 202, "no other key is affected");
}

#[test]
fn unknown_routes_and_methods_return_json_errors() {
    let client = Client::start();
    for path in ["/", "/v1", "/v1/ingest/", "/v1/Ingest", "/v1//ingest", "/v1/projects//keys/x/y"] {
        let answer = client.call(Request::post(path).header("x-api-key", client.key()).body(EVENT));
        assert_eq!((answer.status, members(&answer.json())), (404, vec!["error".to_owned()]));
    }
    let id = format!("{KEYS}/{}", client.first_key_id());
    for (method, path, allowed) in [
        ("GET", "/v1/ingest", "POST"),
        ("HEAD", "/v1/ingest", "POST"),
        ("PUT", "/v1/ingest", "POST"),
        ("OPTIONS", "/v1/ingest", "POST"),
        ("OPTIONS", KEYS, "GET,HEAD,POST"),
        ("GET", "/v1/auth/login", "POST"),
        ("POST", "/v1/events", "GET,HEAD"),
        ("GET", &*id, "DELETE"),
    ] {
        let answer = client.call(Request::new(method, path));
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.headers("allow"), [allowed], "{method} {path}");
        if method != "HEAD" {
            assert_eq!(members(&answer.json()), ["error"]);
        }
    }
    assert_eq!(client.call(Request::new("HEAD", KEYS)).status, 401);
    assert_eq!(client.as_user(Request::new("HEAD", KEYS)).status, 200);
    for query in ["", "?projectId=", "?projectId=%FF", "?projectId=a&projectId=b", "?project_id=x"]
    {
        let answer = client.as_user(Request::get(&format!("/v1/events{query}")));
        assert!(matches!(answer.status, 400 | 403), "{query}: {answer:?}");
        assert_eq!(members(&answer.json()), ["error"]);
    }
}

#[test]
fn the_log_contains_no_key_no_token_and_no_client_input() {
    let client = Client::start();
    let key = client.key().to_owned();
    let minted = client.mint(PROJECT, "canary-name");
    let id = minted["id"].as_str().unwrap().to_owned();
    let rotated = client.as_user(Request::post(&format!("{KEYS}/{id}/rotate"))).json();
    client.ingest(&key, EVENT);
    client.ingest(&key, format!("canary {key}"));
    client.ingest(format!("{key}0"), EVENT);
    client.call(Request::post(&format!("/v1/ingest?api_key={key}")).body(EVENT));
    client.call(Request::get(&format!("/{key}/canary")));
    client.call(Request::new(&key, "/v1/ingest"));
    client.as_user(Request::get(&format!("/v1/projects/{key}/keys")));
    client.as_user(Request::new("DELETE", &format!("{KEYS}/{key}")));
    client.as_user(Request::post(KEYS).json(&json!({"name": format!("canary\n{key}")})));
    client.as_user(Request::new("DELETE", &format!("{KEYS}/{id}")));
    client.call(Request::get(KEYS).header("Authorization", format!("Bearer {key}")));
    let twice = Request::post("/v1/ingest").header("x-api-key", &key);
    client.call(twice.header("x-api-key", "canary").body(EVENT));
    client.login(&json!({"email": "canary", "password": key}));

    let password = client.service.given("password").to_owned();
    let session = client.session.clone();
    let (status, stdout, log) = client.service.end_by("INT");
    assert_eq!((status.code(), &*stdout), (Some(0), ""));
    assert!(log.contains("POST /v1/ingest 202"), "{log}");
    assert!(log.contains("POST /v1/ingest 401: key refused"), "{log}");
    let long = Regex::new("lqt_[0-9a-f]{9}").unwrap();
    assert!(!long.is_match(&log), "{log}");
    let shown = [&minted["key"], &rotated["key"]].map(|key| key.as_str().unwrap().to_owned());
    for key in shown.iter().chain([&key]) {
        assert!(!log.contains(&key[12..28]), "{log}");
    }
    let secrets = [&*password, session.rsplit_once('.').unwrap().1, "canary"];
    assert_eq!(secrets.map(|secret| log.contains(secret)), [false; 3], "{log}");
}

/// A dashboard user with its own running service.
struct Client {
    service: Service,
    session: String,
}

impl Client {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(environment: &[(&str, &str)]) -> Self {
        Self::of(LUMIQTRACE.start(environment))
    }

    fn of(service: Service) -> Self {
        let mut client = Self { service, session: String::new() };
        let [email, password] = ["email", "password"].map(|member| client.service.given(member));
        let answer = client.login(&json!({"email": email, "password": password})).json();
        client.session = answer["token"].as_str().expect("a token").to_owned();
        client
    }

    /// Returns the ingest key of the start line.
    fn key(&self) -> &str {
        self.service.given("ingest_key")
    }

    /// Sends a request and asserts rules for all responses: a 401 has one challenge with a
    /// parameter, and a success has none.
    fn call(&self, request: Request) -> Response {
        let response = http::send(self.service.address(), request);
        let challenges = response.headers("www-authenticate");
        match response.status {
            401 => {
                let [challenge] = challenges[..] else {
                    panic!("expected one challenge: {response:?}")
                };
                assert!(
                    challenge == KEY_CHALLENGE || challenge.starts_with(CHALLENGE),
                    "{challenge}"
                );
            }
            400 => {}
            _ => assert!(challenges.is_empty(), "{response:?}"),
        }
        response
    }

    fn ingest(&self, key: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Response {
        let request = Request::post("/v1/ingest").header("Content-Type", "application/x-ndjson");
        let answer = self.call(request.header("x-api-key", key).body(body));
        if answer.status == 401 {
            assert_eq!(answer.headers("www-authenticate"), [KEY_CHALLENGE]);
        }
        answer
    }

    fn login(&self, body: &Value) -> Response {
        self.call(Request::post("/v1/auth/login").json(body))
    }

    fn as_user(&self, request: Request) -> Response {
        self.call(request.header("Authorization", format!("Bearer {}", self.session)))
    }

    fn events(&self, project: &str) -> Value {
        let answer = self.as_user(Request::get(&format!("/v1/events?projectId={project}")));
        assert_eq!(answer.status, 200);
        answer.json()
    }

    fn list(&self, project: &str) -> Value {
        let answer = self.as_user(Request::get(&format!("/v1/projects/{project}/keys")));
        assert_eq!(answer.status, 200);
        answer.json()
    }

    fn first_key_id(&self) -> String {
        self.list(PROJECT)["keys"][0]["id"].as_str().expect("an id").to_owned()
    }

    fn mint(&self, project: &str, name: &str) -> Value {
        let path = format!("/v1/projects/{project}/keys");
        let answer = self.as_user(Request::post(&path).json(&json!({ "name": name })));
        assert_eq!(answer.status, 201);
        answer.json()
    }

    fn session_routes(&self) -> [(&'static str, String); 5] {
        let id = "0".repeat(32);
        [
            ("GET", format!("/v1/events?projectId={PROJECT}")),
            ("GET", KEYS.to_owned()),
            ("POST", KEYS.to_owned()),
            ("POST", format!("{KEYS}/{id}/rotate")),
            ("DELETE", format!("{KEYS}/{id}")),
        ]
    }
}

/// Returns the names of an object's members, sorted.
fn members(object: &Value) -> Vec<String> {
    let object = object.as_object().unwrap_or_else(|| panic!("expected an object: {object}"));
    object.keys().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns the parts that must be equal in two refusals.
fn without_date(response: &Response) -> (u16, Vec<Vec<&str>>, &[u8]) {
    let names = ["content-type", "content-length", "www-authenticate", "cache-control"];
    (response.status, names.map(|name| response.headers(name)).to_vec(), &response.body)
}
