//! Calls of the ring for the current fiber: one, many at the same time, chains, and streams.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use magnus::{Error, Ruby};
use uring_io_core::{Call, Link, Shot, Token, Wakeup};

use crate::engine::{Engine, Flow, Purpose, Raised};
use crate::memory::held::Held;
use crate::ruby::errors;

/// What a call came to.
pub struct Outcome {
    /// Its result, or a negative errno.
    pub result: i32,
    /// The call with what the kernel filled in; `None` where the kernel still uses its memory.
    pub call: Option<Box<Call>>,
    /// Whether it was ended because its own time was over.
    pub timed_out: bool,
    /// Whether it was ended because a descriptor of it was about to be closed.
    pub closed: bool,
    /// Why it was not made at all.
    pub refused: Option<Refusal>,
}

/// Why a call was not made, and the descriptor that it is on. An exception would have to be marked.
pub type Refusal = (uring_io_core::Error, Option<RawFd>);

impl Outcome {
    fn of(result: i32, call: Option<Box<Call>>) -> Self {
        Self {
            result,
            call,
            timed_out: false,
            closed: false,
            refused: None,
        }
    }

    /// Takes back what the call did, for a party that has gone.
    pub fn undo(&self) {
        if let Some(call) = &self.call {
            call.undo(self.result);
        }
    }
}

/// A call to be made together with others.
pub struct Part {
    pub call: Call,
    /// Whether an IO of it was closed since it was prepared: then it is not made.
    pub closed: bool,
    /// The longest that it may take.
    pub timeout: Option<Duration>,
}

/// A call of a chain.
pub struct Step {
    pub call: Call,
    /// Which of the chain's own descriptors each of the call's descriptors is; `None` for one of the
    /// process, which the call names itself.
    pub on: Vec<Option<usize>>,
    /// Which of the chain's own descriptors it opens.
    pub into: Option<usize>,
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

/// What became of a chain.
pub struct ChainOutcome {
    pub outcomes: Vec<Outcome>,
    /// For each whether it broke the chain.
    pub broken: Vec<bool>,
    pub timed_out: bool,
}

impl ChainOutcome {
    /// Takes back what the steps did, for a party that has gone.
    pub fn undo(&self) {
        self.outcomes.iter().for_each(Outcome::undo);
    }
}

impl Engine {
    /// Makes a call for the current fiber, as [`perform`](Self::perform). `None` when the timeout passed
    /// first. `held` is what the call uses of Ruby's: it is released, unless the kernel goes on using it.
    pub fn call(
        &self,
        ruby: &Ruby,
        call: Call,
        timeout: Option<Duration>,
        held: &Held,
    ) -> Result<Option<Outcome>, Error> {
        self.call_before(ruby, call, timeout, held, &[])
    }

    /// As [`call`](Self::call), for one that is followed by calls on these descriptors.
    fn call_before(
        &self,
        ruby: &Ruby,
        call: Call,
        timeout: Option<Duration>,
        held: &Held,
        later: &[RawFd],
    ) -> Result<Option<Outcome>, Error> {
        self.release_held(ruby);
        self.raise_pending(ruby)?;
        let place = self.place_on(ruby, Purpose::Operation, later.iter().copied());
        let token = place.token;
        let transfers = call.is_transfer();
        let opens = call.opens();
        self.start_call(ruby, token, call)?;
        if timeout.is_some() {
            self.driver.set_timeout(token, timeout);
        }
        let counts = |result| result > 0 && transfers;
        let completed = self.await_completion(ruby, token, || (), counts);
        if completed.is_err() && self.is_lost() {
            held.leak(ruby);
            return Err(completed
                .err()
                .unwrap_or_else(|| errors::closed(ruby, "ring")));
        }
        if self.driver.is_submitted(token) {
            self.keep(ruby, token, held.take());
        }
        self.release_held(ruby);
        let completed = completed?;
        // What was found out about a descriptor is of no use when it is another file's by now.
        let is_news = |result: i32| result >= 0 && !transfers && !opens;
        if completed.is_some_and(is_news) && self.driver.is_ended(token) {
            return Err(errors::stream_closed(ruby));
        }
        Ok(completed.map(|result| Outcome::of(result, self.driver.take_call(token))))
    }

