//! The in-flight table: every party that is parked, and every operation whose completion is due.
//!
//! A park takes a slot. The table gives the slot back when the party has left and the operation, if there was one, has
//! completed. An operation whose party left first is *abandoned*: nobody waits for it, but its slot stays taken until
//! the completion says that the kernel is done.

mod alarm;
mod guard;
mod lingering;
mod looks;
mod slot;
mod stand_in;

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::time::Instant;

use crate::call::{Call, Link};
use crate::completion::Completion;
use crate::token::Token;
use crate::users::Users;
use guard::Guard;
pub(crate) use guard::Turnabout;
pub use looks::Look;
use slot::Slot;
pub use slot::{Shot, Wakeup};

/// Slots by number, with a list of the free ones.
#[derive(Debug)]
pub(crate) struct InFlight<P> {
    slots: Vec<Slot<P>>,
    free: Vec<u32>,
    /// How many operations a close must wait for.
    awaited: usize,
    /// Calls that are over except for their notice, which their peer may put off for ever.
    lingering: usize,
    /// Places of calls that used lent memory after their party had left, and no longer do.
    released: Vec<Token>,
    /// Streams that the driver has to cancel for now, or to start again.
    turnabouts: Vec<(Token, Turnabout)>,
    /// Which slots use which descriptor, from the park until the party has left and the operation is over.
    users: Users,
}

/// How many shots of a stream may wait for its party before the driver cancels the stream for now: a party that is
/// slower than its peer must not make us keep everything that the peer sends.
const SHOTS_MAX: usize = 256;

impl<P> Default for InFlight<P> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            awaited: 0,
            lingering: 0,
            released: Vec::new(),
            turnabouts: Vec::new(),
            users: Users::default(),
        }
    }
}

