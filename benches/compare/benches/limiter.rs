//! Measures the limiters with criterion: `cargo bench -p keyward-compare --bench limiter`.
//! `limiter_report` interleaves the same contenders and prints the ratios.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use keyward_compare::limiters::{Contender, Governor, Keyward, RateNet, Spread, Traffic, order};

criterion_group!(benches, limiters);
criterion_main!(benches);

fn limiters(criterion: &mut Criterion) {
    for (name, keys, spread, traffic) in [
        ("hot key", 1, Spread::InTurn, Traffic::Allowed),
        ("hot key, refused", 1, Spread::InTurn, Traffic::Refused),
        ("1,024 keys", 1_024, Spread::Uniform, Traffic::Allowed),
        ("2^20 keys, Zipf(1.0)", 1 << 20, Spread::Zipf, Traffic::Allowed),
        ("2^20 keys, uniform", 1 << 20, Spread::Uniform, Traffic::Allowed),
    ] {
        let order = order(keys, spread, 1 << 20);
        let mut group = criterion.benchmark_group(name);
        bench(&mut group, "keyward", &Keyward::new(keys, traffic, false), &order);
        bench(&mut group, "keyward, clock read", &Keyward::new(keys, traffic, true), &order);
        bench(&mut group, "governor", &Governor::new(traffic), &order);
        bench(&mut group, "rate-net log", &RateNet::log(keys, traffic), &order);
        bench(&mut group, "rate-net token bucket", &RateNet::token_bucket(traffic), &order);
        group.finish();
    }
}

fn bench(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    contender: &impl Contender,
    order: &[u32],
) {
    let mut step = 0;
    let mut check = || {
        let key = order[step as usize & (order.len() - 1)];
        step += 1;
        contender.check(key, step)
    };
    for _ in 0..2 * order.len() {
        check();
    }
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| bencher.iter(&mut check));
}
