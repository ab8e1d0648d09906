//! Class UringIO::Ring::RegisteredBuffer: memory of an IO::Buffer that is registered with a ring.
#![allow(unsafe_code)]

use std::cell::Cell;

use magnus::value::Opaque;
use magnus::{
    gc, method, prelude::*, typed_data::Obj, DataTypeFunctions, Error, RClass, Ruby, TypedData,
    Value,
};
use uring_io_core::{Direction, Memory};

use crate::engine::Engine;
use crate::errors;
use crate::held::Held;
use crate::ring::Home;

/// Memory behind a UringIO::Ring::RegisteredBuffer.
#[derive(TypedData)]
#[magnus(
    class = "UringIO::Ring::RegisteredBuffer",
    mark,
    size,
    free_immediately
)]
pub struct Registered {
    buffer: Opaque<Value>,
    /// The ring or scheduler whose engine it is registered with.
    home: Opaque<Value>,
    number: u16,
    /// Calls that use it.
    uses: Cell<usize>,
    released: Cell<bool>,
}

// SAFETY: used by whichever thread of its Ractor holds the GVL, one at a time.
unsafe impl Send for Registered {}

impl DataTypeFunctions for Registered {
    fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.buffer);
        marker.mark(self.home);
    }
}

impl Registered {
    /// Registers the memory of a buffer with an engine, which keeps the buffer locked.
    pub fn new(ruby: &Ruby, home: &Home, buffer: Value) -> Result<Self, Error> {
        let engine = home.engine(ruby)?;
        let held = Held::default();
        let Memory::Lent(memory) = held.buffer(ruby, buffer, Direction::Read)? else {
            let message =
                "only an IO::Buffer that owns its memory can be registered, and this is a \
                           slice or a string's";
            return Err(errors::argument(ruby, message.to_owned()));
        };
        let number = engine.driver.register(memory).map_err(|error| {
            held.release(ruby);
            match error.lack {
                Some(lack) => errors::lack(ruby, "registered memory", lack),
                None => errors::errno(ruby, error),
            }
        })?;
        engine.registered.borrow_mut().insert(number, held);
        Ok(Self {
            buffer: Opaque::from(buffer),
            home: Opaque::from(home.value()),
            number,
            uses: Cell::new(0),
            released: Cell::new(false),
        })
    }

    /// Its number and its buffer, for one more call.
    pub fn begin_use(&self, ruby: &Ruby) -> Result<(u16, Value), Error> {
        if self.is_released(ruby)? {
            return Err(errors::base(ruby, "this buffer was released"));
        }
        self.uses.set(self.uses.get() + 1);
        Ok((self.number, ruby.get_inner(self.buffer)))
    }

    /// One of the calls is over.
    pub fn end_use(&self) {
        self.uses.set(self.uses.get().saturating_sub(1));
    }

    /// Whether this engine knows the number.
    pub fn is_known_to(&self, ruby: &Ruby, engine: &Engine) -> bool {
        let home = Home::of(ruby.get_inner(self.home));
        home.is_some_and(|home| home.made(ruby).is_ok_and(|made| std::ptr::eq(made, engine)))
    }

    fn buffer(ruby: &Ruby, this: Obj<Self>) -> Value {
        ruby.get_inner(this.buffer)
    }

    /// A ring that is closed has let go of everything.
    fn is_released(&self, ruby: &Ruby) -> Result<bool, Error> {
        let home = Home::of(ruby.get_inner(self.home));
        let closed = match home {
            Some(home) => home.made(ruby)?.is_closed(),
            None => true,
        };
        Ok(closed || self.released.get())
    }

    fn released(ruby: &Ruby, this: Obj<Self>) -> Result<bool, Error> {
        this.is_released(ruby)
    }

    /// Takes the memory from the ring and unlocks the buffer.
    fn release(ruby: &Ruby, this: Obj<Self>) -> Result<(), Error> {
        if this.is_released(ruby)? {
            return Ok(());
        }
        if this.uses.get() > 0 {
            let message = format!(
                "this buffer is in use by {} calls: wait for them, or cancel them",
                this.uses.get()
            );
            return Err(errors::base(ruby, &message));
        }
        let Some(home) = Home::of(ruby.get_inner(this.home)) else {
            return Ok(());
        };
        let engine = home.engine(ruby)?;
        let forgotten = engine.driver.unregister(this.number);
        forgotten.map_err(|error| errors::errno(ruby, error))?;
        this.released.set(true);
        let held = engine.registered.borrow_mut().remove(&this.number);
        if let Some(held) = held {
            held.release(ruby);
        }
        Ok(())
    }
}

pub fn init(ruby: &Ruby, ring: RClass) -> Result<(), Error> {
    let class = ring.define_class("RegisteredBuffer", ruby.class_object())?;
    class.undef_default_alloc_func();
    Registered::class(ruby);
    class.define_method("buffer", method!(Registered::buffer, 0))?;
    class.define_method("released?", method!(Registered::released, 0))?;
    class.define_method("release", method!(Registered::release, 0))
}
