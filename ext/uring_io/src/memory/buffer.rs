//! IO::Buffer: its memory, and keeping it in place while the kernel uses it.
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

/// The memory of an IO::Buffer, which stays where it is until this is dropped.
///
/// Buffers that Ruby makes for a hook come locked. Those that a user made are locked here, so
/// that another fiber can neither free nor resize them meanwhile.
pub struct BufferMemory {
    base: *mut u8,
    size: usize,
    /// Whether it belongs to the buffer, and not to a string or to the buffer that this is a slice of.
    own: bool,
    /// The buffer to unlock.
    locked: Option<Value>,
}

impl BufferMemory {
    /// The memory of `buffer`, to be read into or written from. Raises TypeError for anything
    /// but an IO::Buffer, and IO::Buffer::AccessError for reading into a read-only one.
    pub fn new(ruby: &Ruby, buffer: Value, direction: Direction) -> Result<Self, Error> {
        if !buffer.is_kind_of(class(ruby)) {
            let message = format!("{} given where an IO::Buffer is needed", buffer.class());
            return Err(errors::wrong_type(ruby, message));
        }
        let known = Known::of(buffer);
        let (base, size) = match direction {
            // Asking for it to be read from, as below, would tell the same.
            Direction::Write if !known.base.is_null() => (known.base, known.size),
            Direction::Write | Direction::Read => memory(ruby, buffer, direction)?,
        };
        let own = known.is_own;
        let address = buffer.as_raw() as usize;
        let locked = if !known.is_locked {
            // SAFETY: `buffer` is an IO::Buffer; what raises is caught by `protect`.
            protect(|| unsafe { rb_io_buffer_lock(buffer.as_raw()) })?;
            if own {
                locks(ruby).insert(address, 1);
            }
            Some(buffer)
        } else if own {
            // Where the lock is ours it must outlast both.
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

    /// Whether the lock keeps the memory: that of a slice is its root's, and a string's is Ruby's.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// Whether there is none.
    pub fn is_null(&self) -> bool {
        self.base.is_null()
    }

    /// Leaves the buffer locked, until somebody has called [`unlock`](Self::unlock) as often as this. False when
    /// somebody else has locked it, who will unlock it without asking us.
    pub fn keep_locked(mut self) -> bool {
        self.locked.take().is_some()
    }

    /// Unlocks a buffer that was left locked, unless others use it too.
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
        // A raise here would mean that somebody else unlocked our lock; there is nothing to undo then.
        // SAFETY: `buffer` is an IO::Buffer that its holder keeps alive.
        let _ = protect(|| unsafe { rb_io_buffer_unlock(buffer.as_raw()) });
    }

    /// Copies its beginning out; there is as much.
    pub fn copy_to(&self, bytes: &mut [u8]) {
        assert!(bytes.len() <= self.size);
        if !bytes.is_empty() {
            // SAFETY: the buffer's memory, which nobody can change before this returns: we have the GVL.
            unsafe { std::ptr::copy_nonoverlapping(self.base, bytes.as_mut_ptr(), bytes.len()) };
        }
    }

    /// Writes bytes to its beginning; there is room for them.
    pub fn fill(&self, bytes: &[u8]) {
        self.fill_at(0, bytes);
    }

    /// Writes bytes from `offset` on; there is room for them.
    pub fn fill_at(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.size && bytes.len() <= self.size - offset);
        if !bytes.is_empty() {
            // SAFETY: as above, and it was asked for in order to be written to.
            unsafe {
                let place = self.base.add(offset);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            }
        }
    }

    /// Where it begins.
    pub fn start(&self) -> *mut u8 {
        self.base
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
            Self::unlock(buffer);
        }
    }
}

/// How many use each buffer that we have locked and that owns its memory: Ruby's own lock is on or off.
/// Those buffers are marked where they are held, so that they keep their addresses.
/// Neither are they shared with other Ractors, so each Ractor counts its own.
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

/// Looks the class up before there is another Ractor: see `ractors.rs`.
pub fn init(ruby: &Ruby) {
    class(ruby);
    LOCKS.init();
}

/// The memory of an IO::Buffer, or what Ruby raises when it must not be used like this.
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

/// The facts about a buffer that Ruby tells without raising.
struct Known {
    /// Null when there is none, or when it is no longer valid.
    base: *mut u8,
    size: usize,
    is_locked: bool,
    /// Whether the memory is the buffer's own.
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
