//! Guards: a stream that receives from a socket has a poll beside it that tells when the peer has gone.
//!
//! Bytes and the end of a connection can wake a multishot receive together. Newer kernels then look at the socket only
//! once. They take the bytes, trust the socket that nothing is left, and forget the second wakeup. The receive stays
//! armed for a wakeup that never comes. Streams on TCP lose a reset like this (seen on Linux 6.16 up, not on 6.12),
//! those on UNIX sockets their end (6.18 up). The fix of axboe/liburing#1549 makes that rare, but does not end it
//! (7.3).
//!
//! The guard is a poll for no events: only a hang-up or an error completes it. The driver then cancels the receive,
//! which loses nothing, and starts it again. The receive finds the rest at once, because the kernel looks at a socket
//! before it waits for it. A poll costs as much as asking for the kind of the socket, so every such stream has one.

use std::os::fd::RawFd;

use super::InFlight;
use crate::call::Call;
use crate::token::Token;

/// The state of a stream's guard, and what it tells about the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Guard {
    /// There is no guard.
    #[default]
    Absent,
    /// The guard waits until the peer has gone.
    Armed,
    /// The ring has cancelled the guard, whose completion has yet to come.
    Ending,
    /// The peer has gone: nothing new can come.
    HungUp,
}

/// The next step for a stream that pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turnabout {
    /// The driver cancels it for now.
    End,
    /// The driver starts it again.
    Start,
}

impl<P> InFlight<P> {
    /// The descriptor of a stream that has just been started and needs a guard, which the caller arms.
    pub fn arm_guard(&mut self, token: Token) -> Option<RawFd> {
        let slot = self.slot_mut(token)?;
        match slot.call.as_deref() {
            Some(Call::RecvEach { fd, .. }) if slot.guard == Guard::Absent => {
                slot.guard = Guard::Armed;
                Some(*fd)
            }
            _ => None,
        }
    }

    /// Whether the guard of a stream has yet to complete.
    pub fn is_guarded(&self, token: Token) -> bool {
        let slot = self.slot(token);
        slot.is_some_and(|slot| matches!(slot.guard, Guard::Armed | Guard::Ending))
    }

    /// Notes that the driver cancels the guard of a stream. Returns whether the guard is armed.
    pub fn end_guard(&mut self, token: Token) -> bool {
        let slot = self.slot_mut(token);
        slot.is_some_and(|slot| {
            let armed = slot.guard == Guard::Armed;
            if armed {
                slot.guard = Guard::Ending;
            }
            armed
        })
    }

    /// Notes the completion of a guard.
    pub(super) fn note_guard(&mut self, token: Token, found: i32) {
        let Some(token) = token.guarded() else { return };
        let Some(slot) = self.slot_mut(token) else {
            return;
        };
        let ends = slot.guard != Guard::Armed || found < 0;
        slot.guard = if ends { Guard::Absent } else { Guard::HungUp };
        let may_be_stuck = slot.submitted && slot.payload.is_some() && !slot.crowded;
        if !ends && may_be_stuck {
            slot.crowded = true;
            self.turnabouts.push((token, Turnabout::End));
        }
    }

    /// Takes the streams that the driver has to cancel for now, or to start again.
    pub fn take_turnabouts(&mut self) -> Vec<(Token, Turnabout)> {
        std::mem::take(&mut self.turnabouts)
    }

    /// The call of a stream that the driver has to start again, unless its party has left or somebody closes its
    /// descriptor.
    pub fn call_to_start_again(&mut self, token: Token) -> Option<&mut Call> {
        let slot = self.slot_mut(token)?;
        if slot.submitted || slot.payload.is_none() || slot.ended {
            return None;
        }
        slot.call.as_deref_mut()
    }
}
