//! Class UringIO::Selector: the contract of IO::Event::Selector, which Async's scheduler uses.
//!
//! A selector has a loop fiber, which calls `select` over and over. A fiber that waits transfers to the loop fiber,
//! and a later `select` transfers back to it (`engine/home.rs`).
#![allow(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::sync::atomic::AtomicPtr;

use magnus::fiber::Fiber;
use magnus::rb_sys::{protect, AsRawId, AsRawValue, FromRawValue};
use magnus::scan_args::scan_args;
use magnus::value::ReprValue;
use magnus::{
    gc, method, prelude::*, typed_data::Obj, DataTypeFunctions, Error, ExceptionClass, RArray,
    RHash, RModule, Ruby, Symbol, TryConvert, TypedData, Value,
};
use rb_sys::rb_data_type_t;
use uring_io_core::Direction;

use crate::classes::options::{self, Backing};
use crate::classes::trace;
use crate::engine::closing::{self, Registry};
use crate::engine::Home;
use crate::hooks::children;
use crate::hooks::transfer::{self, Contract};
use crate::hooks::waits;
use crate::ruby::arguments::check_count;
use crate::ruby::io::{self, OpenIo};
use crate::ruby::receiver::{Receiver, Receives};
use crate::ruby::{duration, errors, ractors, switch};

/// The Rust part of a UringIO::Selector.
#[derive(TypedData, Default)]
#[magnus(class = "UringIO::Selector", mark, size, free_immediately)]
pub struct Selector {
    /// Absent until `initialize` has run.
    home: OnceCell<Home>,
    contract: Cell<Contract>,
}

// SAFETY: only the thread of its Ractor that holds the GVL uses it. Methods that wait or switch refuse threads that
// do not own the selector. `push`, `wakeup`, questions and the GC's marking may run while the owner waits without the
// GVL, and touch only what Driver::wait leaves alone.
unsafe impl Send for Selector {}

impl Receives for Selector {
    fn known_type() -> &'static AtomicPtr<rb_data_type_t> {
        static TYPE: AtomicPtr<rb_data_type_t> = AtomicPtr::new(std::ptr::null_mut());
        &TYPE
    }
}

impl DataTypeFunctions for Selector {
    fn mark(&self, marker: &gc::Marker) {
        if let Some(home) = self.home.get() {
            home.mark(marker);
        }
    }
}

type Hook<T> = Result<T, Error>;

impl Selector {
    /// UringIO::Selector.new(loop, backend: nil, entries: 1024, sqpoll: false, sqpoll_idle: 1, sqpoll_cpu: nil,
    /// workers: nil, restrict: false)
    fn initialize(ruby: &Ruby, this: Obj<Self>, arguments: &[Value]) -> Hook<()> {
        let arguments = scan_args::<(Fiber,), (), (), (), RHash, ()>(arguments)?;
        let (fiber,) = arguments.required;
        let contract = Contract::of_ruby(ruby)?;
        let Backing { driver, .. } = options::driver(ruby, arguments.keywords, 1024)?;
        let registry = Registry::of(ruby);
        registry.objects.note(ruby, this)?;
        // Making a driver may call Ruby, and that may call `initialize` too.
        if this.home.set(Home::new(ruby, driver, fiber)).is_err() {
            return Err(errors::initialized(ruby, "selector"));
        }
        this.contract.set(contract);
        registry.add_selector(this.made(ruby)?, &*this);
        Ok(())
    }

    /// The records so far: see [`trace::recorded`]. Any thread may call it.
    fn recorded(ruby: &Ruby, this: Obj<Self>) -> Hook<Option<RArray>> {
        trace::recorded(ruby, this.home.get().map(|home| &home.engine))
    }

    fn made(&self, ruby: &Ruby) -> Hook<&Home> {
        self.home
            .get()
            .ok_or_else(|| errors::closed(ruby, "selector"))
    }

    /// The loop fiber and its engine, for the thread that owns them.
    fn home(&self, ruby: &Ruby) -> Hook<&Home> {
        let home = self.made(ruby)?;
        home.engine.usable(ruby, "selector")?;
        Ok(home)
    }

