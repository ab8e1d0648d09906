//! One record, and the events that it can hold.

use std::os::fd::RawFd;

/// The event of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// `party` has begun; the name is the place of its code.
    Started = 1,
    /// `party` has ended.
    Ended,
    /// `party` waits at the place `token`; the name is what it waits for.
    Parked,
    /// `party` waits at the place `token` for an operation. The other fields are those of `Submitted`.
    ParkedFor,
    /// `party` has left the place `token`, and runs.
    Left,
    /// The place `token` is one part of what `party` waits for.
    Part,
    /// An operation has begun under `token`, on the descriptor; the value is its length in bytes.
    Submitted,
    /// An operation was over at once, without a token; the value is its result.
    Done,
    /// The operation of `token` is over; the value is its result.
    Completed,
    /// Somebody has woken the party of `token`.
    Woken,
    /// An exception is raised in `party` at its wait.
    Raised,
    /// The thread is back from a call into the kernel that waited. The call took `party` nanoseconds; the value is the
    /// number of submissions since the call before. Afterwards the thread waited `token` nanoseconds for the GVL.
    Entered,
    /// As `Entered`, for a call that did not wait.
    Looked,
    /// The thread has collected garbage until now, for `party` nanoseconds.
    Collected,
}

/// One record: 40 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Nanoseconds since the first log of the process was made.
    pub at: u64,
    /// The party.
    pub party: u64,
    /// The place of the party or the operation.
    pub token: u64,
    /// A number that depends on the event.
    pub value: i32,
    /// The descriptor; -1 for none.
    pub fd: RawFd,
    /// The number of a name in the log; 0 for none.
    pub name: u16,
    /// The number of the name that describes the descriptor.
    pub about: u16,
    /// The kind of the event.
    pub event: Event,
}

/// Names with the same number in every log, so that they need no lookup.
pub(super) const COMMON: [&str; 9] = [
    "", "read", "write", "poll", "waitid", "block", "sleep", "turn", "run",
];

/// The numbers of these names.
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

/// A record without a descriptor, a name and a value.
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
