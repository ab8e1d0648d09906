//! The descriptors that a call uses, and what it may have to wait for.

use std::os::fd::{AsRawFd, RawFd};

use super::{Call, Link, Subject};
use crate::descriptor::target_of;
use crate::error::{Error, Result};
use crate::operation::{Direction, Interest, Target};
use crate::platform;

/// Stands for no descriptor in the answers of [`Call::about`].
const NONE: RawFd = -1;

/// The descriptors of the process that a call uses, including the folders that its paths begin at. A close of
/// one of them waits until the call is over.
enum Uses {
    Nothing,
    /// One that the call does not wait for.
    One(RawFd),
    Two(RawFd, RawFd),
    /// One that the call may have to wait for. A readiness backend makes the call when the descriptor is ready for
    /// the interest. Without an interest it makes the call in a worker thread, or not at all.
    Waits(RawFd, Option<Interest>),
    /// One that bytes go to or come from. The flag says whether a readiness backend waits until it is ready.
    Moves(RawFd, Direction, bool),
}

impl Uses {
    /// The descriptor of a transfer. Nobody waits for a file. An unknown target (see `Call::settle`) does not wait,
    /// either.
    fn transfer(fd: RawFd, direction: Direction, target: Option<Target>) -> Self {
        let waits = target.is_some_and(|target| !target.is_file());
        Self::Moves(fd, direction, waits)
    }
}

impl Call {
    fn uses(&self) -> Uses {
        match self {
            Self::Read { fd, target, .. } | Self::ReadVectors { fd, target, .. } => {
                Uses::transfer(*fd, Direction::Read, *target)
            }
            Self::Write { fd, target, .. } | Self::WriteVectors { fd, target, .. } => {
                Uses::transfer(*fd, Direction::Write, *target)
            }
            Self::Recv { fd, .. } | Self::ReceiveMessage { fd, .. } => {
                Uses::Moves(*fd, Direction::Read, true)
            }
            Self::Send { fd, .. } | Self::SendMessage { fd, .. } => {
                Uses::Moves(*fd, Direction::Write, true)
            }
            Self::ReadFixed { fd, .. } => Uses::Moves(*fd, Direction::Read, false),
            Self::WriteFixed { fd, .. } | Self::SendZeroCopy { fd, .. } => {
                Uses::Moves(*fd, Direction::Write, false)
            }
            Self::Accept { fd, .. } => Uses::Waits(*fd, Some(Interest::READABLE)),
            Self::Connect { fd, .. } => Uses::Waits(*fd, Some(Interest::WRITABLE)),
            Self::Poll { fd, interest } => Uses::Waits(*fd, Some(*interest)),
            // The pidfd of one child, once `settle` has opened it.
            Self::WaitForChild { pidfd, .. } => match pidfd {
                Some(pidfd) => Uses::Waits(pidfd.as_raw_fd(), Some(Interest::READABLE)),
                None => Uses::Nothing,
            },
            Self::AcceptEach { fd, .. }
            | Self::RecvEach { fd, .. }
            | Self::ReadEach { fd }
            | Self::PollEach { fd, .. } => Uses::Waits(*fd, None),

            Self::Splice { from, to, .. } | Self::Tee { from, to, .. } => Uses::Two(*from, *to),
            Self::Rename { from, to, .. } | Self::Link { from, to, .. } => Uses::Two(from.0, to.0),

            Self::Install { fd }
            | Self::Sync { fd, .. }
            | Self::SyncRange { fd, .. }
            | Self::Allocate { fd, .. }
            | Self::Truncate { fd, .. }
            | Self::Advise { fd, .. }
            | Self::Bind { fd, .. }
            | Self::Listen { fd, .. }
            | Self::SetOption { fd, .. }
            | Self::Shutdown { fd, .. }
            | Self::Open { directory: fd, .. }
            | Self::OpenHow { directory: fd, .. }
            | Self::Stat { directory: fd, .. }
            | Self::Unlink { directory: fd, .. }
            | Self::MakeDirectory { directory: fd, .. }
            | Self::Symlink { directory: fd, .. } => Uses::One(*fd),
            Self::GetAttribute { subject, .. } | Self::SetAttribute { subject, .. } => {
                match subject {
                    Subject::Descriptor(fd) => Uses::One(*fd),
                    Subject::Path(_) => Uses::Nothing,
                }
            }

            // This call is itself the close.
            Self::Close { .. } => Uses::Nothing,
            Self::Nop
            | Self::AdviseMemory { .. }
            | Self::Pipe { .. }
            | Self::Socket { .. }
            | Self::Timeout { .. }
            | Self::FutexWait { .. }
            | Self::FutexWake { .. }
            | Self::Nudge { .. } => Uses::Nothing,
        }
    }

