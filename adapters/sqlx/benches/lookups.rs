//! What a lookup costs beside its bare query, how much more among a million keys than among a
//! thousand, and how long one takes while keys are rotated as fast as can be.
//!
//! `cargo bench -p keyward-sqlx` measures both stores among 1,000 keys; behind `--`, `sqlite` or
//! `postgres` choose one, and a number says among how many. PostgreSQL is started as the tests
//! do it. Store and bare query take turns, block by block, and the median of the blocks' ratios
//! is printed with the quartiles: on a shared machine only that means something.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../tests/support/postgres.rs"]
mod postgres;
#[path = "../tests/support/mod.rs"]
mod support;

mod filled;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use filled::{Filled, draw};
use keyward::{
    Issuer, KeyHasher, SysRng, key::KeyId, store::Lookup, testing::BlockOn as _, verify::Verifier,
};

use support::{FORMAT, NOW, OnTokio, TempDir};

const BLOCKS: usize = 400;
const BLOCK: usize = 20;
/// How many rotate at once in the storm.
const ROTATING: u64 = 4;
const STORM: Duration = Duration::from_secs(5);

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let keys = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1_000);
    let chosen = |name| {
        let named = |argument: &&String| argument.parse::<u64>().is_err();
        arguments.iter().find(named).is_none_or(|argument| argument == name)
    };
    OnTokio.block_on(async {
        if chosen("sqlite") {
            let dir = TempDir::new();
            measure("SQLite", support::sqlite_store(&dir).await, keys).await;
        }
        if chosen("postgres")
            && let Some(store) = postgres::postgres_store("this benchmark").await
        {
            measure("PostgreSQL", store, keys).await;
        }
    });
}

async fn measure(name: &str, store: impl Filled, keys: u64) {
    let began = Instant::now();
    store.fill(keys).await;
    println!("{name}, {keys} keys (filled in {:.1?})", began.elapsed());
    let lookups: Vec<Lookup> = draw(keys, BLOCK * BLOCKS).map(filled::lookup).collect();

    let (mut bare, mut whole, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for (number, block) in lookups.chunks(BLOCK).enumerate() {
        let texts: Vec<String> =
            block.iter().map(|lookup| lookup.hashes().next().unwrap().to_string()).collect();
        let (mut of_bare, mut of_whole) = (Duration::ZERO, Duration::ZERO);
        // They take turns in going first, which finds the rows in no cache yet.
        for turn in 0..2 {
            let began = Instant::now();
            if (number + turn) % 2 == 0 {
                for text in &texts {
                    assert!(store.bare(text).await > 0);
                }
                of_bare = began.elapsed();
            } else {
                for lookup in block {
                    assert!(black_box(store.find(lookup).await.unwrap()).is_some());
                }
                of_whole = began.elapsed();
            }
        }
        ratios.push(of_whole.as_secs_f64() / of_bare.as_secs_f64());
        bare.push(of_bare.as_secs_f64() / BLOCK as f64);
        whole.push(of_whole.as_secs_f64() / BLOCK as f64);
    }
    let [_, bare, _] = quartiles(&mut bare);
    let [_, whole, _] = quartiles(&mut whole);
    let [low, ratio, high] = quartiles(&mut ratios);
    println!("  bare query   {:>9.1} us", bare * 1e6);
    println!(
        "  lookup       {:>9.1} us, {:.0} a second, one after another",
        whole * 1e6,
        1.0 / whole
    );
    println!("  ratio        {ratio:>9.3} (quartiles {low:.3} to {high:.3})");

    let at_once = at_once(&store, &lookups, 8).await;
    println!("  8 at once    {at_once:>9.0} a second");

    let calm = latencies(&store, &lookups, STORM / 2).await;
    let stop = tokio::sync::watch::Sender::new(false);
    let storm: Vec<_> = (0..ROTATING)
        .map(|number| {
            let (store, stop) = (store.another(), stop.subscribe());
            tokio::spawn(async move {
                let issuer = Issuer::new(store.await, FORMAT, KeyHasher::sha256());
                let mut rotations = 0;
                while !*stop.borrow() {
                    let id: KeyId = filled::id(keys - 1 - number % keys);
                    issuer.rotate_now(id, &mut SysRng, NOW).await.unwrap();
                    rotations += 1;
                }
                rotations
            })
        })
        .collect();
    let stormy = latencies(&store, &lookups, STORM).await;
    stop.send_replace(true);
    let mut rotations = 0;
    for one in storm {
        rotations += one.await.unwrap();
    }
    println!("  verify       p50 {:.0?}, p99 {:.0?}, p99.9 {:.0?}", calm[0], calm[1], calm[2]);
    println!(
        "  in a storm   p50 {:.0?}, p99 {:.0?}, p99.9 {:.0?} ({:.0} rotations a second)",
        stormy[0],
        stormy[1],
        stormy[2],
        f64::from(rotations) / STORM.as_secs_f64()
    );
}

/// Lookups a second by so many tasks.
async fn at_once(store: &impl Filled, lookups: &[Lookup], tasks: usize) -> f64 {
    let began = Instant::now();
    let running: Vec<_> = lookups
        .chunks(lookups.len().div_ceil(tasks))
        .map(|lookups| {
            let (store, lookups) = (store.clone(), lookups.to_vec());
            tokio::spawn(async move {
                for lookup in &lookups {
                    black_box(store.find(lookup).await.unwrap());
                }
            })
        })
        .collect();
    for one in running {
        one.await.unwrap();
    }
    lookups.len() as f64 / began.elapsed().as_secs_f64()
}

/// Median, 99th and 99.9th percentile of a lookup with its verification.
async fn latencies(store: &impl Filled, lookups: &[Lookup], during: Duration) -> [Duration; 3] {
    let verifier = Verifier::new(KeyHasher::sha256());
    let mut taken = Vec::new();
    let end = Instant::now() + during;
    for lookup in lookups.iter().cycle() {
        let began = Instant::now();
        let found = store.find(lookup).await.unwrap();
        // Those that are rotated are refused by now.
        let _ = black_box(verifier.verify(lookup, found, NOW));
        let now = Instant::now();
        taken.push(now - began);
        if now > end {
            break;
        }
    }
    taken.sort_unstable();
    [500, 990, 999].map(|permille| taken[(taken.len() - 1) * permille / 1_000])
}

fn quartiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_unstable_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
