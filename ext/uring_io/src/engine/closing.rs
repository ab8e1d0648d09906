//! No operation outlives its IO: the operations on a descriptor end before Ruby lets go of it.
//!
//! Ruby below 4.0 tells no scheduler of a close, and later Rubies tell of some. So the methods of IO that
//! close a descriptor, or give it another file, come here first (`lib/uring_io/core_ext/close.rb`).
//! They ask every scheduler, selector and ring of the Ractor whether it uses the descriptor. As a rule
//! none does, which takes nanoseconds to find out. Otherwise they end all operations on it, by an IOError
//! in the fibers that wait, and let no new operation begin on it. The closing fiber waits until the last of
//! them has left.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use magnus::rb_sys::{AsRawValue, FromRawValue};
use magnus::value::ReprValue;
use magnus::{Error, Ruby, Value};

use super::recordings::{Recording, Recordings};
use super::{Engine, Flow, Home, Purpose};
use crate::ruby::io::{Descriptors, OpenIo};
use crate::ruby::ractors::Local;
use crate::ruby::{closers, collector, gvl};

/// A user of descriptors. A selector has more than an engine: a list of others to run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Engine(*const Engine),
    Selector(*const Home),
}

impl User {
    /// # Safety
    ///
    /// It must be in the list: whoever is dropped takes itself off.
    unsafe fn engine(&self) -> &Engine {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Engine(engine) => &**engine,
                Self::Selector(home) => &(**home).engine,
            }
        }
    }
}

/// The schedulers, selectors and rings of one Ractor. Its threads take turns by its GVL.
#[derive(Default)]
pub struct Registry {
    /// Nobody holds it while calling Ruby. The collector takes engines off the list, maybe in a thread of another
    /// Ractor.
    users: Mutex<Vec<User>>,
    /// How many closes have hit a descriptor in use.
    closings: Cell<u64>,
    /// The records of them.
    recordings: Recordings,
}

// SAFETY: the list is locked, and the count is for the threads of one Ractor, which have its GVL by turns.
unsafe impl Send for Registry {}
// SAFETY: as above.
unsafe impl Sync for Registry {}

static REGISTRY: Local<Arc<Registry>> = Local::new();

impl Registry {
    /// That of the calling thread's Ractor.
    pub fn of(ruby: &Ruby) -> Arc<Self> {
        Arc::clone(REGISTRY.of(ruby))
    }

    fn users(&self) -> MutexGuard<'_, Vec<User>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an engine, which is where it stays until it is dropped.
    pub fn add(&self, engine: &Engine) {
        self.users().push(User::Engine(engine));
        self.record_new(engine);
    }

    /// As [`add`](Self::add), for the engine of a selector.
    pub fn add_selector(&self, home: &Home) {
        self.users().push(User::Selector(home));
        self.record_new(&home.engine);
    }

    /// Takes an engine off the list. The collector calls this, maybe in a thread of another Ractor.
    ///
    /// In a forked child the other Ractors are gone. The lock of such a Ractor's list may stay held for ever, and
    /// nobody reads that list either.
    pub fn remove(&self, engine: &Engine) {
        let users = if engine.is_inherited() {
            self.users.try_lock().ok()
        } else {
            self.keep_recorded(engine);
            Some(self.users())
        };
        let Some(mut users) = users else { return };
        users.retain(|user| {
            // SAFETY: all that are in the list are there, the one that is about to go included.
            let of_user = unsafe { user.engine() };
            !std::ptr::eq(of_user, engine)
        });
    }

    /// Calls `look` with every engine in use. `look` must not call Ruby, as the collector frees engines.
    fn each(&self, mut look: impl FnMut(&Engine)) {
        for user in self.users().iter() {
            // SAFETY: it is in the list, and stays there while Ruby is not called.
            let engine = unsafe { user.engine() };
            if !engine.is_closed() && !engine.is_lost() {
                look(engine);
            }
        }
    }

