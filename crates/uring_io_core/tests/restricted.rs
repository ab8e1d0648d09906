//! Tests of a ring that is restricted to the submissions of a scheduler.
#![cfg(target_os = "linux")]

mod parties;

use std::io::{Read, Write};
use std::os::fd::RawFd;
use std::time::Duration;

use parties::*;
use uring_io_core::{
    Call, Children, Direction, Driver, Error, Interest, Lack, LentBuffer, Link, Mask, Memory,
    Operation, Target, Wakeup,
};

/// One of each kind of operation. A new kind does not compile until it has a place here.
fn each_operation(fd: RawFd, buffer: &mut [u8]) -> Vec<Operation> {
    let mut all = vec![
        poll(fd, Interest::WRITABLE),
        Operation::WaitChild(Children::of_waitpid(-1, 0)),
    ];
    for target in [
        Target::Socket,
        Target::Stream { nonblocking: true },
        Target::File { offset: None },
        Target::File { offset: Some(0) },
    ] {
        for direction in [Direction::Write, Direction::Read] {
            all.push(transfer(direction, fd, target, buffer));
        }
    }
    let is_known = |operation: &Operation| match operation {
        Operation::Poll { .. } | Operation::WaitChild(_) | Operation::Transfer(_) => true,
    };
    assert!(all.iter().all(is_known));
    all
}

#[test]
fn every_operation_of_a_scheduler_is_allowed() {
    let Some(driver) = restricted() else { return };
    let (ours, mut theirs) = sockets();
    theirs.write_all(&[7; 64]).unwrap();
    let mut buffer = [0; 4];
    for operation in each_operation(fd(&ours), &mut buffer) {
        let result = finish(&driver, &operation);
        assert_ne!(result, -libc::EACCES, "{operation:?}");
    }
    let mut bytes = [1; 4];
    assert_eq!(
        finish(&driver, &read(fd(&ours), Target::Socket, &mut bytes)),
        4
    );
    assert_eq!(bytes, [7; 4]);
}

#[test]
fn what_is_waited_for_is_cancelled_and_the_driver_woken_and_closed() {
    let Some(driver) = restricted() else { return };
    let (ours, _theirs) = sockets();
    let mut buffer = [0; 4];
    let (token, started) = start(&driver, 5, &read(fd(&ours), Target::Socket, &mut buffer));
    assert_eq!(started, None);
    assert_eq!(next_within(&driver, Duration::from_millis(1)), None);
    driver.set_waiting(true);
    let waker = driver.waker();
    std::thread::scope(|scope| {
        scope.spawn(move || waker.wake());
        driver.wait(Some(PATIENCE)).unwrap();
    });
    driver.cancel(token).unwrap();
    assert_eq!(next(&driver), (5, Wakeup::Completed(-libc::ECANCELED)));
    driver.leave(token);
    let (token, _) = start(&driver, 6, &poll(fd(&ours), Interest::READABLE));
    driver.close().unwrap();
    driver.leave(token);
}

/// The kernel's answer to an `IORING_REGISTER_PROBE` without room for the result.
#[allow(unsafe_code)]
fn asked_for_a_probe(driver: &Driver<u32>) -> i32 {
    const PROBE: i32 = 8;
    let (ring, nowhere) = (driver.ring_descriptor().unwrap(), std::ptr::null::<u8>());
    // SAFETY: the kernel gets no address that it could use.
    unsafe { libc::syscall(libc::SYS_io_uring_register, ring, PROBE, nowhere, 1) };
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

#[test]
fn the_kernel_holds_the_ring_of_a_driver_to_it() {
    let Some(driver) = restricted() else { return };
    assert_eq!(asked_for_a_probe(&driver), libc::EACCES);
    let free = ring(16, Mask::NOTHING).unwrap();
    assert_ne!(asked_for_a_probe(&free), libc::EACCES);
}

fn refused<T>(what: Result<T, Error>) -> &'static str {
    let error = what.err().expect("it was not refused");
    assert_eq!(error.lack, Some(Lack::Restriction), "{error}");
    error.call
}

fn refused_call(driver: &Driver<u32>, call: Call) -> &'static str {
    let token = driver.park(1);
    let name = refused(driver.call(token, call));
    driver.leave(token);
    name
}

#[test]
fn other_calls_are_refused_with_their_name_before_the_kernel_is_asked() {
    let Some(driver) = restricted() else { return };
    let before = driver.stats();
    let sync = Call::Sync {
        fd: -1,
        data_only: false,
    };
    assert_eq!(refused_call(&driver, sync), "fsync");
    assert_eq!(refused_call(&driver, Call::Close { fd: -1 }), "close");
    let each = Call::RecvEach { fd: 0, flags: 0 };
    assert!(!driver.can_stream(&each));
    assert_eq!(refused_call(&driver, each), "provided buffers");
    let token = driver.park(1);
    let nop = vec![(token, Call::Nop, Link::default())];
    assert_eq!(refused(driver.chain(nop)), "a chain");
    assert_eq!(refused(driver.take_slots(1)), "a chain");
    let mut bytes = [0; 64];
    assert_eq!(
        refused(driver.register(lent(&mut bytes))),
        "registered buffers"
    );
    assert_eq!(driver.stats().submissions, before.submissions);
}

#[test]
fn calls_that_come_to_the_same_operations_are_made() {
    let Some(driver) = restricted() else { return };
    let (mut ours, theirs) = sockets();
    let send = Call::send(fd(&theirs), Memory::Owned(b"hello".to_vec()), 0);
    let token = driver.park(3);
    driver.call(token, send).unwrap();
    assert_eq!(next(&driver), (3, Wakeup::Completed(5)));
    driver.leave(token);
    let mut bytes = [0; 5];
    ours.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    if driver.lacks(&["linkat"]) {
        return; // The driver streams polls only on kernels with this operation.
    }
    let (fd, interest) = (fd(&ours), Interest::WRITABLE);
    assert!(driver.can_stream(&Call::PollEach { fd, interest }));
    let token = driver.park(4);
    driver.call(token, Call::PollEach { fd, interest }).unwrap();
    assert_eq!(next(&driver), (4, Wakeup::Woken));
    assert!(driver.take_shot(token).is_some_and(|shot| shot.result > 0));
    driver.leave(token);
}

#[allow(unsafe_code)]
fn lent(bytes: &mut [u8]) -> LentBuffer {
    // SAFETY: the ring refuses this memory, so the kernel never uses it.
    unsafe { LentBuffer::new(bytes.as_mut_ptr(), bytes.len()) }
}
