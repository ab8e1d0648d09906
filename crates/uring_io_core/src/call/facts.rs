//! Facts about each call: a row for each, and methods that look them up.
//!
//! The match has no wildcard, and a row has no default. So a new call compiles only when somebody has decided all its
//! facts, above all whether a polling thread may make it with the credentials of a former user.

use super::opening::Opening;
use super::Call;
use crate::descriptor::close_descriptor;
use crate::memory::Message;

/// A row. Each property has a type of its own, so that nobody can mix two of them up.
struct Facts<'a> {
    name: &'static str,
    credentials: Credentials,
    failure: Failure,
    course: Course,
    opens: Opens<'a>,
    without_ring: WithoutRing,
}

/// Whether the kernel checks the caller's credentials. It does for a path or an address, and for options, some of
/// which need a capability (socket(7), `SO_MARK`). For other calls an open descriptor is enough.
///
/// A polling thread makes calls as the user that made the ring. After the process changes its user, the ring refuses
/// calls with such a check (`Ring::check`).
enum Credentials {
    Asked,
    Unasked,
}

/// The effect of the call's failure on its chain.
enum Failure {
    /// The kernel ends the chain.
    Breaks,
    /// The kernel goes on as if the call had succeeded: io_uring hands it to other code, and does not look at the
    /// result (`req_set_fail` is missing in io_uring/advise.c for madvise(2), and in fs.c, statx.c, sync.c,
    /// truncate.c and xattr.c, up to Linux 6.18 at least).
    Unnoticed,
}

/// How often the call completes.
enum Course {
    Once,
    /// Over and over, until somebody cancels it or it says that it has ended.
    Stream,
}

/// The descriptors that the call opens. [`Call::undo`] closes them when its caller has abandoned the call.
enum Opens<'a> {
    Nothing,
    /// One, by a path. It may become a direct descriptor of a chain.
    Path(Opening<'a>),
    /// One, without a path. It may become a direct descriptor, too.
    Socket,
    /// One that is always a descriptor of the process. A stream opens one with each completion.
    OfProcess,
    /// Two, in memory of the call.
    Pair(&'a [i32; 2]),
    /// Those that come with a message.
    Sent(&'a Message),
}

/// How a backend without io_uring makes the call.
#[derive(PartialEq, Eq)]
enum WithoutRing {
    /// Not at all.
    Refused,
    /// When its descriptor is ready, or in a worker thread, which it does not keep for long.
    Made,
    /// In a worker thread, which may wait for somebody else for ever. The pool does not count that thread meanwhile.
    MayHang,
}

const fn row<'a>(
    name: &'static str,
    credentials: Credentials,
    failure: Failure,
    course: Course,
    opens: Opens<'a>,
    without_ring: WithoutRing,
) -> Facts<'a> {
    Facts {
        name,
        credentials,
        failure,
        course,
        opens,
        without_ring,
    }
}

impl Call {
    #[rustfmt::skip] // one row, one call
    const fn facts(&self) -> Facts<'_> {
        use {Course::*, Credentials::*, Failure::*, Opens::*, WithoutRing::*};

