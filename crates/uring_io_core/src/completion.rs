//! How an operation starts, and how the backend says that it is over.

use std::time::Duration;

use crate::operation::Transfer;

/// The state of an operation after its start.
pub(crate) enum Started {
    /// The operation is over, with this result. No completion comes.
    Done(i32),
    /// A completion will come.
    Submitted,
    /// This backend can only do it by blocking: a worker thread does it.
    Blocking(Transfer),
}

/// The state of a call after its start.
pub(crate) enum StartedCall {
    /// The call is over, with this result. No completion comes.
    Done(i32),
    /// A completion will come.
    Submitted,
    /// The call blocks: a worker thread makes it.
    Blocking,
    /// The call only lets time pass.
    Timer(Duration),
}

/// The message of the backend about an operation.
#[derive(Debug)]
pub(crate) struct Completion {
    /// Bytes, events, a descriptor, or a negative errno.
    pub result: i32,
    /// Whether another completion of the same operation will come.
    pub more: bool,
    /// Whether it is only a notice: the kernel no longer uses lent memory. Then `result` means nothing.
    pub notice: bool,
    /// The bytes themselves, when they did not go into memory of the operation.
    pub bytes: Vec<u8>,
}

impl Completion {
    /// The only completion of an operation.
    pub fn of(result: i32) -> Self {
        Self {
            result,
            more: false,
            notice: false,
            bytes: Vec::new(),
        }
    }
}
