//! What a driver records while it has a log.

use std::time::{Duration, Instant};

use super::Driver;
use crate::call::Call;
use crate::in_flight::Wakeup;
use crate::operation::{Direction, Operation};
use crate::recorder::{common, nanoseconds, Common, Details, Event, Log};
use crate::token::Token;

impl<P> Driver<P> {
    /// Records everything in this log from now on; nothing without one. Returns the log before.
    pub fn record_in(&self, log: Option<Box<Log>>) -> Option<Box<Log>> {
        self.recorder.set(log)
    }

    /// Whether it records.
    #[inline]
    pub fn is_recorded(&self) -> bool {
        self.recorder.is_on()
    }

    /// Records what a party did; `name` says more.
    #[cold]
    pub fn record_party(&self, event: Event, party: u64, token: Option<Token>, name: &str) {
        let details = Details {
            name,
            party,
            token,
            ..Details::default()
        };
        self.recorder.record(event, &details);
    }

    /// Records that the owner is back from [`wait`](Self::wait), and has what it must have to go on.
    pub fn note_back(&self) {
        if self.recorder.is_on() {
            self.record_back();
        }
    }

    #[cold]
    fn record_back(&self) {
        let back = self.origin + Duration::from_nanos(self.back.get());
        let locked = Instant::now().saturating_duration_since(back);
        let waited = self.last_wait.get();
        self.record_entered(nanoseconds(waited));
        let details = Details {
            value: nanoseconds(locked),
            ..Details::default()
        };
        self.recorder.record(Event::Locked, &details);
    }

    /// Records a call into the kernel of so many nanoseconds, with what was submitted since the last one.
    #[cold]
    pub(super) fn record_entered(&self, length: i64) {
        let counts = self.counts.snapshot();
        let (submissions, enters) = self.recorded.replace((counts.submissions, counts.enters));
        if counts.enters == enters {
            return;
        }
        let details = Details {
            party: counts.submissions - submissions,
            value: length,
            ..Details::default()
        };
        self.recorder.record(Event::Entered, &details);
    }

    #[cold]
    pub(super) fn record_token(&self, event: Event, token: Token, result: i32) {
        let details = Details {
            token: Some(token),
            value: i64::from(result),
            ..Details::default()
        };
        self.recorder.record(event, &details);
    }

    /// Records that a deadline has passed.
    #[cold]
    pub(super) fn record_passed(&self, token: Token, passed: Wakeup) {
        match passed {
            Wakeup::Completed(result) => self.record_token(Event::Completed, token, result),
            Wakeup::TimedOut | Wakeup::Woken => self.record_token(Event::Woken, token, 0),
        }
    }

    /// Records an operation: begun under a token, or over at once.
    #[cold]
    pub(super) fn record_operation(
        &self,
        token: Option<Token>,
        operation: &Operation,
        result: Option<i32>,
    ) {
        let (name, length) = match operation {
            Operation::Poll { .. } => (Common::Poll, 0),
            Operation::WaitChild(_) => (Common::WaitChild, 0),
            Operation::Transfer(transfer) => {
                let name = match transfer.direction {
                    Direction::Read => Common::Read,
                    Direction::Write => Common::Write,
                };
                (name, transfer.buffer.length() as i64)
            }
        };
        let details = Details {
            common: common(name),
            fd: operation.fd(),
            token,
            value: result.map_or(length, i64::from),
            ..Details::default()
        };
        let event = if result.is_some() {
            Event::Done
        } else {
            Event::Submitted
        };
        self.recorder.record(event, &details);
    }

    /// Records a call that is begun.
    #[cold]
    pub(super) fn record_call(&self, token: Token, call: &Call) {
        let details = Details {
            name: call.name(),
            fd: call.waits_on(),
            token: Some(token),
            ..Details::default()
        };
        self.recorder.record(Event::Submitted, &details);
    }
}
