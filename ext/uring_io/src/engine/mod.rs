//! The engine: it parks the fibers of one thread on their driver, runs the next one, and hands over interrupts.
//!
//! Only a selector has a loop fiber (`home.rs`). In a scheduler, a fiber that parks switches to the next ready fiber
//! itself. When none is ready, it waits in the kernel. If the wakeup that arrives is its own, it returns without a
//! switch. The thread's root fiber parks like any other fiber.
//!
//! Control can also reach a parked fiber without its wakeup, because Ruby continues there when a transferred fiber
//! ends. The parked fiber then runs the next ready fiber.

mod at_once;
pub mod calls;
pub mod chains;
pub mod closing;
mod fibers;
pub mod home;
mod interrupts;
pub mod looks;
mod memory;
mod objects;
mod operations;
pub mod outcome;
mod parking;
mod parts;
mod party;
mod polls;
mod ready_list;
pub mod recording;
pub mod recordings;
mod streams;
mod switching;
mod turns;
mod waking;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use magnus::fiber::Fiber;
use magnus::value::Opaque;
use magnus::{gc, Error, Ruby};
use uring_io_core::{BackendKind, Driver, Stats, Token};

use self::closing::Registry;
use self::fibers::AddressMap;
pub use self::home::Home;
use self::interrupts::Interrupts;
pub use self::party::{Flow, Party, Purpose, Timeout};
use crate::memory::held::{Held, Kept};
use crate::memory::registered::Registration;
use crate::ruby::io::OpenIo;
use crate::ruby::owner::Owner;
use crate::ruby::{errors, gvl};

/// How long closing the engine waits for peers to take data that was sent without a copy. A peer that reads at all has
/// read it by then.
const NOTICES: Duration = Duration::from_secs(1);

/// The fibers of one thread.
pub struct Engine {
    driver: Driver<Party>,
    /// The thread that made the engine.
    owner: Owner,
    /// The innermost park of each parked fiber, by the fiber's address. The GC does not move fibers while they are
    /// parked.
    parked: RefCell<AddressMap<Token>>,
    /// Whether the engine is starting a fiber that has not begun to run.
    unborn: Cell<bool>,
    /// The scheduled fibers that have not ended, by address.
    scheduled: RefCell<AddressMap<Opaque<Fiber>>>,
    interrupts: Interrupts,
    /// Whether Ruby has an interrupt for the thread's main flow.
    interrupted: Cell<bool>,
    /// The fiber that ran last, as far as the engine knows. The engine does not see fibers that other fibers resume.
    running: Cell<Option<Opaque<Fiber>>>,
    /// The fiber of the main flow, if Ruby would not return to it by itself: see [`land_here`](Self::land_here).
    landing: Cell<Option<Opaque<Fiber>>>,
    /// A fiber that ends at once, for the next hand-over.
    spare: Cell<Option<Opaque<Fiber>>>,
    /// Whether the backend has failed for good.
    failed: Cell<bool>,
    /// Whether [`close`](Self::close) was called.
    closed: Cell<bool>,
    pub flow: Flow,
    pub switches: Cell<u64>,
    /// Objects that the kernel still uses although their call is over, by the token of the call.
    held: RefCell<HashMap<Token, Kept>>,
    /// Registered memory, by the number of its registration.
    registered: RefCell<HashMap<u16, (Held, Arc<Registration>)>>,
    /// The registry that lists this engine: see `closing.rs`.
    registry: Arc<Registry>,
    /// Spare memory for detours: see `detour.rs`.
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
            owner: Owner::current(ruby),
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
            flow,
            switches: Cell::new(0),
            held: RefCell::default(),
            registered: RefCell::default(),
            registry: Registry::of(ruby),
            spare_memory: RefCell::default(),
        }
    }

    pub fn mark(&self, marker: &gc::Marker) {
        self.owner.mark(marker);
        if let Flow::Home(home) = self.flow {
            marker.mark(home);
        }
        self.driver.with_payloads(|_, party| party.mark(marker));
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

    /// The backend of the driver.
    pub fn backend(&self) -> BackendKind {
        self.driver.backend()
    }

    /// Counts since the driver was made.
    pub fn stats(&self) -> Stats {
        self.driver.stats()
    }

    /// Whether the calling thread owns the engine.
    pub fn is_owner(&self, ruby: &Ruby) -> bool {
        self.owner.is_current(ruby)
    }

    /// Whether the engine was closed, or belongs to the process that forked this one.
    pub fn is_closed(&self) -> bool {
        self.closed.get() || self.is_inherited()
    }

    /// Whether the engine belongs to the process that forked this one. Its ring is not mapped here.
    fn is_inherited(&self) -> bool {
        self.owner.is_inherited()
    }

    /// Whether no operation in flight can ever complete in this process.
    pub fn is_lost(&self) -> bool {
        self.failed.get() || self.is_inherited()
    }

    /// Returns the engine if it is open and belongs to the calling thread. `what` names it in the error.
    pub fn usable(&self, ruby: &Ruby, what: &str) -> Result<&Self, Error> {
        if self.is_closed() {
            return Err(errors::closed(ruby, what));
        }
        if !self.is_owner(ruby) {
            return Err(errors::wrong_thread(ruby, what));
        }
        Ok(self)
    }

    /// The timeout of this IO for one wait. `None` with a loop fiber: the program that runs the loop handles the
    /// timeout itself.
    pub fn timeout_of(&self, ruby: &Ruby, io: OpenIo) -> Result<Option<Duration>, Error> {
        match self.flow {
            Flow::Home(_) => Ok(None),
            Flow::Next | Flow::Nobody => io.timeout(ruby),
        }
    }

    /// Ends all operations and closes the backend. Other threads run while it waits. A second call does nothing.
    pub fn close(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_closed() {
            return Ok(());
        }
        self.closed.set(true);
        for (_, registration) in self.registered.borrow().values() {
            registration.release();
        }
        let mut raised = None;
        self.driver
            .cancel_all()
            .map_err(|error| self.failure(ruby, error))?;
        let end = Instant::now() + NOTICES;
        while !self.driver.is_idle() || self.driver.lends() {
            let left = end.saturating_duration_since(Instant::now());
            let is_idle = self.driver.is_idle();
            if is_idle && left.is_zero() {
                break;
            }
            match gvl::wait(&self.driver, is_idle.then_some(left)) {
                Some(waited) => waited.map_err(|error| self.failure(ruby, error))?,
                // Ruby skipped the wait because an interrupt is pending. The engine raises it after the close.
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

    /// The exception for an operation on `fd` that the backend did not start.
    pub fn refusal(&self, ruby: &Ruby, error: uring_io_core::Error, fd: Option<RawFd>) -> Error {
        self.note_failure(error);
        errors::refusal(ruby, error, fd)
    }

    /// Notes that the backend has failed for good, unless the error concerns only the operation that did not start.
    /// That is so when the kernel or ring cannot do the operation, or lacks memory or threads for it.
    pub fn note_failure(&self, error: uring_io_core::Error) {
        let of_one = ["select", "io_uring_register", "pthread_create"];
        if error.lack.is_none() && !of_one.contains(&error.call) {
            self.failed.set(true);
        }
    }

    /// The exception for a backend that could not wait or submit. Operations in flight cannot complete any longer.
    pub fn failure(&self, ruby: &Ruby, error: uring_io_core::Error) -> Error {
        self.failed.set(true);
        errors::errno(ruby, error)
    }
}

/// Makes the static values, before there is another Ractor.
pub fn init(ruby: &Ruby) {
    closing::init();
    home::init(ruby);
}
