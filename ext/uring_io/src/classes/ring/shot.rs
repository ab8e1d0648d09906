//! The shots of a stream as Ruby values.

use magnus::{prelude::*, Error, Ruby, Value};
use uring_io_core::{Call, Shot};

use crate::ruby::{errors, io};

type Hook<T> = Result<T, Error>;

/// The kinds of results that streams bring.
#[derive(Clone, Copy)]
pub enum Kind {
    Descriptors,
    Bytes,
    Events(uring_io_core::Interest),
}

impl Kind {
    pub fn of(call: &Call) -> Self {
        match call {
            Call::AcceptEach { .. } => Self::Descriptors,
            Call::PollEach { interest, .. } => Self::Events(*interest),
            _ => Self::Bytes,
        }
    }

    /// Yields the shot. Returns false if it was the end of the stream.
    pub fn yield_shot(self, ruby: &Ruby, name: &'static str, shot: Shot) -> Hook<bool> {
        match (self, shot.result) {
            // The client has already closed this connection. The stream goes on.
            (Self::Descriptors, result) if result == -libc::ECONNABORTED => return Ok(true),
            (_, result) if result < 0 => {
                let error = uring_io_core::Error::new(name, -result);
                return Err(errors::errno(ruby, error));
            }
            (Self::Bytes, 0) => return Ok(false),
            _ => {}
        }
        let value = match self {
            Self::Descriptors => ruby.integer_from_i64(shot.result.into()).as_value(),
            Self::Bytes => ruby.str_from_slice(&shot.bytes).as_value(),
            Self::Events(interest) => io::events(ruby, interest.satisfied_by(shot.result)),
        };
        ruby.yield_value::<_, Value>(value).map(|_| true)
    }
}
