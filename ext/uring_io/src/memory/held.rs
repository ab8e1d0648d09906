//! Ruby's memory that a call uses: Strings and IO::Buffers that the kernel reads from or writes to. They stay alive,
//! and at their address, until the kernel is done with them.
#![allow(unsafe_code)]

use std::alloc::{alloc_zeroed, Layout};
use std::cell::{OnceCell, RefCell};
use std::mem::ManuallyDrop;

use magnus::rb_sys::{protect, AsRawValue};
use magnus::typed_data::Obj;
use magnus::value::{BoxValue, Opaque, ReprValue};
use magnus::{gc, Error, RString, Ruby, Value};
use uring_io_core::{Direction, LentBuffer, Memory};

use crate::memory::buffer::BufferMemory;
use crate::memory::registered::Registered;
use crate::ruby::errors;

/// The objects that a call holds, in the order of its arguments.
#[derive(Default)]
pub struct Held(RefCell<Pieces>);

/// Most calls hold one object, which needs no allocation.
#[derive(Default)]
struct Pieces {
    first: Option<Piece>,
    rest: Vec<Piece>,
}

impl Pieces {
    fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.first.iter().chain(&self.rest)
    }
}

enum Piece {
    /// A buffer that owns its memory. While it is locked, nobody can free or move the memory.
    Locked(Opaque<Value>),
    /// A buffer over memory that others own. The call reads into memory of its own, and copies the bytes afterwards.
    Copied(Opaque<Value>),
    /// A new string to read into. Nobody else has it before it is full.
    Filled(Opaque<RString>),
    /// A frozen string.
    Frozen(Opaque<RString>),
    /// Registered memory. Its buffer is locked while it is registered.
    Registered(Opaque<Obj<Registered>>),
}

impl Held {
    /// Marks the objects, so that they stay alive and at their address.
    pub fn mark(&self, marker: &gc::Marker) {
        for piece in self.0.borrow().iter() {
            match piece {
                Piece::Locked(buffer) | Piece::Copied(buffer) => marker.mark(*buffer),
                Piece::Filled(string) | Piece::Frozen(string) => marker.mark(*string),
                Piece::Registered(registered) => marker.mark(*registered),
            }
        }
    }

    fn add(&self, piece: Piece) {
        let mut pieces = self.0.borrow_mut();
        if pieces.first.is_none() {
            pieces.first = Some(piece);
        } else {
            pieces.rest.push(piece);
        }
    }

    /// Makes a string with room for `length` bytes, to read into: see [`filled`](Self::filled).
    pub fn string(&self, ruby: &Ruby, length: usize) -> Result<Memory, Error> {
        if length > LENGTH_MAX {
            let message =
                format!("length must be at most {LENGTH_MAX} (one system call), {length} given");
            return Err(errors::argument(ruby, message));
        }
        let mut string = None;
        // The caller gets a NoMemoryError.
        protect(|| {
            let made = ruby.str_buf_new(length);
            string = Some(made);
            made.as_raw()
        })?;
        let Some(string) = string else {
            return Err(errors::base(ruby, "no string was made"));
        };
        self.add(Piece::Filled(Opaque::from(string)));
        // SAFETY: the string has room for `length` bytes. It is marked, so Ruby neither frees nor moves it. Nobody
        // changes it, because nobody else has it until `filled` returns it.
        let address = unsafe { rb_sys::RSTRING_PTR(string.as_raw()) };
        // SAFETY: as above. The room lasts until the call is over.
        Ok(Memory::Lent(unsafe {
            LentBuffer::new(address.cast_mut().cast(), length)
        }))
    }

    /// The bytes to write: those of a frozen string in place, those of any other string as a copy.
    pub fn bytes(&self, string: RString) -> Memory {
        if !string.is_frozen() {
            // SAFETY: the bytes are copied before Ruby can change or free the string.
            return Memory::Owned(unsafe { string.as_slice() }.to_vec());
        }
        self.add(Piece::Frozen(Opaque::from(string)));
        // SAFETY: the string is marked, so Ruby neither frees nor moves it. It is frozen, so nobody changes it.
        let bytes = unsafe { string.as_slice() };
        // SAFETY: as above. The kernel only reads from it.
        Memory::Lent(unsafe { LentBuffer::new(bytes.as_ptr().cast_mut(), bytes.len()) })
    }

