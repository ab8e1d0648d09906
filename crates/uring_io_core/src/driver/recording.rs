//! The records that a driver writes while it has a log.

use std::time::{Duration, Instant};

use super::Driver;
use crate::call::Call;
use crate::in_flight::Wakeup;
use crate::operation::{Direction, Operation};
use crate::recorder::{nanoseconds, short, Common, Details, Event, Log, NOWHERE};
use crate::token::Token;

impl<P> Driver<P> {
    /// Records everything in this log from now on, or nothing when there is none. Returns the log before.
    pub fn record_in(&self, log: Option<Box<Log>>) -> Option<Box<Log>> {
        let counts = self.counts.snapshot();
        self.recorded.set((counts.submissions, counts.enters));
        self.recorder.set(log)
    }

    /// Whether the driver records.
    #[inline]
    pub fn is_recorded(&self) -> bool {
        self.recorder.is_on()
    }

    /// Calls `look` with the log, if the driver records.
    pub fn with_log<R>(&self, look: impl FnOnce(&mut Log) -> R) -> Option<R> {
        self.recorder.with(look)
    }

    /// Records what a party did.
    pub fn record_party(&self, event: Event, party: u64, token: Option<Token>) {
        let token = token.map_or(NOWHERE, Token::to_bits);
        self.recorder.record_bare(event, party, token, 0);
    }

    /// Records that a party has left its place.
    #[inline]
    pub fn record_left(&self, party: u64, token: Token) {
        self.recorder.record_left(party, token.to_bits());
    }

    /// Records that a party waits, and for what. [`Common::Nothing`] stands for an operation that the party is about to
    /// begin.
    pub fn record_park(&self, party: u64, token: Token, purpose: Common) {
        let token = token.to_bits();
        if purpose == Common::Nothing {
            self.recorder.record_park(party, token);
            return;
        }
        let details = Details {
            name: purpose as u16,
            party,
            token,
            ..Details::default()
        };
        self.recorder.record(Event::Parked, &details);
    }

    /// Records that the thread has collected garbage for some time, until now.
    pub fn record_collected(&self, length: Duration) {
        if self.recorder.is_on() {
            let length = nanoseconds(length);
            self.recorder
                .record_bare(Event::Collected, length, NOWHERE, 0);
        }
    }

    /// Records that a party has begun: `place` says where.
    #[cold]
    pub fn record_started(&self, party: u64, place: &str) {
        let details = Details {
            name: self.recorder.name(place),
            party,
            ..Details::default()
        };
        self.recorder.record(Event::Started, &details);
    }

    /// Notes that Ruby code runs although no party does.
    pub fn note_stir(&self) {
        if self.recorder.is_on() {
            self.recorder.stir();
        }
    }

    /// Records that the owner is back from [`wait`](Self::wait), and has the lock that it needs to go on.
    pub fn note_back(&self) {
        if self.recorder.is_on() {
            self.record_back();
        }
    }

    #[cold]
    fn record_back(&self) {
        let back = self.origin + Duration::from_nanos(self.back.get());
        let locked = Instant::now().saturating_duration_since(back);
        self.record_entered(Event::Entered, self.last_wait.get(), locked);
    }

    /// Records a call into the kernel, to wait or not, and how many submissions there were since the last one.
    #[cold]
    pub(super) fn record_entered(&self, event: Event, length: Duration, locked: Duration) {
        let counts = self.counts.snapshot();
        let (submissions, enters) = self.recorded.replace((counts.submissions, counts.enters));
        if counts.enters == enters {
            return;
        }
        let submissions = short(counts.submissions - submissions);
        self.recorder
            .record_bare(event, nanoseconds(length), nanoseconds(locked), submissions);
    }

    #[inline]
    pub(super) fn record_completed(&self, token: Token, result: i32) {
        self.recorder.record_completed(token.to_bits(), result);
    }

    pub(super) fn record_woken(&self, token: Token) {
        self.recorder
            .record_bare(Event::Woken, 0, token.to_bits(), 0);
    }

    /// Records that a deadline has passed.
    #[cold]
    pub(super) fn record_passed(&self, token: Token, passed: Wakeup) {
        match passed {
            Wakeup::Completed(result) => self.record_completed(token, result),
            Wakeup::TimedOut | Wakeup::Woken => self.record_woken(token),
        }
    }

    /// Records that an operation begins under a token.
    #[cold]
    pub(super) fn record_submitted(&self, token: Token, operation: &Operation) {
        let length = match operation {
            Operation::Transfer(transfer) => short(transfer.buffer.length()),
            Operation::Poll { .. } | Operation::WaitChild(_) => 0,
        };
        let details = Details {
            token: token.to_bits(),
            value: length,
            ..details(operation)
        };
        self.recorder.record_submitted(&details);
    }

    /// Records an operation that was over at once.
    #[cold]
    pub(super) fn record_done(&self, operation: &Operation, result: i32) {
        let details = Details {
            value: result,
            ..details(operation)
        };
        self.recorder.record(Event::Done, &details);
    }

    /// Records that a call begins.
    #[cold]
    pub(super) fn record_call(&self, token: Token, call: &Call) {
        let details = Details {
            name: self.recorder.name_of_call(call.name()),
            fd: call.waits_on().unwrap_or(-1),
            token: token.to_bits(),
            ..Details::default()
        };
        self.recorder.record_submitted(&details);
    }
}

fn details(operation: &Operation) -> Details {
    let name = match operation {
        Operation::Poll { .. } => Common::Poll,
        Operation::WaitChild(_) => Common::WaitChild,
        Operation::Transfer(transfer) => match transfer.direction {
            Direction::Read => Common::Read,
            Direction::Write => Common::Write,
        },
    };
    Details {
        name: name as u16,
        fd: operation.fd().unwrap_or(-1),
        ..Details::default()
    }
}
