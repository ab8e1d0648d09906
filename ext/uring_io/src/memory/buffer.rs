//! The memory of IO::Buffers, and how it stays in place while the kernel uses it.
#![allow(unsafe_code)]

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::ffi::c_void;

use magnus::rb_sys::{protect, AsRawValue};
use magnus::value::ReprValue;
use magnus::{prelude::*, value::Lazy, Error, RClass, Ruby, Value};
use rb_sys::{
    rb_io_buffer_get_bytes, rb_io_buffer_get_bytes_for_reading, rb_io_buffer_get_bytes_for_writing,
    rb_io_buffer_lock, rb_io_buffer_unlock,
};
use uring_io_core::{Direction, LentBuffer};

use crate::ruby::errors;
use crate::ruby::ractors::Local;

/// The memory of an IO::Buffer. It stays at its address until this value is dropped.
///
/// Ruby locks the buffers that it makes for a hook. We lock those that the program has made, so that another fiber
/// can neither free nor resize them meanwhile.
pub struct BufferMemory {
    base: *mut u8,
    size: usize,
    /// Whether the buffer owns the memory. Otherwise the memory belongs to a String, for example, or to the buffer
    /// that this one is a slice of.
    own: bool,
    /// The buffer that a drop unlocks.
    locked: Option<Value>,
}

impl BufferMemory {
    /// The memory of `buffer`, to read into or to write from. Raises TypeError for anything except an IO::Buffer, and
    /// IO::Buffer::AccessError for reading into a read-only one.
    pub fn new(ruby: &Ruby, buffer: Value, direction: Direction) -> Result<Self, Error> {
        if !buffer.is_kind_of(class(ruby)) {
            let message = format!("{} given where an IO::Buffer is needed", buffer.class());
            return Err(errors::wrong_type(ruby, message));
        }
        let known = Known::of(buffer);
        let (base, size) = match direction {
            // `memory` would find the same, but needs a `protect`.
            Direction::Write if !known.base.is_null() => (known.base, known.size),
            Direction::Write | Direction::Read => memory(ruby, buffer, direction)?,
        };
        let own = known.is_own;
        let address = buffer.as_raw() as usize;
        let locked = if !known.is_locked {
            // SAFETY: `buffer` is an IO::Buffer. `protect` catches a raise.
            protect(|| unsafe { rb_io_buffer_lock(buffer.as_raw()) })?;
            if own {
                locks(ruby).insert(address, 1);
            }
            Some(buffer)
        } else if own {
            // If we have locked it, the buffer must stay locked until its last user has left.
            let mut locks = locks(ruby);
            let count = locks.get_mut(&address);
            count.map(|count| {
                *count += 1;
                buffer
            })
        } else {
            None
        };
        Ok(Self {
            base,
            size,
            own,
            locked,
        })
    }

    /// Whether the buffer owns its memory, so that the lock keeps it in place. The memory of a slice belongs to
    /// another buffer, and the memory of a String to Ruby.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// Whether the buffer has no memory.
    pub fn is_null(&self) -> bool {
        self.base.is_null()
    }

    /// Leaves the buffer locked: the caller must call [`unlock`](Self::unlock) later, once for each call of this.
    /// Returns false if somebody else has locked the buffer and will unlock it without asking us.
    pub fn keep_locked(mut self) -> bool {
        self.locked.take().is_some()
    }

    /// Ends one use of a buffer that we have locked, and unlocks it after the last one.
    pub fn unlock(buffer: Value) {
        let address = buffer.as_raw() as usize;
        let ruby = Ruby::get_with(buffer);
        let mut locks = locks(&ruby);
        if let Some(count) = locks.get_mut(&address) {
            *count -= 1;
            if *count > 0 {
                return;
            }
            locks.remove(&address);
        }
        drop(locks);
        // This raises if somebody else has unlocked the buffer. Then there is nothing left to do.
        // SAFETY: `buffer` is an IO::Buffer that its holder keeps alive.
        let _ = protect(|| unsafe { rb_io_buffer_unlock(buffer.as_raw()) });
    }

    /// Copies the first bytes, as many as `bytes` holds. The buffer must have as many.
    pub fn copy_to(&self, bytes: &mut [u8]) {
        assert!(bytes.len() <= self.size);
        if !bytes.is_empty() {
            // SAFETY: the buffer has as many bytes. Nobody can change its memory before this returns: we have the
            // GVL.
            unsafe { std::ptr::copy_nonoverlapping(self.base, bytes.as_mut_ptr(), bytes.len()) };
        }
    }

