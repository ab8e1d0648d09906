//! In place of `platform.rs` on systems other than Linux: what it has as far as they have it too, and
//! `ENOSYS` for the rest. It is compiled for them, and has never been run on one.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

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
    /// As FreeBSD has it. Not every system has one, so none is shown it.
    pub const SOCK_CLOEXEC: i32 = 1 << 28;
    /// As Linux has it, for a path that is empty: the descriptor itself.
    pub const AT_EMPTY_PATH: i32 = 0x1000;
    pub const STATX_BASIC_STATS: u32 = 0;
    pub const STATX_BTIME: u32 = 0;

    /// The fields of statx(2), as far as stat(2) has them.
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

/// Makes this the errno of the last system call.
pub(crate) fn restore_errno(errno: i32) {
    // SAFETY: the location is this thread's own and always valid.
    unsafe { *errno_location() = errno };
}

/// A clock that nobody sets, in whole milliseconds: not every system has a coarse one.
pub(crate) fn coarse() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    Duration::from_millis(since.as_millis() as u64)
}

/// Signals that hardly anybody needs, and that are ignored where nobody handles them.
pub(crate) fn spare_signals() -> impl Iterator<Item = i32> {
    [libc::SIGURG, libc::SIGIO].into_iter()
}

/// poll(2), with milliseconds.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> i32 {
    let count = fds.len() as libc::nfds_t;
    // SAFETY: the slice outlives the call; the count is the slice's.
    unsafe { libc::poll(fds.as_mut_ptr(), count, milliseconds(timeout)) }
}

/// A descriptor that is readable while one of these is ready for its interest: a kqueue(2). It cannot report
/// urgent input alone (`ENOSYS`).
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

/// As [`watch`]: it also reports what the descriptors are ready for already.
pub fn watch_changes(watched: &[(RawFd, Interest)]) -> Result<OwnedFd> {
    watch(watched)
}

/// Linux only: `-EOPNOTSUPP`, and the caller asks with poll(2) first, which would wait for ever on an end
/// of a pipe that is for the other direction: that is `-EBADF`.
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
    // SAFETY: asks for flags and changes nothing.
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

/// Nothing tells what of a file is cached: as if no read could use that.
pub(crate) fn bypasses_cache(_: RawFd) -> Result<bool> {
    Ok(true)
}

/// As [`bypasses_cache`].
pub(crate) fn is_in_memory(_: RawFd) -> bool {
    false
}

/// See [`nowait`].
pub(crate) fn pipes_can_nowait() -> bool {
    false
}

/// Linux only: a thread waits for a child.
pub fn pidfd_open(_: libc::pid_t) -> Result<OwnedFd> {
    Err(Error::new("pidfd_open", libc::ENOSYS))
}

/// pipe2(2), with ends that are close-on-exec anyway.
pub(crate) fn pipe(ends: &mut [RawFd; 2], flags: i32) -> i32 {
    if flags & !(libc::O_CLOEXEC | libc::O_NONBLOCK) != 0 {
        restore_errno(libc::EINVAL);
        return -1;
    }
    // SAFETY: the call fills both places or none.
    let made = unsafe { libc::pipe(ends.as_mut_ptr()) };
    if made == 0 {
        for end in *ends {
            close_on_exec(end);
            // SAFETY: sets flags of a descriptor that nobody knows yet.
            unsafe { libc::fcntl(end, libc::F_SETFL, flags & libc::O_NONBLOCK) };
        }
    }
    made
}

/// Does nothing where there is no descriptor.
pub(crate) fn close_on_exec(fd: RawFd) {
    if fd >= 0 {
        // SAFETY: sets a flag of a descriptor that nobody knows yet.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// kqueue(2). Each filter goes by the poll(2) event that it stands for: `POLLIN` is `EVFILT_READ`, `POLLOUT`
/// is `EVFILT_WRITE`.
pub(crate) mod kqueue {
    use super::{close_on_exec, owned, AsRawFd, Duration, Error, OwnedFd, RawFd, Result};
    use crate::clock::timespec;

    pub(crate) use libc::kevent as Event;

    /// Adds a filter, which reports as long as the descriptor is ready.
    pub(crate) const ADD: u32 = libc::EV_ADD as u32;
    /// Adds a filter, or enables one that has reported. It reports once and is disabled then.
    pub(crate) const ARM: u32 = ADD | KEEP;
    /// Enables a filter that is there: `ENOENT` where there is none.
    pub(crate) const KEEP: u32 = libc::EV_ENABLE as u32 | libc::EV_DISPATCH as u32;
    /// Takes a filter away: `ENOENT` where there is none.
    pub(crate) const DELETE: u32 = libc::EV_DELETE as u32;

    /// A queue. Forked children do not inherit it: their descriptor of this number is free.
    pub(crate) fn create() -> Result<OwnedFd> {
        // SAFETY: takes nothing and returns a new descriptor.
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
        // The types of the filters differ by system, their numbers fit everywhere.
        let filter = match event {
            libc::POLLIN => libc::EVFILT_READ as i32,
            _ => libc::EVFILT_WRITE as i32,
        };
        // SAFETY: an event consists of integers and a pointer, for which all zeros are values.
        let mut event = unsafe { std::mem::zeroed::<Event>() };
        event.ident = fd as _;
        event.filter = filter as _;
        event.flags = change as _;
        event.udata = std::ptr::without_provenance_mut(mark as usize);
        let nowhere = std::ptr::null_mut();
        // Without room for events the call itself fails with what would be an event of EV_ERROR.
        // SAFETY: reads one event, a local, and has no room for any.
        let done =
            unsafe { libc::kevent(queue.as_raw_fd(), &event, 1, nowhere, 0, std::ptr::null()) };
        if done < 0 {
            return Err(Error::last("kevent"));
        }
        Ok(())
    }

    /// Waits, and replaces `events` by what was found, as many as it has room for.
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
        // SAFETY: the kernel fills at most as many events as there is room for, and reads a timespec that
        // outlives the call.
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
        // SAFETY: so many were filled.
        unsafe { events.set_len(found as usize) };
        Ok(())
    }

    /// The meaning of an event: the descriptor, the filter, whether it reports an error, and the mark.
    pub(crate) fn meaning(event: &Event) -> (RawFd, i16, bool, u32) {
        let is_read = event.filter == libc::EVFILT_READ;
        let filter = if is_read { libc::POLLIN } else { libc::POLLOUT };
        // With EV_EOF, a socket's error is in these flags.
        let has_error = event.flags & libc::EV_EOF != 0 && event.fflags != 0;
        (
            event.ident as RawFd,
            filter,
            has_error,
            event.udata.addr() as u32,
        )
    }
}

/// Nobody has found out when it would be right here.
pub(crate) fn has_ticks() -> bool {
    false
}

pub(crate) fn ticks() -> u64 {
    0
}
