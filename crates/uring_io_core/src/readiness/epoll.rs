//! Waiting with epoll(7).

use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use crate::error::Result;
use crate::platform::epoll;

/// An epoll set whose entries are one-shot: each reports once, then rests until watched again.
///
/// The kernel keeps an entry as long as anybody has its file open, for example a forked child, or a dup under another
/// number. So an entry may report after its number has become another file's. To tell such events apart, the entries
/// of each descriptor are counted, and the events of an entry carry its count.
pub(super) struct Epoll {
    set: OwnedFd,
    events: Vec<libc::epoll_event>,
    entries: Vec<Entry>,
    waker: RawFd,
}

/// The facts about the entry of a descriptor.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Whether it was added. The kernel drops it with its file, so this is a guess: `watch` corrects it.
    added: bool,
    /// How many entries the descriptor has had: the count of the latest one.
    count: u32,
}

impl Epoll {
    const EVENTS_AT_ONCE: usize = 512;

    pub fn new(waker: RawFd) -> Result<Self> {
        let set = epoll::create()?;
        let readable = libc::EPOLLIN as u32;
        epoll::control(&set, libc::EPOLL_CTL_ADD, waker, readable, waker as u64)?;
        let events = Vec::with_capacity(Self::EVENTS_AT_ONCE);
        Ok(Self {
            set,
            events,
            entries: Vec::new(),
            waker,
        })
    }

    /// Watches `fd` for `events`, once. Returns whether the entry that it had is gone: the descriptor then belongs to
    /// another file now.
    pub fn watch(&mut self, fd: RawFd, events: i16) -> Result<bool> {
        let events = events as u32 | libc::EPOLLONESHOT as u32;
        let number = fd as usize;
        if number >= self.entries.len() {
            self.entries.resize(number + 1, Entry::default());
        }
        let entry = &mut self.entries[number];
        let set = &self.set;
        let control = |what, count| {
            let data = u64::from(count) << 32 | number as u64;
            epoll::control(set, what, fd, events, data)
        };
        if entry.added {
            match control(libc::EPOLL_CTL_MOD, entry.count) {
                Err(error) if error.errno == libc::ENOENT => {}
                Err(error) => {
                    entry.added = false;
                    return Err(error);
                }
                Ok(()) => return Ok(false),
            }
        }
        let is_new = entry.added;
        entry.count = entry.count.wrapping_add(1);
        let added = match control(libc::EPOLL_CTL_ADD, entry.count) {
            // A dup of the file has got the number back under which the file was added.
            Err(error) if error.errno == libc::EEXIST => control(libc::EPOLL_CTL_MOD, entry.count),
            added => added,
        };
        entry.added = added.is_ok();
        added.map(|()| is_new)
    }

    /// Waits, and adds the ready descriptors with their events to `found`. epoll's event bits are those of poll(2).
    pub fn wait(&mut self, timeout: Option<Duration>, found: &mut Vec<(RawFd, i16)>) -> Result<()> {
        epoll::wait(&self.set, &mut self.events, timeout)?;
        for event in &self.events {
            let (data, events) = (event.u64, event.events as i16);
            let (fd, count) = (data as u32 as RawFd, (data >> 32) as u32);
            let entry = self.entries.get(fd as usize);
            if fd == self.waker || entry.is_some_and(|entry| entry.count == count) {
                found.push((fd, events));
            }
        }
        Ok(())
    }
}
