//! Chains: calls that follow each other. If the kernel can, it makes them from one submission.

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
    /// Which of the chain's own descriptors each of the call's descriptors is; `None` for one of the
    /// process, which the call names itself.
    pub on: Vec<Option<usize>>,
    /// Which of the chain's own descriptors it opens.
    pub into: Option<usize>,
}

impl Step {
    /// Whether it is a send that we wait with, and make again: the kernel does not.
    fn is_sent_again(&self) -> bool {
        self.call.is_sent_at_once() && self.on.iter().all(Option::is_none)
    }
}

/// How a chain is made.
pub struct Chain {
    pub steps: Vec<Step>,
    /// How many descriptors of its own it has.
    pub descriptors: usize,
    /// Whether it goes on after a failure.
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
    /// Takes back what the steps did, for a party that has gone.
    pub fn undo(&self) {
        self.outcomes.iter().for_each(Outcome::undo);
    }
}

impl Engine {
    /// Makes calls that follow each other, and returns the outcome of each. io_uring makes them by itself, from
    /// one submission; on other backends the engine makes one after the other. In the end it closes the chain's
    /// own descriptors. `held` as for [`calls`](Self::calls).
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

    /// Decides with which sends the kernel must not wait. The caller has marked those that may go to a socket of
    /// messages. For a descriptor of the process we ask its socket. A descriptor that the chain opens has no number to
    /// ask by: for a socket its opening step tells, and with anything else the kernel waits.
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

    /// Splits the steps into groups of linked ones, one submission each. When the kernel does not notice that a
    /// step has failed, the steps after it wait until we have looked. A message goes alone, as often as needed.
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

    /// Makes steps in one submission. Returns the outcome of each, and why they ended early, if they did. They and
    /// the steps after them use the descriptors `used`: none begins when one of these is closed.
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
            // It does not matter which are open: closing an empty one does nothing.
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
                // The descriptor is the chain's own, and no result.
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

/// The descriptors of the process that steps are on.
fn descriptors(steps: &mut [Step]) -> Vec<RawFd> {
    let mut found = Vec::new();
    for step in steps {
        // One descriptor comes last in both; the source of a call with two comes first.
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

/// The progress of a chain: the outcomes of its steps so far. A drop before the chain has ended undoes them.
#[derive(Default)]
struct Progress {
    outcomes: Vec<Outcome>,
    broken: Vec<bool>,
    timed_out: bool,
    /// Whether a descriptor was closed that it is on, or was still to be.
    closed: bool,
}

impl Progress {
    fn push(&mut self, outcome: Outcome) {
        let call = outcome.call.as_ref();
        self.broken
            .push(call.map_or(outcome.result < 0, |call| call.is_broken_by(outcome.result)));
        self.outcomes.push(outcome);
    }

    /// Notes so many steps that are not made.
    fn leave_out(&mut self, count: usize) {
        (0..count).for_each(|_| self.push(Outcome::of(-libc::ECANCELED, None)));
    }

    /// Whether the steps that follow are left out.
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

/// Direct descriptors of a chain, given back when dropped.
struct Direct<'a> {
    engine: &'a Engine,
    slots: Vec<u32>,
    /// Which of them are open.
    open: Vec<usize>,
}

impl Direct<'_> {
    /// A step as a call of the kernel's chain.
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
            hard,
            direct: direct(last),
            direct_source: last > 0 && direct(0),
            into: number(step.into),
        };
        (call, link)
    }

    /// Notes which descriptors are open by what their calls came to.
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
        // It fails only for a ring that has failed, whose slots nobody asks for again.
        let _ = self
            .engine
            .driver
            .give_slots(&self.slots, |slot| open.contains(&slot));
    }
}

/// Descriptors of the process that a chain has opened, closed when dropped.
struct Opened(Vec<Option<i32>>);

impl Opened {
    /// Puts them into a step. One that is not open stays the number that no descriptor has.
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
