//! Turns: a waiting fiber runs the next ready fiber, or waits in the kernel when there is none. Each flow has its own
//! way.

use std::time::Duration;

use magnus::fiber::Fiber;
use magnus::rb_sys::AsRawValue;
use magnus::value::Opaque;
use magnus::{Error, Ruby};
use uring_io_core::{Token, Turn, Wakeup};

use super::party::Purpose;
use super::switching::ignore_refusal;
use super::Engine;
use crate::ruby::{errors, gvl};

/// How long a thread looks for completions before it releases the GVL, if a thread of the kernel brings completions
/// meanwhile (`sqpoll:`).
const SPIN: Duration = Duration::from_micros(50);

impl Engine {
    /// Runs fibers until every scheduled one has ended. Returns false if the timeout passes first.
    pub fn run(&self, ruby: &Ruby, timeout: Option<Duration>) -> Result<bool, Error> {
        let place = self.place(ruby, Purpose::End);
        self.driver.set_timeout(place.token, timeout);
        while !self.is_done() {
            if self.driver.take_wakeup(place.token) == Some(Wakeup::TimedOut) {
                return Ok(false);
            }
            self.run_next(ruby, place.token)?;
        }
        Ok(true)
    }

    /// Runs the next ready fiber, or begins a turn when there is none. Returns when control comes
    /// back for whatever reason.
    pub(super) fn run_next(&self, ruby: &Ruby, own: Token) -> Result<(), Error> {
        let Some(next) = self.driver.next_ready() else {
            return self.look_or_wait(ruby);
        };
        if next == own {
            return Ok(());
        }
        enum Next {
            Fiber(Opaque<Fiber>),
            Expired(Opaque<Fiber>),
            Part(Option<Token>),
            Return(Opaque<Fiber>),
        }
        let next_party = self.driver.with_payload(next, |party| match party.purpose {
            Purpose::Deadline => Next::Expired(party.fiber),
            Purpose::PartOf(ref whole) => Next::Part(whole.get()),
            Purpose::Return => Next::Return(party.fiber),
            _ => Next::Fiber(party.fiber),
        });
        match next_party {
            Some(Next::Fiber(fiber)) => {
                let fiber = ruby.get_inner(fiber);
                if fiber.as_raw() == ruby.fiber_current().as_raw() {
                    // This is an outer park of the current fiber. It goes on when the inner one is over.
                    return Ok(());
                }
                self.switch_to(ruby, fiber, ())
            }
            Some(Next::Expired(fiber)) => self.expire(ruby, ruby.get_inner(fiber), next),
            Some(Next::Part(whole)) => {
                if let Some(whole) = whole {
                    self.driver.wake(whole);
                }
                Ok(())
            }
            Some(Next::Return(fiber)) => {
                let fiber = ruby.get_inner(fiber);
                self.driver.leave(next);
                if !fiber.is_alive() {
                    // A close has ended it meanwhile.
                    return Ok(());
                }
                self.switch_to(ruby, fiber, ()).or_else(ignore_refusal)
            }
            None => Ok(()),
        }
    }

    /// Begins a turn of the driver, or waits in the kernel if nobody is ready.
    fn look_or_wait(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_inherited() {
            return Err(errors::closed(ruby, "scheduler"));
        }
        if self.interrupts.raise_in_proxy(ruby)? {
            return Ok(());
        }
        if self.spare.get().is_none() {
            self.renew_spare(ruby)?;
        }
        let turn = self
            .driver
            .begin_turn()
            .map_err(|error| self.failure(ruby, error))?;
        let Turn::Idle(timeout) = turn else {
            return Ok(());
        };
        let waited = gvl::wait(&self.driver, timeout);
        if let Some(Err(error)) = waited {
            return Err(self.failure(ruby, error));
        }
        if waited.is_none() || ruby.thread_current().interrupted() {
            return self.hand_over_interrupts(ruby);
        }
        Ok(())
    }

    /// One turn of a thread that has no other fiber to run. It hands out all wakeups; each party then takes its own.
    pub fn run_nobody(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_inherited() {
            // A trap handler has forked, and this is the child.
            return Err(errors::closed(ruby, "ring"));
        }
        if self.driver.hand_out_all() {
            return Ok(());
        }
        let turn = self.driver.begin_turn();
        if let Turn::Idle(timeout) = turn.map_err(|error| self.failure(ruby, error))? {
            if self.driver.spin(SPIN) {
                return Ok(());
            }
            // If two exceptions came together, Ruby has raised one, and has forgotten to look for the other.
            ruby.thread_check_ints()?;
            if let Some(Err(error)) = gvl::wait(&self.driver, timeout) {
                return Err(self.failure(ruby, error));
            }
            // Take only the completions that are there: often there are no others. Beginning a turn could enter the
            // kernel once more because of TASKRUN, the flag by which the kernel says that it has work. The flag may be
            // out of date: the kernel clears it first, and then does work that sets it again.
            self.driver.collect();
            self.driver.hand_out_all();
            ruby.thread_check_ints()?;
        }
        Ok(())
    }

    /// The whole thread waits, because there is no fiber to give control to.
    pub(super) fn wait_here(&self, ruby: &Ruby) -> Result<(), Error> {
        let waited = gvl::wait(&self.driver, None);
        if let Some(Err(error)) = waited {
            return Err(self.failure(ruby, error));
        }
        ruby.thread_check_ints()?;
        self.driver
            .look()
            .map_err(|error| self.failure(ruby, error))
    }
}
