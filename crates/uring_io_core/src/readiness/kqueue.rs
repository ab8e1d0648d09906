//! Waits with kqueue(2), on macOS and BSD. We compile it for them, and nobody has run it there.

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::filters::{Change, Filters};
use crate::descriptor::close_descriptor;
use crate::error::Result;
use crate::platform::kqueue;
use crate::posix::forks;

/// A queue whose filters report once, and are disabled until they are armed again.
///
/// `EV_DISPATCH` disables a filter that has reported, where `EV_ONESHOT` would delete it. FreeBSD checks once more
/// that a filter is ready before it reports it, unless it then deletes the filter (`kqueue_scan`,
/// sys/kern/kern_event.c).
///
/// The kernel drops the filters of a descriptor when somebody closes it, even if others have the file open. So no
/// event should come for a number that belongs to another file by now. The mark of an event shows if one does: see
/// [`Filters`].
///
/// A file of a kind that the kernel has no filter for counts as ready, as with epoll. The backend tries a device of
/// that kind again and again while it has nothing, which keeps a thread busy.
pub(super) struct Kqueue {
    queue: ManuallyDrop<OwnedFd>,
    /// The number of forks when the queue was made: a forked child does not inherit the queue.
    forks: u32,
    events: Vec<kqueue::Event>,
    filters: Filters,
    waker: RawFd,
}

impl Kqueue {
    const EVENTS_AT_ONCE: usize = 512;

    pub fn new(waker: RawFd) -> Result<Self> {
        let queue = kqueue::create()?;
        kqueue::change(&queue, waker, libc::POLLIN, kqueue::ADD, 0)?;
        Ok(Self {
            queue: ManuallyDrop::new(queue),
            forks: forks(),
            events: Vec::with_capacity(Self::EVENTS_AT_ONCE),
            filters: Filters::default(),
            waker,
        })
    }

    /// Watches `fd` for `events`, once. Returns whether an armed filter was gone: the descriptor then belongs to
    /// another file now.
    pub fn watch(&mut self, fd: RawFd, events: i16) -> Result<bool> {
        let queue = &self.queue;
        self.filters.watch(fd, events, |filter, change, mark| {
            let change = match change {
                Change::Arm => kqueue::ARM,
                Change::Keep => kqueue::KEEP,
                Change::Delete => kqueue::DELETE,
            };
            kqueue::change(queue, fd, filter, change, mark)
        })
    }

    /// Waits, and adds the ready descriptors to `found`, with their events as poll(2) has them.
    pub fn wait(&mut self, timeout: Option<Duration>, found: &mut Vec<(RawFd, i16)>) -> Result<()> {
        kqueue::wait(&self.queue, &mut self.events, timeout)?;
        for event in &self.events {
            let (fd, filter, has_error, mark) = kqueue::meaning(event);
            let events = if fd == self.waker {
                filter
            } else {
                self.filters.reported(fd, filter, has_error, mark)
            };
            if events != 0 {
                found.push((fd, events));
            }
        }
        Ok(())
    }
}

impl Drop for Kqueue {
    /// In a forked child, the number of the queue may already belong to another file.
    fn drop(&mut self) {
        if self.forks == forks() {
            close_descriptor(self.queue.as_raw_fd());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use libc::{POLLIN, POLLOUT};

    use super::*;
    use crate::platform::wake_descriptors;
    use crate::waker::Waker;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn found(queue: &mut Kqueue) -> Vec<(RawFd, i16)> {
        let mut found = Vec::new();
        queue.wait(NOW, &mut found).unwrap();
        found.sort_unstable();
        found
    }

    #[test]
    fn a_socket_reports_once_for_each_watch() {
        let waker = Waker::new().unwrap();
        let mut queue = Kqueue::new(waker.fd()).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let fd = ours.as_raw_fd();
        assert_eq!(queue.watch(fd, POLLIN), Ok(false));
        assert_eq!(found(&mut queue), []);
        theirs.write_all(b"x").unwrap();
        for _ in 0..2 {
            assert_eq!(found(&mut queue), [(fd, POLLIN)]);
            assert_eq!(found(&mut queue), []);
            assert_eq!(queue.watch(fd, POLLIN), Ok(false));
        }
        (&ours).read_exact(&mut [0]).unwrap();
        assert_eq!(found(&mut queue), []);
        assert_eq!(queue.watch(fd, POLLOUT), Ok(false));
        assert_eq!(found(&mut queue), [(fd, POLLOUT)]);
    }

    #[test]
    fn a_waker_reports_until_it_is_drained() {
        let waker = Waker::new().unwrap();
        let mut queue = Kqueue::new(waker.fd()).unwrap();
        assert_eq!(found(&mut queue), []);
        waker.wake();
        for _ in 0..2 {
            assert_eq!(found(&mut queue), [(waker.fd(), POLLIN)]);
        }
        waker.drain();
        assert_eq!(found(&mut queue), []);
    }

    #[test]
    fn a_number_that_became_another_sockets_is_noticed() {
        let waker = Waker::new().unwrap();
        let mut queue = Kqueue::new(waker.fd()).unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (others, mut peer) = UnixStream::pair().unwrap();
        let fd = ours.as_raw_fd();
        assert_eq!(queue.watch(fd, POLLIN), Ok(false));
        // SAFETY: the descriptor of `ours` stays open, as that of another socket.
        #[allow(unsafe_code)]
        let copied = unsafe { libc::dup2(others.as_raw_fd(), fd) };
        assert_eq!(copied, fd);
        assert_eq!(queue.watch(fd, POLLIN), Ok(true));
        peer.write_all(b"x").unwrap();
        assert_eq!(found(&mut queue), [(fd, POLLIN)]);
    }

    #[test]
    fn a_pipe_without_a_reader_cannot_be_waited_for_or_is_ready() {
        let waker = Waker::new().unwrap();
        let mut queue = Kqueue::new(waker.fd()).unwrap();
        let (reader, writer) = wake_descriptors().unwrap();
        let writer = writer.unwrap();
        drop(reader);
        match queue.watch(writer.as_raw_fd(), POLLOUT) {
            Ok(is_new) => {
                assert!(!is_new);
                assert_eq!(found(&mut queue), [(writer.as_raw_fd(), POLLOUT)]);
            }
            Err(error) => assert_eq!(error.errno, libc::EPERM),
        }
    }
}
