//! In place of waiting with kqueue(2) on Linux, which has none: a queue that cannot be made.

use std::convert::Infallible;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::error::{Error, Result};

/// There is none, so nothing below [`new`](Kqueue::new) is ever called.
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
