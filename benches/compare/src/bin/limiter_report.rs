//! Measures the limiters in one run, prints a table in Markdown, and draws `docs/limiter.svg`:
//! `cargo run --release -p keyward-compare --bin limiter_report`. With an argument, only the rows
//! whose name contains it are measured, and nothing is drawn.
//!
//! The contenders alternate in short batches, so that other work of the machine affects all of them.
//! Before each measured batch a contender runs an unmeasured one, to have its own state in the caches
//! again. A figure is the median of the batches, and everything is measured twice.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::VecDeque,
    hint::black_box,
    num::NonZeroU32,
    sync::{
        Barrier,
        atomic::{AtomicIsize, Ordering},
    },
    time::{Duration, Instant},
};

use governor::clock::FakeRelativeClock;
use keyward::{
    Limiter, Quota, Quotas, Timestamp,
    limit::{LimitKey, LimiterConfig},
};
use keyward_compare::limiters::{
    Contender, Governor, Keyward, RateNet, Spread, Traffic, id_of, order,
};
use plotters::prelude::*;

fn main() {
    let only = std::env::args().nth(1);
    let wanted = |row: &&Row| only.as_ref().is_none_or(|part| row.name.contains(part));
    println!(
        "| ns a decision | keyward | governor 0.10.4 | rate-net 2.1.0 log | its token bucket | ratio | reach |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut drawn = Vec::new();
    for row in ROWS.iter().filter(wanted) {
        let [first, second] = measure(row);
        let ratios = [first, second].map(|[ours, governor, log, _]| match row.peer {
            Peer::Governor => ours / governor,
            Peer::Log => ours / log,
        });
        let [ours, governor, log, bucket] = first;
        println!(
            "| {} | {ours:.0} | {governor:.0} | {log:.0} | {bucket:.0} | {:.2}, {:.2} | {} |",
            row.name, ratios[0], ratios[1], row.reach
        );
        drawn.push((row.name, first));
    }
    if only.is_none() {
        bytes_and_bounds();
        draw(&drawn).expect("docs/limiter.svg can be written");
    }
}

struct Row {
    name: &'static str,
    keys: u32,
    spread: Spread,
    threads: usize,
    traffic: Traffic,
    clock: bool,
    peer: Peer,
    reach: &'static str,
}

#[derive(Clone, Copy)]
enum Peer {
    Governor,
    Log,
}

const HOT: Row = Row {
    name: "hot key",
    keys: 1,
    spread: Spread::InTurn,
    threads: 1,
    traffic: Traffic::Allowed,
    clock: false,
    peer: Peer::Governor,
    reach: "≤ 0.50",
};

const ROWS: [Row; 14] = [
    HOT,
    Row { name: "hot key, refused", traffic: Traffic::Refused, ..HOT },
    Row { name: "hot key, clock read", clock: true, reach: "≤ 0.90", ..HOT },
    Row { name: "hot key, 2 threads", threads: 2, ..HOT },
    Row { name: "1,024 keys in turn", keys: 1_024, ..HOT },
    Row { name: "1,024 keys at random", keys: 1_024, spread: Spread::Uniform, ..HOT },
    Row { name: "1,024 keys, refused", keys: 1_024, traffic: Traffic::Refused, ..HOT },
    Row { name: "1,024 keys, clock read", keys: 1_024, clock: true, reach: "≤ 0.90", ..HOT },
    Row { name: "1,024 keys in turn, 2 threads", keys: 1_024, threads: 2, ..HOT },
    Row {
        name: "1,024 in turn, to the log", keys: 1_024, peer: Peer::Log, reach: "≤ 0.30", ..HOT
    },
    Row {
        name: "2^20 keys, Zipf(1.0)",
        keys: 1 << 20,
        spread: Spread::Zipf,
        reach: "≤ 0.70",
        ..HOT
    },
    Row {
        name: "2^20 keys, uniform",
        keys: 1 << 20,
        spread: Spread::Uniform,
        reach: "≤ 1.20",
        ..HOT
    },
    Row {
        name: "2^20 keys, uniform, refused",
        keys: 1 << 20,
        spread: Spread::Uniform,
        traffic: Traffic::Refused,
        reach: "≤ 1.20",
        ..HOT
    },
    Row {
        name: "2^20, uniform, 2 threads",
        keys: 1 << 20,
        spread: Spread::Uniform,
        threads: 2,
        reach: "≤ 1.20",
        ..HOT
    },
];

/// Decisions in a batch. A batch is short, so that most are not interrupted on a busy machine. Those of
/// two threads are longer, so that the threads do run at once.
const fn batch(threads: usize) -> u64 {
    if threads == 1 { 1 << 12 } else { 1 << 16 }
}

/// The nanoseconds for one decision of each contender, measured twice.
fn measure(row: &Row) -> [[f64; 4]; 2] {
    let order = order(row.keys, row.spread, 1 << 20);
    let ours = Keyward::new(row.keys, row.traffic, row.clock);
    let governor = Governor::new(row.traffic);
    let log = RateNet::log(row.keys, row.traffic);
    let bucket = RateNet::token_bucket(row.traffic);
    let all: [&dyn Run; 4] = [&ours, &governor, &log, &bucket];
    let mut from = 0;
    // Until each key has sent about four requests.
    for _ in 0..(4 * u64::from(row.keys) / batch(1)).max(64) {
        for contender in all {
            contender.run(&order, 1, from);
        }
        from += batch(1);
    }
    let (steps, batches) = (batch(row.threads), if row.threads == 1 { 601 } else { 61 });
    [(); 2].map(|()| {
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..batches {
            for (contender, times) in all.iter().zip(&mut times) {
                // The first of two batches finds the caches full of other contenders' state, which
                // happens in no service, and is not measured.
                contender.run(&order, row.threads, from);
                times.push(contender.run(&order, row.threads, from + steps));
            }
            from += 2 * steps;
        }
        times.map(|mut times| {
            times.sort();
            times[times.len() / 2].as_nanos() as f64 / steps as f64
        })
    })
}

trait Run {
    /// Measures the batch of one thread; of several at once, divided by their number.
    fn run(&self, order: &[u32], threads: usize, from: u64) -> Duration;
}

impl<C: Contender> Run for C {
    fn run(&self, order: &[u32], threads: usize, from: u64) -> Duration {
        let work = |offset: usize| {
            let mut allowed = 0_u64;
            for step in from..from + batch(threads) {
                let key = order[(step as usize + offset) & (order.len() - 1)];
                allowed += u64::from(self.check(key, step));
            }
            black_box(allowed);
        };
        if threads == 1 {
            let start = Instant::now();
            work(0);
            return start.elapsed();
        }
        let barrier = Barrier::new(threads);
        let longest = std::thread::scope(|scope| {
            let spawn = |thread: usize| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    work(thread * 77_777);
                    start.elapsed()
                })
            };
            let running: Vec<_> = (0..threads).map(spawn).collect();
            running.into_iter().filter_map(|thread| thread.join().ok()).max()
        });
        longest.unwrap_or_default() / threads as u32
    }
}

