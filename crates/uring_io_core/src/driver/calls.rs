//! Calls, chains and streams of a driver, and the tables of its ring that they use.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::parks::Parks;
use super::Driver;
use crate::backend::Backend;
use crate::backend_kind::BackendKind;
use crate::call::blocking::PinnedCall;
use crate::call::{Call, Link};
use crate::completion::StartedCall;
use crate::error::Result;
use crate::in_flight::{Shot, Wakeup};
use crate::operation::{Interest, LentBuffer, Operation};
use crate::token::Token;

impl<P> Driver<P> {
    /// Starts a call for a parked party. [`Wakeup::Completed`] wakes the party, which gets the call back from
    /// [`take_call`](Self::take_call). A party that leaves first abandons the call: the driver then closes the
    /// descriptors that it opens.
    pub fn call(&self, token: Token, call: Call) -> Result<()> {
        self.submitted.set(true);
        if self.recorder.is_on() {
            self.record_call(token, &call);
        }
        let mut parks = self.parks.borrow_mut();
        for fd in call.about() {
            parks.is_about(token, fd);
        }
        let refused = parks.in_flight.is_ended(token);
        let Some(call) = parks.in_flight.keep(token, call) else {
            return Ok(());
        };
        if refused {
            drop(parks);
            self.refuse(token);
            return Ok(());
        }
        let started = self
            .backend
            .borrow_mut()
            .start_call(token, call, &self.counts)?;
        match started {
            StartedCall::Submitted => {
                parks.in_flight.submitted(token, true);
                if let Some(fd) = parks.in_flight.arm_guard(token) {
                    let mut backend = self.backend.borrow_mut();
                    backend.ring()?.guard(token, fd, &self.counts)?;
                }
            }
            StartedCall::Timer(length) => {
                parks.in_flight.set_alarm(token);
                let deadline = Instant::now().checked_add(length);
                parks.set_deadline(token, deadline);
            }
            StartedCall::Done(result) => {
                parks.in_flight.submitted(token, true);
                parks.fire(token, Wakeup::Completed(result));
                if self.recorder.is_on() {
                    self.record_completed(token, result);
                }
            }
            StartedCall::Blocking => {
                let call = PinnedCall::new(call);
                drop(parks);
                self.run(token, true, |workers| workers.submit_call(token, call))?;
            }
        }
        Ok(())
    }

    /// Polls in the place of a call on `fd`, which the party makes again afterwards. Polls `fd` itself, or `set`: a set
    /// of [`watch`](crate::watch) that contains `fd`. Completes as a poll.
    pub fn poll_for(
        &self,
        token: Token,
        fd: RawFd,
        interest: Interest,
        set: Option<RawFd>,
    ) -> Result<()> {
        self.parks.borrow_mut().in_flight.stand_in(token, fd);
        if self.is_ended(token) {
            self.refuse(token);
            return Ok(());
        }
        let operation = match set {
            Some(set) => Operation::Poll {
                fd: set,
                interest: Interest::READABLE,
            },
            None => Operation::Poll { fd, interest },
        };
        if let Some(result) = self.submit(token, &operation)? {
            let mut parks = self.parks.borrow_mut();
            parks.in_flight.submitted(token, true);
            parks.fire(token, Wakeup::Completed(result));
        }
        Ok(())
    }

    /// As [`poll_for`](Self::poll_for), but it lets some time pass: completes with `-ETIME`.
    pub fn pause_for(&self, token: Token, fd: RawFd, length: Duration) {
        let mut parks = self.parks.borrow_mut();
        parks.in_flight.stand_in(token, fd);
        if parks.in_flight.is_ended(token) {
            drop(parks);
            self.refuse(token);
            return;
        }
        parks.in_flight.set_alarm(token);
        let deadline = Instant::now().checked_add(length);
        parks.set_deadline(token, deadline);
    }

