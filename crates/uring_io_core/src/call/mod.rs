//! Calls: operations on files, names and sockets that bring their arguments along.
//!
//! A call owns everything that the kernel reads or writes for it, except lent memory. The in-flight table
//! keeps the call at one place from its start to its completion. So nobody can free or move any of it while
//! the kernel may use it, whatever happens to the party.

mod at_once;
pub(crate) mod blocking;
mod bytes;
mod facts;
pub(crate) mod opening;
#[cfg_attr(not(target_os = "linux"), path = "../elsewhere/call_platform.rs")]
pub(crate) mod platform;
mod waitall;
mod waits;

use std::ffi::CString;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use crate::address::Address;
use crate::memory::{Memory, Message, Vectors};
use crate::operation::{Interest, LentBuffer, Target};
use crate::platform::numbers;
use crate::token::Token;

/// One call. The fields are the arguments of the system call, see its man page. The text after a colon is the result.
/// When the target is `None`, a backend that needs it finds it out.
#[allow(missing_docs)]
#[derive(Debug)]
pub enum Call {
    /// Nothing. The result is 0.
    Nop,
    /// read(2), pread(2) or recv(2): bytes, 0 at the end.
    Read {
        fd: RawFd,
        target: Option<Target>,
        memory: Memory,
    },
    /// write(2), pwrite(2) or send(2): bytes.
    Write {
        fd: RawFd,
        target: Option<Target>,
        memory: Memory,
    },
    /// readv(2) or preadv(2): bytes, 0 at the end.
    ReadVectors {
        fd: RawFd,
        target: Option<Target>,
        vectors: Vectors,
    },
    /// writev(2) or pwritev(2): bytes.
    WriteVectors {
        fd: RawFd,
        target: Option<Target>,
        vectors: Vectors,
    },
    /// read(2) or pread(2) into registered memory: see [`Driver::register`](crate::Driver::register).
    ReadFixed {
        fd: RawFd,
        offset: Option<u64>,
        buffer: LentBuffer,
        index: u16,
    },
    /// write(2) or pwrite(2) from registered memory.
    WriteFixed {
        fd: RawFd,
        offset: Option<u64>,
        buffer: LentBuffer,
        index: u16,
    },
    /// recv(2) with flags: bytes, 0 at the end.
    Recv {
        fd: RawFd,
        memory: Memory,
        flags: i32,
        /// Bytes received so far, for `MSG_WAITALL` on readiness backends.
        done: usize,
    },
    /// send(2) with flags: bytes.
    Send {
        fd: RawFd,
        memory: Memory,
        flags: i32,
        /// Bytes sent so far, for `MSG_WAITALL` on readiness backends.
        done: usize,
        /// Whether io_uring answers `EAGAIN` instead of waiting for room: see [`try_at_once`](Self::try_at_once).
        at_once: bool,
    },
    /// send(2) without a copy: bytes. The memory stays lent until the driver says that it is
    /// [released](crate::Driver::take_released).
    SendZeroCopy {
        fd: RawFd,
        buffer: LentBuffer,
        flags: i32,
    },
    /// recvmsg(2): bytes, 0 at the end.
    ReceiveMessage {
        fd: RawFd,
        message: Box<Message>,
        flags: i32,
    },
    /// sendmsg(2): bytes.
    SendMessage {
        fd: RawFd,
        message: Box<Message>,
        flags: i32,
        /// Whether io_uring answers `EAGAIN` instead of waiting for room: see [`try_at_once`](Self::try_at_once).
        at_once: bool,
    },
    /// openat(2): a descriptor.
    Open {
        directory: RawFd,
        path: CString,
        flags: i32,
        mode: u32,
    },
    /// openat2(2): a descriptor.
    OpenHow {
        directory: RawFd,
        path: CString,
        how: Box<OpenHow>,
    },
    /// close(2).
    Close { fd: RawFd },
    /// Gives a direct descriptor a number in the process: a descriptor. Other backends make a dup(2) instead.
    Install { fd: RawFd },
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
    /// madvise(2), with advice that leaves the contents of the memory as they are.
    AdviseMemory { memory: LentBuffer, advice: i32 },
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
    /// getxattr(2) or fgetxattr(2): bytes. Without room for any, the size of the value.
    GetAttribute {
        subject: Subject,
        name: CString,
        memory: Memory,
    },
    /// setxattr(2) or fsetxattr(2).
    SetAttribute {
        subject: Subject,
        name: CString,
        value: Memory,
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
    /// pipe2(2). It fills `ends` with the end to read from and the end to write to.
    Pipe { flags: i32, ends: Box<[RawFd; 2]> },
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
    /// setsockopt(2).
    SetOption {
        fd: RawFd,
        level: i32,
        option: i32,
        value: Memory,
    },
    /// shutdown(2).
    Shutdown { fd: RawFd, how: i32 },
    /// poll(2) of one descriptor: the events that it has found, see [`Interest::satisfied_by`].
    Poll { fd: RawFd, interest: Interest },
    /// A pause: `-ETIME` when the time has passed.
    Timeout { length: Box<Timespec> },
    /// waitid(2).
    WaitForChild {
        kind: libc::idtype_t,
        id: libc::id_t,
        options: i32,
        found: Box<libc::siginfo_t>,
        /// The descriptor that a readiness backend waits for.
        pidfd: Option<OwnedFd>,
    },
    /// futex(2), to wait while a word has this value: 0 when woken, `-EAGAIN` when it has another value.
    FutexWait { word: LentBuffer, expected: u32 },
    /// futex(2), to wake at most this many waiters: how many it has woken.
    FutexWake { word: LentBuffer, count: u32 },
    /// Completes a token of another ring with 0.
    Nudge { ring: RawFd, token: Token },
    /// accept4(2), over and over: a descriptor each time.
    AcceptEach { fd: RawFd, flags: i32 },
    /// recv(2), over and over: bytes each time, 0 at the end.
    RecvEach { fd: RawFd, flags: i32 },
    /// read(2), over and over: bytes each time, 0 at the end.
    ReadEach { fd: RawFd },
    /// poll(2) of one descriptor, over and over: the events each time.
    PollEach { fd: RawFd, interest: Interest },
}

/// The structure that statx(2) fills in.
pub type FileStatus = numbers::FileStatus;

/// The arguments of openat2(2), laid out as `struct open_how`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OpenHow {
    /// As for open(2).
    pub flags: u64,
    /// Permissions of a new file; 0 without `O_CREAT`.
    pub mode: u64,
    /// `RESOLVE_*`.
    pub resolve: u64,
}

