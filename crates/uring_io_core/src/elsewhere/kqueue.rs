//! Takes the place of the kqueue(2) backend on Linux, which has no kqueue: nobody can make its queue.

use std::convert::Infallible;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::error::{Error, Result};

/// No value of this type exists, so nobody calls the methods below [`new`](Kqueue::new).
pub(super) struct Kqueue(Infallible);

impl Kqueue {
    pub fn new(_: RawFd) -> Result<Self> {
        Err(Error::new("kqueue", libc::ENOSYS))
    }

    pub fn watch(&mut self, _: RawFd, _: i16) -> Result<bool> {
        match self.0 {}
    }

    pub fn wait(&mut self, _: Option<Duration>, _: &mut Vec<(RawFd, i16)>) -> Result<()> {
        match self.0 {}
    }
}
