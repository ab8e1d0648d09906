//! The driver: parks parties, starts their operations, and says who may go on.
//!
//! Life of one read: `park` takes a slot for the party, `submit` queues the operation under the
//! slot's token, the party lets others run; `begin_turn` and `wait` pass everything queued to the
//! kernel in one call; the completion fires the token, which goes to the ready queue; `next_ready`
//! hands it out; the party takes its wakeup and leaves.
//!
//! All methods take `&self` and no borrow outlives a call, so that the owner may call in again
//! from wherever a party runs. The type is not `Sync`: whoever shares it between threads must see
//! to it that only one runs inside at a time. The one exception is [`Driver::wait`]: while it is
//! in the kernel others may call [`Driver::wake`], [`Driver::complete`], [`Driver::with_payloads`]
//! and [`Driver::is_waiting`], which touch nothing that a wait uses.

mod closing;

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::backend_kind::BackendKind;
use crate::call::blocking::PinnedCall;
use crate::call::{Call, Link};
use crate::completion::{Completion, Started, StartedCall};
use crate::error::Result;
use crate::in_flight::{InFlight, Shot, Wakeup};
use crate::operation::{LentBuffer, Operation, Target, Transfer};
use crate::platform::numbers;
use crate::posix;
use crate::ready_queue::ReadyQueue;
use crate::ring_options::Options as RingOptions;
use crate::stats::{Counts, Stats};
use crate::timers::Timers;
use crate::token::Token;
use crate::waker::Waker;
use crate::worker_pool::{Job, WorkerPool};

/// How a driver is made.
#[derive(Clone)]
pub struct Options {
    /// The backend.
    pub backend: BackendKind,
    /// Ring size and mode; the readiness backends ignore it.
    pub ring: RingOptions,
    /// Most threads that blocking work may use at once.
    pub workers_max: usize,
}

/// What the owner should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Run what [`Driver::next_ready`] hands out.
    Ready,
    /// Nothing can run: call [`Driver::wait`] with this timeout (`None` for ever).
    Idle(Option<Duration>),
}

/// State that changes together: who is parked, until when, and who may run.
struct Parks<P> {
    in_flight: InFlight<P>,
    timers: Timers,
    ready: ReadyQueue,
    /// Descriptors that are about to be closed, and the number of who does that: see `closing.rs`.
    closing: Vec<(RawFd, u64)>,
    /// Operations that are to be cancelled for that.
    ending: Vec<Token>,
}

/// When a deadline is looked at again that has passed while its party had another reason to go on.
const AGAIN: Duration = Duration::from_millis(1);

impl<P> Parks<P> {
    fn fire(&mut self, token: Token, wakeup: Wakeup) {
        if self.in_flight.fire(token, wakeup) {
            self.ready.push(token);
        }
    }

    fn complete(&mut self, token: Token, completion: Completion) {
        if self.in_flight.complete(token, completion) {
            self.ready.push(token);
        }
    }

    fn set_deadline(&mut self, token: Token, deadline: Option<Instant>) {
        let before = self.in_flight.set_deadline(token, deadline);
        if before.is_some() {
            let in_flight = &self.in_flight;
            self.timers
                .cancel(|token, deadline| in_flight.has_deadline(token, deadline));
        }
        if let Some(deadline) = deadline {
            self.timers.arm(deadline, token);
        }
    }

    /// Whether a deadline has passed at `now`.
    fn is_due(&mut self, now: Instant) -> bool {
        self.next_deadline().is_some_and(|deadline| deadline <= now)
    }

    fn expire(&mut self, now: Instant) {
        loop {
            let in_flight = &self.in_flight;
            let expired = self
                .timers
                .expire(now, |token, at| in_flight.has_deadline(token, at));
            let Some(token) = expired else { return };
            self.in_flight.set_deadline(token, None);
            if self.in_flight.goes_on_in_time(token) && !self.in_flight.is_alarm(token) {
                // It may wait on afterwards.
                self.set_deadline(token, now.checked_add(AGAIN));
                continue;
            }
            let passed = if self.in_flight.is_alarm(token) {
                Wakeup::Completed(-numbers::ETIME)
            } else {
                Wakeup::TimedOut
            };
            self.fire(token, passed);
        }
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let in_flight = &self.in_flight;
        self.timers
            .next(|token, deadline| in_flight.has_deadline(token, deadline))
    }
}