    /// Makes several calls at the same time, in no order: the outcome of each. Returns when all are
    /// over, also when an exception is raised into the fiber: then what they opened is closed again.
    /// `held` takes what the call of a number uses of Ruby's, where the kernel goes on using it.
    pub fn calls(
        &self,
        ruby: &Ruby,
        calls: Vec<Part>,
        held: impl Fn(usize) -> Held,
    ) -> Result<Vec<Outcome>, Error> {
        self.release_held(ruby);
        self.raise_pending(ruby)?;
        let whole = self.place(ruby, Purpose::Operation);
        let mut parts = Parts::new(self, ruby, whole.token, calls.len());
        for part in calls {
            let token = parts.tokens[parts.started];
            let fd = part.call.waits_on();
            if part.closed {
                parts.leave_out();
                parts.started += 1;
                continue;
            }
            match self.driver.call(token, part.call) {
                Ok(()) => {
                    if part.timeout.is_some() {
                        self.driver.set_timeout(token, part.timeout);
                    }
                }
                Err(error) => {
                    self.note_failure(error);
                    if self.is_lost() {
                        return Err(errors::refusal(ruby, error, fd));
                    }
                    parts.refuse((error, fd));
                }
            }
            parts.started += 1;
        }
        self.await_parts(ruby, whole.token, &mut parts, None)?;
        parts.keep_what_is_in_use(ruby, held);
        parts.into_outcomes(ruby).map(|(outcomes, _)| outcomes)
    }

