//! Class UringIO::Ring::Call: the constructors of operations on files, on their metadata and on names.

use magnus::{function, prelude::*, Error, RClass, RString, Ruby, Value};
use uring_io_core::{empty_status, numbers, Call, OpenHow};

use super::arguments::{own_memory, path_of, subject_of};
use super::ring_call::{Constructed, RingCall};
use crate::memory::held::LENGTH_MAX;
use crate::ruby::errors;

impl RingCall {
    fn open(
        ruby: &Ruby,
        directory: i32,
        path: RString,
        flags: i32,
        mode: u32,
    ) -> Result<Self, Error> {
        Ok(Self::new(Call::Open {
            directory,
            path: path_of(ruby, path)?,
            flags: flags | libc::O_CLOEXEC,
            mode,
        }))
    }

    fn openat2(
        ruby: &Ruby,
        directory: i32,
        path: RString,
        flags: i32,
        mode: u32,
        resolve: u64,
    ) -> Result<Self, Error> {
        let makes = flags & (libc::O_CREAT | numbers::O_TMPFILE) != 0;
        let how = OpenHow {
            flags: (flags | libc::O_CLOEXEC) as u64,
            mode: if makes { mode.into() } else { 0 },
            resolve,
        };
        Ok(Self::new(Call::OpenHow {
            directory,
            path: path_of(ruby, path)?,
            how: Box::new(how),
        }))
    }

    fn close(fd: i32) -> Self {
        Self::new(Call::Close { fd })
    }

    fn install(fd: i32) -> Self {
        Self::new(Call::Install { fd })
    }

    fn stat(ruby: &Ruby, directory: i32, path: RString, flags: i32) -> Result<Self, Error> {
        Ok(Self::new(Call::Stat {
            directory,
            path: path_of(ruby, path)?,
            flags,
            mask: numbers::STATX_BASIC_STATS | numbers::STATX_BTIME,
            found: Box::new(empty_status()),
        }))
    }

    fn sync(fd: i32, data_only: bool) -> Self {
        Self::new(Call::Sync { fd, data_only })
    }

    fn sync_range(fd: i32, offset: u64, length: u32, flags: u32) -> Self {
        Self::new(Call::SyncRange {
            fd,
            offset,
            length,
            flags,
        })
    }

    fn allocate(fd: i32, mode: i32, offset: u64, length: u64) -> Self {
        Self::new(Call::Allocate {
            fd,
            mode,
            offset,
            length,
        })
    }

    fn truncate(fd: i32, length: u64) -> Self {
        Self::new(Call::Truncate { fd, length })
    }

    fn advise(fd: i32, offset: u64, length: u32, advice: i32) -> Self {
        Self::new(Call::Advise {
            fd,
            offset,
            length,
            advice,
        })
    }

    fn advise_memory(
        ruby: &Ruby,
        buffer: Value,
        at: usize,
        length: Option<u32>,
        advice: i32,
    ) -> Constructed {
        Self::holding(ruby, |held| {
            let buffer_memory = own_memory(ruby, buffer, "madvise")?;
            let size = buffer_memory.size();
            let length = match length {
                Some(length) => length as usize,
                None => size.saturating_sub(at),
            };
            let fits = at.checked_add(length).is_some_and(|end| end <= size);
            if !fits || length > LENGTH_MAX {
                let message = format!(
                    "at: {at} and length: {length} must lie in the buffer of {size} bytes, and length be at most \
                     {LENGTH_MAX} (one system call)"
                );
                return Err(errors::argument(ruby, message));
            }
            let memory = buffer_memory.lend(at, length);
            held.lock(ruby, buffer, buffer_memory)?;
            Ok(Call::AdviseMemory { memory, advice })
        })
    }

    fn rename(ruby: &Ruby, from: RString, to: RString, flags: u32) -> Result<Self, Error> {
        Ok(Self::new(Call::Rename {
            from: (libc::AT_FDCWD, path_of(ruby, from)?),
            to: (libc::AT_FDCWD, path_of(ruby, to)?),
            flags,
        }))
    }

