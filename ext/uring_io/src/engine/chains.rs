//! Chains: calls in order. On io_uring the kernel makes them from one submission where it can.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use magnus::{Error, Ruby};
use uring_io_core::{Call, Link};

use super::outcome::Outcome;
use super::parts::{End, Parts};
use super::party::Purpose;
use super::Engine;
use crate::memory::held::Held;
use crate::ruby::errors;

/// A call of a chain.
pub struct Step {
    pub call: Call,
    /// For each descriptor of the call: the number of one of the chain's own descriptors, or `None` for a descriptor of
    /// the process, whose number is in the call.
    pub on: Vec<Option<usize>>,
    /// The number of the chain's own descriptor that the call opens.
    pub into: Option<usize>,
}

impl Step {
    /// Whether this is a send that must not wait in the kernel. After EAGAIN the engine waits, and makes the call
    /// again.
    fn is_sent_again(&self) -> bool {
        self.call.is_sent_at_once() && self.on.iter().all(Option::is_none)
    }
}

/// A chain to make.
pub struct Chain {
    pub steps: Vec<Step>,
    /// The number of the chain's own descriptors.
    pub descriptors: usize,
    /// Whether the chain goes on after a failure.
    pub hard: bool,
    pub timeout: Option<Duration>,
}

/// The result of a chain.
pub struct ChainOutcome {
    pub outcomes: Vec<Outcome>,
    /// The step that ended the chain: the first that failed or moved fewer bytes than it should. In a chain that
    /// goes on after a failure it is the first that failed.
    pub broken_at: Option<usize>,
    pub timed_out: bool,
}

impl ChainOutcome {
    /// Undoes the steps: closes the descriptors that they opened and that nobody will learn of.
    pub fn undo(&self) {
        self.outcomes.iter().for_each(Outcome::undo);
    }
}

