//! The loop fiber of a selector, which gets control while the other fibers wait.
//!
//! Two queues decide who runs. The ready list has the fibers and other objects that somebody pushed. The ready queue of
//! the driver has the fibers whose operation is over.

use std::cell::Cell;
use std::time::{Duration, Instant};

use magnus::fiber::Fiber;
use magnus::value::{LazyId, Opaque, ReprValue};
use magnus::{gc, Error, Ruby, Value};
use uring_io_core::{Driver, Turn};

use super::ready_list::ReadyList;
use super::{Engine, Flow, Party, Purpose};
use crate::ruby::{gvl, switch};

/// A loop fiber, and the engine of the fibers that wait.
pub struct Home {
    pub engine: Engine,
    pub fiber: Opaque<Fiber>,
    pub ready: ReadyList,
    /// How long the last `select` waited.
    pub idle: Cell<Duration>,
    /// When `select` last looked at the backend.
    looked: Cell<Instant>,
}

static PENDING_INTERRUPT: LazyId = LazyId::new("pending_interrupt?");

/// How long `select` may put off a look at the backend while the ready list has entries. A look costs a system call.
/// The limit is a time and not a number of turns, because a turn may take long. While clients connect, an accept loop
/// runs a whole request in each turn, and everybody else would wait for many requests.
const NOT_LOOKED_MAX: Duration = Duration::from_micros(50);

/// How long a wait may be before it asks Ruby for interrupts again. A trap handler may run at the end of the call that
/// asks (vm_insnhelper.c, vm_pop_frame), and its masked exception is pending although the answer was no.
const UNASKED_MAX: Duration = Duration::from_secs(1);

impl Home {
    pub fn new(ruby: &Ruby, driver: Driver<Party>, fiber: Fiber) -> Self {
        Self {
            engine: Engine::new(ruby, driver, Flow::Home(Opaque::from(fiber))),
            fiber: Opaque::from(fiber),
            ready: ReadyList::default(),
            idle: Cell::new(Duration::ZERO),
            looked: Cell::new(Instant::now()),
        }
    }

    pub fn mark(&self, marker: &gc::Marker) {
        self.engine.mark(marker);
        self.ready.mark(marker);
    }

    /// Lets the other ready fibers run once. With `most`, first sleeps for a moment, so that other threads run.
    pub fn let_others_run(&self, ruby: &Ruby, most: Option<Duration>) -> Result<(), Error> {
        if most.is_some() {
            gvl::pause();
        }
        if self.is_at_home(ruby) {
            return self.select(ruby, Some(Duration::ZERO)).map(|_| ());
        }
        self.engine.yield_turn(ruby, Purpose::Turn)
    }

    pub fn is_at_home(&self, ruby: &Ruby) -> bool {
        self.engine.is_home(ruby.fiber_current())
    }

    /// Transfers to the loop fiber. Returns nil at once if the caller is the loop fiber.
    pub fn go_home(&self, ruby: &Ruby) -> Result<Value, Error> {
        if self.is_at_home(ruby) {
            return Ok(ruby.qnil().as_value());
        }
        ruby.get_inner(self.fiber).transfer(())
    }

    /// Pushes the current fiber to the ready list and calls `switch`, which gives control away. However control comes
    /// back, the entry then leaves the list.
    pub fn queued(
        &self,
        ruby: &Ruby,
        switch: impl FnOnce() -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        let entry = self.ready.push(ruby.fiber_current().as_value());
        let result = switch();
        self.ready.remove(entry);
        result
    }

    pub fn select(&self, ruby: &Ruby, timeout: Option<Duration>) -> Result<usize, Error> {
        self.idle.set(Duration::ZERO);
        let flushed = self.flush(ruby)?;
        let engine = &self.engine;
        let driver = &engine.driver;
        let failure = |error| engine.failure(ruby, error);
        if driver.begin_turn().map_err(failure)? != Turn::Ready {
            if flushed || timeout == Some(Duration::ZERO) {
                self.look(timeout)
            } else {
                self.wait(ruby, timeout)?
            }
            .map_err(failure)?;
            driver.begin_turn().map_err(failure)?;
        }
        self.dispatch(ruby)
    }

