//! One record, and what it can tell.

use std::os::fd::RawFd;

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// `party` has begun; its name says where.
    Started = 1,
    /// `party` has ended.
    Ended,
    /// `party` waits at the place `token`; the name says for what.
    Parked,
    /// `party` waits at the place `token` for an operation, as in `Submitted`.
    ParkedFor,
    /// `party` has left the place `token`, and runs.
    Left,
    /// The place `token` is one part of what `party` waits for.
    Part,
    /// An operation was begun under `token`, on the descriptor; the value is its length in bytes.
    Submitted,
    /// An operation was over at once, without a token: the value is its result.
    Done,
    /// The operation of `token` is over: the value is its result.
    Completed,
    /// The party of `token` was woken.
    Woken,
    /// `party` has an exception raised at its wait.
    Raised,
    /// The thread is back from the kernel, where it was for `party` nanoseconds and brought as many submissions as
    /// the value says. Then it waited for Ruby's lock, for `token` nanoseconds.
    Entered,
    /// As `Entered`, without waiting there.
    Looked,
    /// The thread has done something of its own until now, for `party` nanoseconds: it collected garbage.
    Collected,
}

/// One record: 40 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Nanoseconds since the first log of the process was made.
    pub at: u64,
    /// Who.
    pub party: u64,
    /// The place of an operation.
    pub token: u64,
    /// What the event says.
    pub value: i32,
    /// The descriptor; -1 for none.
    pub fd: RawFd,
    /// The number of a name in the log; 0 for none.
    pub name: u16,
    /// The number of the name that says what the descriptor is.
    pub about: u16,
    /// What happened.
    pub event: Event,
}

/// Names that have the same number in every log, so that nothing has to be looked up for them.
pub(super) const COMMON: [&str; 9] = [
    "", "read", "write", "poll", "waitid", "block", "sleep", "turn", "run",
];

/// Their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u16)]
pub enum Common {
    /// None.
    #[default]
    Nothing,
    /// An operation that reads.
    Read,
    /// An operation that writes.
    Write,
    /// An operation that polls.
    Poll,
    /// An operation that waits for children.
    WaitChild,
    /// A party waits to be woken.
    Block,
    /// A party waits for time to pass.
    Sleep,
    /// A party waits for its turn.
    Turn,
    /// A party waits until the others have ended, and runs them.
    Run,
}

/// A record without a descriptor, name and value.
pub(super) fn bare(event: Event, at: u64, party: u64, token: u64) -> Record {
    let (value, fd, name, about) = (0, -1, 0, 0);
    Record {
        at,
        party,
        token,
        value,
        fd,
        name,
        about,
        event,
    }
}
