//! In place of `system.rs` on systems other than Linux: what it has as far as they have it too, and
//! `ENOSYS` for the rest. It is compiled for them, and has never been run on one.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::call::Call;
use crate::clock::milliseconds;
use crate::descriptor::owned;
use crate::error::{or_errno, Error, Result};
use crate::memory::Message;
use crate::operation::{Direction, Interest, LentBuffer};

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

    /// What statx(2) would fill in, as far as stat(2) has it.
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

/// A descriptor that is readable while one of these is ready for what is asked of it: a kqueue(2). It cannot
/// tell of urgent input alone (`ENOSYS`).
pub fn watch(watched: &[(RawFd, Interest)]) -> Result<OwnedFd> {
    if watched.iter().any(|(_, interest)| interest.is_urgent()) {
        return Err(Error::new("kevent", libc::ENOSYS));
    }
    // SAFETY: takes nothing and returns a new descriptor.
    let queue = owned("kqueue", unsafe { libc::kqueue() })?;
    close_on_exec(queue.as_raw_fd());
    for &(fd, interest) in watched {
        for (event, filter) in [
            (libc::POLLIN, libc::EVFILT_READ),
            (libc::POLLOUT, libc::EVFILT_WRITE),
        ] {
            if interest.poll_events() & event != 0 {
                add_filter(&queue, fd, filter as _)?;
            }
        }
    }
    Ok(queue)
}

/// As [`watch`]: what the descriptors are ready for already is told again.
pub fn watch_changes(watched: &[(RawFd, Interest)]) -> Result<OwnedFd> {
    watch(watched)
}

fn add_filter(queue: &OwnedFd, fd: RawFd, filter: i32) -> Result<()> {
    // SAFETY: all zeros is an event of no flags.
    let mut event = unsafe { std::mem::zeroed::<libc::kevent>() };
    event.ident = fd as _;
    event.filter = filter as _;
    event.flags = libc::EV_ADD as _;
    let nowhere = std::ptr::null_mut();
    // SAFETY: reads one event, a local, and has no room for any.
    let added = unsafe { libc::kevent(queue.as_raw_fd(), &event, 1, nowhere, 0, std::ptr::null()) };
    if added < 0 {
        return Err(Error::last("kevent"));
    }
    Ok(())
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

/// Linux only: `-EOPNOTSUPP`, and the caller reads otherwise.
pub fn read_cached(_: RawFd, _: Option<i64>, _: LentBuffer) -> i32 {
    -libc::EOPNOTSUPP
}

/// See [`nowait`].
pub(crate) fn pipes_can_nowait() -> bool {
    false
}

/// Linux only: a thread waits for a child.
pub fn pidfd_open(_: libc::pid_t) -> Result<OwnedFd> {
    Err(Error::new("pidfd_open", libc::ENOSYS))
}

/// Makes a call that Linux has, or makes otherwise: its result, or a negative errno. None for one that
/// every system makes alike.
pub(crate) fn make(call: &mut Call) -> Option<i32> {
    Some(or_errno(match call {
        // SAFETY: takes a number.
        Call::Sync { fd, .. } => unsafe { libc::fsync(*fd) },
        // SAFETY: the paths are the call's own.
        Call::Rename { from, to, flags: 0 } => unsafe {
            libc::renameat(from.0, from.1.as_ptr(), to.0, to.1.as_ptr())
        },
        Call::Pipe { flags, ends } => pipe(ends, *flags),
        Call::Socket {
            domain,
            kind,
            protocol,
        } => {
            // SAFETY: takes numbers and returns a new descriptor.
            let fd = unsafe { libc::socket(*domain, *kind & !numbers::SOCK_CLOEXEC, *protocol) };
            close_on_exec(fd);
            fd
        }
        Call::Stat {
            directory,
            path,
            flags,
            found,
            ..
        } => {
            return Some(match metadata(*directory, path, *flags) {
                Ok(metadata) => {
                    **found = status(&metadata);
                    0
                }
                Err(error) => -Error::from_io("stat", &error).errno,
            })
        }
        Call::OpenHow { .. }
        | Call::SyncRange { .. }
        | Call::Allocate { .. }
        | Call::Advise { .. }
        | Call::AdviseMemory { .. }
        | Call::Rename { .. }
        | Call::GetAttribute { .. }
        | Call::SetAttribute { .. }
        | Call::FutexWake { .. }
        | Call::Splice { .. }
        | Call::Tee { .. } => return Some(-libc::ENOSYS),
        _ => return None,
    }))
}

/// recvmsg(2), with descriptors that are close-on-exec.
pub(crate) fn receive_message(fd: RawFd, message: &mut Message, flags: i32) -> isize {
    // SAFETY: the header leads into the message and the memory that is lent to it.
    let received = unsafe { libc::recvmsg(fd, message.header(), flags) };
    if received >= 0 {
        message.descriptors().into_iter().for_each(close_on_exec);
    }
    received
}

/// accept(2), whose descriptor is close-on-exec and waits, whatever the one that listens does.
pub(crate) fn accept(fd: RawFd, _: i32) -> i32 {
    let nowhere = std::ptr::null_mut();
    // SAFETY: no address is asked for.
    let accepted = unsafe { libc::accept(fd, nowhere, nowhere.cast()) };
    if accepted >= 0 {
        close_on_exec(accepted);
        // SAFETY: sets flags of a descriptor that nobody knows yet.
        unsafe { libc::fcntl(accepted, libc::F_SETFL, 0) };
    }
    accepted
}

fn metadata(directory: RawFd, path: &CStr, flags: i32) -> io::Result<Metadata> {
    if flags & numbers::AT_EMPTY_PATH != 0 && path.is_empty() {
        if directory < 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        // SAFETY: the descriptor is the caller's and is not closed here; one that is not open is an error.
        return ManuallyDrop::new(unsafe { File::from_raw_fd(directory) }).metadata();
    }
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    if directory != libc::AT_FDCWD && path.is_relative() {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
    }
    if flags & libc::AT_SYMLINK_NOFOLLOW != 0 {
        path.symlink_metadata()
    } else {
        path.metadata()
    }
}

fn status(found: &Metadata) -> numbers::FileStatus {
    let time = |tv_sec, nanoseconds: i64| numbers::FileTime {
        tv_sec,
        tv_nsec: nanoseconds as u32,
    };
    let born = found.created().ok();
    let born = born.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let born = born.unwrap_or_default();
    numbers::FileStatus {
        stx_dev_major: libc::major(found.dev() as libc::dev_t) as u32,
        stx_dev_minor: libc::minor(found.dev() as libc::dev_t) as u32,
        stx_ino: found.ino(),
        stx_mode: found.mode() as u16,
        stx_nlink: found.nlink() as u32,
        stx_uid: found.uid(),
        stx_gid: found.gid(),
        stx_size: found.size(),
        stx_blocks: found.blocks(),
        stx_blksize: found.blksize() as u32,
        stx_atime: time(found.atime(), found.atime_nsec()),
        stx_mtime: time(found.mtime(), found.mtime_nsec()),
        stx_ctime: time(found.ctime(), found.ctime_nsec()),
        stx_btime: time(born.as_secs() as i64, born.subsec_nanos().into()),
    }
}

/// pipe2(2), with ends that are close-on-exec anyway.
fn pipe(ends: &mut [RawFd; 2], flags: i32) -> i32 {
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
fn close_on_exec(fd: RawFd) {
    if fd >= 0 {
        // SAFETY: sets a flag of a descriptor that nobody knows yet.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}
