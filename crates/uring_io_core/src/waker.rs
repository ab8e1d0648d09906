//! Wakes a driver that waits in the kernel, from any thread.

use std::os::fd::{IntoRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use crate::descriptor::close_descriptor;
use crate::error::Result;
use crate::platform;
use crate::posix;

/// An eventfd(2), or a pipe where there is none: readable from [`wake`](Waker::wake) until the driver drains it.
/// Threads may share it.
#[derive(Debug)]
pub struct Waker {
    reader: AtomicI32,
    /// The end to write to, if it is not the reader.
    writer: AtomicI32,
}

/// Stands for a missing descriptor.
const NONE: RawFd = -1;

impl Waker {
    /// A waker that nobody has woken. Fails when descriptors are exhausted (`EMFILE`, `ENFILE`).
    pub fn new() -> Result<Self> {
        let (reader, writer) = platform::wake_descriptors()?;
        Ok(Self {
            reader: AtomicI32::new(reader.into_raw_fd()),
            writer: AtomicI32::new(writer.map_or(NONE, IntoRawFd::into_raw_fd)),
        })
    }

    /// Makes the present or next wait return. Safe in a signal handler: it leaves errno alone.
    pub fn wake(&self) {
        let writer = self.writer.load(Ordering::Relaxed);
        let fd = if writer == NONE { self.fd() } else { writer };
        if fd != NONE {
            posix::write_wakeup(fd);
        }
    }

    /// Takes all wakeups, so that the next wait waits.
    pub(crate) fn drain(&self) {
        posix::drain_wakeups(self.fd());
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.reader.load(Ordering::Relaxed)
    }

    /// Closes the descriptors. Call it only when nobody can be inside [`wake`](Self::wake): the number of a
    /// closed descriptor may belong to another file the next moment.
    pub(crate) fn close(&self) {
        for end in [&self.reader, &self.writer] {
            let fd = end.swap(NONE, Ordering::Relaxed);
            if fd != NONE {
                close_descriptor(fd);
            }
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.close();
    }
}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Waker>();
};
