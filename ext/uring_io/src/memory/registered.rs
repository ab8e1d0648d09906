//! Memory of an IO::Buffer that is registered with a ring, as calls see it.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use magnus::value::Opaque;
use magnus::{gc, DataTypeFunctions, Error, Ruby, TypedData, Value};

use crate::ruby::errors;

/// The number that an engine's ring has for registered memory, until the ring releases it. The engine and the Ruby
/// object share this value. Its fields are atomic because the collector may free the object in a thread of another
/// Ractor.
pub struct Registration {
    pub number: u16,
    /// The address of the engine, which identifies it.
    engine: usize,
    /// See [`uring_io_core::forks`].
    forks: u32,
    released: AtomicBool,
    /// The number of calls that use the memory.
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

    /// Whether the ring has let go of the memory, or belongs to the process that forked this one.
    pub fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed) || self.forks != uring_io_core::forks()
    }

    /// How many calls use the memory.
    pub fn uses(&self) -> usize {
        self.uses.load(Ordering::Relaxed)
    }
}

/// The Rust part of a UringIO::Ring::RegisteredBuffer.
#[derive(TypedData)]
#[magnus(
    class = "UringIO::Ring::RegisteredBuffer",
    mark,
    size,
    free_immediately
)]
pub struct Registered {
    pub buffer: Opaque<Value>,
    /// The ring or scheduler that owns the engine. It lives as long as this object.
    pub host: Opaque<Value>,
    pub registration: Arc<Registration>,
}

// SAFETY: only the thread of its Ractor that holds the GVL uses it. The collector may drop it in any thread: it
// shares only the registration with its engine. An Arc counts the owners of that, and its fields that change are
// atomic.
unsafe impl Send for Registered {}

impl DataTypeFunctions for Registered {
    fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.buffer);
        marker.mark(self.host);
    }
}

impl Registered {
    /// Begins a use by one more call. Returns the number and the buffer.
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

    /// Ends the use by one of the calls.
    pub fn end_use(&self) {
        self.registration.uses.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the memory is registered with the engine at this address.
    pub fn is_known_to(&self, engine: usize) -> bool {
        self.registration.engine == engine
    }
}
