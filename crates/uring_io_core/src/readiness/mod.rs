//! The readiness backend: one loop that makes a call when its descriptor is ready, over four
//! ways to wait (epoll, kqueue, poll, select).
//!
//! The backend tries a transfer at once, and watches its descriptor only when the transfer would wait. A watch
//! reports once. If operations on the descriptor still wait after that, the backend arms the watch again. When a
//! socket has lately been empty, the backend does not try to read from it before it is ready.

mod descriptors;
#[cfg_attr(not(target_os = "linux"), path = "../elsewhere/epoll.rs")]
mod epoll;
#[cfg_attr(target_os = "linux", allow(dead_code))]
mod filters;
#[cfg_attr(target_os = "linux", path = "../elsewhere/kqueue.rs")]
mod kqueue;
mod poll;
mod select;
mod waiting;

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::backend_kind::BackendKind;
use crate::call::blocking::{self, PinnedCall};
use crate::call::Call;
use crate::completion::Completion;
use crate::descriptor::{is_open, target_of};
use crate::error::{Error, Result};
use crate::operation::{Direction, Interest, Operation, Target, Transfer};
use crate::posix;
use crate::stats::Counts;
use crate::token::Token;
use crate::waker::Waker;
use descriptors::Descriptors;
use waiting::{Attempt, Waiting};

/// One way to wait for readiness. Events are those of poll(2).
enum Waiter {
    Epoll(epoll::Epoll),
    Kqueue(kqueue::Kqueue),
    Poll(poll::Poll),
    Select(select::Select),
}

impl Waiter {
    /// Whether the kernel remembers the watched descriptors. poll(2) and select(2) get the list at each wait.
    fn keeps_watches(&self) -> bool {
        match self {
            Self::Epoll(_) | Self::Kqueue(_) => true,
            Self::Poll(_) | Self::Select(_) => false,
        }
    }

    /// Watches `fd` for `events`, once. Returns whether `fd` belongs to another file than at the last watch. Fails
    /// with `EPERM` for a file that nobody can wait for.
    fn watch(&mut self, fd: RawFd, events: i16) -> Result<bool> {
        match self {
            Self::Epoll(epoll) => epoll.watch(fd, events),
            Self::Kqueue(kqueue) => kqueue.watch(fd, events),
            Self::Poll(_) | Self::Select(_) => Ok(false),
        }
    }
}

/// The descriptors that operations wait for, and the operations of each.
pub(crate) struct Readiness {
    waiter: Waiter,
    waker: Arc<Waker>,
    descriptors: Descriptors,
    /// Descriptors whose watch the backend must set before the next wait.
    changed: Vec<RawFd>,
    /// The transfer that the last try found not ready, so that `start` does not try it again.
    tried: Option<(RawFd, Direction)>,
    /// The events that the last wait found.
    found: Vec<(RawFd, i16)>,
    completed: VecDeque<(Token, i32)>,
}

impl Readiness {
    pub fn new(kind: BackendKind, waker: Arc<Waker>) -> Result<Self> {
        let waiter = match kind {
            BackendKind::Epoll => Waiter::Epoll(epoll::Epoll::new(waker.fd())?),
            BackendKind::Kqueue => Waiter::Kqueue(kqueue::Kqueue::new(waker.fd())?),
            BackendKind::Poll => Waiter::Poll(poll::Poll::new(waker.fd())),
            BackendKind::Select => Waiter::Select(select::Select::new(waker.fd())?),
            BackendKind::IoUring => return Err(Error::new("io_uring_setup", libc::ENOSYS)),
        };
        Ok(Self {
            waiter,
            waker,
            descriptors: Descriptors::default(),
            changed: Vec::new(),
            tried: None,
            found: Vec::new(),
            completed: VecDeque::new(),
        })
    }

