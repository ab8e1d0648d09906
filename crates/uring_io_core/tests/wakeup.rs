//! Tests of waking a driver from another thread.

mod parties;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parties::*;
use uring_io_core::{Turn, Wakeup};

#[test]
fn a_waker_ends_the_wait_from_another_thread_every_time() {
    each_backend(|driver| {
        let waker = driver.waker();
        for _ in 0..200 {
            assert!(matches!(driver.begin_turn().unwrap(), Turn::Idle(_)));
            let waker = Arc::clone(&waker);
            let thread = thread::spawn(move || waker.wake());
            driver.wait(Some(PATIENCE)).unwrap();
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_wakeup_before_the_wait_is_not_lost() {
    each_backend(|driver| {
        driver.waker().wake();
        assert!(matches!(driver.begin_turn().unwrap(), Turn::Idle(_)));
        let start = Instant::now();
        driver.wait(Some(PATIENCE)).unwrap();
        assert!(start.elapsed() < PATIENCE);
    });
}

#[test]
fn an_idle_driver_sleeps_and_does_not_spin() {
    each_backend(|driver| {
        driver.waker().wake();
        driver.wait(Some(Duration::from_millis(1))).unwrap();
        driver.begin_turn().unwrap();
        let before = driver.stats().enters;
        assert_eq!(next_within(&driver, Duration::from_millis(50)), None);
        assert!(driver.stats().enters - before <= 3, "{:?}", driver.stats());
    });
}

#[test]
fn parties_are_woken_in_the_order_of_the_wakes_and_once_each() {
    each_backend(|driver| {
        let tokens: Vec<_> = (0..5).map(|party| driver.park(party)).collect();
        for number in [3, 1, 4, 1, 3] {
            driver.wake(tokens[number]);
        }
        driver.begin_turn().unwrap();
        driver.wake_first(tokens[0]);
        for party in [0, 3, 1, 4] {
            assert_eq!(next(&driver), (party, Wakeup::Woken));
        }
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
    });
}

#[test]
fn work_of_the_pool_comes_back_as_a_completion() {
    each_backend(|driver| {
        let token = driver.park(1);
        driver.offload(token, Box::new(|| 42)).unwrap();
        assert_eq!(next(&driver), (1, Wakeup::Completed(42)));
        driver.leave(token);
    });
}

#[test]
fn a_deadline_that_passes_while_its_party_is_woken_ends_the_next_wait() {
    each_backend(|driver| {
        let token = driver.park(1);
        driver.wake(token);
        driver.set_timeout(token, Some(Duration::ZERO));
        assert_eq!(next(&driver), (1, Wakeup::Woken));
        assert_eq!(next(&driver), (1, Wakeup::TimedOut));
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
        driver.leave(token);
    });
}