    /// Runs the entries that are in the ready list now. Entries that are pushed meanwhile run the next time. Returns
    /// whether there were any.
    fn flush(&self, ruby: &Ruby) -> Result<bool, Error> {
        let mut left = self.ready.len();
        let mut ran = false;
        loop {
            let mut object = None;
            let next_fiber = || {
                while left > 0 && object.is_none() {
                    left -= 1;
                    let Some(entry) = self.ready.pop() else {
                        continue;
                    };
                    let entry = ruby.get_inner(entry);
                    ran = true;
                    match Fiber::from_value(entry) {
                        Some(fiber) if fiber.is_alive() => {
                            self.engine.driver.begin_row();
                            return Some(fiber);
                        }
                        Some(_) => {}
                        None => object = Some(entry),
                    }
                }
                None
            };
            switch::transfer_each(ruby, next_fiber)?;
            let Some(object) = object else {
                return Ok(ran);
            };
            if object.funcall::<_, _, bool>("alive?", ())? {
                object.funcall::<_, _, Value>("transfer", ())?;
            }
        }
    }

    /// Looks at the backend without waiting. While the ready list has entries, it may put that off for a moment.
    fn look(&self, timeout: Option<Duration>) -> uring_io_core::Result<()> {
        let now = Instant::now();
        let busy = timeout != Some(Duration::ZERO) && !self.ready.is_empty();
        if busy && now.duration_since(self.looked.get()) < NOT_LOOKED_MAX {
            return Ok(());
        }
        self.looked.set(now);
        self.engine.driver.look()
    }

    /// Waits in the kernel, unless Ruby has an interrupt for the thread, or something became ready
    /// to run. Asks for interrupts again while nothing comes.
    fn wait(
        &self,
        ruby: &Ruby,
        timeout: Option<Duration>,
    ) -> Result<uring_io_core::Result<()>, Error> {
        // A clock of the kernel may be coarse. If something has come just now, the next wait is over at once.
        const ABOUT: Duration = Duration::from_millis(2);
        let mut idle = Duration::ZERO;
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(idle));
            let most = left.map_or(UNASKED_MAX, |left| left.min(UNASKED_MAX));
            let waited = self.wait_once(ruby, most)?;
            let passed = self.idle.get();
            idle += passed;
            self.idle.set(idle);
            let is_over = timeout.is_some_and(|timeout| idle >= timeout);
            if waited.is_err() || is_over || passed + ABOUT < UNASKED_MAX {
                return Ok(waited);
            }
        }
    }

    fn wait_once(
        &self,
        ruby: &Ruby,
        timeout: Duration,
    ) -> Result<uring_io_core::Result<()>, Error> {
        // A masked interrupt counts, too: the caller of `select` decides what to do about it. Ruby may raise an
        // unmasked one in this call.
        let question = LazyId::get_inner_with(&PENDING_INTERRUPT, ruby);
        let pending: bool = ruby.thread_current().funcall(question, ())?;
        self.idle.set(Duration::ZERO);
        if pending || !self.ready.is_empty() {
            return Ok(self.engine.driver.look());
        }
        let start = Instant::now();
        let waited = gvl::wait(&self.engine.driver, Some(timeout));
        let elapsed = start.elapsed();
        self.idle.set(elapsed);
        self.looked.set(start + elapsed);
        Ok(waited.unwrap_or(Ok(())))
    }

    /// Transfers to the fibers whose operation is over, and returns how many there were.
    fn dispatch(&self, ruby: &Ruby) -> Result<usize, Error> {
        let mut served = 0;
        let driver = &self.engine.driver;
        let next_fiber = || loop {
            let token = driver.next_ready()?;
            served += 1;
            let fiber = driver.with_payload(token, |party| ruby.get_inner(party.fiber));
            if let Some(fiber) = fiber.filter(|fiber| fiber.is_alive()) {
                return Some(fiber);
            }
        };
        switch::transfer_each(ruby, next_fiber)?;
        Ok(served)
    }
}

/// Makes the name of the method, before there is another Ractor.
pub fn init(ruby: &Ruby) {
    LazyId::force(&PENDING_INTERRUPT, ruby);
}
