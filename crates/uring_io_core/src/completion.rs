//! What becomes of an operation: how it was started, and what the backend says of it in the end.

use std::time::Duration;

use crate::operation::Transfer;

/// The state of an operation after its start.
pub(crate) enum Started {
    /// It is over: its result. No completion comes.
    Done(i32),
    /// A completion will come.
    Submitted,
    /// This backend can only do it by blocking: for the worker pool.
    Blocking(Transfer),
}

/// The state of a call after its start.
pub(crate) enum StartedCall {
    /// It is over: its result. No completion comes.
    Done(i32),
    /// A completion will come.
    Submitted,
    /// It is to be made by blocking: for the worker pool.
    Blocking,
    /// It is a matter of time only.
    Timer(Duration),
}

/// The message of the backend about an operation.
#[derive(Debug)]
pub(crate) struct Completion {
    /// Bytes, events, a descriptor, or a negative errno.
    pub result: i32,
    /// Whether another completion of the same operation will come.
    pub more: bool,
    /// Whether it says no more than that memory which is lent is free: `result` is none.
    pub notice: bool,
    /// The bytes themselves, where they did not go into memory of the operation.
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
