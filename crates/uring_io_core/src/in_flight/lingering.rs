//! Calls that linger: a send without a copy has its result, but the kernel still uses the memory.
//!
//! The notice that the kernel is done comes when the peer has taken the bytes, and the peer may put that off for ever.
//! So a close of the descriptor or the ring does not wait for it. The memory belongs to the call until the notice
//! comes. If nobody can take the notice any longer, the memory is never freed.

use super::InFlight;
use crate::token::Token;

impl<P> InFlight<P> {
    /// Number of calls that are over except for their notice.
    pub fn lingering_count(&self) -> usize {
        self.lingering
    }

    /// Notes that the result of a call has come, and that a notice is to follow.
    pub(super) fn linger(&mut self, token: Token) {
        let Some(slot) = self.slot_mut(token) else {
            return;
        };
        slot.lingers = true;
        let (parked, awaited) = (slot.payload.is_some(), slot.awaited);
        self.awaited -= usize::from(awaited);
        self.lingering += 1;
        if !parked {
            self.users.remove(token.slot());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::Completion;

    #[test]
    fn what_only_its_memory_is_in_use_of_is_neither_awaited_nor_about_a_descriptor() {
        let mut table = InFlight::default();
        let token = table.park("a", 0);
        table.is_about(token, 0);
        table.submitted(token, true);
        let mut completion = Completion::of(5);
        completion.more = true;
        assert!(table.complete(token, completion));
        assert_eq!((table.awaited_count(), table.lingering_count()), (0, 1));
        assert_eq!(table.awaited_tokens(), []);
        assert_eq!(table.users(0).count(), 1);
        table.leave(token);
        assert_eq!(table.users(0).count(), 0);
        assert!(table.is_submitted(token));
        let mut notice = Completion::of(0);
        notice.notice = true;
        assert!(!table.complete(token, notice));
        assert_eq!((table.awaited_count(), table.lingering_count()), (0, 0));
        assert_eq!(table.take_released(), [token]);
    }
}
