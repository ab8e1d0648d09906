//! Memory of an IO::Buffer that is registered with a ring: what calls need to know of it.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use magnus::value::Opaque;
use magnus::{gc, DataTypeFunctions, Error, Ruby, TypedData, Value};

use crate::ruby::errors;

/// A number that the ring of an engine has for memory, until it is released. The engine and the Ruby object share
/// it; the collector may free the object in a thread of another Ractor, hence the atomics.
pub struct Registration {
    pub number: u16,
    /// The address of the engine, which tells it from others.
    engine: usize,
    /// See [`uring_io_core::forks`].
    forks: u32,
    released: AtomicBool,
    /// Calls that use it.
    uses: AtomicUsize,
}

impl Registration {
    pub fn new(number: u16, engine: usize) -> Self {
        Self {
            number,
            engine,
            forks: uring_io_core::forks(),
            released: AtomicBool::new(false),
            uses: AtomicUsize::new(0),
        }
    }

    /// Notes that the ring has let go of the memory.
    pub fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
    }

    /// Whether the ring has let go of the memory, or is none of this process.
    pub fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed) || self.forks != uring_io_core::forks()
    }

    /// How many calls use it.
    pub fn uses(&self) -> usize {
        self.uses.load(Ordering::Relaxed)
    }
}

/// Memory behind a UringIO::Ring::RegisteredBuffer.
#[derive(TypedData)]
#[magnus(
    class = "UringIO::Ring::RegisteredBuffer",
    mark,
    size,
    free_immediately
)]
pub struct Registered {
    pub buffer: Opaque<Value>,
    /// The ring or scheduler that has the engine, which lives as long as this.
    pub host: Opaque<Value>,
    pub registration: Arc<Registration>,
}

// SAFETY: used by whichever thread of its Ractor holds the GVL, one at a time. The collector may drop it in any thread:
// what it shares with its engine is counted and changed by atomics.
unsafe impl Send for Registered {}

impl DataTypeFunctions for Registered {
    fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.buffer);
        marker.mark(self.host);
    }
}

impl Registered {
    /// Its number and its buffer, for one more call.
    pub fn begin_use(&self, ruby: &Ruby) -> Result<(u16, Value), Error> {
        let registration = &self.registration;
        if registration.is_released() {
            return Err(errors::base(
                ruby,
                "this RegisteredBuffer is released: register the buffer again",
            ));
        }
        registration.uses.fetch_add(1, Ordering::Relaxed);
        Ok((registration.number, ruby.get_inner(self.buffer)))
    }

    /// One of the calls is over.
    pub fn end_use(&self) {
        self.registration.uses.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the engine at this address knows the number.
    pub fn is_known_to(&self, engine: usize) -> bool {
        self.registration.engine == engine
    }
}
