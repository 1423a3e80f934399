//! A server that is silent for a while, in time that the test sets: what the process's share admits.

mod support;

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use keyward::{Clock, Limiter, Quotas, Timestamp, limit::LimitKey};
use keyward_redis::{DecidedBy, Fallback, LeaseConfig, LeasedLimiter, RedisLimiter};
use redis::{Cmd, Pipeline, RedisFuture, Value, aio::ConnectionLike};
use support::{
    model::{Model, Take},
    traffic::quota_of,
};
use tokio::time::{Instant, sleep};

const LIMIT: u32 = 10;
const WINDOW: u64 = 1_000;
/// The server says nothing from the first to the second, in milliseconds since the start.
const SILENT: [u64; 2] = [1_000, 2_200];

/// The paused clock of the runtime, which every part of the test reads.
#[derive(Clone, Copy)]
struct Paused(Instant);

impl Paused {
    fn millis(self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
}

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_800_000_000_000 + self.millis())
    }
}

/// A server that decides as the script does, and replies after a millisecond or never.
#[derive(Clone)]
struct Silent {
    clock: Paused,
    model: Arc<Mutex<Model>>,
}

impl ConnectionLike for Silent {
    fn req_packed_command<'a>(&'a mut self, _command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            if (SILENT[0]..SILENT[1]).contains(&self.clock.millis()) {
                pending::<()>().await;
            }
            let take = Take { need: 1, want: 1, divisor: 1, lease: 0 };
            let now = self.clock.now().as_unix_millis();
            Ok(Value::BulkString(self.model.lock().unwrap().take(LIMIT, WINDOW, take, now)))
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        _pipeline: &'a Pipeline,
        _offset: usize,
        _count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

/// The instants of all admissions of one request a millisecond, and how many the process decided.
async fn admissions(timeout: u64, leased: bool) -> (Vec<u64>, u64) {
    let clock = Paused(Instant::now());
    let silent = Silent { clock, model: Arc::default() };
    let share = Fallback::local_share(1, Limiter::new(Default::default(), [1; 16]));
    let exact =
        RedisLimiter::new(silent, share, sleep).with_timeout(Duration::from_millis(timeout));
    let node = move || Duration::from_millis(clock.millis());
    let leases = LeasedLimiter::with_clock(exact.clone(), LeaseConfig::new(Duration::ZERO), node);
    let all = Arc::new(Mutex::new((Vec::new(), 0)));
    let mut tasks = Vec::new();
    for _ in 0..6_000 {
        let (exact, leases, all) = (exact.clone(), leases.clone(), Arc::clone(&all));
        tasks.push(tokio::spawn(async move {
            let quotas = Quotas::from(quota_of(LIMIT, WINDOW));
            let key = LimitKey::owner("a");
            let charged = if leased {
                leases.check(key, &quotas, 1, &clock).await.unwrap()
            } else {
                exact.check(key, &quotas, 1, &clock).await.unwrap()
            };
            let mut all = all.lock().unwrap();
            if charged.decision.allowed {
                all.0.push(clock.millis());
            }
            all.1 += u64::from(matches!(charged.by, DecidedBy::LocalShare(_)));
        }));
        sleep(Duration::from_millis(1)).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut all = all.lock().unwrap();
    (std::mem::take(&mut all.0), all.1)
}

/// The whole limit once by the server and once by the process: not once more for each request that
/// has waited so long that its `now` looks like that of a clock set back.
#[tokio::test(start_paused = true)]
async fn a_silent_server_admits_at_most_twice_the_limit_in_any_window() {
    for timeout in [50, 500, 999, 1_001, 1_200, 1_500, 4_000] {
        for leased in [false, true] {
            let (admitted, shared) = admissions(timeout, leased).await;
            let most = admitted
                .iter()
                .map(|from| {
                    admitted.iter().filter(|at| (*from..from + WINDOW).contains(*at)).count()
                })
                .max()
                .unwrap();
            println!(
                "{timeout} ms, leased {leased}: {most} within a second, {shared} by the share"
            );
            assert!(most <= 2 * LIMIT as usize, "{timeout} ms, leased {leased}: {most}");
            assert!(shared > 0 && admitted.len() >= 30, "{}", admitted.len());
        }
    }
}
