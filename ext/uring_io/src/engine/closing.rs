//! No operation outlives its IO: the operations on a descriptor end before Ruby closes it.
//!
//! Ruby below 4.0 tells no scheduler of a close, and later versions tell it of some closes only. So the methods of IO
//! that close a descriptor, or give it another file, first call this module (`lib/uring_io/core_ext/close.rb`). It asks
//! every scheduler, selector and ring of the Ractor whether it uses the descriptor. As a rule none does, and the
//! question takes nanoseconds. Otherwise all operations on the descriptor end, and no new one begins: the fibers that
//! wait get IOError. The closing fiber waits until the last of them has left.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use magnus::rb_sys::{AsRawValue, FromRawValue};
use magnus::value::ReprValue;
use magnus::{Error, Ruby, Value};

use super::objects::{address, Objects};
use super::recordings::{Recording, Recordings};
use super::{Engine, Flow, Home, Purpose};
use crate::ruby::io::{Descriptors, OpenIo};
use crate::ruby::ractors::Local;
use crate::ruby::{closers, collector, gvl};

/// A possible user of a descriptor, and the address of the object's Rust part that it is in: see [`Objects`]. Besides
/// its engine, a selector has a ready list of others to run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Engine(*const Engine, usize),
    Selector(*const Home, usize),
}

impl User {
    /// # Safety
    ///
    /// The user must be in the registry's list: an engine takes itself off the list when it is dropped.
    unsafe fn engine(&self) -> &Engine {
        // SAFETY: the caller promises that the user is in the list. An engine there is alive.
        unsafe {
            match self {
                Self::Engine(engine, _) => &**engine,
                Self::Selector(home, _) => &(**home).engine,
            }
        }
    }
}

/// The schedulers, selectors and rings of one Ractor. The threads of the Ractor use it one at a time, under its GVL.
#[derive(Default)]
pub struct Registry {
    /// Nobody calls Ruby while holding this lock. That could start the garbage collector, which takes engines off the
    /// list, maybe in a thread of another Ractor.
    users: Mutex<Vec<User>>,
    /// The objects of schedulers and selectors.
    pub objects: Objects,
    /// How many closes found their descriptor in use.
    closings: Cell<u64>,
    /// The recordings of the Ractor's engines.
    recordings: Recordings,
}

// SAFETY: a lock guards the list. Only threads of one Ractor use the count and the objects, each while it holds the
// GVL.
unsafe impl Send for Registry {}
// SAFETY: as above.
unsafe impl Sync for Registry {}

static REGISTRY: Local<Arc<Registry>> = Local::new();

impl Registry {
    /// The registry of the calling thread's Ractor.
    pub fn of(ruby: &Ruby) -> Arc<Self> {
        Arc::clone(REGISTRY.of(ruby))
    }

    fn users(&self) -> MutexGuard<'_, Vec<User>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an engine, which must stay at its address until it is dropped, and is in this part of an object.
    pub fn add<T>(&self, engine: &Engine, part: &T) {
        self.users().push(User::Engine(engine, address(part)));
        self.record_new(engine);
    }

    /// Like [`add`](Self::add), for the engine of a selector.
    pub fn add_selector<T>(&self, home: &Home, part: &T) {
        self.users().push(User::Selector(home, address(part)));
        self.record_new(&home.engine);
    }

    /// Takes an engine off the list. The garbage collector calls this, maybe in a thread of another Ractor.
    ///
    /// A forked child has no other Ractors. If a thread of another Ractor held the lock of its list at the fork, the
    /// lock stays held for ever. The engine then stays on that list, which nobody reads.
    pub fn remove(&self, engine: &Engine) {
        let users = if engine.is_inherited() {
            self.users.try_lock().ok()
        } else {
            self.keep_recorded(engine);
            Some(self.users())
        };
        let Some(mut users) = users else { return };
        users.retain(|user| {
            // SAFETY: every engine in the list is alive, including this one, which is being dropped.
            let of_user = unsafe { user.engine() };
            !std::ptr::eq(of_user, engine)
        });
    }

    /// Calls `look` with every engine that is open and not lost. `look` must not call Ruby: the garbage collector could
    /// free an engine.
    fn each(&self, mut look: impl FnMut(&Engine)) {
        for user in self.users().iter() {
            // SAFETY: the engine is in the list. It stays there while nobody calls Ruby, and nothing here does.
            let engine = unsafe { user.engine() };
            if !engine.is_closed() && !engine.is_lost() {
                look(engine);
            }
        }
    }