/// Prints the table of the figures that do not vary from run to run.
fn bytes_and_bounds() {
    let [ours_6, ours_100] = [6, 100].map(|stamps| {
        bytes_a_key(|keys| {
            let config = LimiterConfig::default().with_max_keys(keys).with_shards(1);
            let limiter = Limiter::new(config, [9; 16]);
            let quotas = Quotas::single(Quota::per_minute(100));
            for key in 0..keys {
                let key = LimitKey::key(id_of(key).to_ne_bytes());
                for _ in 0..stamps {
                    let _ = limiter.check(key, &quotas, 1, Timestamp::from_unix_secs(1 << 30));
                }
            }
            limiter
        })
    });
    let governor = bytes_a_key(|keys| {
        let governor = Governor::new(Traffic::Allowed);
        for key in 0..keys {
            governor.check(key, 0);
        }
        governor
    });
    let [log_6, log_100] = [6, 100].map(|stamps| {
        bytes_a_key(|keys| {
            let log = RateNet::log(keys, Traffic::Refused);
            for key in 0..keys {
                for _ in 0..stamps {
                    log.check(key, 0);
                }
            }
            log
        })
    });
    println!();
    println!("| | keyward | governor 0.10.4 | rate-net 2.1.0 log |");
    println!("|---|---:|---:|---:|");
    println!("| bytes a key, 6 requests counted | {ours_6:.0} | {governor:.0} | {log_6:.0} |");
    println!(
        "| bytes a key, 100 requests counted | {ours_100:.0} | {governor:.0} | {log_100:.0} |"
    );
    println!(
        "| most admitted in any window of 100 | {} | {} | 100 by design |",
        ours_most(),
        governor_most()
    );
}