    /// The descriptors of the process that it uses, including the folders that paths begin at. The call must be over
    /// before somebody closes them. -1 stands for none, and a single descriptor comes last. A call that closes a
    /// descriptor is itself the close, so that descriptor is not among them.
    pub fn about(&self) -> [RawFd; 2] {
        match self.uses() {
            Uses::Nothing => [NONE; 2],
            Uses::One(fd) | Uses::Waits(fd, _) | Uses::Moves(fd, ..) => [NONE, fd],
            Uses::Two(from, to) => [from, to],
        }
    }

    /// Whether it works on this descriptor and may have to wait for it or for another one:
    /// [`Driver::cancel_on`](crate::Driver::cancel_on) then ends it.
    pub fn may_wait_with(&self, fd: RawFd) -> bool {
        match self {
            Self::Splice { from, to, .. } | Self::Tee { from, to, .. } => {
                [*from, *to].contains(&fd)
            }
            _ => self.waits_on() == Some(fd),
        }
    }

    /// As [`about`](Self::about), for a step of a chain. A direct descriptor is none of the process: its number counts
    /// in the ring's own table, so a close of a descriptor with that number does not concern it.
    pub(crate) fn about_in_chain(&self, link: Link) -> [RawFd; 2] {
        let [first, last] = self.about();
        [
            if link.direct_source { NONE } else { first },
            if link.direct { NONE } else { last },
        ]
    }

    /// The descriptor that it works on, if it has only one and may have to wait for that.
    pub fn waits_on(&self) -> Option<RawFd> {
        match self.uses() {
            Uses::Waits(fd, _) | Uses::Moves(fd, ..) => Some(fd),
            Uses::Nothing | Uses::One(_) | Uses::Two(..) => None,
        }
    }

    /// The descriptor and interest that a readiness backend waits for before it makes the call; `None` for a
    /// call that does not wait for readiness.
    pub(crate) fn interest(&self) -> Option<(RawFd, Interest)> {
        match self.uses() {
            Uses::Waits(fd, interest) => interest.map(|interest| (fd, interest)),
            Uses::Moves(fd, direction, waits) => waits.then_some((fd, direction.interest())),
            Uses::Nothing | Uses::One(_) | Uses::Two(..) => None,
        }
    }

    /// The readiness to wait for before making the call again. `None` unless the call came to EAGAIN and may wait.
    /// io_uring answers EAGAIN on descriptors with `O_NONBLOCK`: before Linux 5.15 always, and later when something
    /// woke the call 128 times and it could not go on (`APOLL_MAX_RETRY`, io_uring/poll.c). A peer that has finished
    /// sending wakes it in this way while there is no room to write.
    pub fn to_be_waited_for(&self, result: i32) -> Option<(RawFd, Interest)> {
        match self.uses() {
            Uses::Moves(fd, direction, _) if result == -libc::EAGAIN && !self.never_waits() => {
                Some((fd, direction.interest()))
            }
            _ => None,
        }
    }

