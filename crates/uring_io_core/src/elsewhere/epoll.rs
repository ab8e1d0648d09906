//! In place of waiting with epoll(7) where there is no epoll: a set that cannot be made.

use std::convert::Infallible;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::error::{Error, Result};

/// There is none, so nothing below [`new`](Epoll::new) is ever called.
pub(super) struct Epoll(Infallible);

impl Epoll {
    pub fn new(_: RawFd) -> Result<Self> {
        Err(Error::new("epoll_create1", libc::ENOSYS))
    }

    pub fn watch(&mut self, _: RawFd, _: i16) -> Result<bool> {
        match self.0 {}
    }

    pub fn wait(&mut self, _: Option<Duration>, _: &mut Vec<(RawFd, i16)>) -> Result<()> {
        match self.0 {}
    }
}
