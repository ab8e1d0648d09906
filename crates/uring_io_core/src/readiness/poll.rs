//! Waiting with poll(2).

use std::os::fd::RawFd;
use std::time::Duration;

use super::descriptors::Descriptors;
use crate::error::Result;
use crate::posix;

/// The array that poll(2) works on. It stays here so that the next wait can use its memory again.
pub(super) struct Poll {
    waker: RawFd,
    fds: Vec<libc::pollfd>,
}

impl Poll {
    pub fn new(waker: RawFd) -> Self {
        Self {
            waker,
            fds: Vec::new(),
        }
    }

    /// Waits, and adds the ready descriptors with their events to `found`.
    pub fn wait(
        &mut self,
        descriptors: &Descriptors,
        timeout: Option<Duration>,
        found: &mut Vec<(RawFd, i16)>,
    ) -> Result<()> {
        self.fds.clear();
        self.fds.push(libc::pollfd {
            fd: self.waker,
            events: libc::POLLIN,
            revents: 0,
        });
        self.fds
            .extend(descriptors.iter().map(|(fd, events)| libc::pollfd {
                fd,
                events,
                revents: 0,
            }));
        posix::poll(&mut self.fds, timeout)?;
        let ready = self.fds.iter().filter(|entry| entry.revents != 0);
        found.extend(ready.map(|entry| (entry.fd, entry.revents)));
        Ok(())
    }
}
