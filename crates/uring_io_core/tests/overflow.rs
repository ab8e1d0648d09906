//! Tests of queues that are too small for the entries that go through them.
#![cfg(target_os = "linux")]

mod parties;

use std::io::Write;
use std::time::Duration;

use parties::*;
use uring_io_core::{Interest, Mask, Target, Wakeup};

/// Waits for many polls on descriptors that become ready at once.
fn all_are_served(entries: u32, count: u32, limits: Mask) {
    let Some(driver) = ring(entries, limits) else {
        return;
    };
    let pairs: Vec<_> = (0..count).map(|_| sockets()).collect();
    for (party, (ours, _)) in (0..).zip(&pairs) {
        assert_eq!(
            start(&driver, party, &poll(fd(ours), Interest::READABLE)).1,
            None
        );
    }
    assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
    for (_, theirs) in &pairs {
        (&*theirs).write_all(b"x").unwrap();
    }
    let mut served: Vec<u32> = (0..count).map(|_| next(&driver).0).collect();
    served.sort_unstable();
    assert_eq!(served, (0..count).collect::<Vec<_>>());
    driver.close().unwrap();
}

#[test]
fn a_ring_of_one_entry_serves_a_thousand_operations() {
    all_are_served(1, 1000, Mask::NOTHING);
}

#[test]
fn completions_beyond_the_completion_queue_are_not_lost() {
    all_are_served(8, 2000, Mask::NOTHING);
}

#[test]
fn small_queues_do_on_older_kernels_too() {
    for (major, minor) in [(6, 1), (6, 0), (5, 19), (5, 11), (5, 10), (5, 6)] {
        all_are_served(2, 200, Mask::linux(major, minor));
    }
}

#[test]
fn cancelling_with_a_full_queue_reaches_every_operation() {
    let Some(driver) = ring(1, Mask::NOTHING) else {
        return;
    };
    let pairs: Vec<_> = (0..300).map(|_| sockets()).collect();
    let mut buffers = vec![[0xaa_u8; 1]; pairs.len()];
    let mut tokens = Vec::new();
    for ((party, (ours, _)), buffer) in (0..).zip(&pairs).zip(&mut buffers) {
        let operation = read(fd(ours), Target::Socket, buffer);
        tokens.push(start(&driver, party, &operation).0);
    }
    for token in tokens {
        driver.cancel(token).unwrap();
    }
    for _ in 0..300 {
        assert!(
            matches!(next(&driver), (_, Wakeup::Completed(result)) if result == -libc::ECANCELED)
        );
    }
    driver.close().unwrap();
}

#[test]
fn a_timeout_ends_a_wait_on_kernels_without_timed_enter() {
    let Some(driver) = ring(8, Mask::linux(5, 10)) else {
        return;
    };
    let (ours, mut theirs) = sockets();
    let (token, _) = start(&driver, 1, &poll(fd(&ours), Interest::READABLE));
    driver.set_timeout(token, Some(Duration::from_millis(10)));
    assert_eq!(next(&driver), (1, Wakeup::TimedOut));
    theirs.write_all(b"x").unwrap();
    assert!(matches!(next(&driver), (1, Wakeup::Completed(_))));
    driver.leave(token);
}