    fn loop_fiber(ruby: &Ruby, this: Obj<Self>) -> Hook<Fiber> {
        Ok(ruby.get_inner(this.made(ruby)?.fiber))
    }

    fn backend(ruby: &Ruby, this: Obj<Self>) -> Hook<Symbol> {
        Ok(ruby.to_symbol(this.made(ruby)?.engine.backend().name()))
    }

    fn idle_duration(ruby: &Ruby, this: Receiver<Self>) -> Hook<f64> {
        Ok(this.made(ruby)?.idle.get().as_secs_f64())
    }

    fn is_ready(ruby: &Ruby, this: Obj<Self>) -> Hook<bool> {
        Ok(!this.made(ruby)?.ready.is_empty())
    }

    /// The waits of all parked fibers: see [`waits::of`]. Any thread may call it.
    fn waits(ruby: &Ruby, this: Obj<Self>) -> Hook<RArray> {
        waits::of(ruby, this.home.get().map(|home| &home.engine))
    }

    fn is_closed(&self) -> bool {
        self.home.get().is_none_or(|home| home.engine.is_closed())
    }

    fn close(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        if this.is_closed() {
            return Ok(());
        }
        this.home(ruby)?.engine.close(ruby)
    }

    /// Adds an entry to the ready list. Any thread that holds the GVL may call it. It neither blocks nor raises,
    /// because Async calls it wherever Ruby unblocks a fiber.
    fn push(this: Receiver<Self>, entry: Value) {
        if let Some(home) = this.home.get() {
            home.ready.push(entry);
        }
    }

    /// Ends the wait of `select`. Returns whether `select` was waiting. Any thread may call it, as `push`.
    fn wakeup(this: Receiver<Self>) -> bool {
        this.home.get().is_some_and(|home| home.engine.wake_owner())
    }

    /// The fiber that `transfer` gives control to; `None` if that is the caller.
    fn home_to_go(ruby: &Ruby, this: Receiver<Self>) -> Hook<Option<Fiber>> {
        let home = this.home(ruby)?;
        let is_there = home.is_at_home(ruby);
        Ok((!is_there).then(|| ruby.get_inner(home.fiber)))
    }

    fn yield_turn(ruby: &Ruby, this: Receiver<Self>) -> Hook<Value> {
        let home = this.home(ruby)?;
        home.queued(ruby, || home.go_home(ruby))
    }

