//! Ending the operations on a descriptor before somebody closes it.
//!
//! The closing thread begins: from then on no new operation starts on the descriptor. It marks the present
//! operations as ended, and waits until nobody uses the descriptor any longer. Any thread may do all of that,
//! as [`Driver::wake`]. The owner itself cancels the ended operations when it looks for completions.

use std::os::fd::RawFd;

use super::parks::Parks;
use super::Driver;
use crate::in_flight::Wakeup;
use crate::token::Token;

impl<P> Parks<P> {
    /// Notes that a party uses a descriptor. A descriptor that somebody is closing takes no new operation.
    pub(super) fn is_about(&mut self, token: Token, fd: RawFd) {
        if fd < 0 {
            return;
        }
        self.in_flight.is_about(token, fd);
        if !self.closing.is_empty() && self.closing.iter().any(|(closed, _)| *closed == fd) {
            self.in_flight.end(token);
        }
    }
}

impl<P> Driver<P> {
    /// As [`park`](Self::park), for a party that is about to use a descriptor.
    pub fn park_on(&self, payload: P, fd: RawFd) -> Token {
        let mut parks = self.parks.borrow_mut();
        let token = parks.in_flight.park(payload, self.back.get());
        parks.is_about(token, fd);
        token
    }

    /// Notes that a party is about one more descriptor, before it submits.
    pub fn is_about(&self, token: Token, fd: RawFd) {
        self.parks.borrow_mut().is_about(token, fd);
    }

    /// Completes an operation without starting it, because somebody closes its descriptor.
    pub(super) fn refuse(&self, token: Token) {
        let mut parks = self.parks.borrow_mut();
        parks.in_flight.submitted(token, true);
        parks.fire(token, Wakeup::Completed(-libc::ECANCELED));
    }

    /// Refuses new operations on a descriptor from now on, until [`end_close`](Self::end_close): they complete
    /// with `ECANCELED`, and count as [ended](Self::is_ended). Several may close it at the same time, each with
    /// a number of its own.
    pub fn begin_close(&self, fd: RawFd, by: u64) {
        self.parks.borrow_mut().closing.push((fd, by));
        self.closes.set(true);
    }

    /// The close is over, or given up: that of this number, or those of all.
    pub fn end_close(&self, fd: RawFd, by: Option<u64>) {
        let closing = &mut self.parks.borrow_mut().closing;
        closing.retain(|(closed, number)| *closed != fd || by.is_some_and(|by| by != *number));
        self.closes.set(!closing.is_empty());
    }

    /// Whether anybody is about a descriptor, waiting or not.
    pub fn has_users(&self, fd: RawFd) -> bool {
        self.parks.borrow().in_flight.users(fd).next().is_some()
    }

    /// Whether somebody uses a descriptor: a party that has not left (except those for which `left_out` is
    /// true), an operation whose completion has yet to come, or the guard of a stream.
    pub fn is_used(&self, fd: RawFd, left_out: impl Fn(&P) -> bool) -> bool {
        let parks = self.parks.borrow();
        let mut users = parks.in_flight.users(fd);
        users.any(|(token, party)| {
            let in_flight = &parks.in_flight;
            let goes_on = in_flight.is_submitted(token) || in_flight.is_guarded(token);
            goes_on || !party.is_some_and(&left_out)
        })
    }

    /// Ends all operations on a descriptor. A party that waits for no operation yet goes on; the owner cancels
    /// an operation when it next looks.
    pub fn end_all_on(&self, fd: RawFd) {
        let mut parks = self.parks.borrow_mut();
        let tokens: Vec<Token> = parks.in_flight.users(fd).map(|(token, _)| token).collect();
        for token in tokens {
            let submitted = parks.in_flight.end(token);
            if submitted || parks.in_flight.is_guarded(token) {
                // Again each time: a step of a chain that had not begun knows nothing of the last one.
                parks.ending.push(token);
            }
            if !submitted {
                parks.fire(token, Wakeup::Woken);
            }
        }
        drop(parks);
        if self.is_waiting() {
            self.waker().wake();
        }
    }

    /// Whether the party of `token` has to end because somebody closes its descriptor.
    pub fn is_ended(&self, token: Token) -> bool {
        self.parks.borrow().in_flight.is_ended(token)
    }

    /// Whether an operation on a descriptor may be queued that the kernel has not taken. Not while the owner
    /// waits.
    pub fn has_queued(&self, fd: RawFd) -> bool {
        let mut backend = self.backend.borrow_mut();
        backend.ring().is_ok_and(|ring| ring.has_queued(fd))
    }

    /// Cancels the ended operations.
    pub(super) fn cancel_ending(&self) {
        if self.parks.borrow().ending.is_empty() {
            return;
        }
        let ending = std::mem::take(&mut self.parks.borrow_mut().ending);
        for token in ending {
            // A ring that refuses this has failed, and says so at the next enter.
            let _ = self.cancel(token).and_then(|()| self.end_guard(token));
        }
    }
}
