//! Takes the place of `call/platform.rs` on other systems than Linux. It makes the calls that these systems have, and
//! answers `ENOSYS` for the rest. It compiles for them, but nobody has run it on one.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::Call;
use crate::error::{or_errno, Error};
use crate::memory::Message;
use crate::platform::{close_on_exec, numbers, pipe};

/// Makes a call that exists only on Linux, or that Linux makes in its own way. Returns its result or a negative errno;
/// None for a call that is the same on every system.
pub(crate) fn make(call: &mut Call) -> Option<i32> {
    Some(or_errno(match call {
        // SAFETY: the call takes a number.
        Call::Sync { fd, .. } => unsafe { libc::fsync(*fd) },
        // SAFETY: the paths belong to the call, which outlives the system call.
        Call::Rename { from, to, flags: 0 } => unsafe {
            libc::renameat(from.0, from.1.as_ptr(), to.0, to.1.as_ptr())
        },
        Call::Pipe { flags, ends } => pipe(ends, *flags),
        Call::Socket {
            domain,
            kind,
            protocol,
        } => {
            // SAFETY: the call takes numbers and returns a new descriptor.
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

/// recvmsg(2). The descriptors that it receives become close-on-exec.
pub(crate) fn receive_message(fd: RawFd, message: &mut Message, flags: i32) -> isize {
    // SAFETY: the header points into the message, and into memory that is lent to it.
    let received = unsafe { libc::recvmsg(fd, message.header(), flags) };
    if received >= 0 {
        message.descriptors().into_iter().for_each(close_on_exec);
    }
    received
}

/// accept(2). The new descriptor is close-on-exec and blocking, whatever flags the listening one has.
pub(crate) fn accept(fd: RawFd, _: i32) -> i32 {
    let nowhere = std::ptr::null_mut();
    // SAFETY: with null pointers, the call writes no address.
    let accepted = unsafe { libc::accept(fd, nowhere, nowhere.cast()) };
    if accepted >= 0 {
        close_on_exec(accepted);
        // SAFETY: the call sets flags of a descriptor that nobody else knows yet.
        unsafe { libc::fcntl(accepted, libc::F_SETFL, 0) };
    }
    accepted
}

fn metadata(directory: RawFd, path: &CStr, flags: i32) -> io::Result<Metadata> {
    if flags & numbers::AT_EMPTY_PATH != 0 && path.is_empty() {
        if directory < 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        // SAFETY: the caller owns the descriptor, and ManuallyDrop keeps it open. A number that is not open is an
        // error.
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