/// A length of time, as `struct __kernel_timespec` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

impl From<Duration> for Timespec {
    fn from(length: Duration) -> Self {
        Self {
            seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: length.subsec_nanos().into(),
        }
    }
}

impl From<Timespec> for Duration {
    fn from(length: Timespec) -> Self {
        Self::new(length.seconds as u64, length.nanoseconds as u32)
    }
}

/// A file, by descriptor or by name.
#[derive(Debug)]
pub enum Subject {
    /// The file behind this descriptor.
    Descriptor(RawFd),
    /// The file of this name.
    Path(CString),
}

/// How a call is part of a chain, where it begins when the call before it has succeeded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Whether it is a step of a chain in the kernel at all.
    pub chained: bool,
    /// Whether the chain goes on even if this call fails.
    pub hard: bool,
    /// Whether its descriptor is a direct one of the ring: see [`Driver::take_slots`](crate::Driver::take_slots).
    pub direct: bool,
    /// Whether the source of a splice or tee is a direct descriptor.
    pub direct_source: bool,
    /// The direct descriptor that it opens.
    pub into: Option<u32>,
}

impl Call {
    /// recv(2) with flags.
    pub fn recv(fd: RawFd, memory: Memory, flags: i32) -> Self {
        Self::Recv {
            fd,
            memory,
            flags,
            done: 0,
        }
    }

    /// send(2) with flags.
    pub fn send(fd: RawFd, memory: Memory, flags: i32) -> Self {
        Self::Send {
            fd,
            memory,
            flags,
            done: 0,
            at_once: false,
        }
    }

    /// sendmsg(2).
    pub fn send_message(fd: RawFd, message: Box<Message>, flags: i32) -> Self {
        Self::SendMessage {
            fd,
            message,
            flags,
            at_once: false,
        }
    }

    /// A new call with the same arguments, if it is a stream.
    pub fn again(&self) -> Option<Self> {
        match *self {
            Self::AcceptEach { fd, flags } => Some(Self::AcceptEach { fd, flags }),
            Self::RecvEach { fd, flags } => Some(Self::RecvEach { fd, flags }),
            Self::ReadEach { fd } => Some(Self::ReadEach { fd }),
            Self::PollEach { fd, interest } => Some(Self::PollEach { fd, interest }),
            #[rustfmt::skip]
            Self::Nop | Self::Read { .. } | Self::Write { .. } | Self::ReadVectors { .. } | Self::WriteVectors { .. }
            | Self::ReadFixed { .. } | Self::WriteFixed { .. } | Self::Recv { .. } | Self::Send { .. }
            | Self::SendZeroCopy { .. } | Self::ReceiveMessage { .. } | Self::SendMessage { .. } | Self::Open { .. }
            | Self::OpenHow { .. } | Self::Close { .. } | Self::Install { .. } | Self::Stat { .. } | Self::Sync { .. }
            | Self::SyncRange { .. } | Self::Allocate { .. } | Self::Truncate { .. } | Self::Advise { .. }
            | Self::AdviseMemory { .. } | Self::Rename { .. } | Self::Unlink { .. } | Self::MakeDirectory { .. }
            | Self::Symlink { .. } | Self::Link { .. } | Self::GetAttribute { .. } | Self::SetAttribute { .. }
            | Self::Splice { .. } | Self::Tee { .. } | Self::Pipe { .. } | Self::Socket { .. } | Self::Bind { .. }
            | Self::Listen { .. } | Self::Accept { .. } | Self::Connect { .. } | Self::SetOption { .. }
            | Self::Shutdown { .. } | Self::Poll { .. } | Self::Timeout { .. } | Self::WaitForChild { .. }
            | Self::FutexWait { .. } | Self::FutexWake { .. } | Self::Nudge { .. } => None,
        }
    }
}
