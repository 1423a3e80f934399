//! Every row of Lucent's contract, tested over a real socket against the runnable service (`cargo
//! run --example lucent`). `browser_lucent.rs` covers browsers.

mod support;

use std::{collections::BTreeSet, sync::LazyLock, thread, time::Duration};

use keyward::{Clock, SystemClock};
use regex::Regex;
use serde_json::{Value, json};
use support::{
    banner::{check_banner, check_command_line},
    curl::base64,
    http::{self, Request, Response},
    service::{Example, Service},
    time::{A_DAY, SLACK, accepted_until, assert_between, given_time, instant},
    window,
};

static LUCENT: Example = Example::new("lucent");

const REPLAY: &str = "/api/sdk/replay";
const ISSUES: &str = "/api/v1/issues";
const TOKEN: &str = "/oauth/token";
const KEYS: &str = "/admin/keys";
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
const INGEST_CHALLENGE: &str = r#"ApiKey realm="lucent", header="x-lucent-api-key""#;
const READ_CHALLENGE: &str = r#"Bearer scope="read:lucent""#;
const WRITE_CHALLENGE: &str = r#"Bearer scope="write:issues""#;
const ADMIN_CHALLENGE: &str = r#"Bearer realm="lucent-admin""#;
const CLIENT_CHALLENGE: &str = r#"Basic realm="lucent""#;

static KEY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^luc_(pk|api|oat|mcp)_[0-9a-f]{64}$").unwrap());

#[test]
fn stdout_contains_only_the_start_line_and_signals_stop_the_service_cleanly() {
    for signal in ["INT", "TERM"] {
        let client = Client::start();
        let expected = [
            "admin_token",
            "api_key",
            "client_id",
            "client_secret",
            "legacy_key",
            "listening",
            "organization",
            "public_key",
            "write_key",
        ];
        assert_eq!(members(client.service.started()), expected);
        assert_eq!(client.given("organization"), "org_a");
        for (member, kind) in [
            ("public_key", "luc_pk_"),
            ("api_key", "luc_api_"),
            ("write_key", "luc_api_"),
            ("legacy_key", "luc_mcp_"),
        ] {
            let key = client.given(member);
            assert!(KEY.is_match(key) && key.starts_with(kind), "{member}: {key}");
        }
        assert_eq!(client.service.address().ip().to_string(), "127.0.0.1");
        assert_eq!(client.ingest(client.given("public_key")).status, 202);
        let address = client.service.address();
        let _idle = http::connect_and_write(address, b"");
        let _half = http::connect_and_write(address, b"POST /api/sdk/replay HTTP/1.1\r\nHost:");
        let (status, stdout, _) = client.service.end_by(signal);
        assert_eq!(status.code(), Some(0), "SIG{signal}");
        assert_eq!(stdout, "", "nothing follows the start line");
    }
}

