//! The words of the engine: who is parked, what for, who runs meanwhile, and what may come in between.

use std::cell::Cell;
use std::os::fd::OwnedFd;

use magnus::fiber::Fiber;
use magnus::value::Opaque;
use magnus::{gc, Error, Exception, Value};
use uring_io_core::Token;

/// The fiber that is parked under a token, and its purpose.
pub struct Party {
    pub fiber: Opaque<Fiber>,
    pub purpose: Purpose,
    /// Set when the wakeup that comes is for an exception that is pending in the fiber.
    pub(super) interrupted: Cell<bool>,
}

impl Party {
    pub(super) fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.fiber);
        if let Purpose::Unblock(Some(blocker)) = self.purpose {
            marker.mark(blocker);
        }
    }

    pub(super) fn new(fiber: Fiber, purpose: Purpose) -> Self {
        Self {
            fiber: Opaque::from(fiber),
            purpose,
            interrupted: Cell::new(false),
        }
    }
}

/// The purpose of a wait.
pub enum Purpose {
    /// An `unblock`, or a deadline: what is waited for, where that is known.
    Unblock(Option<Opaque<Value>>),
    /// An operation.
    Operation,
    /// An operation on this descriptor, which is closed when the place is given back.
    Watch(#[expect(dead_code, reason = "kept to be closed in time")] OwnedFd),
    /// Its turn: it let another fiber run first.
    Turn,
    /// The end of every scheduled fiber: it runs them.
    End,
    /// Nothing: a deadline that interrupts whatever the fiber waits for when it passes.
    Deadline,
    /// One operation of several that another party waits for: that of this token, when it waits.
    PartOf(Cell<Option<Token>>),
    /// To be transferred back to: it is outside of the engine, in a `Fiber#raise` or `Fiber#kill`
    /// of another fiber, which Ruby does not return from by itself.
    Return,
}

/// An exception to raise in a fiber at its wait.
#[derive(Clone, Copy)]
pub enum Interrupt {
    /// The exception of the timeout under this token.
    Deadline(Token),
    /// This exception.
    Exception(Opaque<Exception>),
}

/// Why a wait is over before its time.
pub struct Raised {
    pub(super) error: Error,
    /// The interrupt that it comes from, if it comes from one of ours.
    pub(super) interrupt: Option<Interrupt>,
}

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        Self {
            error,
            interrupt: None,
        }
    }
}

/// The exception of a timeout.
pub struct Timeout {
    pub exception: Opaque<Value>,
    pub message: Opaque<Value>,
}

/// The rule for who runs while a fiber waits.
pub enum Flow {
    /// The next fiber that can, which the waiting one chooses.
    Next,
    /// This fiber, a loop, which serves what [`Driver::next_ready`] hands out. The others get
    /// control back from there, or for any other reason: then they see [`Wakeup::Woken`].
    Home(Opaque<Fiber>),
    /// Nobody: the thread waits.
    Nobody,
}