impl<P> InFlight<P> {
    /// Takes a slot for a party.
    pub fn park(&mut self, payload: P, since: u64) -> Token {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                payload: None,
                submitted: false,
                awaited: false,
                lingers: false,
                wakeup: None,
                queued: false,
                deadline: None,
                since: 0,
                call: None,
                link: Link::default(),
                shots: None,
                crowded: false,
                guard: Guard::default(),
                alarm: false,
                limited: false,
                stands_for: None,
                ended: false,
            });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[number as usize];
        slot.payload = Some(payload);
        slot.since = since;
        Token::new(number, slot.generation)
    }

    /// Notes that a slot uses a descriptor.
    pub fn is_about(&mut self, token: Token, fd: RawFd) {
        if self.slot(token).is_some() {
            self.users.add(token.slot(), fd);
        }
    }

    /// The users of a descriptor: parties that have not left, and operations whose completion has yet to come.
    pub fn users(&self, fd: RawFd) -> impl Iterator<Item = (Token, Option<&P>)> {
        self.users.of(fd).map(|number| {
            let slot = &self.slots[number];
            let token = Token::new(number as u32, slot.generation);
            (token, slot.payload.as_ref())
        })
    }

    /// Marks a slot as ended because somebody closes its descriptor. Returns whether the caller has to cancel
    /// its operation.
    pub fn end(&mut self, token: Token) -> bool {
        self.slot_mut(token).is_some_and(|slot| {
            slot.ended = true;
            slot.submitted
        })
    }

    /// Whether a slot is marked as ended.
    pub fn is_ended(&self, token: Token) -> bool {
        self.slot(token).is_some_and(|slot| slot.ended)
    }

    fn slot(&self, token: Token) -> Option<&Slot<P>> {
        self.slots
            .get(token.slot())
            .filter(|slot| slot.generation == token.generation())
    }

    fn slot_mut(&mut self, token: Token) -> Option<&mut Slot<P>> {
        self.slots
            .get_mut(token.slot())
            .filter(|slot| slot.generation == token.generation())
    }

    /// The payload of the party parked under `token`.
    pub fn payload(&self, token: Token) -> Option<&P> {
        self.slot(token)?.payload.as_ref()
    }

    /// Every payload, with its token.
    pub fn payloads(&self) -> impl Iterator<Item = (Token, &P)> {
        self.slots.iter().enumerate().filter_map(|(number, slot)| {
            let token = Token::new(number as u32, slot.generation);
            slot.payload.as_ref().map(|payload| (token, payload))
        })
    }

    /// Notes that a completion for `token` is due, and whether a close must wait for it. It need not wait for work that
    /// uses only memory of its own.
    pub fn submitted(&mut self, token: Token, awaited: bool) {
        if let Some(slot) = self.slot_mut(token) {
            slot.submitted = true;
            slot.awaited = awaited;
            self.awaited += usize::from(awaited);
        }
    }

    /// As [`keep`](Self::keep), for a call of a chain.
    pub fn keep_linked(&mut self, token: Token, call: Call, link: Link) -> Option<&mut Call> {
        self.slot_mut(token)?.link = link;
        self.keep(token, call)
    }

    /// Keeps a call at one place until its completion, and returns it there.
    pub fn keep(&mut self, token: Token, call: Call) -> Option<&mut Call> {
        let slot = self.slot_mut(token)?;
        if call.is_stream() && slot.shots.is_none() {
            slot.shots = Some(VecDeque::new());
        }
        slot.begin_anew();
        Some(slot.call.insert(Box::new(call)))
    }

    /// Takes the next shot of a stream.
    pub fn take_shot(&mut self, token: Token) -> Option<Shot> {
        self.slot_mut(token)?.shots.as_mut()?.pop_front()
    }

    /// How many shots of a stream nobody has taken yet.
    pub fn shots_waiting(&self, token: Token) -> usize {
        let shots = self.slot(token).and_then(|slot| slot.shots.as_ref());
        shots.map_or(0, VecDeque::len)
    }

    /// Takes the places of calls whose lent memory has become free after their party had left.
    pub fn take_released(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.released)
    }

    /// Gives back the call of a party, once its completion has come.
    pub fn take_call(&mut self, token: Token) -> Option<Box<Call>> {
        let slot = self.slot_mut(token).filter(|slot| !slot.submitted)?;
        slot.call.take()
    }

    /// Whether a completion is due for a call that may hang: see [`Call::may_hang`].
    pub fn may_hang(&self, token: Token) -> bool {
        let slot = self.slot(token).filter(|slot| slot.submitted);
        slot.and_then(|slot| slot.call.as_ref())
            .is_some_and(|call| call.may_hang())
    }

    /// Whether a completion for `token` is due.
    pub fn is_submitted(&self, token: Token) -> bool {
        self.slot(token).is_some_and(|slot| slot.submitted)
    }

    /// How many operations a close must wait for.
    pub fn awaited_count(&self) -> usize {
        self.awaited
    }

    /// The tokens of the operations that a close must wait for, whether their parties have left or not.
    pub fn awaited_tokens(&self) -> Vec<Token> {
        let numbered = self.slots.iter().enumerate();
        numbered
            .filter(|(_, slot)| slot.submitted && slot.awaited && !slot.lingers)
            .map(|(number, slot)| Token::new(number as u32, slot.generation))
            .collect()
    }

    /// Notes a wakeup. Returns whether the caller must queue the party, because it was parked without one. A completion
    /// is never lost: it replaces a timeout or wake that the party has not taken yet.
    pub fn fire(&mut self, token: Token, wakeup: Wakeup) -> bool {
        if let Wakeup::Completed(result) = wakeup {
            return self.complete(token, Completion::of(result));
        }
        self.slot_mut(token).is_some_and(|slot| slot.note(wakeup))
    }

    /// Notes a completion, as [`fire`](Self::fire).
    pub fn complete(&mut self, token: Token, completion: Completion) -> bool {
        let Some(slot) = self.slot_mut(token) else {
            self.note_guard(token, completion.result);
            return false;
        };
        let parked = slot.payload.is_some();
        let result = completion.result;
        let mut turnabout = None;
        let must_queue = if completion.notice {
            false
        } else if let (Some(shots), true) = (&mut slot.shots, parked) {
            // The stream ended because no buffer was free, or because the driver cancelled it. It brought nothing, and
            // must start again.
            let cancelled = slot.crowded && !slot.ended && result == -libc::ECANCELED;
            let paused = result == -libc::ENOBUFS || cancelled;
            if !paused {
                let bytes = completion.bytes;
                shots.push_back(Shot { result, bytes });
                if completion.more && !slot.crowded && shots.len() >= SHOTS_MAX {
                    turnabout = Some(Turnabout::End);
                }
            } else if slot.guard == Guard::HungUp && shots.len() < SHOTS_MAX {
                turnabout = Some(Turnabout::Start);
            }
            slot.crowded = completion.more && (slot.crowded || turnabout.is_some());
            turnabout != Some(Turnabout::Start) && slot.note(Wakeup::Woken)
        } else {
            slot.note(Wakeup::Completed(result))
        };
        if !parked && !completion.notice {
            slot.undo(result);
        }
        let (awaited, lingers) = (slot.awaited, slot.lingers);
        if !completion.more && std::mem::take(&mut slot.submitted) {
            if !parked {
                if completion.notice {
                    self.released.push(token);
                }
                self.recycle(token);
            }
            self.awaited -= usize::from(awaited && !lingers);
            self.lingering -= usize::from(lingers);
        } else if completion.more && slot.shots.is_none() && !lingers {
            self.linger(token);
        }
        if let Some(turnabout) = turnabout {
            self.turnabouts.push((token, turnabout));
        }
        must_queue
    }

    /// Notes that a token came out of the ready queue. Returns whether its party still waits for its turn.
    pub fn dequeued(&mut self, token: Token) -> bool {
        self.slot_mut(token)
            .is_some_and(|slot| std::mem::take(&mut slot.queued))
    }

    /// Puts a party back in line that was handed out but has not taken its wakeup. Returns whether the caller must
    /// queue it.
    pub fn requeue(&mut self, token: Token) -> bool {
        let slot = self.slot_mut(token);
        slot.is_some_and(|slot| slot.wakeup.is_some() && !std::mem::replace(&mut slot.queued, true))
    }

    /// Takes the wakeup of a party whose turn has come.
    pub fn take_wakeup(&mut self, token: Token) -> Option<Wakeup> {
        self.slot_mut(token)
            .filter(|slot| !slot.queued)?
            .wakeup
            .take()
    }

    /// Takes the wakeup of a party before its turn has come.
    pub fn take_wakeup_early(&mut self, token: Token) -> Option<Wakeup> {
        let slot = self.slot_mut(token)?;
        slot.queued = false;
        slot.wakeup.take()
    }

    /// Whether a party is parked under `token` and has a wakeup to take.
    pub fn has_wakeup(&self, token: Token) -> bool {
        self.slot(token).is_some_and(|slot| slot.wakeup.is_some())
    }

    /// Whether the party of `token` may go on for another reason than its deadline.
    pub fn goes_on_in_time(&self, token: Token) -> bool {
        let wakeup = self.slot(token).and_then(|slot| slot.wakeup);
        wakeup.is_some_and(|wakeup| wakeup != Wakeup::TimedOut)
    }

    /// Sets or clears the deadline and returns the one before.
    pub fn set_deadline(&mut self, token: Token, deadline: Option<Instant>) -> Option<Instant> {
        let slot = self.slot_mut(token)?;
        std::mem::replace(&mut slot.deadline, deadline)
    }

    /// Whether `deadline` is the one that `token` has now.
    pub fn has_deadline(&self, token: Token, deadline: Instant) -> bool {
        self.slot(token)
            .is_some_and(|slot| slot.deadline == Some(deadline))
    }

    /// Lets a party leave, and returns its payload. The slot becomes free when no completion is due.
    pub fn leave(&mut self, token: Token) -> Option<P> {
        let slot = self.slot_mut(token)?;
        let payload = slot.payload.take()?;
        if let Some(Wakeup::Completed(result)) = slot.wakeup {
            slot.undo(result);
        }
        if let (Some(call), Some(shots)) = (&slot.call, &slot.shots) {
            shots.iter().for_each(|shot| call.undo(shot.result));
        }
        if let Some(shots) = &mut slot.shots {
            shots.clear();
        }
        slot.wakeup = None;
        slot.queued = false;
        slot.deadline = None;
        // An alarm ends with its deadline.
        slot.submitted &= !slot.alarm;
        if !slot.submitted {
            self.recycle(token);
        } else if slot.lingers {
            // The call has done its work on the descriptor, so a close need not wait for it.
            self.users.remove(token.slot());
        }
        Some(payload)
    }

    fn recycle(&mut self, token: Token) {
        let slot = &mut self.slots[token.slot()];
        debug_assert!(slot.payload.is_none() && !slot.submitted);
        slot.call = None;
        slot.lingers = false;
        slot.link = Link::default();
        slot.shots = None;
        slot.crowded = false;
        slot.guard = Guard::default();
        slot.begin_anew();
        slot.ended = false;
        self.users.remove(token.slot());
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(token.slot() as u32);
    }
}