        match self {
            // Name, credentials, failure, course, what it opens, how it is made without a ring.
            Self::Nop                  => row("nop",             Unasked, Breaks,    Once,   Nothing,       Made),

            // Bytes.
            Self::Read { .. }          => row("read",            Unasked, Breaks,    Once,   Nothing,       Made),
            Self::Write { .. }         => row("write",           Unasked, Breaks,    Once,   Nothing,       Made),
            Self::ReadVectors { .. }   => row("readv",           Unasked, Breaks,    Once,   Nothing,       Made),
            Self::WriteVectors { .. }  => row("writev",          Unasked, Breaks,    Once,   Nothing,       Made),
            Self::ReadFixed { .. }     => row("read",            Unasked, Breaks,    Once,   Nothing,       Refused),
            Self::WriteFixed { .. }    => row("write",           Unasked, Breaks,    Once,   Nothing,       Refused),
            Self::Recv { .. }          => row("recv",            Unasked, Breaks,    Once,   Nothing,       Made),
            Self::Send { .. }          => row("send",            Unasked, Breaks,    Once,   Nothing,       Made),
            Self::SendZeroCopy { .. }  => row("send_zc",         Unasked, Breaks,    Once,   Nothing,       Refused),
            Self::ReceiveMessage { message, .. }
                                       => row("recvmsg",         Unasked, Breaks,    Once,   Sent(message), Made),
            Self::SendMessage { .. }   => row("sendmsg",         Asked,   Breaks,    Once,   Nothing,       Made),
            Self::Splice { .. }        => row("splice",          Unasked, Breaks,    Once,   Nothing,       MayHang),
            Self::Tee { .. }           => row("tee",             Unasked, Breaks,    Once,   Nothing,       MayHang),

            // Descriptors.
            Self::Open { directory, path, flags, .. } => {
                let named = Opening { directory: *directory, path, flags: *flags, resolve: 0 };
                                          row("openat",          Asked,   Breaks,    Once,   Path(named),   MayHang)
            }
            Self::OpenHow { directory, path, how } => {
                let named = Opening { directory: *directory, path, flags: how.flags as i32, resolve: how.resolve };
                                          row("openat2",         Asked,   Breaks,    Once,   Path(named),   MayHang)
            }
            Self::Close { .. }         => row("close",           Unasked, Breaks,    Once,   Nothing,       Made),
            Self::Install { .. }       => row("install",         Unasked, Breaks,    Once,   OfProcess,     Made),
            Self::Pipe { ends, .. }    => row("pipe",            Unasked, Breaks,    Once,   Pair(ends),    Made),

            // Files.
            Self::Stat { .. }          => row("statx",           Asked,   Unnoticed, Once,   Nothing,       Made),
            Self::Sync { data_only: false, .. }
                                       => row("fsync",           Unasked, Unnoticed, Once,   Nothing,       Made),
            Self::Sync { data_only: true, .. }
                                       => row("fdatasync",       Unasked, Unnoticed, Once,   Nothing,       Made),
            Self::SyncRange { .. }     => row("sync_file_range", Unasked, Unnoticed, Once,   Nothing,       Made),
            Self::Allocate { .. }      => row("fallocate",       Unasked, Unnoticed, Once,   Nothing,       Made),
            Self::Truncate { .. }      => row("ftruncate",       Unasked, Unnoticed, Once,   Nothing,       Made),
            Self::Advise { .. }        => row("fadvise",         Unasked, Breaks,    Once,   Nothing,       Made),
            Self::AdviseMemory { .. }  => row("madvise",         Unasked, Unnoticed, Once,   Nothing,       Made),
            Self::Rename { .. }        => row("renameat",        Asked,   Unnoticed, Once,   Nothing,       Made),
            Self::Unlink { .. }        => row("unlinkat",        Asked,   Unnoticed, Once,   Nothing,       Made),
            Self::MakeDirectory { .. } => row("mkdirat",         Asked,   Unnoticed, Once,   Nothing,       Made),
            Self::Symlink { .. }       => row("symlinkat",       Asked,   Unnoticed, Once,   Nothing,       Made),
            Self::Link { .. }          => row("linkat",          Asked,   Unnoticed, Once,   Nothing,       Made),
            Self::GetAttribute { .. }  => row("getxattr",        Asked,   Unnoticed, Once,   Nothing,       Made),
            Self::SetAttribute { .. }  => row("setxattr",        Asked,   Unnoticed, Once,   Nothing,       Made),

            // Sockets.
            Self::Socket { .. }        => row("socket",          Asked,   Breaks,    Once,   Socket,        Made),
            Self::Bind { .. }          => row("bind",            Asked,   Breaks,    Once,   Nothing,       Made),
            Self::Listen { .. }        => row("listen",          Unasked, Breaks,    Once,   Nothing,       Made),
            Self::Accept { .. }        => row("accept",          Unasked, Breaks,    Once,   Socket,        Made),
            Self::Connect { .. }       => row("connect",         Asked,   Breaks,    Once,   Nothing,       Made),
            Self::SetOption { .. }     => row("setsockopt",      Asked,   Breaks,    Once,   Nothing,       Made),
            Self::Shutdown { .. }      => row("shutdown",        Unasked, Breaks,    Once,   Nothing,       Made),

            // Waits.
            Self::Poll { .. }          => row("poll",            Unasked, Breaks,    Once,   Nothing,       Made),
            Self::Timeout { .. }       => row("timeout",         Unasked, Breaks,    Once,   Nothing,       Made),
            // A pidfd can wait for one process only.
            Self::WaitForChild { kind: libc::P_PID, .. }
                                       => row("waitid",          Unasked, Breaks,    Once,   Nothing,       Made),
            Self::WaitForChild { .. }  => row("waitid",          Unasked, Breaks,    Once,   Nothing,       Refused),
            Self::FutexWait { .. }     => row("futex",           Unasked, Breaks,    Once,   Nothing,       Refused),
            Self::FutexWake { .. }     => row("futex",           Unasked, Breaks,    Once,   Nothing,       Made),
            Self::Nudge { .. }         => row("msg_ring",        Unasked, Breaks,    Once,   Nothing,       Refused),

            // Streams.
            Self::AcceptEach { .. }    => row("accept",          Unasked, Breaks,    Stream, OfProcess,     Refused),
            Self::RecvEach { .. }      => row("recv",            Unasked, Breaks,    Stream, Nothing,       Refused),
            Self::ReadEach { .. }      => row("read",            Unasked, Breaks,    Stream, Nothing,       Refused),
            Self::PollEach { .. }      => row("poll",            Unasked, Breaks,    Stream, Nothing,       Refused),
        }
    }

    /// The name of the call in errors, in traces, and for those who look at its wait.
    pub fn name(&self) -> &'static str {
        self.facts().name
    }

    /// Whether the kernel checks the credentials of whoever makes it.
    pub(crate) fn depends_on_credentials(&self) -> bool {
        match self.facts().credentials {
            Credentials::Asked => true,
            Credentials::Unasked => false,
        }
    }

    /// Whether the kernel goes on with a chain after this call has failed.
    pub fn fails_unnoticed(&self) -> bool {
        match self.facts().failure {
            Failure::Breaks => false,
            Failure::Unnoticed => true,
        }
    }

    /// Whether it goes on after a completion, until somebody cancels it or it says that it has ended.
    pub fn is_stream(&self) -> bool {
        match self.facts().course {
            Course::Once => false,
            Course::Stream => true,
        }
    }

    /// Undoes a call that its caller has abandoned: closes the descriptors, which nobody else will ever learn of.
    pub fn undo(&self, result: i32) {
        if result < 0 {
            return;
        }
        match self.facts().opens {
            Opens::Nothing => {}
            Opens::Path(_) | Opens::Socket | Opens::OfProcess => close_descriptor(result),
            Opens::Pair(ends) => ends.iter().copied().for_each(close_descriptor),
            Opens::Sent(message) => message.descriptors().into_iter().for_each(close_descriptor),
        }
    }

    /// Whether it opens one descriptor, which may become a direct one.
    pub fn opens(&self) -> bool {
        match self.facts().opens {
            Opens::Path(_) | Opens::Socket => true,
            Opens::Nothing | Opens::OfProcess | Opens::Pair(_) | Opens::Sent(_) => false,
        }
    }

    /// The path that it opens, if it opens one.
    pub(crate) fn opening(&self) -> Option<Opening<'_>> {
        match self.facts().opens {
            Opens::Path(opening) => Some(opening),
            Opens::Nothing | Opens::Socket | Opens::OfProcess | Opens::Pair(_) | Opens::Sent(_) => {
                None
            }
        }
    }

    /// Whether only io_uring can make it.
    pub fn needs_a_ring(&self) -> bool {
        self.facts().without_ring == WithoutRing::Refused
    }

    /// Whether it moves or copies bytes between two descriptors.
    pub fn is_splice(&self) -> bool {
        matches!(self, Self::Splice { .. } | Self::Tee { .. })
    }

    /// Whether a thread that makes it may have to wait for somebody else for ever.
    pub fn may_hang(&self) -> bool {
        self.facts().without_ring == WithoutRing::MayHang
    }
}
