//! Class UringIO::Selector: the contract of IO::Event::Selector, on which Async's scheduler rests.
//!
//! A selector has a loop fiber, which calls `select` over and over. A fiber that waits transfers to
//! it and is transferred back to by a later `select`. Two queues say who runs: the ready list here,
//! with fibers and other objects in the order in which they were pushed, and the driver's, with
//! those whose operation is over.
#![allow(unsafe_code)]

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::AtomicPtr;
use std::time::{Duration, Instant};

use magnus::fiber::Fiber;
use magnus::rb_sys::{protect, AsRawId, AsRawValue, FromRawValue};
use magnus::scan_args::scan_args;
use magnus::value::{LazyId, Opaque, ReprValue};
use magnus::{
    gc, method, prelude::*, typed_data::Obj, DataTypeFunctions, Error, ExceptionClass, RHash,
    RModule, Ruby, Symbol, TryConvert, TypedData, Value,
};
use rb_sys::rb_data_type_t;
use uring_io_core::{Direction, Turn};

use crate::arguments::check_count;
use crate::closing::{self, Registry};
use crate::engine::{Engine, Flow, Purpose};
use crate::io::{self, OpenIo};
use crate::options::{self, Made};
use crate::receiver::{Receiver, Receives};
use crate::transfer::{self, Contract};
use crate::{children, duration, errors, gvl, ractors, switch};

/// Memory behind a UringIO::Selector.
#[derive(TypedData, Default)]
#[magnus(class = "UringIO::Selector", mark, size, free_immediately)]
pub struct Selector {
    /// Absent until `initialize` has run.
    state: OnceCell<State>,
}

pub struct State {
    engine: Engine,
    home: Opaque<Fiber>,
    contract: Cell<Contract>,
    ready: ReadyList,
    idle: Cell<Duration>,
    /// Times that `select` did not look at a backend whose look costs a system call.
    not_looked: Cell<u32>,
}

// SAFETY: Ruby objects are used by whichever thread of their Ractor holds its GVL, one at a time. Methods other
// than `push`, `wakeup` and questions refuse threads that do not own the selector; these, and the
// GC's marking, may run while the owner waits without the GVL, and touch only what Driver::wait
// leaves alone.
unsafe impl Send for Selector {}

impl Receives for Selector {
    fn known_type() -> &'static AtomicPtr<rb_data_type_t> {
        static TYPE: AtomicPtr<rb_data_type_t> = AtomicPtr::new(std::ptr::null_mut());
        &TYPE
    }
}

impl DataTypeFunctions for Selector {
    fn mark(&self, marker: &gc::Marker) {
        if let Some(state) = self.state.get() {
            state.engine.mark(marker);
            state.ready.mark(marker);
        }
    }
}

/// Who is to be transferred to, first in first out: fibers, and whatever has `alive?` and
/// `transfer`.
#[derive(Default)]
struct ReadyList {
    /// An entry that was taken back leaves its place empty.
    entries: RefCell<VecDeque<Option<Opaque<Value>>>>,
    /// Number of the first entry; they are counted through.
    first: Cell<u64>,
}

impl ReadyList {
    fn mark(&self, marker: &gc::Marker) {
        for entry in self.entries.borrow().iter().flatten() {
            marker.mark(*entry);
        }
    }

    /// Adds an entry and returns its number.
    fn push(&self, entry: Value) -> u64 {
        let mut entries = self.entries.borrow_mut();
        entries.push_back(Some(Opaque::from(entry)));
        self.first.get() + entries.len() as u64 - 1
    }

    fn pop(&self) -> Option<Opaque<Value>> {
        let entry = self.entries.borrow_mut().pop_front()?;
        self.first.set(self.first.get() + 1);
        entry
    }

    /// Takes an entry back, unless it was popped.
    fn remove(&self, number: u64) {
        let mut entries = self.entries.borrow_mut();
        let place = number.checked_sub(self.first.get());
        if let Some(entry) = place.and_then(|place| entries.get_mut(place as usize)) {
            *entry = None;
        }
        while let Some(None) = entries.back() {
            entries.pop_back();
        }
    }