/// Operations, timers and wakeups of one thread. `P` is what the owner keeps with each party.
pub struct Driver<P> {
    kind: BackendKind,
    /// What was asked for: the ring may have more.
    entries: u32,
    ring_descriptor: Option<RawFd>,
    parks: RefCell<Parks<P>>,
    backend: RefCell<Backend>,
    waker: Arc<Waker>,
    /// Made when the first job comes.
    workers: RefCell<Option<WorkerPool>>,
    workers_max: usize,
    waiting: Cell<bool>,
    /// Whether a descriptor is about to be closed.
    closes: Cell<bool>,
    /// Whether an operation was started since the backend was last looked at.
    submitted: Cell<bool>,
    /// Entries handed out since then.
    served: Cell<usize>,
    /// Operations completed at once since then.
    done_at_once: Cell<usize>,
    /// Operations completed at once since an entry was handed out.
    done_in_a_row: Cell<usize>,
    counts: Counts,
}

/// Entries served from the ready queue before a backend whose look costs a system call is asked.
const SERVED_MAX: usize = 64;

/// Operations that may complete at once before one is made to wait its turn, so that a party
/// whose input never runs dry cannot keep others from running.
const DONE_AT_ONCE_MAX: usize = 256;

impl<P> Driver<P> {
    /// Makes a driver that belongs to the calling thread.
    pub fn new(options: &Options) -> Result<Self> {
        let waker = Arc::new(Waker::new()?);
        let mut backend = Backend::new(options.backend, &options.ring, Arc::clone(&waker))?;
        Ok(Self {
            kind: options.backend,
            entries: options.ring.entries,
            ring_descriptor: backend.ring().ok().map(|ring| ring.descriptor()),
            parks: RefCell::new(Parks {
                in_flight: InFlight::default(),
                timers: Timers::default(),
                ready: ReadyQueue::default(),
                closing: Vec::new(),
                ending: Vec::new(),
            }),
            backend: RefCell::new(backend),
            waker,
            workers: RefCell::new(None),
            workers_max: options.workers_max,
            waiting: Cell::new(false),
            closes: Cell::new(false),
            submitted: Cell::new(false),
            served: Cell::new(0),
            done_at_once: Cell::new(0),
            done_in_a_row: Cell::new(0),
            counts: Counts::default(),
        })
    }

    /// The backend behind this driver.
    pub fn backend(&self) -> BackendKind {
        self.kind
    }