    /// Writes bytes to the beginning of the buffer, which must have room for them.
    pub fn fill(&self, bytes: &[u8]) {
        self.fill_at(0, bytes);
    }

    /// Writes bytes from `offset` on. The buffer must have room for them there.
    pub fn fill_at(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.size && bytes.len() <= self.size - offset);
        if !bytes.is_empty() {
            // SAFETY: the range is inside the buffer, and we have the GVL. The memory is writable, because the caller
            // asked `new` for memory to read into.
            unsafe {
                let place = self.base.add(offset);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            }
        }
    }

    /// The address of the first byte.
    pub fn start(&self) -> *mut u8 {
        self.base
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Lends `length` bytes from `offset` on to an operation. The buffer must stay locked until that is over.
    pub fn lend(&self, offset: usize, length: usize) -> LentBuffer {
        assert!(offset <= self.size && length <= self.size - offset);
        // SAFETY: the range is inside the buffer. In a hook the buffer's lock holds the memory, or the hook's caller
        // does for buffers that Ruby has made. Both last until the hook returns, and the engine does not return from
        // an operation before its completion. A call holds the buffer until it is over (`held.rs`).
        unsafe { LentBuffer::new(self.base.add(offset), length) }
    }
}

impl Drop for BufferMemory {
    fn drop(&mut self) {
        if let Some(buffer) = self.locked {
            Self::unlock(buffer);
        }
    }
}

/// The number of users of each buffer that we have locked and that owns its memory: Ruby's own lock is only on or
/// off. The key is the buffer's address, which does not change, because the holder of a buffer marks it. Ractors do
/// not share buffers, so each Ractor counts its own.
static LOCKS: Local<RefCell<BTreeMap<usize, usize>>> = Local::new();

fn locks(ruby: &Ruby) -> RefMut<'_, BTreeMap<usize, usize>> {
    LOCKS.of(ruby).borrow_mut()
}

static CLASS: Lazy<RClass> = Lazy::new(|ruby| {
    let io = ruby.class_io();
    io.const_get("Buffer")
        .unwrap_or_else(|_| ruby.class_basic_object())
});

/// IO::Buffer.
pub fn class(ruby: &Ruby) -> RClass {
    ruby.get_inner(&CLASS)
}

/// Looks the class up before there is a second Ractor: see `ractors.rs`.
pub fn init(ruby: &Ruby) {
    class(ruby);
    LOCKS.init();
}

/// The memory of an IO::Buffer. Fails with Ruby's exception if the buffer does not allow this use.
fn memory(ruby: &Ruby, buffer: Value, direction: Direction) -> Result<(*mut u8, usize), Error> {
    let mut base: *const c_void = std::ptr::null();
    let mut size = 0;
    protect(|| {
        // SAFETY: `buffer` is an IO::Buffer; both places are locals; `protect` catches a raise.
        unsafe {
            match direction {
                Direction::Read => {
                    let mut writable = std::ptr::null_mut();
                    rb_io_buffer_get_bytes_for_writing(buffer.as_raw(), &mut writable, &mut size);
                    base = writable;
                }
                Direction::Write => {
                    rb_io_buffer_get_bytes_for_reading(buffer.as_raw(), &mut base, &mut size)
                }
            }
        }
        ruby.qnil().as_raw()
    })?;
    Ok((base.cast_mut().cast(), size as usize))
}

/// The facts about a buffer that Ruby reports without raising.
struct Known {
    /// Null if the buffer has no memory, or is no longer valid.
    base: *mut u8,
    size: usize,
    is_locked: bool,
    /// Whether the buffer owns the memory.
    is_own: bool,
}

impl Known {
    fn of(buffer: Value) -> Self {
        // enum rb_io_buffer_flags (include/ruby/io/buffer.h)
        const INTERNAL: i32 = 2;
        const MAPPED: i32 = 4;
        const LOCKED: i32 = 32;
        let mut base = std::ptr::null_mut();
        let mut size = 0;
        // SAFETY: `buffer` is an IO::Buffer; both places are locals; this getter never raises.
        let flags = unsafe { rb_io_buffer_get_bytes(buffer.as_raw(), &mut base, &mut size) } as i32;
        Self {
            base: base.cast(),
            size: size as usize,
            is_locked: flags & LOCKED != 0,
            is_own: flags & (INTERNAL | MAPPED) != 0,
        }
    }
}
