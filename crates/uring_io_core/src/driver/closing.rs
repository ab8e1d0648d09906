//! Ends the operations on a descriptor before somebody closes it.
//!
//! After [`Driver::begin_close`] no new operation starts on the descriptor. [`Driver::end_all_on`] marks the present
//! operations as ended. The closing thread then waits until nobody uses the descriptor any longer
//! ([`Driver::is_used`]), and calls [`Driver::end_close`]. Any thread may call these and [`Driver::has_users`], as
//! [`Driver::wake`]. The owner itself cancels the ended operations when it looks for completions.

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

    /// Notes that a party uses one more descriptor, before it submits.
    pub fn is_about(&self, token: Token, fd: RawFd) {
        self.parks.borrow_mut().is_about(token, fd);
    }

    /// Completes an operation without starting it, because somebody closes its descriptor.
    pub(super) fn refuse(&self, token: Token) {
        let mut parks = self.parks.borrow_mut();
        parks.in_flight.submitted(token, true);
        parks.fire(token, Wakeup::Completed(-libc::ECANCELED));
    }

    /// Refuses new operations on a descriptor from now on, until [`end_close`](Self::end_close): they complete with
    /// `ECANCELED`, and count as [ended](Self::is_ended). Several closes of a descriptor may overlap, each with a
    /// number of its own.
    pub fn begin_close(&self, fd: RawFd, by: u64) {
        self.parks.borrow_mut().closing.push((fd, by));
        self.closes.set(true);
    }

    /// Ends the close that has this number, or all closes of the descriptor: they are over, or given up.
    pub fn end_close(&self, fd: RawFd, by: Option<u64>) {
        let closing = &mut self.parks.borrow_mut().closing;
        closing.retain(|(closed, number)| *closed != fd || by.is_some_and(|by| by != *number));
        self.closes.set(!closing.is_empty());
    }

    /// Whether anybody uses a descriptor, waiting or not.
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

    /// Marks all operations on a descriptor as ended. The owner cancels them when it next looks. A party that waits for
    /// no operation yet goes on.
    pub fn end_all_on(&self, fd: RawFd) {
        let mut parks = self.parks.borrow_mut();
        let tokens: Vec<Token> = parks.in_flight.users(fd).map(|(token, _)| token).collect();
        for token in tokens {
            let submitted = parks.in_flight.end(token);
            if submitted || parks.in_flight.is_guarded(token) {
                // Again at each call: a step of a chain that had not begun has missed the last cancellation.
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

    /// Whether the kernel may still have to look up a descriptor for an operation. The owner must not be waiting.
    pub fn has_queued(&self, fd: RawFd) -> bool {
        if self.parks.borrow().in_flight.has_step_on(fd) {
            return true;
        }
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
