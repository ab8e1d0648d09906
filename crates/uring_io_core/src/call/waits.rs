//! Which descriptors a call is about, and what it may have to wait for.

use std::os::fd::{AsRawFd, RawFd};

use super::{Call, Subject};
use crate::descriptor::target_of;
use crate::error::{Error, Result};
use crate::operation::{Interest, Target};
use crate::platform;

impl Call {
    /// The descriptors that may be direct ones in a chain, in the order of the system call's
    /// arguments; none where the kernel takes none.
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
            | Self::GetAttribute {
                subject: Subject::Descriptor(fd),
                ..
            }
            | Self::SetAttribute {
                subject: Subject::Descriptor(fd),
                ..
            }
            | Self::Bind { fd, .. }
            | Self::Listen { fd, .. }
            | Self::Accept { fd, .. }
            | Self::Connect { fd, .. }
            | Self::SetOption { fd, .. }
            | Self::Shutdown { fd, .. }
            | Self::Poll { fd, .. } => vec![fd],
            Self::Splice { from, to, .. } | Self::Tee { from, to, .. } => vec![from, to],
            _ => Vec::new(),
        }
    }

    /// The descriptors of the process that it is about, folders that paths begin at included: it must be
    /// over before they are closed. -1 stands for none; that of a call with one comes last. One that closes a
    /// descriptor is its close.
    pub fn about(&mut self) -> [RawFd; 2] {
        const NONE: RawFd = -1;
        match self {
            Self::Close { .. } => [NONE; 2],
            Self::Open { directory, .. }
            | Self::OpenHow { directory, .. }
            | Self::Stat { directory, .. }
            | Self::Unlink { directory, .. }
            | Self::MakeDirectory { directory, .. }
            | Self::Symlink { directory, .. } => [NONE, *directory],
            Self::Rename { from, to, .. } | Self::Link { from, to, .. } => [from.0, to.0],
            Self::Splice { from, to, .. } | Self::Tee { from, to, .. } => [*from, *to],
            _ => match self.waits_on() {
                Some(fd) => [NONE, fd],
                None => [NONE, self.descriptors().first().map_or(NONE, |fd| **fd)],
            },
        }
    }

    /// The descriptor that it is made on, where it may have to wait for that: what
    /// [`Driver::cancel_on`](crate::Driver::cancel_on) looks for.
    pub fn waits_on(&self) -> Option<RawFd> {
        match self {
            Self::AcceptEach { fd, .. }
            | Self::RecvEach { fd, .. }
            | Self::ReadEach { fd }
            | Self::PollEach { fd, .. }
            | Self::Read { fd, .. }
            | Self::Write { fd, .. }
            | Self::ReadVectors { fd, .. }
            | Self::WriteVectors { fd, .. }
            | Self::ReadFixed { fd, .. }
            | Self::WriteFixed { fd, .. }
            | Self::SendZeroCopy { fd, .. } => Some(*fd),
            _ => self.interest().map(|(fd, _)| fd),
        }
    }

    /// Whether it is to fail with `EAGAIN` where it would have to wait.
    pub fn never_waits(&self) -> bool {
        match self {
            Self::Recv { flags, .. }
            | Self::Send { flags, .. }
            | Self::ReceiveMessage { flags, .. }
            | Self::SendMessage { flags, .. } => flags & libc::MSG_DONTWAIT != 0,
            _ => false,
        }
    }

    /// Finds out what it is about where only the caller's descriptor tells: for readiness backends.
    pub(crate) fn settle(&mut self) -> Result<()> {
        match self {
            Self::Read { fd, target, .. }
            | Self::Write { fd, target, .. }
            | Self::ReadVectors { fd, target, .. }
            | Self::WriteVectors { fd, target, .. }
                if target.is_none() =>
            {
                *target = Some(target_of(*fd)?);
            }
            Self::WaitForChild {
                kind, id, pidfd, ..
            } if *kind == libc::P_PID => {
                let opened = platform::pidfd_open(*id as libc::pid_t);
                *pidfd = Some(opened.map_err(|error| match error.errno {
                    // As waitid(2) says it.
                    libc::ESRCH => Error::new("waitid", libc::ECHILD),
                    _ => error,
                })?);
            }
            _ => {}
        }
        Ok(())
    }

    /// What a readiness backend waits for before it makes the call; `None` for a call that does not
    /// wait for readiness.
    pub(crate) fn interest(&self) -> Option<(RawFd, Interest)> {
        let is_waited_for =
            |target: &Option<Target>| !matches!(target, Some(Target::File { .. }) | None);
        match self {
            Self::Read { fd, target, .. } | Self::ReadVectors { fd, target, .. }
                if is_waited_for(target) =>
            {
                Some((*fd, Interest::READABLE))
            }
            Self::Write { fd, target, .. } | Self::WriteVectors { fd, target, .. }
                if is_waited_for(target) =>
            {
                Some((*fd, Interest::WRITABLE))
            }
            Self::Recv { fd, .. } | Self::ReceiveMessage { fd, .. } | Self::Accept { fd, .. } => {
                Some((*fd, Interest::READABLE))
            }
            Self::Send { fd, .. } | Self::SendMessage { fd, .. } | Self::Connect { fd, .. } => {
                Some((*fd, Interest::WRITABLE))
            }
            Self::Poll { fd, interest } => Some((*fd, *interest)),
            Self::WaitForChild {
                pidfd: Some(pidfd), ..
            } => Some((pidfd.as_raw_fd(), Interest::READABLE)),
            _ => None,
        }
    }
}