    /// Starts a stream again that the driver had cancelled for now.
    pub(super) fn start_again(
        &self,
        parks: &mut Parks<P>,
        backend: &mut Backend,
        token: Token,
    ) -> Result<()> {
        let Some(call) = parks.in_flight.call_to_start_again(token) else {
            parks.fire(token, Wakeup::Woken);
            return Ok(());
        };
        backend.start_call(token, call, &self.counts)?;
        self.submitted.set(true);
        parks.in_flight.submitted(token, true);
        Ok(())
    }

    /// Whether a stream has a guard, which holds the file of its descriptor.
    pub fn is_guarded(&self, token: Token) -> bool {
        self.parks.borrow().in_flight.is_guarded(token)
    }

    /// Ends the guard of a stream, if it has one.
    pub(super) fn end_guard(&self, token: Token) -> Result<()> {
        if !self.parks.borrow_mut().in_flight.end_guard(token) {
            return Ok(());
        }
        let mut backend = self.backend.borrow_mut();
        backend.cancel(token.guard(), &self.counts)
    }

    /// Starts calls that follow each other in the kernel, each under its token: a call begins when the one before it
    /// has succeeded. The kernel gets all of them in one submission, or none. Only io_uring has chains, of at most
    /// [`chain_length_max`](Self::chain_length_max) calls.
    pub fn chain(&self, calls: Vec<(Token, Call, Link)>) -> Result<()> {
        self.submitted.set(true);
        let mut parks = self.parks.borrow_mut();
        let mut backend = self.backend.borrow_mut();
        let tokens: Vec<Token> = calls.iter().map(|(token, ..)| *token).collect();
        let last = tokens.len().wrapping_sub(1);
        let mut refused = false;
        for (number, (token, call, link)) in calls.into_iter().enumerate() {
            if self.recorder.is_on() {
                self.record_call(token, &call);
            }
            for fd in call.about_in_chain(link) {
                parks.is_about(token, fd);
            }
            refused |= parks.in_flight.is_ended(token);
            if let Some(call) = parks.in_flight.keep_linked(token, call, link) {
                backend.link(token, call, link, number == last, &self.counts)?;
            }
        }
        if refused {
            backend.ring()?.drop_chain();
            drop((parks, backend));
            tokens.into_iter().for_each(|token| self.refuse(token));
            return Ok(());
        }
        let take = |token, completion| parks.complete(token, completion);
        backend.start_chain(&self.counts, take)?;
        for token in tokens {
            parks.in_flight.submitted(token, true);
        }
        Ok(())
    }

    /// Whether the backend has chains: see [`chain`](Self::chain).
    pub fn chains_in_kernel(&self) -> bool {
        self.kind == BackendKind::IoUring
    }

    /// Whether the rest of a chain must wait for the result of this call. The kernel would not notice that the call has
    /// failed, or would take the end of a timeout for a failure.
    pub fn chain_must_look(&self, call: &Call) -> bool {
        let mut backend = self.backend.borrow_mut();
        let mut succeeds = || backend.ring().is_ok_and(|ring| ring.timeouts_succeed());
        call.fails_unnoticed() || matches!(call, Call::Timeout { .. }) && !succeeds()
    }

    /// The most calls that a chain may have: as many as the ring, or its options, have entries.
    pub fn chain_length_max(&self) -> usize {
        let mut backend = self.backend.borrow_mut();
        let asked = self.entries.next_power_of_two() as usize;
        backend.ring().map_or(asked, |ring| ring.chain_length_max())
    }

    /// Takes `count` free direct descriptors of the ring. Fails with `ENFILE` when there are fewer.
    pub fn take_slots(&self, count: usize) -> Result<Vec<u32>> {
        self.backend.borrow_mut().ring()?.take_slots(count)
    }

    /// Gives direct descriptors back, and closes those that `is_open` names.
    pub fn give_slots(&self, slots: &[u32], is_open: impl Fn(u32) -> bool) -> Result<()> {
        let mut backend = self.backend.borrow_mut();
        backend.ring()?.give_slots(slots, is_open)
    }

