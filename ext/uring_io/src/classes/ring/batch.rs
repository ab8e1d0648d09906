//! Class UringIO::Ring::Batch: calls that start together.
//!
//! Most calls of a batch are transfers. So the batch prepares transfers itself, without an object for each.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::time::Duration;

use magnus::block::Proc;
use magnus::value::{Opaque, ReprValue};
use magnus::{
    gc, method, prelude::*, typed_data::Obj, DataTypeFunctions, Error, Integer, RArray, RClass,
    RString, Ruby, TryConvert, TypedData, Value,
};
use uring_io_core::{Call, Direction, Memory};

use super::arguments::position;
use super::result;
use super::ring_call::{registered_elsewhere, RingCall};
use crate::engine::calls::Part;
use crate::engine::outcome::Outcome;
use crate::engine::Engine;
use crate::memory::buffer;
use crate::memory::held::Held;
use crate::ruby::io::OpenIo;
use crate::ruby::{duration, errors, ractors};

/// The Rust part of a UringIO::Ring::Batch.
#[derive(TypedData, Default)]
#[magnus(class = "UringIO::Ring::Batch", mark, size, free_immediately)]
pub struct Batch {
    /// Nobody borrows this mutably while something allocates or other code runs: the GC reads it then.
    entries: RefCell<Vec<Entry>>,
    state: Cell<State>,
}

/// How far a batch has come. Nobody changes its entries while it runs: the kernel uses their objects.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Running,
    Over,
}

struct Entry {
    /// Absent once the call has begun.
    call: Option<Call>,
    name: &'static str,
    timeout: Option<Duration>,
    held: Held,
    /// Converts the result of the call to the value that the program gets.
    convert: Option<Opaque<Proc>>,
    /// The IO of the call. It must stay alive, because a collected IO closes its descriptor.
    io: Opaque<Value>,
}

// SAFETY: only the thread of its Ractor that holds the GVL uses it. Its calls point only to memory that `held` keeps.
unsafe impl Send for Batch {}

impl DataTypeFunctions for Batch {
    fn mark(&self, marker: &gc::Marker) {
        for entry in self.entries.borrow().iter() {
            entry.held.mark(marker);
            marker.mark(entry.io);
            if let Some(convert) = entry.convert {
                marker.mark(convert);
            }
        }
    }
}

impl Batch {
    /// Adds a call and returns its number.
    fn push(&self, ruby: &Ruby, entry: Entry) -> Result<usize, Error> {
        if self.state.get() != State::Open {
            entry.held.release(ruby);
            let message =
                "this batch has begun or ended and takes no more calls: add them inside its block";
            return Err(errors::base(ruby, message));
        }
        let mut entries = self.entries.borrow_mut();
        entries.push(entry);
        Ok(entries.len() - 1)
    }

    /// Adds a prepared call.
    fn add(
        ruby: &Ruby,
        this: Obj<Self>,
        call: Obj<RingCall>,
        timeout: Value,
        io: Value,
        convert: Option<Proc>,
    ) -> Result<usize, Error> {
        let timeout = duration::optional(ruby, timeout)?;
        let entry = Entry {
            call: Some(call.take(ruby)?),
            name: call.name(),
            timeout,
            held: call.held.take(),
            convert: convert.map(Opaque::from),
            io: Opaque::from(io),
        };
        this.push(ruby, entry)
    }

    /// Adds a transfer with an IO or a descriptor. `data` is a String, an IO::Buffer, or the number of bytes to read.
    /// Returns nil for any other objects: the caller converts or refuses them.
    fn add_transfer(
        ruby: &Ruby,
        this: &Self,
        io: Value,
        data: Value,
        timeout: Value,
        direction: Direction,
        make: impl FnOnce(i32, Memory) -> Call,
    ) -> Result<Option<usize>, Error> {
        let fd = if let Some(number) = Integer::from_value(io) {
            number.to_i32()?
        } else if io.is_kind_of(ruby.class_io()) {
            OpenIo::new(ruby, io)?.fd
        } else {
            return Ok(None);
        };
        let timeout = duration::optional(ruby, timeout)?;
        let held = Held::default();
        let memory = match (
            direction,
            Integer::from_value(data),
            RString::from_value(data),
        ) {
            (Direction::Read, Some(length), _) => held.string(ruby, length.to_usize()?)?,
            (Direction::Write, _, Some(string)) => held.bytes(string),
            _ if data.is_kind_of(buffer::class(ruby)) => held.buffer(ruby, data, direction)?,
            _ => return Ok(None),
        };
        let call = make(fd, memory);
        let entry = Entry {
            name: call.name(),
            call: Some(call),
            timeout,
            held,
            convert: None,
            io: Opaque::from(io),
        };
        this.push(ruby, entry).map(Some)
    }

    fn add_read(
        ruby: &Ruby,
        this: Obj<Self>,
        io: Value,
        into: Value,
        offset: Value,
        timeout: Value,
    ) -> Result<Option<usize>, Error> {
        let target = position(Option::<u64>::try_convert(offset)?);
        let make = |fd, memory| Call::Read { fd, target, memory };
        Self::add_transfer(ruby, &this, io, into, timeout, Direction::Read, make)
    }

    fn add_write(
        ruby: &Ruby,
        this: Obj<Self>,
        io: Value,
        data: Value,
        offset: Value,
        timeout: Value,
    ) -> Result<Option<usize>, Error> {
        let target = position(Option::<u64>::try_convert(offset)?);
        let make = |fd, memory| Call::Write { fd, target, memory };
        Self::add_transfer(ruby, &this, io, data, timeout, Direction::Write, make)
    }