    fn resume(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<Value> {
        let home = this.home(ruby)?;
        let (fiber, arguments) = fiber_and_arguments(ruby, arguments)?;
        home.queued(ruby, || transfer_to(fiber, arguments))
    }

    fn raise(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<Value> {
        let home = this.home(ruby)?;
        let (fiber, arguments) = fiber_and_arguments(ruby, arguments)?;
        home.queued(ruby, || raise_in(ruby, fiber, arguments))
    }

    fn select(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<usize> {
        let home = this.home(ruby)?;
        check_count(ruby, arguments, 0..=1)?;
        let timeout = match arguments.first() {
            Some(seconds) => duration::optional(ruby, *seconds)?,
            None => None,
        };
        if !home.is_at_home(ruby) {
            let message =
                "only the selector's loop fiber may call select, and this is another fiber";
            let class = ruby
                .class_object()
                .const_get::<_, ExceptionClass>("FiberError")?;
            return Err(Error::new(class, message));
        }
        home.select(ruby, timeout)
    }

    fn io_wait(
        ruby: &Ruby,
        this: Receiver<Self>,
        fiber: Value,
        io: Value,
        events: Value,
    ) -> Hook<Value> {
        let home = this.waiting_home(ruby, fiber)?;
        let io = OpenIo::new(ruby, io)?;
        let interest = io::interest(ruby, events)?;
        let none = ruby.qfalse().as_value();
        if home.is_at_home(ruby) {
            return Ok(none);
        }
        Ok(match home.engine.poll(ruby, io.fd, interest, None)? {
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
                "the first argument is missing: give the current fiber".to_owned(),
            ));
        };
        let home = self.waiting_home(ruby, fiber)?;
        hook(
            &home.engine,
            ruby,
            direction,
            arguments,
            self.contract.get(),
        )
    }

    /// Sets the contract of the buffered hooks. Specs use it to test the contract that this Ruby does not have.
    fn contract(ruby: &Ruby, this: Obj<Self>, name: Symbol) -> Hook<()> {
        let contract = Contract::named(ruby, name)?;
        this.contract.set(contract);
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
        children::wait(ruby, &this.home(ruby)?.engine, pid, flags)
    }

    /// See [`children::block`].
    fn block_for_child(ruby: &Ruby, _: Value, pid: i32, flags: i32) -> Hook<()> {
        children::block(ruby, pid, flags)
    }

    /// Raises the error that every method raises for a closed selector or one of another thread.
    fn check_usable(ruby: &Ruby, this: Obj<Self>, fiber: Value) -> Hook<()> {
        this.waiting_home(ruby, fiber).map(|_| ())
    }

    /// Whether the caller is the loop fiber.
    fn is_at_home(ruby: &Ruby, this: Obj<Self>) -> Hook<bool> {
        Ok(this.home(ruby)?.is_at_home(ruby))
    }

    /// The loop fiber and its engine, for the fiber that is about to wait. Fails if that is not the current fiber.
    fn waiting_home(&self, ruby: &Ruby, fiber: Value) -> Hook<&Home> {
        let home = self.home(ruby)?;
        if fiber.as_raw() == ruby.fiber_current().as_raw() {
            return Ok(home);
        }
        Err(errors::argument(
            ruby,
            "the first argument must be the current fiber, as a fiber can only wait for itself"
                .to_owned(),
        ))
    }
}

/// The first argument, a fiber, and the rest.
fn fiber_and_arguments<'a>(ruby: &Ruby, arguments: &'a [Value]) -> Hook<(Fiber, &'a [Value])> {
    match arguments.split_first() {
        Some((&fiber, rest)) => Ok((Fiber::try_convert(fiber)?, rest)),
        None => Err(errors::argument(
            ruby,
            "the first argument is missing: give a fiber".to_owned(),
        )),
    }
}

/// Transfers to a fiber with the arguments as they came, keywords as keywords.
fn transfer_to(fiber: Fiber, arguments: &[Value]) -> Hook<Value> {
    // SAFETY: a fiber, and arguments on the caller's stack. `protect` catches a raise.
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

/// Calls Fiber#raise with the arguments as they came, keywords as keywords.
fn raise_in(ruby: &Ruby, fiber: Fiber, arguments: &[Value]) -> Hook<Value> {
    let raise = ruby.intern("raise");
    // SAFETY: a fiber, the name of a method, and arguments on the caller's stack. `protect` catches a raise.
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

/// Selector#transfer. Nothing is left to do when control comes back, so a raise may pass through.
unsafe extern "C" fn transfer(this: Value) -> Value {
    let home = |ruby: &Ruby| Selector::home_to_go(ruby, TryConvert::try_convert(this)?);
    // SAFETY: Ruby calls its methods with the GVL, and nothing in this frame has to be dropped.
    unsafe { switch::transfer_last(home) }
}

pub fn init(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Selector", ruby.class_object())?;
    Selector::class(ruby);
    ractors::refuse_copies(class)?;
    class.define_alloc_func::<Selector>();
    class.define_method("initialize", method!(Selector::initialize, -1))?;
    class.define_method("loop", method!(Selector::loop_fiber, 0))?;
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
    class.define_private_method("waits", method!(Selector::waits, 0))?;
    class.define_private_method("recorded", method!(Selector::recorded, 0))?;
    class.define_private_method("wait_for_child", method!(Selector::wait_for_child, 2))?;
    class.define_private_method("block_for_child", method!(Selector::block_for_child, 2))?;
    class.define_private_method("check_usable", method!(Selector::check_usable, 1))?;
    class.define_private_method("at_home?", method!(Selector::is_at_home, 0))?;
    Ok(())
}
