//! What a decision costs over loopback, beside a bare `INCR` and a sliding window in a sorted set.
//!
//! `cargo bench -p keyward-redis` starts a server of its own and prints the tables of
//! `docs/BENCHMARKS.md`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use keyward::{ManualClock, Quotas, Timestamp, limit::LimitKey};
use keyward_redis::{
    BootClock, Fallback, LeaseConfig, LeasedLimiter, NodeClock, RedisLimiter, RemoteNames,
};
use redis::aio::MultiplexedConnection;
use support::{
    Server, pause, servers,
    traffic::{Random, quota_of},
};

const KEYS: u64 = 1_000;
const ROUNDS: usize = 9;
const CALLS: usize = 3_000;
const TASKS: u64 = 64;

/// As it is usually written: one script, a member for each request.
const SORTED_SET: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - ARGV[2] * 1000)
if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('ZADD', KEYS[1], now, ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
return 0";

fn main() {
    if !servers() {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    let server = Server::start(&[]);
    let client = server.client();
    let connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let bench = Bench::new(connection).await;

    println!("one after the other, microseconds ({ROUNDS} rounds by turns of {CALLS} calls):");
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        times[0].push(bench.one_by_one(Bench::incr).await);
        times[1].push(bench.one_by_one(Bench::sorted_set).await);
        times[2].push(bench.one_by_one(Bench::exact).await);
        bench.flush().await;
    }
    // The fastest round of each: others share the machine.
    let best = times.map(|rounds| {
        let spread = rounds.iter().map(|times| times.mean).fold(0.0, f64::max);
        let best = rounds.into_iter().min_by(|a, b| a.mean.total_cmp(&b.mean)).expect("a round");
        (best, spread)
    });
    for (name, (times, slowest)) in ["INCR", "sorted set", "exact"].iter().zip(&best) {
        let Times { mean, p50, p99 } = times;
        println!(
            "  {name:<11} mean {mean:6.1}  p50 {p50:6.1}  p99 {p99:6.1}  slowest round's mean {slowest:6.1}"
        );
    }
    let [incr, sorted, exact] = best.map(|(times, _)| times);
    println!("  exact / INCR {:.2} (p50 {:.2})", exact.mean / incr.mean, exact.p50 / incr.p50);
    println!(
        "  exact / sorted set {:.2} (p50 {:.2})",
        exact.mean / sorted.mean,
        exact.p50 / sorted.p50
    );

    println!("{TASKS} at once on one connection, a second, and microseconds of one:");
    let mut rates = [const { Rate::NONE }; 3];
    for _ in 0..3 {
        rates[0] = rates[0].better_of(bench.at_once(Bench::incr).await);
        rates[1] = rates[1].better_of(bench.at_once(Bench::sorted_set).await);
        rates[2] = rates[2].better_of(bench.at_once(Bench::exact).await);
        bench.flush().await;
    }
    for (name, rate) in ["INCR", "sorted set", "exact"].iter().zip(rates) {
        rate.print(name);
    }

    println!("admissions a second, {KEYS} keys of 10,000 a second, {TASKS} at once:");
    let exact = bench.at_once(Bench::exact_large).await;
    bench.flush().await;
    let leased = bench.leased().await;
    exact.print("exact");
    leased.print("leased");
    println!("  ratio {:.1}", leased.a_second / exact.a_second);

    bench.flush().await;
    let [ours, sorted] = bench.memory().await;
    println!("bytes of a full key of 100 requests in 100 milliseconds (MEMORY USAGE):");
    println!("  exact {ours}, sorted set {sorted}, ratio {:.3}", ours as f64 / sorted as f64);
}

struct Times {
    mean: f64,
    p50: f64,
    p99: f64,
}

/// Many at once: how many are admitted in a second, and how long one takes, in microseconds.
#[derive(Clone, Copy)]
struct Rate {
    a_second: f64,
    p50: f64,
    p99: f64,
}

impl Rate {
    const NONE: Self = Self { a_second: 0.0, p50: 0.0, p99: 0.0 };

    fn of(admitted: u64, span: Duration, mut micros: Vec<f64>) -> Self {
        micros.sort_unstable_by(f64::total_cmp);
        let (p50, p99) = (micros[micros.len() / 2], micros[micros.len() * 99 / 100]);
        Self { a_second: admitted as f64 / span.as_secs_f64(), p50, p99 }
    }

    fn better_of(self, other: Self) -> Self {
        if other.a_second > self.a_second { other } else { self }
    }

    fn print(self, name: &str) {
        let Self { a_second, p50, p99 } = self;
        println!("  {name:<11} {a_second:9.0}  p50 {p50:8.2}  p99 {p99:8.2}");
    }
}

#[derive(Clone)]
struct Bench {
    connection: MultiplexedConnection,
    exact: RedisLimiter<MultiplexedConnection>,
    leased: LeasedLimiter<MultiplexedConnection>,
    sorted_set: String,
    hundred: Quotas,
    large: Quotas,
}

impl Bench {
    async fn new(mut connection: MultiplexedConnection) -> Self {
        let mut load = redis::cmd("SCRIPT");
        let sorted_set = load.arg("LOAD").arg(SORTED_SET).query_async(&mut connection).await;
        let exact = RedisLimiter::new(connection.clone(), Fallback::Refuse, tokio::time::sleep)
            .with_timeout(Duration::from_secs(5));
        let config = LeaseConfig::new(Duration::from_millis(250)).with_most(5_000).with_divisor(2);
        Self {
            leased: LeasedLimiter::new(exact.clone(), config),
            connection,
            exact,
            sorted_set: sorted_set.expect("a sum"),
            hundred: Quotas::from(quota_of(100, 60_000)),
            large: Quotas::from(quota_of(10_000, 1_000)),
        }
    }

    async fn incr(mut self, key: u64, _random: u64) -> bool {
        let count: u64 =
            redis::cmd("INCR").arg(key).query_async(&mut self.connection).await.expect("a count");
        count > 0
    }

    async fn sorted_set(mut self, key: u64, random: u64) -> bool {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sorted_set).arg(1).arg(format!("set:{{{key}}}")).arg(100).arg(60_000);
        // As long as a UUID.
        command.arg(format!("{random:016x}-{random:019}"));
        let admitted: u8 = command.query_async(&mut self.connection).await.expect("a decision");
        admitted == 1
    }

    async fn exact(self, key: u64, _random: u64) -> bool {
        let charged = self.exact.check(key_of(key), &self.hundred, 1, &clock()).await;
        charged.expect("a decision").decision.allowed
    }

    async fn exact_large(self, key: u64, _random: u64) -> bool {
        let charged = self.exact.check(key_of(key), &self.large, 1, &clock()).await;
        charged.expect("a decision").decision.allowed
    }

    async fn one_by_one<F>(&self, call: fn(Self, u64, u64) -> F) -> Times
    where
        F: Future<Output = bool>,
    {
        let mut random = Random(1);
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let (bench, key, other) = (self.clone(), random.below(KEYS), random.below(u64::MAX));
            let start = BootClock.now();
            call(bench, key, other).await;
            times.push((BootClock.now() - start).as_nanos() as f64 / 1_000.0);
        }
        times.sort_unstable_by(f64::total_cmp);
        let mean = times.iter().sum::<f64>() / CALLS as f64;
        Times { mean, p50: times[CALLS / 2], p99: times[CALLS * 99 / 100] }
    }

    async fn at_once<F>(&self, call: fn(Self, u64, u64) -> F) -> Rate
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let over = Arc::new(AtomicBool::new(false));
        let start = BootClock.now();
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (bench, over) = (self.clone(), over.clone());
                tokio::spawn(async move {
                    let (mut random, mut admitted, mut micros) = (Random(task), 0, Vec::new());
                    while !over.load(Ordering::Relaxed) {
                        let (key, other) = (random.below(KEYS), random.below(u64::MAX));
                        let start = BootClock.now();
                        let passed = call(bench.clone(), key, other).await;
                        micros.push((BootClock.now() - start).as_nanos() as f64 / 1_000.0);
                        admitted += u64::from(passed);
                    }
                    (admitted, micros)
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        over.store(true, Ordering::Relaxed);
        let (mut admitted, mut micros) = (0, Vec::new());
        for task in tasks {
            let (more, times) = task.await.expect("no panic");
            admitted += more;
            micros.extend(times);
        }
        Rate::of(admitted, BootClock.now() - start, micros)
    }

    async fn leased(&self) -> Rate {
        let (over, admitted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        // A moment to find out how much is used.
        let mut measured_from = Duration::ZERO;
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (bench, over, admitted) = (self.clone(), over.clone(), admitted.clone());
                tokio::spawn(async move {
                    let (mut random, mut micros) = (Random(task), Vec::new());
                    while !over.load(Ordering::Relaxed) {
                        for call in 0..64 {
                            let key = key_of(random.below(KEYS));
                            // One of so many is timed: reading the clock takes a part of such a call.
                            let start = (call == 0).then(|| BootClock.now());
                            let charged = bench.leased.check(key, &bench.large, 1, &clock()).await;
                            if let Some(start) = start {
                                micros.push((BootClock.now() - start).as_nanos() as f64 / 1_000.0);
                            }
                            let passed = charged.expect("a decision").decision.allowed;
                            admitted.fetch_add(u64::from(passed), Ordering::Relaxed);
                        }
                        tokio::task::yield_now().await;
                    }
                    micros
                })
            })
            .collect();
        for second in 0..2 {
            tokio::time::sleep(Duration::from_secs(1 + second)).await;
            if second == 0 {
                admitted.store(0, Ordering::Relaxed);
                measured_from = BootClock.now();
            }
        }
        let (all, span) = (admitted.load(Ordering::Relaxed), BootClock.now() - measured_from);
        over.store(true, Ordering::Relaxed);
        let mut micros = Vec::new();
        for task in tasks {
            micros.extend(task.await.expect("no panic"));
        }
        Rate::of(all, span, micros)
    }

    async fn memory(&self) -> [u64; 2] {
        for number in 0..100 {
            let mut random = Random(number);
            self.clone().exact(1, 0).await;
            self.clone().sorted_set(1, random.below(u64::MAX)).await;
            pause(Duration::from_millis(2));
        }
        let mut sizes = [0; 2];
        let name = RemoteNames::new("keyward").of(&key_of(1));
        for (size, name) in sizes.iter_mut().zip([name, b"set:{1}".to_vec()]) {
            let mut command = redis::cmd("MEMORY");
            command.arg("USAGE").arg(name);
            *size = command.query_async(&mut self.connection.clone()).await.expect("a size");
        }
        sizes
    }

    async fn flush(&self) {
        let mut connection = self.connection.clone();
        let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("flushed");
    }
}

fn key_of(number: u64) -> LimitKey {
    LimitKey::key(u128::from(number).to_le_bytes())
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_unix_secs(1_800_000_000))
}
