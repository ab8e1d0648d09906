//! The io_uring backend: operations become submissions, completions come back.
//!
//! One ring belongs to one thread (`IORING_SETUP_SINGLE_ISSUER`). Entries are queued during a turn
//! and submitted by the one call that waits. What does not fit the submission queue is kept in a
//! backlog, in order, so that a full queue is never an error.

mod call;
pub(crate) mod setup;
mod submission;

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{squeue::Entry, types, IoUring};

use crate::call::Call;
use crate::error::{Error, Result};
use crate::operation::Operation;
use crate::ring_options::Options;
use crate::stats::Counts;
use crate::sys;
use crate::token::Token;
use crate::waker::Waker;
use submission::WakeBuffer;

/// One ring and what waits to get into it.
pub(crate) struct Ring {
    ring: ManuallyDrop<IoUring>,
    backlog: VecDeque<Entry>,
    waker: Arc<Waker>,
    wake_buffer: WakeBuffer,
    /// Whether a read of the waker is queued or in flight.
    wake_armed: bool,
    /// Whether a wait can carry a timeout (`IORING_FEAT_EXT_ARG`, Linux 5.11).
    timed_enter: bool,
    /// The process that made the ring: a forked child must not touch it.
    owner: u32,
}

impl Ring {
    pub fn new(options: &Options, waker: Arc<Waker>) -> Result<Self> {
        let mut ring = setup::create(options)?;
        setup::check_enter(&mut ring)?;
        let timed_enter = ring.params().is_feature_ext_arg() && !options.limits.hides_ext_arg();
        Ok(Self {
            ring: ManuallyDrop::new(ring),
            backlog: VecDeque::new(),
            waker,
            wake_buffer: WakeBuffer::new(),
            wake_armed: false,
            timed_enter,
            owner: std::process::id(),
        })
    }

    /// Queues an operation; its completion comes later.
    pub fn start(&mut self, token: Token, operation: &Operation, counts: &Counts) -> Result<()> {
        self.push(submission::entry(token, operation), counts)
    }

    /// Queues a call, which stays where it is until its completion.
    pub fn start_call(&mut self, token: Token, call: &mut Call, counts: &Counts) -> Result<()> {
        self.push(call::entry(token, call), counts)
    }

    /// Queues a request to end the operation of `token`; its completion still comes.
    pub fn cancel(&mut self, token: Token, counts: &Counts) -> Result<()> {
        self.push(submission::cancel(token), counts)
    }

    fn push(&mut self, entry: Entry, counts: &Counts) -> Result<()> {
        counts.submissions.add(1);
        if self.backlog.is_empty() && submission::push(&mut self.ring, &entry) {
            return Ok(());
        }
        self.backlog.push_back(entry);
        if let Err(error) = self.enter(0, None, counts) {
            // Whoever is refused frees what the entry points to.
            self.backlog.pop_back();
            return Err(error);
        }
        self.drain_backlog();
        Ok(())
    }

    fn drain_backlog(&mut self) {
        while let Some(entry) = self.backlog.front() {
            if !submission::push(&mut self.ring, entry) {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Submits what is queued, without waiting. No system call when there is nothing to do.
    pub fn flush(&mut self, counts: &Counts) -> Result<()> {
        loop {
            self.drain_backlog();
            let queue = self.ring.submission();
            if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
                return Ok(());
            }
            drop(queue);
            self.enter(0, None, counts)?;
            if self.backlog.is_empty() || self.ring.submission().is_full() {
                return Ok(());
            }
        }
    }

    /// Submits what is queued and waits for a completion, a wakeup, a signal or the timeout.
    pub fn wait(&mut self, timeout: Option<Duration>, counts: &Counts) -> Result<()> {
        self.drain_backlog();
        if !self.wake_armed {
            self.wake_armed = true;
            let read = self.wake_buffer.read(self.waker.fd());
            self.push(read, counts)?;
        }
        if !self.backlog.is_empty() {
            // More is queued than fits: only completions can make room, so take those at hand.
            return self.flush(counts);
        }
        match timeout {
            None => self.enter(1, None, counts),
            Some(timeout) if self.timed_enter => {
                let timeout = types::Timespec::from(timeout.min(LONGEST_WAIT));
                self.enter(1, Some(&timeout), counts)
            }
            Some(timeout) => {
                self.enter(0, None, counts)?;
                self.poll(timeout, counts)
            }
        }
    }

    /// Waits on the ring's descriptor: kernels without timed enter have no deferred work that
    /// would keep it from becoming readable.
    fn poll(&mut self, timeout: Duration, counts: &Counts) -> Result<()> {
        let fd = self.ring.as_raw_fd();
        counts.direct_calls.add(1);
        let mut fds = [libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        }];
        match sys::poll(&mut fds, Some(timeout)) {
            Err(error) if error.errno != libc::EINTR => Err(error),
            _ => Ok(()),
        }
    }

    fn enter(
        &mut self,
        want: u32,
        timeout: Option<&types::Timespec>,
        counts: &Counts,
    ) -> Result<()> {
        counts.enters.add(1);
        let Err(error) = submission::enter(&mut self.ring, want, timeout) else {
            return Ok(());
        };
        match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            // The kernel wants completions taken first, or is short of memory for requests: when
            // there are none to take, give it a moment, so that the next try does not spin.
            Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM) => {
                if self.ring.completion().is_empty() {
                    self.poll(Duration::from_millis(1), counts)?;
                }
                Ok(())
            }
            _ => Err(Error::from_io("io_uring_enter", &error)),
        }
    }

    /// Hands over the completions that are there.
    pub fn completions(&mut self, counts: &Counts, mut take: impl FnMut(Token, i32)) {
        for entry in self.ring.completion() {
            counts.completions.add(1);
            match Token::from_user_data(entry.user_data()) {
                Token::WAKER => self.wake_armed = false,
                Token::CANCEL => {}
                token => take(token, plain_result(entry.result())),
            }
        }
    }

    /// Ends the read of the waker, so that nothing of the ring's own is in flight. The caller
    /// has seen to everything else.
    pub fn close(&mut self, counts: &Counts) {
        while self.wake_armed {
            self.waker.wake();
            if self.wait(None, counts).is_err() {
                return;
            }
            self.completions(counts, |_, _| {});
        }
        self.wake_buffer.free();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            submission::drop_ring(&mut self.ring);
        } else {
            submission::forget_ring(&self.ring);
        }
    }
}

/// Longer waits gain nothing, and the kernel refuses what does not fit its clock.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400 * 365);

/// A worker that was signalled can let ERESTARTSYS through; callers know EINTR.
fn plain_result(result: i32) -> i32 {
    const ERESTARTSYS: i32 = 512;
    if result == -ERESTARTSYS {
        -libc::EINTR
    } else {
        result
    }
}
