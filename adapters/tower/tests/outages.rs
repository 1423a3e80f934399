//! The log of an outage: one line a second for each kind, down to its cause, and which window refused.

mod support;

use std::{convert::Infallible, error::Error, fmt, future::ready, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use keyward::{
    Access, KeyStore, Quota,
    key::KeyId,
    limit::Limit,
    store::{Lookup, StoredKey},
};
use keyward_tower::ApiKeyLayer;
use support::*;
use tower::{Layer, ServiceExt, service_fn};
use tracing::Level;

/// Returns the events of this level and above.
fn logged(level: Level, work: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    log.text().lines().map(|line| line.trim().to_owned()).collect()
}

fn send<K: KeyStore + 'static>(layer: &ApiKeyLayer<K>, token: &str) -> u16 {
    let inner = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let request = request.body(()).unwrap();
    pollster::block_on(layer.layer(inner).oneshot(request)).unwrap().status().as_u16()
}

/// A database whose error states its kind, and whose source states the cause.
#[derive(Clone, Copy)]
struct NoTable;

#[derive(Debug)]
struct Refused(Cause);
#[derive(Debug)]
struct Cause;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database refused the statement")
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such table: keyward_keys")
    }
}

impl Error for Cause {}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl KeyStore for NoTable {
    type Error = Refused;

    async fn find(&self, _: &Lookup) -> Result<Option<StoredKey>, Refused> {
        Err(Refused(Cause))
    }

    async fn find_by_id(&self, _: KeyId) -> Result<Option<StoredKey>, Refused> {
        Err(Refused(Cause))
    }
}

#[test]
fn an_outage_is_one_line_a_second_with_its_cause_and_its_count() {
    let world = World::new();
    let token = world.key().token;
    let layer = world.keys_over(NoTable).require(Access::any_key()).unwrap();
    let reason =
        "the store failed: the database refused the statement: no such table: keyward_keys";
    let line = |count: u32| format!("ERROR cannot decide status=503 count={count} reason={reason}");
    let lines = logged(Level::ERROR, || {
        // 300 requests in three seconds, and then one that does not fail.
        for _ in 0..300 {
            assert_eq!(send(&layer, &token), 503);
            world.clock.advance(Duration::from_millis(10));
        }
        assert_eq!(send(&layer, "luci_"), 401);
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(send(&layer, "luci_"), 401);
        assert_eq!(send(&layer, "luci_"), 401);
    });
    // Every failure is in one of the lines: at 0 s, 1 s and 2 s, and what came after.
    assert_eq!(lines, [line(1), line(100), line(100), line(99)]);
}

#[test]
fn kinds_and_services_do_not_silence_each_other() {
    let world = World::with_gate(|gate| gate);
    let (token, other) = (world.key().token, World::new());
    let broken = world.keys_over(NoTable).require(Access::any_key()).unwrap();
    let foreign = other.gate.route(Access::any_key()).unwrap();
    let keys = world.keys_over(NoTable);
    let foreign = keys.require_by(move |_| foreign.clone()).unwrap();
    let lines = logged(Level::ERROR, || {
        for _ in 0..5 {
            assert_eq!(send(&broken, &token), 503);
            assert_eq!(send(&foreign, &token), 503);
        }
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("no such table") && lines[1].contains("another gate"), "{lines:#?}");
}

#[test]
fn a_refusal_names_the_window_that_refused() {
    let world = World::with_gate(|gate| {
        let quotas = [Quota::per_minute(1), Quota::per_day(1)];
        gate.with_limiter(limiter())
            .with_limit(Limit::new("minutes", quotas[0]))
            .with_limit(Limit::new("days", quotas[1]).per_owner())
    });
    let (token, neighbour) = (world.key().token, world.key().token);
    let access = || Access::any_key().with_limit("minutes").with_limit("days");
    let layer = world.keys().require(access()).unwrap();
    let lines = logged(Level::INFO, || {
        assert_eq!(send(&layer, &token), 200);
        assert_eq!(send(&layer, &neighbour), 429);
        world.clock.advance(Duration::from_secs(61));
        assert_eq!(send(&layer, &token), 429);
    });
    let refusals = lines.iter().filter(|line| line.contains("refused")).collect::<Vec<_>>();
    assert_eq!(refusals.len(), 2, "{lines:#?}");
    for line in refusals {
        assert!(line.contains("policy=days window=1/day"), "{line}");
        assert!(line.contains("the limit days (1/day"), "{line}");
    }
}