impl<P> Drop for InFlight<P> {
    /// Leaks the calls that nobody has waited for: the kernel or a worker may still use their memory.
    fn drop(&mut self) {
        let in_use = |slot: &&mut Slot<P>| slot.submitted && slot.awaited;
        for slot in self.slots.iter_mut().filter(in_use) {
            std::mem::forget(slot.call.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_with_an_operation_is_kept_until_its_completion() {
        let mut table = InFlight::default();
        let first = table.park("a", 0);
        table.submitted(first, true);
        assert_eq!(table.leave(first), Some("a"));
        let second = table.park("b", 0);
        assert_ne!(first.slot(), second.slot());
        assert!(!table.fire(first, Wakeup::Completed(5)));
        assert_eq!(table.awaited_count(), 0);
        let third = table.park("c", 0);
        assert_eq!(first.slot(), third.slot());
        assert_ne!(first, third);
    }

    #[test]
    fn a_wakeup_for_an_earlier_park_is_dropped() {
        let mut table = InFlight::default();
        let first = table.park("a", 0);
        table.leave(first);
        let second = table.park("b", 0);
        assert!(!table.fire(first, Wakeup::Woken));
        assert_eq!(table.take_wakeup(second), None);
    }

    #[test]
    fn a_wakeup_for_an_abandoned_operation_leaves_its_slot_alone() {
        let mut table = InFlight::default();
        let token = table.park("a", 0);
        table.submitted(token, true);
        table.leave(token);
        assert!(!table.fire(token, Wakeup::Woken));
        assert_ne!(table.park("b", 0).slot(), token.slot());
    }

    #[test]
    fn a_party_that_leaves_what_is_a_matter_of_time_gives_its_slot_back() {
        let mut table = InFlight::default();
        let token = table.park("a", 0);
        table.set_alarm(token);
        table.leave(token);
        assert_eq!(table.park("b", 0).slot(), token.slot());
    }

    #[test]
    fn memory_that_may_be_in_use_outlives_the_table() {
        let memory = std::sync::Arc::new(crate::SharedMemory::new(1).unwrap());
        let mut table = InFlight::default();
        for is_submitted in [true, false] {
            let token = table.park("a", 0);
            let call = Call::Read {
                fd: 0,
                target: None,
                memory: crate::Memory::Shared(std::sync::Arc::clone(&memory)),
            };
            table.keep(token, call);
            if is_submitted {
                table.submitted(token, true);
            }
        }
        drop(table);
        assert_eq!(std::sync::Arc::strong_count(&memory), 2);
    }

    #[test]
    fn a_completion_replaces_a_timeout_that_was_not_taken() {
        let mut table = InFlight::default();
        let token = table.park("a", 0);
        table.submitted(token, true);
        assert!(table.fire(token, Wakeup::TimedOut));
        assert!(!table.fire(token, Wakeup::Completed(7)));
        assert!(table.dequeued(token));
        assert_eq!(table.take_wakeup(token), Some(Wakeup::Completed(7)));
    }

    #[test]
    fn a_party_that_was_handed_out_in_vain_can_be_queued_again() {
        let mut table = InFlight::default();
        let token = table.park("a", 0);
        assert!(!table.requeue(token));
        table.fire(token, Wakeup::Woken);
        table.dequeued(token);
        assert!(table.requeue(token));
        assert!(!table.requeue(token));
        assert_eq!(table.take_wakeup(token), None);
        assert!(table.dequeued(token));
        assert_eq!(table.take_wakeup(token), Some(Wakeup::Woken));
    }

    #[test]
    fn a_second_wakeup_does_not_queue_the_party_again() {
        let mut table = InFlight::default();
        let token = table.park("a", 0);
        assert!(table.fire(token, Wakeup::Woken));
        assert!(!table.fire(token, Wakeup::TimedOut));
        assert_eq!(table.take_wakeup(token), None);
        assert!(table.dequeued(token));
        assert_eq!(table.take_wakeup(token), Some(Wakeup::Woken));
    }
}
