//! Waiting with epoll(7).

use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use crate::error::Result;
use crate::system::epoll;

/// An epoll set whose entries are one-shot: each reports once, then rests until watched again.
pub(super) struct Epoll {
    set: OwnedFd,
    events: Vec<libc::epoll_event>,
    /// Whether each descriptor was added. The kernel drops an entry when its file is closed, so this
    /// is a guess: `watch` corrects it.
    added: Vec<bool>,
}

impl Epoll {
    const EVENTS_AT_ONCE: usize = 512;

    pub fn new(waker: RawFd) -> Result<Self> {
        let set = epoll::create()?;
        epoll::control(&set, libc::EPOLL_CTL_ADD, waker, libc::EPOLLIN as u32)?;
        let events = Vec::with_capacity(Self::EVENTS_AT_ONCE);
        Ok(Self {
            set,
            events,
            added: Vec::new(),
        })
    }

    /// Watches `fd` for `events`, once.
    pub fn watch(&mut self, fd: RawFd, events: i16) -> Result<()> {
        let events = events as u32 | libc::EPOLLONESHOT as u32;
        let number = fd as usize;
        if number >= self.added.len() {
            self.added.resize(number + 1, false);
        }
        let known = std::mem::replace(&mut self.added[number], true);
        let (first, second, wrong_guess) = if known {
            (libc::EPOLL_CTL_MOD, libc::EPOLL_CTL_ADD, libc::ENOENT)
        } else {
            (libc::EPOLL_CTL_ADD, libc::EPOLL_CTL_MOD, libc::EEXIST)
        };
        let watched = match epoll::control(&self.set, first, fd, events) {
            Err(error) if error.errno == wrong_guess => {
                epoll::control(&self.set, second, fd, events)
            }
            result => result,
        };
        if watched.is_err() {
            self.added[number] = false;
        }
        watched
    }

    /// Waits, and adds what is ready to `found`. epoll's event bits are those of poll(2).
    pub fn wait(&mut self, timeout: Option<Duration>, found: &mut Vec<(RawFd, i16)>) -> Result<()> {
        epoll::wait(&self.set, &mut self.events, timeout)?;
        let events = self.events.iter();
        found.extend(events.map(|event| (event.u64 as RawFd, event.events as i16)));
        Ok(())
    }
}
