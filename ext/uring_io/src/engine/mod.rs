//! Fibers on a driver: parking them, running the next one, and handing interrupts over.
//!
//! There is no loop fiber. A fiber that parks runs the next ready fiber itself by transferring to
//! it; only when none is ready does it wait in the kernel, and when what arrives is its own it
//! just returns. The thread's root fiber is one more parked party. Control can come back to a
//! parked fiber without its wakeup, because Ruby returns there when a transferred fiber ends: it
//! then goes on choosing who runs.

pub mod calls;
pub mod closing;
pub mod home;
mod interrupts;
mod memory;
mod party;
mod ready_list;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use magnus::fiber::{Fiber, Storage};
use magnus::rb_sys::AsRawValue;
use magnus::value::{Opaque, ReprValue};
use magnus::{gc, Error, Exception, Ruby, Value};
use uring_io_core::{BackendKind, Call, Driver, Interest, Operation, Token, Turn, Wakeup};

use self::closing::Registry;
pub use self::home::Home;
use self::interrupts::Interrupts;
use self::party::Interrupt;
pub use self::party::{Flow, Party, Purpose, Raised, Timeout};
use crate::memory::held::{Held, Kept};
use crate::memory::registered::Registration;
use crate::ruby::io::OpenIo;
use crate::ruby::{errors, gvl};

/// Hashes object addresses: their low bits are always the same, so they are mixed upwards.
#[derive(Default)]
pub struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("object addresses are hashed as u64");
    }

    fn write_u64(&mut self, address: u64) {
        self.0 = (address >> 3)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(26);
    }
}

/// How long a thread looks for completions before it lets go of the GVL, where the kernel has a thread
/// that brings them meanwhile (`sqpoll:`).
const SPIN: Duration = Duration::from_micros(50);

type AddressMap<T> = HashMap<u64, T, BuildHasherDefault<AddressHasher>>;

/// The fibers of one thread.
pub struct Engine {
    pub driver: Driver<Party>,
    /// The thread that made the engine.
    owner: Opaque<Value>,
    /// The innermost park of each parked fiber. The fibers are pinned while they are parked.
    parked: RefCell<AddressMap<Token>>,
    /// Whether a fiber is being started that has not begun to run.
    unborn: Cell<bool>,
    /// Fibers that were scheduled and have not ended, by address.
    scheduled: RefCell<AddressMap<Opaque<Fiber>>>,
    interrupts: Interrupts,
    /// Whether Ruby has an interrupt for the thread's main flow.
    interrupted: Cell<bool>,
    /// The fiber that ran last, as far as the engine knows: not the ones that fibers resume.
    running: Cell<Option<Opaque<Fiber>>>,
    /// The main flow, when it runs in a fiber that Ruby would not lead to: see [`land_here`](Self::land_here).
    landing: Cell<Option<Opaque<Fiber>>>,
    /// A fiber that ends at once, for the next hand-over.
    spare: Cell<Option<Opaque<Fiber>>>,
    /// Whether the backend has failed for good.
    failed: Cell<bool>,
    /// Whether [`close`](Self::close) was called.
    closed: Cell<bool>,
    /// See [`uring_io_core::forks`].
    forks: u32,
    pub flow: Flow,
    pub switches: Cell<u64>,
    /// What the kernel goes on using after the call is over, by the place of the call.
    held: RefCell<HashMap<Token, Kept>>,
    /// Buffers that are registered with the ring, by their number there.
    registered: RefCell<HashMap<u16, (Held, Rc<Registration>)>>,
    /// The list that it is on: see `closing.rs`.
    registry: Rc<Registry>,
    /// Memory that reads may use, see `detour.rs`.
    pub spare_memory: RefCell<Vec<Vec<u8>>>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.registry.remove(self);
    }
}

impl Engine {
    pub fn new(ruby: &Ruby, driver: Driver<Party>, flow: Flow) -> Self {
        Self {
            driver,
            owner: Opaque::from(ruby.thread_current().as_value()),
            parked: RefCell::default(),
            unborn: Cell::new(false),
            scheduled: RefCell::default(),
            interrupts: Interrupts::default(),
            interrupted: Cell::new(false),
            running: Cell::new(None),
            landing: Cell::new(None),
            spare: Cell::new(None),
            failed: Cell::new(false),
            closed: Cell::new(false),
            forks: uring_io_core::forks(),
            flow,
            switches: Cell::new(0),
            held: RefCell::default(),
            registered: RefCell::default(),
            registry: Registry::of(ruby),
            spare_memory: RefCell::default(),
        }
    }