    /// Places taken, those of entries that were taken back among them.
    fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    fn is_empty(&self) -> bool {
        self.entries.borrow().iter().all(Option::is_none)
    }
}

static PENDING_INTERRUPT: LazyId = LazyId::new("pending_interrupt?");

/// Selects in a row that may leave a backend unasked whose look costs a system call.
const NOT_LOOKED_MAX: u32 = 16;

type Hook<T> = Result<T, Error>;

impl Selector {
    /// UringIO::Selector.new(loop, backend: nil, entries: 1024, sqpoll: false, workers: nil,
    /// restrict: false)
    fn initialize(ruby: &Ruby, this: Obj<Self>, arguments: &[Value]) -> Hook<()> {
        let arguments = scan_args::<(Fiber,), (), (), (), RHash, ()>(arguments)?;
        if this.state.get().is_some() {
            return Err(errors::base(ruby, "this selector is initialized already"));
        }
        let (home,) = arguments.required;
        let Made { driver, .. } = options::driver(ruby, arguments.keywords, 1024)?;
        // Somebody else's `initialize` cannot have run in between: the check above and this
        // assignment are made without letting go of the GVL.
        let _ = this.state.set(State {
            engine: Engine::new(ruby, driver, Flow::Home(Opaque::from(home))),
            home: Opaque::from(home),
            contract: Cell::new(Contract::of_ruby(ruby)?),
            ready: ReadyList::default(),
            idle: Cell::new(Duration::ZERO),
            not_looked: Cell::new(0),
        });
        Registry::of(ruby).add_selector(this.made(ruby)?);
        Ok(())
    }

    fn made(&self, ruby: &Ruby) -> Hook<&State> {
        self.state
            .get()
            .ok_or_else(|| errors::closed(ruby, "selector"))
    }

    /// The state, for the thread that owns it.
    fn state(&self, ruby: &Ruby) -> Hook<&State> {
        let state = self.made(ruby)?;
        state.engine.usable(ruby, "selector")?;
        Ok(state)
    }

    fn home(ruby: &Ruby, this: Obj<Self>) -> Hook<Fiber> {
        Ok(ruby.get_inner(this.made(ruby)?.home))
    }

    fn backend(ruby: &Ruby, this: Obj<Self>) -> Hook<Symbol> {
        Ok(ruby.to_symbol(this.made(ruby)?.engine.driver.backend().name()))
    }

    fn idle_duration(ruby: &Ruby, this: Receiver<Self>) -> Hook<f64> {
        Ok(this.made(ruby)?.idle.get().as_secs_f64())
    }

    fn is_ready(ruby: &Ruby, this: Obj<Self>) -> Hook<bool> {
        Ok(!this.made(ruby)?.ready.is_empty())
    }

    fn is_closed(&self) -> bool {
        self.state
            .get()
            .is_none_or(|state| state.engine.is_closed())
    }

    fn close(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        if this.is_closed() {
            return Ok(());
        }
        this.state(ruby)?.engine.close(ruby)
    }

    /// Any thread that holds the GVL; it neither blocks nor raises, because Async calls it from
    /// wherever Ruby unblocks a fiber.
    fn push(this: Receiver<Self>, entry: Value) {
        if let Some(state) = this.state.get() {
            state.ready.push(entry);
        }
    }

    /// Any thread, as `push`. Whether `select` was waiting.
    fn wakeup(this: Receiver<Self>) -> bool {
        let Some(state) = this.state.get() else {
            return false;
        };
        let waiting = !state.engine.is_closed() && state.engine.driver.is_waiting();
        if waiting {
            state.engine.driver.waker().wake();
        }
        waiting
    }

    /// The fiber that `transfer` gives control to; `None` when that is the caller.
    fn home_to_go(ruby: &Ruby, this: Receiver<Self>) -> Hook<Option<Fiber>> {
        let state = this.state(ruby)?;
        let is_there = state.is_at_home(ruby);
        Ok((!is_there).then(|| ruby.get_inner(state.home)))
    }