    /// Tries a transfer, and watches its descriptor when the transfer would wait. Returns the result, or None when it
    /// will come as a completion. The select backend fails with `EINVAL` for a descriptor that select(2) cannot
    /// watch.
    pub fn start(
        &mut self,
        token: Token,
        operation: &Operation,
        counts: &Counts,
    ) -> Result<Option<i32>> {
        let (fd, interest, attempt) = match *operation {
            Operation::Poll { fd, interest } => (fd, interest, Attempt::Report),
            Operation::WaitChild(_) => return Ok(Some(-libc::ENOSYS)),
            Operation::Transfer(transfer) => {
                let tried = self.tried == Some((transfer.fd, transfer.direction));
                if !tried {
                    if let Some(result) = self.attempt(&transfer, counts) {
                        return Ok(Some(result));
                    }
                }
                self.tried = None;
                let interest = transfer.direction.interest();
                (transfer.fd, interest, Attempt::Transfer(transfer))
            }
        };
        self.watch(token, fd, interest, attempt, counts)
    }

    /// Tries a transfer, unless it is likely to wait. None when it must wait: the caller then starts it.
    pub fn attempt(&mut self, transfer: &Transfer, counts: &Counts) -> Option<i32> {
        let fd = transfer.fd;
        let may_be_empty =
            transfer.direction == Direction::Read && transfer.target == Target::Socket;
        self.tried = Some((fd, transfer.direction));
        if may_be_empty && self.descriptors.must_be_patient(fd) {
            return None;
        }
        counts.direct_calls.add(1);
        let result = posix::transfer_now(transfer);
        if may_be_empty {
            self.descriptors.note_read(fd, result == -libc::EAGAIN);
        }
        if result == -libc::EAGAIN || result == -libc::EINTR {
            return None;
        }
        self.tried = None;
        Some(result)
    }

    /// As [`start`](Self::start), for a call that has an interest.
    pub fn start_call(
        &mut self,
        token: Token,
        call: &mut Call,
        counts: &Counts,
    ) -> Result<Option<i32>> {
        let Some((fd, interest)) = call.interest() else {
            return Ok(Some(-libc::EINVAL));
        };
        counts.direct_calls.add(1);
        let result = blocking::start(call);
        let waits = result == -libc::EINTR || (result == -libc::EAGAIN && !call.never_waits());
        if !waits {
            return Ok(Some(result));
        }
        let attempt = Attempt::Call(PinnedCall::new(call));
        self.watch(token, fd, interest, attempt, counts)
    }

    fn watch(
        &mut self,
        token: Token,
        fd: RawFd,
        interest: Interest,
        attempt: Attempt,
        counts: &Counts,
    ) -> Result<Option<i32>> {
        if matches!(self.waiter, Waiter::Select(_)) {
            if fd >= posix::DescriptorSet::SIZE {
                return Err(Error::new("select", libc::EINVAL));
            }
            // On Linux select(2) ignores a descriptor beyond the process's table instead of refusing it. Nor does it
            // tell a writer of a hang-up, which poll(2) always reports.
            counts.direct_calls.add(1);
            let found = posix::poll_now(fd, interest.poll_events())?;
            if found & libc::POLLNVAL != 0 {
                return Ok(Some(-libc::EBADF));
            }
            if found & (libc::POLLHUP | libc::POLLERR) != 0 {
                self.found.push((fd, found));
            }
        }
        if matches!(self.waiter, Waiter::Kqueue(_)) {
            if interest.is_urgent() {
                return Ok(Some(-libc::ENOSYS));
            }
            // kqueue(2) waits until a file grows beyond its position. poll(2) reports every file as ready.
            let is_report = matches!(attempt, Attempt::Report);
            if is_report && target_of(fd).is_ok_and(Target::is_file) {
                return Ok(Some(interest.poll_events().into()));
            }
        }
        if !self.descriptors.has_place(fd) && !is_open(fd) {
            return Ok(Some(-libc::EBADF));
        }
        let waiting = Waiting {
            token,
            events: interest.poll_events(),
            armed: false,
            attempt,
        };
        self.descriptors.add(fd, waiting);
        self.changed.push(fd);
        Ok(None)
    }