    /// Wakes the driver from any thread, see [`Waker`].
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.counts.snapshot()
    }

    /// Counts a system call that the owner made itself on behalf of an operation.
    pub fn count_direct_call(&self) {
        self.counts.direct_calls.add(1);
    }

    /// Takes a place for a party that is about to wait.
    pub fn park(&self, payload: P) -> Token {
        self.parks.borrow_mut().in_flight.park(payload)
    }

    /// Gives the place back and returns the payload; `None` when it was given back before.
    ///
    /// An operation still under way is abandoned: its completion is dropped. Memory lent to it
    /// stays lent until then, so take the completion first where memory is lent.
    pub fn leave(&self, token: Token) -> Option<P> {
        let mut parks = self.parks.borrow_mut();
        parks.set_deadline(token, None);
        parks.in_flight.leave(token)
    }

    /// Does an operation before its party parks, where the backend can and others have had their turn.
    /// `None` when it is to be submitted.
    pub fn attempt(&self, operation: &Operation) -> Option<i32> {
        let done = self.done_in_a_row.get();
        if done >= DONE_AT_ONCE_MAX || operation.fd().is_some_and(|fd| fd < 0) {
            return None;
        }
        let result = self.backend.borrow_mut().attempt(operation, &self.counts)?;
        self.note_done_at_once();
        Some(result)
    }

    /// Starts an operation for a parked party. `Some` is its result, with no completion to come;
    /// `None` means that the party is woken by [`Wakeup::Completed`].
    pub fn submit(&self, token: Token, operation: &Operation) -> Result<Option<i32>> {
        if operation.fd().is_some_and(|fd| fd < 0) {
            return Ok(Some(-libc::EBADF));
        }
        if self.closes.get() && self.is_ended(token) {
            self.refuse(token);
            return Ok(None);
        }
        self.submitted.set(true);
        let started = self
            .backend
            .borrow_mut()
            .start(token, operation, &self.counts)?;
        match started {
            Started::Done(result) if self.may_do_at_once() => return Ok(Some(result)),
            Started::Done(result) => self
                .parks
                .borrow_mut()
                .fire(token, Wakeup::Completed(result)),
            Started::Submitted => self.parks.borrow_mut().in_flight.submitted(token, true),
            Started::Blocking(transfer) => self.run_job(token, blocking(transfer), true)?,
        }
        Ok(None)
    }

    /// Starts a call for a parked party; it is woken by [`Wakeup::Completed`], and gets the call back
    /// from [`take_call`](Self::take_call). A party that leaves first abandons it: what it opens is
    /// closed again.
    pub fn call(&self, token: Token, call: Call) -> Result<()> {
        self.submitted.set(true);
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
            StartedCall::Submitted => parks.in_flight.submitted(token, true),
            StartedCall::Timer(length) => {
                parks.in_flight.set_alarm(token);
                let deadline = Instant::now().checked_add(length);
                parks.set_deadline(token, deadline);
            }
            StartedCall::Done(result) => {
                parks.in_flight.submitted(token, true);
                parks.fire(token, Wakeup::Completed(result));
            }
            StartedCall::Blocking => {
                let call = PinnedCall::new(call);
                drop(parks);
                self.run(token, true, |workers| workers.submit_call(token, call))?;
            }
        }
        Ok(())
    }

    /// Starts calls that follow each other in the kernel, each under its token: one begins when the one
    /// before has succeeded. All go to the kernel in one submission, or none. io_uring only, and at
    /// most [`chain_length_max`](Self::chain_length_max) of them.
    pub fn chain(&self, calls: Vec<(Token, Call, Link)>) -> Result<()> {
        self.submitted.set(true);
        let mut parks = self.parks.borrow_mut();
        let mut backend = self.backend.borrow_mut();
        let tokens: Vec<Token> = calls.iter().map(|(token, ..)| *token).collect();
        let last = tokens.len().wrapping_sub(1);
        let mut refused = false;
        for (number, (token, call, link)) in calls.into_iter().enumerate() {
            let direct = [link.direct_source, link.direct];
            for (fd, is_direct) in call.about().into_iter().zip(direct) {
                if !is_direct {
                    parks.is_about(token, fd);
                }
            }
            refused |= parks.in_flight.is_ended(token);
            if let Some(call) = parks.in_flight.keep_linked(token, call, link) {
                backend.link(token, call, link, number == last)?;
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

    /// The most calls that a chain has: the entries of the ring, or those that were asked for.
    pub fn chain_length_max(&self) -> usize {
        let mut backend = self.backend.borrow_mut();
        let asked = self.entries.next_power_of_two() as usize;
        backend.ring().map_or(asked, |ring| ring.chain_length_max())
    }

    /// Takes so many direct descriptors of the ring that are free: `ENFILE` when there are not as many.
    pub fn take_slots(&self, count: usize) -> Result<Vec<u32>> {
        self.backend.borrow_mut().ring()?.take_slots(count)
    }

    /// Gives direct descriptors back, and closes those that `is_open` names.
    pub fn give_slots(&self, slots: &[u32], is_open: impl Fn(u32) -> bool) -> Result<()> {
        let mut backend = self.backend.borrow_mut();
        backend.ring()?.give_slots(slots, is_open)
    }

    /// Registers memory with the ring, for [`Call::ReadFixed`] and [`Call::WriteFixed`]: its number. It
    /// stays lent until [`unregister`](Self::unregister), or until the driver is closed.
    pub fn register(&self, buffer: LentBuffer) -> Result<u16> {
        self.backend.borrow_mut().ring()?.register(buffer)
    }

    /// Forgets memory that was registered, and that nothing in flight uses.
    pub fn unregister(&self, number: u16) -> Result<()> {
        self.backend.borrow_mut().ring()?.unregister(number)
    }

    /// Whether [`call`](Self::call) takes this one, a stream.
    pub fn can_stream(&self, call: &Call) -> bool {
        let mut backend = self.backend.borrow_mut();
        backend.ring().is_ok_and(|ring| ring.can_stream(call))
    }

    /// The next of what a stream under `token` has brought. Its party is woken by [`Wakeup::Woken`] when
    /// there is more.
    pub fn take_shot(&self, token: Token) -> Option<Shot> {
        self.parks.borrow_mut().in_flight.take_shot(token)
    }

    /// How much a stream has brought that was not taken.
    pub fn shots_waiting(&self, token: Token) -> usize {
        self.parks.borrow().in_flight.shots_waiting(token)
    }

    /// Tokens of calls whose party left while the kernel still used memory lent to them, and that it is
    /// done with since.
    pub fn take_released(&self) -> Vec<Token> {
        self.parks.borrow_mut().in_flight.take_released()
    }

    /// The descriptor of the ring, for [`Call::Nudge`] from another one; `None` without io_uring. Any
    /// thread, as [`wake`](Self::wake).
    pub fn ring_descriptor(&self) -> Option<RawFd> {
        self.ring_descriptor
    }

    /// Asks every call that is made on this descriptor to end: how many there were.
    pub fn cancel_on(&self, fd: RawFd) -> Result<usize> {
        let tokens: Vec<Token> = {
            let parks = self.parks.borrow();
            let calls = parks.in_flight.calls();
            calls
                .filter(|(_, call)| call.waits_on() == Some(fd))
                .map(|(token, _)| token)
                .collect()
        };
        for token in &tokens {
            self.cancel(*token)?;
        }
        Ok(tokens.len())
    }

    /// To be called before a descriptor is closed that somebody may have started an operation on, so that
    /// it is not carried out on whatever has the number then. On io_uring it goes to the kernel, which
    /// holds the file from there on; a readiness backend ends it with `-EBADF`. False when the kernel takes
    /// nothing now, by `EAGAIN`, `EBUSY` or `ENOMEM`: to be called again then.
    pub fn before_close(&self, fd: RawFd) -> Result<bool> {
        let mut parks = self.parks.borrow_mut();
        let take = |token, completion| parks.complete(token, completion);
        let mut backend = self.backend.borrow_mut();
        backend.before_close(fd, &self.counts, take)
    }

    /// Says how many completions the next wait is for, so that one system call brings them where that
    /// takes no longer than a moment.
    pub fn want(&self, completions: usize) {
        if let Ok(ring) = self.backend.borrow_mut().ring() {
            ring.want(completions);
        }
    }

    /// Looks for completions for a moment without a system call, where the kernel has a thread that
    /// brings them. Whether there are some.
    pub fn spin(&self, most: Duration) -> bool {
        let mut backend = self.backend.borrow_mut();
        backend.ring().is_ok_and(|ring| ring.spin(most))
    }

    /// Gives back the call of a party whose completion has come.
    pub fn take_call(&self, token: Token) -> Option<Box<Call>> {
        self.parks.borrow_mut().in_flight.take_call(token)
    }

    /// Whether one more operation may be over without its party parking. False after many in a row:
    /// then others must have a turn first, because this party's input may never run dry. Operations
    /// from before another party ran do not count, so that a party which does little at a time always
    /// does it in one go.
    pub fn may_do_at_once(&self) -> bool {
        let done = self.done_in_a_row.get();
        self.note_done_at_once();
        done < DONE_AT_ONCE_MAX
    }

    /// Whether [`may_do_at_once`](Self::may_do_at_once) would say no.
    pub fn is_row_over(&self) -> bool {
        self.done_in_a_row.get() >= DONE_AT_ONCE_MAX
    }

    /// Starts the row of [`may_do_at_once`](Self::may_do_at_once) anew.
    pub fn begin_row(&self) {
        self.done_in_a_row.set(0);
    }

    fn note_done_at_once(&self) {
        self.done_at_once.set(self.done_at_once.get() + 1);
        self.done_in_a_row.set(self.done_in_a_row.get() + 1);
    }

    /// Whether parties are ready to run.
    pub fn is_busy(&self) -> bool {
        !self.parks.borrow().ready.is_empty()
    }

    /// Has a worker thread do `job` for a parked party. Its result completes the token. A party
    /// that leaves, or a close, does not wait for it: the job owns what it uses.
    pub fn offload(&self, token: Token, job: Job) -> Result<()> {
        self.run_job(token, job, false)
    }

    fn run_job(&self, token: Token, job: Job, awaited: bool) -> Result<()> {
        self.run(token, awaited, |workers| workers.submit(token, job))
    }

    fn run(
        &self,
        token: Token,
        awaited: bool,
        submit: impl FnOnce(&WorkerPool) -> Result<()>,
    ) -> Result<()> {
        let mut workers = self.workers.borrow_mut();
        let pool = || WorkerPool::new(self.workers_max, Arc::clone(&self.waker));
        submit(workers.get_or_insert_with(pool))?;
        drop(workers);
        self.parks.borrow_mut().in_flight.submitted(token, awaited);
        Ok(())
    }

    /// Asks for the operation of `token` to end. Its completion still comes, and may say that it
    /// had succeeded already. What a worker thread has begun is not interrupted, but for an open that waits.
    pub fn cancel(&self, token: Token) -> Result<()> {
        if !self.parks.borrow().in_flight.is_submitted(token) {
            return Ok(());
        }
        if self.parks.borrow().in_flight.is_alarm(token) {
            let mut parks = self.parks.borrow_mut();
            parks.set_deadline(token, None);
            parks.fire(token, Wakeup::Completed(-libc::ECANCELED));
            return Ok(());
        }
        self.end(token)
    }

    fn end(&self, token: Token) -> Result<()> {
        let workers = self.workers.borrow();
        if workers.as_ref().is_some_and(|it| it.withdraw(token)) {
            let wakeup = Wakeup::Completed(-libc::ECANCELED);
            self.parks.borrow_mut().fire(token, wakeup);
            return Ok(());
        }
        if workers.as_ref().is_some_and(|it| it.interrupt(token)) {
            return Ok(());
        }
        self.backend.borrow_mut().cancel(token, &self.counts)
    }

    /// Asks for the operation of `token` to end, as [`cancel`](Self::cancel), and takes its
    /// completion if it comes without waiting, as it does for all that waits for a descriptor.
    /// `None`: the party must park until it comes.
    pub fn cancel_now(&self, token: Token) -> Result<Option<Wakeup>> {
        // Submitting runs the cancel; what it ended is reported by deferred work, one more look.
        const LOOKS_MAX: usize = 3;
        self.cancel(token)?;
        for _ in 0..LOOKS_MAX {
            if !self.is_submitted(token) {
                break;
            }
            self.look()?;
        }
        if self.is_submitted(token) {
            return Ok(None);
        }
        Ok(self.take_wakeup_early(token))
    }

    /// Whether an operation of `token` has yet to complete.
    pub fn is_submitted(&self, token: Token) -> bool {
        self.parks.borrow().in_flight.is_submitted(token)
    }

    /// Wakes the party of `token` with [`Wakeup::TimedOut`] after `timeout`, unless something
    /// wakes it earlier. `None` takes the deadline back; so does a timeout beyond the clock.
    pub fn set_timeout(&self, token: Token, timeout: Option<Duration>) {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.parks.borrow_mut().set_deadline(token, deadline);
    }

    /// Lets the party of `token` go on, after those that are ready. Nothing happens when it has
    /// left, or may go on already. Any thread, see the module's documentation.
    pub fn wake(&self, token: Token) {
        self.parks.borrow_mut().fire(token, Wakeup::Woken);
        if self.waiting.get() {
            self.waker.wake();
        }
    }

    /// Lets the party of `token` go on before those that are ready.
    pub fn wake_first(&self, token: Token) {
        let mut parks = self.parks.borrow_mut();
        if parks.in_flight.fire(token, Wakeup::Woken) {
            parks.ready.push_first(token);
        }
    }

    /// Queues the party of `token` again, first in line, if it was handed out and has not taken its
    /// wakeup: for a party that waited for something else when its turn came.
    pub fn requeue(&self, token: Token) {
        let mut parks = self.parks.borrow_mut();
        if parks.in_flight.requeue(token) {
            parks.ready.push_first(token);
        }
    }

    /// Takes the reason why the party of `token` may go on; `None` while it may not, or has not
    /// been handed out by [`next_ready`](Self::next_ready).
    pub fn take_wakeup(&self, token: Token) -> Option<Wakeup> {
        self.parks.borrow_mut().in_flight.take_wakeup(token)
    }

    /// As [`take_wakeup`](Self::take_wakeup), before the party's turn has come.
    pub fn take_wakeup_early(&self, token: Token) -> Option<Wakeup> {
        self.parks.borrow_mut().in_flight.take_wakeup_early(token)
    }

    /// Whether the party of `token` may go on.
    pub fn has_wakeup(&self, token: Token) -> bool {
        self.parks.borrow().in_flight.has_wakeup(token)
    }

    /// Calls `look` with the payload of the party parked under `token`.
    pub fn with_payload<R>(&self, token: Token, look: impl FnOnce(&P) -> R) -> Option<R> {
        self.parks.borrow().in_flight.payload(token).map(look)
    }

    /// Calls `look` with every parked party.
    pub fn with_payloads(&self, mut look: impl FnMut(Token, &P)) {
        self.parks
            .borrow()
            .in_flight
            .payloads()
            .for_each(|(token, payload)| look(token, payload));
    }

    /// The next party of this turn that may go on.
    pub fn next_ready(&self) -> Option<Token> {
        let mut parks = self.parks.borrow_mut();
        loop {
            let token = parks.ready.pop()?;
            if parks.in_flight.dequeued(token) {
                self.served.set(self.served.get() + 1);
                self.begin_row();
                return Some(token);
            }
        }
    }

    /// Lets everybody go on who may, for an owner that has no turns. Whether there was somebody.
    pub fn hand_out_all(&self) -> bool {
        let mut parks = self.parks.borrow_mut();
        let mut any = false;
        while let Some(token) = parks.ready.pop_any() {
            any |= parks.in_flight.dequeued(token);
        }
        any
    }

    /// Begins a turn: passes on what is queued, takes completions, expires deadlines.
    pub fn begin_turn(&self) -> Result<Turn> {
        self.collect();
        if !self.parks.borrow().timers.is_empty() {
            self.expire()?;
        }
        if self.parks.borrow().ready.is_empty() {
            let deadline = self.parks.borrow_mut().next_deadline();
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            return Ok(Turn::Idle(left));
        }
        let costly = self.backend.borrow().flush_is_costly();
        let overdue =
            self.served.get() >= SERVED_MAX || self.done_at_once.get() >= DONE_AT_ONCE_MAX;
        if !costly || overdue {
            self.look()?;
        }
        self.parks.borrow_mut().ready.begin_turn();
        Ok(Turn::Ready)
    }

    /// Waits in the kernel, having passed on what is queued. Begin a turn afterwards.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        let start = Instant::now();
        self.looked();
        let result = self.backend.borrow_mut().wait(timeout, &self.counts);
        self.counts
            .waiting_ns
            .add(start.elapsed().as_nanos() as u64);
        result
    }

    /// Says whether the owner is about to be, or is, in [`wait`](Self::wait), so that `wake` from
    /// another thread must reach into the kernel. Set before other threads can run.
    pub fn set_waiting(&self, waiting: bool) {
        self.waiting.set(waiting);
    }

    /// Whether the owner said that it waits.
    pub fn is_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// Notes that a completion for `token` is to come from elsewhere: see
    /// [`complete`](Self::complete).
    pub fn expect_completion(&self, token: Token) {
        self.parks.borrow_mut().in_flight.submitted(token, true);
    }

    /// Completes what [`expect_completion`](Self::expect_completion) was called for. Any thread,
    /// as [`wake`](Self::wake).
    pub fn complete(&self, token: Token, result: i32) {
        self.parks
            .borrow_mut()
            .fire(token, Wakeup::Completed(result));
        if self.waiting.get() {
            self.waker.wake();
        }
    }

    /// Asks every operation to end. Wait and call [`is_idle`](Self::is_idle) until they have; then
    /// [`close`](Self::close).
    pub fn cancel_all(&self) -> Result<()> {
        let tokens = self.parks.borrow().in_flight.awaited_tokens();
        for token in tokens {
            self.end(token)?;
        }
        Ok(())
    }

    /// Takes completions. True when the kernel and the workers are done with all memory lent to
    /// them.
    pub fn is_idle(&self) -> bool {
        self.collect();
        self.parks.borrow().in_flight.awaited_count() == 0
    }

    /// Ends every operation, waits until memory lent to them is free, and gives back every
    /// descriptor. Parties that are parked stay parked and see nothing of it; operations fail with
    /// `ESHUTDOWN` from now on. Wakers that were given out must not be used any more.
    pub fn close(&self) -> Result<()> {
        self.cancel_all()?;
        while !self.is_idle() {
            self.wait(None)?;
        }
        self.backend.borrow_mut().close(&self.counts);
        self.workers.borrow_mut().take();
        self.waker.close();
        Ok(())
    }

    /// Fires the deadlines that have passed. What is ready by now counts as in time, so the
    /// backend is looked at first, unless that was just done.
    fn expire(&self) -> Result<()> {
        let now = Instant::now();
        if !self.parks.borrow_mut().is_due(now) {
            return Ok(());
        }
        if self.submitted.get() || self.served.get() > 0 {
            self.look()?;
        }
        self.parks.borrow_mut().expire(now);
        Ok(())
    }

    /// Passes on what is queued and takes what is ready, without waiting.
    pub fn look(&self) -> Result<()> {
        self.looked();
        self.backend.borrow_mut().flush(&self.counts)?;
        self.collect();
        Ok(())
    }

    fn looked(&self) {
        self.submitted.set(false);
        self.served.set(0);
        self.done_at_once.set(0);
        self.begin_row();
    }

    /// Takes the completions that are there, without asking the kernel for more.
    pub fn collect(&self) {
        self.cancel_ending();
        let mut parks = self.parks.borrow_mut();
        let take = |token, completion| parks.complete(token, completion);
        let mut backend = self.backend.borrow_mut();
        backend.completions(&self.counts, take);
        for token in parks.in_flight.take_crowded() {
            // A ring that refuses this has failed, and says so at the next enter.
            let _ = backend.cancel(token, &self.counts);
        }
        drop(backend);
        if let Some(workers) = self.workers.borrow().as_ref() {
            for (token, result) in workers.completions() {
                self.counts.completions.add(1);
                parks.fire(token, Wakeup::Completed(result));
            }
        }
    }
}

impl<P> Drop for Driver<P> {
    /// What was not closed gives its buffers back all the same, unless something may still fill them.
    fn drop(&mut self) {
        if self.parks.get_mut().in_flight.awaited_count() == 0 {
            if let Ok(ring) = self.backend.get_mut().ring() {
                ring.free_buffers();
            }
        }
    }
}

/// The job that does a file transfer.
fn blocking(transfer: Transfer) -> Job {
    let Transfer {
        direction,
        fd,
        target,
        buffer,
    } = transfer;
    let offset = match target {
        Target::File { offset } => offset,
        Target::Socket | Target::Stream { .. } => None,
    };
    let length = buffer.length();
    Box::new(move || posix::blocking_transfer(fd, direction, offset, buffer, length))
}
