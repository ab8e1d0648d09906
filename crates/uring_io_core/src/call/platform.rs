//! Calls that only Linux has, or that have another form on Linux. On other systems `elsewhere/call_platform.rs` takes
//! the place of this file.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, RawFd};

use super::opening::Opening;
use super::{Call, OpenHow, Subject};
use crate::descriptor::{may_wait_in_open, mode_of, owned};
use crate::error::or_errno;
use crate::memory::Message;

/// Makes a call that differs by system, and blocks for as long as it takes. Returns its result, or a negative errno.
/// None for a call that is the same on every system.
pub(crate) fn make(call: &mut Call) -> Option<i32> {
    // SAFETY: every pointer leads into the call, or to memory that is lent to it until this system call returns.
    // Descriptors may be any numbers.
    let result = unsafe {
        match call {
            Call::OpenHow {
                directory,
                path,
                how,
            } => libc::syscall(
                libc::SYS_openat2,
                *directory,
                path.as_ptr(),
                std::ptr::from_ref(&**how),
                size_of_val(&**how),
            ) as i32,
            Call::Stat {
                directory,
                path,
                flags,
                mask,
                found,
            } => libc::statx(*directory, path.as_ptr(), *flags, *mask, &mut **found),
            Call::Sync {
                fd,
                data_only: true,
            } => libc::fdatasync(*fd),
            Call::SyncRange {
                fd,
                offset,
                length,
                flags,
            } => libc::sync_file_range(*fd, *offset as i64, i64::from(*length), *flags),
            Call::Allocate {
                fd,
                mode,
                offset,
                length,
            } => libc::fallocate(*fd, *mode, *offset as i64, *length as i64),
            // posix_fadvise(2) returns the errno itself.
            Call::Advise {
                fd,
                offset,
                length,
                advice,
            } => {
                let length = i64::from(*length);
                return Some(-libc::posix_fadvise(*fd, *offset as i64, length, *advice));
            }
            Call::AdviseMemory { memory, advice } => {
                libc::madvise(memory.address().cast(), memory.length(), *advice)
            }
            Call::Rename { from, to, flags } => libc::syscall(
                libc::SYS_renameat2,
                from.0,
                from.1.as_ptr(),
                to.0,
                to.1.as_ptr(),
                *flags,
            ) as i32,
            Call::GetAttribute {
                subject,
                name,
                memory,
            } => {
                let buffer = memory.lend();
                let (name, room, size) = (name.as_ptr(), buffer.address().cast(), buffer.length());
                (match subject {
                    Subject::Descriptor(fd) => libc::fgetxattr(*fd, name, room, size),
                    Subject::Path(path) => libc::getxattr(path.as_ptr(), name, room, size),
                }) as i32
            }
            Call::SetAttribute {
                subject,
                name,
                value,
                flags,
            } => {
                let buffer = value.lend();
                let (name, bytes, size) = (name.as_ptr(), buffer.address().cast(), buffer.length());
                match subject {
                    Subject::Descriptor(fd) => libc::fsetxattr(*fd, name, bytes, size, *flags),
                    Subject::Path(path) => libc::setxattr(path.as_ptr(), name, bytes, size, *flags),
                }
            }
            Call::Pipe { flags, ends } => libc::pipe2(ends.as_mut_ptr(), *flags),
            Call::FutexWake { word, count } => libc::syscall(
                libc::SYS_futex,
                word.address(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                *count,
            ) as i32,
            Call::Splice {
                from,
                from_offset,
                to,
                to_offset,
                length,
                flags,
            } => libc::splice(
                *from,
                position(from_offset),
                *to,
                position(to_offset),
                *length as usize,
                *flags,
            ) as i32,
            Call::Tee {
                from,
                to,
                length,
                flags,
            } => libc::tee(*from, *to, *length as usize, *flags) as i32,
            Call::Socket {
                domain,
                kind,
                protocol,
            } => libc::socket(*domain, *kind, *protocol),
            _ => return None,
        }
    };
    Some(or_errno(result))
}

/// recvmsg(2). The descriptors that it receives are close-on-exec.
pub(crate) fn receive_message(fd: RawFd, message: &mut Message, flags: i32) -> isize {
    // SAFETY: the header leads into the message and the memory that is lent to it.
    unsafe { libc::recvmsg(fd, message.header(), flags | libc::MSG_CMSG_CLOEXEC) }
}

/// accept4(2).
pub(crate) fn accept(fd: RawFd, flags: i32) -> i32 {
    let nowhere = std::ptr::null_mut();
    // SAFETY: both pointers are null, so the call stores no address.
    unsafe { libc::accept4(fd, nowhere, nowhere.cast(), flags) }
}

/// The offset argument of splice(2): null for -1, which stands for the descriptor's own position.
fn position(offset: &mut i64) -> *mut i64 {
    if *offset < 0 {
        std::ptr::null_mut()
    } else {
        offset
    }
}

/// Whether an open may wait. Finding out never waits for a disk. False for files and directories, and when there is
/// nothing to open. None when the kernel would have to read a disk for the path (`RESOLVE_CACHED`, Linux 5.12), or
/// does not say.
pub(crate) fn waits_in_open(opening: &Opening) -> Option<bool> {
    const RESOLVE_CACHED: u64 = 0x20;
    let how = OpenHow {
        flags: (libc::O_PATH | libc::O_CLOEXEC | opening.flags & libc::O_NOFOLLOW) as u64,
        mode: 0,
        resolve: opening.resolve | RESOLVE_CACHED,
    };
    // SAFETY: path and structure outlive the call, which returns a new descriptor.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            opening.directory,
            opening.path.as_ptr(),
            std::ptr::from_ref(&how),
            size_of_val(&how),
        )
    };
    match owned("openat2", fd as i32) {
        Ok(found) => mode_of(found.as_raw_fd()).map(may_wait_in_open),
        Err(error) => {
            let says = [
                libc::ENOENT,
                libc::ENOTDIR,
                libc::EACCES,
                libc::ELOOP,
                libc::EXDEV,
                libc::EBADF,
                libc::ENAMETOOLONG,
            ];
            says.contains(&error.errno).then_some(false)
        }
    }
}