    fn yield_turn(ruby: &Ruby, this: Receiver<Self>) -> Hook<Value> {
        let state = this.state(ruby)?;
        state.queued(ruby, || state.go_home(ruby))
    }

    fn resume(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<Value> {
        let state = this.state(ruby)?;
        let (fiber, arguments) = fiber_and_arguments(ruby, arguments)?;
        state.queued(ruby, || transfer_to(fiber, arguments))
    }

    fn raise(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<Value> {
        let state = this.state(ruby)?;
        let (fiber, arguments) = fiber_and_arguments(ruby, arguments)?;
        state.queued(ruby, || raise_in(ruby, fiber, arguments))
    }

    fn select(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<usize> {
        let state = this.state(ruby)?;
        check_count(ruby, arguments, 0..=1)?;
        let timeout = match arguments.first() {
            Some(seconds) => duration::optional(ruby, *seconds)?,
            None => None,
        };
        if !state.is_at_home(ruby) {
            let message = "select is for the selector's loop fiber";
            let class = ruby
                .class_object()
                .const_get::<_, ExceptionClass>("FiberError")?;
            return Err(Error::new(class, message));
        }
        state.select(ruby, timeout)
    }

    fn io_wait(
        ruby: &Ruby,
        this: Receiver<Self>,
        fiber: Value,
        io: Value,
        events: Value,
    ) -> Hook<Value> {
        let state = this.waiting_state(ruby, fiber)?;
        let io = OpenIo::new(ruby, io)?;
        let interest = io::interest(ruby, events)?;
        let none = ruby.qfalse().as_value();
        if state.is_at_home(ruby) {
            return Ok(none);
        }
        Ok(match state.engine.poll(ruby, io.fd, interest, None)? {
            Some(ready) => io::events(ruby, ready),
            None => none,
        })
    }

    fn io_read(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<i64> {
        this.transfer_by(ruby, transfer::buffered, Direction::Read, arguments)
    }

    fn io_write(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<i64> {
        this.transfer_by(ruby, transfer::buffered, Direction::Write, arguments)
    }

    fn io_pread(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<i64> {
        this.transfer_by(ruby, transfer::positioned, Direction::Read, arguments)
    }

    fn io_pwrite(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<i64> {
        this.transfer_by(ruby, transfer::positioned, Direction::Write, arguments)
    }

    fn transfer_by(
        &self,
        ruby: &Ruby,
        hook: transfer::BufferedHook,
        direction: Direction,
        arguments: &[Value],
    ) -> Hook<i64> {
        let Some((&fiber, arguments)) = arguments.split_first() else {
            return Err(errors::argument(
                ruby,
                "a fiber, an IO, a buffer, a length and an offset are needed".to_owned(),
            ));
        };
        let state = self.waiting_state(ruby, fiber)?;
        hook(
            &state.engine,
            ruby,
            direction,
            arguments,
            state.contract.get(),
        )
    }

    /// The buffered hooks under the contract that this Ruby does not have, for its specs.
    fn contract(ruby: &Ruby, this: Obj<Self>, name: Symbol) -> Hook<()> {
        let contract = Contract::named(ruby, name)?;
        this.made(ruby)?.contract.set(contract);
        Ok(())
    }

    /// Closes a descriptor that Ruby has taken from an IO. It does not wait.
    fn io_close(ruby: &Ruby, _: Obj<Self>, fd: i32) -> bool {
        closing::tell_of_close(ruby, fd);
        uring_io_core::close_descriptor(fd);
        true
    }

    /// See [`children::wait`].
    fn wait_for_child(ruby: &Ruby, this: Obj<Self>, pid: i32, flags: i32) -> Hook<bool> {
        children::wait(ruby, &this.state(ruby)?.engine, pid, flags)
    }

    /// See [`children::block`].
    fn block_for_child(ruby: &Ruby, _: Value, pid: i32, flags: i32) -> Hook<()> {
        children::block(ruby, pid, flags)
    }

    /// Raises what every method raises for a selector of another thread or a closed one.
    fn check_usable(ruby: &Ruby, this: Obj<Self>, fiber: Value) -> Hook<()> {
        this.waiting_state(ruby, fiber).map(|_| ())
    }

    /// Whether the caller is the loop fiber.
    fn is_at_home(ruby: &Ruby, this: Obj<Self>) -> Hook<bool> {
        Ok(this.state(ruby)?.is_at_home(ruby))
    }

    /// The state, for the fiber that is about to wait.
    fn waiting_state(&self, ruby: &Ruby, fiber: Value) -> Hook<&State> {
        let state = self.state(ruby)?;
        if fiber.as_raw() == ruby.fiber_current().as_raw() {
            return Ok(state);
        }
        Err(errors::argument(
            ruby,
            "the fiber given is not the one that calls: a fiber can only wait for itself"
                .to_owned(),
        ))
    }
}

impl State {
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Lets the other fibers run once, or those that can within some time.
    pub fn let_others_run(&self, ruby: &Ruby, most: Option<Duration>) -> Hook<()> {
        if most.is_some() {
            gvl::pause();
        }
        if self.is_at_home(ruby) {
            return self.select(ruby, Some(Duration::ZERO)).map(|_| ());
        }
        self.engine.yield_turn(ruby, Purpose::Turn)
    }

    fn is_at_home(&self, ruby: &Ruby) -> bool {
        self.engine.is_home(ruby.fiber_current())
    }

    /// Gives control to the loop fiber; nil at once when that is the caller.
    fn go_home(&self, ruby: &Ruby) -> Hook<Value> {
        if self.is_at_home(ruby) {
            return Ok(ruby.qnil().as_value());
        }
        ruby.get_inner(self.home).transfer(())
    }

    /// Gives control away with the current fiber queued; its entry goes however it comes back.
    fn queued(&self, ruby: &Ruby, switch: impl FnOnce() -> Hook<Value>) -> Hook<Value> {
        let entry = self.ready.push(ruby.fiber_current().as_value());
        let result = switch();
        self.ready.remove(entry);
        result
    }

    fn select(&self, ruby: &Ruby, timeout: Option<Duration>) -> Hook<usize> {
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

    /// Runs what the ready list holds now; what comes meanwhile is for the next time. Whether there
    /// was anything.
    fn flush(&self, ruby: &Ruby) -> Hook<bool> {
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

    /// Looks at the backend without waiting. While more is ready to run, that can be put off for
    /// some turns where it costs a system call.
    fn look(&self, timeout: Option<Duration>) -> uring_io_core::Result<()> {
        let not_looked = self.not_looked.get();
        let busy = timeout != Some(Duration::ZERO) && !self.ready.is_empty();
        if busy && not_looked < NOT_LOOKED_MAX {
            self.not_looked.set(not_looked + 1);
            return Ok(());
        }
        self.not_looked.set(0);
        self.engine.driver.look()
    }

    /// Waits in the kernel, unless Ruby has an interrupt for the thread, or something became ready
    /// to run.
    fn wait(&self, ruby: &Ruby, timeout: Option<Duration>) -> Hook<uring_io_core::Result<()>> {
        // Whether it is masked or not: whoever called `select` decides what becomes of it. One that is not may
        // be raised by the question itself.
        let question = LazyId::get_inner_with(&PENDING_INTERRUPT, ruby);
        let pending: bool = ruby.thread_current().funcall(question, ())?;
        if pending || !self.ready.is_empty() {
            return Ok(self.engine.driver.look());
        }
        let start = Instant::now();
        let waited = gvl::wait(&self.engine.driver, timeout);
        self.idle.set(start.elapsed());
        self.not_looked.set(0);
        Ok(waited.unwrap_or(Ok(())))
    }

    /// Transfers to the fibers whose operation is over, and returns how many there were.
    fn dispatch(&self, ruby: &Ruby) -> Hook<usize> {
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

/// The first argument, a fiber, and the rest.
fn fiber_and_arguments<'a>(ruby: &Ruby, arguments: &'a [Value]) -> Hook<(Fiber, &'a [Value])> {
    match arguments.split_first() {
        Some((&fiber, rest)) => Ok((Fiber::try_convert(fiber)?, rest)),
        None => Err(errors::argument(ruby, "a fiber is needed".to_owned())),
    }
}

/// Transfers to a fiber with the arguments as they came, keywords as keywords.
fn transfer_to(fiber: Fiber, arguments: &[Value]) -> Hook<Value> {
    // SAFETY: a fiber, and arguments that are on the stack of the caller; what raises is caught.
    let value = protect(|| unsafe {
        rb_sys::rb_fiber_transfer_kw(
            fiber.as_raw(),
            arguments.len() as i32,
            arguments.as_ptr().cast(),
            rb_sys::rb_keyword_given_p(),
        )
    })?;
    // SAFETY: the call returned a value.
    Ok(unsafe { Value::from_raw(value) })
}

/// Raises in a fiber what the arguments say as they came, keywords as keywords.
fn raise_in(ruby: &Ruby, fiber: Fiber, arguments: &[Value]) -> Hook<Value> {
    let raise = ruby.intern("raise");
    // SAFETY: a fiber, the name of a method, and arguments that are on the stack of the caller;
    // what raises is caught.
    let value = protect(|| unsafe {
        rb_sys::rb_funcallv_kw(
            fiber.as_raw(),
            raise.as_raw(),
            arguments.len() as i32,
            arguments.as_ptr().cast(),
            rb_sys::rb_keyword_given_p(),
        )
    })?;
    // SAFETY: the call returned a value.
    Ok(unsafe { Value::from_raw(value) })
}

/// Selector#transfer. There is nothing left to do when control comes back, so a raise may go
/// through.
unsafe extern "C" fn transfer(this: Value) -> Value {
    let home = |ruby: &Ruby| Selector::home_to_go(ruby, TryConvert::try_convert(this)?);
    // SAFETY: Ruby calls its methods with the GVL, and nothing in this frame has to be dropped.
    unsafe { switch::transfer_last(home) }
}

pub fn init(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Selector", ruby.class_object())?;
    Selector::class(ruby);
    ractors::refuse_copies(class)?;
    LazyId::force(&PENDING_INTERRUPT, ruby);
    class.define_alloc_func::<Selector>();
    class.define_method("initialize", method!(Selector::initialize, -1))?;
    class.define_method("loop", method!(Selector::home, 0))?;
    class.define_method("backend", method!(Selector::backend, 0))?;
    class.define_method("idle_duration", method!(Selector::idle_duration, 0))?;
    class.define_method("ready?", method!(Selector::is_ready, 0))?;
    class.define_method("closed?", method!(Selector::is_closed, 0))?;
    class.define_method("close", method!(Selector::close, 0))?;
    class.define_method("push", method!(Selector::push, 1))?;
    class.define_method("wakeup", method!(Selector::wakeup, 0))?;
    class.define_method("transfer", transfer as unsafe extern "C" fn(Value) -> Value)?;
    class.define_method("yield", method!(Selector::yield_turn, 0))?;
    class.define_method("resume", method!(Selector::resume, -1))?;
    class.define_method("raise", method!(Selector::raise, -1))?;
    class.define_method("select", method!(Selector::select, -1))?;
    class.define_method("io_wait", method!(Selector::io_wait, 3))?;
    class.define_method("io_read", method!(Selector::io_read, -1))?;
    class.define_method("io_write", method!(Selector::io_write, -1))?;
    class.define_method("io_pread", method!(Selector::io_pread, -1))?;
    class.define_method("io_pwrite", method!(Selector::io_pwrite, -1))?;
    class.define_method("io_close", method!(Selector::io_close, 1))?;
    class.define_private_method("contract=", method!(Selector::contract, 1))?;
    class.define_private_method("wait_for_child", method!(Selector::wait_for_child, 2))?;
    class.define_private_method("block_for_child", method!(Selector::block_for_child, 2))?;
    class.define_private_method("check_usable", method!(Selector::check_usable, 1))?;
    class.define_private_method("at_home?", method!(Selector::is_at_home, 0))?;
    Ok(())
}
