//! Who is parked, until when, and who may run.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::completion::Completion;
use crate::in_flight::{InFlight, Wakeup};
use crate::platform::numbers;
use crate::ready_queue::ReadyQueue;
use crate::timers::Timers;
use crate::token::Token;

/// State that changes together: who is parked, until when, and who may run.
pub(super) struct Parks<P> {
    pub in_flight: InFlight<P>,
    pub timers: Timers,
    pub ready: ReadyQueue,
    /// Descriptors that somebody is closing, each with the number of the close: see `closing.rs`.
    pub closing: Vec<(RawFd, u64)>,
    /// Operations that the owner has to cancel for a close.
    pub ending: Vec<Token>,
}

/// How soon to look again at a deadline that passed while its party had another wakeup already.
const AGAIN: Duration = Duration::from_millis(1);

impl<P> Parks<P> {
    pub fn fire(&mut self, token: Token, wakeup: Wakeup) {
        if self.in_flight.fire(token, wakeup) {
            self.ready.push(token);
        }
    }

    pub fn complete(&mut self, token: Token, completion: Completion) {
        if self.in_flight.complete(token, completion) {
            self.ready.push(token);
        }
    }

    pub fn set_deadline(&mut self, token: Token, deadline: Option<Instant>) {
        let before = self.in_flight.set_deadline(token, deadline);
        if before.is_some() {
            let in_flight = &self.in_flight;
            self.timers
                .cancel(|token, deadline| in_flight.has_deadline(token, deadline));
        }
        if let Some(deadline) = deadline {
            self.timers.arm(deadline, token);
        }
    }

    /// As [`set_deadline`](Self::set_deadline), for a limit. The end of an alarm stays its deadline, unless the limit
    /// comes earlier.
    pub fn limit(&mut self, token: Token, limit: Option<Instant>) {
        if !self.in_flight.is_alarm(token) || self.in_flight.limit_alarm(token, limit) {
            self.set_deadline(token, limit);
        }
    }

    /// Whether a deadline has passed at `now`.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.next_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Fires the deadlines that have passed, and calls `tell` for each.
    pub fn expire(&mut self, now: Instant, mut tell: impl FnMut(Token, Wakeup)) {
        loop {
            let in_flight = &self.in_flight;
            let expired = self
                .timers
                .expire(now, |token, at| in_flight.has_deadline(token, at));
            let Some(token) = expired else { return };
            self.in_flight.set_deadline(token, None);
            let is_over = self.in_flight.is_alarm(token) && !self.in_flight.is_limited(token);
            if self.in_flight.goes_on_in_time(token) && !is_over {
                // The party may take its wakeup and wait again.
                self.set_deadline(token, now.checked_add(AGAIN));
                continue;
            }
            let passed = if is_over {
                Wakeup::Completed(-numbers::ETIME)
            } else {
                Wakeup::TimedOut
            };
            self.fire(token, passed);
            tell(token, passed);
        }
    }

    pub fn next_deadline(&mut self) -> Option<Instant> {
        let in_flight = &self.in_flight;
        self.timers
            .next(|token, deadline| in_flight.has_deadline(token, deadline))
    }
}
