//! Tests of ending the operations on a descriptor before it closes, and of events that are left of a former file.

#![allow(unsafe_code)]

mod parties;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use parties::*;
use uring_io_core::{Call, Interest, Link, Mask, Target, Wakeup};

const ENDED: Wakeup = Wakeup::Completed(-libc::ECANCELED);

#[test]
fn what_is_under_way_on_a_descriptor_ends_and_nothing_else() {
    each_backend(|driver| {
        let (ours, _theirs) = sockets();
        let (other, mut their_other) = sockets();
        let mut buffer = [0; 8];
        let token = driver.park_on(1, fd(&ours));
        let operation = read(fd(&ours), Target::Socket, &mut buffer);
        assert_eq!(driver.submit(token, &operation), Ok(None));
        let bystander = driver.park_on(2, fd(&other));
        let operation = poll(fd(&other), Interest::READABLE);
        assert_eq!(driver.submit(bystander, &operation), Ok(None));
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
        driver.begin_close(fd(&ours), 0);
        driver.end_all_on(fd(&ours));
        assert_eq!(next(&driver), (1, ENDED));
        assert!(driver.is_ended(token) && !driver.is_ended(bystander));
        assert!(driver.is_used(fd(&ours), |_| false));
        driver.leave(token);
        assert!(!driver.is_used(fd(&ours), |_| false));
        driver.end_close(fd(&ours), None);
        their_other.write_all(b"x").unwrap();
        assert!(matches!(next(&driver), (2, Wakeup::Completed(1..))));
        driver.leave(bystander);
    });
}

#[test]
fn the_guard_of_a_stream_ends_with_it_although_its_party_has_not_left() {
    let Some(driver) = ring(64, Mask::NOTHING) else {
        return;
    };
    if driver.lacks(&["send_zc"]) {
        return;
    }
    let (ours, mut theirs) = sockets();
    let token = driver.park(1);
    let stream = Call::RecvEach {
        fd: fd(&ours),
        flags: 0,
    };
    driver.call(token, stream).unwrap();
    theirs.write_all(b"x").unwrap();
    assert_eq!(next(&driver), (1, Wakeup::Woken));
    driver.end_all_on(fd(&ours));
    work_until(&driver, || {
        driver.is_idle();
        !driver.is_used(fd(&ours), |_| true)
    });
    assert!(!driver.is_guarded(token));
    drop(ours);
    theirs.set_nonblocking(false).unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    driver.leave(token);
}

#[test]
fn a_later_step_of_a_chain_still_needs_its_descriptor_until_the_chain_is_over() {
    let Some(driver) = ring(64, Mask::NOTHING) else {
        return;
    };
    let (first, mut their_first) = sockets();
    let (second, _their_second) = sockets();
    let link = Link {
        chained: true,
        ..Link::default()
    };
    let wait = |fd, interest| (Call::Poll { fd, interest }, link);
    let calls = [
        wait(fd(&first), Interest::READABLE),
        wait(fd(&second), Interest::WRITABLE),
    ];
    let tokens = [driver.park(1), driver.park(2)];
    let calls = tokens.into_iter().zip(calls);
    driver
        .chain(
            calls
                .map(|(token, (call, link))| (token, call, link))
                .collect(),
        )
        .unwrap();
    // The kernel has taken both steps, but the second has not begun.
    assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
    assert!(driver.has_queued(fd(&second)));
    their_first.write_all(b"x").unwrap();
    for party in [1, 2] {
        assert!(matches!(next(&driver), (found, Wakeup::Completed(1..)) if found == party));
    }
    assert!(!driver.has_queued(fd(&second)));
    for token in tokens {
        driver.leave(token);
    }
}

#[test]
fn nothing_is_started_on_a_descriptor_that_is_about_to_be_closed() {
    each_backend(|driver| {
        let (ours, mut theirs) = sockets();
        theirs.write_all(b"there already").unwrap();
        driver.begin_close(fd(&ours), 7);
        let token = driver.park_on(1, fd(&ours));
        let operation = poll(fd(&ours), Interest::READABLE);
        assert_eq!(driver.submit(token, &operation), Ok(None));
        assert_eq!(next(&driver), (1, ENDED));
        assert!(driver.is_ended(token));
        driver.leave(token);
        // Closer 8 has not begun a close, so the end of its close changes nothing.
        driver.end_close(fd(&ours), Some(8));
        let token = driver.park_on(2, fd(&ours));
        assert!(driver.is_ended(token));
        driver.leave(token);
        driver.end_close(fd(&ours), Some(7));
        let token = driver.park_on(3, fd(&ours));
        assert!(!driver.is_ended(token));
        driver.leave(token);
    });
}

#[test]
fn a_party_without_an_operation_is_woken() {
    each_backend(|driver| {
        let (ours, _theirs) = sockets();
        let token = driver.park_on(1, fd(&ours));
        driver.end_all_on(fd(&ours));
        assert_eq!(next(&driver), (1, Wakeup::Woken));
        assert!(driver.is_ended(token));
        driver.leave(token);
    });
}

#[test]
fn an_event_of_a_former_file_is_not_told_to_whoever_has_its_number() {
    each_backend(|driver| {
        let (ours, mut theirs) = sockets();
        let number = fd(&ours);
        let kept = ours.try_clone().unwrap();
        let (token, _) = start(&driver, 1, &poll(number, Interest::READABLE));
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
        driver.cancel(token).unwrap();
        assert_eq!(next(&driver), (1, ENDED));
        driver.leave(token);
        let (quiet, _their_quiet) = sockets();
        // SAFETY: `ours` owns the number, and forgets it. `close_descriptor` below closes the copy that has it now.
        let taken = unsafe { libc::dup2(quiet.as_raw_fd(), number) };
        std::mem::forget(ours);
        assert_eq!(taken, number);
        let (waiting, _) = start(&driver, 2, &poll(number, Interest::READABLE));
        theirs.write_all(b"for the former file").unwrap();
        assert_eq!(next_within(&driver, Duration::from_millis(20)), None);
        driver.cancel(waiting).unwrap();
        assert_eq!(next(&driver), (2, ENDED));
        driver.leave(waiting);
        drop(kept);
        uring_io_core::close_descriptor(number);
    });
}
