//! Memory that the kernel uses longer than one call: memory of sends without a copy, and registered memory.

use std::sync::Arc;

use magnus::{Error, Ruby};
use uring_io_core::{LentBuffer, Token};

use super::Engine;
use crate::memory::held::{Held, Kept};
use crate::memory::registered::Registration;
use crate::ruby::errors;

impl Engine {
    /// Holds objects that the kernel still uses although their call is over.
    pub(super) fn keep(&self, ruby: &Ruby, token: Token, held: Held) {
        self.held.borrow_mut().insert(token, Kept::new(held));
        if let Some(kept) = self.held.borrow().get(&token) {
            kept.root(ruby);
        }
    }

    /// Releases the objects that the kernel no longer uses.
    pub(super) fn release_held(&self, ruby: &Ruby) {
        if self.held.borrow().is_empty() {
            return;
        }
        for token in self.driver.take_released() {
            let held = self.held.borrow_mut().remove(&token);
            if let Some(held) = held {
                held.release(ruby);
            }
        }
    }

    /// The engine's address. It tells the engine from others that exist at the same time.
    pub fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Registers memory with the ring. `held` keeps the memory locked until the ring releases it.
    pub fn register(
        &self,
        ruby: &Ruby,
        memory: LentBuffer,
        held: Held,
    ) -> Result<Arc<Registration>, Error> {
        let number = self.driver.register(memory).map_err(|error| {
            held.release(ruby);
            match error.lack {
                Some(lack) => errors::lack(ruby, "registered memory", lack),
                None => errors::errno(ruby, error),
            }
        })?;
        let registration = Arc::new(Registration::new(number, self.address()));
        let mut registered = self.registered.borrow_mut();
        registered.insert(number, (held, Arc::clone(&registration)));
        Ok(registration)
    }

    /// Releases registered memory from the ring. No call may be using it.
    pub fn unregister(&self, ruby: &Ruby, registration: &Registration) -> Result<(), Error> {
        let forgotten = self.driver.unregister(registration.number);
        forgotten.map_err(|error| errors::errno(ruby, error))?;
        registration.release();
        let registered = self.registered.borrow_mut().remove(&registration.number);
        if let Some((held, _)) = registered {
            held.release(ruby);
        }
        Ok(())
    }

    /// Releases all memory, because the ring is closed. If the kernel still sends from some of it, the engine keeps
    /// that and all registered memory for good: a closed ring does not learn when the send ends.
    pub(super) fn release_memory(&self, ruby: &Ruby) {
        self.release_held(ruby);
        // A `Kept` that is dropped without a release keeps its objects alive.
        let lends = !self.held.take().is_empty();
        for (held, _) in self.registered.take().into_values() {
            if lends {
                held.leak(ruby);
            } else {
                held.release(ruby);
            }
        }
    }
}
