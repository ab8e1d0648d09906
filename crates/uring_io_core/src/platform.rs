//! System calls that only Linux has, or that have another form on Linux. On other systems `elsewhere/platform.rs`
//! takes the place of this file.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::clock::timespec;
use crate::descriptor::{mode_of, owned};
use crate::error::{or_errno, Error, Result};
use crate::first_use::FirstUse;
use crate::operation::{Direction, Interest};

/// Numbers and types that not every system has.
pub mod numbers {
    pub use libc::{
        statx as FileStatus, AT_EMPTY_PATH, EAI_NODATA, ETIME, O_TMPFILE, SOCK_CLOEXEC,
        STATX_BASIC_STATS, STATX_BTIME,
    };
}

/// The reader of a waker, and its writer if that is another descriptor.
pub(crate) fn wake_descriptors() -> Result<(OwnedFd, Option<OwnedFd>)> {
    // SAFETY: takes two numbers and returns a new descriptor.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    Ok((owned("eventfd", fd)?, None))
}

/// Sets errno back to this value.
pub(crate) fn restore_errno(errno: i32) {
    // SAFETY: the location is this thread's own and always valid.
    unsafe { *libc::__errno_location() = errno };
}

/// poll(2) with a timeout in nanoseconds.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> i32 {
    let timeout = timeout.map(timespec);
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the slice and the timespec outlive the call; the count is the slice's.
    unsafe {
        libc::ppoll(
            fds.as_mut_ptr(),
            fds.len() as libc::nfds_t,
            timeout,
            std::ptr::null(),
        )
    }
}

/// An epoll set: a descriptor that is readable while one of these descriptors is ready for its interest. It leaves out
/// files that epoll cannot wait for.
pub fn watch(watched: &[(RawFd, Interest)]) -> Result<OwnedFd> {
    set_of(watched, 0)
}

/// A descriptor that becomes readable when something happens to one of these from now on, within its interest or not.
/// It does not report earlier events, such as a hang-up that lasts.
pub fn watch_changes(watched: &[(RawFd, Interest)]) -> Result<OwnedFd> {
    let set = set_of(watched, libc::EPOLLET as u32)?;
    let mut found = Vec::with_capacity(watched.len());
    // Takes the events that the entries found when they were added: each entry reports them once.
    while found.capacity() > 0 {
        epoll::wait(&set, &mut found, Some(Duration::ZERO))?;
        if found.len() < found.capacity() {
            break;
        }
    }
    Ok(set)
}

fn set_of(watched: &[(RawFd, Interest)], how: u32) -> Result<OwnedFd> {
    let mut events = std::collections::BTreeMap::new();
    for (fd, interest) in watched {
        *events.entry(*fd).or_insert(how) |= interest.poll_events() as u32;
    }
    let set = epoll::create()?;
    for (fd, events) in events {
        match epoll::control(&set, libc::EPOLL_CTL_ADD, fd, events, 0) {
            Err(error) if error.errno != libc::EPERM => return Err(error),
            _ => {}
        }
    }
    Ok(set)
}

/// preadv2(2) or pwritev2(2) with `RWF_NOWAIT`, at `offset`, or at the file's own position for -1. Needs Linux 4.14,
/// and 6.4 for pipes; `-EOPNOTSUPP` before.
///
/// # Safety
///
/// `place` points to `count` vectors, and their memory is lent to the caller.
pub(crate) unsafe fn nowait(
    fd: RawFd,
    direction: Direction,
    place: *const libc::iovec,
    count: i32,
    offset: i64,
) -> i32 {
    // SAFETY: the caller promises that the vectors and their memory are valid. A write only reads from the memory.
    let moved = unsafe {
        match direction {
            Direction::Read => libc::preadv2(fd, place, count, offset, libc::RWF_NOWAIT),
            Direction::Write => libc::pwritev2(fd, place, count, offset, libc::RWF_NOWAIT),
        }
    };
    or_errno(moved as i32)
}

/// Whether reads of a file bypass the page cache and wait for the disk (`O_DIRECT`).
pub(crate) fn bypasses_cache(fd: RawFd) -> Result<bool> {
    // SAFETY: asks for flags and changes nothing.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(Error::last("fcntl"));
    }
    Ok(flags & libc::O_DIRECT != 0)
}

/// The monotonic clock at its last tick, at most some milliseconds ago. Reading it takes a third of the time that
/// reading the exact clock takes.
pub(crate) fn coarse() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The real-time signals, the least likely to be in use first.
pub(crate) fn spare_signals() -> impl Iterator<Item = i32> {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev()
}

