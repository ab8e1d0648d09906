//! Calls of a ring for the current fiber: one call, or a batch.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use magnus::{Error, Ruby};
use uring_io_core::{BackendKind, Call, Token, Wakeup};

use super::operations::AGAIN;
use super::outcome::Outcome;
use super::parts::{End, Parts};
use super::party::{Flow, Purpose, Raised};
use super::Engine;
use crate::memory::held::Held;
use crate::ruby::errors;

/// A call of a batch.
pub struct Part {
    pub call: Call,
    /// Whether one of its IOs was closed after the call was prepared. The engine does not make such a call.
    pub closed: bool,
    /// The longest that the call may take.
    pub timeout: Option<Duration>,
}

impl Engine {
    /// Makes a call for the current fiber, like [`perform`](Self::perform). Returns `None` when the timeout passes
    /// first. `held` has the Ruby objects that the call uses. If the kernel still uses them when the call is over, the
    /// engine takes them out of `held`; the caller releases the others.
    pub fn call(
        &self,
        ruby: &Ruby,
        call: Call,
        timeout: Option<Duration>,
        held: &Held,
    ) -> Result<Option<Outcome>, Error> {
        self.call_before(ruby, call, timeout, held, &[])
    }

    /// Like [`call`](Self::call), for a step of a chain. `later` has the descriptors of the steps that follow: if
    /// somebody closes one of them, this call ends, too.
    pub(super) fn call_before(
        &self,
        ruby: &Ruby,
        mut call: Call,
        timeout: Option<Duration>,
        held: &Held,
        later: &[RawFd],
    ) -> Result<Option<Outcome>, Error> {
        self.send_at_once(&mut call);
        let since = timeout.map(|_| Instant::now());
        let left = || {
            let limited = since.zip(timeout);
            limited.map(|(since, timeout)| timeout.saturating_sub(since.elapsed()))
        };
        loop {
            let outcome = self.call_once(ruby, call, left(), held, later)?;
            match outcome {
                Some(Outcome {
                    result,
                    call: Some(mut made),
                    ..
                }) if result == -libc::EAGAIN => {
                    if made.is_sent_at_once() {
                        self.count_direct_call();
                        if made.wait_in_stream() {
                            call = *made;
                            continue;
                        }
                    }
                    return self.call_again(ruby, (result, made), left(), held, later);
                }
                outcome => return Ok(outcome),
            }
        }
    }

    /// Repeats a call that returned EAGAIN although it may wait: each time, it first waits until the descriptor is
    /// ready. See [`Call::to_be_waited_for`].
    fn call_again(
        &self,
        ruby: &Ruby,
        came_to: (i32, Box<Call>),
        timeout: Option<Duration>,
        held: &Held,
        later: &[RawFd],
    ) -> Result<Option<Outcome>, Error> {
        // An IO#close of a descriptor that only later calls of the chain use must wait for this place, too.
        let whole = self.place_on(ruby, Purpose::Operation, later.iter().copied());
        let mut parts = Parts::new(self, ruby, whole.token, 1);
        parts.resume(came_to, timeout);
        let waited = self.await_parts(ruby, whole.token, &mut parts, None);
        waited.inspect_err(|_| held.leak(ruby))?;
        parts.keep_what_is_in_use(ruby, |_| held.take());
        match parts.into_outcome(ruby)? {
            Some(outcome) if outcome.closed => Err(errors::stream_closed(ruby)),
            outcome => Ok(outcome.filter(|outcome| !outcome.timed_out)),
        }
    }

    /// See [`Call::send_at_once`].
    fn send_at_once(&self, call: &mut Call) {
        if self.backend() == BackendKind::IoUring && call.send_at_once() {
            self.count_direct_call();
        }
    }

    fn call_once(
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
        // A result that only describes the descriptor is worthless: the number may belong to another file by now.
        let is_news = |result: i32| result >= 0 && !transfers && !opens;
        if completed.is_some_and(is_news) && self.driver.is_ended(token) {
            return Err(errors::stream_closed(ruby));
        }
        Ok(completed.map(|result| Outcome::of(result, self.driver.take_call(token))))
    }

    /// Makes the calls of a batch at the same time, in no particular order. It returns the outcome of each when all of
    /// them are over. If somebody raises in the fiber, it cancels the calls, still waits for all of them, and closes
    /// the descriptors that they opened. `held` returns the Ruby objects that the call with a number uses; the engine
    /// asks for them if the kernel still uses them after the call.
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
        parts.again = true;
        for mut part in calls {
            self.send_at_once(&mut part.call);
            let token = parts.tokens[parts.started];
            let fd = part.call.waits_on();
            if part.closed {
                parts.leave_out();
                parts.started += 1;
                continue;
            }
            match self.driver.call(token, part.call) {
                Ok(()) => parts.set_timeout(part.timeout),
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
        parts.into_outcomes().map(|(outcomes, _)| outcomes)
    }

    /// Runs other fibers, or waits in the kernel when there are none. Returns this fiber's wakeup if it has come.
    pub(super) fn turn(&self, ruby: &Ruby, whole: Token) -> Result<Option<Wakeup>, Error> {
        match self.flow {
            Flow::Nobody => {
                self.run_nobody(ruby)?;
                Ok(self.driver.take_wakeup_early(whole))
            }
            _ => self.await_wakeup(ruby, whole).map(Some),
        }
    }

    /// Waits until all parts are over. If somebody raises in the fiber or closes one of the descriptors, or the timeout
    /// passes, it cancels the parts and goes on waiting for them. It fails only when no part can complete any longer.
    pub(super) fn await_parts(
        &self,
        ruby: &Ruby,
        whole: Token,
        parts: &mut Parts,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
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
                // The first exception counts. It also replaces a timeout or a close as the reason.
                Err(error) => match parts.end {
                    Some(End::Raised(_)) if !self.kills_thread(&error) => {
                        also_raised = also_raised.or(Some(error));
                    }
                    _ => parts.end = Some(End::Raised(error)),
                },
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