    /// Begins to record all engines, at most `most` records of each. Returns false if a recording is running already.
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

    /// Records that the calling thread has just spent `length` on collecting garbage. Ruby calls this inside of the
    /// collection, so it must not make objects.
    fn collected(&self, ruby: &Ruby, length: Duration) {
        let Ok(users) = self.users.try_lock() else {
            return;
        };
        for user in users.iter() {
            // SAFETY: the engine is in the list. It stays there while nobody calls Ruby, and nothing here does.
            let engine = unsafe { user.engine() };
            if engine.is_owner(ruby) {
                engine.driver.record_collected(length);
            }
        }
    }

    /// Ends the recording. Returns the logs of this process.
    pub fn end_recording(&self, ruby: &Ruby) -> Result<Vec<Recording>, Error> {
        collector::forget(ruby)?;
        for user in self.users().iter() {
            // SAFETY: the engine is in the list. It stays there while nobody calls Ruby, and nothing here does.
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

    /// Ends all operations on these descriptors. It cancels those of the calling thread's engines at once; other
    /// threads cancel their own.
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

    /// Cancels the ended operations of an engine that the calling thread owns.
    fn cancel_ended(&self, engine: *const Engine, fds: &[RawFd], first: bool) {
        // During a pause, the garbage collector may free a ring that no fiber waits in.
        let is_there = |engine: *const Engine| {
            let mut found = false;
            self.each(|known| found |= std::ptr::eq(known, engine));
            found
        };
        while is_there(engine) {
            // SAFETY: the engine is in the list. It stays there while nobody calls Ruby, and cancelling does not.
            if unsafe { &*engine }.cancel_ended(fds, first) {
                return;
            }
            gvl::pause();
        }
    }

    /// The scheduler or selector of the calling thread whose fibers run while this one waits: one that uses these
    /// descriptors, or else the thread's present scheduler. While the caller has the object on its stack, the user
    /// stays in the list.
    ///
    /// The loop of any other selector may not be running, or belong to a scheduler that the thread no longer has.
    fn own(&self, ruby: &Ruby, fds: &[RawFd]) -> Result<Option<(User, Value)>, Error> {
        // SAFETY: it returns a value of the calling thread.
        let scheduler = unsafe { rb_sys::rb_fiber_scheduler_get() };
        let mut own = Vec::new();
        for user in self.users().iter() {
            // SAFETY: the engine is in the list. It stays there while nobody calls Ruby, and nothing here does.
            let engine = unsafe { user.engine() };
            let runs = !matches!(engine.flow, Flow::Nobody)
                && !engine.is_closed()
                && !engine.is_lost()
                && engine.is_owner(ruby);
            if runs {
                own.push((*user, fds.iter().any(|fd| engine.uses(ruby, *fd))));
            }
        }
        own.sort_by_key(|(_, uses)| !uses);
        let mut found = None;
        for (user, uses) in own {
            // The user may be gone since the last call of Ruby, and another one at its address. If it is in the list
            // and its object is here, it stays.
            let (User::Engine(_, part) | User::Selector(_, part)) = user;
            let object = self.objects.at(ruby, part)?;
            if uses && object.is_none() {
                // Its object is garbage. The collector ends it, and nobody else does.
                ruby.gc_start();
            }
            let held = object.filter(|object| uses || object.as_raw() == scheduler);
            if let Some(object) = held.filter(|_| self.users().contains(&user)) {
                // A selector that uses the descriptors may have no loop any more. The present scheduler runs.
                if uses && object.as_raw() == scheduler {
                    return Ok(Some((user, object)));
                }
                found.get_or_insert((user, object));
            }
        }
        Ok(found)
    }
}

/// The descriptors of an IO that a fiber is closing. No new operation begins on them until [`end_all`](Self::end_all)
/// has returned or this is dropped.
struct Closing<'a> {
    registry: &'a Registry,
    io: Value,
    which: Descriptors,
    fds: Vec<RawFd>,
    /// Tells this close from others of the same descriptor.
    number: u64,
    /// Whether a trap handler closes the IO. No other fiber may run in the middle of a handler. So fibers of its thread
    /// notice the close only afterwards, when their operations are over.
    in_trap: bool,
}

/// How long the closing fiber waits before it looks again, unless somebody wakes it.
const MOMENT: Duration = Duration::from_millis(1);

/// After this time, the closing fiber no longer waits for users whose threads are busy elsewhere: these threads may be
/// waiting for the closing fiber. Their operations are over, or use memory of their own.
const LONGEST: Duration = Duration::from_secs(1);

impl<'a> Closing<'a> {
    /// Begins a close. `None` if nobody uses the descriptors.
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

