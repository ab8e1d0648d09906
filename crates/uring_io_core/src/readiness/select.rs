//! Waiting with select(2), for descriptors below 1024.

use std::os::fd::RawFd;
use std::time::Duration;

use super::descriptors::Descriptors;
use crate::descriptor::is_open;
use crate::error::{Error, Result};
use crate::posix::{self, DescriptorSet};

/// The only state that select(2) needs between waits: the waker, which it also watches.
pub(super) struct Select {
    waker: RawFd,
}

/// The poll(2) event that each set stands for, in the order of select's arguments.
const SETS: [i16; 3] = [libc::POLLIN, libc::POLLOUT, libc::POLLPRI];

impl Select {
    /// Fails with `EMFILE` when the waker's own descriptor is beyond what select(2) can watch.
    pub fn new(waker: RawFd) -> Result<Self> {
        if waker >= DescriptorSet::SIZE {
            return Err(Error::new("select", libc::EMFILE));
        }
        Ok(Self { waker })
    }

    /// Waits, and adds the ready descriptors with their events to `found`. A closed descriptor gets `POLLNVAL`.
    pub fn wait(
        &mut self,
        descriptors: &Descriptors,
        timeout: Option<Duration>,
        found: &mut Vec<(RawFd, i16)>,
    ) -> Result<()> {
        let mut sets = [
            DescriptorSet::new(),
            DescriptorSet::new(),
            DescriptorSet::new(),
        ];
        let mut count = self.waker + 1;
        sets[0].insert(self.waker);
        for (fd, events) in descriptors.iter() {
            for (set, event) in sets.iter_mut().zip(SETS) {
                if events & event != 0 {
                    set.insert(fd);
                }
            }
            count = count.max(fd + 1);
        }
        match posix::select(count, &mut sets, timeout) {
            Err(error) if error.errno == libc::EBADF => {
                let watched = descriptors.iter().map(|(fd, _)| fd);
                let closed = watched.filter(|fd| !is_open(*fd));
                found.extend(closed.map(|fd| (fd, libc::POLLNVAL)));
                return Ok(());
            }
            result => result?,
        };
        let watched = descriptors.iter().map(|(fd, _)| fd);
        for fd in watched.chain([self.waker]) {
            let events = sets.iter().zip(SETS).filter(|(set, _)| set.contains(fd));
            let events = events.fold(0, |events, (_, event)| events | event);
            if events != 0 {
                found.push((fd, events));
            }
        }
        Ok(())
    }
}
