//! Outcomes of calls.

use std::os::fd::RawFd;

use uring_io_core::Call;

/// The outcome of a call.
pub struct Outcome {
    /// Its result, or a negative errno.
    pub result: i32,
    /// The call, with the memory that the kernel has filled. `None` if the kernel still uses that memory.
    pub call: Option<Box<Call>>,
    /// Whether its own timeout has ended it.
    pub timed_out: bool,
    /// Whether it has ended because somebody closed one of its descriptors.
    pub closed: bool,
    /// Why the call was not made at all.
    pub refused: Option<Refusal>,
}

/// Why a call was not made, and its descriptor. This is no exception object, because the GC would have to mark that.
pub type Refusal = (uring_io_core::Error, Option<RawFd>);

impl Outcome {
    pub(super) fn of(result: i32, call: Option<Box<Call>>) -> Self {
        // A thread of the kernel that waits for such a call is ended by a signal (seen on Linux 6.1).
        let is_interrupted =
            result == -libc::EINTR && call.as_ref().is_some_and(|it| it.is_splice());
        let result = if is_interrupted {
            -libc::ECANCELED
        } else {
            result
        };
        Self {
            result,
            call,
            timed_out: false,
            closed: false,
            refused: None,
        }
    }

    /// Undoes the call, because its party has gone: closes descriptors that it opened.
    pub fn undo(&self) {
        if let Some(call) = &self.call {
            call.undo(self.result);
        }
    }
}
