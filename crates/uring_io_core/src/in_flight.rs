//! The in-flight table: every party that is parked, and every operation whose completion is due.
//!
//! A slot is taken by a park and given back when both are over: the party has left and the
//! operation, if there was one, has completed. An operation whose party left first is *abandoned*:
//! nobody waits for it, but its slot stays taken until the completion says that the kernel is done.

use std::time::Instant;

use crate::call::Call;
use crate::token::Token;

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

#[derive(Debug)]
struct Slot<P> {
    generation: u32,
    /// Present while a party is parked here.
    payload: Option<P>,
    /// Whether a completion is due.
    submitted: bool,
    /// Whether whoever closes must wait for that completion.
    awaited: bool,
    /// Set once the party may go on, and not yet taken by it.
    wakeup: Option<Wakeup>,
    /// Whether the party is in the ready queue: it goes on when its turn comes.
    queued: bool,
    deadline: Option<Instant>,
    /// The call that is in flight, with the memory that the kernel uses for it.
    call: Option<Box<Call>>,
}

/// Slots by number, with a list of the free ones.
#[derive(Debug)]
pub(crate) struct InFlight<P> {
    slots: Vec<Slot<P>>,
    free: Vec<u32>,
    /// Operations whose completion must be awaited before everything can be closed.
    awaited: usize,
}

impl<P> Default for InFlight<P> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            awaited: 0,
        }
    }
}

impl<P> InFlight<P> {
    /// Takes a slot for a party.
    pub fn park(&mut self, payload: P) -> Token {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                payload: None,
                submitted: false,
                awaited: false,
                wakeup: None,
                queued: false,
                deadline: None,
                call: None,
            });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[number as usize];
        slot.payload = Some(payload);
        Token::new(number, slot.generation)
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

    /// Notes that a completion for `token` is due, and whether a close must wait for it: not for
    /// work that uses memory of its own only.
    pub fn submitted(&mut self, token: Token, awaited: bool) {
        if let Some(slot) = self.slot_mut(token) {
            slot.submitted = true;
            slot.awaited = awaited;
            self.awaited += usize::from(awaited);
        }
    }

    /// Keeps a call until its completion. Returns it where it stays until then.
    pub fn keep(&mut self, token: Token, call: Call) -> Option<&mut Call> {
        let slot = self.slot_mut(token)?;
        Some(slot.call.insert(Box::new(call)))
    }

    /// Gives back the call of a party, once its completion has come.
    pub fn take_call(&mut self, token: Token) -> Option<Box<Call>> {
        let slot = self.slot_mut(token).filter(|slot| !slot.submitted)?;
        slot.call.take()
    }

    /// Whether a completion for `token` is due.
    pub fn is_submitted(&self, token: Token) -> bool {
        self.slot(token).is_some_and(|slot| slot.submitted)
    }

    /// Number of operations whose completion must be awaited.
    pub fn awaited_count(&self) -> usize {
        self.awaited
    }

    /// Tokens whose completion must be awaited, parties present or not.
    pub fn awaited_tokens(&self) -> Vec<Token> {
        let numbered = self.slots.iter().enumerate();
        numbered
            .filter(|(_, slot)| slot.submitted && slot.awaited)
            .map(|(number, slot)| Token::new(number as u32, slot.generation))
            .collect()
    }

    /// Notes a wakeup. True when the party was parked without one and must be queued to run. A
    /// completion is never lost: it takes the place of a timeout or wake that was not taken yet.
    pub fn fire(&mut self, token: Token, wakeup: Wakeup) -> bool {
        let Some(slot) = self.slot_mut(token) else {
            return false;
        };
        let completed = matches!(wakeup, Wakeup::Completed(_));
        let parked = slot.payload.is_some();
        let must_queue = parked && slot.wakeup.is_none();
        slot.queued |= must_queue;
        if parked && (must_queue || completed) {
            slot.wakeup = Some(wakeup);
        }
        if completed && std::mem::take(&mut slot.submitted) {
            let awaited = slot.awaited;
            if !parked {
                if let (Some(call), Wakeup::Completed(result)) = (&slot.call, wakeup) {
                    call.undo(result);
                }
                self.recycle(token);
            }
            self.awaited -= usize::from(awaited);
        }
        must_queue
    }

    /// Notes that a token came out of the ready queue. False when it is of no use any more.
    pub fn dequeued(&mut self, token: Token) -> bool {
        self.slot_mut(token)
            .is_some_and(|slot| std::mem::take(&mut slot.queued))
    }

    /// Puts a party that was handed out but has not taken its wakeup back in line. True when it
    /// must be queued.
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

    /// The party goes: gives back its payload. The slot follows when no completion is due.
    pub fn leave(&mut self, token: Token) -> Option<P> {
        let slot = self.slot_mut(token)?;
        let payload = slot.payload.take()?;
        if let (Some(call), Some(Wakeup::Completed(result))) = (&slot.call, slot.wakeup) {
            call.undo(result);
        }
        slot.wakeup = None;
        slot.queued = false;
        slot.deadline = None;
        if !slot.submitted {
            self.recycle(token);
        }
        Some(payload)
    }

    fn recycle(&mut self, token: Token) {
        let slot = &mut self.slots[token.slot()];
        debug_assert!(slot.payload.is_none() && !slot.submitted);
        slot.call = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(token.slot() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_with_an_operation_is_kept_until_its_completion() {
        let mut table = InFlight::default();
        let first = table.park("a");
        table.submitted(first, true);
        assert_eq!(table.leave(first), Some("a"));
        let second = table.park("b");
        assert_ne!(first.slot(), second.slot());
        assert!(!table.fire(first, Wakeup::Completed(5)));
        assert_eq!(table.awaited_count(), 0);
        let third = table.park("c");
        assert_eq!(first.slot(), third.slot());
        assert_ne!(first, third);
    }

    #[test]
    fn a_wakeup_for_an_earlier_park_is_dropped() {
        let mut table = InFlight::default();
        let first = table.park("a");
        table.leave(first);
        let second = table.park("b");
        assert!(!table.fire(first, Wakeup::Woken));
        assert_eq!(table.take_wakeup(second), None);
    }

    #[test]
    fn a_wakeup_for_an_abandoned_operation_leaves_its_slot_alone() {
        let mut table = InFlight::default();
        let token = table.park("a");
        table.submitted(token, true);
        table.leave(token);
        assert!(!table.fire(token, Wakeup::Woken));
        assert_ne!(table.park("b").slot(), token.slot());
    }

    #[test]
    fn a_completion_replaces_a_timeout_that_was_not_taken() {
        let mut table = InFlight::default();
        let token = table.park("a");
        table.submitted(token, true);
        assert!(table.fire(token, Wakeup::TimedOut));
        assert!(!table.fire(token, Wakeup::Completed(7)));
        assert!(table.dequeued(token));
        assert_eq!(table.take_wakeup(token), Some(Wakeup::Completed(7)));
    }

    #[test]
    fn a_party_that_was_handed_out_in_vain_can_be_queued_again() {
        let mut table = InFlight::default();
        let token = table.park("a");
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
        let token = table.park("a");
        assert!(table.fire(token, Wakeup::Woken));
        assert!(!table.fire(token, Wakeup::TimedOut));
        assert_eq!(table.take_wakeup(token), None);
        assert!(table.dequeued(token));
        assert_eq!(table.take_wakeup(token), Some(Wakeup::Woken));
    }
}
