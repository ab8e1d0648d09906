//! Calls of the ring for the current fiber: one, or many at the same time.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use magnus::{Error, Ruby};
use uring_io_core::{BackendKind, Call, Token, Wakeup};

use super::outcome::Outcome;
use super::parts::{End, Parts};
use super::party::{Flow, Purpose, Raised};
use super::Engine;
use crate::memory::held::Held;
use crate::ruby::errors;

/// A call to be made together with others.
pub struct Part {
    pub call: Call,
    /// Whether an IO of it was closed since it was prepared: then it is not made.
    pub closed: bool,
    /// The longest that it may take.
    pub timeout: Option<Duration>,
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

    /// As [`call`](Self::call), for a call that is followed by calls on these descriptors.
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

    /// Makes a call again that came to EAGAIN although it may wait: when its descriptor is ready, and as often
    /// as that takes. See [`Call::to_be_waited_for`].
    fn call_again(
        &self,
        ruby: &Ruby,
        came_to: (i32, Box<Call>),
        timeout: Option<Duration>,
        held: &Held,
        later: &[RawFd],
    ) -> Result<Option<Outcome>, Error> {
        // An IO#close of a descriptor that only later calls of the chain use waits for this place, too.
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
        // Facts about a descriptor are of no use when its number belongs to another file by now.
        let is_news = |result: i32| result >= 0 && !transfers && !opens;
        if completed.is_some_and(is_news) && self.driver.is_ended(token) {
            return Err(errors::stream_closed(ruby));
        }
        Ok(completed.map(|result| Outcome::of(result, self.driver.take_call(token))))
    }

    /// Makes several calls at the same time, in no order, and returns the outcome of each. It returns when all
    /// are over. When somebody raises in the fiber, it waits as well, and then closes the descriptors that they
    /// opened. `held` gives the objects of Ruby that the call of a number uses, in case the kernel goes on using
    /// them.
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

    /// Lets others run, or waits when there are none. Returns why this fiber goes on, if the wakeup is for it.
    pub(super) fn turn(&self, ruby: &Ruby, whole: Token) -> Result<Option<Wakeup>, Error> {
        match self.flow {
            Flow::Nobody => {
                self.run_nobody(ruby)?;
                Ok(self.driver.take_wakeup_early(whole))
            }
            _ => self.await_wakeup(ruby, whole).map(Some),
        }
    }

    /// Waits until all parts are over. When somebody raises in the fiber, or when the timeout passes, it cancels
    /// them and waits on. It fails only when there is nothing left to wait for.
    pub(super) fn await_parts(
        &self,
        ruby: &Ruby,
        whole: Token,
        parts: &mut Parts,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        /// A call of a chain that begins after the cancellation has not seen it, so we cancel again.
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
