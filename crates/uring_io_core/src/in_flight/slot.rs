//! One place of the in-flight table.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::time::Instant;

use super::guard::Guard;
use crate::call::{Call, Link};

/// Why a party may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// [`Driver::wake`](crate::Driver::wake) was called.
    Woken,
    /// The deadline passed.
    TimedOut,
    /// The operation completed: bytes, events, or a negative errno.
    Completed(i32),
}

/// One of the completions of a call that goes on: see [`Call::is_stream`].
#[derive(Debug)]
pub struct Shot {
    /// The result: a descriptor, events, a number of bytes, or a negative errno.
    pub result: i32,
    /// The bytes, where it brought some.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Slot<P> {
    pub generation: u32,
    /// Present while a party is parked here.
    pub payload: Option<P>,
    /// Whether a completion is due.
    pub submitted: bool,
    /// Whether whoever closes must wait for that completion.
    pub awaited: bool,
    /// Whether its result has come, and nothing but the notice that the kernel is done with its memory is due.
    pub lingers: bool,
    /// Set once the party may go on, and not yet taken by it.
    pub wakeup: Option<Wakeup>,
    /// Whether the party is in the ready queue: it goes on when its turn comes.
    pub queued: bool,
    pub deadline: Option<Instant>,
    /// When the thread last came back from the kernel before the park, in nanoseconds; 0 when it was never there.
    pub since: u64,
    /// The call that is in flight, with the memory that the kernel uses for it.
    pub call: Option<Box<Call>>,
    /// How that is one of a chain.
    pub link: Link,
    /// The shots of a stream that nobody has taken yet. Present for streams only.
    pub shots: Option<VecDeque<Shot>>,
    /// Whether the driver has cancelled the stream because nobody takes its many shots.
    pub crowded: bool,
    /// The guard of the stream.
    pub guard: Guard,
    /// Whether the deadline is the operation itself, and not a limit to it.
    pub alarm: bool,
    /// Whether the deadline is a limit to the operation although that is a matter of time itself.
    pub limited: bool,
    /// The descriptor of the call that its operation stands in for.
    pub stands_for: Option<RawFd>,
    /// Whether it has to end because somebody closes its descriptor.
    pub ended: bool,
}

impl<P> Slot<P> {
    /// Undoes the call. A direct descriptor that it has opened belongs to the chain: its result is no descriptor
    /// of the process.
    pub fn undo(&self, result: i32) {
        if let (Some(call), None) = (&self.call, self.link.into) {
            call.undo(result);
        }
    }

    /// Forgets what the operation before was: an alarm, or what stands in for a call.
    pub fn begin_anew(&mut self) {
        self.alarm = false;
        self.limited = false;
        self.stands_for = None;
    }

    /// Gives the party a reason to go on. True when it must be queued for that.
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
