//! Class UringIO::Ring::RegisteredBuffer: memory of an IO::Buffer that is registered with a ring.

use magnus::value::Opaque;
use magnus::{method, prelude::*, typed_data::Obj, Error, RClass, Ruby, TypedData, Value};
use uring_io_core::{Direction, Memory};

use super::host::Host;
use crate::memory::held::Held;
use crate::memory::registered::Registered;
use crate::ruby::errors;

/// Registers the memory of a buffer with the host's engine, which keeps the buffer locked.
pub fn register(ruby: &Ruby, host: &Host, buffer: Value) -> Result<Registered, Error> {
    let engine = host.engine(ruby)?;
    let held = Held::default();
    let Memory::Lent(memory) = held.buffer(ruby, buffer, Direction::Read)? else {
        let message =
            "register needs an IO::Buffer that owns its memory, and this is a slice or a \
                       String's: use IO::Buffer.new or IO::Buffer.map";
        return Err(errors::argument(ruby, message.to_owned()));
    };
    Ok(Registered {
        buffer: Opaque::from(buffer),
        host: Opaque::from(host.value()),
        registration: engine.register(ruby, memory, held)?,
    })
}

fn buffer(ruby: &Ruby, this: Obj<Registered>) -> Value {
    ruby.get_inner(this.buffer)
}

fn is_released(this: Obj<Registered>) -> bool {
    this.registration.is_released()
}

/// Takes the memory from the ring and unlocks the buffer.
fn release(ruby: &Ruby, this: Obj<Registered>) -> Result<(), Error> {
    let registration = &this.registration;
    if registration.is_released() {
        return Ok(());
    }
    if registration.uses() > 0 {
        let message = format!(
            "{} calls use this buffer: wait for them, or cancel them",
            registration.uses()
        );
        return Err(errors::base(ruby, &message));
    }
    let Some(host) = Host::of(ruby.get_inner(this.host)) else {
        return Ok(());
    };
    host.engine(ruby)?.unregister(ruby, registration)
}

pub fn init(ruby: &Ruby, ring: RClass) -> Result<(), Error> {
    let class = ring.define_class("RegisteredBuffer", ruby.class_object())?;
    class.undef_default_alloc_func();
    Registered::class(ruby);
    class.define_method("buffer", method!(buffer, 0))?;
    class.define_method("released?", method!(is_released, 0))?;
    class.define_method("release", method!(release, 0))
}
