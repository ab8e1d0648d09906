//! Tests of the ladder: every rung answers requests, with its own system calls.
#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uring_io_core::ladder::{measure, Cause, Measurement, Outcome, Rung};
use uring_io_core::support::Support;

const SHORT: Duration = Duration::from_millis(20);

/// Lets one test run at a time: all of them use descriptors of this process, and select takes only the first ones.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The measurement of a rung. None when this machine lacks the rung; then it prints that.
fn measured(rung: Rung, connections: usize) -> Option<Measurement> {
    match measure(rung, connections, SHORT, &AtomicBool::new(false)).unwrap() {
        Outcome::Measured(measurement) => Some(*measurement),
        Outcome::Limited(limit) if limit.cause == Cause::Ring => {
            assert!(matches!(rung, Rung::Uring | Rung::Sqpoll));
            eprintln!("skipped: {} needs io_uring: {:?}", rung.name(), limit.error);
            None
        }
        other => panic!("{rung:?}: {other:?}"),
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn every_rung_answers_every_request_by_its_own_calls() {
    let _alone = alone();
    for rung in Rung::ALL {
        let Some(found) = measured(rung, 300) else {
            continue;
        };
        assert_eq!((found.connections, found.active), (300, 3), "{rung:?}");
        assert!(found.turns.exchanges >= 10, "{rung:?}");
        let together = found.together.unwrap().exchanges;
        assert!(together >= 30 && together % 3 == 0, "{rung:?}");
        let mut calls = found.exchange.calls.clone();
        calls.sort_unstable();
        let expected: &[&str] = match rung {
            Rung::Threads => &["recv", "send"],
            Rung::Select => &["recv", "select", "send"],
            Rung::Poll => &["poll", "recv", "send"],
            Rung::Epoll => &["epoll_wait", "recv", "send"],
            Rung::Uring => &["io_uring_enter"],
            Rung::Sqpoll => &[],
        };
        assert_eq!(calls, expected, "{rung:?}");
        let each = found.turns.calls as f64 / found.turns.exchanges as f64;
        assert!(
            (each - expected.len() as f64).abs() < 0.05,
            "{rung:?}: {each}"
        );
        assert!(found.turns.cpu > Duration::ZERO, "{rung:?}");
        assert!(found.turns.median > Duration::ZERO, "{rung:?}");
    }
}

#[test]
fn rings_end_when_more_clients_hang_up_at_once_than_their_queue_holds() {
    let _alone = alone();
    for rung in [Rung::Uring, Rung::Sqpoll] {
        if let Some(found) = measured(rung, 3000) {
            assert_eq!(found.connections, 3000);
        }
    }
}

#[test]
fn steps_are_in_order_and_of_one_exchange() {
    let _alone = alone();
    for rung in Rung::ALL {
        let Some(found) = measured(rung, 1) else {
            continue;
        };
        assert!(found.together.is_none());
        let exchange = found.exchange;
        assert!(
            exchange.answered > 0 && !exchange.steps.is_empty(),
            "{rung:?}"
        );
        for step in &exchange.steps {
            assert!(step.from <= step.to, "{rung:?}: {step:?}");
            assert!(
                step.to > 0 && step.from < exchange.answered,
                "{rung:?}: {step:?}"
            );
        }
        let pairs = exchange.steps.windows(2);
        assert!(
            pairs.into_iter().all(|pair| pair[0].to <= pair[1].from),
            "{rung:?}"
        );
        assert_eq!(rung == Rung::Sqpoll, exchange.calls.is_empty(), "{rung:?}");
    }
}

#[test]
fn select_is_cut_by_its_set_and_says_so() {
    let _alone = alone();
    let Some(found) = measured(Rung::Select, 1024) else {
        panic!("select is there");
    };
    let cut = found.cut.unwrap();
    assert_eq!(
        (cut.cause, cut.most),
        (Cause::SetSize, Some(found.connections))
    );
    match measure(Rung::Select, 10_000, SHORT, &AtomicBool::new(false)).unwrap() {
        Outcome::Limited(limit) => assert!(limit.most.unwrap() < 1024),
        other => panic!("{other:?}"),
    }
}

#[test]
fn stopping_ends_every_rung_soon_and_leaves_nothing() {
    let _alone = alone();
    for rung in Rung::ALL {
        let before = descriptors();
        let stop = AtomicBool::new(false);
        let begun = Instant::now();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Stops the ladder before, while or after it makes the connections: it must end in any case.
                std::thread::sleep(Duration::from_millis(30));
                stop.store(true, Ordering::Relaxed);
            });
            measure(rung, 200, Duration::from_secs(600), &stop).unwrap()
        });
        assert!(!matches!(outcome, Outcome::Measured(_)), "{rung:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{rung:?}");
        assert_eq!(descriptors(), before, "{rung:?}");
    }
    let support = Support::detect();
    assert!(threads() < 200, "{:?}", support.kernel.release);
}
