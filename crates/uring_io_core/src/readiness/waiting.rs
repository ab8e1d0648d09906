//! An operation that waits for its descriptor, and the attempt that it makes when the descriptor is ready.

use crate::call::blocking::PinnedCall;
use crate::operation::Transfer;
use crate::posix;
use crate::stats::Counts;
use crate::token::Token;

/// An operation that waits for its descriptor.
pub(super) struct Waiting {
    pub token: Token,
    /// The poll(2) events it waits for.
    pub events: i16,
    /// Whether epoll or kqueue watches its descriptor.
    pub armed: bool,
    pub attempt: Attempt,
}

/// The action for a descriptor that has become ready.
pub(super) enum Attempt {
    /// None: the operation waits for readiness only.
    Report,
    Transfer(Transfer),
    Call(PinnedCall),
}

impl Waiting {
    /// The result of the operation now that the backend reports `found`. None when it must go on waiting.
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
                // Such a descriptor may be ready all the time. The maker of the call knows how to wait for it.
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
