//! Tests of sends to datagram sockets with a full queue, and of stand-ins for such a call.

mod parties;

use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use parties::*;
use uring_io_core::{
    numbers, Address, BackendKind, Call, Driver, Interest, Memory, Message, Token, Wakeup,
};

/// A socket bound to a path. Dropping it removes the path.
struct Bound(UnixDatagram, PathBuf);

impl Bound {
    fn new() -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("uring_io-messages-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        Self(UnixDatagram::bind(&path).unwrap(), path)
    }

    fn address(&self) -> Address {
        let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        bytes.extend(self.1.to_str().unwrap().as_bytes());
        bytes.push(0);
        Address::from_bytes(&bytes).unwrap()
    }

    /// Fills the queue of the socket. Returns the number of messages in it.
    fn fill(&self) -> usize {
        let other = UnixDatagram::unbound().unwrap();
        other.set_nonblocking(true).unwrap();
        (0..)
            .find(|_| other.send_to(b"x", &self.1).is_err())
            .unwrap()
    }

    /// Receives all messages in the queue.
    fn received(&self) -> Vec<Vec<u8>> {
        self.0.set_nonblocking(true).unwrap();
        let mut room = [0; 100];
        std::iter::from_fn(|| {
            let length = self.0.recv(&mut room).ok()?;
            Some(room[..length].to_vec())
        })
        .collect()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.1);
    }
}

fn message(fd: RawFd, address: Option<Address>) -> Call {
    let memory = Memory::Owned(b"the message".to_vec());
    Call::send_message(fd, Box::new(Message::to_send(memory, address, &[])), 0)
}

fn completed(driver: &Driver<u32>) -> i32 {
    match next(driver) {
        (_, Wakeup::Completed(result)) => result,
        other => panic!("{other:?}"),
    }
}

/// Takes the completion of `token`, and gives its place back.
fn left(driver: &Driver<u32>, token: Token) -> i32 {
    let result = completed(driver);
    driver.leave(token);
    result
}

#[test]
fn a_send_at_once_takes_nothing_of_a_message_without_room() {
    each_backend(|driver| {
        let theirs = Bound::new();
        let full = theirs.fill();
        let ours = UnixDatagram::unbound().unwrap();
        ours.connect(&theirs.1).unwrap();
        let token = driver.park(1);
        let mut send = Call::send(ours.as_raw_fd(), Memory::Owned(b"the message".to_vec()), 0);
        assert!(!send.send_at_once() && send.is_sent_at_once());
        driver.call(token, send).unwrap();
        driver.look().unwrap();
        if driver.backend() == BackendKind::IoUring {
            assert_eq!(completed(&driver), -libc::EAGAIN);
            let call = driver.take_call(token).unwrap();
            assert_eq!(theirs.received().len(), full);
            driver.call(token, *call).unwrap();
        } else {
            assert_eq!(theirs.received().len(), full);
        }
        assert_eq!(left(&driver, token), 11);
        assert_eq!(theirs.received(), [b"the message"]);
    });
}

#[test]
fn only_sends_that_may_wait_and_keep_messages_are_made_at_once() {
    let (stream, _peer) = sockets();
    let (datagrams, _others) = UnixDatagram::pair().unwrap();
    let (stream, datagrams) = (stream.as_raw_fd(), datagrams.as_raw_fd());
    let made = |fd, flags| {
        let mut call = Call::send(fd, Memory::Owned(Vec::new()), flags);
        let asked = call.send_at_once();
        let at_once = call.is_sent_at_once();
        (
            asked,
            at_once,
            call.wait_in_stream(),
            call.is_sent_at_once(),
        )
    };
    assert_eq!(made(stream, 0), (false, true, true, false));
    assert_eq!(made(datagrams, 0), (false, true, false, true));
    assert_eq!(made(stream, libc::MSG_WAITALL), (true, false, true, false));
    assert_eq!(
        made(datagrams, libc::MSG_WAITALL),
        (true, true, false, true)
    );
    assert_eq!(
        made(datagrams, libc::MSG_DONTWAIT),
        (false, false, false, false)
    );
}

