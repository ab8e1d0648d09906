//! Descriptors: who owns one, whether it is open, and what kind of file is behind it.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::error::{Error, Result};
use crate::operation::Target;

/// Takes ownership of a descriptor that `call` has just returned.
pub(crate) fn owned(call: &'static str, fd: i32) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Error::last(call));
    }
    // SAFETY: the kernel has just handed out this number and nobody else knows it yet; the
    // OwnedFd is its only owner from here to the close in its Drop.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the descriptor is open.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: asks for flags and changes nothing.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Closes a descriptor that nobody else owns any longer. The descriptor is gone whatever close(2) answers, so a failure
/// needs no treatment.
pub fn close_descriptor(fd: RawFd) {
    // SAFETY: the caller gives up the descriptor. Closing a wrong number is an error, but not unsound.
    unsafe { libc::close(fd) };
}

/// Type and permissions of a descriptor's file; None when the descriptor is closed.
pub(crate) fn mode_of(fd: RawFd) -> Option<libc::mode_t> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat fills the structure when it returns 0, and it is read only then.
    unsafe { (libc::fstat(fd, stat.as_mut_ptr()) == 0).then(|| stat.assume_init().st_mode) }
}

/// Whether open(2) of a file of this type may wait for something other than a disk, as it may for FIFOs, and for
/// devices such as terminals.
pub(crate) fn may_wait_in_open(mode: libc::mode_t) -> bool {
    let never = [libc::S_IFREG, libc::S_IFDIR, libc::S_IFLNK, libc::S_IFSOCK];
    !never.contains(&(mode & libc::S_IFMT))
}

/// The kind of file of a descriptor, or the errno of fstat(2).
pub fn target_of(fd: RawFd) -> Result<Target> {
    let Some(mode) = mode_of(fd) else {
        return Err(Error::last("fstat"));
    };
    Ok(match mode & libc::S_IFMT {
        libc::S_IFSOCK => Target::Socket,
        libc::S_IFREG | libc::S_IFBLK | libc::S_IFDIR => Target::File { offset: None },
        _ => Target::Stream { nonblocking: false },
    })
}

/// Whether calls on a descriptor answer `EAGAIN` instead of waiting (`O_NONBLOCK`).
pub fn is_nonblocking(fd: RawFd) -> bool {
    // SAFETY: asks for flags and changes nothing.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags >= 0 && flags & libc::O_NONBLOCK != 0
}

/// Succeeds when the file has a position. Otherwise returns the errno of lseek(2): `ESPIPE` for pipes, sockets and
/// terminals. io_uring ignores the position of a read from one of these.
pub fn check_seekable(fd: RawFd) -> Result<()> {
    // SAFETY: asks for the position and changes nothing.
    if unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) } < 0 {
        return Err(Error::last("lseek"));
    }
    Ok(())
}