    /// Begins to record all engines, so many records of each. False when somebody records them already.
    pub fn begin_recording(&self, ruby: &Ruby, most: usize) -> Result<bool, Error> {
        let begins = self.recordings.begin(most);
        if begins {
            self.each(|engine| self.record_new(engine));
            collector::watch(ruby, |ruby, length| {
                if let Some(registry) = REGISTRY.made(ruby) {
                    registry.collected(ruby, length);
                }
            })?;
        }
        Ok(begins)
    }

    /// Records that the calling thread has collected garbage until now. Ruby is still about it: nothing may be made.
    fn collected(&self, ruby: &Ruby, length: Duration) {
        let Ok(users) = self.users.try_lock() else {
            return;
        };
        for user in users.iter() {
            // SAFETY: it is in the list, and stays there while Ruby is not called.
            let engine = unsafe { user.engine() };
            if engine.is_owner(ruby) {
                engine.driver.record_collected(length);
            }
        }
    }

    /// Ends to record. Returns the records of this process.
    pub fn end_recording(&self, ruby: &Ruby) -> Result<Vec<Recording>, Error> {
        collector::forget(ruby)?;
        for user in self.users().iter() {
            // SAFETY: it is in the list, and stays there while Ruby is not called.
            self.keep_recorded(unsafe { user.engine() });
        }
        Ok(self.recordings.end())
    }

    fn record_new(&self, engine: &Engine) {
        let loops = matches!(engine.flow, Flow::Home(_));
        engine.driver.record_in(self.recordings.new_log(loops));
    }

    fn keep_recorded(&self, engine: &Engine) {
        if let Some(log) = engine.driver.record_in(None) {
            self.recordings.keep(engine.backend(), log);
        }
    }

    /// Makes all users of these descriptors end. It cancels those of the calling thread right here.
    fn end_all_on(&self, ruby: &Ruby, fds: &[RawFd], first: bool) {
        let mut own: Vec<*const Engine> = Vec::new();
        self.each(|engine| {
            for fd in fds.iter().filter(|fd| engine.driver.has_users(**fd)) {
                engine.driver.end_all_on(*fd);
                if engine.is_owner(ruby) && !own.contains(&std::ptr::from_ref(engine)) {
                    own.push(engine);
                }
            }
        });
        for engine in own {
            self.cancel_ended(engine, fds, first);
        }
    }

    /// Cancels the ended operations at an engine of the calling thread.
    fn cancel_ended(&self, engine: *const Engine, fds: &[RawFd], first: bool) {
        // A ring with nobody in it may be collected during a pause.
        let is_there = |engine: *const Engine| {
            let mut found = false;
            self.each(|known| found |= std::ptr::eq(known, engine));
            found
        };
        while is_there(engine) {
            // SAFETY: it is in the list, and stays there while Ruby is not called.
            if unsafe { &*engine }.cancel_ended(fds, first) {
                return;
            }
            gvl::pause();
        }
    }

    /// The scheduler or selector of the calling thread whose fibers can run while this one waits: one that
    /// uses these descriptors, or else the latest.
    fn own(&self, ruby: &Ruby, fds: &[RawFd]) -> Option<User> {
        let users = self.users();
        let mut own = None;
        for user in users.iter() {
            // SAFETY: as above.
            let engine = unsafe { user.engine() };
            let runs = !matches!(engine.flow, Flow::Nobody)
                && !engine.is_closed()
                && !engine.is_lost()
                && engine.is_owner(ruby);
            if runs {
                own = Some(*user);
                if fds.iter().any(|fd| engine.uses(ruby, *fd)) {
                    break;
                }
            }
        }
        own
    }
}

/// Descriptors of an IO that is about to be closed: others begin nothing on them while this is there.
struct Closing<'a> {
    registry: &'a Registry,
    io: Value,
    which: Descriptors,
    fds: Vec<RawFd>,
    /// Tells several that close the same descriptor apart.
    number: u64,
    /// Whether a trap handler closes. No other fiber may run in the middle of a handler: those of its thread
    /// notice the close afterwards, when their operations are over.
    in_trap: bool,
}

