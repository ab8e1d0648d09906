//! The driver: parks parties, starts their operations, and says who may go on.
//!
//! The life of one read: `park` takes a slot for the party. `submit` queues the operation under the slot's token, and
//! the party lets others run. `begin_turn` or `wait` passes all queued operations to the kernel in one call. The
//! completion fires the token, which goes to the ready queue. `next_ready` hands the token out; the party takes its
//! wakeup and leaves.
//!
//! All methods take `&self` and no borrow outlives a call, so the owner may call in again from wherever a party runs.
//! The type is not `Sync`: an owner that shares it between threads must let in one at a time. The one exception is
//! [`Driver::wait`]. While it is in the kernel, others may call [`Driver::wake`], [`Driver::complete`],
//! [`Driver::with_payload`], [`Driver::with_payloads`], [`Driver::has_wakeup`], [`Driver::look_at`],
//! [`Driver::is_waiting`], and for a close the methods that `closing.rs` lists. These touch nothing that a wait uses.

mod calls;
mod closing;
mod lead;
mod parks;
mod recording;
mod turns;

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::backend_kind::BackendKind;
use crate::completion::Started;
use crate::error::Result;
use crate::in_flight::{InFlight, Look, Wakeup};
use crate::operation::{Operation, Transfer};
use crate::posix;
use crate::ready_queue::ReadyQueue;
use crate::recorder::Recorder;
use crate::ring_options::Options as RingOptions;
use crate::stats::{Counts, Stats};
use crate::timers::Timers;
use crate::token::Token;
use crate::waker::Waker;
use crate::worker_pool::{Job, WorkerPool};

use lead::Lead;
use parks::Parks;

/// How to make a driver.
#[derive(Clone)]
pub struct Options {
    /// The backend.
    pub backend: BackendKind,
    /// Ring size and mode; the readiness backends ignore it.
    pub ring: RingOptions,
    /// The most threads that blocking work may use at once.
    pub workers_max: usize,
}

/// The owner's next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Run the parties that [`Driver::next_ready`] hands out.
    Ready,
    /// Nothing can run: call [`Driver::wait`] with this timeout (`None` for ever).
    Idle(Option<Duration>),
}