impl Engine {
    /// Makes the steps of a chain and returns the outcome of each. On io_uring the kernel goes from step to step by
    /// itself; on other backends the engine makes one call after the other. At the end the engine closes the chain's
    /// own descriptors. `held` is as for [`calls`](Self::calls).
    pub fn chain(
        &self,
        ruby: &Ruby,
        mut chain: Chain,
        held: impl Fn(usize) -> Held,
    ) -> Result<ChainOutcome, Error> {
        self.release_held(ruby);
        self.raise_pending(ruby)?;
        let most = self.driver.chain_length_max();
        if chain.steps.len() > most {
            let message = format!(
                "a chain of this ring has at most {most} steps, as many as the ring has entries, and this one \
                 has {}: make a ring with more entries",
                chain.steps.len()
            );
            return Err(errors::argument(ruby, message));
        }
        if !self.driver.chains_in_kernel() {
            return self.chain_in_steps(ruby, chain);
        }
        let taken = match chain.descriptors {
            0 => Ok(Vec::new()),
            count => self.driver.take_slots(count),
        };
        let mut slots = Direct {
            engine: self,
            slots: taken.map_err(|error| self.chain_error(ruby, error))?,
            open: Vec::new(),
        };
        let end = chain
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let mut made = Progress::default();
        self.settle_sends(&mut chain.steps);
        let mut runs = self.runs(chain.steps, chain.hard);
        let mut used: Vec<Vec<RawFd>> = runs.iter_mut().map(|run| descriptors(run)).collect();
        for run in runs {
            let later = used.concat();
            used.remove(0);
            if made.is_ended(chain.hard) {
                made.leave_out(run.len());
                continue;
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let first = made.outcomes.len();
            let held = |number| held(first + number);
            let limits = (chain.hard, left);
            let (outcomes, end) = self.linked(ruby, &mut slots, run, limits, later, held)?;
            made.timed_out = matches!(end, Some(End::TimedOut));
            made.closed = matches!(end, Some(End::Closed));
            outcomes.into_iter().for_each(|outcome| made.push(outcome));
        }
        Ok(made.into_outcome(chain.hard))
    }

    /// Decides which sends may wait in the kernel. A send of a message must not, and the caller has marked every send
    /// that may be one. If the descriptor belongs to the process, the engine asks for the type of the socket. A
    /// descriptor that the chain opens has no number to ask about. If a step opens it as a socket, that step tells the
    /// type; in all other cases the kernel waits.
    fn settle_sends(&self, steps: &mut [Step]) {
        const MODES: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let mut keeping = Vec::new();
        for step in steps {
            if let (Call::Socket { kind, .. }, Some(slot)) = (&step.call, step.into) {
                if kind & !MODES != libc::SOCK_STREAM {
                    keeping.push(slot);
                }
            }
            if !step.call.is_sent_at_once() {
                continue;
            }
            match step.on.last().copied().flatten() {
                Some(slot) if keeping.contains(&slot) => {}
                Some(_) => step.call.wait_in_kernel(),
                None => {
                    self.count_direct_call();
                    step.call.wait_in_stream();
                }
            }
        }
    }

    /// Splits the steps into groups of linked ones, one submission each. If the kernel may misread the result of a
    /// step, the group ends there: the engine looks at the result before it submits the next step. A send that the
    /// engine may have to repeat is a group of its own.
    fn runs(&self, steps: Vec<Step>, hard: bool) -> Vec<Vec<Step>> {
        let mut runs = vec![Vec::new()];
        for step in steps {
            let alone = step.is_sent_again();
            let ends = alone || !hard && self.driver.chain_must_look(&step.call);
            if alone {
                runs.push(Vec::new());
            }
            if let Some(run) = runs.last_mut() {
                run.push(step);
            }
            if ends {
                runs.push(Vec::new());
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    /// Makes steps in one submission. Returns the outcome of each, and why they ended early, if they did. `used` has
    /// the descriptors of these steps and of all later ones: if somebody closes one of them, the steps end.
    fn linked(
        &self,
        ruby: &Ruby,
        slots: &mut Direct,
        steps: Vec<Step>,
        (hard, timeout): (bool, Option<Duration>),
        used: Vec<RawFd>,
        held: impl Fn(usize) -> Held,
    ) -> Result<(Vec<Outcome>, Option<End>), Error> {
        let whole = self.place_on(ruby, Purpose::Operation, used);
        let mut parts = Parts::new(self, ruby, whole.token, steps.len());
        parts.again = steps.iter().all(Step::is_sent_again);
        let linked = parts.tokens.iter().zip(steps);
        let (calls, shape): (Vec<_>, Vec<_>) = linked
            .map(|(token, step)| {
                let shape = (
                    step.into,
                    matches!(step.call, Call::Close { .. }),
                    step.on.clone(),
                );
                let (call, link) = slots.link(step, hard);
                ((*token, call, link), shape)
            })
            .unzip();
        parts.direct = shape.iter().map(|(into, ..)| into.is_some()).collect();
        self.driver
            .chain(calls)
            .map_err(|error| self.chain_error(ruby, error))?;
        parts.started = parts.tokens.len();
        let waited = self.await_parts(ruby, whole.token, &mut parts, timeout);
        waited?;
        parts.keep_what_is_in_use(ruby, held);
        let outcomes = parts.into_outcomes();
        if let Ok((outcomes, _)) = &outcomes {
            slots.note(outcomes, &shape);
        } else {
            // The engine does not know which slots are open, and need not: closing an empty one does nothing.
            slots.open = (0..slots.slots.len()).collect();
        }
        outcomes
    }

    fn chain_error(&self, ruby: &Ruby, error: uring_io_core::Error) -> Error {
        match error.errno {
            libc::ENFILE | libc::EBUSY => errors::errno(ruby, error),
            _ => self.refusal(ruby, error, None),
        }
    }

    fn chain_in_steps(&self, ruby: &Ruby, chain: Chain) -> Result<ChainOutcome, Error> {
        let end = chain
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let mut opened = Opened(vec![None; chain.descriptors]);
        let mut made = Progress::default();
        let mut steps = chain.steps;
        let mut used: Vec<Vec<RawFd>> = Vec::with_capacity(steps.len());
        for step in &mut steps {
            used.push(descriptors(std::slice::from_mut(step)));
        }
        for mut step in steps {
            used.remove(0);
            if made.is_ended(chain.hard) {
                made.leave_out(1);
                continue;
            }
            opened.name(&mut step);
            let closes = matches!(step.call, Call::Close { .. });
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let held = Held::default();
            let called = self.call_before(ruby, step.call, left, &held, &used.concat());
            let called = match called {
                Err(error) if errors::is_stream_closed(ruby, &error) => {
                    made.closed = true;
                    let mut outcome = Outcome::of(-libc::ECANCELED, None);
                    outcome.closed = true;
                    Some(outcome)
                }
                called => called?,
            };
            made.timed_out = called.is_none();
            let mut outcome = called.unwrap_or_else(|| Outcome::of(-libc::ECANCELED, None));
            if let (Some(into), true) = (step.into, outcome.result >= 0) {
                opened.0[into] = Some(outcome.result);
                // The descriptor is the chain's own, so the caller does not get its number.
                outcome = Outcome::of(0, None);
            }
            if let (Some(Some(closed)), true) = (step.on.first(), closes) {
                opened.0[*closed] = None;
            }
            made.push(outcome);
        }
        Ok(made.into_outcome(chain.hard))
    }
}

/// The descriptors of the process that the steps use.
fn descriptors(steps: &mut [Step]) -> Vec<RawFd> {
    let mut found = Vec::new();
    for step in steps {
        // `about` and `on` have the same order: a single descriptor comes last, and of two the source comes first.
        let source = step.on.len().checked_sub(2);
        let own = [source, step.on.len().checked_sub(1)];
        let is_own = |place: Option<usize>| place.is_some_and(|place| step.on[place].is_some());
        let about = step.call.about().into_iter().zip(own);
        found.extend(
            about
                .filter(|(fd, own)| *fd >= 0 && !is_own(*own))
                .map(|(fd, _)| fd),
        );
    }
    found
}

/// The outcomes of a chain's steps so far. Dropping this before the chain has ended undoes the steps.
#[derive(Default)]
struct Progress {
    outcomes: Vec<Outcome>,
    broken: Vec<bool>,
    timed_out: bool,
    /// Whether somebody has closed a descriptor that a step used or was still to use.
    closed: bool,
}

impl Progress {
    fn push(&mut self, outcome: Outcome) {
        let call = outcome.call.as_ref();
        self.broken
            .push(call.map_or(outcome.result < 0, |call| call.is_broken_by(outcome.result)));
        self.outcomes.push(outcome);
    }

    /// Notes `count` steps that the engine does not make.
    fn leave_out(&mut self, count: usize) {
        (0..count).for_each(|_| self.push(Outcome::of(-libc::ECANCELED, None)));
    }

    /// Whether the engine leaves out the steps that follow.
    fn is_ended(&self, hard: bool) -> bool {
        self.timed_out || self.closed || (!hard && self.broken.contains(&true))
    }

    fn into_outcome(mut self, hard: bool) -> ChainOutcome {
        let breaks =
            |number: usize| self.broken[number] && (!hard || self.outcomes[number].result < 0);
        let broken_at = (0..self.outcomes.len()).find(|number| breaks(*number));
        ChainOutcome {
            outcomes: std::mem::take(&mut self.outcomes),
            broken_at,
            timed_out: self.timed_out,
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.outcomes.iter().for_each(Outcome::undo);
    }
}

/// How a step uses the chain's descriptors: the one that it opens, whether it closes one, and those that it works on.
type Shape = (Option<usize>, bool, Vec<Option<usize>>);

/// The direct descriptors of a chain. Dropping this closes the open ones and gives all of them back.
struct Direct<'a> {
    engine: &'a Engine,
    slots: Vec<u32>,
    /// Which of them are open.
    open: Vec<usize>,
}

impl Direct<'_> {
    /// Turns a step into a call of the kernel's chain.
    fn link(&self, step: Step, hard: bool) -> (Call, Link) {
        let mut call = step.call;
        let number = |slot: Option<usize>| slot.map(|slot| self.slots[slot]);
        for (fd, slot) in call.descriptors().into_iter().zip(&step.on) {
            if let Some(slot) = number(*slot) {
                *fd = slot as i32;
            }
        }
        let direct = |place: usize| step.on.get(place).copied().flatten().is_some();
        let last = step.on.len().saturating_sub(1);
        let link = Link {
            chained: true,
            hard,
            direct: direct(last),
            direct_source: last > 0 && direct(0),
            into: number(step.into),
        };
        (call, link)
    }

    /// Notes which descriptors are open, from the outcomes of the steps.
    fn note(&mut self, outcomes: &[Outcome], shape: &[Shape]) {
        let open = &mut self.open;
        for (outcome, (into, closes, on)) in outcomes.iter().zip(shape) {
            if outcome.result < 0 {
                continue;
            }
            open.extend(*into);
            if let (true, Some(Some(closed))) = (closes, on.first()) {
                open.retain(|slot| slot != closed);
            }
        }
    }
}

impl Drop for Direct<'_> {
    fn drop(&mut self) {
        if self.engine.is_lost() {
            return;
        }
        let open: Vec<u32> = self.open.iter().map(|slot| self.slots[*slot]).collect();
        // This fails only if the ring has failed. Nobody takes slots of such a ring again.
        let _ = self
            .engine
            .driver
            .give_slots(&self.slots, |slot| open.contains(&slot));
    }
}

/// The descriptors of the process that a chain has opened. Dropping this closes them.
struct Opened(Vec<Option<i32>>);

impl Opened {
    /// Puts the open descriptors into a step. A descriptor that is not open becomes -1.
    fn name(&self, step: &mut Step) {
        for (fd, opened) in step.call.descriptors().into_iter().zip(&step.on) {
            if let Some(opened) = *opened {
                *fd = self.0[opened].unwrap_or(-1);
            }
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let open = self.0.iter().flatten();
        open.for_each(|fd| uring_io_core::close_descriptor(*fd));
    }
}