    /// Whether a user has not left yet.
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

    /// Ends the operations and waits until they are over. If somebody kills the fiber meanwhile, it returns the kill:
    /// the fiber closes first and dies afterwards.
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
                // Somebody else has closed the IO. Its numbers may belong to other files by now.
                return Ok(killed);
            }
        }
        for fd in &self.fds {
            self.registry
                .each(|engine| engine.driver.end_close(*fd, None));
        }
        Ok(killed)
    }

    /// Whether it would be wrong to close now. It is wrong while a user of this thread has not left. It is also wrong
    /// while an operation is queued that the kernel has not taken: the operation would find another file by then.
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

    /// Lets the fibers run that have to leave.
    fn wait(&self, ruby: &Ruby, look: u32) -> Result<(), Error> {
        let most = if look == 0 { None } else { Some(MOMENT) };
        let Some((user, object)) = self.registry.own(ruby, &self.fds)? else {
            // SAFETY: it returns a value of the calling thread.
            let scheduler = unsafe { Value::from_raw(rb_sys::rb_fiber_scheduler_current()) };
            if scheduler.is_nil() {
                return gvl::sleep();
            }
            let seconds = MOMENT.as_secs_f64();
            scheduler.funcall::<_, _, Value>("kernel_sleep", (seconds,))?;
            return Ok(());
        };
        // SAFETY: the user is a part of the object, which stays on the stack until the end of this function. So the
        // collector does not free it, whatever other threads and fibers do meanwhile.
        let waited = unsafe {
            match user {
                User::Engine(engine, _) => (*engine).let_others_run(ruby, most),
                User::Selector(home, _) => (*home).let_others_run(ruby, most),
            }
        };
        std::hint::black_box(object);
        waited
    }
}

/// Whether the caller is in a trap handler. Ruby locks no Mutex there.
fn is_in_trap() -> bool {
    // SAFETY: the Mutex is new, and nobody else has it. `protect` catches exceptions.
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
    /// Whether another fiber uses a descriptor, or an operation of the calling fiber itself does. The latter happens
    /// when a trap handler closes a descriptor that the interrupted fiber waits for.
    ///
    /// It allocates nothing, because [`Registry::each`] does not allow that. Ruby makes the object of a thread's first
    /// fiber when somebody asks for it, but a thread whose engine has parties has that object already.
    fn uses(&self, ruby: &Ruby, fd: RawFd) -> bool {
        let is_owner = self.is_owner(ruby);
        self.driver.is_used(fd, |party| {
            let is_part = matches!(party.purpose, Purpose::PartOf(_));
            let is_current =
                || ruby.get_inner(party.fiber).as_raw() == ruby.fiber_current().as_raw();
            is_part || is_owner && is_current()
        })
    }

    /// Cancels the ended operations. Only the thread that owns the engine may call it. Returns false when the kernel
    /// takes no submissions now.
    fn cancel_ended(&self, fds: &[RawFd], first: bool) -> bool {
        const LOOKS: usize = 3;
        // If a ring fails here, the fiber that waits for it gets the error.
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

    /// Lets the other ready fibers run once, or with `most`, for that time.
    fn let_others_run(&self, ruby: &Ruby, most: Option<Duration>) -> Result<(), Error> {
        match most {
            None => self.yield_turn(ruby, Purpose::Turn),
            Some(_) => self.park(ruby, Purpose::Turn, most).map(|_| ()),
        }
    }
}

/// Ends the operations on the descriptors of an IO, then calls `rest`, which closes the IO.
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
        // `rest` would flush first, and others could begin operations while it waits for room. So flush here and end
        // those operations, too.
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

/// Makes the values that each Ractor has, before there is another Ractor.
pub fn init() {
    REGISTRY.init();
    collector::init();
}
