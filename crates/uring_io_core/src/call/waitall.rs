//! `MSG_WAITALL` of receives that must not go on after their first bytes.
//!
//! For the rest of the bytes, io_uring and the readiness backends receive again. That would return the same bytes
//! again after `MSG_PEEK`, and would put the next message behind the first one. io_uring itself does both
//! (`io_net_retry`, io_uring/net.c; it excepts only datagrams), recv(2) does neither. recvmsg(2) is not repeated: there
//! may be ancillary data between the bytes, for which io_uring does not go on either (`io_recvmsg`).

use super::Call;
use crate::posix::keeps_messages;

impl Call {
    /// Takes `MSG_WAITALL` from a call with `MSG_DONTWAIT`, for io_uring and outside of chains: there the first flag
    /// means nothing then. Linux 5.10.262 answers EAGAIN for both, and does not tell what it has moved.
    pub(crate) fn settle_dontwait(&mut self) {
        if let Self::Recv { flags, .. } | Self::Send { flags, .. } = self {
            if *flags & libc::MSG_DONTWAIT != 0 {
                *flags &= !libc::MSG_WAITALL;
            }
        }
    }

    /// Takes `MSG_WAITALL` from a receive that peeks, from one of a socket that keeps messages apart, and from
    /// recvmsg(2). A direct descriptor has no number by which to ask for the kind of its socket. Returns whether this
    /// has asked.
    pub(crate) fn settle_waitall(&mut self, is_direct: bool) -> bool {
        match self {
            Self::Recv { fd, flags, .. } if *flags & libc::MSG_WAITALL != 0 => {
                let peeks = *flags & libc::MSG_PEEK != 0;
                let asks = !peeks && !is_direct;
                if peeks || (asks && keeps_messages(*fd)) {
                    *flags &= !libc::MSG_WAITALL;
                }
                asks
            }
            Self::ReceiveMessage { flags, .. } => {
                *flags &= !libc::MSG_WAITALL;
                false
            }
            _ => false,
        }
    }
}
