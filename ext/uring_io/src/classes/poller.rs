//! Class UringIO::Poller: watches descriptors for monitors like nio4r's. Only `lib/uring_io/nio/selector.rb` uses it.
//!
//! A watch is one poll. It is over when it has found an event, and the caller then arms it again. So the poller keeps
//! reporting a descriptor as long as it is ready. On io_uring the call that waits also submits the watches of a turn.
//! A ring belongs to the thread that made it. When another thread comes to wait, it makes a ring of its own, and the
//! caller has to arm all watches again.
#![allow(unsafe_code)]

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use magnus::rb_sys::AsRawValue;
use magnus::scan_args::scan_args;
use magnus::typed_data::Obj;
use magnus::value::{Opaque, ReprValue};
use magnus::{
    gc, method, prelude::*, DataTypeFunctions, Error, RArray, RHash, RModule, Ruby, Symbol,
    TypedData, Value,
};
use uring_io_core::{BackendKind, Driver, Interest, Operation, Token, Turn, Wakeup};

use crate::classes::options::{self, Backing};
use crate::ruby::owner::Owner;
use crate::ruby::{duration, errors, gvl, io, ractors};

/// The Rust part of a UringIO::Poller.
#[derive(TypedData, Default)]
#[magnus(class = "UringIO::Poller", mark, size, free_immediately)]
pub struct Poller {
    /// Absent until `initialize` has run.
    state: OnceCell<State>,
}

struct State {
    kind: BackendKind,
    /// Absent after the poller has given its watches up, until the next `attach`. The waiting thread shares them.
    watches: RefCell<Option<Rc<Watches>>>,
    /// Whether somebody has asked the present wait, or else the next one, to end at once.
    woken: Cell<bool>,
    /// Whether a thread is between `attach` and `detach`.
    busy: Cell<bool>,
    /// How many `Watches` there have been, which is also the number of the present one.
    made: Cell<u32>,
    closed: Cell<bool>,
}

/// The watches of one thread.
struct Watches {
    driver: Driver<Watch>,
    /// The thread that made the driver.
    owner: Owner,
    /// Watches that other threads want to end while the owner waits. Only the owner may use its ring.
    ended: RefCell<Vec<Token>>,
}

/// The object that a poll reports to.
struct Watch {
    object: Opaque<Value>,
    fd: RawFd,
    interest: Interest,
    /// An epoll set with the descriptor, if the driver polls the set instead of the descriptor.
    set: Option<OwnedFd>,
}

// SAFETY: only the thread that holds the GVL uses it. While the owner waits without the GVL, other threads use only
// what Driver::wait leaves alone, `woken`, `ended` and the count of the Rc.
unsafe impl Send for Poller {}

impl DataTypeFunctions for Poller {
    fn mark(&self, marker: &gc::Marker) {
        let watches = self.state.get().map(|state| state.watches.borrow());
        if let Some(watches) = watches.as_ref().and_then(|watches| watches.as_ref()) {
            watches.owner.mark(marker);
            watches
                .driver
                .with_payloads(|_, watch| marker.mark(watch.object));
        }
    }
}

type Hook<T> = Result<T, Error>;

impl Poller {
    /// UringIO::Poller.new(backend: nil)
    fn initialize(ruby: &Ruby, this: Obj<Self>, arguments: &[Value]) -> Hook<()> {
        let arguments = scan_args::<(), (), (), (), RHash, ()>(arguments)?;
        let watches = Watches::new(ruby, arguments.keywords)?;
        let state = State {
            kind: watches.driver.backend(),
            watches: RefCell::new(Some(Rc::new(watches))),
            woken: Cell::new(false),
            busy: Cell::new(false),
            made: Cell::new(1),
            closed: Cell::new(false),
        };
        // Making a driver may call Ruby, and that may call `initialize` too.
        let set = this.state.set(state);
        set.map_err(|_| errors::initialized(ruby, "poller"))
    }