    /// Makes calls that follow each other: what became of each. On io_uring the kernel does that by
    /// itself, in one submission; elsewhere they are made one after the other. The chain's own
    /// descriptors are closed in the end. `held` as for [`calls`](Self::calls).
    pub fn chain(
        &self,
        ruby: &Ruby,
        chain: Chain,
        held: impl Fn(usize) -> Held,
    ) -> Result<ChainOutcome, Error> {
        self.release_held(ruby);
        self.raise_pending(ruby)?;
        let most = self.driver.chain_length_max();
        if chain.steps.len() > most {
            let message = format!(
                "a chain has at most {most} steps, the entries of the ring, and {} were given: make a \
                 ring with more entries",
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
        let mut slots = Slots {
            engine: self,
            slots: taken.map_err(|error| self.chain_error(ruby, error))?,
            open: Vec::new(),
        };
        let end = chain
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let mut made = Made::default();
        let mut runs = runs(chain.steps, chain.hard);
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
        Ok(made.into_outcome())
    }

    /// Makes steps in one submission: what became of each, and what ended them before their time. `used` are
    /// the descriptors that they and the steps after them are on: none begins when one of these is closed.
    fn linked(
        &self,
        ruby: &Ruby,
        slots: &mut Slots,
        steps: Vec<Step>,
        (hard, timeout): (bool, Option<Duration>),
        used: Vec<RawFd>,
        held: impl Fn(usize) -> Held,
    ) -> Result<(Vec<Outcome>, Option<End>), Error> {
        let whole = self.place_on(ruby, Purpose::Operation, used);
        let mut parts = Parts::new(self, ruby, whole.token, steps.len());
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
        let outcomes = parts.into_outcomes(ruby);
        if let Ok((outcomes, _)) = &outcomes {
            slots.note(outcomes, &shape);
        } else {
            // Which are open is of no interest: closing an empty one is nothing.
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
        let mut made = Made::default();
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
        Ok(made.into_outcome())
    }

    /// Makes a call that goes on, and gives each of what it brings to `each`, until that says false or
    /// fails, or the call has ended: with nothing more to come, or with a failure, which is raised.
    /// Fails with `waited` when nothing comes for the length of the timeout.
    pub fn stream(
        &self,
        ruby: &Ruby,
        call: &Call,
        timeout: Option<Duration>,
        mut each: impl FnMut(Shot) -> Result<bool, Error>,
        waited: impl FnOnce() -> Error,
    ) -> Result<(), Error> {
        self.raise_pending(ruby)?;
        let stream = Stream::new(self, ruby);
        let token = stream.token;
        loop {
            if let Some(shot) = self.driver.take_shot(token) {
                if shot.result == -libc::ECANCELED {
                    // Closing the ring has ended it.
                    self.engine_open(ruby)?;
                    self.check_stream(ruby, token)?;
                }
                if !each(shot)? {
                    return stream.end(ruby);
                }
                continue;
            }
            self.engine_open(ruby)?;
            self.check_stream(ruby, token)?;
            if !self.driver.is_submitted(token) {
                // For the first time, or because the kernel has ended it by itself.
                let Some(call) = call.again() else {
                    return Ok(());
                };
                self.start_call(ruby, token, call)?;
            }
            let whole = self.place(ruby, Purpose::Operation);
            stream.wait_at(Some(whole.token));
            self.driver.set_timeout(whole.token, timeout);
            while self.driver.is_submitted(token) && self.driver.shots_waiting(token) == 0 {
                // So that the next shot wakes the fiber. One may have done so already while it waited for
                // something else in the block.
                self.driver.take_wakeup_early(token);
                if self.turn(ruby, whole.token)? == Some(Wakeup::TimedOut) {
                    return Err(waited());
                }
            }
        }
    }

    /// Fails where the descriptor of a stream is closed, or about to be: its number may be another's.
    fn check_stream(&self, ruby: &Ruby, token: Token) -> Result<(), Error> {
        if self.driver.is_ended(token) {
            return Err(errors::stream_closed(ruby));
        }
        Ok(())
    }

    fn engine_open(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_closed() {
            return Err(errors::closed(ruby, "ring"));
        }
        Ok(())
    }

    /// Lets others run, or waits where there are none: why this fiber goes on, if that is for it.
    fn turn(&self, ruby: &Ruby, whole: Token) -> Result<Option<Wakeup>, Error> {
        match self.flow {
            Flow::Nobody => {
                self.run_nobody(ruby)?;
                Ok(self.driver.take_wakeup_early(whole))
            }
            _ => self.await_wakeup(ruby, whole).map(Some),
        }
    }

    /// Waits until all parts are over. When an exception is raised into the fiber, or the timeout
    /// passes, they are told to end. Fails only when there is nothing to wait for any more.
    fn await_parts(
        &self,
        ruby: &Ruby,
        whole: Token,
        parts: &mut Parts,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        /// A call of a chain that begins after it was told to end does not know that.
        const AGAIN: Duration = Duration::from_millis(5);
        self.driver.set_timeout(whole, timeout);
        let mut also_raised = None;
        if parts.end.is_some() {
            parts.cancel(ruby)?;
        }
        while !parts.take_completed(ruby)? {
            if matches!(self.flow, Flow::Nobody) {
                self.driver.want(parts.left());
            }
            match self.turn(ruby, whole) {
                Err(error) if self.is_lost() => return Err(error),
                // The first exception counts, and more than the end of the time.
                Err(error) if !matches!(parts.end, Some(End::Raised(_))) => {
                    parts.end = Some(End::Raised(error));
                }
                Err(error) => also_raised = also_raised.or(Some(error)),
                Ok(Some(Wakeup::TimedOut)) => {
                    parts.end.get_or_insert(End::TimedOut);
                }
                Ok(_) => {}
            }
            if parts.end.is_none() && self.driver.is_ended(whole) {
                parts.end = Some(End::Closed);
            }
            if parts.end.is_some() {
                parts.cancel(ruby)?;
                self.driver.set_timeout(whole, Some(AGAIN));
            }
        }
        if let Some(later) = also_raised {
            self.postpone(ruby, &Raised::from(later));
        }
        Ok(())
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

/// The steps that are linked, in one submission each. Where the kernel would not notice that a step has
/// failed, what follows it waits until we have looked.
fn runs(steps: Vec<Step>, hard: bool) -> Vec<Vec<Step>> {
    let mut runs = vec![Vec::new()];
    for step in steps {
        let ends = !hard && step.call.fails_unnoticed();
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

/// What became of the steps of a chain so far. Taken back when it is dropped before the chain has ended.
#[derive(Default)]
struct Made {
    outcomes: Vec<Outcome>,
    broken: Vec<bool>,
    timed_out: bool,
    /// Whether a descriptor was closed that it is on, or was still to be.
    closed: bool,
}

impl Made {
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

    fn into_outcome(mut self) -> ChainOutcome {
        ChainOutcome {
            outcomes: std::mem::take(&mut self.outcomes),
            broken: std::mem::take(&mut self.broken),
            timed_out: self.timed_out,
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.outcomes.iter().for_each(Outcome::undo);
    }
}

/// Why calls are told to end.
enum End {
    Raised(Error),
    TimedOut,
    /// A descriptor that they are on, or were to be, is about to be closed.
    Closed,
}

/// Calls that are under way for one party.
struct Parts<'a> {
    engine: &'a Engine,
    tokens: Vec<Token>,
    /// How many of them were started.
    started: usize,
    outcomes: Vec<Option<Outcome>>,
    timed_out: Vec<bool>,
    /// Which of them open a direct descriptor: their result is none of the process.
    direct: Vec<bool>,
    completed: usize,
    end: Option<End>,
}

impl<'a> Parts<'a> {
    fn new(engine: &'a Engine, ruby: &Ruby, whole: Token, count: usize) -> Self {
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
    fn refuse(&mut self, why: Refusal) {
        let mut outcome = Outcome::of(-libc::ENOSYS, None);
        outcome.refused = Some(why);
        self.outcomes[self.started] = Some(outcome);
        self.completed += 1;
    }

    /// Notes that the next part is not made, because its IO is closed.
    fn leave_out(&mut self) {
        let mut outcome = Outcome::of(-libc::ECANCELED, None);
        outcome.closed = true;
        self.outcomes[self.started] = Some(outcome);
        self.completed += 1;
    }

    fn left(&self) -> usize {
        self.started - self.completed
    }

    /// Takes the outcomes that are there. Whether those were the last.
    fn take_completed(&mut self, ruby: &Ruby) -> Result<bool, Error> {
        let driver = &self.engine.driver;
        for (number, token) in self.tokens[..self.started].iter().enumerate() {
            if self.outcomes[number].is_some() {
                continue;
            }
            match driver.take_wakeup_early(*token) {
                Some(Wakeup::Completed(result)) => {
                    let call = driver.take_call(*token);
                    let mut outcome = Outcome::of(result, call.filter(|_| !self.direct[number]));
                    let cancelled = [-libc::ECANCELED, -libc::EINTR].contains(&result);
                    outcome.closed = self.engine.is_closed_under(*token, result)
                        || cancelled && matches!(self.end, Some(End::Closed));
                    outcome.timed_out = self.timed_out[number]
                        && [-libc::ECANCELED, -libc::EINTR].contains(&result);
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
    fn keep_what_is_in_use(&self, ruby: &Ruby, held: impl Fn(usize) -> Held) {
        for (number, token) in self.tokens.iter().enumerate() {
            if self.engine.driver.is_submitted(*token) {
                self.engine.keep(ruby, *token, held(number));
            }
        }
    }

    fn cancel(&self, ruby: &Ruby) -> Result<(), Error> {
        let waiting = self.tokens[..self.started].iter().zip(&self.outcomes);
        for (token, _) in waiting.filter(|(_, outcome)| outcome.is_none()) {
            let cancelled = self.engine.driver.cancel(*token);
            cancelled.map_err(|error| self.engine.failure(ruby, error))?;
        }
        Ok(())
    }

    /// The outcomes, and what ended them before their time. Raises what was raised into the fiber, with all
    /// taken back that can be.
    fn into_outcomes(mut self, _ruby: &Ruby) -> Result<(Vec<Outcome>, Option<End>), Error> {
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

/// What a step does with the chain's descriptors: which it opens, whether it closes one, and which it is
/// on.
type Shape = (Option<usize>, bool, Vec<Option<usize>>);

/// Direct descriptors of a chain, given back when dropped.
struct Slots<'a> {
    engine: &'a Engine,
    slots: Vec<u32>,
    /// Which of them are open.
    open: Vec<usize>,
}

impl Slots<'_> {
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

impl Drop for Slots<'_> {
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

/// A call that goes on, ended when dropped.
struct Stream<'a> {
    engine: &'a Engine,
    token: Token,
}

impl<'a> Stream<'a> {
    fn new(engine: &'a Engine, ruby: &Ruby) -> Self {
        let purpose = Purpose::PartOf(Cell::new(None));
        Self {
            engine,
            token: engine.park_beside(ruby.fiber_current(), purpose),
        }
    }

    /// Says which place the fiber waits at.
    fn wait_at(&self, whole: Option<Token>) {
        self.engine.driver.with_payload(self.token, |party| {
            if let Purpose::PartOf(place) = &party.purpose {
                place.set(whole);
            }
        });
    }

    /// Ends it now, so that it takes nothing that comes for the next call on its descriptor.
    fn end(&self, ruby: &Ruby) -> Result<(), Error> {
        let ended = self.engine.driver.cancel_now(self.token);
        ended.map_err(|error| self.engine.failure(ruby, error))?;
        Ok(())
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if !self.engine.is_lost() && self.engine.driver.is_submitted(self.token) {
            // It fails only when the ring does, and then nothing goes on.
            let _ = self.engine.driver.cancel_now(self.token);
        }
        self.engine.driver.leave(self.token);
    }
}
