//! The contract of a backend, and the choice of the one behind a driver.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::backend_kind::BackendKind;
use crate::call::{Call, Link};
use crate::completion::{Completion, Started, StartedCall};
use crate::error::{Error, Result};
use crate::operation::Operation;
use crate::readiness::Readiness;
use crate::ring_options::Options as RingOptions;
use crate::stats::Counts;
use crate::token::Token;
use crate::uring::Ring;
use crate::waker::Waker;

/// One of the two families: completions, or readiness.
pub(crate) enum Backend {
    Uring(Box<Ring>),
    Readiness(Box<Readiness>),
    /// The backend is closed.
    Closed,
}

impl Backend {
    /// Makes the backend, for the calling thread.
    pub fn new(kind: BackendKind, ring: &RingOptions, waker: Arc<Waker>) -> Result<Self> {
        if kind == BackendKind::IoUring {
            return Ok(Self::Uring(Box::new(Ring::new(ring, waker)?)));
        }
        Ok(Self::Readiness(Box::new(Readiness::new(kind, waker)?)))
    }

    /// Starts an operation.
    pub fn start(
        &mut self,
        token: Token,
        operation: &Operation,
        counts: &Counts,
    ) -> Result<Started> {
        match self {
            Self::Uring(ring) => {
                ring.start(token, operation, counts)?;
                Ok(Started::Submitted)
            }
            Self::Readiness(readiness) => {
                counts.submissions.add(1);
                if let Operation::Transfer(transfer) = *operation {
                    if transfer.target.is_file() {
                        return Ok(Started::Blocking(transfer));
                    }
                }
                let started = readiness.start(token, operation, counts)?;
                Ok(started.map_or(Started::Submitted, Started::Done))
            }
            Self::Closed => Err(closed()),
        }
    }

    /// Attempts an operation, if this backend starts operations in that way. None when the caller must start it.
    pub fn attempt(&mut self, operation: &Operation, counts: &Counts) -> Option<i32> {
        match (self, operation) {
            (Self::Readiness(_), Operation::Transfer(transfer)) if transfer.target.is_file() => {
                None
            }
            (Self::Readiness(readiness), Operation::Transfer(transfer)) => {
                readiness.attempt(transfer, counts)
            }
            _ => None,
        }
    }

    /// Starts a call, which must stay at its place until its completion.
    pub fn start_call(
        &mut self,
        token: Token,
        call: &mut Call,
        counts: &Counts,
    ) -> Result<StartedCall> {
        if call.settle_waitall(false) {
            counts.direct_calls.add(1);
        }
        match self {
            Self::Uring(ring) => {
                call.settle_dontwait();
                ring.start_call(token, call, counts)
            }
            Self::Readiness(readiness) => {
                counts.submissions.add(1);
                if let Err(error) = call.settle() {
                    return Ok(StartedCall::Done(-error.errno));
                }
                match call {
                    Call::Nop => return Ok(StartedCall::Done(0)),
                    Call::Timeout { length } => return Ok(StartedCall::Timer((**length).into())),
                    _ if call.needs_a_ring() => return Err(Error::without_ring(call.name())),
                    _ if call.interest().is_none() => return Ok(StartedCall::Blocking),
                    _ => {}
                }
                let started = readiness.start_call(token, call, counts)?;
                Ok(started.map_or(StartedCall::Submitted, StartedCall::Done))
            }
            Self::Closed => Err(closed()),
        }
    }

    /// Adds a call to the chain that [`start_chain`](Self::start_chain) starts.
    pub fn link(
        &mut self,
        token: Token,
        call: &mut Call,
        link: Link,
        last: bool,
        counts: &Counts,
    ) -> Result<()> {
        if call.settle_waitall(link.direct) {
            counts.direct_calls.add(1);
        }
        match self {
            Self::Uring(ring) => ring.link(token, call, link, last),
            Self::Readiness(_) => Err(Error::without_ring("a chain in the kernel")),
            Self::Closed => Err(closed()),
        }
    }

    /// Starts the whole chain, or nothing of it.
    pub fn start_chain(
        &mut self,
        counts: &Counts,
        take: impl FnMut(Token, Completion),
    ) -> Result<()> {
        self.ring()?.start_chain(counts, take)
    }

    /// The ring, for work that only a ring can do.
    pub fn ring(&mut self) -> Result<&mut Ring> {
        match self {
            Self::Uring(ring) => Ok(ring),
            Self::Readiness(_) => Err(Error::without_ring("this")),
            Self::Closed => Err(closed()),
        }
    }

    /// Asks for the operation of `token` to end; its completion still comes.
    pub fn cancel(&mut self, token: Token, counts: &Counts) -> Result<()> {
        match self {
            Self::Uring(ring) => ring.cancel(token, counts),
            Self::Readiness(readiness) => {
                readiness.cancel(token);
                Ok(())
            }
            Self::Closed => Err(closed()),
        }
    }

    /// For a descriptor that somebody is about to close: makes sure that no operation on it runs on another file that
    /// gets its number. False when the caller has to try again.
    pub fn before_close(
        &mut self,
        fd: RawFd,
        counts: &Counts,
        take: impl FnMut(Token, Completion),
    ) -> Result<bool> {
        match self {
            Self::Uring(ring) => ring.before_close(fd, counts, take),
            Self::Readiness(readiness) => {
                readiness.before_close(fd);
                Ok(true)
            }
            Self::Closed => Ok(true),
        }
    }

    /// Hands queued submissions to the kernel and looks for completions, without waiting.
    pub fn flush(&mut self, counts: &Counts) -> Result<()> {
        match self {
            Self::Uring(ring) => ring.flush(counts),
            Self::Readiness(readiness) => readiness.wait(Some(Duration::ZERO), counts),
            Self::Closed => Err(closed()),
        }
    }

    /// Whether [`flush`](Self::flush) costs a system call even when there is nothing to do.
    pub fn flush_is_costly(&self) -> bool {
        matches!(self, Self::Readiness(_))
    }

    /// Waits for completions, a wakeup, a signal or the timeout; `None` waits for ever.
    pub fn wait(&mut self, timeout: Option<Duration>, counts: &Counts) -> Result<()> {
        match self {
            Self::Uring(ring) => ring.wait(timeout, counts),
            Self::Readiness(readiness) => readiness.wait(timeout, counts),
            Self::Closed => Err(closed()),
        }
    }

    /// Calls `take` with each completion that is there.
    pub fn completions(&mut self, counts: &Counts, take: impl FnMut(Token, Completion)) {
        match self {
            Self::Uring(ring) => ring.completions(counts, take),
            Self::Readiness(readiness) => readiness.completions(counts, take),
            Self::Closed => {}
        }
    }

    /// Ends the backend's own operations and closes its descriptors. From then on it takes no operation.
    pub fn close(&mut self, counts: &Counts) {
        if let Self::Uring(ring) = self {
            ring.close(counts);
        }
        *self = Self::Closed;
    }
}

fn closed() -> Error {
    Error::new("submit", libc::ESHUTDOWN)
}
