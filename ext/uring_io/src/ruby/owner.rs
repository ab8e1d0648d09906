//! The owner of an object: a thread of one process.

use magnus::rb_sys::AsRawValue;
use magnus::value::{Opaque, ReprValue};
use magnus::{gc, Ruby, Value};

/// A thread of a process.
pub struct Owner {
    thread: Opaque<Value>,
    /// See [`uring_io_core::forks`].
    forks: u32,
}

impl Owner {
    /// The calling thread.
    pub fn current(ruby: &Ruby) -> Self {
        Self {
            thread: Opaque::from(ruby.thread_current().as_value()),
            forks: uring_io_core::forks(),
        }
    }

    pub fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.thread);
    }

    /// Whether the owner is the calling thread. This is also true in a child that the owner has forked.
    pub fn is_current(&self, ruby: &Ruby) -> bool {
        ruby.thread_current().as_raw() == ruby.get_inner(self.thread).as_raw()
    }

    /// Whether the owner is a thread of the process that forked this one. Its rings are not mapped here.
    pub fn is_inherited(&self) -> bool {
        self.forks != uring_io_core::forks()
    }
}
