//! Takes the place of `platform.rs` on other systems than Linux. It has the calls that these systems have, and answers
//! `ENOSYS` for the rest. It compiles for them, but nobody has run it on one.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::clock::milliseconds;
use crate::descriptor::owned;
use crate::error::{Error, Result};
use crate::operation::{Direction, Interest};

#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
use libc::__errno as errno_location;
#[cfg(target_os = "dragonfly")]
use libc::__errno_location as errno_location;
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
use libc::__error as errno_location;

/// Numbers and types that not every system has.
#[allow(missing_docs)]
pub mod numbers {
    pub use libc::{EAI_NONAME as EAI_NODATA, ETIMEDOUT as ETIME};

    pub const O_TMPFILE: i32 = 0;
    /// FreeBSD's value. Some systems lack this flag, so no system call gets it.
    pub const SOCK_CLOEXEC: i32 = 1 << 28;
    /// Linux's value: an empty path means the descriptor itself.
    pub const AT_EMPTY_PATH: i32 = 0x1000;
    pub const STATX_BASIC_STATS: u32 = 0;
    pub const STATX_BTIME: u32 = 0;

    /// The fields of statx(2) that stat(2) has, too.
    #[derive(Debug)]
    pub struct FileStatus {
        pub stx_dev_major: u32,
        pub stx_dev_minor: u32,
        pub stx_ino: u64,
        pub stx_mode: u16,
        pub stx_nlink: u32,
        pub stx_uid: u32,
        pub stx_gid: u32,
        pub stx_size: u64,
        pub stx_blocks: u64,
        pub stx_blksize: u32,
        pub stx_atime: FileTime,
        pub stx_mtime: FileTime,
        pub stx_ctime: FileTime,
        pub stx_btime: FileTime,
    }

    #[derive(Clone, Copy, Debug)]
    pub struct FileTime {
        pub tv_sec: i64,
        pub tv_nsec: u32,
    }
}

/// The ends of a pipe: reader and writer of a waker.
pub(crate) fn wake_descriptors() -> Result<(OwnedFd, Option<OwnedFd>)> {
    let mut ends = [-1; 2];
    if pipe(&mut ends, libc::O_CLOEXEC | libc::O_NONBLOCK) < 0 {
        return Err(Error::last("pipe"));
    }
    Ok((owned("pipe", ends[0])?, Some(owned("pipe", ends[1])?)))
}

/// Sets errno back to this value.
pub(crate) fn restore_errno(errno: i32) {
    // SAFETY: the location is this thread's own and always valid.
    unsafe { *errno_location() = errno };
}

/// A monotonic clock in whole milliseconds: some systems have no coarse one.
pub(crate) fn coarse() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to a local. Every system has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::from_millis(time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000)
}

/// Signals that programs seldom use, and that a process without a handler ignores.
pub(crate) fn spare_signals() -> impl Iterator<Item = i32> {
    [libc::SIGURG, libc::SIGIO].into_iter()
}

/// poll(2) with a timeout in milliseconds.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> i32 {
    let count = fds.len() as libc::nfds_t;
    // SAFETY: the slice outlives the call; the count is the slice's.
    unsafe { libc::poll(fds.as_mut_ptr(), count, milliseconds(timeout)) }
}

/// A kqueue(2): a descriptor that is readable while one of these descriptors is ready for its interest. It cannot
/// report urgent input alone (`ENOSYS`).
pub fn watch(watched: &[(RawFd, Interest)]) -> Result<OwnedFd> {
    if watched.iter().any(|(_, interest)| interest.is_urgent()) {
        return Err(Error::new("kevent", libc::ENOSYS));
    }
    let queue = kqueue::create()?;
    for &(fd, interest) in watched {
        for event in [libc::POLLIN, libc::POLLOUT] {
            if interest.poll_events() & event != 0 {
                kqueue::change(&queue, fd, event, kqueue::ADD, 0)?;
            }
        }
    }
    Ok(queue)
}

/// Does the same as [`watch`]. Unlike on Linux, it also reports earlier events.
pub fn watch_changes(watched: &[(RawFd, Interest)]) -> Result<OwnedFd> {
    watch(watched)
}

/// Only Linux has such a call. The answer here is `-EOPNOTSUPP`, and the caller asks poll(2) first. poll(2) would wait
/// for ever on the wrong end of a pipe, so the answer for that one is `-EBADF`.
///
/// # Safety
///
/// None is needed here.
pub(crate) unsafe fn nowait(
    fd: RawFd,
    direction: Direction,
    _: *const libc::iovec,
    _: i32,
    _: i64,
) -> i32 {
    // SAFETY: the call asks for flags and changes nothing.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    let wrong = match direction {
        Direction::Read => libc::O_WRONLY,
        Direction::Write => libc::O_RDONLY,
    };
    if flags < 0 || flags & libc::O_ACCMODE == wrong {
        return -libc::EBADF;
    }
    -libc::EOPNOTSUPP
}

/// These systems do not tell which part of a file is cached, so we treat every file as if its reads bypassed the cache.
pub(crate) fn bypasses_cache(_: RawFd) -> Result<bool> {
    Ok(true)
}

/// Unknown on these systems, see [`bypasses_cache`].
pub(crate) fn is_in_memory(_: RawFd) -> bool {
    false
}