    pub fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.owner);
        if let Flow::Home(home) = self.flow {
            marker.mark(home);
        }
        self.driver
            .with_payloads(|_, party| marker.mark(party.fiber));
        for fiber in self.scheduled.borrow().values() {
            marker.mark(*fiber);
        }
        let known = [self.running.get(), self.spare.get(), self.landing.get()];
        for fiber in known.into_iter().flatten() {
            marker.mark(fiber);
        }
        self.interrupts.mark(marker);
        for kept in self.held.borrow().values() {
            kept.mark(marker);
        }
        for (held, _) in self.registered.borrow().values() {
            held.mark(marker);
        }
    }

    /// Whether the calling thread owns the engine.
    pub fn is_owner(&self, ruby: &Ruby) -> bool {
        ruby.thread_current().as_raw() == ruby.get_inner(self.owner).as_raw()
    }

    /// Whether it was closed, or belongs to the process that forked this one.
    pub fn is_closed(&self) -> bool {
        self.closed.get() || self.is_inherited()
    }

    /// Whether it belongs to the process that forked this one: its ring is not mapped here.
    fn is_inherited(&self) -> bool {
        self.forks != uring_io_core::forks()
    }

    /// Whether nothing that is in flight will ever complete in this process.
    pub fn is_lost(&self) -> bool {
        self.failed.get() || self.is_inherited()
    }

    /// Itself, for the thread that owns it, while it is open. `what` names it in the error.
    pub fn usable(&self, ruby: &Ruby, what: &str) -> Result<&Self, Error> {
        if self.is_closed() {
            return Err(errors::closed(ruby, what));
        }
        if !self.is_owner(ruby) {
            return Err(errors::wrong_thread(ruby, what));
        }
        Ok(self)
    }

    /// The longest that one wait for this IO may take. With a loop fiber it is the business of
    /// whoever runs that.
    pub fn timeout_of(&self, ruby: &Ruby, io: OpenIo) -> Result<Option<Duration>, Error> {
        match self.flow {
            Flow::Home(_) => Ok(None),
            Flow::Next | Flow::Nobody => io.timeout(ruby),
        }
    }

    /// Parks the current fiber until its wakeup comes, and returns it. Raises what was raised
    /// into the fiber meanwhile, with the party left: for waits that nothing must be awaited for.
    pub fn park(
        &self,
        ruby: &Ruby,
        purpose: Purpose,
        timeout: Option<Duration>,
    ) -> Result<Wakeup, Error> {
        let place = self.place(ruby, purpose);
        if timeout.is_some() {
            self.driver.set_timeout(place.token, timeout);
        }
        self.await_wakeup(ruby, place.token)
    }

    /// Does one operation for the current fiber: bytes, events or a negative errno. `None` when
    /// the timeout passed first.
    ///
    /// Returns only when the operation is over, also when an exception is raised into the fiber
    /// or the timeout passes: then the operation is cancelled and its completion awaited, because
    /// the kernel may use the operation's memory until then.
    pub fn perform(
        &self,
        ruby: &Ruby,
        operation: &Operation,
        timeout: Option<Duration>,
    ) -> Result<Option<i32>, Error> {
        let about = operation.fd();
        self.perform_for(ruby, Purpose::Operation, operation, about, timeout)
    }

    fn perform_for(
        &self,
        ruby: &Ruby,
        purpose: Purpose,
        operation: &Operation,
        about: impl IntoIterator<Item = RawFd>,
        timeout: Option<Duration>,
    ) -> Result<Option<i32>, Error> {
        // Before the operation is started: it may succeed at once, and would put off what is pending again.
        self.raise_pending(ruby)?;
        if let Some(result) = self.driver.attempt(operation) {
            return Ok(Some(result));
        }
        let place = self.place_on(ruby, purpose, about);
        let token = place.token;
        if let Some(result) = self.submit(ruby, token, operation)? {
            return Ok(Some(result));
        }
        if timeout.is_some() {
            self.driver.set_timeout(token, timeout);
        }
        // Bytes that were moved cannot be taken back: they are gone from the stream.
        let counts = |result| match operation {
            Operation::Transfer(transfer) => transfer.is_enough(result),
            _ => false,
        };
        self.await_completion(ruby, token, || (), counts)
    }

    /// Waits until a descriptor is ready for some of `interest`, and returns for which. `None` when
    /// the timeout passed first, or, with a loop fiber, when control came back for another reason.
    pub fn poll(
        &self,
        ruby: &Ruby,
        fd: RawFd,
        interest: Interest,
        timeout: Option<Duration>,
    ) -> Result<Option<Interest>, Error> {
        let found = self.poll_found(ruby, fd, interest, timeout)?;
        Ok(found.map(|found| interest.satisfied_by(found)))
    }

    /// As [`poll`](Self::poll), and returns the poll(2) events that were found.
    pub fn poll_found(
        &self,
        ruby: &Ruby,
        fd: RawFd,
        interest: Interest,
        timeout: Option<Duration>,
    ) -> Result<Option<i32>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let found_now =
            || uring_io_core::found_now(fd, interest).map_err(|error| errors::errno(ruby, error));
        if self.can_poll(interest) {
            let (purpose, about) = (Purpose::Operation, [(fd, interest)]);
            let Some(found) = self.poll_once(ruby, purpose, fd, interest, &about, timeout)? else {
                return Ok(None);
            };
            if interest.is_settled_by(found) {
                return Ok(Some(found));
            }
        } else if let Some(found) = found_now()? {
            // A file, for one, which no set takes. Others have their turn as at any wait.
            self.yield_turn_on(ruby, fd)?;
            return Ok(Some(found));
        }
        loop {
            if let Some(found) = found_now()? {
                return Ok(Some(found));
            }
            let set = uring_io_core::watch(&[(fd, interest)]);
            let set = set.map_err(|error| errors::errno(ruby, error))?;
            if !self.watch(ruby, set, &[(fd, interest)], deadline)? {
                return Ok(None);
            }
        }
    }

    /// Whether a poll is right for this interest. A ring's poll for urgent input alone is not woken
    /// by it (seen on Linux 6.18), and one for both kinds of input takes one for the other. select(2)
    /// does not tell those who wait for urgent input of a hang-up.
    pub fn can_poll(&self, interest: Interest) -> bool {
        let backend = self.driver.backend();
        let wrong = match backend {
            BackendKind::IoUring => true,
            // Nothing else can wait for urgent input on other systems.
            BackendKind::Select => cfg!(target_os = "linux"),
            BackendKind::Epoll | BackendKind::Poll => false,
        };
        !(wrong && interest.is_urgent())
    }

    /// Waits until a set of [`uring_io_core::watch`] says that something is ready, also where a poll
    /// of the descriptor itself would be over at once and tell nothing: see
    /// [`Interest::is_settled_by`]. False as in [`poll`](Self::poll).
    pub fn watch(
        &self,
        ruby: &Ruby,
        set: OwnedFd,
        watched: &[(RawFd, Interest)],
        deadline: Option<Instant>,
    ) -> Result<bool, Error> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let fd = set.as_raw_fd();
        let purpose = Purpose::Watch(set);
        let found = self.poll_once(ruby, purpose, fd, Interest::READABLE, watched, left)?;
        Ok(found.is_some())
    }

    fn poll_once(
        &self,
        ruby: &Ruby,
        purpose: Purpose,
        fd: RawFd,
        interest: Interest,
        about: &[(RawFd, Interest)],
        timeout: Option<Duration>,
    ) -> Result<Option<i32>, Error> {
        let operation = Operation::Poll { fd, interest };
        let about = about.iter().map(|(fd, _)| *fd);
        let found = match self.flow {
            Flow::Home(_) => self.attempt(ruby, purpose, &operation, about)?,
            Flow::Next | Flow::Nobody => {
                self.perform_for(ruby, purpose, &operation, about, timeout)?
            }
        };
        match found {
            Some(errno) if errno < 0 => {
                let error = uring_io_core::Error::new("poll", -errno);
                Err(errors::errno(ruby, error))
            }
            found => Ok(found),
        }
    }

    /// As [`perform`](Self::perform), for an operation without lent memory: whatever ends the wait
    /// leaves it to end by itself, and nobody hears of its completion. `None` when that was no
    /// completion.
    fn attempt(
        &self,
        ruby: &Ruby,
        purpose: Purpose,
        operation: &Operation,
        about: impl IntoIterator<Item = RawFd>,
    ) -> Result<Option<i32>, Error> {
        let place = self.place_on(ruby, purpose, about);
        if let Some(result) = self.submit(ruby, place.token, operation)? {
            return Ok(Some(result));
        }
        match self.await_wakeup(ruby, place.token) {
            Ok(Wakeup::Completed(result)) if self.is_closed_under(place.token, result) => {
                Err(errors::stream_closed(ruby))
            }
            Ok(Wakeup::Completed(result)) => Ok(Some(result)),
            other => {
                if !self.is_closed() {
                    let cancelled = self.driver.cancel(place.token);
                    cancelled.map_err(|error| self.failure(ruby, error))?;
                }
                other.map(|_| None)
            }
        }
    }

    /// Has a worker thread do `job` for the current fiber. The job owns what it uses: a fiber
    /// that is interrupted does not wait for it.
    pub fn offload(&self, ruby: &Ruby, job: uring_io_core::Job) -> Result<i32, Error> {
        let place = self.place(ruby, Purpose::Operation);
        self.driver
            .offload(place.token, job)
            .map_err(|error| errors::errno(ruby, error))?;
        loop {
            if let Wakeup::Completed(result) = self.await_wakeup(ruby, place.token)? {
                return Ok(result);
            }
        }
    }

    /// Parks until somebody calls [`Driver::complete`] for the token that `start` is given.
    /// Returns only then, whatever is raised into the fiber meanwhile (`cancel` is called once when
    /// something is), or when `start` fails: then it must not have started anything.
    pub fn await_elsewhere(
        &self,
        ruby: &Ruby,
        start: impl FnOnce(Token) -> Result<(), Error>,
        cancel: impl FnOnce(),
    ) -> Result<(), Error> {
        let place = self.place(ruby, Purpose::Operation);
        self.driver.expect_completion(place.token);
        if let Err(error) = start(place.token) {
            self.driver.complete(place.token, 0);
            return Err(error);
        }
        self.await_completion(ruby, place.token, cancel, |_| false)
            .map(|_| ())
    }

    /// Ends all operations and gives the backend back; other threads run while it waits. Repeatable.
    pub fn close(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_closed() {
            return Ok(());
        }
        self.closed.set(true);
        let mut raised = None;
        self.driver
            .cancel_all()
            .map_err(|error| self.failure(ruby, error))?;
        while !self.driver.is_idle() {
            match gvl::wait(&self.driver, None) {
                Some(waited) => waited.map_err(|error| self.failure(ruby, error))?,
                // Skipped, because an interrupt is pending: it has to wait for its turn.
                None => {
                    raised = raised.or(ruby.thread_check_ints().err());
                }
            }
        }
        self.driver
            .close()
            .map_err(|error| self.failure(ruby, error))?;
        self.release_memory(ruby);
        raised.map_or(Ok(()), Err)
    }

    /// Parks until the operation of `token` is over, also when an exception is raised into the fiber or
    /// the timeout passes: then it is told to end, by `cancel` too. The result; `None` when it was ended
    /// by the timeout. Where a result `counts`, it is returned although an exception was raised, and the
    /// exception is raised at the fiber's next park. So is one that comes after another.
    pub fn await_completion(
        &self,
        ruby: &Ruby,
        token: Token,
        cancel: impl FnOnce(),
        counts: impl FnOnce(i32) -> bool,
    ) -> Result<Option<i32>, Error> {
        let mut raised: Option<Raised> = None;
        let mut also_raised = None;
        let mut timed_out = false;
        let mut cancel = Some(cancel);
        let result = loop {
            match self.await_wakeup_or_raised(ruby, token) {
                Ok(Wakeup::Completed(result)) => break result,
                Ok(Wakeup::TimedOut) => timed_out = true,
                Ok(Wakeup::Woken) => continue,
                // The kernel takes no calls any more: there is nothing left to wait for.
                Err(reason) if self.is_lost() => return Err(reason.error),
                // A killed fiber raises again at every resume: the first reason counts.
                Err(reason) => match raised {
                    Some(_) => also_raised = also_raised.or(Some(reason)),
                    None => raised = Some(reason),
                },
            }
            let Some(cancel) = cancel.take() else {
                continue;
            };
            cancel();
            // At once where that can be: whoever raised expects the fiber to unwind now.
            let ended = self.driver.cancel_now(token);
            if let Some(Wakeup::Completed(result)) =
                ended.map_err(|error| self.failure(ruby, error))?
            {
                break result;
            }
        };
        if let Some(later) = also_raised {
            self.postpone(ruby, &later);
        }
        match raised {
            // A fiber that is killed has no next park.
            Some(raised) if raised.error.value().is_some() && counts(result) => {
                self.postpone(ruby, &raised);
                Ok(Some(result))
            }
            Some(raised) => {
                if let Some(call) = self.driver.take_call(token) {
                    call.undo(result);
                }
                Err(raised.error)
            }
            None if self.is_closed_under(token, result) => Err(errors::stream_closed(ruby)),
            // A worker of the ring that was told to end says EINTR.
            None if timed_out && [-libc::ECANCELED, -libc::EINTR].contains(&result) => Ok(None),
            None => Ok(Some(result)),
        }
    }

    /// Whether an operation came to this because its descriptor is about to be closed.
    pub fn is_closed_under(&self, token: Token, result: i32) -> bool {
        let ended = [-libc::ECANCELED, -libc::EINTR, -libc::EBADF];
        ended.contains(&result) && self.driver.is_ended(token)
    }

    /// Has the current fiber raise at its next park what came too late for this one.
    pub fn postpone(&self, ruby: &Ruby, raised: &Raised) {
        let exception = || Exception::from_value(raised.error.value()?).map(Opaque::from);
        let interrupt = raised.interrupt;
        let interrupt = interrupt.or_else(|| exception().map(Interrupt::Exception));
        if let Some(interrupt) = interrupt {
            self.interrupts.add(ruby.fiber_current(), interrupt);
        }
    }

    /// Starts an operation under a token, see [`Driver::submit`].
    pub fn submit(
        &self,
        ruby: &Ruby,
        token: Token,
        operation: &Operation,
    ) -> Result<Option<i32>, Error> {
        let started = self.driver.submit(token, operation);
        started.map_err(|error| self.refusal(ruby, error, operation.fd()))
    }

    /// Starts a call under a token, see [`Driver::call`].
    pub fn start_call(&self, ruby: &Ruby, token: Token, call: Call) -> Result<(), Error> {
        let fd = call.waits_on();
        let started = self.driver.call(token, call);
        started.map_err(|error| self.refusal(ruby, error, fd))
    }

    /// The backend did not start an operation on this descriptor.
    pub fn refusal(&self, ruby: &Ruby, error: uring_io_core::Error, fd: Option<RawFd>) -> Error {
        self.note_failure(error);
        errors::refusal(ruby, error, fd)
    }

    /// Notes that the backend has failed for good, when that is why it did not start something. Not for
    /// want of memory or threads: the rest goes on.
    pub fn note_failure(&self, error: uring_io_core::Error) {
        let of_one = ["select", "io_uring_register", "pthread_create"];
        if error.lack.is_none() && !of_one.contains(&error.call) {
            self.failed.set(true);
        }
    }

    /// Takes a place for the current fiber, given back when the value is dropped.
    pub fn place(&self, ruby: &Ruby, purpose: Purpose) -> Place<'_> {
        let fiber = ruby.fiber_current();
        self.placed(fiber, self.park_beside(fiber, purpose))
    }

    fn placed(&self, fiber: Fiber, token: Token) -> Place<'_> {
        let address = fiber.as_raw();
        let outer = self.parked.borrow_mut().insert(address, token);
        Place {
            engine: self,
            token,
            address,
            outer,
        }
    }

    /// As [`place`](Self::place), for a fiber that uses these descriptors: who closes one waits for it.
    pub fn place_on(
        &self,
        ruby: &Ruby,
        purpose: Purpose,
        about: impl IntoIterator<Item = RawFd>,
    ) -> Place<'_> {
        let mut about = about.into_iter();
        let fiber = ruby.fiber_current();
        let party = Party::new(fiber, purpose);
        let token = match about.next() {
            Some(fd) => self.driver.park_on(party, fd),
            None => self.driver.park(party),
        };
        for fd in about {
            self.driver.is_about(token, fd);
        }
        self.placed(fiber, token)
    }

    /// Runs others until the party of `token`, which is the current fiber, gets its turn.
    pub fn await_wakeup(&self, ruby: &Ruby, token: Token) -> Result<Wakeup, Error> {
        self.await_wakeup_or_raised(ruby, token)
            .map_err(|raised| raised.error)
    }

    fn await_wakeup_or_raised(&self, ruby: &Ruby, token: Token) -> Result<Wakeup, Raised> {
        self.interrupts.take(ruby)?;
        loop {
            if let Some(wakeup) = self.driver.take_wakeup(token) {
                if wakeup == Wakeup::Woken && self.take_interrupted(token) {
                    self.interrupts.take(ruby)?;
                }
                return Ok(wakeup);
            }
            let home = match self.flow {
                Flow::Home(home) => home,
                Flow::Next => {
                    self.run_next(ruby, token)?;
                    continue;
                }
                Flow::Nobody => {
                    self.run_nobody(ruby)?;
                    continue;
                }
            };
            if self.is_home(ruby.fiber_current()) {
                self.wait_here(ruby)?;
                if let Some(wakeup) = self.driver.take_wakeup_early(token) {
                    return Ok(wakeup);
                }
                continue;
            }
            ruby.get_inner(home).transfer::<_, Value>(())?;
            if self.is_closed() {
                return Err(errors::closed(ruby, "selector").into());
            }
            return Ok(self.driver.take_wakeup(token).unwrap_or(Wakeup::Woken));
        }
    }

    /// Whether a fiber is the one that parked fibers give control to.
    pub fn is_home(&self, fiber: Fiber) -> bool {
        let Flow::Home(home) = self.flow else {
            return false;
        };
        Ruby::get_with(fiber).get_inner(home).as_raw() == fiber.as_raw()
    }

    /// One turn of a thread that has nobody else to run. Those whose wakeup has come take it
    /// themselves.
    pub fn run_nobody(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_inherited() {
            // A handler of a signal has forked, and this is the child.
            return Err(errors::closed(ruby, "ring"));
        }
        if self.driver.hand_out_all() {
            return Ok(());
        }
        let turn = self.driver.begin_turn();
        if let Turn::Idle(timeout) = turn.map_err(|error| self.failure(ruby, error))? {
            if self.driver.spin(SPIN) {
                return Ok(());
            }
            // Of two exceptions that came together Ruby has raised one, and has forgotten to look for the other.
            ruby.thread_check_ints()?;
            if let Some(Err(error)) = gvl::wait(&self.driver, timeout) {
                return Err(self.failure(ruby, error));
            }
            // Often that is all. To begin a turn would be to ask the kernel once more, when its word that
            // it has work (TASKRUN) is out of date: it takes it back before it does what adds some.
            self.driver.collect();
            self.driver.hand_out_all();
            ruby.thread_check_ints()?;
        }
        Ok(())
    }

    /// Waits with the whole thread: there is nobody to give control to.
    fn wait_here(&self, ruby: &Ruby) -> Result<(), Error> {
        let waited = gvl::wait(&self.driver, None);
        if let Some(Err(error)) = waited {
            return Err(self.failure(ruby, error));
        }
        ruby.thread_check_ints()?;
        self.driver
            .look()
            .map_err(|error| self.failure(ruby, error))
    }

    /// Takes a second place for a fiber, one that it does not wait at itself.
    pub fn park_beside(&self, fiber: Fiber, purpose: Purpose) -> Token {
        self.driver.park(Party::new(fiber, purpose))
    }

    fn take_interrupted(&self, token: Token) -> bool {
        self.driver
            .with_payload(token, |party| party.interrupted.replace(false))
            == Some(true)
    }

    /// Runs until every scheduled fiber has ended, or the timeout passes: then false.
    pub fn run(&self, ruby: &Ruby, timeout: Option<Duration>) -> Result<bool, Error> {
        let place = self.place(ruby, Purpose::Turn);
        self.driver.set_timeout(place.token, timeout);
        while !self.is_done() {
            if self.driver.take_wakeup(place.token) == Some(Wakeup::TimedOut) {
                return Ok(false);
            }
            self.run_next(ruby, place.token)?;
        }
        Ok(true)
    }

    /// Runs the next ready fiber, or begins a turn when there is none. Returns when control comes
    /// back for whatever reason.
    fn run_next(&self, ruby: &Ruby, own: Token) -> Result<(), Error> {
        let Some(next) = self.driver.next_ready() else {
            return self.begin_turn(ruby);
        };
        if next == own {
            return Ok(());
        }
        enum Next {
            Fiber(Opaque<Fiber>),
            Expired(Opaque<Fiber>),
            Part(Option<Token>),
            Return(Opaque<Fiber>),
        }
        let next_party = self.driver.with_payload(next, |party| match party.purpose {
            Purpose::Deadline => Next::Expired(party.fiber),
            Purpose::PartOf(ref whole) => Next::Part(whole.get()),
            Purpose::Return => Next::Return(party.fiber),
            _ => Next::Fiber(party.fiber),
        });
        match next_party {
            Some(Next::Fiber(fiber)) => {
                let fiber = ruby.get_inner(fiber);
                if fiber.as_raw() == ruby.fiber_current().as_raw() {
                    // An outer park of this fiber, which goes on when the inner one is over.
                    return Ok(());
                }
                self.switch_to(ruby, fiber, ())
            }
            Some(Next::Expired(fiber)) => self.expire(ruby, ruby.get_inner(fiber), next),
            Some(Next::Part(whole)) => {
                if let Some(whole) = whole {
                    self.driver.wake(whole);
                }
                Ok(())
            }
            Some(Next::Return(fiber)) => {
                let fiber = ruby.get_inner(fiber);
                self.driver.leave(next);
                if !fiber.is_alive() {
                    // A close has ended it since.
                    return Ok(());
                }
                self.switch_to(ruby, fiber, ()).or_else(ignore_refusal)
            }
            None => Ok(()),
        }
    }

    /// Transfers to a fiber. Returns when somebody transfers back.
    fn switch_to(
        &self,
        ruby: &Ruby,
        fiber: Fiber,
        arguments: impl magnus::ArgList,
    ) -> Result<(), Error> {
        self.transfer(ruby, fiber, arguments, || false)
    }

    /// Transfers to a fiber for the first time.
    ///
    /// A fiber that has ended keeps its stack until it is collected, and up to Ruby 3.4 nothing is
    /// collected when there is no room for one more stack. `unborn` says whether the fiber has not
    /// begun to run. It must not call Ruby, which may be ending the thread.
    fn switch_to_new(
        &self,
        ruby: &Ruby,
        fiber: Fiber,
        arguments: impl magnus::ArgList + Copy,
        unborn: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let result = self.transfer(ruby, fiber, arguments, &unborn);
        if result.is_ok() || !unborn() {
            return result;
        }
        ruby.gc_start();
        self.transfer(ruby, fiber, arguments, &unborn)
    }

    fn transfer(
        &self,
        ruby: &Ruby,
        fiber: Fiber,
        arguments: impl magnus::ArgList,
        unborn: impl Fn() -> bool,
    ) -> Result<(), Error> {
        self.switches.set(self.switches.get() + 1);
        self.running.set(Some(Opaque::from(fiber)));
        let result = fiber.transfer::<_, Value>(arguments);
        let before = self.running.take();
        self.begun(ruby);
        if let (Err(_), Some(before)) = (&result, before) {
            // A fiber that could not be started has raised nothing.
            if !unborn() {
                self.queue_raiser(ruby, ruby.get_inner(before));
            }
        }
        // Taken before anything is raised: what is pending for the main flow is raised right here.
        let interrupted = self.interrupted.take();
        result?;
        if interrupted {
            ruby.thread_check_ints()?;
            self.renew_spare(ruby)?;
        }
        Ok(())
    }

    /// The current fiber was raised into. If it was by a fiber that ran, and not by one that is
    /// parked or has ended, that one must get control back: Ruby has transferred here and would
    /// not return to it.
    fn queue_raiser(&self, ruby: &Ruby, raiser: Fiber) {
        let address = raiser.as_raw();
        let parked = self.parked.borrow().contains_key(&address);
        if !parked && raiser.is_alive() && address != ruby.fiber_current().as_raw() {
            let token = self.park_beside(raiser, Purpose::Return);
            self.driver.wake_first(token);
        }
    }

    /// Notes that the current fiber has begun to run.
    pub fn begun(&self, ruby: &Ruby) {
        self.running.set(Some(Opaque::from(ruby.fiber_current())));
    }

    fn begin_turn(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_inherited() {
            return Err(errors::closed(ruby, "scheduler"));
        }
        if self.interrupts.raise_in_proxy(ruby)? {
            return Ok(());
        }
        if self.spare.get().is_none() {
            self.renew_spare(ruby)?;
        }
        let turn = self
            .driver
            .begin_turn()
            .map_err(|error| self.failure(ruby, error))?;
        let Turn::Idle(timeout) = turn else {
            return Ok(());
        };
        let waited = gvl::wait(&self.driver, timeout);
        if let Some(Err(error)) = waited {
            return Err(self.failure(ruby, error));
        }
        if waited.is_none() || ruby.thread_current().interrupted() {
            return self.hand_over_interrupts(ruby);
        }
        Ok(())
    }

    /// The backend refused to wait or submit: nothing that is in flight can complete any more.
    pub fn failure(&self, ruby: &Ruby, error: uring_io_core::Error) -> Error {
        self.failed.set(true);
        errors::errno(ruby, error)
    }

    /// Gives control to the thread's main flow, so that a signal's exception, `Thread#raise` or
    /// `Thread#kill` hits what it would hit in a blocking program, and not the fiber that
    /// happened to wait in the kernel.
    ///
    /// When a fiber that was transferred to ends, Ruby itself continues in the root fiber, or in
    /// the innermost fiber that the root has resumed (cont.c, return_fiber). So a fiber that ends
    /// at once leads there, without our having to know which one it is.
    ///
    /// That fiber is made beforehand: making one calls Ruby, which would raise what is pending in
    /// the wrong place.
    fn hand_over_interrupts(&self, ruby: &Ruby) -> Result<(), Error> {
        if let Some(landing) = self.landing(ruby) {
            if landing.as_raw() == ruby.fiber_current().as_raw() {
                return ruby.thread_check_ints();
            }
            self.interrupted.set(true);
            return self.switch_to(ruby, landing, ());
        }
        self.interrupted.set(true);
        let fiber = match self.spare.take() {
            Some(fiber) => ruby.get_inner(fiber),
            None => fiber_that_ends(ruby)?,
        };
        // It ends as soon as it runs.
        self.switch_to_new(ruby, fiber, (), || fiber.is_alive())
    }

    /// Makes the current fiber the main flow. Ruby leads there by itself when it is the root fiber, or one
    /// that the root has resumed. It leads elsewhere when somebody has transferred to it: control would
    /// come back to the root fiber, in the middle of the run.
    pub fn land_here(&self, ruby: &Ruby) {
        self.landing.set(Some(Opaque::from(ruby.fiber_current())));
    }

    /// What [`land_here`](Self::land_here) was called in. A fiber that is started then needs another one
    /// that resumes it, and goes on there when it ends.
    pub fn landing(&self, ruby: &Ruby) -> Option<Fiber> {
        self.landing.get().map(|fiber| ruby.get_inner(fiber))
    }

    /// Makes a fiber for the next hand-over.
    fn renew_spare(&self, ruby: &Ruby) -> Result<(), Error> {
        self.spare.set(Some(Opaque::from(fiber_that_ends(ruby)?)));
        Ok(())
    }

    /// Has a fiber raise what the deadline of `deadline` asks for: at its park, or at its next one
    /// if it is about to go on, so that what it was woken for is not lost.
    fn expire(&self, ruby: &Ruby, fiber: Fiber, deadline: Token) -> Result<(), Error> {
        let interrupt = Interrupt::Deadline(deadline);
        let Some(token) = self.parked_token(fiber) else {
            // It waits for a fiber that it resumed: Ruby finds the innermost one.
            let exception = self.interrupts.exception(ruby, interrupt)?;
            return fiber.raise::<Value>(exception).map(|_| ());
        };
        self.interrupts.add(fiber, interrupt);
        self.wake_to_raise(token);
        Ok(())
    }

    /// Has a fiber raise an exception at what it waits for; nothing happens when it is about to
    /// go on, or waits for nothing. Any thread that holds the GVL.
    pub fn interrupt_wait(&self, fiber: Fiber, exception: Exception) {
        let Some(token) = self.parked_token(fiber) else {
            return;
        };
        if !self.driver.has_wakeup(token) {
            let interrupt = Interrupt::Exception(Opaque::from(exception));
            self.interrupts.add(fiber, interrupt);
            self.wake_to_raise(token);
        }
    }

    /// Has something that stands for a wait raise an exception: `proxy.raise(exception)` on the
    /// owner's thread. Any thread that holds the GVL.
    pub fn interrupt_proxy(&self, proxy: Value, exception: Value) {
        self.interrupts.add_proxy(proxy, exception);
        if self.driver.is_waiting() {
            self.driver.waker().wake();
        }
    }

    fn parked_token(&self, fiber: Fiber) -> Option<Token> {
        self.parked.borrow().get(&fiber.as_raw()).copied()
    }

    /// Wakes a party to raise what is pending for it, unless it was woken already.
    fn wake_to_raise(&self, token: Token) {
        if !self.driver.has_wakeup(token) {
            self.driver
                .with_payload(token, |party| party.interrupted.set(true));
            self.driver.wake(token);
        }
    }

    /// Raises what is pending for the current fiber.
    pub fn raise_pending(&self, ruby: &Ruby) -> Result<(), Error> {
        self.interrupts.take(ruby).map_err(|raised| raised.error)
    }

    /// Begins a timeout of a fiber: when this length has passed, what it says is raised at whatever the
    /// fiber waits for. Until [`end_timeout`](Self::end_timeout) for the token.
    pub fn begin_timeout(&self, fiber: Fiber, length: Duration, timeout: Timeout) -> Token {
        let token = self.park_beside(fiber, Purpose::Deadline);
        self.interrupts.begin_timeout(token, timeout);
        self.driver.set_timeout(token, Some(length));
        token
    }

    /// Ends a timeout: the block that it was for is over.
    pub fn end_timeout(&self, token: Token) {
        self.driver.leave(token);
        self.interrupts.end_timeout(token);
    }

    /// Wakes a fiber that waits for an `unblock`. False when it does not wait for one. Any thread that
    /// holds the GVL.
    pub fn unblock(&self, fiber: Fiber) -> bool {
        let Some(token) = self.parked_token(fiber) else {
            return false;
        };
        let waits = self
            .driver
            .with_payload(token, |party| matches!(party.purpose, Purpose::Unblock));
        // One that goes on already, from a `sleep(0)` before its wait, would not notice a second wakeup.
        let waits = waits == Some(true) && !self.driver.has_wakeup(token);
        if waits {
            self.driver.wake(token);
        }
        waits
    }

    /// Lets the other ready fibers run once.
    pub fn yield_turn(&self, ruby: &Ruby, purpose: Purpose) -> Result<(), Error> {
        let place = self.place(ruby, purpose);
        self.driver.wake(place.token);
        self.await_wakeup(ruby, place.token).map(|_| ())
    }

    /// As [`yield_turn`](Self::yield_turn), for a fiber that uses a descriptor, and fails when that is
    /// about to be closed.
    pub fn yield_turn_on(&self, ruby: &Ruby, fd: RawFd) -> Result<(), Error> {
        let place = self.place_on(ruby, Purpose::Turn, [fd]);
        self.driver.wake(place.token);
        self.await_wakeup(ruby, place.token)?;
        if self.driver.is_ended(place.token) {
            return Err(errors::stream_closed(ruby));
        }
        Ok(())
    }

    /// Starts a new fiber at once; the current one goes on when that parks or ends. The fiber must
    /// call `started`.
    pub fn start(
        &self,
        ruby: &Ruby,
        fiber: Fiber,
        arguments: impl magnus::ArgList + Copy,
    ) -> Result<(), Error> {
        self.run_first(ruby, || {
            self.unborn.set(true);
            let result = self.switch_to_new(ruby, fiber, arguments, || self.unborn.get());
            self.unborn.set(false);
            result
        })
    }

    /// Notes that the current fiber, which is a scheduled one, has started.
    pub fn started(&self, ruby: &Ruby) {
        let fiber = ruby.fiber_current();
        self.unborn.set(false);
        self.scheduled
            .borrow_mut()
            .insert(fiber.as_raw(), Opaque::from(fiber));
        self.begun(ruby);
    }

    /// Raises an exception in a fiber, or kills it; the current one goes on when that parks again
    /// or ends.
    pub fn interrupt(
        &self,
        ruby: &Ruby,
        fiber: Fiber,
        exception: Option<Exception>,
    ) -> Result<(), Error> {
        self.run_first(ruby, || {
            match exception {
                Some(exception) => fiber.raise::<Value>(exception),
                None => fiber.funcall("kill", ()),
            }
            .map(|_| ())
        })
    }

    /// Makes the current fiber the next one to run, then switches to another.
    fn run_first(
        &self,
        ruby: &Ruby,
        switch: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let place = self.place(ruby, Purpose::Turn);
        self.driver.wake_first(place.token);
        switch()?;
        while self.driver.take_wakeup(place.token).is_none() {
            self.run_next(ruby, place.token)?;
        }
        Ok(())
    }

    /// Notes that a scheduled fiber has ended.
    pub fn ended(&self, fiber: Fiber) {
        self.scheduled.borrow_mut().remove(&fiber.as_raw());
    }

    /// Whether every scheduled fiber has ended.
    pub fn is_done(&self) -> bool {
        self.scheduled.borrow().is_empty()
    }

    /// Scheduled fibers that have not ended.
    pub fn scheduled(&self, ruby: &Ruby) -> Vec<Fiber> {
        self.scheduled
            .borrow()
            .values()
            .map(|fiber| ruby.get_inner(*fiber))
            .collect()
    }

    /// Whether the current fiber is a scheduled one.
    pub fn is_scheduled(&self, fiber: Fiber) -> bool {
        self.scheduled.borrow().contains_key(&fiber.as_raw())
    }
}