/// How long the closing fiber waits between two looks, when nobody wakes it.
const MOMENT: Duration = Duration::from_millis(1);

/// After this time it no longer waits for users whose threads are busy elsewhere, because these threads may be
/// waiting for it. Their operations are over, or have memory of their own.
const LONGEST: Duration = Duration::from_secs(1);

impl<'a> Closing<'a> {
    /// `None` where nothing is under way on the descriptors.
    fn begin(ruby: &'a Ruby, io: Value, which: Descriptors) -> Option<Self> {
        let fds = OpenIo::descriptors(ruby, io, which);
        fds.iter().copied().for_each(uring_io_core::note_close);
        let registry: &Registry = REGISTRY.of(ruby);
        let mut any = false;
        registry.each(|engine| any |= fds.iter().any(|fd| engine.driver.has_users(*fd)));
        if !any {
            return None;
        }
        let number = registry.closings.get();
        registry.closings.set(number + 1);
        registry.each(|engine| {
            fds.iter()
                .for_each(|fd| engine.driver.begin_close(*fd, number));
        });
        Some(Self {
            registry,
            io,
            which,
            fds,
            number,
            in_trap: is_in_trap(),
        })
    }

    /// Whether somebody has yet to leave.
    fn is_awaited(&self, ruby: &Ruby) -> bool {
        let mut found = false;
        self.registry.each(|engine| {
            let counts = |fd: &RawFd| {
                if self.in_trap && engine.is_owner(ruby) {
                    engine.driver.is_used(*fd, |_| true)
                } else {
                    engine.uses(ruby, *fd)
                }
            };
            found |= self.fds.iter().any(counts);
        });
        found
    }

    /// Ends the operations and waits until they are over. Returns the exception that killed the fiber
    /// meanwhile: the fiber raises it when it has closed.
    fn end_all(&self, ruby: &Ruby) -> Result<Option<Error>, Error> {
        let mut killed = None;
        let start = Instant::now();
        for look in 0_u32.. {
            self.registry.end_all_on(ruby, &self.fds, look == 0);
            if !self.is_awaited(ruby) || (start.elapsed() > LONGEST && !self.must_be_awaited(ruby))
            {
                break;
            }
            if self.in_trap {
                gvl::sleep()?;
                continue;
            }
            match self.wait(ruby, look) {
                Ok(()) => {}
                Err(kill) if kill.value().is_none() => {
                    killed.get_or_insert(kill);
                }
                Err(raised) => return Err(raised),
            }
            if OpenIo::descriptors(ruby, self.io, self.which) != self.fds {
                // Somebody else has closed it, and these may be others' by now.
                return Ok(killed);
            }
        }
        for fd in &self.fds {
            self.registry
                .each(|engine| engine.driver.end_close(*fd, None));
        }
        Ok(killed)
    }

    /// Whether it would be wrong to go on: a user of this thread has not left, or an operation has yet to go to the
    /// kernel, and would find another file by then.
    fn must_be_awaited(&self, ruby: &Ruby) -> bool {
        let mut found = false;
        self.registry.each(|engine| {
            let driver = &engine.driver;
            let queued = |fd: &RawFd| !driver.is_waiting() && driver.has_queued(*fd);
            let used = |fd: &RawFd| engine.is_owner(ruby) && engine.uses(ruby, *fd);
            found |= self.fds.iter().any(|fd| used(fd) || queued(fd));
        });
        found
    }

    /// Lets the fibers run that have to end.
    fn wait(&self, ruby: &Ruby, look: u32) -> Result<(), Error> {
        let most = if look == 0 { None } else { Some(MOMENT) };
        match self.registry.own(ruby, &self.fds) {
            // SAFETY: the scheduler that the thread runs under, which Ruby keeps.
            Some(User::Engine(engine)) => unsafe { &*engine }.let_others_run(ruby, most),
            // SAFETY: the selector that the thread runs under, which its scheduler keeps.
            Some(User::Selector(home)) => unsafe { &*home }.let_others_run(ruby, most),
            None => {
                // SAFETY: asks for a value of the calling thread.
                let scheduler = unsafe { Value::from_raw(rb_sys::rb_fiber_scheduler_current()) };
                if scheduler.is_nil() {
                    return gvl::sleep();
                }
                let seconds = MOMENT.as_secs_f64();
                scheduler.funcall::<_, _, Value>("kernel_sleep", (seconds,))?;
                Ok(())
            }
        }
    }
}