/// See [`nowait`].
pub(crate) fn pipes_can_nowait() -> bool {
    false
}

/// Only Linux has this call; here a thread waits for a child.
pub fn pidfd_open(_: libc::pid_t) -> Result<OwnedFd> {
    Err(Error::new("pidfd_open", libc::ENOSYS))
}

/// pipe2(2). Both ends are always close-on-exec.
pub(crate) fn pipe(ends: &mut [RawFd; 2], flags: i32) -> i32 {
    if flags & !(libc::O_CLOEXEC | libc::O_NONBLOCK) != 0 {
        restore_errno(libc::EINVAL);
        return -1;
    }
    // SAFETY: the call fills both places of the array or none.
    let made = unsafe { libc::pipe(ends.as_mut_ptr()) };
    if made == 0 {
        for end in *ends {
            close_on_exec(end);
            // SAFETY: the call sets flags of a descriptor that nobody else knows yet.
            unsafe { libc::fcntl(end, libc::F_SETFL, flags & libc::O_NONBLOCK) };
        }
    }
    made
}

/// Sets close-on-exec. Does nothing if the number is negative.
pub(crate) fn close_on_exec(fd: RawFd) {
    if fd >= 0 {
        // SAFETY: the call sets a flag of a descriptor that nobody else knows yet.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// kqueue(2). This module names each filter by its poll(2) event: `POLLIN` is `EVFILT_READ`, `POLLOUT` is
/// `EVFILT_WRITE`.
pub(crate) mod kqueue {
    use super::{close_on_exec, owned, AsRawFd, Duration, Error, OwnedFd, RawFd, Result};
    use crate::clock::timespec;

    pub(crate) use libc::kevent as Event;

    /// Adds a filter, which reports as long as the descriptor is ready.
    pub(crate) const ADD: u32 = libc::EV_ADD as u32;
    /// Adds a filter, or enables one that has reported. The filter reports once, which disables it.
    pub(crate) const ARM: u32 = ADD | KEEP;
    /// Enables a filter that exists: `ENOENT` where there is none.
    pub(crate) const KEEP: u32 = libc::EV_ENABLE as u32 | libc::EV_DISPATCH as u32;
    /// Removes a filter: `ENOENT` where there is none.
    pub(crate) const DELETE: u32 = libc::EV_DELETE as u32;

    /// A new queue. Forked children do not inherit it: there its number is free.
    pub(crate) fn create() -> Result<OwnedFd> {
        // SAFETY: the call takes nothing and returns a new descriptor.
        let queue = owned("kqueue", unsafe { libc::kqueue() })?;
        close_on_exec(queue.as_raw_fd());
        Ok(queue)
    }

    /// Changes one filter of a descriptor. Its events carry `mark`.
    pub(crate) fn change(
        queue: &OwnedFd,
        fd: RawFd,
        event: i16,
        change: u32,
        mark: u32,
    ) -> Result<()> {
        // The type of a filter differs by system, but its number fits everywhere.
        let filter = match event {
            libc::POLLIN => libc::EVFILT_READ as i32,
            _ => libc::EVFILT_WRITE as i32,
        };
        // SAFETY: an event consists of integers and a pointer, for which all zeros are valid.
        let mut event = unsafe { std::mem::zeroed::<Event>() };
        event.ident = fd as _;
        event.filter = filter as _;
        event.flags = change as _;
        event.udata = std::ptr::without_provenance_mut(mark as usize);
        let nowhere = std::ptr::null_mut();
        // Without room for events, the call itself fails where it would otherwise return an event of EV_ERROR.
        // SAFETY: the call reads one event, a local, and writes none.
        let done =
            unsafe { libc::kevent(queue.as_raw_fd(), &event, 1, nowhere, 0, std::ptr::null()) };
        if done < 0 {
            return Err(Error::last("kevent"));
        }
        Ok(())
    }

    /// Waits, and replaces the contents of `events` with the events found, as many as fit.
    pub(crate) fn wait(
        queue: &OwnedFd,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        events.clear();
        let timeout = timeout.map(timespec);
        let timeout = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the kernel fills at most as many events as fit, and reads a timespec that outlives the call.
        let found = unsafe {
            libc::kevent(
                queue.as_raw_fd(),
                std::ptr::null(),
                0,
                events.as_mut_ptr(),
                events.capacity() as _,
                timeout,
            )
        };
        if found < 0 {
            return Err(Error::last("kevent"));
        }
        // SAFETY: the kernel has filled `found` events.
        unsafe { events.set_len(found as usize) };
        Ok(())
    }

    /// The meaning of an event: the descriptor, the filter, whether it reports an error, and the mark.
    pub(crate) fn meaning(event: &Event) -> (RawFd, i16, bool, u32) {
        let is_read = event.filter == libc::EVFILT_READ;
        let filter = if is_read { libc::POLLIN } else { libc::POLLOUT };
        // With EV_EOF, these flags hold the error of a socket.
        let has_error = event.flags & libc::EV_EOF != 0 && event.fflags != 0;
        (
            event.ident as RawFd,
            filter,
            has_error,
            event.udata.addr() as u32,
        )
    }
}

/// Nobody has found out when a counter is reliable on these systems.
pub(crate) fn has_ticks() -> bool {
    false
}

pub(crate) fn ticks() -> u64 {
    0
}
