//! Measures the cost of a timeout that does not fire, while 100,000 others are armed.
//!
//! `cargo bench --package uring_io_core`

use std::time::{Duration, Instant};

use uring_io_core::{BackendKind, Driver, Options, RingOptions};

const LIVE: u32 = 100_000;
const ROUNDS: u32 = 1_000_000;
const RUNS: usize = 5;

fn main() {
    let options = Options {
        backend: BackendKind::Poll,
        ring: RingOptions::default(),
        workers_max: 1,
    };
    let driver = Driver::new(&options).expect("poll works everywhere");
    for party in 0..LIVE {
        let token = driver.park(party);
        driver.set_timeout(
            token,
            Some(Duration::from_secs(3600 + u64::from(party % 977))),
        );
    }
    let mut costs: Vec<f64> = (0..RUNS).map(|_| cost(&driver)).collect();
    costs.sort_by(f64::total_cmp);
    println!(
        "park, arm, cancel, leave with {LIVE} live timers: {:.0} ns",
        costs[RUNS / 2]
    );
    println!(
        "  least {:.0} ns, most {:.0} ns, {RUNS} runs of {ROUNDS}",
        costs[0],
        costs[RUNS - 1]
    );
}

/// Nanoseconds for one round.
fn cost(driver: &Driver<u32>) -> f64 {
    let start = Instant::now();
    for round in 0..ROUNDS {
        let token = driver.park(round);
        driver.set_timeout(token, Some(Duration::from_secs(1 + u64::from(round % 60))));
        driver.leave(token);
    }
    start.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
}
