//! Places of fibers at the driver, and how fibers wait there.

use std::os::fd::RawFd;
use std::time::Duration;

use magnus::fiber::Fiber;
use magnus::rb_sys::AsRawValue;
use magnus::{Error, Ruby, Value};
use uring_io_core::{Token, Wakeup};

use super::party::{Flow, Party, Purpose, Raised};
use super::Engine;
use crate::ruby::errors;

impl Engine {
    /// Takes a place for the current fiber. Dropping the value gives the place back.
    pub fn place(&self, ruby: &Ruby, purpose: Purpose) -> Place<'_> {
        let fiber = ruby.fiber_current();
        self.placed(fiber, self.driver.park(Party::new(fiber, purpose)))
    }

    fn placed(&self, fiber: Fiber, token: Token) -> Place<'_> {
        let address = fiber.as_raw();
        if self.driver.is_recorded() {
            self.record_park(address, token);
        }
        let outer = self.parked.borrow_mut().insert(address, token);
        Place {
            engine: self,
            token,
            address,
            outer,
        }
    }

    /// Like [`place`](Self::place), for a fiber that uses these descriptors. A close of one of them waits until the
    /// fiber gives the place back.
    pub fn place_on(
        &self,
        ruby: &Ruby,
        purpose: Purpose,
        about: impl IntoIterator<Item = RawFd>,
    ) -> Place<'_> {
        let mut about = about.into_iter();
        let fiber = ruby.fiber_current();
        let party = Party::new(fiber, purpose);
        let token = match about.next() {
            Some(fd) => self.driver.park_on(party, fd),
            None => self.driver.park(party),
        };
        for fd in about {
            self.driver.is_about(token, fd);
        }
        self.placed(fiber, token)
    }

    /// Takes one more place for a fiber, at which the fiber itself does not wait.
    pub fn park_beside(&self, fiber: Fiber, purpose: Purpose) -> Token {
        let token = self.driver.park(Party::new(fiber, purpose));
        if self.driver.is_recorded() {
            self.record_part(fiber, token);
        }
        token
    }

    /// Parks the current fiber until its wakeup comes, and returns the wakeup. If somebody raises in the fiber, this
    /// gives the place back and fails with the exception. So use it only for waits without an operation that must end
    /// first.
    pub fn park(
        &self,
        ruby: &Ruby,
        purpose: Purpose,
        timeout: Option<Duration>,
    ) -> Result<Wakeup, Error> {
        let place = self.place(ruby, purpose);
        if timeout.is_some() {
            self.driver.set_timeout(place.token, timeout);
        }
        self.await_wakeup(ruby, place.token)
    }

    /// Like [`await_wakeup`](Self::await_wakeup), but returns [`Wakeup::TimedOut`] if the timeout passes first.
    pub fn await_wakeup_within(
        &self,
        ruby: &Ruby,
        token: Token,
        timeout: Option<Duration>,
    ) -> Result<Wakeup, Error> {
        self.driver.set_timeout(token, timeout);
        self.await_wakeup(ruby, token)
    }

    /// Runs other fibers until the party of `token`, which is the current fiber, gets its turn.
    pub fn await_wakeup(&self, ruby: &Ruby, token: Token) -> Result<Wakeup, Error> {
        self.await_wakeup_or_raised(ruby, token)
            .map_err(|raised| raised.error)
    }

    pub(super) fn await_wakeup_or_raised(
        &self,
        ruby: &Ruby,
        token: Token,
    ) -> Result<Wakeup, Raised> {
        self.interrupts.take(ruby)?;
        loop {
            if let Some(wakeup) = self.driver.take_wakeup(token) {
                if wakeup == Wakeup::Woken && self.take_interrupted(token) {
                    self.interrupts.take(ruby)?;
                }
                return Ok(wakeup);
            }
            let home = match self.flow {
                Flow::Home(home) => home,
                Flow::Next => {
                    self.run_next(ruby, token)?;
                    continue;
                }
                Flow::Nobody => {
                    self.run_nobody(ruby)?;
                    continue;
                }
            };
            if self.is_home(ruby.fiber_current()) {
                self.wait_here(ruby)?;
                if let Some(wakeup) = self.driver.take_wakeup_early(token) {
                    return Ok(wakeup);
                }
                continue;
            }
            ruby.get_inner(home).transfer::<_, Value>(())?;
            if self.is_closed() {
                return Err(errors::closed(ruby, "selector").into());
            }
            return Ok(self.driver.take_wakeup(token).unwrap_or(Wakeup::Woken));
        }
    }

    /// Whether a fiber is the loop fiber, which parked fibers give control to.
    pub fn is_home(&self, fiber: Fiber) -> bool {
        let Flow::Home(home) = self.flow else {
            return false;
        };
        Ruby::get_with(fiber).get_inner(home).as_raw() == fiber.as_raw()
    }

    /// Lets the other ready fibers run once.
    pub fn yield_turn(&self, ruby: &Ruby, purpose: Purpose) -> Result<(), Error> {
        let place = self.place(ruby, purpose);
        self.driver.wake(place.token);
        self.await_wakeup(ruby, place.token).map(|_| ())
    }

    /// Like [`yield_turn`](Self::yield_turn), for a fiber that uses a descriptor. Fails if somebody closes the
    /// descriptor meanwhile.
    pub fn yield_turn_on(&self, ruby: &Ruby, fd: RawFd) -> Result<(), Error> {
        let place = self.place_on(ruby, Purpose::Turn, [fd]);
        self.driver.wake(place.token);
        self.await_wakeup(ruby, place.token)?;
        if self.driver.is_ended(place.token) {
            return Err(errors::stream_closed(ruby));
        }
        Ok(())
    }

    /// Parks the current fiber, which uses a descriptor, for some time. Fails like
    /// [`yield_turn_on`](Self::yield_turn_on).
    pub fn pause_on(&self, ruby: &Ruby, fd: RawFd, length: Duration) -> Result<(), Error> {
        let place = self.place_on(ruby, Purpose::Turn, [fd]);
        self.await_wakeup_within(ruby, place.token, Some(length))?;
        if self.driver.is_ended(place.token) {
            return Err(errors::stream_closed(ruby));
        }
        Ok(())
    }

    /// Whether the engine has woken a party to raise an exception. Clears that mark.
    pub(super) fn take_interrupted(&self, token: Token) -> bool {
        self.driver
            .with_payload(token, |party| party.interrupted.replace(false))
            == Some(true)
    }
}

/// A party's place at the driver. Dropping it gives the place back.
pub struct Place<'a> {
    engine: &'a Engine,
    pub token: Token,
    address: u64,
    /// The park around this one, if a hook was called from within a hook.
    outer: Option<Token>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.engine.driver.leave(self.token);
        if self.engine.driver.is_recorded() {
            self.engine.record_leave(self.address, self.token);
        }
        let mut parked = self.engine.parked.borrow_mut();
        let Some(outer) = self.outer else {
            parked.remove(&self.address);
            return;
        };
        parked.insert(self.address, outer);
        // A trap handler may run, and park, anywhere in the outer park. The driver may have handed out the outer token
        // while the fiber was in the inner park. So queue that token again.
        self.engine.driver.requeue(outer);
    }
}