/// Whether a file is wholly in memory: tmpfs does not support `RWF_NOWAIT` (seen on Linux 6.18). False for a FIFO or
/// device on a tmpfs such as /dev, because it waits for somebody.
pub(crate) fn is_in_memory(fd: RawFd) -> bool {
    if mode_of(fd).is_none_or(|mode| mode & libc::S_IFMT != libc::S_IFREG) {
        return false;
    }
    /// From linux/magic.h.
    const RAMFS_MAGIC: i64 = 0x8584_58f6;
    let mut status = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the call fills `status`, a local. It is read only after success.
    let kind = unsafe {
        if libc::fstatfs(fd, status.as_mut_ptr()) < 0 {
            return false;
        }
        status.assume_init().f_type
    };
    #[allow(clippy::unnecessary_cast, reason = "its type is the machine's")]
    [libc::TMPFS_MAGIC as i64, RAMFS_MAGIC].contains(&(kind as i64))
}

/// Whether [`nowait`] works on pipes with this kernel.
pub(crate) fn pipes_can_nowait() -> bool {
    let mut fds = [-1; 2];
    // SAFETY: the array outlives the call, which fills both of its places or none.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return false;
    }
    let [Ok(reader), Ok(_writer)] = fds.map(|fd| owned("pipe2", fd)) else {
        return false;
    };
    let mut byte = [0u8; 1];
    let vector = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: byte.len(),
    };
    // SAFETY: the vector and the byte are locals. The pipe is empty, so the call reads nothing.
    let result = unsafe { nowait(reader.as_raw_fd(), Direction::Read, &vector, 1, -1) };
    result == -libc::EAGAIN
}

/// A descriptor that becomes readable when process `pid` ends: pidfd_open(2), Linux 5.3.
pub fn pidfd_open(pid: libc::pid_t) -> Result<OwnedFd> {
    // SAFETY: takes two numbers and returns a new descriptor, close-on-exec.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned("pidfd_open", fd as i32)
}

/// epoll(7).
pub(crate) mod epoll {
    use super::{owned, AsRawFd, Duration, Error, OwnedFd, RawFd, Result};
    use crate::clock::{milliseconds, timespec};

    /// A new set, close-on-exec.
    pub(crate) fn create() -> Result<OwnedFd> {
        // SAFETY: takes a number and returns a new descriptor.
        owned("epoll_create1", unsafe {
            libc::epoll_create1(libc::EPOLL_CLOEXEC)
        })
    }

    /// Adds or modifies the entry of `fd`; its events carry `data`.
    pub(crate) fn control(
        set: &OwnedFd,
        what: i32,
        fd: RawFd,
        events: u32,
        data: u64,
    ) -> Result<()> {
        let mut event = libc::epoll_event { events, u64: data };
        // SAFETY: the event is a local that the call reads.
        let result = unsafe { libc::epoll_ctl(set.as_raw_fd(), what, fd, &mut event) };
        if result < 0 {
            return Err(Error::last("epoll_ctl"));
        }
        Ok(())
    }

    /// Waits, and replaces the contents of `events` with the events found, as many as fit.
    pub(crate) fn wait(
        set: &OwnedFd,
        events: &mut Vec<libc::epoll_event>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        events.clear();
        let set = set.as_raw_fd();
        let room = i32::try_from(events.capacity()).unwrap_or(i32::MAX);
        let limit = timeout.map(timespec);
        let limit_address = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the kernel writes at most `room` events into the vector's own memory, and initialises as many as it
        // returns. The timespec is a local. epoll_pwait2 is Linux 5.11.
        let mut found = unsafe {
            let mask = std::ptr::null::<libc::sigset_t>();
            let address = events.as_mut_ptr();
            libc::syscall(
                libc::SYS_epoll_pwait2,
                set,
                address,
                room,
                limit_address,
                mask,
                8usize,
            )
        };
        if found < 0 && Error::last("epoll_pwait2").errno == libc::ENOSYS {
            // SAFETY: as above.
            found = unsafe {
                i64::from(libc::epoll_wait(
                    set,
                    events.as_mut_ptr(),
                    room,
                    milliseconds(timeout),
                ))
            };
        }
        if found < 0 {
            return Err(Error::last("epoll_wait"));
        }
        // SAFETY: the kernel has initialised `found` events, see above.
        unsafe { events.set_len(found as usize) };
        Ok(())
    }
}

/// Whether [`ticks`] counts evenly, and alike on all processors: if so, the kernel takes its own clock from it.
pub(crate) fn has_ticks() -> bool {
    static HAS: FirstUse = FirstUse::new();
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let is_tsc = || std::fs::read_to_string(SOURCE).is_ok_and(|source| source.trim() == "tsc");
    cfg!(target_arch = "x86_64") && HAS.get(|| is_tsc().into()) != 0
}

/// The processor's counter. Reading it takes less than half of the time that reading the clock takes.
#[cfg(target_arch = "x86_64")]
pub(crate) fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has this instruction, and Linux lets programs use it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// On other processors we use no counter.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn ticks() -> u64 {
    0
}