    /// Ends the wait of `token`. It completes with `-ECANCELED`, or with the number of bytes transferred so far.
    pub fn cancel(&mut self, token: Token) {
        // A watch that is still armed reports once and finds nobody.
        if let Some(waiting) = self.descriptors.remove(token) {
            let result = match &waiting.attempt {
                Attempt::Call(call) => call.ended(),
                Attempt::Report | Attempt::Transfer(_) => -libc::ECANCELED,
            };
            self.completed.push_back((token, result));
        }
    }

    /// Ends every wait for a descriptor that somebody is about to close. After the close its number may belong to
    /// another file.
    pub fn before_close(&mut self, fd: RawFd) {
        self.complete_all(fd, -libc::EBADF);
    }

    /// Waits for a watched descriptor, a wakeup, a signal or the timeout.
    pub fn wait(&mut self, timeout: Option<Duration>, counts: &Counts) -> Result<()> {
        self.arm(counts);
        let timeout = if self.completed.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        counts.enters.add(1);
        let waited = match &mut self.waiter {
            Waiter::Epoll(epoll) => epoll.wait(timeout, &mut self.found),
            Waiter::Kqueue(kqueue) => kqueue.wait(timeout, &mut self.found),
            Waiter::Poll(poll) => poll.wait(&self.descriptors, timeout, &mut self.found),
            Waiter::Select(select) => select.wait(&self.descriptors, timeout, &mut self.found),
        };
        match waited {
            Err(error) if error.errno != libc::EINTR => Err(error),
            _ => Ok(()),
        }
    }

    /// Tells epoll or kqueue what to watch. poll and select get the list at each wait.
    fn arm(&mut self, counts: &Counts) {
        let mut changed = std::mem::take(&mut self.changed);
        if self.waiter.keeps_watches() {
            let mut refused = Vec::new();
            let completed = &mut self.completed;
            for &fd in &changed {
                let events = self.descriptors.events(fd);
                if events == 0 {
                    continue;
                }
                counts.direct_calls.add(1);
                match self.waiter.watch(fd, events) {
                    Ok(is_new) => {
                        if is_new {
                            // Somebody closed the descriptor without telling us, and its number now belongs to
                            // another file.
                            self.descriptors.retain(fd, |waiting| {
                                if waiting.armed {
                                    completed.push_back((waiting.token, -libc::EBADF));
                                }
                                waiting.armed
                            });
                        }
                        self.descriptors.armed(fd);
                    }
                    // epoll and kqueue cannot wait for this kind of file. It is always ready, except for urgent
                    // input, which never comes.
                    Err(error) if error.errno == libc::EPERM => {
                        let ready = events & !libc::POLLPRI;
                        if ready != 0 {
                            self.found.push((fd, ready));
                        }
                    }
                    Err(error) => refused.push((fd, -error.errno)),
                }
            }
            for (fd, result) in refused {
                self.complete_all(fd, result);
            }
        }
        changed.clear();
        self.changed = changed;
        self.attempt_found(counts);
    }

    fn complete_all(&mut self, fd: RawFd, result: i32) {
        let completed = &mut self.completed;
        self.descriptors.retain(fd, |waiting| {
            completed.push_back((waiting.token, result));
            true
        });
    }

    fn attempt_found(&mut self, counts: &Counts) {
        for (fd, found) in self.found.drain(..) {
            if fd == self.waker.fd() {
                self.waker.drain();
                continue;
            }
            let completed = &mut self.completed;
            self.descriptors
                .retain(fd, |waiting| match waiting.attempt(found, counts) {
                    Some(result) => {
                        completed.push_back((waiting.token, result));
                        true
                    }
                    None => false,
                });
            if !self.descriptors.waiting(fd).is_empty() {
                self.changed.push(fd);
            }
        }
    }

    /// Calls `take` with each completion that is there.
    pub fn completions(&mut self, counts: &Counts, mut take: impl FnMut(Token, Completion)) {
        self.attempt_found(counts);
        for (token, result) in self.completed.drain(..) {
            counts.completions.add(1);
            take(token, Completion::of(result));
        }
    }
}
