//! Tests of ending operations early, and of what the kernel may still do after that.

mod parties;

use std::io::Write;
use std::time::Duration;

use parties::*;
use uring_io_core::{BackendKind, Driver, Interest, Target, Wakeup};

#[test]
fn a_cancelled_read_completes_and_its_buffer_is_left_alone_afterwards() {
    each_backend(|driver| {
        let (ours, mut theirs) = sockets();
        let mut buffer = [0xaa; 8];
        let operation = read(fd(&ours), Target::Socket, &mut buffer);
        let (token, _) = start(&driver, 1, &operation);
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
        driver.cancel(token).unwrap();
        assert_eq!(next(&driver), (1, Wakeup::Completed(-libc::ECANCELED)));
        driver.leave(token);
        theirs.write_all(b"too late").unwrap();
        assert_eq!(next_within(&driver, Duration::from_millis(10)), None);
        assert_eq!(buffer, [0xaa; 8]);
    });
}

#[test]
fn a_completion_for_a_party_that_left_goes_to_nobody() {
    each_backend(|driver| {
        let (ours, mut theirs) = sockets();
        let (abandoned, _) = start(&driver, 1, &poll(fd(&ours), Interest::READABLE));
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
        driver.leave(abandoned);
        let others: Vec<_> = (2..10).map(|party| driver.park(party)).collect();
        theirs.write_all(b"x").unwrap();
        assert_eq!(next_within(&driver, Duration::from_millis(10)), None);
        for token in others {
            driver.leave(token);
        }
    });
}

#[test]
fn cancelling_what_is_over_changes_nothing() {
    each_backend(|driver| {
        let (ours, mut theirs) = sockets();
        theirs.write_all(b"x").unwrap();
        let (token, _) = start(&driver, 1, &poll(fd(&ours), Interest::READABLE));
        assert!(matches!(next(&driver), (1, Wakeup::Completed(_))));
        driver.cancel(token).unwrap();
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
        driver.leave(token);
    });
}

#[test]
fn closing_waits_until_lent_memory_is_free() {
    each_backend(|driver| {
        let pairs: Vec<_> = (0..20).map(|_| sockets()).collect();
        let mut buffers = vec![[0xaa_u8; 4]; pairs.len()];
        for ((ours, _), buffer) in pairs.iter().zip(&mut buffers) {
            let operation = read(fd(ours), Target::Socket, buffer);
            assert_eq!(start(&driver, 1, &operation).1, None);
        }
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
        driver.close().unwrap();
        for (_, theirs) in &pairs {
            (&*theirs).write_all(b"late").unwrap();
        }
        drop(driver);
        assert!(buffers.iter().all(|buffer| *buffer == [0xaa; 4]));
    });
}

#[test]
fn closing_does_not_wait_for_work_that_owns_its_memory() {
    each_backend(|driver| {
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let token = driver.park(1);
        driver
            .offload(token, Box::new(move || blocked.recv().map_or(0, |()| 1)))
            .unwrap();
        driver.close().unwrap();
        drop(driver);
        drop(release);
    });
}

#[test]
fn a_closed_driver_has_given_its_descriptors_back_and_refuses_operations() {
    each_backend(|driver| {
        let waker = driver.waker();
        driver.close().unwrap();
        waker.wake();
        let token = driver.park(1);
        let (ours, _theirs) = sockets();
        let refused = driver.submit(token, &poll(fd(&ours), Interest::READABLE));
        assert_eq!(refused.unwrap_err().errno, libc::ESHUTDOWN);
    });
}

#[test]
fn a_driver_that_is_dropped_unclosed_takes_its_descriptors_along() {
    let count = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    for backend in BackendKind::ALL {
        let make = || Driver::<u32>::new(&options(backend, 8));
        drop(make());
        let before = count();
        for _ in 0..100 {
            drop(make());
        }
        // Other tests open and close descriptors at the same time, but not by the hundred.
        assert!(count() < before + 100, "{backend}");
    }
}
