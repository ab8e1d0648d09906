//! Calls: operations on files, names and sockets that bring their arguments along.
//!
//! A call owns everything that the kernel reads or writes for it, but for memory that is lent. The
//! in-flight table keeps it, at one place, from its start to its completion, so nothing of it can be
//! freed or moved while the kernel may use it, whatever becomes of the party.

pub(crate) mod blocking;
mod opening;
#[cfg_attr(not(target_os = "linux"), path = "../elsewhere/call_platform.rs")]
pub(crate) mod platform;
mod waits;

use std::ffi::CString;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use crate::address::Address;
use crate::descriptor::close_descriptor;
use crate::memory::{Memory, Message, Vectors};
use crate::operation::{Interest, LentBuffer, Target};
use crate::platform::numbers;
use crate::token::Token;
pub(crate) use opening::Opening;

/// One call. The fields are the arguments of the system call, see its man page. A target of `None` is
/// found out where that is needed.
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
    /// A descriptor of the process for a direct one; dup(2) where there are none of these.
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
    /// madvise(2), on memory that the advice leaves as it is.
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
    /// getxattr(2) or fgetxattr(2): bytes; those that there are when there is no room for any.
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
    /// pipe2(2): the ends to read from and to write to.
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
    /// poll(2) of one descriptor: the events that were found, see [`Interest::satisfied_by`].
    Poll { fd: RawFd, interest: Interest },
    /// Time passes: `-ETIME` when it has.
    Timeout { length: Box<Timespec> },
    /// waitid(2).
    WaitForChild {
        kind: libc::idtype_t,
        id: libc::id_t,
        options: i32,
        found: Box<libc::siginfo_t>,
        /// What a readiness backend waits for.
        pidfd: Option<OwnedFd>,
    },
    /// futex(2), to wait while a word has this value: 0 when woken, `-EAGAIN` when it has another.
    FutexWait { word: LentBuffer, expected: u32 },
    /// futex(2), to wake so many that wait: how many there were.
    FutexWake { word: LentBuffer, count: u32 },
    /// A completion of 0 for a token of another ring.
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

/// What statx(2) fills in.
pub type FileStatus = numbers::FileStatus;

/// What openat2(2) takes, as `struct open_how` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OpenHow {
    /// As for open(2).
    pub flags: u64,
    /// Permissions of a file that is made; 0 without `O_CREAT`.
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

/// A file that is open, or one by name.
#[derive(Debug)]
pub enum Subject {
    /// The one behind this descriptor.
    Descriptor(RawFd),
    /// The one of this name.
    Path(CString),
}

/// How a call is one of a chain: it begins when the one before has succeeded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Whether the calls after it are made also when it fails.
    pub hard: bool,
    /// Whether its descriptor is a direct one of the ring: see [`Driver::take_slots`](crate::Driver::take_slots).
    pub direct: bool,
    /// Whether the source of a splice or tee is one.
    pub direct_source: bool,
    /// The direct descriptor that it opens.
    pub into: Option<u32>,
}

