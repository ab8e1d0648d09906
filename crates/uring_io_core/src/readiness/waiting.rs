//! An operation that waits for its descriptor, and the attempt that is made when that is ready.

use crate::call::blocking::PinnedCall;
use crate::operation::Transfer;
use crate::posix;
use crate::stats::Counts;
use crate::token::Token;

/// An operation that waits for its descriptor: a transfer to be made, or only the readiness.
pub(super) struct Waiting {
    pub token: Token,
    /// The poll(2) events it waits for.
    pub events: i16,
    /// Whether epoll or kqueue watches its descriptor.
    pub armed: bool,
    pub attempt: Attempt,
}

/// What to do when the descriptor is ready.
pub(super) enum Attempt {
    /// Nothing: its readiness was all that was asked for.
    Report,
    Transfer(Transfer),
    Call(PinnedCall),
}

impl Waiting {
    /// What the operation comes to now that `found` is reported; None when it must wait on.
    pub fn attempt(&self, found: i16, counts: &Counts) -> Option<i32> {
        if found & libc::POLLNVAL != 0 {
            return Some(-libc::EBADF);
        }
        if found & (self.events | libc::POLLERR | libc::POLLHUP) == 0 {
            return None;
        }
        let result = match &self.attempt {
            Attempt::Report => return Some(i32::from(found)),
            Attempt::Transfer(transfer) => posix::transfer_now(transfer),
            Attempt::Call(call) => {
                let result = call.attempt();
                // Whoever made it knows how to wait for what is ready all the time.
                if result == -libc::EAGAIN && call.may_wait_in_vain() {
                    return Some(result);
                }
                result
            }
        };
        counts.direct_calls.add(1);
        (result != -libc::EAGAIN && result != -libc::EINTR).then_some(result)
    }
}