    fn made(&self, ruby: &Ruby) -> Hook<&State> {
        self.state
            .get()
            .ok_or_else(|| errors::closed(ruby, "poller"))
    }

    fn backend(ruby: &Ruby, this: Obj<Self>) -> Hook<Symbol> {
        Ok(ruby.to_symbol(this.made(ruby)?.kind.name()))
    }

    /// Fails if the backend cannot watch a descriptor of this number.
    fn check(ruby: &Ruby, this: Obj<Self>, fd: i32) -> Hook<()> {
        let can_watch = this.made(ruby)?.kind != BackendKind::Select
            || usize::try_from(fd).is_ok_and(|fd| fd < libc::FD_SETSIZE);
        if can_watch {
            return Ok(());
        }
        Err(errors::beyond_select(ruby, fd))
    }

    /// Gives the poller to the calling thread until `detach`. If the result differs from the last one, the poller has
    /// lost all armed watches.
    fn attach(ruby: &Ruby, this: Obj<Self>) -> Hook<u32> {
        let state = this.made(ruby)?;
        if state.closed.get() {
            return Err(errors::closed(ruby, "poller"));
        }
        let present = state.watches.borrow().clone();
        if let Some(watches) = present {
            if !watches.is_inherited() && watches.driver.is_waiting() {
                let message = "another thread waits by this poller";
                return Err(Error::new(ruby.exception_thread_error(), message));
            }
            if !watches.is_inherited() && watches.serves(ruby) {
                state.busy.set(true);
                return Ok(state.made.get());
            }
        }
        state.give_up(ruby);
        let keywords = ruby.hash_new();
        keywords.aset(ruby.to_symbol("backend"), state.kind.name())?;
        let watches = Rc::new(Watches::new(ruby, keywords)?);
        state.watches.replace(Some(watches));
        state.made.set(state.made.get().wrapping_add(1));
        state.busy.set(true);
        Ok(state.made.get())
    }

    /// Ends the use that `attach` began.
    fn detach(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        let state = this.made(ruby)?;
        state.busy.set(false);
        let watches = state.watches.borrow().clone();
        let ended = match watches {
            Some(watches) if !watches.is_inherited() && watches.serves(ruby) => watches.end_all(),
            _ => Ok(()),
        };
        ended.map_err(|error| errors::errno(ruby, error))
    }

    /// Watches a descriptor once, for IO::READABLE, IO::WRITABLE or both. Returns the number of the watch, or a
    /// negative errno. With `by_set` it polls an epoll set with the descriptor: the caller asks for that if a poll of
    /// the descriptor ended without an event of the interest.
    fn arm(
        ruby: &Ruby,
        this: Obj<Self>,
        object: Value,
        fd: RawFd,
        events: Value,
        by_set: bool,
    ) -> Hook<Value> {
        let errno = |errno: i32| ruby.integer_from_i64(errno.into()).as_value();
        let watches = this.watches(ruby)?;
        let interest = io::interest(ruby, events)?;
        let set = if by_set {
            match uring_io_core::watch(&[(fd, interest)]) {
                Ok(set) => Some(set),
                Err(error) if error.errno == libc::EBADF => return Ok(errno(-libc::EBADF)),
                Err(error) => return Err(errors::errno(ruby, error)),
            }
        } else {
            None
        };
        let operation = match &set {
            Some(set) => Operation::Poll {
                fd: set.as_raw_fd(),
                interest: Interest::READABLE,
            },
            None => Operation::Poll { fd, interest },
        };
        let token = watches.driver.park(Watch {
            object: Opaque::from(object),
            fd,
            interest,
            set,
        });
        match watches.driver.submit(token, &operation) {
            Ok(None) => Ok(ruby.integer_from_u64(token.to_bits()).as_value()),
            Ok(Some(result)) => {
                watches.driver.leave(token);
                Ok(errno(result))
            }
            Err(error) => {
                watches.driver.leave(token);
                Err(errors::refusal(ruby, error, Some(fd)))
            }
        }
    }