    /// Registers memory with the ring, for [`Call::ReadFixed`] and [`Call::WriteFixed`], and returns its number. The
    /// memory stays lent until [`unregister`](Self::unregister), or until the driver is closed.
    pub fn register(&self, buffer: LentBuffer) -> Result<u16> {
        self.backend.borrow_mut().ring()?.register(buffer)
    }

    /// Ends the registration of memory that nothing in flight uses.
    pub fn unregister(&self, number: u16) -> Result<()> {
        self.backend.borrow_mut().ring()?.unregister(number)
    }

    /// Whether [`call`](Self::call) takes this stream.
    pub fn can_stream(&self, call: &Call) -> bool {
        let mut backend = self.backend.borrow_mut();
        backend.ring().is_ok_and(|ring| ring.can_stream(call))
    }

    /// Takes the next shot of the stream under `token`. [`Wakeup::Woken`] wakes its party when there are more.
    pub fn take_shot(&self, token: Token) -> Option<Shot> {
        self.parks.borrow_mut().in_flight.take_shot(token)
    }

    /// How many shots of a stream nobody has taken yet.
    pub fn shots_waiting(&self, token: Token) -> usize {
        self.parks.borrow().in_flight.shots_waiting(token)
    }

    /// Takes the tokens of calls whose party left while the kernel still used memory lent to them. The kernel is done
    /// with that memory now.
    pub fn take_released(&self) -> Vec<Token> {
        self.parks.borrow_mut().in_flight.take_released()
    }

    /// The descriptor of the ring, for [`Call::Nudge`] from another one; `None` without io_uring. Any thread may call
    /// this, as [`wake`](Self::wake).
    pub fn ring_descriptor(&self) -> Option<RawFd> {
        self.ring_descriptor
    }

    /// Asks every call that waits for this descriptor to end, and returns how many there were.
    pub fn cancel_on(&self, fd: RawFd) -> Result<usize> {
        let mut parks = self.parks.borrow_mut();
        let about_to = parks.in_flight.about_to_wait_on(fd);
        for token in &about_to {
            parks.fire(*token, Wakeup::Completed(-libc::ECANCELED));
        }
        let waiting = parks.in_flight.waiting_on(fd);
        drop(parks);
        for token in &waiting {
            self.cancel(*token)?;
        }
        Ok(about_to.len() + waiting.len())
    }

    /// Call this before closing a descriptor that somebody may have started an operation on, so that the
    /// operation does not run on another file that gets the number. io_uring hands the operation to the
    /// kernel, which holds the file from then on; a readiness backend ends it with `-EBADF`. False when the
    /// kernel takes nothing now (`EAGAIN`, `EBUSY` or `ENOMEM`): call it again then.
    pub fn before_close(&self, fd: RawFd) -> Result<bool> {
        let mut parks = self.parks.borrow_mut();
        let take = |token, completion| parks.complete(token, completion);
        let mut backend = self.backend.borrow_mut();
        backend.before_close(fd, &self.counts, take)
    }

    /// Says how many completions the next wait is for. One system call then brings them, if they come within a moment.
    pub fn want(&self, completions: usize) {
        if let Ok(ring) = self.backend.borrow_mut().ring() {
            ring.want(completions);
        }
    }

    /// Looks for completions for a moment without a system call, if the kernel has a thread that brings them.
    /// Returns whether there are some.
    pub fn spin(&self, most: Duration) -> bool {
        let mut backend = self.backend.borrow_mut();
        backend.ring().is_ok_and(|ring| ring.spin(most))
    }

    /// Whether a party still waits for a call that may hang. Cancel such a call again and again: Linux 6.1 loses a cancel
    /// that comes just when one of its threads takes the work.
    pub fn may_hang(&self, token: Token) -> bool {
        self.parks.borrow().in_flight.may_hang(token)
    }

    /// Returns the call of a party whose completion has come.
    pub fn take_call(&self, token: Token) -> Option<Box<Call>> {
        self.parks.borrow_mut().in_flight.take_call(token)
    }
}