#[test]
fn a_send_that_would_wait_although_its_socket_is_ready_says_so() {
    each_backend(|driver| {
        let theirs = Bound::new();
        theirs.fill();
        let ours = UnixDatagram::unbound().unwrap();
        let mut send = message(ours.as_raw_fd(), Some(theirs.address()));
        send.send_at_once();
        let token = driver.park(1);
        driver.call(token, send).unwrap();
        assert_eq!(completed(&driver), -libc::EAGAIN);
        let call = driver.take_call(token).unwrap();
        assert!(call.may_wait_in_vain());
        theirs.received();
        driver.call(token, *call).unwrap();
        assert_eq!(left(&driver, token), 11);
        assert_eq!(theirs.received(), [b"the message"]);
    });
}

#[test]
fn what_stands_in_for_a_call_is_cancelled_with_the_calls_on_its_descriptor() {
    each_backend(|driver| {
        let (input, _peer) = sockets();
        let fd = input.as_raw_fd();
        let set = uring_io_core::watch(&[(fd, Interest::READABLE)]).unwrap();
        let starts: [&dyn Fn(Token); 3] = [
            &|token| {
                driver
                    .poll_for(token, fd, Interest::READABLE, None)
                    .unwrap()
            },
            &|token| {
                let set = Some(set.as_raw_fd());
                driver.poll_for(token, fd, Interest::READABLE, set).unwrap();
            },
            &|token| driver.pause_for(token, fd, PATIENCE),
        ];
        for start in starts {
            let token = driver.park(1);
            start(token);
            assert_eq!(driver.cancel_on(set.as_raw_fd()), Ok(0));
            assert_eq!(driver.cancel_on(fd), Ok(1));
            assert_eq!(left(&driver, token), -libc::ECANCELED);
            assert_eq!(driver.cancel_on(fd), Ok(0));
        }
    });
}

#[test]
fn what_has_stood_in_for_a_call_is_cancelled_before_its_party_has_run() {
    each_backend(|driver| {
        let (input, mut peer) = sockets();
        let fd = input.as_raw_fd();
        let token = driver.park(1);
        driver
            .poll_for(token, fd, Interest::READABLE, None)
            .unwrap();
        peer.write_all(b"x").unwrap();
        work_until(&driver, || {
            driver.look().unwrap();
            driver.has_wakeup(token)
        });
        assert_eq!((driver.cancel_on(fd), driver.cancel_on(fd)), (Ok(1), Ok(0)));
        assert_eq!(left(&driver, token), -libc::ECANCELED);
    });
}

#[test]
fn a_call_after_a_pause_is_no_matter_of_time() {
    each_backend(|driver| {
        let (input, mut peer) = sockets();
        let fd = input.as_raw_fd();
        let token = driver.park(1);
        driver.pause_for(token, fd, Duration::from_millis(1));
        assert_eq!(completed(&driver), -numbers::ETIME);
        let recv = || Call::recv(fd, Memory::Owned(vec![0; 8]), 0);
        driver.call(token, recv()).unwrap();
        driver.look().unwrap();
        driver.cancel(token).unwrap();
        assert_eq!(left(&driver, token), -libc::ECANCELED);
        let token = driver.park(1);
        driver.call(token, recv()).unwrap();
        driver.look().unwrap();
        peer.write_all(b"hello").unwrap();
        assert_eq!(left(&driver, token), 5);
    });
}

#[test]
fn nothing_stands_in_for_a_call_whose_descriptor_is_about_to_be_closed() {
    each_backend(|driver| {
        let (input, _peer) = sockets();
        let fd = input.as_raw_fd();
        for pauses in [false, true] {
            let token = driver.park_on(1, fd);
            driver.begin_close(fd, 1);
            driver.end_all_on(fd);
            driver.end_close(fd, Some(1));
            if pauses {
                driver.pause_for(token, fd, PATIENCE);
            } else {
                driver
                    .poll_for(token, fd, Interest::READABLE, None)
                    .unwrap();
            }
            assert_eq!(left(&driver, token), -libc::ECANCELED);
        }
    });
}
