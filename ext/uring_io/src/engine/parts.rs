//! Calls that are under way for one party: the calls of a batch, or the steps of a chain.

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use magnus::{Error, Ruby};
use uring_io_core::{is_cancellation, numbers, Call, Interest, Token, Wakeup};

use super::outcome::{Outcome, Refusal};
use super::party::{Purpose, Raised};
use super::Engine;
use crate::memory::held::Held;

/// Why the engine ends the parts early.
pub(super) enum End {
    Raised(Error),
    TimedOut,
    /// Somebody closes a descriptor that they use, or that a later step would use.
    Closed,
}

/// A call that returned `EAGAIN` although it may wait, and its stand-in.
struct Waiting {
    call: Box<Call>,
    fd: RawFd,
    interest: Interest,
    until: Until,
}

/// The event after which the engine makes a call again.
enum Until {
    /// A poll reports that the descriptor is ready.
    Ready,
    /// This set reports that. A poll of the descriptor itself would report nothing: see `Engine::watch`.
    Set(OwnedFd),
    /// A pause passes. The descriptor is ready, and the call would wait all the same.
    Paused,
}

/// The first pause, and the longest. Each pause is twice as long as the one before.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(32)];

/// The result of a call, and the call itself.
type Over = (i32, Option<Box<Call>>);

