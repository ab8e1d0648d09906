//! How waits end: wakeups, deadlines, and exceptions that a fiber raises at its wait.

use std::time::Duration;

use magnus::fiber::Fiber;
use magnus::rb_sys::AsRawValue;
use magnus::value::Opaque;
use magnus::{Error, Exception, Ruby, Value};
use uring_io_core::{Call, Token};

use super::party::{Flow, Interrupt, Purpose, Raised, Timeout};
use super::Engine;
use crate::ruby::errors;

impl Engine {
    /// Lets the party of `token` go on. Any thread that holds the GVL may call it.
    pub fn wake(&self, token: Token) {
        self.driver.wake(token);
    }

    /// Wakes a party of another engine, through the kernel if both engines have a ring.
    pub fn wake_at(&self, ruby: &Ruby, engine: &Self, token: Token) -> Result<(), Error> {
        let rings = (
            self.driver.ring_descriptor(),
            engine.driver.ring_descriptor(),
        );
        let (Some(from), Some(ring)) = rings else {
            engine.driver.wake(token);
            return Ok(());
        };
        if from == ring {
            engine.driver.wake(token);
            return Ok(());
        }
        let place = self.place(ruby, Purpose::Operation);
        let nudge = self.driver.call(place.token, Call::Nudge { ring, token });
        // Submit at once: when other fibers have run, the descriptor may belong to another ring.
        let begun = nudge.and_then(|()| self.driver.look());
        let nudged = match begun {
            Ok(()) => self.await_completion(ruby, place.token, || (), |_| false),
            // Before Linux 5.18 there is no such call.
            Err(error) if error.lack.is_some() => Ok(None),
            Err(error) => Err(self.refusal(ruby, error, None)),
        };
        if !matches!(nudged, Ok(Some(0..))) {
            engine.driver.wake(token);
        }
        nudged.map(|_| ())
    }

    /// Wakes the owner if it waits in the kernel. Returns whether it does. Any thread that holds the GVL may call it.
    pub fn wake_owner(&self) -> bool {
        let waits = !self.is_closed() && self.driver.is_waiting();
        if waits {
            self.driver.waker().wake();
        }
        waits
    }

    /// Wakes a fiber that waits for an `unblock`. Returns false if it does not wait for one. Any thread that holds the
    /// GVL may call it.
    ///
    /// A fiber that is about to raise an exception at that wait goes on instead, and raises at its next wait. CRuby
    /// wakes only one waiter of a queue or condition variable (thread_sync.c, wakeup_one), so otherwise nobody would
    /// take the object.
    pub fn unblock(&self, fiber: Fiber) -> bool {
        let Some(token) = self.parked_token(fiber) else {
            return false;
        };
        let waits = self
            .driver
            .with_payload(token, |party| matches!(party.purpose, Purpose::Unblock(_)));
        if waits != Some(true) {
            return false;
        }
        if self.driver.has_wakeup(token) {
            // The fiber may have a wakeup from a `sleep(0)` before its wait. It would not notice a second one.
            return self.take_interrupted(token);
        }
        self.driver.wake(token);
        true
    }

    /// Begins a timeout of a fiber: after `length`, the fiber raises the timeout's exception at its wait. The timeout
    /// lasts until [`end_timeout`](Self::end_timeout) for the token.
    pub fn begin_timeout(&self, fiber: Fiber, length: Duration, timeout: Timeout) -> Token {
        let token = self.park_beside(fiber, Purpose::Deadline);
        self.interrupts.begin_timeout(token, timeout);
        self.driver.set_timeout(token, Some(length));
        token
    }

    /// Ends a timeout, because its block is over.
    pub fn end_timeout(&self, token: Token) {
        self.driver.leave(token);
        self.interrupts.end_timeout(token);
    }

    /// Makes a fiber raise the exception of the deadline `deadline` at its park. If the fiber is about to go on, it
    /// raises the exception at its next park, so that the object of its wakeup is not lost.
    pub(super) fn expire(&self, ruby: &Ruby, fiber: Fiber, deadline: Token) -> Result<(), Error> {
        let interrupt = Interrupt::Deadline(deadline);
        let Some(token) = self.parked_token(fiber) else {
            // The fiber waits for a fiber that it has resumed. Ruby raises in the innermost one. The current fiber has
            // nothing to do with it, so a failure to make the exception is not for that fiber, either.
            let exception = self.interrupts.exception(ruby, interrupt);
            let exception = exception.or_else(errors::exception)?;
            return fiber.raise::<Value>(exception).map(|_| ());
        };
        self.interrupts.add(fiber, interrupt);
        self.wake_to_raise(token);
        Ok(())
    }

    /// Makes a fiber raise an exception at its wait. Nothing happens if the fiber is about to go on, or does not wait.
    /// Any thread that holds the GVL may call it.
    pub fn interrupt_wait(&self, fiber: Fiber, exception: Exception) {
        let Some(token) = self.parked_token(fiber) else {
            return;
        };
        if !self.driver.has_wakeup(token) {
            let interrupt = Interrupt::Exception(Opaque::from(exception));
            self.interrupts.add(fiber, interrupt);
            self.wake_to_raise(token);
        }
    }

    /// Makes a proxy, which stands for a wait, raise an exception: the owner's thread calls `proxy.raise(exception)`.
    /// Any thread that holds the GVL may call it.
    pub fn interrupt_proxy(&self, proxy: Value, exception: Value) {
        self.interrupts.add_proxy(proxy, exception);
        if self.driver.is_waiting() {
            self.driver.waker().wake();
        }
    }

    /// Wakes a party so that it raises its pending exception, unless it has a wakeup already.
    fn wake_to_raise(&self, token: Token) {
        if !self.driver.has_wakeup(token) {
            self.driver
                .with_payload(token, |party| party.interrupted.set(true));
            if self.is_recorded() {
                self.record_raise(token);
            }
            self.driver.wake(token);
        }
    }

    fn parked_token(&self, fiber: Fiber) -> Option<Token> {
        self.parked.borrow().get(&fiber.as_raw()).copied()
    }

    /// Raises the pending exception of the current fiber.
    pub fn raise_pending(&self, ruby: &Ruby) -> Result<(), Error> {
        self.interrupts.take(ruby).map_err(|raised| raised.error)
    }

    /// Whether a fiber may have the result of its operation first, and this exception at its next park. A killed fiber
    /// has no next park. A thread outside of fibers gets the exception now, as in a blocking call of Ruby: later it may
    /// never come back to the ring, or have left the Timeout that raises.
    pub fn may_postpone(&self, error: &Error) -> bool {
        error.value().is_some() && !self.may_not_postpone()
    }

    /// Whether this is Thread#kill for a thread outside of fibers. It comes before any exception: a thread that went on
    /// would never end, as Ruby asks it only once.
    pub fn kills_thread(&self, error: &Error) -> bool {
        error.value().is_none() && self.may_not_postpone()
    }

    fn may_not_postpone(&self) -> bool {
        matches!(self.flow, Flow::Nobody)
    }

    /// Makes the current fiber raise an exception at its next park, because it came too late for this one.
    pub fn postpone(&self, ruby: &Ruby, raised: &Raised) {
        let exception = || Exception::from_value(raised.error.value()?).map(Opaque::from);
        let interrupt = raised.interrupt;
        let interrupt = interrupt.or_else(|| exception().map(Interrupt::Exception));
        if let Some(interrupt) = interrupt {
            self.interrupts.add(ruby.fiber_current(), interrupt);
        }
    }
}
