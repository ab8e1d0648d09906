//! A slot of the in-flight table.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::time::Instant;

use super::guard::Guard;
use crate::call::{Call, Link};

/// Why a party may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// Somebody called [`Driver::wake`](crate::Driver::wake).
    Woken,
    /// The deadline passed.
    TimedOut,
    /// The operation completed: bytes, events, or a negative errno.
    Completed(i32),
}

/// One of the completions of a stream: see [`Call::is_stream`].
#[derive(Debug)]
pub struct Shot {
    /// The result: a descriptor, events, a number of bytes, or a negative errno.
    pub result: i32,
    /// The bytes that it brought, if any.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Slot<P> {
    pub generation: u32,
    /// Present while a party is parked here.
    pub payload: Option<P>,
    /// Whether a completion is due.
    pub submitted: bool,
    /// Whether a close must wait for that completion.
    pub awaited: bool,
    /// Whether the result of the call has come, and only its notice is due.
    pub lingers: bool,
    /// Why the party may go on. `None` before that, and after the party has taken it.
    pub wakeup: Option<Wakeup>,
    /// Whether the party is in the ready queue: it goes on when its turn comes.
    pub queued: bool,
    pub deadline: Option<Instant>,
    /// When the thread last came back from the kernel before the park, in nanoseconds; 0 when it had not been there
    /// yet.
    pub since: u64,
    /// The call that is in flight, with the memory that the kernel uses for it.
    pub call: Option<Box<Call>>,
    /// How the call depends on the others of its chain.
    pub link: Link,
    /// The shots of a stream that nobody has taken yet. Present for streams only.
    pub shots: Option<VecDeque<Shot>>,
    /// Whether the driver has cancelled the stream for now: nobody takes its many shots, or its peer has gone.
    pub crowded: bool,
    /// The guard of the stream.
    pub guard: Guard,
    /// Whether the deadline is the operation itself, and not a limit to it: see `alarm.rs`.
    pub alarm: bool,
    /// Whether the deadline of an alarm is a limit to it, and not its own end.
    pub limited: bool,
    /// The descriptor of the call that the operation stands in for.
    pub stands_for: Option<RawFd>,
    /// Whether the operation must end because somebody closes its descriptor.
    pub ended: bool,
}

impl<P> Slot<P> {
    /// Undoes the call, unless it has opened a direct descriptor. The chain owns that one, and the result is not a
    /// descriptor of the process.
    pub fn undo(&self, result: i32) {
        if let (Some(call), None) = (&self.call, self.link.into) {
            call.undo(result);
        }
    }

    /// Forgets that the last operation was an alarm or a stand-in.
    pub fn begin_anew(&mut self) {
        self.alarm = false;
        self.limited = false;
        self.stands_for = None;
    }

    /// Gives the party a reason to go on. Returns whether the caller must queue it, because it had none before.
    pub fn note(&mut self, wakeup: Wakeup) -> bool {
        if self.payload.is_none() {
            return false;
        }
        let must_queue = self.wakeup.is_none();
        self.queued |= must_queue;
        if must_queue || matches!(wakeup, Wakeup::Completed(_)) {
            self.wakeup = Some(wakeup);
        }
        must_queue
    }
}
