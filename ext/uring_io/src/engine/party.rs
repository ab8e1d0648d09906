//! The types of the engine: who is parked and why, who runs meanwhile, and what may interrupt a wait.

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
    /// Whether the engine has woken the fiber to raise its pending exception.
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
    /// An `unblock`, or a deadline. It has the object that the fiber waits for, if that is known.
    Unblock(Option<Opaque<Value>>),
    /// An operation.
    Operation,
    /// An operation on this descriptor, which is closed when the place is given back.
    Watch(#[expect(dead_code, reason = "kept to be closed in time")] OwnedFd),
    /// The fiber's turn: it let another fiber run first.
    Turn,
    /// The end of every scheduled fiber. This fiber runs them meanwhile.
    End,
    /// Nothing. When the deadline of this place passes, the engine interrupts whatever the fiber waits for.
    Deadline,
    /// One operation of several that a fiber waits for together. It has the token of the place where the fiber waits;
    /// `None` while the fiber does not wait.
    PartOf(Cell<Option<Token>>),
    /// Getting control back. The fiber is outside of the engine, in a `Fiber#raise` or `Fiber#kill` of another fiber,
    /// and Ruby does not return from that by itself.
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
    /// The interrupt that it comes from, if it comes from the engine.
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
    /// The next ready fiber. The waiting fiber chooses it.
    Next,
    /// This fiber, a loop, which serves the parties that [`Driver::next_ready`] hands out. It gives control back to the
    /// other fibers. They may also get control for another reason, and then see [`Wakeup::Woken`].
    Home(Opaque<Fiber>),
    /// Nobody: the thread waits.
    Nobody,
}
