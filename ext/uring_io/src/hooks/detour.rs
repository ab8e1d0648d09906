//! Reading into Ruby's own read buffer of an IO.
//!
//! IO#gets, getc, eof? and others lend that buffer to the hook. Up to Ruby 3.4 it is freed when the IO is
//! closed, and replaced by IO#ungetbyte, whoever reads into it. The kernel gets other memory instead,
//! which the operation owns, and what it has read is copied if the buffer is still there by then.
//! Ruby 4.0 waits for whoever uses an IO, and tells nobody where the buffer is.
#![allow(unsafe_code)]

use magnus::{Error, Ruby};
use uring_io_core::{Direction, LentBuffer};

use crate::engine::Engine;
use crate::memory::buffer::BufferMemory;
use crate::ruby::errors;
use crate::ruby::io::OpenIo;

/// A buffer of Ruby's, and the memory that is read into in its place.
pub struct Detour<'a> {
    engine: &'a Engine,
    io: OpenIo,
    base: *mut u8,
    size: usize,
    memory: Vec<u8>,
}

/// Buffers that an engine keeps for the next reads: `IO_RBUF_CAPA_MIN` (io.c) is 8 KB.
const SPARE_MOST: usize = 16;
const SPARE_SIZE: usize = 8192;

impl<'a> Detour<'a> {
    /// `None` where the buffer is not the IO's own: that of a String, or a user's.
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

    /// Whether the buffer is the IO's own, and still there.
    pub fn is_there(&self) -> bool {
        self.io.read_buffer() == Some((self.base, self.size))
    }

    /// Fails where the buffer has gone since: the IO was closed.
    pub fn check(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_there() {
            return Ok(());
        }
        Err(errors::stream_closed(ruby))
    }

    /// Memory for so many bytes. `None` when there is not enough.
    pub fn lend(&mut self, length: usize) -> Option<LentBuffer> {
        if self.memory.capacity() == 0 && length <= SPARE_SIZE {
            let spare = self.engine.spare_memory.borrow_mut().pop();
            self.memory = spare.unwrap_or_default();
        }
        self.memory.clear();
        self.memory.try_reserve_exact(length).ok()?;
        // SAFETY: the memory is this value's, and has room for as much. Its owner keeps it until the hook
        // returns, and the engine does not return from an operation before its completion.
        Some(unsafe { LentBuffer::new(self.memory.as_mut_ptr(), length) })
    }

    /// Copies what was read to where it belongs, so many bytes into the buffer.
    pub fn bring(
        &mut self,
        ruby: &Ruby,
        buffer: &BufferMemory,
        offset: usize,
        read: usize,
    ) -> Result<(), Error> {
        self.check(ruby)?;
        assert!(read <= self.memory.capacity());
        // SAFETY: the kernel has filled in as many, or this process has.
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
