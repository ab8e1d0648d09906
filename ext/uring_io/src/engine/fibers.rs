//! Scheduled fibers, from their beginning to their end.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use magnus::fiber::Fiber;
use magnus::rb_sys::AsRawValue;
use magnus::value::{Opaque, ReprValue};
use magnus::{Error, Exception, Ruby, Value};

use super::party::Purpose;
use super::Engine;

/// Hashes addresses of objects. Their low bits are always the same, so it leaves them out and mixes the others.
#[derive(Default)]
pub struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("object addresses are hashed as u64");
    }

    fn write_u64(&mut self, address: u64) {
        self.0 = (address >> 3)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(26);
    }
}

/// Facts about fibers, by their addresses.
pub(super) type AddressMap<T> = HashMap<u64, T, BuildHasherDefault<AddressHasher>>;

impl Engine {
    /// Starts a new fiber at once. The current fiber goes on when the new one parks or ends: before the other ready
    /// fibers or, if it has been starting fibers for long, behind them. The new fiber must call `started`.
    pub fn start(
        &self,
        ruby: &Ruby,
        fiber: Fiber,
        arguments: impl magnus::ArgList + Copy,
    ) -> Result<(), Error> {
        let first = self.driver.may_stay_first();
        self.give_turn(ruby, first, || {
            self.unborn.set(true);
            let result = self.switch_to_new(ruby, fiber, arguments, || self.unborn.get());
            self.unborn.set(false);
            result
        })
    }

    /// Notes that the current fiber, a scheduled one, has started. `place` returns where its block is.
    pub fn started(&self, ruby: &Ruby, place: impl FnOnce() -> String) {
        let fiber = ruby.fiber_current();
        if self.is_recorded() {
            self.record_start(fiber, &place());
        }
        self.unborn.set(false);
        self.scheduled
            .borrow_mut()
            .insert(fiber.as_raw(), Opaque::from(fiber));
        self.begun(ruby);
    }

    /// Raises an exception in a fiber, or kills the fiber if there is no exception. The current fiber goes on when that
    /// fiber parks again or ends.
    pub fn interrupt(
        &self,
        ruby: &Ruby,
        fiber: Fiber,
        exception: Option<Exception>,
    ) -> Result<(), Error> {
        self.give_turn(ruby, true, || {
            match exception {
                Some(exception) => fiber.raise::<Value>(exception),
                None => fiber.funcall("kill", ()),
            }
            .map(|_| ())
        })
    }

    /// Queues the current fiber, before all others or behind them, and calls `switch`. Returns when the current fiber
    /// has its turn.
    fn give_turn(
        &self,
        ruby: &Ruby,
        first: bool,
        switch: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let place = self.place(ruby, Purpose::Turn);
        if first {
            self.driver.wake_first(place.token);
        } else {
            self.driver.wake(place.token);
        }
        switch()?;
        while self.driver.take_wakeup(place.token).is_none() {
            self.run_next(ruby, place.token)?;
        }
        Ok(())
    }

    /// Notes that a scheduled fiber has ended.
    pub fn ended(&self, fiber: Fiber) {
        self.scheduled.borrow_mut().remove(&fiber.as_raw());
        if self.is_recorded() {
            self.record_end(fiber);
        }
    }

    /// Whether every scheduled fiber has ended.
    pub fn is_done(&self) -> bool {
        self.scheduled.borrow().is_empty()
    }

    /// The scheduled fibers that have not ended.
    pub fn scheduled(&self, ruby: &Ruby) -> Vec<Fiber> {
        self.scheduled
            .borrow()
            .values()
            .map(|fiber| ruby.get_inner(*fiber))
            .collect()
    }

    /// Whether a fiber is a scheduled one.
    pub fn is_scheduled(&self, fiber: Fiber) -> bool {
        self.scheduled.borrow().contains_key(&fiber.as_raw())
    }
}