/// The operations, timers and wakeups of one thread. `P` is the data that the user of the driver keeps for each party:
/// an engine keeps the fiber.
pub struct Driver<P> {
    kind: BackendKind,
    /// The number of entries that the options ask for: the ring may have more.
    entries: u32,
    ring_descriptor: Option<RawFd>,
    parks: RefCell<Parks<P>>,
    backend: RefCell<Backend>,
    waker: Arc<Waker>,
    /// Made when the first job comes.
    workers: RefCell<Option<WorkerPool>>,
    workers_max: usize,
    waiting: Cell<bool>,
    /// When the driver was made.
    origin: Instant,
    /// Nanoseconds from `origin` until the owner last came back from the kernel; 0 before it first did.
    back: Cell<u64>,
    /// Whether somebody is closing a descriptor.
    closes: Cell<bool>,
    /// Whether an operation has started since the driver last looked at the backend.
    submitted: Cell<bool>,
    /// Entries of the ready queue that the driver has handed out since it last looked.
    served: Cell<usize>,
    /// When the driver first put off a look at a costly backend, by the system's coarse clock.
    put_off: Cell<Option<Duration>>,
    /// Operations that have completed at once since the driver last looked.
    done_at_once: Cell<usize>,
    /// Operations that have completed at once in the present row.
    done_in_a_row: Cell<usize>,
    /// The lead of a party over the others since the driver last looked.
    lead: Cell<Option<Lead>>,
    counts: Counts,
    recorder: Recorder,
    /// How long the last wait was.
    last_wait: Cell<Duration>,
    /// The counts of submissions and enters at the last record of them.
    recorded: Cell<(u64, u64)>,
}

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
            origin: Instant::now(),
            back: Cell::new(0),
            closes: Cell::new(false),
            submitted: Cell::new(false),
            served: Cell::new(0),
            put_off: Cell::new(None),
            done_at_once: Cell::new(0),
            done_in_a_row: Cell::new(0),
            lead: Cell::new(None),
            counts: Counts::default(),
            recorder: Recorder::default(),
            last_wait: Cell::new(Duration::ZERO),
            recorded: Cell::default(),
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

    /// Counts since the driver was made.
    pub fn stats(&self) -> Stats {
        self.counts.snapshot()
    }

    /// Counts a system call that the owner made itself on behalf of an operation.
    pub fn count_direct_call(&self) {
        self.counts.direct_calls.add(1);
    }

    /// Takes a place for a party that is about to wait.
    pub fn park(&self, payload: P) -> Token {
        self.parks
            .borrow_mut()
            .in_flight
            .park(payload, self.back.get())
    }

    /// Gives the place back and returns the payload; `None` when the caller has given it back before.
    ///
    /// This abandons an operation in flight: the driver drops its completion. Memory lent to it stays lent
    /// until then, so take the completion first when the operation uses lent memory.
    pub fn leave(&self, token: Token) -> Option<P> {
        let mut parks = self.parks.borrow_mut();
        parks.set_deadline(token, None);
        parks.in_flight.leave(token)
    }

    /// Does an operation before its party parks, if the backend can and others have had their turn. `None` when
    /// the caller has to submit it.
    #[inline]
    pub fn attempt(&self, operation: &Operation) -> Option<i32> {
        if self.is_row_over() || operation.is_on_none() {
            return None;
        }
        let result = self.backend.borrow_mut().attempt(operation, &self.counts)?;
        self.note_done_at_once();
        if self.recorder.is_on() {
            self.record_done(operation, result);
        }
        Some(result)
    }

    /// Starts an operation for a parked party. `Some` is its result, and no completion comes; with `None`
    /// [`Wakeup::Completed`] wakes the party.
    pub fn submit(&self, token: Token, operation: &Operation) -> Result<Option<i32>> {
        if operation.is_on_none() {
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
        if self.recorder.is_on() {
            self.record_submitted(token, operation);
        }
        match started {
            Started::Done(result) if self.may_do_at_once() => {
                if self.recorder.is_on() {
                    self.record_completed(token, result);
                }
                return Ok(Some(result));
            }
            Started::Done(result) => self
                .parks
                .borrow_mut()
                .fire(token, Wakeup::Completed(result)),
            Started::Submitted => self.parks.borrow_mut().in_flight.submitted(token, true),
            Started::Blocking(transfer) => self.run_job(token, blocking(transfer), true)?,
        }
        Ok(None)
    }

    /// Makes a worker thread do `job` for a parked party. The result of the job completes the token. A party that
    /// leaves, or a close, does not wait for the job, which owns everything that it uses.
    pub fn offload(&self, token: Token, job: Job) -> Result<()> {
        self.run_job(token, job, false)
    }

    /// Makes a worker thread do a transfer for a parked party, as [`submit`](Self::submit) does when the backend
    /// cannot.
    pub fn work(&self, token: Token, transfer: Transfer) -> Result<()> {
        self.run_job(token, blocking(transfer), true)
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

    /// Asks for the operation of `token` to end. Its completion still comes, and may say that it has already succeeded.
    /// Work that a worker thread has begun goes on, except an open, a splice or a tee.
    pub fn cancel(&self, token: Token) -> Result<()> {
        if !self.parks.borrow().in_flight.is_submitted(token) {
            return Ok(());
        }
        if self.parks.borrow().in_flight.is_alarm(token) {
            self.parks.borrow_mut().set_deadline(token, None);
            self.call_off(token);
            return Ok(());
        }
        self.end(token)
    }

    /// Completes an operation with `-ECANCELED`. Neither the backend nor a worker has begun it.
    fn call_off(&self, token: Token) {
        if self.recorder.is_on() {
            self.record_completed(token, -libc::ECANCELED);
        }
        let wakeup = Wakeup::Completed(-libc::ECANCELED);
        self.parks.borrow_mut().fire(token, wakeup);
    }

    fn end(&self, token: Token) -> Result<()> {
        let workers = self.workers.borrow();
        if workers.as_ref().is_some_and(|it| it.withdraw(token)) {
            self.call_off(token);
            return Ok(());
        }
        if workers.as_ref().is_some_and(|it| it.interrupt(token)) {
            return Ok(());
        }
        self.backend.borrow_mut().cancel(token, &self.counts)
    }

    /// Asks for the operation of `token` to end, as [`cancel`](Self::cancel). Takes its completion if that comes
    /// without waiting: it does when the operation waits for a descriptor. `None` when the party must park until it
    /// comes.
    pub fn cancel_now(&self, token: Token) -> Result<Option<Wakeup>> {
        // The first look submits the request to cancel, which runs at once. Deferred work of the kernel then reports
        // the ended operation, which takes one more look.
        const LOOKS_MAX: usize = 3;
        self.cancel(token)?;
        self.end_guard(token)?;
        for _ in 0..LOOKS_MAX {
            if !self.is_submitted(token) && !self.is_guarded(token) {
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

    /// Wakes the party of `token` with [`Wakeup::TimedOut`] after `timeout`, unless something wakes it earlier. `None`
    /// clears the deadline, and so does a timeout beyond the end of the clock.
    pub fn set_timeout(&self, token: Token, timeout: Option<Duration>) {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.parks.borrow_mut().limit(token, deadline);
    }

    /// Lets the party of `token` go on, after those that are ready. Nothing happens when it has left, or may go on
    /// already. Any thread may call it: see the module's documentation.
    pub fn wake(&self, token: Token) {
        self.parks.borrow_mut().fire(token, Wakeup::Woken);
        if self.recorder.is_on() {
            self.record_woken(token);
        }
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

    /// Queues the party of `token` again, first in line, if the driver has handed it out and it has not taken its
    /// wakeup: for a party that waited for something else when its turn came.
    pub fn requeue(&self, token: Token) {
        let mut parks = self.parks.borrow_mut();
        if parks.in_flight.requeue(token) {
            parks.ready.push_first(token);
        }
    }

    /// Takes the reason why the party of `token` may go on; `None` while it may not, or before
    /// [`next_ready`](Self::next_ready) has handed it out.
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

    /// The facts about the park of `token`; `None` when its party has left. Any thread may call it, as
    /// [`wake`](Self::wake).
    pub fn look_at(&self, token: Token) -> Option<Look> {
        self.parks.borrow().in_flight.look_at(token, self.origin)
    }

    /// Notes that a completion for `token` will come from elsewhere: see [`complete`](Self::complete).
    pub fn expect_completion(&self, token: Token) {
        self.parks.borrow_mut().in_flight.submitted(token, true);
    }

    /// Completes a token after [`expect_completion`](Self::expect_completion). Any thread may call it, as
    /// [`wake`](Self::wake).
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
            self.end_guard(token)?;
        }
        Ok(())
    }

    /// Takes completions. Returns whether no operation is left that a close must wait for.
    pub fn is_idle(&self) -> bool {
        self.collect();
        self.parks.borrow().in_flight.awaited_count() == 0
    }

    /// Whether the kernel still uses memory of calls that have their result. Their peers may put the end of that off
    /// for ever.
    pub fn lends(&self) -> bool {
        self.collect();
        self.parks.borrow().in_flight.lingering_count() > 0
    }

    /// Ends every operation, waits until the kernel no longer uses the memory lent to them, and closes every
    /// descriptor. Memory that it still [`lends`](Self::lends) after that is never freed. Parked parties stay parked
    /// and notice nothing. From now on operations fail with `ESHUTDOWN`, and nobody may use the wakers of this driver
    /// any longer.
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
}

impl<P> Drop for Driver<P> {
    /// A driver that nobody has closed frees its buffers all the same, unless the kernel or a worker may still fill
    /// them.
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
    let (offset, length) = (target.offset(), buffer.length());
    Box::new(move || posix::blocking_transfer(fd, direction, offset, buffer, length))
}