/// Returns the bytes that `fill` leaves allocated for each of 65,536 keys.
fn bytes_a_key<L>(fill: impl FnOnce(u32) -> L) -> f64 {
    const KEYS: u32 = 1 << 16;
    let before = HELD.load(Ordering::Relaxed);
    let filled = fill(KEYS);
    let bytes = HELD.load(Ordering::Relaxed) - before;
    drop(filled);
    bytes as f64 / f64::from(KEYS)
}

fn ours_most() -> usize {
    let limiter = Limiter::new(LimiterConfig::default(), [9; 16]);
    let quotas = Quotas::single(Quota::per_minute(100));
    most_in_any_window(|now| {
        let now = Timestamp::from_unix_millis((1 << 40) + now);
        limiter.check(LimitKey::owner("one"), &quotas, 1, now).is_ok_and(|answer| answer.allowed)
    })
}

fn governor_most() -> usize {
    let clock = FakeRelativeClock::default();
    let quota = governor::Quota::per_minute(NonZeroU32::new(100).unwrap());
    let governor = governor::RateLimiter::dashmap_with_clock(quota, clock.clone());
    let mut at = 0;
    most_in_any_window(|now| {
        clock.advance(Duration::from_millis(now - at));
        at = now;
        governor.check_key(&1_u64).is_ok()
    })
}

/// Sends requests until one is refused, at each millisecond of five minutes.
fn most_in_any_window(mut check: impl FnMut(u64) -> bool) -> usize {
    let mut admitted = VecDeque::new();
    let mut most = 0;
    for now in 0..300_000 {
        while check(now) {
            admitted.push_back(now);
        }
        while admitted.front().is_some_and(|&at| at + 60_000 <= now) {
            admitted.pop_front();
        }
        most = most.max(admitted.len());
    }
    most
}

/// Draws the bars of each row, keyward's in colour.
fn draw(rows: &[(&str, [f64; 4])]) -> Result<(), Box<dyn std::error::Error>> {
    const NAMES: [&str; 4] = ["keyward", "governor", "rate-net log", "rate-net token bucket"];
    const COLORS: [RGBColor; 4] = [
        RGBColor(32, 110, 200),
        RGBColor(150, 150, 150),
        RGBColor(185, 185, 185),
        RGBColor(215, 215, 215),
    ];
    const ROW: i32 = 58;
    std::fs::create_dir_all("docs")?;
    let height = rows.len() as i32 * ROW + 60;
    let root = SVGBackend::new("docs/limiter.svg", (860, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let text = |size: i32| ("sans-serif", size).into_font().color(&BLACK);
    for (at, (name, color)) in NAMES.iter().zip(COLORS).enumerate() {
        let left = 220 + at as i32 * 150;
        root.draw(&Rectangle::new([(left, 12), (left + 12, 24)], color.filled()))?;
        root.draw(&Text::new(*name, (left + 18, 12), text(14)))?;
    }
    root.draw(&Text::new("ns a decision", (10, 12), text(14)))?;
    for (row, (name, figures)) in rows.iter().enumerate() {
        let top = 40 + row as i32 * ROW;
        root.draw(&Text::new(*name, (10, top + 16), text(14)))?;
        for (at, (figure, color)) in figures.iter().zip(COLORS).enumerate() {
            let top = top + at as i32 * 12;
            // A bar that would leave the picture is cut. Its number is beside it.
            let length = (figure.min(520.0)) as i32;
            root.draw(&Rectangle::new([(220, top), (220 + length, top + 10)], color.filled()))?;
            root.draw(&Text::new(format!("{figure:.0}"), (226 + length, top), text(11)))?;
        }
    }
    root.present()?;
    Ok(())
}

/// The system's allocator, which counts the bytes in use.
struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's guarantees are those that the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's guarantees are those that the system's allocator requires.
        unsafe { System.dealloc(pointer, layout) }
    }
}