    /// The descriptors that may be direct ones in a chain, in the order of the system call's arguments. None when the
    /// kernel takes only descriptors of the process.
    pub fn descriptors(&mut self) -> Vec<&mut RawFd> {
        match self {
            Self::Read { fd, .. }
            | Self::Write { fd, .. }
            | Self::ReadVectors { fd, .. }
            | Self::WriteVectors { fd, .. }
            | Self::ReadFixed { fd, .. }
            | Self::WriteFixed { fd, .. }
            | Self::Recv { fd, .. }
            | Self::Send { fd, .. }
            | Self::SendZeroCopy { fd, .. }
            | Self::ReceiveMessage { fd, .. }
            | Self::SendMessage { fd, .. }
            | Self::Close { fd }
            | Self::Install { fd }
            | Self::Sync { fd, .. }
            | Self::SyncRange { fd, .. }
            | Self::Allocate { fd, .. }
            | Self::Truncate { fd, .. }
            | Self::Advise { fd, .. }
            | Self::Bind { fd, .. }
            | Self::Listen { fd, .. }
            | Self::Accept { fd, .. }
            | Self::Connect { fd, .. }
            | Self::SetOption { fd, .. }
            | Self::Shutdown { fd, .. }
            | Self::Poll { fd, .. } => vec![fd],
            Self::GetAttribute { subject, .. } | Self::SetAttribute { subject, .. } => {
                match subject {
                    Subject::Descriptor(fd) => vec![fd],
                    Subject::Path(_) => Vec::new(),
                }
            }
            Self::Splice { from, to, .. } | Self::Tee { from, to, .. } => vec![from, to],
            #[rustfmt::skip]
            // The kernel looks up these folders in the table of the process.
            Self::Open { .. } | Self::OpenHow { .. } | Self::Stat { .. } | Self::Rename { .. } | Self::Unlink { .. }
            | Self::MakeDirectory { .. } | Self::Symlink { .. } | Self::Link { .. }
            // No chain has these.
            | Self::AcceptEach { .. } | Self::RecvEach { .. } | Self::ReadEach { .. } | Self::PollEach { .. }
            // These use no descriptor, or that of a process or ring.
            | Self::Nop | Self::AdviseMemory { .. } | Self::Pipe { .. } | Self::Socket { .. } | Self::Timeout { .. }
            | Self::WaitForChild { .. } | Self::FutexWait { .. } | Self::FutexWake { .. } | Self::Nudge { .. } => {
                Vec::new()
            },
        }
    }

    /// Finds out what a readiness backend has to know: the target of a transfer, or the pidfd of a child.
    pub(crate) fn settle(&mut self) -> Result<()> {
        match self {
            Self::Read { fd, target, .. }
            | Self::Write { fd, target, .. }
            | Self::ReadVectors { fd, target, .. }
            | Self::WriteVectors { fd, target, .. } => {
                if target.is_none() {
                    *target = Some(target_of(*fd)?);
                }
            }
            Self::WaitForChild {
                kind, id, pidfd, ..
            } => {
                if *kind == libc::P_PID {
                    let opened = platform::pidfd_open(*id as libc::pid_t);
                    *pidfd = Some(opened.map_err(|error| match error.errno {
                        // waitid(2) gives this errno.
                        libc::ESRCH => Error::new("waitid", libc::ECHILD),
                        _ => error,
                    })?);
                }
            }
            #[rustfmt::skip]
            // These show by themselves what they wait for.
            Self::Recv { .. } | Self::Send { .. } | Self::ReceiveMessage { .. } | Self::SendMessage { .. }
            | Self::Accept { .. } | Self::Connect { .. } | Self::Poll { .. }
            // These wait for no descriptor.
            | Self::Nop | Self::Open { .. } | Self::OpenHow { .. } | Self::Close { .. } | Self::Install { .. }
            | Self::Stat { .. } | Self::Sync { .. } | Self::SyncRange { .. } | Self::Allocate { .. }
            | Self::Truncate { .. } | Self::Advise { .. } | Self::AdviseMemory { .. } | Self::Rename { .. }
            | Self::Unlink { .. } | Self::MakeDirectory { .. } | Self::Symlink { .. } | Self::Link { .. }
            | Self::GetAttribute { .. } | Self::SetAttribute { .. } | Self::Splice { .. } | Self::Tee { .. }
            | Self::Pipe { .. } | Self::Socket { .. } | Self::Bind { .. } | Self::Listen { .. }
            | Self::SetOption { .. } | Self::Shutdown { .. } | Self::Timeout { .. } | Self::FutexWake { .. }
            // Only io_uring makes these.
            | Self::ReadFixed { .. } | Self::WriteFixed { .. } | Self::SendZeroCopy { .. } | Self::FutexWait { .. }
            | Self::Nudge { .. } | Self::AcceptEach { .. } | Self::RecvEach { .. } | Self::ReadEach { .. }
            | Self::PollEach { .. } => {}
        }
        Ok(())
    }
}
