//! The ring's own tables, of direct descriptors and of registered memory. The ring makes each one empty when it first
//! needs it, and fills it place by place.
#![allow(unsafe_code)]

use io_uring::IoUring;

use crate::error::{Error, Result};
use crate::operation::LentBuffer;

/// The free places of a table.
pub(super) struct Places {
    free: Vec<u32>,
}

impl Places {
    fn new(count: u32) -> Self {
        Self {
            free: (0..count).rev().collect(),
        }
    }
}

/// Direct descriptors (Linux 5.15; empty tables 5.19).
#[derive(Default)]
pub(super) struct Slots(Option<Places>);

/// The most direct descriptors of a ring. The process's limit of open files bounds them as well.
const SLOTS_MAX: u32 = 4096;

impl Slots {
    /// Takes this many free slots, or none. Fails with `ENFILE` when fewer are free.
    pub(super) fn take(&mut self, ring: &IoUring, count: usize) -> Result<Vec<u32>> {
        let places = match &mut self.0 {
            Some(places) => places,
            None => self.0.insert(Self::register(ring)?),
        };
        let left = places.free.len().checked_sub(count);
        let left = left.ok_or(Error::new("direct descriptors", libc::ENFILE))?;
        Ok(places.free.split_off(left))
    }

    fn register(ring: &IoUring) -> Result<Places> {
        let most = crate::posix::open_files_limit().min(SLOTS_MAX.into()) as u32;
        let made = ring.submitter().register_files_sparse(most);
        made.map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Error::missing("direct descriptors", (5, 19)),
            _ => Error::from_io("io_uring_register", &error),
        })?;
        Ok(Places::new(most))
    }

    /// Gives slots back, and closes those for which `is_open` is true.
    pub(super) fn give(
        &mut self,
        ring: &IoUring,
        slots: &[u32],
        is_open: impl Fn(u32) -> bool,
    ) -> Result<()> {
        for &slot in slots {
            if is_open(slot) {
                let emptied = ring.submitter().register_files_update(slot, &[-1]);
                emptied.map_err(|error| Error::from_io("io_uring_register", &error))?;
            }
            if let Some(places) = &mut self.0 {
                places.free.push(slot);
            }
        }
        Ok(())
    }
}

/// Registered memory (empty tables: Linux 5.19).
#[derive(Default)]
pub(super) struct Registered(Option<Places>);

const REGISTERED_MAX: u32 = 1024;

impl Registered {
    /// Registers memory, which must stay at its place until [`remove`](Self::remove). Returns its number.
    pub(super) fn add(&mut self, ring: &IoUring, buffer: LentBuffer) -> Result<u16> {
        let places = match &mut self.0 {
            Some(places) => places,
            None => {
                let made = ring.submitter().register_buffers_sparse(REGISTERED_MAX);
                made.map_err(|error| match error.raw_os_error() {
                    Some(libc::EINVAL) => Error::missing("registered buffers", (5, 19)),
                    _ => Error::from_io("io_uring_register", &error),
                })?;
                self.0.insert(Places::new(REGISTERED_MAX))
            }
        };
        let Some(number) = places.free.pop() else {
            return Err(Error::new("registered buffers", libc::ENOBUFS));
        };
        let memory = libc::iovec {
            iov_base: buffer.address().cast(),
            iov_len: buffer.length(),
        };
        if let Err(error) = update(ring, number, memory) {
            places.free.push(number);
            return Err(error);
        }
        Ok(number as u16)
    }

    /// Takes memory out of the table. Nothing in flight may use it.
    pub(super) fn remove(&mut self, ring: &IoUring, number: u16) -> Result<()> {
        let nothing = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        update(ring, number.into(), nothing)?;
        if let Some(places) = &mut self.0 {
            places.free.push(number.into());
        }
        Ok(())
    }
}

fn update(ring: &IoUring, number: u32, memory: libc::iovec) -> Result<()> {
    // SAFETY: the memory is lent until `remove` (LentBuffer::new).
    let updated = unsafe {
        ring.submitter()
            .register_buffers_update(number, &[memory], None)
    };
    updated.map_err(|error| Error::from_io("io_uring_register", &error))
}