    fn unlink(ruby: &Ruby, path: RString, flags: i32) -> Result<Self, Error> {
        Ok(Self::new(Call::Unlink {
            directory: libc::AT_FDCWD,
            path: path_of(ruby, path)?,
            flags,
        }))
    }

    fn mkdir(ruby: &Ruby, path: RString, mode: u32) -> Result<Self, Error> {
        Ok(Self::new(Call::MakeDirectory {
            directory: libc::AT_FDCWD,
            path: path_of(ruby, path)?,
            mode,
        }))
    }

    fn symlink(ruby: &Ruby, target: RString, path: RString) -> Result<Self, Error> {
        Ok(Self::new(Call::Symlink {
            target: path_of(ruby, target)?,
            directory: libc::AT_FDCWD,
            path: path_of(ruby, path)?,
        }))
    }

    fn link(ruby: &Ruby, from: RString, to: RString) -> Result<Self, Error> {
        Ok(Self::new(Call::Link {
            from: (libc::AT_FDCWD, path_of(ruby, from)?),
            to: (libc::AT_FDCWD, path_of(ruby, to)?),
            flags: 0,
        }))
    }

    /// `subject`: a path, or a descriptor.
    fn getxattr(ruby: &Ruby, subject: Value, name: RString, length: usize) -> Constructed {
        let subject = subject_of(ruby, subject)?;
        let name = path_of(ruby, name)?;
        Self::holding(ruby, |held| {
            let memory = held.string(ruby, length)?;
            Ok(Call::GetAttribute {
                subject,
                name,
                memory,
            })
        })
    }

    fn setxattr(
        ruby: &Ruby,
        subject: Value,
        name: RString,
        value: RString,
        flags: i32,
    ) -> Constructed {
        let subject = subject_of(ruby, subject)?;
        let name = path_of(ruby, name)?;
        Self::holding(ruby, |held| {
            Ok(Call::SetAttribute {
                subject,
                name,
                value: held.bytes(value),
                flags,
            })
        })
    }
}

pub fn init(call: RClass) -> Result<(), Error> {
    call.const_set("AT_EMPTY_PATH", numbers::AT_EMPTY_PATH)?;
    call.const_set("AT_FDCWD", libc::AT_FDCWD)?;
    call.const_set("AT_REMOVEDIR", libc::AT_REMOVEDIR)?;
    call.const_set("AT_SYMLINK_NOFOLLOW", libc::AT_SYMLINK_NOFOLLOW)?;
    call.define_singleton_method("open", function!(RingCall::open, 4))?;
    call.define_singleton_method("openat2", function!(RingCall::openat2, 5))?;
    call.define_singleton_method("close", function!(RingCall::close, 1))?;
    call.define_singleton_method("install", function!(RingCall::install, 1))?;
    call.define_singleton_method("stat", function!(RingCall::stat, 3))?;
    call.define_singleton_method("sync", function!(RingCall::sync, 2))?;
    call.define_singleton_method("sync_range", function!(RingCall::sync_range, 4))?;
    call.define_singleton_method("allocate", function!(RingCall::allocate, 4))?;
    call.define_singleton_method("truncate", function!(RingCall::truncate, 2))?;
    call.define_singleton_method("advise", function!(RingCall::advise, 4))?;
    call.define_singleton_method("advise_memory", function!(RingCall::advise_memory, 4))?;
    call.define_singleton_method("rename", function!(RingCall::rename, 3))?;
    call.define_singleton_method("unlink", function!(RingCall::unlink, 2))?;
    call.define_singleton_method("mkdir", function!(RingCall::mkdir, 2))?;
    call.define_singleton_method("symlink", function!(RingCall::symlink, 2))?;
    call.define_singleton_method("link", function!(RingCall::link, 2))?;
    call.define_singleton_method("getxattr", function!(RingCall::getxattr, 3))?;
    call.define_singleton_method("setxattr", function!(RingCall::setxattr, 4))?;
    Ok(())
}
