//! Class UringIO::Ring::Memory: bytes that one step of a chain reads and a later one writes.

use std::cell::RefCell;
use std::sync::Arc;

use magnus::{function, method, prelude::*, DataTypeFunctions, Error, Ruby, TypedData};
use uring_io_core::{Memory, SharedMemory};

use crate::memory::held::LENGTH_MAX;
use crate::ruby::errors;

/// The Rust part of a UringIO::Ring::Memory.
#[derive(TypedData)]
#[magnus(class = "UringIO::Ring::Memory", size, free_immediately)]
pub struct ChainMemory(RefCell<Option<Arc<SharedMemory>>>);

impl DataTypeFunctions for ChainMemory {
    fn size(&self) -> usize {
        self.0.borrow().as_ref().map_or(0, |memory| memory.length())
    }
}

impl ChainMemory {
    pub fn new(ruby: &Ruby, length: usize) -> Result<Self, Error> {
        let memory = (length <= LENGTH_MAX).then(|| SharedMemory::new(length));
        let Some(memory) = memory.flatten() else {
            let message =
                format!("length must be at most {LENGTH_MAX} and fit in memory, {length} given");
            return Err(errors::argument(ruby, message));
        };
        Ok(Self(RefCell::new(Some(Arc::new(memory)))))
    }

    /// The memory, for one more call.
    pub fn share(&self, ruby: &Ruby) -> Result<Memory, Error> {
        let shared = self.0.borrow().clone();
        let message =
            "the chain of this step is over: its bytes are for later steps of the same chain";
        shared
            .map(Memory::Shared)
            .ok_or_else(|| errors::base(ruby, message))
    }

    /// Gives the memory back when the calls that use it are over. The GC does not know its size, so without this much
    /// of it would pile up.
    pub fn free(&self) {
        self.0.take();
    }
}

pub fn init(ruby: &Ruby, ring: impl magnus::Module) -> Result<(), Error> {
    let memory = ring.define_class("Memory", ruby.class_object())?;
    memory.undef_default_alloc_func();
    ChainMemory::class(ruby);
    memory.define_singleton_method("new", function!(ChainMemory::new, 1))?;
    memory.define_method("free", method!(ChainMemory::free, 0))
}