/// A fiber that does nothing.
fn fiber_that_ends(ruby: &Ruby) -> Result<Fiber, Error> {
    fn end(_: &Ruby, _: &[Value], _: Option<magnus::block::Proc>) {}
    ruby.fiber_new(Storage::Lazy, end)
}

/// Ruby refuses a transfer to a fiber that waits for one it has resumed: that fiber goes on when
/// the other yields, so nothing is lost.
fn ignore_refusal(error: Error) -> Result<(), Error> {
    if error.to_string().contains("attempt to transfer to a") {
        return Ok(());
    }
    Err(error)
}

/// A party's place at the driver, given back when dropped.
pub struct Place<'a> {
    engine: &'a Engine,
    pub token: Token,
    address: u64,
    /// The park that this one is inside of: a hook called from within a hook.
    outer: Option<Token>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.engine.driver.leave(self.token);
        let mut parked = self.engine.parked.borrow_mut();
        let Some(outer) = self.outer else {
            parked.remove(&self.address);
            return;
        };
        parked.insert(self.address, outer);
        // A trap handler may run, and park, anywhere in the outer park: also where that is about
        // to give control away and counts on being handed out later.
        self.engine.driver.requeue(outer);
    }
}

/// Makes what is static, before there is another Ractor.
pub fn init(ruby: &Ruby) {
    closing::init();
    home::init(ruby);
}