/// Whether the caller is in a trap handler, where Ruby locks no Mutex.
fn is_in_trap() -> bool {
    // SAFETY: a new Mutex, which nobody else has; what raises is caught.
    unsafe {
        let mutex = rb_sys::rb_mutex_new();
        let locked = magnus::rb_sys::protect(|| rb_sys::rb_mutex_lock(mutex));
        locked.is_err() || magnus::rb_sys::protect(|| rb_sys::rb_mutex_unlock(mutex)).is_err()
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let number = Some(self.number);
        for fd in &self.fds {
            self.registry
                .each(|engine| engine.driver.end_close(*fd, number));
        }
    }
}

impl Engine {
    /// Whether others than the calling fiber use a descriptor, or an operation of the fiber itself does: a trap
    /// handler may close a descriptor that the interrupted fiber waits for.
    ///
    /// It allocates nothing, see [`Registry::each`]: Ruby makes the object of a thread's first fiber when it is
    /// asked for, and the thread of an engine with parties has it.
    fn uses(&self, ruby: &Ruby, fd: RawFd) -> bool {
        let is_owner = self.is_owner(ruby);
        self.driver.is_used(fd, |party| {
            let is_part = matches!(party.purpose, Purpose::PartOf(_));
            let is_current =
                || ruby.get_inner(party.fiber).as_raw() == ruby.fiber_current().as_raw();
            is_part || is_owner && is_current()
        })
    }

    /// Cancels the ended operations, for the thread that owns the engine. False when the kernel takes no
    /// submissions now.
    fn cancel_ended(&self, fds: &[RawFd], first: bool) -> bool {
        const LOOKS: usize = 3;
        // A ring that fails here reports it to the fiber that waits for it.
        if fds
            .iter()
            .any(|fd| self.driver.before_close(*fd) == Ok(false))
        {
            return false;
        }
        for _ in 0..if first { LOOKS } else { 1 } {
            let _ = self.driver.look();
        }
        true
    }

    /// Lets the other fibers run once, or those that can within some time.
    fn let_others_run(&self, ruby: &Ruby, most: Option<Duration>) -> Result<(), Error> {
        match most {
            None => self.yield_turn(ruby, Purpose::Turn),
            Some(_) => self.park(ruby, Purpose::Turn, most).map(|_| ()),
        }
    }
}

/// Ends the operations on the descriptors of an IO, then does the rest of the close.
pub fn ending(
    ruby: &Ruby,
    io: Value,
    which: Descriptors,
    rest: impl FnOnce() -> Result<Value, Error>,
) -> Result<Value, Error> {
    let mut killed = None;
    while let Some(closing) = Closing::begin(ruby, io, which) {
        let kill = closing.end_all(ruby)?;
        killed = killed.or(kill);
        drop(closing);
        // The rest would flush first, and others could begin operations while it waits for room.
        if !OpenIo::has_flushed(ruby, io)? {
            break;
        }
    }
    let result = closers::during(ruby, rest);
    match killed {
        Some(kill) => Err(kill),
        None => result,
    }
}

/// Ends the operations on a descriptor before its close, without waiting for its users. Ruby 4.0 has already waited
/// for the users of the IO.
pub fn tell_of_close(ruby: &Ruby, fd: RawFd) {
    REGISTRY.of(ruby).end_all_on(ruby, &[fd], true);
}

/// Makes what the threads of each Ractor share, before there is another one.
pub fn init() {
    REGISTRY.init();
    collector::init();
}