    fn add_recv(
        ruby: &Ruby,
        this: Obj<Self>,
        io: Value,
        into: Value,
        flags: i32,
        timeout: Value,
    ) -> Result<Option<usize>, Error> {
        let make = |fd, memory| Call::recv(fd, memory, flags);
        Self::add_transfer(ruby, &this, io, into, timeout, Direction::Read, make)
    }

    fn add_send(
        ruby: &Ruby,
        this: Obj<Self>,
        io: Value,
        data: Value,
        flags: i32,
        timeout: Value,
    ) -> Result<Option<usize>, Error> {
        let make = |fd, memory| Call::send(fd, memory, flags);
        Self::add_transfer(ruby, &this, io, data, timeout, Direction::Write, make)
    }

    /// Makes the calls on an engine, and returns their results in the order of the calls.
    pub fn make(ruby: &Ruby, this: Obj<Self>, engine: &Engine) -> Result<RArray, Error> {
        if this.state.get() != State::Open {
            let message = "this batch has begun or ended: call Ring#batch again";
            return Err(errors::base(ruby, message));
        }
        this.state.set(State::Running);
        let made = Self::made(ruby, this, engine);
        this.let_go(ruby, made.is_err() && engine.is_lost());
        made
    }

    fn made(ruby: &Ruby, this: Obj<Self>, engine: &Engine) -> Result<RArray, Error> {
        let known = |entry: &Entry| entry.held.is_known_to(ruby, engine.address());
        if !this.entries.borrow().iter().all(known) {
            return Err(registered_elsewhere(ruby));
        }
        let count = this.entries.borrow().len();
        let mut parts = Vec::with_capacity(count);
        for number in 0..count {
            // `is_closed` may call Ruby, so it comes before the mutable borrow.
            let io = ruby.get_inner(this.entries.borrow()[number].io);
            let closed = is_closed(ruby, io);
            let mut entries = this.entries.borrow_mut();
            let timeout = entries[number].timeout;
            let call = entries[number].call.take();
            parts.extend(call.map(|call| Part {
                call,
                timeout,
                closed,
            }));
        }
        let outcomes = engine.calls(ruby, parts, |number| {
            this.entries.borrow()[number].held.take()
        })?;
        let values = this.values(ruby, &outcomes);
        if values.is_err() {
            // The program does not learn which descriptors the calls have opened, so close them.
            outcomes.iter().for_each(Outcome::undo);
        }
        values
    }

    fn values(&self, ruby: &Ruby, outcomes: &[Outcome]) -> Result<RArray, Error> {
        let values = ruby.ary_new_capa(outcomes.len());
        for (number, outcome) in outcomes.iter().enumerate() {
            values.push(self.value(ruby, number, outcome)?)?;
        }
        Ok(values)
    }

    fn value(&self, ruby: &Ruby, number: usize, outcome: &Outcome) -> Result<Value, Error> {
        let entries = self.entries.borrow();
        let entry = &entries[number];
        let convert = entry.convert;
        let value = result::value(ruby, outcome, entry.name, &entry.held);
        drop(entries);
        match (value?, convert) {
            (Ok(value), Some(convert)) => ruby.get_inner(convert).call((value,)),
            (Ok(value), None) => Ok(value),
            (Err(failed), _) => Ok(failed.as_value()),
        }
    }

    /// Lets go of all objects now. The GC does not know the size of their memory and may come late. With `lost` it
    /// keeps them for good, because the kernel may go on using them. The entries stay marked until all are done: keeping
    /// one allocates.
    fn let_go(&self, ruby: &Ruby, lost: bool) {
        for entry in self.entries.borrow().iter() {
            if lost {
                entry.held.leak(ruby);
            } else {
                entry.held.release(ruby);
            }
        }
        self.entries.take();
        self.state.set(State::Over);
    }

    /// Lets go of the objects of calls that nobody will make. Does nothing after the end of the batch.
    fn discard(ruby: &Ruby, this: Obj<Self>) -> Result<(), Error> {
        if this.state.get() == State::Running {
            let message =
                "this batch is running, and its calls use the objects: it releases them at its end";
            return Err(errors::base(ruby, message));
        }
        this.let_go(ruby, false);
        Ok(())
    }
}

/// Whether the IO of a call is closed by now, or one of its IOs. The number of a closed descriptor may belong to
/// another file.
fn is_closed(ruby: &Ruby, io: Value) -> bool {
    if let Some(ios) = RArray::from_value(io) {
        let io = |index: usize| ios.entry::<Value>(index as isize);
        return (0..ios.len()).any(|index| io(index).is_ok_and(|io| is_closed(ruby, io)));
    }
    !io.is_nil() && Integer::from_value(io).is_none() && OpenIo::new(ruby, io).is_err()
}

pub fn init(ruby: &Ruby, ring: RClass) -> Result<(), Error> {
    let class = ring.define_class("Batch", ruby.class_object())?;
    class.define_alloc_func::<Batch>();
    Batch::class(ruby);
    ractors::refuse_copies(class)?;
    class.define_private_method("add", method!(Batch::add, 4))?;
    class.define_private_method("add_read", method!(Batch::add_read, 4))?;
    class.define_private_method("add_write", method!(Batch::add_write, 4))?;
    class.define_private_method("add_recv", method!(Batch::add_recv, 4))?;
    class.define_private_method("add_send", method!(Batch::add_send, 4))?;
    class.define_method("discard", method!(Batch::discard, 0))
}