/// Calls that are under way for one party.
pub(super) struct Parts<'a> {
    engine: &'a Engine,
    pub(super) tokens: Vec<Token>,
    /// How many of them the engine has started.
    pub(super) started: usize,
    outcomes: Vec<Option<Outcome>>,
    timed_out: Vec<bool>,
    deadlines: Vec<Option<Instant>>,
    waiting: Vec<Option<Waiting>>,
    /// The next pause of each call that has waited for its descriptor.
    pauses: Vec<Option<Duration>>,
    /// Whether to repeat calls that returned `EAGAIN` when their descriptor is ready.
    pub(super) again: bool,
    /// Which of them open a direct descriptor. Their result is no descriptor of the process.
    pub(super) direct: Vec<bool>,
    completed: usize,
    pub(super) end: Option<End>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(engine: &'a Engine, ruby: &Ruby, whole: Token, count: usize) -> Self {
        let fiber = ruby.fiber_current();
        let part_of = || Purpose::PartOf(Cell::new(Some(whole)));
        Self {
            engine,
            tokens: (0..count)
                .map(|_| engine.park_beside(fiber, part_of()))
                .collect(),
            started: 0,
            outcomes: std::iter::repeat_with(|| None).take(count).collect(),
            timed_out: vec![false; count],
            deadlines: vec![None; count],
            waiting: std::iter::repeat_with(|| None).take(count).collect(),
            pauses: vec![None; count],
            again: false,
            direct: vec![false; count],
            completed: 0,
            end: None,
        }
    }

    /// Takes over a call that has returned `EAGAIN` as the next part: waits for its descriptor, and makes it again.
    pub(super) fn resume(&mut self, (result, call): (i32, Box<Call>), timeout: Option<Duration>) {
        let number = self.started;
        let token = self.tokens[number];
        for fd in call.about() {
            self.engine.driver.is_about(token, fd);
        }
        self.deadlines[number] = deadline_of(timeout);
        self.again = true;
        self.started += 1;
        match self.go_on(number, None, result, Some(call)) {
            Ok(None) => {}
            Ok(Some((result, call))) => self.note(number, result, call),
            Err(error) => self.fail(number, error),
        }
    }

    /// Notes why the next part was not started.
    pub(super) fn refuse(&mut self, why: Refusal) {
        let mut outcome = Outcome::of(-libc::ENOSYS, None);
        outcome.refused = Some(why);
        self.outcomes[self.started] = Some(outcome);
        self.completed += 1;
    }

    /// Notes that a part could not go on.
    fn fail(&mut self, number: usize, why: uring_io_core::Error) {
        let mut outcome = Outcome::of(-why.errno, None);
        outcome.refused = Some((why, None));
        self.outcomes[number] = Some(outcome);
        self.completed += 1;
    }

    /// Notes that the engine does not make the next part, because its IO is closed.
    pub(super) fn leave_out(&mut self) {
        let mut outcome = Outcome::of(-libc::ECANCELED, None);
        outcome.closed = true;
        self.outcomes[self.started] = Some(outcome);
        self.completed += 1;
    }

    /// Limits how long the next part may take.
    pub(super) fn set_timeout(&mut self, timeout: Option<Duration>) {
        if timeout.is_some() {
            self.engine
                .driver
                .set_timeout(self.tokens[self.started], timeout);
        }
        self.deadlines[self.started] = deadline_of(timeout);
    }

    pub(super) fn left(&self) -> usize {
        self.started - self.completed
    }

    /// Takes the outcomes that have come. Returns whether all parts are over.
    pub(super) fn take_completed(&mut self, ruby: &Ruby) -> Result<bool, Error> {
        let driver = &self.engine.driver;
        for number in 0..self.started {
            if self.outcomes[number].is_some() {
                continue;
            }
            let token = self.tokens[number];
            match driver.take_wakeup_early(token) {
                Some(Wakeup::Completed(result)) => {
                    let call = driver.take_call(token);
                    let (result, call) = match self.waiting[number].take() {
                        None if result != -libc::EAGAIN || !self.again => (result, call),
                        waiting => match self.go_on(number, waiting, result, call) {
                            Ok(None) => continue,
                            Ok(Some(over)) => over,
                            Err(error) => {
                                self.fail(number, error);
                                continue;
                            }
                        },
                    };
                    self.note(number, result, call);
                }
                Some(Wakeup::TimedOut) => {
                    self.timed_out[number] = true;
                    driver
                        .cancel(token)
                        .map_err(|error| self.engine.failure(ruby, error))?;
                }
                _ => {}
            }
        }
        Ok(self.completed == self.started)
    }

    /// Notes the outcome of a part.
    fn note(&mut self, number: usize, result: i32, call: Option<Box<Call>>) {
        let mut outcome = Outcome::of(result, call.filter(|_| !self.direct[number]));
        let cancelled = is_cancellation(result);
        outcome.closed = self.engine.is_closed_under(self.tokens[number], result)
            || cancelled && matches!(self.end, Some(End::Closed));
        outcome.timed_out = self.timed_out[number] && cancelled;
        self.outcomes[number] = Some(outcome);
        self.completed += 1;
    }

    /// Starts the wait of a call that returned `EAGAIN`, or makes the call again after that wait. Returns the call and
    /// its result if the call is over.
    fn go_on(
        &mut self,
        number: usize,
        waiting: Option<Waiting>,
        result: i32,
        call: Option<Box<Call>>,
    ) -> uring_io_core::Result<Option<Over>> {
        let Some(mut waiting) = waiting else {
            let Some(mut call) = call else {
                return Ok(Some((result, None)));
            };
            if call.is_sent_at_once() {
                self.engine.count_direct_call();
                if call.wait_in_stream() {
                    return self.start_again(number, call);
                }
            }
            let Some((fd, interest)) = call.to_be_waited_for(result) else {
                return Ok(Some((result, Some(call))));
            };
            let until = self.what_to_wait_for(number, &call, fd, interest)?;
            let waiting = Waiting {
                call,
                fd,
                interest,
                until,
            };
            return self.wait_for(number, waiting);
        };
        match waiting.until {
            Until::Paused if result == -numbers::ETIME => {}
            _ if result < 0 => return Ok(Some((result, Some(waiting.call)))),
            Until::Ready if !waiting.interest.is_settled_by(result) => {
                let interests = [(waiting.fd, waiting.interest)];
                waiting.until = Until::Set(uring_io_core::watch(&interests)?);
                return self.wait_for(number, waiting);
            }
            _ => {}
        }
        self.start_again(number, waiting.call)
    }

    /// Decides what a call waits for: at first, until its descriptor is ready. But a socket that is not connected is
    /// ready however full its peer is. If a send on such a socket returns `EAGAIN` once more, it waits for some time
    /// instead.
    fn what_to_wait_for(
        &mut self,
        number: usize,
        call: &Call,
        fd: RawFd,
        interest: Interest,
    ) -> uring_io_core::Result<Until> {
        let waited = self.pauses[number].is_some();
        self.pauses[number].get_or_insert(PAUSES[0]);
        if !waited || !call.may_wait_in_vain() {
            return Ok(Until::Ready);
        }
        self.engine.count_direct_call();
        let is_ready = uring_io_core::found_now(fd, interest)?.is_some();
        Ok(if is_ready {
            Until::Paused
        } else {
            Until::Ready
        })
    }

    /// Starts the stand-in for a call.
    fn wait_for(&mut self, number: usize, waiting: Waiting) -> uring_io_core::Result<Option<Over>> {
        let Some(left) = self.time_left(number) else {
            return Ok(Some((-libc::ECANCELED, Some(waiting.call))));
        };
        let (driver, token) = (&self.engine.driver, self.tokens[number]);
        let (fd, interest) = (waiting.fd, waiting.interest);
        match &waiting.until {
            Until::Ready => driver.poll_for(token, fd, interest, None)?,
            Until::Set(set) => driver.poll_for(token, fd, interest, Some(set.as_raw_fd()))?,
            Until::Paused => {
                let pause = self.pauses[number].unwrap_or(PAUSES[0]);
                self.pauses[number] = Some(PAUSES[1].min(pause * 2));
                driver.pause_for(token, fd, pause);
            }
        }
        self.waiting[number] = Some(waiting);
        if left.is_some() {
            driver.set_timeout(token, left);
        }
        Ok(None)
    }

    /// Starts a call again, unless it must end.
    fn start_again(
        &mut self,
        number: usize,
        call: Box<Call>,
    ) -> uring_io_core::Result<Option<Over>> {
        let Some(left) = self.time_left(number) else {
            return Ok(Some((-libc::ECANCELED, Some(call))));
        };
        let (driver, token) = (&self.engine.driver, self.tokens[number]);
        driver.call(token, *call)?;
        if left.is_some() {
            driver.set_timeout(token, left);
        }
        Ok(None)
    }

    /// How much time a part has left: `Some(None)` without a limit, `None` if it must end.
    fn time_left(&mut self, number: usize) -> Option<Option<Duration>> {
        let left = self.deadlines[number].map(|end| end.saturating_duration_since(Instant::now()));
        self.timed_out[number] |= left.is_some_and(|left| left.is_zero());
        let goes_on = self.end.is_none() && !self.timed_out[number];
        goes_on.then_some(left)
    }

    /// Makes the engine hold the objects that the kernel still uses although their call is over.
    pub(super) fn keep_what_is_in_use(&self, ruby: &Ruby, held: impl Fn(usize) -> Held) {
        for (number, token) in self.tokens.iter().enumerate() {
            if self.engine.driver.is_submitted(*token) {
                self.engine.keep(ruby, *token, held(number));
            }
        }
    }

    pub(super) fn cancel(&self, ruby: &Ruby) -> Result<(), Error> {
        let waiting = self.tokens[..self.started].iter().zip(&self.outcomes);
        for (token, _) in waiting.filter(|(_, outcome)| outcome.is_none()) {
            let cancelled = self.engine.driver.cancel(*token);
            cancelled.map_err(|error| self.engine.failure(ruby, error))?;
        }
        Ok(())
    }

    /// The outcome of the only part. If the part has transferred bytes, its outcome counts even if somebody has raised
    /// in the fiber: the bytes cannot be taken back. The fiber then raises the exception at its next park.
    pub(super) fn into_outcome(mut self, ruby: &Ruby) -> Result<Option<Outcome>, Error> {
        let outcome = self.outcomes.pop().flatten();
        match (self.end.take(), outcome) {
            (Some(End::Raised(error)), Some(outcome))
                if outcome.result > 0 && self.engine.may_postpone(&error) =>
            {
                self.engine.postpone(ruby, &Raised::from(error));
                Ok(Some(outcome))
            }
            (Some(End::Raised(error)), outcome) => {
                outcome.iter().for_each(Outcome::undo);
                Err(error)
            }
            (_, outcome) => Ok(outcome),
        }
    }

    /// The outcomes, and why the parts ended early, if they did. If somebody has raised in the fiber, this undoes the
    /// parts and fails with that exception.
    pub(super) fn into_outcomes(mut self) -> Result<(Vec<Outcome>, Option<End>), Error> {
        let outcomes = std::mem::take(&mut self.outcomes).into_iter().flatten();
        match self.end.take() {
            Some(End::Raised(error)) => {
                outcomes.for_each(|outcome| outcome.undo());
                Err(error)
            }
            end => Ok((outcomes.collect(), end)),
        }
    }
}

fn deadline_of(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        for token in &self.tokens {
            self.engine.driver.leave(*token);
        }
    }
}