    /// The memory of an IO::Buffer, which stays locked. If the buffer does not own it, the call gets memory of its
    /// own instead.
    pub fn buffer(
        &self,
        ruby: &Ruby,
        buffer: Value,
        direction: Direction,
    ) -> Result<Memory, Error> {
        let memory = BufferMemory::new(ruby, buffer, direction)?;
        if memory.is_null() {
            let message = "the buffer has no memory: somebody has freed it, or it has a size of 0";
            return Err(errors::buffer_unallocated(ruby, message.to_owned()));
        }
        if memory.is_own() {
            let lent = memory.lend(0, memory.size());
            self.lock(ruby, buffer, memory)?;
            return Ok(Memory::Lent(lent));
        }
        // A slice, or a buffer over a String: a lock would not keep its memory in place.
        if direction == Direction::Read {
            self.add(Piece::Copied(Opaque::from(buffer)));
        }
        let Some(mut bytes) = zeros(memory.size().min(LENGTH_MAX)) else {
            let error = ruby.exception_no_mem_error();
            return Err(Error::new(error, "failed to allocate memory"));
        };
        if direction == Direction::Write {
            memory.copy_to(&mut bytes);
        }
        Ok(Memory::Owned(bytes))
    }

    /// Begins a use of registered memory. Returns its number and the memory.
    pub fn registered(
        &self,
        ruby: &Ruby,
        registered: Obj<Registered>,
    ) -> Result<(u16, BufferMemory), Error> {
        let (number, buffer) = registered.begin_use(ruby)?;
        self.add(Piece::Registered(Opaque::from(registered)));
        let memory = BufferMemory::new(ruby, buffer, Direction::Read);
        if memory.is_err() {
            self.release(ruby);
        }
        Ok((number, memory?))
    }

    /// Whether all registered memory of the call is registered with the engine at this address.
    pub fn is_known_to(&self, ruby: &Ruby, engine: usize) -> bool {
        self.0.borrow().iter().all(|piece| match piece {
            Piece::Registered(registered) => ruby.get_inner(*registered).is_known_to(engine),
            _ => true,
        })
    }

    /// Keeps a buffer locked until the call is over.
    pub fn lock(&self, ruby: &Ruby, buffer: Value, memory: BufferMemory) -> Result<(), Error> {
        if !memory.keep_locked() {
            let message =
                "the buffer is locked by IO#read or IO::Buffer#locked: use it after these";
            return Err(errors::buffer_locked(ruby, message.to_owned()));
        }
        self.add(Piece::Locked(Opaque::from(buffer)));
        Ok(())
    }

    /// The string that the call has read into: `length` bytes of `room`. `None` if the call has none.
    pub fn filled(
        &self,
        ruby: &Ruby,
        length: usize,
        room: usize,
    ) -> Result<Option<RString>, Error> {
        let found = self.0.borrow().iter().find_map(|piece| match piece {
            Piece::Filled(string) => Some(ruby.get_inner(*string)),
            _ => None,
        });
        let Some(string) = found else {
            return Ok(None);
        };
        // With MSG_TRUNC the result is the size of the whole datagram.
        let length = length.min(room);
        protect(|| {
            // SAFETY: the string was made with room for as many bytes, and the call has written all of them.
            unsafe { rb_sys::rb_str_set_len(string.as_raw(), length as _) };
            string.as_raw()
        })?;
        if length < room / 2 {
            // SAFETY: the bytes are copied before Ruby can change or free the string.
            return Ok(Some(ruby.str_from_slice(unsafe { string.as_slice() })));
        }
        Ok(Some(string))
    }

