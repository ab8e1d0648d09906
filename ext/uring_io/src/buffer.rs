//! IO::Buffer: its memory, and keeping it in place while the kernel uses it.
#![allow(unsafe_code)]

use std::ffi::c_void;

use magnus::rb_sys::{protect, AsRawValue};
use magnus::value::ReprValue;
use magnus::{prelude::*, value::Lazy, Error, RClass, Ruby, Value};
use rb_sys::{
    rb_io_buffer_get_bytes, rb_io_buffer_get_bytes_for_reading, rb_io_buffer_get_bytes_for_writing,
    rb_io_buffer_lock, rb_io_buffer_unlock,
};
use uring_io_core::{Direction, LentBuffer};

use crate::errors;

/// The memory of an IO::Buffer, which stays where it is until this is dropped.
///
/// Buffers that Ruby makes for a hook come locked. Those that a user made are locked here, so
/// that another fiber can neither free nor resize them meanwhile.
pub struct BufferMemory {
    base: *mut u8,
    size: usize,
    /// The buffer to unlock.
    locked: Option<Value>,
}

impl BufferMemory {
    /// The memory of `buffer`, to be read into or written from. Raises TypeError for anything
    /// but an IO::Buffer, and IO::Buffer::AccessError for reading into a read-only one.
    pub fn new(ruby: &Ruby, buffer: Value, direction: Direction) -> Result<Self, Error> {
        if !buffer.is_kind_of(buffer_class(ruby)?) {
            let message = format!("{} given where an IO::Buffer is needed", buffer.class());
            return Err(errors::wrong_type(ruby, message));
        }
        let mut base: *const c_void = std::ptr::null();
        let mut size = 0;
        protect(|| {
            // SAFETY: `buffer` is an IO::Buffer; both places are locals; `protect` catches a raise.
            unsafe {
                match direction {
                    Direction::Read => {
                        let mut writable = std::ptr::null_mut();
                        rb_io_buffer_get_bytes_for_writing(
                            buffer.as_raw(),
                            &mut writable,
                            &mut size,
                        );
                        base = writable;
                    }
                    Direction::Write => {
                        rb_io_buffer_get_bytes_for_reading(buffer.as_raw(), &mut base, &mut size)
                    }
                }
            }
            ruby.qnil().as_raw()
        })?;
        let locked = if is_locked(buffer) {
            None
        } else {
            // SAFETY: `buffer` is an IO::Buffer; what raises is caught by `protect`.
            protect(|| unsafe { rb_io_buffer_lock(buffer.as_raw()) })?;
            Some(buffer)
        };
        Ok(Self {
            base: base.cast_mut().cast(),
            size: size as usize,
            locked,
        })
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// `length` bytes from `offset` on, for an operation that is over before this is dropped.
    pub fn lend(&self, offset: usize, length: usize) -> LentBuffer {
        assert!(offset <= self.size && length <= self.size - offset);
        // SAFETY: the range is inside the buffer. Its memory is held by the buffer's lock, and by
        // the hook's caller for buffers that Ruby made; both last until the hook returns, and the
        // engine does not return from an operation before its completion.
        unsafe { LentBuffer::new(self.base.add(offset), length) }
    }
}

impl Drop for BufferMemory {
    fn drop(&mut self) {
        if let Some(buffer) = self.locked {
            // A raise here would mean that somebody else unlocked our lock; there is nothing to
            // undo then.
            // SAFETY: `buffer` is an IO::Buffer on the stack of this fiber.
            let _ = protect(|| unsafe { rb_io_buffer_unlock(buffer.as_raw()) });
        }
    }
}

fn buffer_class(ruby: &Ruby) -> Result<RClass, Error> {
    static CLASS: Lazy<RClass> = Lazy::new(|ruby| {
        let io = ruby.class_io();
        io.const_get("Buffer")
            .unwrap_or_else(|_| ruby.class_basic_object())
    });
    Ok(ruby.get_inner(&CLASS))
}

fn is_locked(buffer: Value) -> bool {
    const LOCKED: i32 = 32;
    let mut base = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: `buffer` is an IO::Buffer; both places are locals; this getter never raises.
    let flags = unsafe { rb_io_buffer_get_bytes(buffer.as_raw(), &mut base, &mut size) };
    flags as i32 & LOCKED != 0
}
