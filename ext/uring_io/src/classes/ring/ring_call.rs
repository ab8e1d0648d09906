//! A prepared call of a ring, and the Ruby objects that it holds.
#![allow(unsafe_code)]

use std::cell::Cell;

use magnus::{gc, typed_data::Obj, DataTypeFunctions, Error, Ruby, TypedData};
use uring_io_core::Call;

use crate::engine::Engine;
use crate::memory::held::Held;
use crate::ruby::errors;

/// The result of a constructor whose call holds objects.
pub type Constructed = Result<Obj<RingCall>, Error>;

/// The Rust part of a UringIO::Ring::Call.
#[derive(TypedData)]
#[magnus(class = "UringIO::Ring::Call", mark, size, free_immediately)]
pub struct RingCall {
    /// Absent from the moment in which the call begins: whoever takes it lets go of the objects when it is over. Also
    /// absent from streams.
    call: Cell<Option<Call>>,
    /// The call of a stream. It holds no objects.
    stream: Cell<Option<Box<Call>>>,
    /// The system call that its errors name.
    name: Cell<&'static str>,
    pub held: Held,
}

// SAFETY: only the thread of its Ractor that holds the GVL uses it. The call points only to memory that `held` keeps.
unsafe impl Send for RingCall {}

impl DataTypeFunctions for RingCall {
    fn mark(&self, marker: &gc::Marker) {
        self.held.mark(marker);
    }
}

impl RingCall {
    pub fn new(call: Call) -> Self {
        Self {
            name: Cell::new(call.name()),
            call: Cell::new(Some(call)),
            stream: Cell::new(None),
            held: Held::default(),
        }
    }

    /// A call that only [`take_stream`](Self::take_stream) gives out: the wait for a single result of it would not end.
    pub fn stream(call: Call) -> Self {
        Self {
            name: Cell::new(call.name()),
            call: Cell::new(None),
            stream: Cell::new(Some(Box::new(call))),
            held: Held::default(),
        }
    }

    /// Makes a call that holds Ruby's memory. The object comes first: the GC marks only what an object holds, and any
    /// allocation may collect the rest.
    pub fn holding(ruby: &Ruby, make: impl FnOnce(&Held) -> Result<Call, Error>) -> Constructed {
        let this = ruby.obj_wrap(Self {
            name: Cell::new(""),
            call: Cell::new(None),
            stream: Cell::new(None),
            held: Held::default(),
        });
        match make(&this.held) {
            Ok(call) => {
                this.name.set(call.name());
                this.call.set(Some(call));
                Ok(this)
            }
            Err(error) => {
                this.held.release(ruby);
                Err(error)
            }
        }
    }

    /// Takes the call, to make it. This fails a second time, and for a stream.
    pub fn take(&self, ruby: &Ruby) -> Result<Call, Error> {
        self.call.take().ok_or_else(|| {
            let message =
                "this call has begun or ended, or yields many results: prepare another one";
            errors::base(ruby, message)
        })
    }

    /// Takes the call of a stream. This fails a second time, and for any other call.
    pub fn take_stream(&self, ruby: &Ruby) -> Result<Box<Call>, Error> {
        self.stream.take().ok_or_else(|| {
            let message =
                "this stream has begun or ended, or is a call with one result: prepare another one";
            errors::base(ruby, message)
        })
    }

    /// Fails if the call uses memory that is registered with another engine.
    pub fn check_memory(&self, ruby: &Ruby, engine: &Engine) -> Result<(), Error> {
        if self.held.is_known_to(ruby, engine.address()) {
            return Ok(());
        }
        Err(registered_elsewhere(ruby))
    }

    /// Lets go of the objects. With `lost` it keeps them for good: the kernel may go on using them, and nobody will
    /// learn when it is done.
    pub fn let_go(&self, ruby: &Ruby, lost: bool) {
        if lost {
            self.held.leak(ruby);
        } else {
            self.held.release(ruby);
        }
    }

    /// Lets go of the objects if the call has not begun. Nobody can make it afterwards.
    pub fn discard(&self, ruby: &Ruby) {
        if self.call.take().is_some() {
            self.held.release(ruby);
        }
    }

    /// Whether the call opens one descriptor, which can be a direct descriptor of a chain.
    pub fn opens(&self) -> bool {
        let call = self.call.take();
        let opens = call.as_ref().is_some_and(Call::opens);
        self.call.set(call);
        opens
    }

    /// For a send whose socket may keep messages apart: makes it answer EAGAIN instead of waiting in the kernel. See
    /// [`Call::try_at_once`].
    pub fn try_at_once(&self) {
        let mut call = self.call.take();
        if let Some(call) = &mut call {
            call.try_at_once();
        }
        self.call.set(call);
    }

    /// The system call that the errors of the call name.
    pub fn name(&self) -> &'static str {
        self.name.get()
    }
}

/// The error of a call whose memory is registered with another ring.
pub fn registered_elsewhere(ruby: &Ruby) -> Error {
    let message =
        "this buffer is registered with another ring. In a fiber, calls use the scheduler's \
                   ring: register the buffer there";
    errors::base(ruby, message)
}
