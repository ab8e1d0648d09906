//! The bytes that a call has to move, and the effect on a chain when it moves fewer.

use super::Call;
use crate::platform::numbers;

/// The bytes that a call moves.
enum Bytes {
    None,
    /// This many. Fewer break the chain.
    All(usize),
    /// This many, with these flags of send(2) and recv(2). Fewer break the chain only with `MSG_WAITALL`.
    ByFlags(usize, i32),
}

impl Call {
    fn bytes(&self) -> Bytes {
        match self {
            Self::Read { memory, .. } | Self::Write { memory, .. } => {
                Bytes::All(memory.lend().length())
            }
            Self::ReadVectors { vectors, .. } | Self::WriteVectors { vectors, .. } => {
                Bytes::All(vectors.length())
            }
            Self::ReadFixed { buffer, .. } | Self::WriteFixed { buffer, .. } => {
                Bytes::All(buffer.length())
            }
            Self::Splice { length, .. } | Self::Tee { length, .. } => Bytes::All(*length as usize),
            Self::Recv { memory, flags, .. } | Self::Send { memory, flags, .. } => {
                Bytes::ByFlags(memory.lend().length(), *flags)
            }
            Self::SendZeroCopy { buffer, flags, .. } => Bytes::ByFlags(buffer.length(), *flags),
            Self::ReceiveMessage { message, flags, .. }
            | Self::SendMessage { message, flags, .. } => {
                Bytes::ByFlags(message.memory().lend().length(), *flags)
            }
            // The caller gives these no length that they must move, or they cannot go on where they stopped.
            #[rustfmt::skip]
            Self::RecvEach { .. } | Self::ReadEach { .. } | Self::GetAttribute { .. } | Self::SetAttribute { .. }
            // These move none.
            | Self::Nop | Self::Open { .. } | Self::OpenHow { .. } | Self::Close { .. } | Self::Install { .. }
            | Self::Pipe { .. } | Self::Stat { .. } | Self::Sync { .. } | Self::SyncRange { .. }
            | Self::Allocate { .. } | Self::Truncate { .. } | Self::Advise { .. } | Self::AdviseMemory { .. }
            | Self::Rename { .. } | Self::Unlink { .. } | Self::MakeDirectory { .. } | Self::Symlink { .. }
            | Self::Link { .. } | Self::Socket { .. } | Self::Bind { .. } | Self::Listen { .. }
            | Self::Accept { .. } | Self::Connect { .. } | Self::SetOption { .. } | Self::Shutdown { .. }
            | Self::Poll { .. } | Self::Timeout { .. } | Self::WaitForChild { .. } | Self::FutexWait { .. }
            | Self::FutexWake { .. } | Self::Nudge { .. } | Self::AcceptEach { .. } | Self::PollEach { .. } => {
                Bytes::None
            },
        }
    }

    /// Whether it moves bytes, which nobody can undo.
    pub fn is_transfer(&self) -> bool {
        match self.bytes() {
            Bytes::All(_) | Bytes::ByFlags(..) => true,
            Bytes::None => false,
        }
    }

    /// Whether it has to fail with `EAGAIN` instead of waiting.
    pub fn never_waits(&self) -> bool {
        match self.bytes() {
            Bytes::ByFlags(_, flags) => flags & libc::MSG_DONTWAIT != 0,
            Bytes::All(_) | Bytes::None => false,
        }
    }

    /// Whether a result breaks the chain that the call is in: a failure, or fewer bytes than were
    /// asked for (io_uring_linked_requests(7)).
    pub fn is_broken_by(&self, result: i32) -> bool {
        if result < 0 {
            // A timeout that ends has done what it is for.
            return !(matches!(self, Self::Timeout { .. }) && result == -numbers::ETIME);
        }
        let short_of = |length: usize| (result as usize) < length;
        match self.bytes() {
            Bytes::None => false,
            Bytes::All(length) => short_of(length),
            Bytes::ByFlags(length, flags) => flags & libc::MSG_WAITALL != 0 && short_of(length),
        }
    }
}
