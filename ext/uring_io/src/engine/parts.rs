//! Calls that are under way for one party: those of a batch, or of a chain.

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use magnus::{Error, Ruby};
use uring_io_core::{is_cancellation, Call, Interest, Token, Wakeup};

use super::outcome::{Outcome, Refusal};
use super::party::Purpose;
use super::Engine;
use crate::memory::held::Held;

/// Why calls are told to end.
pub(super) enum End {
    Raised(Error),
    TimedOut,
    /// A descriptor that they are on, or were to be, is about to be closed.
    Closed,
}

/// A call that came to `EAGAIN` although it may wait, and the poll that runs in its place meanwhile.
struct Waiting {
    call: Box<Call>,
    fd: RawFd,
    interest: Interest,
    /// What is polled where a poll of the descriptor itself tells nothing: see `Engine::watch`.
    set: Option<OwnedFd>,
}

/// What a call has come to, and the call itself.
type Over = (i32, Option<Box<Call>>);

/// Calls that are under way for one party.
pub(super) struct Parts<'a> {
    engine: &'a Engine,
    pub(super) tokens: Vec<Token>,
    /// How many of them were started.
    pub(super) started: usize,
    outcomes: Vec<Option<Outcome>>,
    timed_out: Vec<bool>,
    deadlines: Vec<Option<Instant>>,
    waiting: Vec<Option<Waiting>>,
    /// Whether those that came to `EAGAIN` are made again when their descriptor is ready.
    pub(super) again: bool,
    /// Which of them open a direct descriptor: their result is none of the process.
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
            again: false,
            direct: vec![false; count],
            completed: 0,
            end: None,
        }
    }

    /// Notes that the next part was not started, and why.
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

    /// Notes that the next part is not made, because its IO is closed.
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
        self.deadlines[self.started] =
            timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    }

    pub(super) fn left(&self) -> usize {
        self.started - self.completed
    }

    /// Takes the outcomes that are there. Whether those were the last.
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
                    let mut outcome = Outcome::of(result, call.filter(|_| !self.direct[number]));
                    let cancelled = is_cancellation(result);
                    outcome.closed = self.engine.is_closed_under(token, result)
                        || cancelled && matches!(self.end, Some(End::Closed));
                    outcome.timed_out = self.timed_out[number] && cancelled;
                    self.outcomes[number] = Some(outcome);
                    self.completed += 1;
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

    /// Waits for the descriptor of a call that came to `EAGAIN`, or makes the call again when the wait is over. What
    /// the call has come to, where that is the end of it.
    fn go_on(
        &mut self,
        number: usize,
        waiting: Option<Waiting>,
        result: i32,
        call: Option<Box<Call>>,
    ) -> uring_io_core::Result<Option<Over>> {
        let Some(mut waiting) = waiting else {
            let Some(call) = call else {
                return Ok(Some((result, None)));
            };
            let Some((fd, interest)) = call.to_be_waited_for(result) else {
                return Ok(Some((result, Some(call))));
            };
            let waiting = Waiting {
                call,
                fd,
                interest,
                set: None,
            };
            return self.wait_for(number, waiting);
        };
        if result < 0 {
            return Ok(Some((result, Some(waiting.call))));
        }
        if waiting.set.is_none() && !waiting.interest.is_settled_by(result) {
            let interests = [(waiting.fd, waiting.interest)];
            waiting.set = Some(uring_io_core::watch(&interests)?);
            return self.wait_for(number, waiting);
        }
        self.start_again(number, *waiting.call)
    }

    /// Polls in the place of a call.
    fn wait_for(&mut self, number: usize, waiting: Waiting) -> uring_io_core::Result<Option<Over>> {
        let (fd, interest) = match &waiting.set {
            Some(set) => (set.as_raw_fd(), Interest::READABLE),
            None => (waiting.fd, waiting.interest),
        };
        let over = self.start_again(number, Call::Poll { fd, interest })?;
        match over {
            Some(over) => Ok(Some((over.0, Some(waiting.call)))),
            None => {
                self.waiting[number] = Some(waiting);
                Ok(None)
            }
        }
    }

    /// Starts a call in the place of one that is over, unless that was to end.
    fn start_again(&mut self, number: usize, call: Call) -> uring_io_core::Result<Option<Over>> {
        let (driver, token) = (&self.engine.driver, self.tokens[number]);
        let left = self.deadlines[number].map(|end| end.saturating_duration_since(Instant::now()));
        self.timed_out[number] |= left.is_some_and(|left| left.is_zero());
        if self.end.is_some() || self.timed_out[number] {
            return Ok(Some((-libc::ECANCELED, Some(Box::new(call)))));
        }
        driver.call(token, call)?;
        if left.is_some() {
            driver.set_timeout(token, left);
        }
        Ok(None)
    }

    /// Has the engine hold what the kernel goes on using although the call is over.
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

    /// The outcomes, and what ended them before their time. Raises what was raised into the fiber, with all
    /// taken back that can be.
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

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        for token in &self.tokens {
            self.engine.driver.leave(*token);
        }
    }
}