    /// Ends the watch of this number, so that the kernel lets go of the file. Does nothing if the watch is over or
    /// belongs to another object. Any thread may call it.
    fn release(ruby: &Ruby, this: Obj<Self>, token: u64, object: Value) -> Hook<()> {
        let state = this.made(ruby)?;
        let Some(watches) = state.watches.borrow().clone() else {
            return Ok(());
        };
        let token = Token::from_bits(token);
        let is_its = |watch: &Watch| ruby.get_inner(watch.object).as_raw() == object.as_raw();
        if watches.is_inherited() || watches.driver.with_payload(token, is_its) != Some(true) {
            return Ok(());
        }
        if !watches.driver.is_waiting() && watches.serves(ruby) {
            // If the ring fails here, it fails in the next wait as well, which reports it.
            let _ = watches.end(token);
        } else if state.busy.get() || watches.driver.is_waiting() {
            watches.ended.borrow_mut().push(token);
            watches.driver.waker().wake();
        } else {
            // Only the ring's thread could end this watch alone, and it is elsewhere. So this ends the ring.
            state.give_up(ruby);
        }
        Ok(())
    }

    /// Adds the events that came after the last wait to an array, as far as they still hold: see `take_found`. The
    /// caller does this before it arms watches again.
    fn look(ruby: &Ruby, this: Obj<Self>, found: RArray) -> Hook<()> {
        let watches = this.watches(ruby)?;
        if watches.driver.backend() != BackendKind::IoUring {
            return Ok(());
        }
        let looked = watches.driver.look();
        looked.map_err(|error| errors::errno(ruby, error))?;
        watches.take_found(ruby, found, true)
    }

    /// Waits until a watched descriptor is ready, or until a wakeup, a signal or the timeout. Adds the events to an
    /// array: see `take_found`. Returns whether a wakeup came.
    fn wait(ruby: &Ruby, this: Obj<Self>, timeout: Value, found: RArray) -> Hook<bool> {
        let watches = this.watches(ruby)?;
        let state = this.made(ruby)?;
        let timeout = duration::optional(ruby, timeout)?;
        let woken = state.woken.replace(false);
        let waited = if woken || timeout == Some(Duration::ZERO) {
            watches.driver.look()
        } else {
            // Ruby skips the wait if it has an interrupt for the thread. The caller handles that at once.
            gvl::wait(&watches.driver, timeout).unwrap_or(Ok(()))
        };
        let ended = waited.and_then(|()| watches.end_all());
        ended.map_err(|error| errors::errno(ruby, error))?;
        watches.take_found(ruby, found, false)?;
        Ok(woken | state.woken.replace(false))
    }

    /// Ends the present wait, or else the next one. Any thread may call it, also in a trap handler.
    fn wakeup(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        let state = this.made(ruby)?;
        state.woken.set(true);
        if let Some(watches) = state.watches.borrow().as_ref() {
            if !watches.is_inherited() && watches.driver.is_waiting() {
                watches.driver.waker().wake();
            }
        }
        Ok(())
    }

    /// Ends all watches and gives the backend back. Any thread may call it while nobody waits. Repeatable.
    fn close(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        let state = this.made(ruby)?;
        state.closed.set(true);
        state.give_up(ruby);
        Ok(())
    }

    /// The watches, if they belong to the calling thread; fails otherwise.
    fn watches(&self, ruby: &Ruby) -> Hook<Rc<Watches>> {
        let watches = self.made(ruby)?.watches.borrow().clone();
        match watches {
            Some(watches) if watches.is_inherited() => Err(errors::closed(ruby, "poller")),
            Some(watches) if !watches.serves(ruby) || watches.driver.is_waiting() => {
                Err(errors::wrong_thread(ruby, "poller"))
            }
            Some(watches) => Ok(watches),
            None => Err(errors::closed(ruby, "poller")),
        }
    }
}

