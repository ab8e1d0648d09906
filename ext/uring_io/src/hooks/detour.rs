//! Reads into Ruby's own read buffer of an IO.
//!
//! IO#gets, getc, eof? and others lend that buffer to the hook. Up to Ruby 3.4 closing the IO frees it, and
//! IO#ungetbyte replaces it, even while somebody reads into it. So the kernel gets other memory, which the operation
//! owns. Afterwards we copy the bytes, if the buffer is still there. Ruby 4.0 waits for the users of an IO before it
//! closes the IO, and does not say where the buffer is.
#![allow(unsafe_code)]

use magnus::{Error, Ruby};
use uring_io_core::{Direction, LentBuffer};

use crate::engine::Engine;
use crate::memory::buffer::BufferMemory;
use crate::ruby::errors;
use crate::ruby::io::OpenIo;

/// A read buffer of Ruby's, and the memory that the kernel fills in its place.
pub struct Detour<'a> {
    engine: &'a Engine,
    io: OpenIo,
    base: *mut u8,
    size: usize,
    memory: Vec<u8>,
}

/// How many pieces of memory an engine keeps for its next reads, and their size. It is the size of Ruby's read
/// buffer: `IO_RBUF_CAPA_MIN` (io.c) is 8 KB.
const SPARE_MOST: usize = 16;
const SPARE_SIZE: usize = 8192;

impl<'a> Detour<'a> {
    /// `None` if the memory is not the IO's own read buffer, but a String's or the program's.
    pub fn of(
        engine: &'a Engine,
        io: OpenIo,
        memory: &BufferMemory,
        direction: Direction,
    ) -> Option<Self> {
        let (base, size) = (memory.start(), memory.size());
        if direction != Direction::Read || io.read_buffer() != Some((base, size)) {
            return None;
        }
        Some(Self {
            engine,
            io,
            base,
            size,
            memory: Vec::new(),
        })
    }

    /// Whether the IO still has the buffer.
    pub fn is_there(&self) -> bool {
        self.io.read_buffer() == Some((self.base, self.size))
    }

    /// Fails if the buffer is gone, as it is after IO#close.
    pub fn check(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_there() {
            return Ok(());
        }
        Err(errors::stream_closed(ruby))
    }

    /// Lends memory of this length. `None` if there is not enough.
    pub fn lend(&mut self, length: usize) -> Option<LentBuffer> {
        if self.memory.capacity() == 0 && length <= SPARE_SIZE {
            let spare = self.engine.spare_memory.borrow_mut().pop();
            self.memory = spare.unwrap_or_default();
        }
        self.memory.clear();
        self.memory.try_reserve_exact(length).ok()?;
        // SAFETY: this value owns the memory, which has room for `length` bytes. The hook keeps this value until it
        // returns, and the engine does not return from an operation before its completion.
        Some(unsafe { LentBuffer::new(self.memory.as_mut_ptr(), length) })
    }

    /// Copies the first `read` bytes of the memory to `offset` in the buffer. Fails if the buffer is gone.
    pub fn bring(
        &mut self,
        ruby: &Ruby,
        buffer: &BufferMemory,
        offset: usize,
        read: usize,
    ) -> Result<(), Error> {
        self.check(ruby)?;
        assert!(read <= self.memory.capacity());
        // SAFETY: the kernel or this process has filled in as many bytes.
        unsafe { self.memory.set_len(read) };
        buffer.fill_at(offset, &self.memory);
        Ok(())
    }
}

impl Drop for Detour<'_> {
    fn drop(&mut self) {
        let mut spare = self.engine.spare_memory.borrow_mut();
        if self.memory.capacity() == SPARE_SIZE && spare.len() < SPARE_MOST {
            spare.push(std::mem::take(&mut self.memory));
        }
    }
}
