//! Measures the load of one cache line from sets of several sizes, in random order: the lower bound for
//! finding one record among many.
//! `cargo run --release -p keyward-compare --bin memory_latency`.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{hint::black_box, time::Instant};

/// Lines loaded between two readings of the clock, and the number of repetitions.
const FETCHES: usize = 5_000;
const ROUNDS: usize = 200;

fn main() {
    println!("| set of lines | best | median |");
    println!("|---|---:|---:|");
    for kib in [256, 512, 1_024, 2_048, 4_096, 6_400, 12_800, 25_600, 51_200_usize] {
        let lines = chain(kib * 1_024 / 64);
        let mut at = 0;
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let started = Instant::now();
                for _ in 0..FETCHES {
                    at = lines[at].0[0];
                }
                black_box(at);
                started.elapsed().as_nanos() as f64 / FETCHES as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("| {kib} KiB | {:.0} ns | {:.0} ns |", times[0], times[ROUNDS / 2]);
    }
}

/// A cache line that contains the index of the next one.
#[derive(Clone, Default)]
#[repr(align(64))]
struct Line([usize; 8]);

/// Builds one cycle through all lines in a scattered order that no prefetcher predicts.
fn chain(count: usize) -> Vec<Line> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = 88_172_645_463_325_252_u64;
    for at in (1..count).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(at, (random % (at as u64 + 1)) as usize);
    }
    let mut lines = vec![Line::default(); count];
    for (at, line) in order.iter().enumerate() {
        lines[*line].0[0] = order[(at + 1) % count];
    }
    lines
}
