//! Stand-ins: a poll or a pause in the place of a call that came to `EAGAIN`, before its party makes it again.

use std::os::fd::RawFd;

use super::slot::{Slot, Wakeup};
use super::InFlight;
use crate::call::Call;
use crate::error::is_cancellation;
use crate::token::Token;

impl<P> InFlight<P> {
    /// Notes that the next operation under `token` stands in for a call on this descriptor.
    pub fn stand_in(&mut self, token: Token, fd: RawFd) {
        if let Some(slot) = self.slot_mut(token) {
            slot.begin_anew();
            slot.stands_for = Some(fd);
        }
    }

    /// The operations that wait for a descriptor of the process: calls in flight on it, and their stand-ins.
    pub fn waiting_on(&self, fd: RawFd) -> Vec<Token> {
        self.tokens(|slot| slot.submitted && slot.is_on(fd))
    }

    /// The calls on a descriptor whose party has a wakeup to take, and will then wait for the descriptor again.
    pub fn about_to_wait_on(&self, fd: RawFd) -> Vec<Token> {
        self.tokens(|slot| !slot.submitted && slot.is_on(fd) && slot.waits_on())
    }

    /// Whether a step of a chain that is not over uses this descriptor. The kernel may not have looked it up yet.
    pub fn has_step_on(&self, fd: RawFd) -> bool {
        let is_meant = |slot: &Slot<P>| {
            let call = slot
                .call
                .as_ref()
                .filter(|_| slot.submitted && slot.link.chained);
            call.is_some_and(|call| call.about_in_chain(slot.link).contains(&fd))
        };
        self.slots.iter().any(is_meant)
    }

    fn tokens(&self, are_meant: impl Fn(&Slot<P>) -> bool) -> Vec<Token> {
        let numbered = self.slots.iter().enumerate();
        numbered
            .filter(|(_, slot)| are_meant(slot))
            .map(|(number, slot)| Token::new(number as u32, slot.generation))
            .collect()
    }
}

impl<P> Slot<P> {
    /// Whether the call is on this descriptor of the process, or the call that the operation stands in for.
    fn is_on(&self, fd: RawFd) -> bool {
        let is_meant =
            |call: &Call| call.may_wait_with(fd) && call.about_in_chain(self.link).contains(&fd);
        self.stands_for == Some(fd) || self.call.as_deref().is_some_and(is_meant)
    }

    /// Whether the party will wait again when it has taken its wakeup.
    fn waits_on(&self) -> bool {
        let Some(Wakeup::Completed(result)) = self.wakeup else {
            return false;
        };
        let waits = |call: &crate::call::Call| call.to_be_waited_for(result).is_some();
        match self.stands_for {
            Some(_) => !is_cancellation(result),
            None => self.call.as_deref().is_some_and(waits),
        }
    }
}