impl Call {
    /// The system call that fails when it fails.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nop => "nop",
            Self::ReadVectors { .. } => "readv",
            Self::WriteVectors { .. } => "writev",
            Self::ReadEach { .. } | Self::ReadFixed { .. } => "read",
            Self::WriteFixed { .. } => "write",
            Self::RecvEach { .. } => "recv",
            Self::SendZeroCopy { .. } => "send_zc",
            Self::ReceiveMessage { .. } => "recvmsg",
            Self::SendMessage { .. } => "sendmsg",
            Self::OpenHow { .. } => "openat2",
            Self::Install { .. } => "install",
            Self::GetAttribute { .. } => "getxattr",
            Self::SetAttribute { .. } => "setxattr",
            Self::Pipe { .. } => "pipe",
            Self::AcceptEach { .. } => "accept",
            Self::Poll { .. } | Self::PollEach { .. } => "poll",
            Self::Timeout { .. } => "timeout",
            Self::WaitForChild { .. } => "waitid",
            Self::FutexWait { .. } | Self::FutexWake { .. } => "futex",
            Self::Nudge { .. } => "msg_ring",
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
            Self::AdviseMemory { .. } => "madvise",
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
            Self::SetOption { .. } => "setsockopt",
            Self::Shutdown { .. } => "shutdown",
        }
    }

    /// Takes back what a call did whose caller does not want it any more: descriptors that nobody
    /// will ever learn of.
    pub fn undo(&self, result: i32) {
        if result < 0 {
            return;
        }
        match self {
            Self::Open { .. }
            | Self::OpenHow { .. }
            | Self::Socket { .. }
            | Self::Accept { .. }
            | Self::AcceptEach { .. }
            | Self::Install { .. } => close_descriptor(result),
            Self::Pipe { ends, .. } => ends.iter().copied().for_each(close_descriptor),
            Self::ReceiveMessage { message, .. } => {
                let descriptors = message.descriptors();
                descriptors.into_iter().for_each(close_descriptor);
            }
            _ => {}
        }
    }

    /// Whether it goes on after a completion until it is cancelled or says that it has ended.
    pub fn is_stream(&self) -> bool {
        matches!(
            self,
            Self::AcceptEach { .. }
                | Self::RecvEach { .. }
                | Self::ReadEach { .. }
                | Self::PollEach { .. }
        )
    }

    /// Whether it moves bytes, which cannot be taken back.
    pub fn is_transfer(&self) -> bool {
        matches!(
            self,
            Self::Read { .. }
                | Self::Write { .. }
                | Self::ReadVectors { .. }
                | Self::WriteVectors { .. }
                | Self::ReadFixed { .. }
                | Self::WriteFixed { .. }
                | Self::Recv { .. }
                | Self::Send { .. }
                | Self::SendZeroCopy { .. }
                | Self::ReceiveMessage { .. }
                | Self::SendMessage { .. }
                | Self::Splice { .. }
                | Self::Tee { .. }
        )
    }

    /// The same call once more, where that is one that goes on.
    pub fn again(&self) -> Option<Self> {
        Some(match *self {
            Self::AcceptEach { fd, flags } => Self::AcceptEach { fd, flags },
            Self::RecvEach { fd, flags } => Self::RecvEach { fd, flags },
            Self::ReadEach { fd } => Self::ReadEach { fd },
            Self::PollEach { fd, interest } => Self::PollEach { fd, interest },
            _ => return None,
        })
    }

    /// Whether a result breaks the chain that the call is in: a failure, or fewer bytes than were
    /// asked for (io_uring_linked_requests(7)).
    pub fn is_broken_by(&self, result: i32) -> bool {
        let short_of = |length: usize| (result as usize) < length;
        match self {
            Self::Timeout { .. } => result < 0 && result != -numbers::ETIME,
            _ if result < 0 => true,
            Self::Read { memory, .. } | Self::Write { memory, .. } => {
                short_of(memory.lend().length())
            }
            Self::ReadVectors { vectors, .. } | Self::WriteVectors { vectors, .. } => {
                short_of(vectors.length())
            }
            Self::ReadFixed { buffer, .. } | Self::WriteFixed { buffer, .. } => {
                short_of(buffer.length())
            }
            Self::Recv { memory, flags, .. } | Self::Send { memory, flags, .. } => {
                flags & libc::MSG_WAITALL != 0 && short_of(memory.lend().length())
            }
            Self::SendZeroCopy { buffer, flags, .. } => {
                flags & libc::MSG_WAITALL != 0 && short_of(buffer.length())
            }
            Self::ReceiveMessage { message, flags, .. }
            | Self::SendMessage { message, flags, .. } => {
                flags & libc::MSG_WAITALL != 0 && short_of(message.memory().lend().length())
            }
            Self::Splice { length, .. } | Self::Tee { length, .. } => short_of(*length as usize),
            _ => false,
        }
    }

    /// Whether the kernel goes on with a chain when this call has failed, as if it had not: those that
    /// io_uring hands to other code without a look at what comes back (`req_set_fail` is missing for
    /// them in io_uring/advise.c, fs.c, statx.c, sync.c, truncate.c and xattr.c, up to Linux 6.18 at least).
    pub fn fails_unnoticed(&self) -> bool {
        matches!(
            self,
            Self::Stat { .. }
                | Self::Sync { .. }
                | Self::SyncRange { .. }
                | Self::Allocate { .. }
                | Self::Truncate { .. }
                | Self::AdviseMemory { .. }
                | Self::Rename { .. }
                | Self::Unlink { .. }
                | Self::MakeDirectory { .. }
                | Self::Symlink { .. }
                | Self::Link { .. }
                | Self::GetAttribute { .. }
                | Self::SetAttribute { .. }
        )
    }

    /// What it names, where it opens a path.
    pub(crate) fn opening(&self) -> Option<Opening<'_>> {
        let (directory, path, flags, resolve) = match self {
            Self::Open {
                directory,
                path,
                flags,
                ..
            } => (directory, path, *flags, 0),
            Self::OpenHow {
                directory,
                path,
                how,
            } => (directory, path, how.flags as i32, how.resolve),
            _ => return None,
        };
        Some(Opening {
            directory: *directory,
            path,
            flags,
            resolve,
        })
    }

    /// Whether it opens one descriptor, which may become a direct one.
    pub fn opens(&self) -> bool {
        matches!(
            self,
            Self::Open { .. } | Self::OpenHow { .. } | Self::Socket { .. } | Self::Accept { .. }
        )
    }

    /// Whether only io_uring can make it.
    pub fn needs_a_ring(&self) -> bool {
        self.is_stream()
            || matches!(
                self,
                Self::ReadFixed { .. }
                    | Self::WriteFixed { .. }
                    | Self::SendZeroCopy { .. }
                    | Self::FutexWait { .. }
                    | Self::Nudge { .. }
            )
            || matches!(self, Self::WaitForChild { kind, .. } if *kind != libc::P_PID)
    }

    /// Whether the kernel asks who makes it: for what has a path or an address in it, and for options, some
    /// of which need a capability (socket(7), `SO_MARK`). Whoever has a descriptor open may use it otherwise.
    pub(crate) fn depends_on_credentials(&self) -> bool {
        matches!(
            self,
            Self::SendMessage { .. }
                | Self::Open { .. }
                | Self::OpenHow { .. }
                | Self::Stat { .. }
                | Self::Rename { .. }
                | Self::Unlink { .. }
                | Self::MakeDirectory { .. }
                | Self::Symlink { .. }
                | Self::Link { .. }
                | Self::GetAttribute { .. }
                | Self::SetAttribute { .. }
                | Self::Socket { .. }
                | Self::Bind { .. }
                | Self::Connect { .. }
                | Self::SetOption { .. }
        )
    }
}
