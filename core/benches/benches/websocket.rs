//! Times of all cases and peers. Rounds go over the peers one by one, so that whatever else the
//! machine does meets all of them.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use periscope_core_benches::{CASES, PEERS, measured, run};

/// Rounds whose median counts.
const ROUNDS: usize = 9;

fn websocket(criterion: &mut Criterion) {
    for case in CASES {
        let mut group = criterion.benchmark_group(case.name);
        for round in 0..ROUNDS {
            for peer in PEERS {
                let mut subject = case.subject(peer);
                group.bench_function(BenchmarkId::new(peer, round), |bencher| {
                    bencher.iter_custom(|messages| {
                        let parts = run(&mut *subject, messages, |subject, part| {
                            let start = Instant::now();
                            measured(subject, part);
                            start.elapsed()
                        });
                        parts.iter().sum()
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(15)
        .nresamples(1000)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(250));
    targets = websocket
}
criterion_main!(benches);
