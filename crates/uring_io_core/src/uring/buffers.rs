//! A group of buffers from which the kernel takes one when data comes (`IORING_REGISTER_PBUF_RING`, Linux 5.19). So a
//! connection that waits holds none.
//!
//! Each ring has one group. The ring copies the bytes of a completion at once and gives the buffer back. So the group
//! is empty only while one call into the kernel fills all of it. Receiving then ends with `ENOBUFS`, loses nothing,
//! and the driver starts it again.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::IoUring;

use super::entries::BUFFER_GROUP;

/// Buffers in the group: a power of two.
const COUNT: u16 = 128;
/// The size of each buffer in bytes.
const SIZE: usize = 16 * 1024;

/// Memory of the group: the ring of entries, then the buffers.
pub(super) struct BufferGroup {
    base: *mut u8,
    tail: u16,
}

// SAFETY: the value holds the only pointer to its mapping, which only the kernel uses besides.
unsafe impl Send for BufferGroup {}

impl BufferGroup {
    const ENTRIES_SIZE: usize = COUNT as usize * size_of::<BufRingEntry>();
    /// The buffers begin at a page.
    const BUFFERS_AT: usize = Self::ENTRIES_SIZE.next_multiple_of(4096);
    const LENGTH: usize = Self::BUFFERS_AT + COUNT as usize * SIZE;

    /// Makes the group and registers it with the ring. Fails with `InvalidInput` when the kernel has no such groups.
    pub(super) fn new(ring: &IoUring) -> io::Result<Self> {
        let (read_write, private) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: asks for new memory, at a page of the system's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::LENGTH,
                read_write,
                private,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut group = Self {
            base: base.cast(),
            tail: 0,
        };
        // SAFETY: the mapping is this group's. A forked child has no use for it. The kernel writes to these very
        // pages, so a fork must not leave the parent with copies of them.
        unsafe { libc::madvise(base, Self::LENGTH, libc::MADV_DONTFORK) };
        // SAFETY: the mapping begins with room for COUNT entries. It lasts until `free` has unregistered the group.
        // If that fails, or nobody calls it, the mapping stays for good.
        let registered = unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(base as u64, COUNT, BUFFER_GROUP, 0)
        };
        if let Err(error) = registered {
            group.unmap();
            return Err(error);
        }
        (0..COUNT).for_each(|number| group.give(number));
        Ok(group)
    }

    fn buffer(&self, number: u16) -> *mut u8 {
        // SAFETY: the kernel and this file use only numbers below COUNT, so the address is inside the mapping.
        unsafe { self.base.add(Self::BUFFERS_AT + usize::from(number) * SIZE) }
    }

    /// Hands a buffer to the kernel.
    fn give(&mut self, number: u16) {
        let entries = self.base.cast::<BufRingEntry>();
        let index = usize::from(self.tail & (COUNT - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the index is below COUNT, and the kernel does not look at entries beyond the tail. The tail is two
        // bytes of the first entry, which nobody else writes to. Storing it with a barrier publishes the entry.
        unsafe {
            let entry = &mut *entries.add(index);
            entry.set_addr(self.buffer(number) as u64);
            entry.set_len(SIZE as u32);
            entry.set_bid(number);
            let tail = AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut());
            tail.store(self.tail, Ordering::Release);
        }
    }

    /// Copies the bytes of a completion out of its buffer, and gives the buffer back to the kernel.
    pub(super) fn take(&mut self, number: u16, length: usize) -> Vec<u8> {
        let number = number & (COUNT - 1);
        // SAFETY: the completion gave this buffer back, so the kernel no longer writes to it. All bytes are
        // initialised: the kernel has filled `length` of them, and the mapping began with zeros.
        let bytes = unsafe { std::slice::from_raw_parts(self.buffer(number), length.min(SIZE)) };
        let bytes = bytes.to_vec();
        self.give(number);
        bytes
    }

    /// Unregisters the group and frees its memory. Nothing in flight may use it.
    pub(super) fn free(mut self, ring: &IoUring) {
        if ring.submitter().unregister_buf_ring(BUFFER_GROUP).is_ok() {
            self.unmap();
        }
    }

    fn unmap(&mut self) {
        // SAFETY: the mapping is this group's, and neither the kernel nor anybody here still uses it: the callers
        // drop the group.
        unsafe { libc::munmap(self.base.cast(), Self::LENGTH) };
    }
}
