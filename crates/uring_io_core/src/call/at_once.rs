//! Sends for which io_uring answers `EAGAIN` instead of waiting for room.
//!
//! When a send of io_uring waits for room, it continues after the bytes that it took at the first try (seen on Linux
//! 6.18). When the queue of a UNIX datagram socket was full, the peer then gets an empty message, and the send
//! answers 0. So a caller that may send a message makes the kernel answer `EAGAIN`, waits for room, and sends the
//! message again from its beginning.

use std::os::fd::RawFd;

use super::Call;
use crate::posix::keeps_messages;

impl Call {
    /// Makes io_uring answer `EAGAIN` if this is a send that would wait. On other backends this changes nothing.
    pub fn try_at_once(&mut self) {
        if let Some((_, flags, at_once)) = self.sent() {
            *at_once = flags & libc::MSG_DONTWAIT == 0;
        }
    }

    /// As [`try_at_once`](Self::try_at_once), for a caller that asks for the kind of the socket only when the socket
    /// has no room ([`wait_in_stream`](Self::wait_in_stream)). That is too late for a send that must send all its
    /// bytes: on a stream it would have sent a part of them. For such a send this asks for the kind right away.
    /// Returns whether it has asked.
    pub fn send_at_once(&mut self) -> bool {
        self.try_at_once();
        let sends_all =
            |(_, flags, at_once): (_, i32, &mut bool)| *at_once && flags & libc::MSG_WAITALL != 0;
        let asks = self.sent().is_some_and(sends_all);
        if asks {
            self.wait_in_stream();
        }
        asks
    }

    /// Whether it is a send for which io_uring answers `EAGAIN` instead of waiting.
    pub fn is_sent_at_once(&self) -> bool {
        match self {
            Self::Send { at_once, .. } | Self::SendMessage { at_once, .. } => *at_once,
            _ => false,
        }
    }

    /// Lets the kernel wait for room in a send.
    pub fn wait_in_kernel(&mut self) {
        if let Some((_, _, at_once)) = self.sent() {
            *at_once = false;
        }
    }

    /// Lets the kernel wait for room after all if the socket is a stream of bytes. Returns whether it is.
    pub fn wait_in_stream(&mut self) -> bool {
        let is_stream = self.sent().is_some_and(|(fd, ..)| !keeps_messages(fd));
        if is_stream {
            self.wait_in_kernel();
        }
        is_stream
    }

    /// Whether it is a send to a socket that keeps messages apart. The kernel may report such a socket as ready
    /// although its peer has no room, because a socket that is not connected does not know its peer.
    pub fn may_wait_in_vain(&self) -> bool {
        match self {
            Self::Send { fd, .. } | Self::SendMessage { fd, .. } => keeps_messages(*fd),
            _ => false,
        }
    }

    /// The descriptor, the flags, and `at_once` of a send.
    fn sent(&mut self) -> Option<(RawFd, i32, &mut bool)> {
        match self {
            Self::Send {
                fd, flags, at_once, ..
            }
            | Self::SendMessage {
                fd, flags, at_once, ..
            } => Some((*fd, *flags, at_once)),
            _ => None,
        }
    }
}
