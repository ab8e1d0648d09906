//! Outcomes of calls.

use std::os::fd::RawFd;

use uring_io_core::Call;

/// The outcome of a call.
pub struct Outcome {
    /// Its result, or a negative errno.
    pub result: i32,
    /// The call with what the kernel filled in; `None` where the kernel still uses its memory.
    pub call: Option<Box<Call>>,
    /// Whether it ended because its own time was over.
    pub timed_out: bool,
    /// Whether it ended because somebody closed a descriptor of it.
    pub closed: bool,
    /// The reason why nobody has made it at all.
    pub refused: Option<Refusal>,
}

/// Why a call was not made, and the descriptor that it is on. An exception would have to be marked.
pub type Refusal = (uring_io_core::Error, Option<RawFd>);

impl Outcome {
    pub(super) fn of(result: i32, call: Option<Box<Call>>) -> Self {
        Self {
            result,
            call,
            timed_out: false,
            closed: false,
            refused: None,
        }
    }

    /// Takes back what the call did, for a party that has gone.
    pub fn undo(&self) {
        if let Some(call) = &self.call {
            call.undo(self.result);
        }
    }
}
