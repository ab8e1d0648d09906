//! Calls that are under way for one party: those of a batch, or of a chain.

use std::cell::Cell;

use magnus::{Error, Ruby};
use uring_io_core::{is_cancellation, Token, Wakeup};

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

/// Calls that are under way for one party.
pub(super) struct Parts<'a> {
    engine: &'a Engine,
    pub(super) tokens: Vec<Token>,
    /// How many of them were started.
    pub(super) started: usize,
    outcomes: Vec<Option<Outcome>>,
    timed_out: Vec<bool>,
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

    /// Notes that the next part is not made, because its IO is closed.
    pub(super) fn leave_out(&mut self) {
        let mut outcome = Outcome::of(-libc::ECANCELED, None);
        outcome.closed = true;
        self.outcomes[self.started] = Some(outcome);
        self.completed += 1;
    }

    pub(super) fn left(&self) -> usize {
        self.started - self.completed
    }

    /// Takes the outcomes that are there. Whether those were the last.
    pub(super) fn take_completed(&mut self, ruby: &Ruby) -> Result<bool, Error> {
        let driver = &self.engine.driver;
        for (number, token) in self.tokens[..self.started].iter().enumerate() {
            if self.outcomes[number].is_some() {
                continue;
            }
            match driver.take_wakeup_early(*token) {
                Some(Wakeup::Completed(result)) => {
                    let call = driver.take_call(*token);
                    let mut outcome = Outcome::of(result, call.filter(|_| !self.direct[number]));
                    let cancelled = is_cancellation(result);
                    outcome.closed = self.engine.is_closed_under(*token, result)
                        || cancelled && matches!(self.end, Some(End::Closed));
                    outcome.timed_out = self.timed_out[number] && cancelled;
                    self.outcomes[number] = Some(outcome);
                    self.completed += 1;
                }
                Some(Wakeup::TimedOut) => {
                    self.timed_out[number] = true;
                    driver
                        .cancel(*token)
                        .map_err(|error| self.engine.failure(ruby, error))?;
                }
                _ => {}
            }
        }
        Ok(self.completed == self.started)
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
