//! The system calls of the ladder, as a program in C would make them.
#![allow(unsafe_code)]

use std::os::fd::RawFd;
use std::time::Duration;

use crate::error::{Error, Result};

/// Length of a request, and of an answer, in bytes.
pub(super) const LENGTH: usize = 64;

/// A request or an answer.
pub(super) type Packet = [u8; LENGTH];

/// The server sends these bytes as every answer.
pub(super) static ANSWER: Packet = [b'a'; LENGTH];

/// Repeats a call until no signal interrupts it.
fn again(name: &'static str, mut call: impl FnMut() -> isize) -> Result<usize> {
    loop {
        if let Ok(result) = usize::try_from(call()) {
            return Ok(result);
        }
        let error = Error::last(name);
        if error.errno != libc::EINTR {
            return Err(error);
        }
    }
}

/// recv(2) of a whole packet. False when the other side has hung up.
pub(super) fn receive(fd: RawFd, packet: &mut Packet) -> Result<bool> {
    // SAFETY: `packet` is borrowed for the whole call, which writes at most its `LENGTH` bytes.
    let received = again("recv", || unsafe {
        libc::recv(fd, packet.as_mut_ptr().cast(), LENGTH, libc::MSG_WAITALL)
    });
    match received {
        Ok(LENGTH) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) if error.errno == libc::ECONNRESET => Ok(false),
        Err(error) => Err(error),
    }
}

/// send(2) of a whole packet. False when the other side has hung up.
pub(super) fn send(fd: RawFd, packet: &Packet) -> Result<bool> {
    // SAFETY: `packet` is borrowed for the whole call, which reads its `LENGTH` bytes.
    let sent = again("send", || unsafe {
        libc::send(fd, packet.as_ptr().cast(), LENGTH, libc::MSG_NOSIGNAL)
    });
    match sent {
        Ok(sent) => Ok(sent == LENGTH),
        Err(error) if [libc::ECONNRESET, libc::EPIPE].contains(&error.errno) => Ok(false),
        Err(error) => Err(error),
    }
}

/// poll(2) without a timeout.
pub(super) fn poll(entries: &mut [libc::pollfd]) -> Result<usize> {
    // SAFETY: the address and the length belong to one slice, which is borrowed for the whole call.
    again("poll", || unsafe {
        libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, -1) as isize
    })
}

/// epoll_wait(2) without a timeout. Returns the number of events that the kernel wrote.
pub(super) fn epoll_wait(set: RawFd, events: &mut [libc::epoll_event]) -> Result<usize> {
    // SAFETY: the kernel writes at most as many events as the slice, borrowed for the whole call, has room for.
    again("epoll_wait", || unsafe {
        libc::epoll_wait(set, events.as_mut_ptr(), events.len() as i32, -1) as isize
    })
}

/// Gives this thread a table of descriptors of its own, which starts with the process's descriptors below `first`.
/// Needs close_range(2) of Linux 5.9.
pub(super) fn leave_table(first: u32) -> Result<()> {
    const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;
    // SAFETY: the call takes numbers. It closes descriptors only in this thread's new table, and the thread uses none
    // of them.
    let left =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_UNSHARE) };
    match left {
        0 => Ok(()),
        _ => Err(Error::last("close_range")),
    }
}

/// Ends a connection for both sides, whichever thread waits for it: shutdown(2).
pub(super) fn hang_up(fd: RawFd) {
    // SAFETY: the call takes numbers. On a connection that the other side has ended, it fails and changes nothing.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Sets how many connections may wait for accept(2).
pub(super) fn listen(fd: RawFd, backlog: i32) -> Result<()> {
    // SAFETY: the call takes numbers.
    match unsafe { libc::listen(fd, backlog) } {
        0 => Ok(()),
        _ => Err(Error::last("listen")),
    }
}

/// Limits how long accept(2) and recv(2) on a socket may wait.
pub(super) fn limit_waits(fd: RawFd, length: Duration) -> Result<()> {
    let limit = libc::timeval {
        tv_sec: length.as_secs() as libc::time_t,
        tv_usec: length.subsec_micros().into(),
    };
    set_option(fd, libc::SO_RCVTIMEO, &limit)
}

/// Makes close(2) reset the connection, which frees its port at once.
pub(super) fn reset_at_close(fd: RawFd) -> Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set_option(fd, libc::SO_LINGER, &linger)
}

fn set_option<T>(fd: RawFd, option: i32, value: &T) -> Result<()> {
    // SAFETY: the kernel reads as many bytes as `value`, borrowed for the whole call, has.
    let set = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(Error::last("setsockopt")),
    }
}

/// The processor time that this thread has used in the program and in the kernel: getrusage(2).
pub(super) fn used() -> (Duration, Duration) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call fills a local. All zeros are a valid `rusage`, so it is initialized even if the call fails.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    let length = |time: libc::timeval| {
        Duration::new(time.tv_sec as u64, 0) + Duration::from_micros(time.tv_usec as u64)
    };
    (length(usage.ru_utime), length(usage.ru_stime))
}

/// The soft and the hard limit of open files.
pub(super) fn open_files() -> libc::rlimit {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call writes to a local.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit
}

/// Sets both limits of open files. A process may always raise its soft limit to the hard one, so this reports no
/// failure.
pub(super) fn set_open_files(limit: libc::rlimit) {
    // SAFETY: the call reads a local.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
}

/// Gives free memory back to the kernel, so that /proc shows the next growth.
#[cfg(target_env = "gnu")]
pub(super) fn trim() {
    // SAFETY: the call takes a number and touches only free memory.
    unsafe { libc::malloc_trim(0) };
}

/// This C library has no call that gives memory back.
#[cfg(not(target_env = "gnu"))]
pub(super) fn trim() {}
