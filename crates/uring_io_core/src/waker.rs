//! Wakes a driver that waits in the kernel, from any thread.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::error::{Error, Result};
use crate::sys;

/// An eventfd(2), or a pipe where there is none: readable from [`wake`](Waker::wake) until the
/// driver drains it. The only type of this crate that other threads may share.
#[derive(Debug)]
pub struct Waker {
    reader: OwnedFd,
    /// The writing end, where it is not the reader.
    writer: Option<OwnedFd>,
}

impl Waker {
    /// A waker that nobody has woken. Fails when descriptors are exhausted (`EMFILE`, `ENFILE`).
    pub fn new() -> Result<Self> {
        let (reader, writer) = sys::wake_descriptors()?;
        Ok(Self { reader, writer })
    }

    /// Makes the present or next wait return. Safe in a signal handler; errno is left alone.
    pub fn wake(&self) {
        let fd = self.writer.as_ref().unwrap_or(&self.reader).as_raw_fd();
        sys::write_wakeup(fd);
    }

    /// Takes all wakeups, so that the next wait waits.
    pub(crate) fn drain(&self) {
        sys::drain_wakeups(self.reader.as_raw_fd());
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

/// Owns a descriptor just returned by `call`.
#[allow(unsafe_code)]
pub(crate) fn owned(call: &'static str, fd: i32) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Error::last(call));
    }
    // SAFETY: the kernel has just handed out this number and nobody else knows it yet; the
    // OwnedFd is its only owner from here to the close in its Drop.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Waker>();
};