#[test]
fn invalid_settings_exit_with_status_2() {
    for (name, value) in [
        ("PORT", "abc"),
        ("GRACE_SECONDS", "0"),
        ("BIND", "localhost:3000"),
        ("TOKEN_SECONDS", "0"),
        ("TOKEN_SECONDS", "3601"),
        ("WINDOW_SECONDS", "0"),
        ("WINDOW_SECONDS", "86401"),
    ] {
        let output = LUCENT.run(&["--json"], &[(name, value)]);
        assert_eq!(output.status.code(), Some(2), "{name}={value}");
        assert_eq!(output.stdout, b"", "{name}={value}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(name), "{name}={value}");
    }
}

#[test]
fn the_help_lists_the_settings_and_unknown_arguments_are_rejected() {
    check_command_line(&LUCENT, &[], &["TOKEN_SECONDS", "WINDOW_SECONDS"]);
}

#[test]
fn the_banner_lists_the_routes_and_its_commands_succeed() {
    let statuses = [202, 200, 200, 200, 201, 200, 204];
    check_banner(&LUCENT, &statuses, &[("{owner}", "org_a")]);
}

#[test]
fn a_key_in_the_header_takes_precedence_over_the_query() {
    let client = Client::start();
    let key = client.given("public_key");
    let unknown = format!("luc_pk_{}", "0".repeat(64));
    let in_query = |key: &str| Request::post(&format!("{REPLAY}?api_key={key}"));
    for (request, status) in [
        (in_query(key), 202),
        (in_query(&unknown), 401),
        (in_query(key).header("X-Lucent-Api-Key", key), 202),
        (in_query(&unknown).header("X-Lucent-Api-Key", key), 202),
        (in_query("%zz").header("x-lucent-api-key", key), 202),
        (in_query(key).header("X-Lucent-Api-Key", &unknown), 401),
        // An empty header or parameter is absent.
        (in_query(key).header("X-Lucent-Api-Key", ""), 202),
        (in_query(&format!("&api_key={key}")), 202),
        (in_query(&unknown).header("X-Lucent-Api-Key", ""), 401),
        (in_query(&key.replace("luc_pk_", "%6Cuc%5Fpk%5F")), 202),
        (in_query(&format!("{key}&api_key={key}&other=1")), 202),
        (in_query(&format!("{key}&api_key={unknown}")), 400),
        (in_query(&format!("{unknown}&api_key={key}")), 400),
        (in_query(&format!("{key}%20")), 401),
        (in_query(&format!("{key}+")), 401),
        (in_query(&format!("%20{key}")), 401),
        (in_query(&format!("{key}%00")), 401),
        (in_query(key).header("X-Lucent-Api-Key", key).header("x-lucent-api-key", key), 202),
        (in_query(key).header("X-Lucent-Api-Key", key).header("x-lucent-api-key", "x"), 400),
    ] {
        let answer = client.call(request.clone().body("{}"));
        assert_eq!(answer.status, status, "{request:?}");
        match status {
            202 => assert_eq!(answer.json(), json!({"accepted": true})),
            401 => assert_eq!(answer.json(), json!({"error": "Invalid or revoked API key"})),
            _ => {
                assert_eq!(members(&answer.json()), ["error"]);
                assert_eq!(answer.headers("www-authenticate"), [INGEST_CHALLENGE]);
            }
        }
    }
}

#[test]
fn over_100_failures_a_minute_keep_the_same_401_and_good_keys_pass() {
    let client = Client::start();
    let unknown = format!("luc_pk_{}", "0".repeat(64));
    let first = client.ingest(&unknown);
    assert_eq!((first.status, first.json()), (401, json!({"error": "Invalid or revoked API key"})));
    for _ in 0..120 {
        assert_eq!(without_date(&client.ingest(&unknown)), without_date(&first));
    }
    assert_eq!(client.ingest(client.given("public_key")).status, 202);
}

#[test]
fn missing_and_invalid_keys_return_different_errors() {
    let client = Client::start();
    let good = client.given("public_key").to_owned();
    for nowhere in [
        Request::post(REPLAY),
        Request::post(&format!("{REPLAY}?api_key=")),
        Request::post(&format!("{REPLAY}?api_key")).header("X-Lucent-Api-Key", ""),
        Request::post(&format!("{REPLAY}?Api_Key={good}&key={good}&x-lucent-api-key={good}")),
        Request::post(REPLAY).header("x-api-key", &good),
        Request::post(REPLAY).header("Authorization", format!("Bearer {good}")),
        Request::post(REPLAY).header("Cookie", format!("api_key={good}")),
    ] {
        let answer = client.call(nowhere.body(json!({"api_key": good}).to_string()));
        assert_eq!((answer.status, answer.json()), (401, json!({"error": "Missing API key"})));
        assert_eq!(answer.headers("www-authenticate"), [INGEST_CHALLENGE]);
    }
    let body = good.strip_prefix("luc_pk_").unwrap();
    let minted = client.mint(&json!({"kind": "luc_pk_", "name": "doomed", "owner": "org_a"}));
    let revoked = minted["key"].as_str().unwrap().to_owned();
    assert_eq!(client.ingest(&revoked).status, 202);
    let path = format!("{KEYS}/{}/revoke", minted["id"].as_str().unwrap());
    assert_eq!(client.as_admin(Request::post(&path)).status, 204);
    let first = client.ingest(&revoked);
    for key in [
        revoked,
        format!("luc_pk_{}", "0".repeat(64)),
        "luc_pk_".to_owned(),
        body.to_owned(),
        format!("LUC_PK_{body}"),
        format!("luc_pk_{}", body.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A")),
        format!("luc_api_{body}"),
        format!("ｌｕｃ＿ｐｋ＿{body}"),
        format!("{good}0"),
        good[..70].to_owned(),
        format!("{good}, {good}"),
        format!("Bearer {good}"),
        "a".repeat(8_000),
        client.given("api_key").to_owned(),
        client.given("write_key").to_owned(),
        client.given("legacy_key").to_owned(),
        client.given("admin_token").to_owned(),
        client.given("client_secret").to_owned(),
        client.access_token("read:lucent"),
    ] {
        let answer = client.ingest(&key);
        assert_eq!(without_date(&answer), without_date(&first), "{key}");
        assert_eq!(answer.json(), json!({"error": "Invalid or revoked API key"}));
        assert_eq!(answer.headers("www-authenticate"), [INGEST_CHALLENGE]);
    }
    assert_eq!(
        client.ingest(format!(" \t{good} \t")).status,
        202,
        "HTTP strips surrounding whitespace"
    );
}

#[test]
fn any_json_with_any_content_type_and_gzip_is_accepted() {
    // `printf '{"events":[1,2,3]}' | gzip -n`
    const GZIP: [u8; 38] = [
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xab, 0x56, 0x4a, 0x2d, 0x4b,
        0xcd, 0x2b, 0x29, 0x56, 0xb2, 0x8a, 0x36, 0xd4, 0x31, 0xd2, 0x31, 0x8e, 0xad, 0x05, 0x00,
        0xe1, 0xfe, 0x6a, 0xc2, 0x12, 0x00, 0x00, 0x00,
    ];
    let client = Client::start();
    let key = client.given("public_key");
    let post = || Request::post(REPLAY).header("X-Lucent-Api-Key", key);
    let typed = |content_type: &str| post().header("Content-Type", content_type);
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    for (request, status) in [
        (post().body("{}"), 202),
        (typed("application/json").body(r#"{"organization":"org_b"}"#), 202),
        (typed("text/plain;charset=UTF-8").body(r#"{"events":[]}"#), 202),
        (typed("application/octet-stream").body("[]"), 202),
        (typed("").body(" null\n"), 202),
        (typed("image/png").body(&deep), 202),
        (typed("application/json").body(GZIP), 202),
        (typed("text/plain").body(GZIP), 202),
        (post().header("Content-Encoding", "gzip").body(GZIP), 202),
        (post().header("Content-Encoding", "GZIP").body(GZIP), 202),
        (post().header("Content-Encoding", "x-gzip").body(GZIP), 202),
        (post().header("Content-Encoding", "identity").body("{}"), 202),
        (post().header("Content-Encoding", "gzip").body("{}"), 400),
        (post().header("Content-Encoding", "gzip").body(&GZIP[..30]), 400),
        (post().header("Content-Encoding", "br").body("{}"), 415),
        (post().header("Content-Encoding", "gzip, gzip").body(GZIP), 415),
        (post().body(""), 400),
        (post(), 400),
        (post().body("not JSON"), 400),
        (post().body("{} {}"), 400),
        (post().body(b"\"\xff\""), 400),
        (post().body(format!("\"{}\"", "x".repeat(4 << 20))), 413),
    ] {
        let answer = client.call(request);
        assert_eq!(answer.status, status, "{answer:?}");
        match status {
            202 => assert_eq!(answer.json(), json!({"accepted": true})),
            _ => assert_eq!(members(&answer.json()), ["error"]),
        }
        if status == 415 {
            assert_eq!(answer.headers("accept-encoding"), ["gzip"]);
        }
    }
    // The key is checked before any part of the body is read.
    let head = format!("POST {REPLAY} HTTP/1.1\r\nHost: test\r\nContent-Length: 500\r\n\r\n");
    assert_eq!(http::send_raw(client.service.address(), head.as_bytes()).status, 401);
}

#[test]
fn the_101st_request_within_the_window_is_rejected() {
    const DAY: Duration = Duration::from_secs(86_400);
    let client = Client::start_with(&[A_DAY]);
    let key = client.given("public_key");
    // Failed attempts and requests of other keys are not counted here.
    for bad in ["luc_pk_", &key[..70], client.given("api_key")] {
        assert_eq!(client.ingest(bad).status, 401);
    }
    let other = client.mint(&json!({"kind": "luc_pk_", "name": "other", "owner": "org_a"}));
    assert_eq!(client.ingest(other["key"].as_str().unwrap()).status, 202);

    let clock = SystemClock::new();
    let first_sent = clock.now();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..50).map(|_| client.ingest(key).status).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let count = |status| statuses.iter().filter(|other| **other == status).count();
    assert_eq!((count(202), count(429)), (100, 100));

    let refused = client.ingest(key);
    assert_eq!((refused.status, refused.json()), (429, json!({"error": "Rate limit exceeded"})));
    let [retry_after] = refused.headers("retry-after")[..] else { panic!("{refused:?}") };
    let waited = clock.now().saturating_since(first_sent);
    let retry_after = Duration::from_secs(retry_after.parse().expect("whole seconds"));
    assert!(retry_after <= DAY, "{retry_after:?}");
    assert!(retry_after + waited + SLACK >= DAY, "{retry_after:?} {waited:?}");
    assert_eq!(refused.headers("access-control-expose-headers"), ["retry-after"]);
    // The same key in the query counts too, and so does a rotated one.
    let in_query = Request::post(&format!("{REPLAY}?api_key={key}")).body("{}");
    assert_eq!(client.call(in_query).status, 429);
    let path = format!("{KEYS}/{}/rotate", client.row_of(key)["id"].as_str().unwrap());
    let rotated = client.as_admin(Request::post(&path)).json();
    assert_eq!(client.ingest(rotated["key"].as_str().unwrap()).status, 429);
    assert_eq!(client.ingest(other["key"].as_str().unwrap()).status, 202);

    // The higher tier allows 1,000 from the next request on; the previous 100 count.
    assert_eq!(client.set_tier("org_a", "higher").status, 200);
    let admitted = (0..950).take_while(|_| client.ingest(key).status == 202).count();
    assert_eq!(admitted, 900);
    assert_eq!(client.set_tier("org_a", "standard").status, 200);
    assert_eq!(client.ingest(other["key"].as_str().unwrap()).status, 202);
    assert_eq!(client.ingest(key).status, 429);
}

#[test]
fn a_request_succeeds_after_retry_after_and_not_after_half_of_it() {
    given_time(|seconds| {
        let client = Client::start_with(&[("WINDOW_SECONDS", &seconds.to_string())]);
        let window = Duration::from_secs(seconds);
        window::fill_and_wait(100, window, || client.ingest(client.given("public_key")))
    });
}

#[test]
fn only_real_preflights_need_no_key() {
    let client = Client::start();
    let options = || Request::new("OPTIONS", REPLAY);
    let asked = "content-type,content-encoding,x-lucent-api-key";
    let preflight = options()
        .header("Origin", "https://shop.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", asked);
    let answer = client.call(preflight);
    assert!((200..300).contains(&answer.status), "{answer:?}");
    assert_eq!(answer.headers("access-control-allow-origin"), ["*"]);
    let allowed = answer.headers("access-control-allow-headers").join(",").to_lowercase();
    let allowed: BTreeSet<&str> = allowed.split(',').map(str::trim).collect();
    assert_eq!(allowed, ["content-encoding", "content-type", "x-lucent-api-key"].into());
    assert_eq!(answer.headers("access-control-allow-methods"), ["POST"]);

    let origin = || options().header("Origin", "https://shop.example");
    let method = || options().header("Access-Control-Request-Method", "POST");
    let key = client.given("public_key");
    for (request, with_key) in [(options(), 405), (origin(), 405), (method(), 405)] {
        let answer = client.call(request.clone());
        assert_eq!((answer.status, answer.json()), (401, json!({"error": "Missing API key"})));
        assert_eq!(client.call(request.header("X-Lucent-Api-Key", key)).status, with_key);
    }
    for name in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = client.call(Request::new(name, REPLAY));
        assert_eq!(answer.status, 401, "{name}");
        let answer = client.call(Request::new(name, REPLAY).header("X-Lucent-Api-Key", key));
        assert_eq!(answer.status, 405, "{name}");
        assert_eq!(answer.headers("allow"), ["POST"]);
        assert_eq!(answer.json(), json!({"error": "Method not allowed"}));
    }
    // Only ingest allows scripts of other origins.
    for path in [ISSUES, TOKEN, KEYS] {
        let request = Request::new("OPTIONS", path)
            .header("Origin", "https://shop.example")
            .header("Access-Control-Request-Method", "POST");
        let answer = client.call(request);
        assert!(matches!(answer.status, 401 | 405), "{path}: {answer:?}");
        assert!(answer.headers("access-control-allow-origin").is_empty());
    }
}

#[test]
fn an_invalid_token_returns_401_with_the_scope_of_the_endpoint() {
    let client = Client::start();
    let good = client.given("write_key").to_owned();
    let minted = client.mint(&json!({
        "kind": "luc_api_", "name": "doomed", "owner": "org_a",
        "scopes": ["read:lucent", "write:issues"],
    }));
    let revoked = minted["key"].as_str().unwrap();
    let path = format!("{KEYS}/{}/revoke", minted["id"].as_str().unwrap());
    assert_eq!(client.list_issues(revoked).status, 200);
    assert_eq!(client.as_admin(Request::post(&path)).status, 204);
    let body = good.strip_prefix("luc_api_").unwrap();
    for line in [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(good.clone()),
        Some(format!("Basic {good}")),
        Some(format!("Bearer\t{good}")),
        Some(format!("Bearer {good} x")),
        Some(format!("Bearer {good}, Bearer {good}")),
        Some(format!("Bearer {}", client.given("public_key"))),
        Some(format!("Bearer {}", client.given("admin_token"))),
        Some(format!("Bearer {}", client.given("client_secret"))),
        Some(format!("Bearer luc_xyz_{body}")),
        Some(format!("Bearer luc_oat_{body}")),
        Some(format!("Bearer luc_mcp_{body}")),
        Some(format!("Bearer LUC_API_{body}")),
        Some(format!("Bearer luc_api_{}", "0".repeat(64))),
        Some(format!("Bearer {revoked}")),
        Some("Bearer eyJhbGciOiJub25lIn0.e30.".to_owned()),
    ] {
        for (request, challenge) in [
            (Request::get(ISSUES), READ_CHALLENGE),
            (Request::get(&format!("{ISSUES}?api_key={good}")), READ_CHALLENGE),
            (Request::new("PATCH", &format!("{ISSUES}/issue_1")), WRITE_CHALLENGE),
        ] {
            let request = request.header("X-Lucent-Api-Key", &good);
            let request = match &line {
                None => request,
                Some(line) => request.header("Authorization", line),
            };
            let answer = client.call(request.json(&json!({"status": "stolen"})));
            assert_eq!(answer.status, 401, "{line:?}");
            assert_eq!(answer.json(), json!({"error": "Missing or invalid bearer token"}));
            assert_eq!(answer.headers("www-authenticate"), [challenge], "{line:?}");
        }
    }
    for line in [format!("bearer {good}"), format!("BEARER    {good}")] {
        assert_eq!(client.call(Request::get(ISSUES).header("Authorization", line)).status, 200);
    }
    for [first, second] in [[&*good, "x"], ["x", &good], [&good, revoked]] {
        let request = Request::get(ISSUES).header("Authorization", format!("Bearer {first}"));
        let request = request.header("Authorization", format!("Bearer {second}"));
        let answer = client.call(request);
        assert_eq!(answer.status, 400);
        assert_eq!(members(&answer.json()), ["error"]);
    }
    let line = format!("Bearer {good}");
    let twice = Request::get(ISSUES).header("Authorization", &line).header("Authorization", &line);
    assert_eq!(client.call(twice).status, 200, "one value, sent twice");
    let stolen = client.list_issues(&good).json().to_string().contains("stolen");
    assert!(!stolen, "nothing has changed");
}

#[test]
fn scopes_come_from_the_key_and_default_to_read() {
    let client = Client::start();
    let minted = |scopes: Value| {
        let mut key = json!({"kind": "luc_api_", "name": "k", "owner": "org_a"});
        if !scopes.is_null() {
            key["scopes"] = scopes;
        }
        client.mint(&key)
    };
    let key = |minted: &Value| minted["key"].as_str().unwrap().to_owned();
    let (default, write) = (minted(Value::Null), minted(json!(["write:issues"])));
    let (both, none) = (minted(json!(["write:issues", "read:lucent"])), minted(json!([])));
    assert_eq!(default["scopes"], json!(["read:lucent"]));
    assert_eq!(both["scopes"], json!(["read:lucent", "write:issues"]));
    for (key, reads, writes) in [
        (client.given("api_key").to_owned(), 200, 403),
        (client.given("legacy_key").to_owned(), 200, 403),
        (client.given("write_key").to_owned(), 200, 200),
        (key(&default), 200, 403),
        (key(&write), 403, 200),
        (key(&both), 200, 200),
        (key(&none), 403, 403),
        (client.access_token("read:lucent"), 200, 403),
        (client.access_token("write:issues"), 403, 200),
        (client.access_token("write:issues read:lucent"), 200, 200),
    ] {
        let answer = client.list_issues(&key);
        assert_eq!(answer.status, reads, "{}", &key[..12]);
        if reads == 403 {
            assert_eq!(answer.json(), json!({"error": "Missing required scope: read:lucent"}));
        }
        let answer = client.set_status(&key, "issue_1", "resolved");
        assert_eq!(answer.status, writes, "{}", &key[..12]);
        if writes == 403 {
            assert_eq!(answer.json(), json!({"error": "Missing required scope: write:issues"}));
        }
    }
}

#[test]
fn tenants_are_isolated_whatever_the_request_contains() {
    let client = Client::start();
    let both = ["read:lucent", "write:issues"];
    let theirs = client.mint(&json!({
        "kind": "luc_api_", "name": "theirs", "owner": "org_b", "scopes": both,
    }));
    let (own, theirs) = (client.given("write_key"), theirs["key"].as_str().unwrap());
    let ids = |answer: Response| -> Vec<String> {
        assert_eq!(answer.status, 200);
        assert_eq!(members(&answer.json()), ["issues"]);
        let issues = answer.json()["issues"].as_array().unwrap().clone();
        assert!(issues.iter().all(|issue| issue["status"].is_string()));
        issues.iter().map(|issue| issue["id"].as_str().unwrap().to_owned()).collect()
    };
    let (own_ids, their_ids) = (ids(client.list_issues(own)), ids(client.list_issues(theirs)));
    assert!(!own_ids.is_empty() && !their_ids.is_empty());
    assert!(own_ids.iter().all(|id| !their_ids.contains(id)));
    for query in ["organization=org_b", "org=org_b&organization_id=org_b&owner=org_b", "api_key=x"]
    {
        let request = Request::get(&format!("{ISSUES}?{query}")).header("X-Organization", "org_b");
        let answer = client.with_token(own, request.json(&json!({"organization": "org_b"})));
        assert_eq!(ids(answer), own_ids, "{query}");
    }
    let change = json!({"status": "resolved", "organization": "org_b", "owner": "org_b"});
    let patch = |key, id: &str| {
        let request = Request::new("PATCH", &format!("{ISSUES}/{id}?organization=org_b"));
        client.with_token(key, request.json(&change))
    };
    let missing = patch(own, "issue_unknown");
    assert_eq!((missing.status, missing.json()), (404, json!({"error": "No such issue"})));
    assert_eq!(without_date(&patch(own, &their_ids[0])), without_date(&missing));
    let changed = patch(own, &own_ids[0]);
    assert_eq!(changed.status, 200);
    assert_eq!(changed.json()["status"], "resolved");
    assert_eq!(changed.json()["id"], *own_ids[0]);
    let own_issues = client.list_issues(own).json();
    assert_eq!(
        own_issues["issues"][0],
        changed.json(),
        "in the same place, with the reported content"
    );
    let their_issues = client.list_issues(theirs).json();
    assert!(!their_issues.to_string().contains("resolved"), "{their_issues}");

    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("[]", 422),
        ("{}", 422),
        (r#"{"status":null}"#, 422),
        (r#"{"status":""}"#, 422),
        (r#"{"status":"a\nb"}"#, 422),
        (&json!({"status": "x".repeat(65)}).to_string(), 422),
    ] {
        let request = Request::new("PATCH", &format!("{ISSUES}/{}", own_ids[0])).body(body);
        let answer = client.with_token(own, request);
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(members(&answer.json()), ["error"]);
    }
    assert_eq!(client.list_issues(own).json(), own_issues);
}

#[test]
fn a_client_receives_a_one_hour_token_with_the_requested_scopes() {
    let client = Client::start();
    let granted = client.grant(&[("scope", "write:issues read:lucent")]);
    assert_eq!(granted.status, 200);
    assert_eq!(granted.headers("cache-control"), ["no-store"]);
    assert_eq!(granted.headers("pragma"), ["no-cache"]);
    let answer = granted.json();
    assert_eq!(members(&answer), ["access_token", "expires_in", "scope", "token_type"]);
    assert_eq!(answer["expires_in"], 3_600);
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "read:lucent write:issues");
    let token = answer["access_token"].as_str().unwrap();
    assert!(KEY.is_match(token) && token.starts_with("luc_oat_"), "{token}");
    let row = client.row_of(token);
    assert_eq!((&row["owner"], &row["kind"]), (&json!("org_a"), &json!("luc_oat_")));

    // Basic in any case, and the form may repeat the same client id.
    for (scheme, more) in [
        ("Basic", vec![]),
        ("basic", vec![]),
        ("BASIC ", vec![]),
        ("Basic", vec![("client_id", client.given("client_id"))]),
    ] {
        let request =
            client.by_basic(scheme, client.given("client_id"), client.given("client_secret"));
        let form = [vec![("grant_type", "client_credentials"), ("scope", "read:lucent")], more];
        let answer = client.call(with_form(request, &form.concat()));
        assert_eq!(answer.status, 200, "{scheme}: {answer:?}");
    }
    // Whatever the request contains, the organization is the client's.
    let more = [("scope", "read:lucent"), ("organization", "org_b"), ("owner", "org_b")];
    let token = client.grant(&more).json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(client.row_of(&token)["owner"], "org_a");
}

#[test]
fn invalid_token_requests_return_rfc_6749_errors() {
    let client = Client::start();
    let (id, secret) = (client.given("client_id"), client.given("client_secret"));
    let grant = ("grant_type", "client_credentials");
    let (scope, id, secret) =
        (("scope", "read:lucent"), ("client_id", id), ("client_secret", secret));
    let other_secret = format!("luc_cs_{}", "0".repeat(64));
    let unknown_id = "0".repeat(32);
    for (form, status, error) in [
        (vec![grant, id, secret], 400, "invalid_scope"),
        (vec![grant, id, secret, ("scope", "")], 400, "invalid_scope"),
        (vec![grant, id, secret, ("scope", " ")], 400, "invalid_scope"),
        (vec![grant, id, secret, ("scope", "admin")], 400, "invalid_scope"),
        (vec![grant, id, secret, ("scope", "read:lucent admin")], 400, "invalid_scope"),
        (vec![grant, id, secret, ("scope", "READ:LUCENT")], 400, "invalid_scope"),
        (vec![grant, id, secret, ("scope", "read:lucent  write:issues")], 400, "invalid_scope"),
        (vec![grant, id, secret, ("scope", "read:lucent,write:issues")], 400, "invalid_scope"),
        (vec![grant, id, secret, scope, scope], 400, "invalid_request"),
        (vec![grant, id, secret, scope, ("scope", "admin")], 400, "invalid_request"),
        (vec![grant, grant, id, secret, scope], 400, "invalid_request"),
        (vec![id, secret, scope], 400, "invalid_request"),
        (vec![("grant_type", ""), id, secret, scope], 400, "invalid_request"),
        (vec![("grant_type", "password"), id, secret, scope], 400, "unsupported_grant_type"),
        (
            vec![("grant_type", "CLIENT_CREDENTIALS"), id, secret, scope],
            400,
            "unsupported_grant_type",
        ),
        (vec![grant, scope], 401, "invalid_client"),
        (vec![grant, id, scope], 401, "invalid_client"),
        (vec![grant, secret, scope], 401, "invalid_client"),
        (vec![grant, id, ("client_secret", &other_secret), scope], 401, "invalid_client"),
        (vec![grant, id, ("client_secret", "x"), scope], 401, "invalid_client"),
        (vec![grant, ("client_id", &unknown_id), secret, scope], 401, "invalid_client"),
        (vec![grant, id, ("client_secret", client.given("api_key")), scope], 401, "invalid_client"),
    ] {
        let answer = client.call(with_form(Request::post(TOKEN), &form));
        assert_eq!((answer.status, answer.json()), (status, json!({ "error": error })), "{form:?}");
        assert_eq!(answer.headers("cache-control"), ["no-store"]);
    }
    let form = [grant, scope];
    for (request, status, error) in [
        (client.by_basic("Basic", id.1, &other_secret), 401, "invalid_client"),
        (client.by_basic("Basic", &unknown_id, secret.1), 401, "invalid_client"),
        (Request::post(TOKEN).header("Authorization", "Basic !"), 401, "invalid_client"),
        (Request::post(TOKEN).header("Authorization", "Basic eHh4"), 401, "invalid_client"),
        (
            Request::post(TOKEN).header("Authorization", format!("Bearer {}", secret.1)),
            401,
            "invalid_client",
        ),
        (
            client.by_basic("Basic", id.1, secret.1).header("Authorization", "Basic eDp5"),
            400,
            "invalid_request",
        ),
    ] {
        let answer = client.call(with_form(request, &form));
        assert_eq!((answer.status, answer.json()), (status, json!({ "error": error })));
    }
    // Two authentication methods in one request, and parameters outside the form.
    let basic = || client.by_basic("Basic", id.1, secret.1);
    let text = encode(&[grant, scope, id, secret]);
    for request in [
        with_form(basic(), &[grant, scope, id, secret]),
        with_form(basic(), &[grant, scope, ("client_id", &unknown_id)]),
        Request::post(&format!("{TOKEN}?{text}")),
        Request::post(TOKEN).header("Content-Type", "text/plain").body(&text),
        Request::post(TOKEN).json(&json!({"grant_type": "client_credentials"})),
    ] {
        let answer = client.call(request);
        assert_eq!((answer.status, answer.json()), (400, json!({"error": "invalid_request"})));
    }
    assert_eq!(client.call(Request::get(TOKEN)).status, 405);
    let rows = client.rows();
    assert!(rows.iter().all(|row| row["kind"] != "luc_oat_"), "no token was minted");
}

#[test]
fn a_token_is_rejected_from_its_expiry_on() {
    given_time(|seconds| {
        let client = Client::start_with(&[("TOKEN_SECONDS", &seconds.to_string())]);
        let (clock, lifetime) = (SystemClock::new(), Duration::from_secs(seconds));
        let before = clock.now();
        let answer = client.grant(&[("scope", "read:lucent")]).json();
        let after = clock.now();
        assert_eq!(answer["expires_in"], seconds);
        // A token minted by an administrator behaves the same.
        let minted = client.mint(&json!({
            "kind": "luc_oat_", "name": "by hand", "owner": "org_a", "scopes": ["read:lucent"],
        }));
        let minted_after = clock.now();
        let token = answer["access_token"].as_str().unwrap();
        let request = || client.list_issues(token);
        let refused = accepted_until(before + lifetime, after + lifetime, request)?;
        assert_eq!(refused.json(), json!({"error": "Missing or invalid bearer token"}));
        assert_eq!(client.row_of(token)["status"], "expired");
        let request = || client.list_issues(minted["key"].as_str().unwrap());
        // It may have expired while the test waited for the first one.
        let _seen = accepted_until(after + lifetime, minted_after + lifetime, request);
        Some(())
    });
}

#[test]
fn a_legacy_key_is_accepted_never_minted_and_rotates_to_an_api_key() {
    given_time(|seconds| {
        let client = Client::start_with(&[("GRACE_SECONDS", &seconds.to_string())]);
        let old = client.given("legacy_key");
        let before_rotation = client.list_issues(old);
        assert_eq!(before_rotation.status, 200);
        let refused = json!({"kind": "luc_mcp_", "name": "n", "owner": "org_a"});
        assert_eq!(client.as_admin(Request::post(KEYS).json(&refused)).status, 422);

        let row = client.row_of(old);
        assert_eq!(row["kind"], "luc_mcp_");
        let path = format!("{KEYS}/{}/rotate", row["id"].as_str().unwrap());
        let (clock, grace) = (SystemClock::new(), Duration::from_secs(seconds));
        let before = clock.now();
        let answer = client.as_admin(Request::post(&path));
        let after = clock.now();
        assert_eq!(answer.status, 200);
        let rotated = answer.json();
        assert_eq!(rotated["id"], row["id"]);
        assert_eq!((&rotated["kind"], &rotated["scopes"]), (&json!("luc_api_"), &row["scopes"]));
        let new = rotated["key"].as_str().unwrap();
        assert!(KEY.is_match(new) && new.starts_with("luc_api_"), "{new}");
        assert_eq!(client.list_issues(new).json(), before_rotation.json());
        let refused = accepted_until(before + grace, after + grace, || client.list_issues(old))?;
        assert_eq!(refused.headers("www-authenticate"), [READ_CHALLENGE]);
        assert_eq!(client.list_issues(new).status, 200);
        assert_eq!(client.rows().iter().filter(|row| row["kind"] == "luc_mcp_").count(), 0);
        Some(())
    });
}

#[test]
fn the_admin_api_requires_the_admin_token() {
    let client = Client::start();
    let token = client.given("admin_token").to_owned();
    let id = client.rows()[0]["id"].as_str().unwrap().to_owned();
    let requests = || {
        [
            Request::get(KEYS),
            Request::post(KEYS).json(&json!({"kind": "luc_pk_", "name": "n", "owner": "o"})),
            Request::post(KEYS).body("not JSON"),
            Request::post(&format!("{KEYS}/{id}/rotate")),
            Request::post(&format!("{KEYS}/{id}/revoke")),
            Request::new("PUT", "/admin/owners/org_a").json(&json!({"tier": "higher"})),
            Request::new("DELETE", KEYS),
        ]
    };
    for line in [
        None,
        Some("Bearer".to_owned()),
        Some(token.clone()),
        Some(format!("Bearer {token}0")),
        Some(format!("Bearer {}", &token[..token.len() - 1])),
        Some(format!("Bearer {}", token.to_uppercase())),
        Some(format!("Basic {token}")),
        Some(format!("Bearer {}", client.given("write_key"))),
        Some(format!("Bearer {}", client.given("public_key"))),
    ] {
        for request in requests() {
            let request = match &line {
                None => request,
                Some(line) => request.header("Authorization", line),
            };
            let answer = client.call(request);
            assert_eq!(answer.status, 401, "{line:?}");
            assert_eq!(members(&answer.json()), ["error"]);
            assert_eq!(answer.headers("www-authenticate"), [ADMIN_CHALLENGE]);
        }
    }
    let twice = Request::get(KEYS).header("Authorization", format!("Bearer {token}"));
    assert_eq!(client.call(twice.header("Authorization", "Bearer x")).status, 400);
    assert_eq!(client.as_admin(Request::new("DELETE", KEYS)).status, 405);
    assert_eq!(client.rows().len(), 4, "nothing was minted, and the token is in no listing");
    assert_eq!(client.ingest(client.given("public_key")).status, 202);
}

#[test]
fn a_minted_key_is_returned_once_and_listed_by_its_prefix() {
    let client = Client::start();
    let clock = SystemClock::new();
    let before = clock.now();
    let answer = client.as_admin(Request::post(KEYS).json(&json!({
        "kind": "luc_api_", "name": "Ärzte 😀", "owner": "org_new", "id": "x", "key": "mine",
        "tier": "enterprise", "requests": 7, "created_at": 0,
    })));
    assert_eq!(answer.status, 201);
    assert_eq!(answer.headers("cache-control"), ["no-store"]);
    let minted = answer.json();
    let with_key: BTreeSet<&str> = ROW.into_iter().chain(["key"]).collect();
    assert_eq!(members(&minted), with_key.into_iter().collect::<Vec<_>>());
    let key = minted["key"].as_str().unwrap();
    assert!(KEY.is_match(key), "{minted}");
    let mut row = minted.clone();
    row.as_object_mut().unwrap().remove("key");
    assert_between(before, instant(&minted["created_at"]), clock.now());
    assert_eq!(
        row,
        json!({
            "id": minted["id"], "created_at": minted["created_at"], "name": "Ärzte 😀",
            "owner": "org_new", "kind": "luc_api_", "prefix": key[.."luc_api_".len() + 8],
            "scopes": ["read:lucent"], "tier": "standard", "status": "active",
            "requests": 0, "last_used_at": null,
        })
    );
    assert_eq!(client.row_of(key), row, "the same without the key");
    let listing = client.as_admin(Request::get(KEYS)).json();
    assert_eq!(members(&listing), ["keys"]);
    let shown = listing.to_string();
    for key in [key, client.given("public_key"), client.given("legacy_key")] {
        assert!(!shown.contains(&key[..17]), "no more than the prefix");
    }
    assert_eq!(client.list_issues(key).json(), json!({"issues": []}));

    // The tier belongs to the owner and applies to all its keys.
    let sister = client.mint(&json!({"kind": "luc_pk_", "name": "s", "owner": "org_new"}));
    let answer = client.set_tier("org_new", "enterprise");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"owner": "org_new", "tier": "enterprise"}));
    for key in [key, sister["key"].as_str().unwrap()] {
        assert_eq!(client.row_of(key)["tier"], "enterprise");
    }
    let third = client.mint(&json!({"kind": "luc_pk_", "name": "t", "owner": "org_new"}));
    assert_eq!(third["tier"], "enterprise");
    assert_eq!(client.row_of(client.given("public_key"))["tier"], "standard");
    for tier in [json!({"tier": "gold"}), json!({"tier": null}), json!({}), json!("higher")] {
        let request = Request::new("PUT", "/admin/owners/org_new").json(&tier);
        assert_eq!(client.as_admin(request).status, 422, "{tier}");
    }
}

#[test]
fn invalid_mint_requests_are_rejected() {
    let client = Client::start();
    let count = client.rows().len();
    for (body, status) in [
        (json!({"kind": "luc_mcp_", "name": "n", "owner": "o"}), 422),
        (json!({"kind": "luc_pk_", "name": "n", "owner": "o", "scopes": ["read:lucent"]}), 422),
        (json!({"kind": "luc_pk_", "name": "n", "owner": "o", "scopes": ["write:issues"]}), 422),
        (json!({"kind": "luc_api_", "name": "n", "owner": "o", "scopes": ["admin"]}), 422),
        (json!({"kind": "luc_api_", "name": "n", "owner": "o", "scopes": ["a b"]}), 422),
        (json!({"kind": "luc_api_", "name": "n", "owner": "o", "scopes": [""]}), 422),
        (json!({"kind": "luc_api_", "name": "n", "owner": "o", "scopes": "read:lucent"}), 422),
        (json!({"kind": "luc_xyz_", "name": "n", "owner": "o"}), 422),
        (json!({"kind": "luc_cs_", "name": "n", "owner": "o"}), 422),
        (json!({"kind": "admin_", "name": "n", "owner": "o"}), 422),
        (json!({"kind": "", "name": "n", "owner": "o"}), 422),
        (json!({"kind": "luc_api_", "name": "", "owner": "o"}), 422),
        (json!({"kind": "luc_api_", "name": "n", "owner": ""}), 422),
        (json!({"kind": "luc_api_", "name": "n\n", "owner": "o"}), 422),
        (json!({"kind": "luc_api_", "name": "n", "owner": "x".repeat(129)}), 422),
        (json!({"kind": "luc_api_", "name": "n"}), 422),
        (json!([]), 422),
    ] {
        let answer = client.as_admin(Request::post(KEYS).json(&body));
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(members(&answer.json()), ["error"], "{body}");
    }
    for (body, status) in [("", 400), ("{", 400), (&*" ".repeat(1 << 17), 413)] {
        assert_eq!(client.as_admin(Request::post(KEYS).body(body)).status, status);
    }
    let empty = json!({"kind": "luc_pk_", "name": "n", "owner": "o", "scopes": []});
    assert_eq!(client.mint(&empty)["scopes"], json!([]));
    assert_eq!(client.rows().len(), count + 1);
}

#[test]
fn rotation_keeps_the_id_and_revocation_ends_every_secret_immediately() {
    let client = Client::start();
    let unknown = "0".repeat(32);
    for id in [&*unknown, "x", "%20"] {
        for action in ["rotate", "revoke"] {
            let answer = client.as_admin(Request::post(&format!("{KEYS}/{id}/{action}")));
            assert_eq!(answer.status, 404, "{id} {action}");
            assert_eq!(members(&answer.json()), ["error"]);
        }
    }
    let minted = client.mint(&json!({"kind": "luc_api_", "name": "k", "owner": "org_a"}));
    let path = format!("{KEYS}/{}", minted["id"].as_str().unwrap());
    let (clock, day) = (SystemClock::new(), Duration::from_secs(86_400));
    let before = clock.now();
    let answer = client.as_admin(Request::post(&format!("{path}/rotate")));
    let after = clock.now();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers("cache-control"), ["no-store"]);
    let rotated = answer.json();
    let more: BTreeSet<&str> = ROW.into_iter().chain(["key", "previous_valid_until"]).collect();
    assert_eq!(members(&rotated), more.into_iter().collect::<Vec<_>>());
    assert_eq!(rotated["id"], minted["id"]);
    assert_between(before + day, instant(&rotated["previous_valid_until"]), after + day);
    let keys = [&minted["key"], &rotated["key"]].map(|key| key.as_str().unwrap());
    assert_ne!(keys[0], keys[1]);
    assert_eq!(keys.map(|key| client.list_issues(key).status), [200, 200]);
    let row = client.row_of(keys[1]);
    assert_eq!(row["requests"], 2, "both secrets belong to one key");

    let revoke = || client.as_admin(Request::post(&format!("{path}/revoke")));
    let answer = revoke();
    assert_eq!((answer.status, &*answer.body), (204, &b""[..]));
    assert_eq!(keys.map(|key| client.list_issues(key).status), [401, 401]);
    assert_eq!(revoke().status, 204, "again");
    assert_eq!(client.as_admin(Request::post(&format!("{path}/rotate"))).status, 409);
    let after = client.row_of(keys[1]);
    assert_eq!(after["status"], "revoked");
    assert_eq!(after["requests"], 2, "refused requests are not counted");
    assert_eq!(after["last_used_at"], row["last_used_at"]);
}

#[test]
fn usage_is_counted_per_key() {
    let client = Client::start();
    let clock = SystemClock::new();
    let before = clock.now();
    let (public, read) = (client.given("public_key"), client.given("api_key"));
    for _ in 0..102 {
        client.ingest(public);
    }
    client.list_issues(read);
    client.set_status(read, "issue_1", "closed");
    client.list_issues(&format!("luc_api_{}", "0".repeat(64)));
    let (public, read) = (client.row_of(public), client.row_of(read));
    assert_eq!(public["requests"], 102, "throttled requests count too, so that a spike is visible");
    assert_eq!(read["requests"], 2, "forbidden requests count too; requests without a key do not");
    for row in [public, read] {
        assert_between(before, instant(&row["last_used_at"]), clock.now());
    }
    let unused = client.row_of(client.given("write_key"));
    assert_eq!((&unused["requests"], &unused["last_used_at"]), (&json!(0), &Value::Null));
}

#[test]
fn an_unknown_path_or_method_returns_a_json_error() {
    let client = Client::start();
    for path in ["/", "/api/v1/issues/", "/api/v2/issues", "/admin", "/admin/keys/x/y"] {
        let answer = client.call(Request::get(path));
        assert_eq!((answer.status, answer.json()), (404, json!({"error": "No such route"})));
    }
    for (method, path, allow) in [
        ("DELETE", ISSUES, "GET,HEAD"),
        ("GET", "/api/v1/issues/issue_1", "PATCH"),
        ("PUT", TOKEN, "POST"),
    ] {
        let answer = client.call(Request::new(method, path));
        assert_eq!((answer.status, answer.json()), (405, json!({"error": "Method not allowed"})));
        assert_eq!(answer.headers("allow"), [allow]);
    }
}

#[test]
fn the_log_contains_no_key_no_token_and_no_client_input() {
    let client = Client::start();
    let given =
        ["public_key", "api_key", "write_key", "legacy_key", "client_secret", "admin_token"];
    let mut secrets: Vec<String> = given.map(|member| client.given(member).to_owned()).to_vec();
    let minted = client.mint(&json!({"kind": "luc_api_", "name": "canary", "owner": "canary"}));
    secrets.push(minted["key"].as_str().unwrap().to_owned());
    secrets.push(client.access_token("read:lucent"));
    for key in &secrets {
        client.ingest(key);
        client.list_issues(key);
        client.call(Request::post(&format!("{REPLAY}?api_key={key}&canary={key}")).body(key));
        client.call(Request::get(&format!("/{key}/canary")));
        client.call(Request::new(key, REPLAY));
        client.set_status(key, key, "canary");
        client.call(with_form(Request::post(TOKEN), &[("client_id", key), ("client_secret", key)]));
        client.as_admin(Request::post(&format!("{KEYS}/{key}/rotate")));
        client.as_admin(Request::new("PUT", &format!("/admin/owners/{key}")).body("canary"));
        client.as_admin(Request::post(KEYS).json(&json!({"kind": key, "name": key, "owner": key})));
    }
    let (status, stdout, log) = client.service.end_by("INT");
    assert_eq!((status.code(), &*stdout), (Some(0), ""));
    assert!(log.contains("POST /api/sdk/replay 202"), "{log}");
    assert!(log.contains("POST /api/sdk/replay 401: key refused"), "{log}");
    assert!(!log.contains("canary"), "{log}");
    for key in secrets {
        let body = key.rsplit_once('_').unwrap().1;
        assert!(!log.contains(&body[9..25]), "{log}");
    }
}

/// A client that has read the start line of its own service.
struct Client {
    service: Service,
}

impl Client {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(environment: &[(&str, &str)]) -> Self {
        Self { service: LUCENT.start(environment) }
    }

    fn given(&self, member: &str) -> &str {
        self.service.given(member)
    }

    /// Sends a request and asserts rules for all responses: a 401 has one challenge with a
    /// parameter, a success has none, and scripts of every origin can read responses of ingest.
    fn call(&self, request: Request) -> Response {
        let ingest = request.target().split('?').next() == Some(REPLAY);
        let response = http::send(self.service.address(), request);
        let challenges = response.headers("www-authenticate");
        match response.status {
            401 => {
                let [challenge] = challenges[..] else {
                    panic!("expected one challenge: {response:?}")
                };
                let known = [
                    INGEST_CHALLENGE,
                    READ_CHALLENGE,
                    WRITE_CHALLENGE,
                    ADMIN_CHALLENGE,
                    CLIENT_CHALLENGE,
                ];
                assert!(known.contains(&challenge), "{challenge}");
            }
            400 => {}
            _ => assert!(challenges.is_empty(), "{response:?}"),
        }
        assert_eq!(response.headers("retry-after").len(), usize::from(response.status == 429));
        let origins = response.headers("access-control-allow-origin");
        if ingest {
            assert_eq!(origins, ["*"], "{response:?}");
        } else {
            assert!(origins.is_empty(), "{response:?}");
        }
        if ingest && response.headers("access-control-allow-methods").is_empty() {
            assert_eq!(response.headers("access-control-expose-headers"), ["retry-after"]);
        }
        response
    }

    fn ingest(&self, key: impl AsRef<[u8]>) -> Response {
        self.call(Request::post(REPLAY).header("X-Lucent-Api-Key", key).body("{}"))
    }

    fn with_token(&self, token: &str, request: Request) -> Response {
        self.call(request.header("Authorization", format!("Bearer {token}")))
    }

    fn list_issues(&self, token: &str) -> Response {
        self.with_token(token, Request::get(ISSUES))
    }

    fn set_status(&self, token: &str, id: &str, status: &str) -> Response {
        let request = Request::new("PATCH", &format!("{ISSUES}/{id}"));
        self.with_token(token, request.json(&json!({ "status": status })))
    }

    fn as_admin(&self, request: Request) -> Response {
        self.with_token(self.given("admin_token"), request)
    }

    fn rows(&self) -> Vec<Value> {
        let answer = self.as_admin(Request::get(KEYS));
        assert_eq!(answer.status, 200);
        let rows = answer.json()["keys"].as_array().expect("rows").clone();
        assert!(rows.iter().all(|row| members(row) == ROW), "{rows:?}");
        rows
    }

    /// Returns the row of a key, found by its displayable prefix.
    fn row_of(&self, key: &str) -> Value {
        let start = key.rfind('_').expect("a prefix") + 1;
        let rows = self.rows();
        let row = rows.iter().find(|row| row["prefix"] == key[..start + 8]);
        row.unwrap_or_else(|| panic!("no row in {rows:?}")).clone()
    }

    fn mint(&self, key: &Value) -> Value {
        let answer = self.as_admin(Request::post(KEYS).json(key));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    fn set_tier(&self, owner: &str, tier: &str) -> Response {
        let request = Request::new("PUT", &format!("/admin/owners/{owner}"));
        self.as_admin(request.json(&json!({ "tier": tier })))
    }

    /// Requests a token with a form of the required parameters and these.
    fn grant(&self, more: &[(&str, &str)]) -> Response {
        let (id, secret) = (self.given("client_id"), self.given("client_secret"));
        let needed =
            [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
        self.call(with_form(Request::post(TOKEN), &[&needed, more].concat()))
    }

    fn access_token(&self, scope: &str) -> String {
        let answer = self.grant(&[("scope", scope)]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    fn by_basic(&self, scheme: &str, id: &str, secret: &str) -> Request {
        let credentials = base64(format!("{id}:{secret}").as_bytes());
        Request::post(TOKEN).header("Authorization", format!("{scheme} {credentials}"))
    }
}

fn with_form(request: Request, form: &[(&str, &str)]) -> Request {
    request.header("Content-Type", "application/x-www-form-urlencoded").body(encode(form))
}

fn encode(form: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        let bytes = text.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            b' ' => "+".to_owned(),
            _ => format!("%{byte:02X}"),
        });
        bytes.collect()
    };
    let pairs = form.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    pairs.collect::<Vec<_>>().join("&")
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
