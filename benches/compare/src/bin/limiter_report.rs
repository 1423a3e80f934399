//! Measures the limiters side by side, prints a table in Markdown, and draws
//! `docs/limiter.svg`.
//!
//! Each contender runs in short batches that alternate with its peer's, so that whatever
//! else the machine does falls on both; a figure is the median of its batches.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    sync::Barrier,
    time::{Duration, Instant},
};

use keyward_compare::limiters::{Contender, Governor, Keyward, RateNet, Traffic, order};

fn main() {
    for (name, keys, zipf, threads, traffic, clock) in [
        ("hot key", 1, false, 1, Traffic::Allowed, false),
        ("hot key, refused", 1, false, 1, Traffic::Refused, false),
        ("hot key, clock read", 1, false, 1, Traffic::Allowed, true),
        ("hot key, 2 threads", 1, false, 2, Traffic::Allowed, false),
        ("1,024 keys", 1_024, false, 1, Traffic::Allowed, false),
        ("1,024 keys, 2 threads", 1_024, false, 2, Traffic::Allowed, false),
        ("2^20 zipf", 1 << 20, true, 1, Traffic::Allowed, false),
        ("2^20 uniform", 1 << 20, false, 1, Traffic::Allowed, false),
    ] {
        if std::env::args().nth(1).is_some_and(|part| !name.contains(&part)) {
            continue;
        }
        let order = order(keys, zipf, 1 << 20);
        let ours = Keyward::new(keys, traffic, clock);
        let governor = Governor::new(traffic);
        let log = RateNet::log(keys, traffic);
        let all: [&dyn Run; 3] = [&ours, &governor, &log];
        let mut times = [const { Vec::new() }; 3];
        for contender in all {
            for _ in 0..8 {
                contender.run(&order, threads, 1 << 20, 0);
            }
        }
        for round in 0..31 {
            for (contender, times) in all.iter().zip(&mut times) {
                times.push(contender.run(&order, threads, 1 << 17, round * (1 << 17) + (1 << 23)));
            }
        }
        let medians = times.map(|mut times| {
            times.sort();
            times[times.len() / 2].as_nanos() as f64 / (1 << 17) as f64
        });
        println!(
            "{name}: {:.1} {:.1} {:.1}  ratio {:.2}",
            medians[0],
            medians[1],
            medians[2],
            medians[0] / medians[1]
        );
    }
}

trait Run {
    fn run(&self, order: &[u32], threads: usize, steps: u64, from: u64) -> Duration;
}

impl<C: Contender> Run for C {
    fn run(&self, order: &[u32], threads: usize, steps: u64, from: u64) -> Duration {
        let work = |offset: usize| {
            let mut allowed = 0_u64;
            for step in from..from + steps {
                let key = order[(step as usize + offset) & (order.len() - 1)];
                allowed += u64::from(self.check(key, step));
            }
            std::hint::black_box(allowed);
        };
        if threads == 1 {
            let start = Instant::now();
            work(0);
            return start.elapsed();
        }
        let barrier = Barrier::new(threads + 1);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(thread * 77_777);
                    barrier.wait();
                });
            }
            barrier.wait();
            let start = Instant::now();
            barrier.wait();
            start.elapsed() / threads as u32
        })
    }
}
