//! Lucent's ingest from a real browser. A page on another origin sends like the SDK: with `fetch`
//! and the key in a header, and with `navigator.sendBeacon` and the key in the query. It reads
//! `Retry-After` when it is throttled.
//!
//! The test requires Chromium (Debian's package `chromium`; `support/browser.rs` lists the searched
//! places). Without Chromium the test reports that it did not run; with
//! `KEYWARD_REQUIRE_BROWSER=1`, as in CI, it fails.

mod support;

use std::{
    env,
    io::{self, Write},
    time::Duration,
};

use serde_json::{Value, json};
use support::{
    browser::{self, Browser},
    http::{self, Request},
    page::Page,
    service::{Example, Service},
    time::{A_DAY, wait_for},
};

static LUCENT: Example = Example::new("lucent");

/// Browsers start slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The script of the page. It reports each response as the script sees it, and a response that the
/// browser withholds as `blocked`.
const SCRIPT: &str = r#"
const replay = `${given.service}/api/sdk/replay`;
const send = async (url, options) => {
  try {
    const answer = await fetch(url, options);
    const seen = (name) => answer.headers.get(name);
    return {
      status: answer.status,
      body: await answer.json(),
      retry_after: seen("Retry-After"),
      date: seen("Date"),
    };
  } catch (error) {
    return { blocked: error.name };
  }
};
const post = (body, headers, query = "") => send(replay + query, { method: "POST", headers, body });
const gzip = async (text) => {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
};
const report = (seen) => fetch("/report", { method: "POST", body: JSON.stringify(seen) });

(async () => {
  const events = JSON.stringify({ events: [1, 2, 3] });
  const header = { "X-Lucent-Api-Key": given.fetch_key };
  const typed = { ...header, "Content-Type": "application/json" };
  const zipped = await gzip(events);
  const seen = { origin: location.origin };
  seen.with_header = await post(events, typed);
  seen.with_gzip = await post(zipped, { ...typed, "Content-Encoding": "gzip" });
  seen.with_query = await post(events, {}, `?api_key=${given.fetch_key}`);
  seen.without_key = await post(events, {});
  seen.unknown_key = await post(events, { "X-Lucent-Api-Key": "luc_pk_unknown" });
  seen.other_header = await post(events, { ...header, "X-Other": "1" });
  seen.other_method = await send(replay, { method: "PUT", headers: header, body: events });
  seen.data_api = await send(`${given.service}/api/v1/issues`, {
    headers: { Authorization: `Bearer ${given.api_key}` },
  });
  const beacon = `${replay}?api_key=${given.beacon_key}`;
  seen.beacons = [
    navigator.sendBeacon(beacon, events),
    navigator.sendBeacon(beacon, new Blob([zipped], { type: "text/plain" })),
  ];
  seen.sent = 3;
  do {
    seen.last = await post(events, typed);
    seen.sent += 1;
  } while (seen.last.status === 202 && seen.sent < 200);
  await report(seen);
})().catch((error) => report({ failed: String(error) }));
"#;

#[test]
fn a_cross_origin_page_can_send_events_and_read_retry_after() {
    let Some(executable) = browser::find() else { return not_run() };
    // A day, so that no request leaves the window however slowly the page sends them.
    let service = LUCENT.start(&[A_DAY]);
    let fetch_key = service.given("public_key").to_owned();
    let beacon_key = mint(&service, "beacon");
    let given = json!({
        "service": service.given("listening"),
        "fetch_key": fetch_key,
        "beacon_key": beacon_key,
        "api_key": service.given("api_key"),
    });
    let page = Page::serve(&format!(
        "<!doctype html><title>shop</title><script>const given = {given};{SCRIPT}</script>"
    ));
    assert_ne!(page.url().trim_end_matches('/'), service.given("listening"), "another origin");

    let browser = Browser::open(&executable, &page.url());
    let seen = page.report(PATIENCE).unwrap_or_else(|error| {
        panic!("no report ({error}) from {}: {}", executable.display(), browser.log());
    });

    let accepted = (json!(202), json!({"accepted": true}));
    let answer = |name: &str| (seen[name]["status"].clone(), seen[name]["body"].clone());
    assert_eq!(seen["origin"], page.url().trim_end_matches('/'), "{seen}");
    for name in ["with_header", "with_gzip", "with_query"] {
        assert_eq!(answer(name), accepted, "{name}: {seen}");
    }
    // Scripts can read refusals too.
    let error = |text: &str| (json!(401), json!({ "error": text }));
    assert_eq!(answer("without_key"), error("Missing API key"), "{seen}");
    assert_eq!(answer("unknown_key"), error("Invalid or revoked API key"), "{seen}");
    // The browser does not send what the preflight disallows, and hides responses without CORS
    // headers: this browser enforces the rules under test.
    for name in ["other_header", "other_method", "data_api"] {
        assert_eq!(seen[name], json!({"blocked": "TypeError"}), "{name}: {seen}");
    }
    // Of 101 requests in one window the last one is refused, with a Retry-After.
    assert_eq!(seen["sent"], 101, "{seen}");
    assert_eq!(answer("last"), (json!(429), json!({"error": "Rate limit exceeded"})), "{seen}");
    let retry_after: u64 = seen["last"]["retry_after"].as_str().unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&retry_after), "{seen}");
    assert_eq!(seen["last"]["date"], Value::Null, "only exposed headers are visible: {seen}");

    // Scripts cannot see the response to a beacon, but its key was used.
    assert_eq!(seen["beacons"], json!([true, true]), "{seen}");
    wait_for("both beacons", || requests(&service, &beacon_key) == 2);
    assert_eq!(requests(&service, &fetch_key), 101);
    // A request is logged when its response is sent, after it was counted.
    let logged = |line: &str| service.log().lines().filter(|other| *other == line).count();
    wait_for("the log", || logged("POST /api/sdk/replay 202") == 102);
    assert_eq!(logged("POST /api/sdk/replay 400"), 0, "{}", service.log());
}

/// Reports it directly to stderr, because the test harness captures the output of passing tests.
fn not_run() {
    let required = env::var_os("KEYWARD_REQUIRE_BROWSER").is_some_and(|value| value == "1");
    assert!(!required, "KEYWARD_REQUIRE_BROWSER=1, but chromium was not found");
    let message = "\nNOT RUN: browser_lucent needs chromium (CHROMIUM, or chromium on the path).\n";
    io::stderr().write_all(message.as_bytes()).expect("stderr");
}

fn mint(service: &Service, name: &str) -> String {
    let key = json!({"kind": "luc_pk_", "name": name, "owner": "org_a"});
    let answer = http::send(service.address(), as_admin(service, "POST").json(&key));
    assert_eq!(answer.status, 201);
    answer.json()["key"].as_str().expect("a key").to_owned()
}

fn requests(service: &Service, key: &str) -> u64 {
    let listing = http::send(service.address(), as_admin(service, "GET")).json();
    let rows = listing["keys"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["prefix"] == key[.."luc_pk_".len() + 8]);
    row.expect("its row")["requests"].as_u64().expect("a count")
}

fn as_admin(service: &Service, method: &str) -> Request {
    let token = format!("Bearer {}", service.given("admin_token"));
    Request::new(method, "/admin/keys").header("Authorization", token)
}
