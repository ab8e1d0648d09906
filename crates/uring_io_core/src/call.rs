//! Calls: operations on files, names and sockets that bring their arguments along.
//!
//! A call owns everything that the kernel reads or writes for it, but for memory that is lent. The
//! in-flight table keeps it, at one place, from its start to its completion, so nothing of it can be
//! freed or moved while the kernel may use it, whatever becomes of the party.

use std::ffi::CString;
use std::os::fd::RawFd;

use crate::operation::{Interest, LentBuffer, Target};
use crate::sys;

/// One call. The fields are the arguments of the system call, see its man page.
#[allow(missing_docs)]
#[derive(Debug)]
pub enum Call {
    /// Nothing. The result is 0.
    Nop,
    /// read(2), pread(2) or recv(2): bytes, 0 at the end.
    Read {
        fd: RawFd,
        target: Target,
        memory: Memory,
    },
    /// write(2), pwrite(2) or send(2): bytes.
    Write {
        fd: RawFd,
        target: Target,
        memory: Memory,
    },
    /// recv(2) with flags: bytes, 0 at the end.
    Recv {
        fd: RawFd,
        memory: Memory,
        flags: i32,
    },
    /// send(2) with flags: bytes.
    Send {
        fd: RawFd,
        memory: Memory,
        flags: i32,
    },
    /// openat(2): a descriptor.
    Open {
        directory: RawFd,
        path: CString,
        flags: i32,
        mode: u32,
    },
    /// close(2).
    Close { fd: RawFd },
    /// statx(2).
    Stat {
        directory: RawFd,
        path: CString,
        flags: i32,
        mask: u32,
        found: Box<FileStatus>,
    },
    /// fsync(2), or fdatasync(2) for the data only.
    Sync { fd: RawFd, data_only: bool },
    /// sync_file_range(2).
    SyncRange {
        fd: RawFd,
        offset: u64,
        length: u32,
        flags: u32,
    },
    /// fallocate(2).
    Allocate {
        fd: RawFd,
        mode: i32,
        offset: u64,
        length: u64,
    },
    /// ftruncate(2).
    Truncate { fd: RawFd, length: u64 },
    /// posix_fadvise(2).
    Advise {
        fd: RawFd,
        offset: u64,
        length: u32,
        advice: i32,
    },
    /// renameat2(2).
    Rename {
        from: (RawFd, CString),
        to: (RawFd, CString),
        flags: u32,
    },
    /// unlinkat(2).
    Unlink {
        directory: RawFd,
        path: CString,
        flags: i32,
    },
    /// mkdirat(2).
    MakeDirectory {
        directory: RawFd,
        path: CString,
        mode: u32,
    },
    /// symlinkat(2).
    Symlink {
        target: CString,
        directory: RawFd,
        path: CString,
    },
    /// linkat(2).
    Link {
        from: (RawFd, CString),
        to: (RawFd, CString),
        flags: i32,
    },
    /// splice(2): bytes. An offset of -1 is the descriptor's own position.
    Splice {
        from: RawFd,
        from_offset: i64,
        to: RawFd,
        to_offset: i64,
        length: u32,
        flags: u32,
    },
    /// tee(2): bytes.
    Tee {
        from: RawFd,
        to: RawFd,
        length: u32,
        flags: u32,
    },
    /// socket(2): a descriptor.
    Socket {
        domain: i32,
        kind: i32,
        protocol: i32,
    },
    /// bind(2).
    Bind { fd: RawFd, address: Address },
    /// listen(2).
    Listen { fd: RawFd, backlog: i32 },
    /// accept4(2): a descriptor.
    Accept { fd: RawFd, flags: i32 },
    /// connect(2).
    Connect { fd: RawFd, address: Address },
    /// shutdown(2).
    Shutdown { fd: RawFd, how: i32 },
}

/// What statx(2) fills in.
pub type FileStatus = libc::statx;

/// Memory of a transfer.
pub enum Memory {
    /// The call's own.
    Owned(Vec<u8>),
    /// Somebody else's.
    Lent(LentBuffer),
}

impl Memory {
    /// Where it is and how much, at most what one system call takes.
    pub(crate) fn lend(&self) -> LentBuffer {
        match self {
            Self::Owned(bytes) => LentBuffer::of(bytes),
            Self::Lent(buffer) => *buffer,
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.lend().length())
    }
}

/// A socket address as the kernel has it.
#[derive(Clone, Copy)]
pub struct Address {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) length: libc::socklen_t,
}

impl Address {
    /// The address in these bytes (a packed sockaddr); `None` when there are more than any has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        sys::address(bytes)
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "family {}", self.storage.ss_family)
    }
}

impl Call {
    /// The system call that fails when it fails.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nop => "nop",
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Recv { .. } => "recv",
            Self::Send { .. } => "send",
            Self::Open { .. } => "openat",
            Self::Close { .. } => "close",
            Self::Stat { .. } => "statx",
            Self::Sync {
                data_only: false, ..
            } => "fsync",
            Self::Sync { .. } => "fdatasync",
            Self::SyncRange { .. } => "sync_file_range",
            Self::Allocate { .. } => "fallocate",
            Self::Truncate { .. } => "ftruncate",
            Self::Advise { .. } => "fadvise",
            Self::Rename { .. } => "renameat",
            Self::Unlink { .. } => "unlinkat",
            Self::MakeDirectory { .. } => "mkdirat",
            Self::Symlink { .. } => "symlinkat",
            Self::Link { .. } => "linkat",
            Self::Splice { .. } => "splice",
            Self::Tee { .. } => "tee",
            Self::Socket { .. } => "socket",
            Self::Bind { .. } => "bind",
            Self::Listen { .. } => "listen",
            Self::Accept { .. } => "accept",
            Self::Connect { .. } => "connect",
            Self::Shutdown { .. } => "shutdown",
        }
    }

    /// Takes back what a call did whose caller does not want it any more: a descriptor that nobody
    /// will ever learn of.
    pub fn undo(&self, result: i32) {
        let opened = matches!(
            self,
            Self::Open { .. } | Self::Socket { .. } | Self::Accept { .. }
        );
        if opened && result >= 0 {
            sys::close_descriptor(result);
        }
    }

    /// The descriptor that the call may have to wait for.
    pub fn waits_for(&self) -> Option<RawFd> {
        self.interest().map(|(fd, _)| fd)
    }

    /// What a readiness backend waits for before it makes the call; `None` for a call that does not
    /// wait for readiness.
    pub(crate) fn interest(&self) -> Option<(RawFd, Interest)> {
        match self {
            Self::Read { fd, target, .. } if !matches!(target, Target::File { .. }) => {
                Some((*fd, Interest::READABLE))
            }
            Self::Write { fd, target, .. } if !matches!(target, Target::File { .. }) => {
                Some((*fd, Interest::WRITABLE))
            }
            Self::Recv { fd, .. } | Self::Accept { fd, .. } => Some((*fd, Interest::READABLE)),
            Self::Send { fd, .. } | Self::Connect { fd, .. } => Some((*fd, Interest::WRITABLE)),
            _ => None,
        }
    }
}