    /// Copies `read`, the bytes that the call has read, into the buffer that it could not read into directly.
    pub fn copy_back(&self, ruby: &Ruby, read: &[u8]) -> Result<(), Error> {
        let copied = self.0.borrow().iter().find_map(|piece| match piece {
            Piece::Copied(buffer) => Some(ruby.get_inner(*buffer)),
            _ => None,
        });
        let Some(buffer) = copied else { return Ok(()) };
        let memory = BufferMemory::new(ruby, buffer, Direction::Read)?;
        if memory.size() < read.len() {
            let message = format!(
                "the buffer has {} bytes left, and the call has read {}: somebody has resized or \
                 freed it meanwhile",
                memory.size(),
                read.len()
            );
            return Err(errors::base(ruby, &message));
        }
        memory.fill(read);
        Ok(())
    }

    /// Lets go of all objects: the call is over.
    pub fn release(&self, ruby: &Ruby) {
        let pieces = self.0.take();
        for piece in pieces.first.into_iter().chain(pieces.rest) {
            match piece {
                Piece::Locked(buffer) => BufferMemory::unlock(ruby.get_inner(buffer)),
                Piece::Registered(registered) => ruby.get_inner(registered).end_use(),
                _ => {}
            }
        }
    }

    /// Keeps all objects for good, because nobody will ever learn that the kernel is done with them.
    pub fn leak(&self, ruby: &Ruby) {
        std::mem::forget(self.roots(ruby));
        self.0.take();
    }

    /// All objects, as roots of the garbage collector. Making a root allocates, so the objects stay here, marked,
    /// until all roots are made.
    fn roots(&self, ruby: &Ruby) -> Vec<BoxValue<Value>> {
        let value = |piece: &Piece| match *piece {
            Piece::Locked(value) | Piece::Copied(value) => ruby.get_inner(value),
            Piece::Filled(string) | Piece::Frozen(string) => ruby.get_inner(string).as_value(),
            Piece::Registered(registered) => ruby.get_inner(registered).as_value(),
        };
        self.0
            .borrow()
            .iter()
            .map(value)
            .map(BoxValue::new)
            .collect()
    }

    /// Moves all objects to a new holder.
    pub fn take(&self) -> Self {
        Self(RefCell::new(self.0.take()))
    }
}

/// Objects that the kernel still uses although the call is over. They live until somebody releases them, even if the
/// ring is collected: such a ring no longer learns when the kernel is done.
pub struct Kept {
    held: Held,
    roots: ManuallyDrop<OnceCell<Vec<BoxValue<Value>>>>,
}

impl Kept {
    /// Keeps these objects. The caller puts the value where the GC marks it, and then calls [`root`](Self::root).
    pub fn new(held: Held) -> Self {
        Self {
            held,
            roots: ManuallyDrop::default(),
        }
    }

    /// Marks the objects, so that they stay alive, and at their address, until they are roots.
    pub fn mark(&self, marker: &gc::Marker) {
        self.held.mark(marker);
    }

    /// Makes the objects outlive the owner that marks them.
    pub fn root(&self, ruby: &Ruby) {
        self.roots.get_or_init(|| self.held.roots(ruby));
    }

    /// Lets go of all objects: the kernel is done with them.
    pub fn release(self, ruby: &Ruby) {
        // The objects stay roots until `release` has finished.
        self.held.release(ruby);
        drop(ManuallyDrop::into_inner(self.roots));
    }
}

/// `length` bytes, all zero; `None` if there is not enough memory.
fn zeros(length: usize) -> Option<Vec<u8>> {
    if length == 0 {
        return Some(Vec::new());
    }
    let layout = Layout::array::<u8>(length).ok()?;
    // SAFETY: the layout is not empty.
    let bytes = unsafe { alloc_zeroed(layout) };
    // SAFETY: the memory was just allocated as a vector allocates it, and all of it is initialised.
    (!bytes.is_null()).then(|| unsafe { Vec::from_raw_parts(bytes, length, length) })
}

/// The most bytes that one system call transfers (`MAX_RW_COUNT`, include/linux/fs.h).
pub const LENGTH_MAX: usize = 0x7fff_f000;