impl State {
    /// Gives the watches up, which ends them.
    fn give_up(&self, ruby: &Ruby) {
        let Some(watches) = self.watches.take() else {
            return;
        };
        if !watches.is_inherited() && watches.serves(ruby) && !watches.driver.is_waiting() {
            // If this fails, the drop ends the ring, as it does for the ring of another thread.
            let _ = watches.driver.close();
        }
    }
}

impl Watches {
    fn new(ruby: &Ruby, keywords: RHash) -> Hook<Self> {
        let Backing { driver, .. } = options::driver(ruby, keywords, 1024)?;
        Ok(Self {
            driver,
            owner: Owner::current(ruby),
            ended: RefCell::default(),
        })
    }

    /// Whether they belong to the process that forked this one.
    fn is_inherited(&self) -> bool {
        self.owner.is_inherited()
    }

    /// Whether the calling thread may use them: only the thread that made a ring may use it.
    fn serves(&self, ruby: &Ruby) -> bool {
        self.driver.backend() != BackendKind::IoUring || self.owner.is_current(ruby)
    }

    /// Ends a poll. Afterwards the kernel is done with its file.
    fn end(&self, token: Token) -> uring_io_core::Result<()> {
        let ended = self.driver.cancel_now(token);
        self.driver.leave(token);
        ended.map(|_| ())
    }

    /// Ends the watches that other threads wanted to end.
    fn end_all(&self) -> uring_io_core::Result<()> {
        let ended = self.ended.take();
        ended.into_iter().try_for_each(|token| self.end(token))
    }

    /// Adds two elements for each watch that is over: its object and its events. The events are IO::READABLE,
    /// IO::WRITABLE or both; 0 if the descriptor is no longer ready; nil if only an epoll set can watch it; or a
    /// negative errno. With `verify` it looks at each descriptor with poll(2).
    fn take_found(&self, ruby: &Ruby, found: RArray, verify: bool) -> Hook<()> {
        let driver = &self.driver;
        let turn = driver.begin_turn();
        if turn.map_err(|error| errors::errno(ruby, error))? != Turn::Ready {
            return Ok(());
        }
        while let Some(token) = driver.next_ready() {
            let Some(Wakeup::Completed(result)) = driver.take_wakeup(token) else {
                continue;
            };
            let looked = driver.with_payload(token, |watch| {
                (ruby.get_inner(watch.object), watch.events(result, verify))
            });
            if let Some((object, events)) = looked {
                found.push(object)?;
                found.push(events)?;
            }
            driver.leave(token);
        }
        Ok(())
    }
}

impl Watch {
    /// The events of a poll with this result: see `take_found`.
    fn events(&self, result: i32, verify: bool) -> Option<i32> {
        if result < 0 {
            return Some(result);
        }
        if self.set.is_none() && !self.interest.is_settled_by(result) {
            return None;
        }
        if self.set.is_none() && !verify {
            return Some(self.interest.satisfied_by(result).bits() as i32);
        }
        match uring_io_core::readiness_now(self.fd, self.interest) {
            Ok(ready) => Some(ready.map_or(0, |ready| ready.bits() as i32)),
            Err(error) => Some(-error.errno),
        }
    }
}

pub fn init(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Poller", ruby.class_object())?;
    Poller::class(ruby);
    ractors::refuse_copies(class)?;
    class.define_alloc_func::<Poller>();
    class.define_method("initialize", method!(Poller::initialize, -1))?;
    class.define_method("backend", method!(Poller::backend, 0))?;
    class.define_method("check", method!(Poller::check, 1))?;
    class.define_method("attach", method!(Poller::attach, 0))?;
    class.define_method("detach", method!(Poller::detach, 0))?;
    class.define_method("arm", method!(Poller::arm, 4))?;
    class.define_method("release", method!(Poller::release, 2))?;
    class.define_method("look", method!(Poller::look, 1))?;
    class.define_method("wait", method!(Poller::wait, 2))?;
    class.define_method("wakeup", method!(Poller::wakeup, 0))?;
    class.define_method("close", method!(Poller::close, 0))
}
