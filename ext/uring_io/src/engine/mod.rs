//! Fibers on a driver: parking them, running the next one, and handing interrupts over.
//!
//! Only a selector has a loop fiber (`home.rs`). Elsewhere a fiber that parks switches to the next ready fiber
//! itself. When none is ready it waits in the kernel, and when the wakeup that arrives is its own it just
//! returns. The thread's root fiber is one more parked party. Control can come back to a parked fiber without
//! its wakeup, because Ruby returns there when a transferred fiber ends. The parked fiber then chooses the
//! next fiber again.

mod at_once;
pub mod calls;
pub mod chains;
pub mod closing;
mod fibers;
pub mod home;
mod interrupts;
pub mod looks;
mod memory;
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

/// How long a close waits for peers to take data that was sent without a copy. A peer that reads at all has read it by
/// then.
const NOTICES: Duration = Duration::from_secs(1);

/// The fibers of one thread.
pub struct Engine {
    driver: Driver<Party>,
    /// The thread that made the engine.
    owner: Owner,
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
    /// The main flow, when it runs in a fiber that Ruby would not return to: see [`land_here`](Self::land_here).
    landing: Cell<Option<Opaque<Fiber>>>,
    /// A fiber that ends at once, for the next hand-over.
    spare: Cell<Option<Opaque<Fiber>>>,
    /// Whether the backend has failed for good.
    failed: Cell<bool>,
    /// Whether [`close`](Self::close) was called.
    closed: Cell<bool>,
    pub flow: Flow,
    pub switches: Cell<u64>,
    /// Objects that the kernel still uses after their call is over, by the place of the call.
    held: RefCell<HashMap<Token, Kept>>,
    /// Buffers that are registered with the ring, by their number there.
    registered: RefCell<HashMap<u16, (Held, Arc<Registration>)>>,
    /// The list that it is on: see `closing.rs`.
    registry: Arc<Registry>,
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

    /// Whether it was closed, or belongs to the process that forked this one.
    pub fn is_closed(&self) -> bool {
        self.closed.get() || self.is_inherited()
    }

    /// Whether it belongs to the process that forked this one: its ring is not mapped here.
    fn is_inherited(&self) -> bool {
        self.owner.is_inherited()
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

    /// The longest that one wait for this IO may take. With a loop fiber the program that runs the loop handles
    /// that.
    pub fn timeout_of(&self, ruby: &Ruby, io: OpenIo) -> Result<Option<Duration>, Error> {
        match self.flow {
            Flow::Home(_) => Ok(None),
            Flow::Next | Flow::Nobody => io.timeout(ruby),
        }
    }

    /// Ends all operations and gives the backend back; other threads run while it waits. Repeatable.
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

    /// The backend did not start an operation on this descriptor.
    pub fn refusal(&self, ruby: &Ruby, error: uring_io_core::Error, fd: Option<RawFd>) -> Error {
        self.note_failure(error);
        errors::refusal(ruby, error, fd)
    }

    /// Notes that the backend has failed for good, if that is the reason why it did not start an operation. A lack
    /// of memory or threads is no such reason: the rest goes on.
    pub fn note_failure(&self, error: uring_io_core::Error) {
        let of_one = ["select", "io_uring_register", "pthread_create"];
        if error.lack.is_none() && !of_one.contains(&error.call) {
            self.failed.set(true);
        }
    }

    /// The backend refused to wait or submit: nothing that is in flight can complete any more.
    pub fn failure(&self, ruby: &Ruby, error: uring_io_core::Error) -> Error {
        self.failed.set(true);
        errors::errno(ruby, error)
    }
}

/// Makes what is static, before there is another Ractor.
pub fn init(ruby: &Ruby) {
    closing::init();
    home::init(ruby);
}
