//! Sends that io_uring does not wait with.
//!
//! A send of io_uring's that waits for room goes on after the bytes that it took at the first try (seen on Linux 6.18).
//! When the queue of a UNIX socket of datagrams was full, its peer then gets an empty message, and the send answers 0.
//! So a caller that may send a message makes the kernel answer `EAGAIN`, waits for room, and sends it again from its
//! beginning.

use std::os::fd::RawFd;

use super::Call;
use crate::posix::keeps_messages;

impl Call {
    /// Makes io_uring answer `EAGAIN` if this is a send that would wait. Other backends wait as ever.
    pub fn try_at_once(&mut self) {
        if let Some((_, flags, at_once)) = self.sent() {
            *at_once = flags & libc::MSG_DONTWAIT == 0;
        }
    }

    /// As [`try_at_once`](Self::try_at_once), for a caller that asks for the kind of the socket only when it has no
    /// room ([`wait_in_stream`](Self::wait_in_stream)). On a stream, a send that must send all its bytes would then
    /// send a part of them: for such a send this asks at once. Returns whether it has asked.
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

    /// Whether it is a send that io_uring does not wait with.
    pub fn is_sent_at_once(&self) -> bool {
        match self {
            Self::Send { at_once, .. } | Self::SendMessage { at_once, .. } => *at_once,
            _ => false,
        }
    }

    /// Makes the kernel wait with a send.
    pub fn wait_in_kernel(&mut self) {
        if let Some((_, _, at_once)) = self.sent() {
            *at_once = false;
        }
    }

    /// Makes the kernel wait with a send after all, if its socket has a stream of bytes. Returns whether it has one.
    pub fn wait_in_stream(&mut self) -> bool {
        let is_stream = self.sent().is_some_and(|(fd, ..)| !keeps_messages(fd));
        if is_stream {
            self.wait_in_kernel();
        }
        is_stream
    }

    /// Whether it is a send to a socket that keeps messages apart. Such a socket may be called ready although its peer
    /// has no room: one that is not connected does not know its peer.
    pub fn may_wait_in_vain(&self) -> bool {
        match self {
            Self::Send { fd, .. } | Self::SendMessage { fd, .. } => keeps_messages(*fd),
            _ => false,
        }
    }

    /// The descriptor, the flags, and whether the kernel does not wait.
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
