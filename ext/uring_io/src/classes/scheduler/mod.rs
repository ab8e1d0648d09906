//! Class UringIO::Scheduler: the hooks that CRuby calls (scheduler.c), one method each.
//!
//! A hook checks that the calling thread owns the scheduler, converts its arguments, makes one call on the engine and
//! converts the result. The rarely used hooks (`process_wait`, `close`) are in `lib/uring_io/scheduler.rb`.

mod fibers;
mod stats;

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::atomic::AtomicPtr;
use std::time::Instant;

use magnus::fiber::Fiber;
use magnus::rb_sys::FromRawValue;
use magnus::scan_args::scan_args;
use magnus::value::ReprValue;
use magnus::{
    gc, method, prelude::*, typed_data::Obj, DataTypeFunctions, Error, Exception, RArray, RClass,
    RHash, RModule, RString, Ruby, Symbol, TryConvert, TypedData, Value,
};
use rb_sys::rb_data_type_t;
use uring_io_core::{BackendKind, Direction, Token};

use self::fibers::check_outside;
use crate::classes::options;
use crate::classes::unused::{self, Unused};
#[cfg(ruby_gte_4_0)]
use crate::engine::closing;
use crate::engine::closing::Registry;
use crate::engine::{Engine, Purpose};
use crate::hooks::transfer::{self, Contract};
use crate::hooks::{
    blocking, children, interrupt, mutexes, readiness, remembered, resolve, select, timeout,
};
use crate::ruby::arguments::check_count;
#[cfg(ruby_lt_4_0)]
use crate::ruby::closers;
use crate::ruby::receiver::{Receiver, Receives};
use crate::ruby::stacks::Stacks;
use crate::ruby::{caller, duration, errors, ractors};

/// The Rust part of a UringIO::Scheduler.
#[derive(TypedData, Default)]
#[magnus(class = "UringIO::Scheduler", mark, size, free_immediately)]
pub struct Scheduler {
    /// Absent until the first use. It belongs to the thread of that use.
    engine: OnceCell<Engine>,
    /// The driver that `initialize` has made, until the first use or the end.
    unused: RefCell<Option<Unused>>,
    backend: Cell<Option<BackendKind>>,
    /// When `initialize` has run.
    since: Cell<Option<Instant>>,
    contract: Cell<Contract>,
    /// Whether a fiber was ever unblocked before its `block`: see [`remembered`].
    unblocked_early: Cell<bool>,
    stacks: Stacks,
}

// SAFETY: only the thread of its Ractor that holds the GVL uses it. Hooks that wait refuse threads that do not own
// the scheduler. Methods for any thread, such as `unblock`, and the GC's marking may run while the owner waits
// without the GVL, and touch only what Driver::wait leaves alone.
#[allow(unsafe_code)]
unsafe impl Send for Scheduler {}

impl Receives for Scheduler {
    fn known_type() -> &'static AtomicPtr<rb_data_type_t> {
        static TYPE: AtomicPtr<rb_data_type_t> = AtomicPtr::new(std::ptr::null_mut());
        &TYPE
    }
}

impl DataTypeFunctions for Scheduler {
    fn mark(&self, marker: &gc::Marker) {
        if let Some(engine) = self.engine.get() {
            engine.mark(marker);
        }
        if let Some(unused) = &*self.unused.borrow() {
            unused.mark(marker);
        }
    }
}

type Hook<T> = Result<T, Error>;

impl Scheduler {
    /// The scheduler that the current fiber runs under, if it is one of ours.
    #[allow(unsafe_code)]
    pub fn current(ruby: &Ruby) -> Option<Obj<Self>> {
        // SAFETY: reads a value of the calling thread.
        let current = unsafe { Value::from_raw(rb_sys::rb_fiber_scheduler_current()) };
        // Check the class before the conversion, as in `Host::of`: a conversion that fails asks the class for its
        // name. There Ruby may raise an exception from another thread, which would be lost.
        if !current.is_kind_of(Self::class(ruby)) {
            return None;
        }
        let scheduler = Obj::<Self>::try_convert(current).ok()?;
        scheduler.engine(ruby).is_ok().then_some(scheduler)
    }

    /// The engine, for any thread that holds the GVL. If there is none yet, this makes it for the calling thread.
    pub fn made(&self, ruby: &Ruby) -> Hook<&Engine> {
        match self.engine.get() {
            Some(engine) => Ok(engine),
            None => self.make_engine(ruby),
        }
    }

    #[cold]
    fn make_engine(&self, ruby: &Ruby) -> Hook<&Engine> {
        let to_be_made = |unused: &Unused| unused.to_be_made(ruby);
        let options = self.unused.borrow().as_ref().and_then(to_be_made);
        let driver = options
            .map(|options| unused::make(ruby, options))
            .transpose()?;
        let Some(unused) = self.unused.take() else {
            // Another thread may have made the engine during the call into Ruby.
            let made = self.engine.get();
            return made.ok_or_else(|| errors::closed(ruby, "scheduler"));
        };
        let engine = self.engine.get_or_init(|| unused.into_engine(ruby, driver));
        Registry::of(ruby).add(engine, self);
        Ok(engine)
    }

    /// Closes the scheduler if nobody has used it, and returns whether it did. Any thread may call it.
    fn discard(&self) -> bool {
        self.unused.take().is_some()
    }

    /// The engine, for the thread that owns it.
    pub fn engine(&self, ruby: &Ruby) -> Hook<&Engine> {
        self.made(ruby)?.usable(ruby, "scheduler")
    }

    /// UringIO::Scheduler.new(backend: nil, entries: 1024, sqpoll: false, sqpoll_idle: 1, sqpoll_cpu: nil, workers:
    /// nil, restrict: false)
    fn initialize(ruby: &Ruby, this: Obj<Self>, arguments: &[Value]) -> Hook<()> {
        let arguments = scan_args::<(), (), (), (), RHash, ()>(arguments)?;
        let made = options::driver(ruby, arguments.keywords, 1024)?;
        this.contract.set(Contract::of_ruby(ruby)?);
        // Making a driver may call Ruby, and that may call `initialize` too.
        if this.since.replace(Some(Instant::now())).is_some() {
            return Err(errors::initialized(ruby, "scheduler"));
        }
        this.backend.set(Some(made.options.backend));
        if let Some(workers) = made.workers {
            this.ivar_set("@workers_max", workers)?;
            let operations: RModule = this.class().const_get("BlockingOperations")?;
            this.funcall::<_, _, Value>("extend", (operations,))?;
        }
        Registry::of(ruby).objects.note(ruby, this)?;
        this.unused.replace(Some(Unused::new(ruby, made)));
        Ok(())
    }

    fn backend(ruby: &Ruby, this: Obj<Self>) -> Hook<Symbol> {
        let backend = this.backend.get();
        let backend = backend.ok_or_else(|| errors::closed(ruby, "scheduler"))?;
        Ok(ruby.to_symbol(backend.name()))
    }

    fn is_closed(&self) -> bool {
        match self.engine.get() {
            Some(engine) => engine.is_closed(),
            None => self.unused.borrow().is_none(),
        }
    }

    fn block(ruby: &Ruby, this: Receiver<Self>, blocker: Value, timeout: Value) -> Hook<bool> {
        let engine = this.engine(ruby)?;
        #[cfg(ruby_lt_4_0)]
        closers::before_block(ruby, blocker);
        let timeout = duration::optional(ruby, timeout)?;
        if this.unblocked_early.get() && remembered::take(ruby, Some(blocker)) {
            return Ok(true);
        }
        match engine.park(ruby, Purpose::Unblock(Some(blocker.into())), timeout) {
            Ok(wakeup) => Ok(wakeup == uring_io_core::Wakeup::Woken),
            Err(error) => {
                mutexes::hand_on(ruby, blocker)?;
                Err(error)
            }
        }
    }

    fn unblock(ruby: &Ruby, this: Receiver<Self>, blocker: Value, fiber: Fiber) -> Hook<()> {
        let woken = this
            .engine
            .get()
            .is_some_and(|engine| engine.unblock(fiber));
        if !woken && !this.is_closed() {
            this.unblocked_early.set(true);
            remembered::keep(ruby, fiber, blocker);
        }
        #[cfg(ruby_lt_4_0)]
        if this
            .engine
            .get()
            .is_some_and(|engine| !engine.is_owner(ruby))
        {
            closers::after_unblock(ruby, blocker, fiber);
        }
        Ok(())
    }

    fn kernel_sleep(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<bool> {
        let engine = this.engine(ruby)?;
        check_count(ruby, arguments, 0..=1)?;
        let timeout = match arguments.first() {
            Some(seconds) => duration::optional(ruby, *seconds)?,
            None => None,
        };
        if this.unblocked_early.get() && remembered::take(ruby, None) {
            return Ok(true);
        }
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            engine.yield_turn(ruby, Purpose::Unblock(None))?;
        } else {
            engine.park(ruby, Purpose::Unblock(None), timeout)?;
        }
        Ok(true)
    }

    fn io_wait(
        ruby: &Ruby,
        this: Receiver<Self>,
        io: Value,
        events: Value,
        timeout: Value,
    ) -> Hook<Value> {
        if this.is_foreign_worker(ruby)? {
            return readiness::wait_blocking(io, events, timeout);
        }
        readiness::wait(this.engine(ruby)?, ruby, io, events, timeout)
    }

    /// Whether the calling thread is one of a worker pool. Work that a thread of ours does for a fiber may call that
    /// fiber's scheduler (io.c, nogvl_wait_for). Then the thread has to wait by itself.
    fn is_foreign_worker(&self, ruby: &Ruby) -> Hook<bool> {
        if self.engine.get().is_none_or(|engine| engine.is_owner(ruby)) {
            return Ok(false);
        }
        let module: RModule = ruby.class_object().const_get("UringIO")?;
        module
            .const_get::<_, RClass>("WorkerThreads")?
            .funcall("current?", ())
    }

    fn io_read(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<i64> {
        transfer::buffered(
            this.engine(ruby)?,
            ruby,
            Direction::Read,
            arguments,
            this.contract.get(),
        )
    }

    fn io_write(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<i64> {
        transfer::buffered(
            this.engine(ruby)?,
            ruby,
            Direction::Write,
            arguments,
            this.contract.get(),
        )
    }

    fn io_pread(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<i64> {
        transfer::positioned(
            this.engine(ruby)?,
            ruby,
            Direction::Read,
            arguments,
            this.contract.get(),
        )
    }

    /// Absent below Ruby 4.0, which would call it without the GVL (io.c, rb_io_pwrite).
    #[cfg(ruby_gte_4_0)]
    fn io_pwrite(ruby: &Ruby, this: Receiver<Self>, arguments: &[Value]) -> Hook<i64> {
        transfer::positioned(
            this.engine(ruby)?,
            ruby,
            Direction::Write,
            arguments,
            this.contract.get(),
        )
    }

    /// Sets the contract of the buffered hooks. Specs use it to test the contract that this Ruby does not have.
    fn contract(ruby: &Ruby, this: Obj<Self>, name: Symbol) -> Hook<()> {
        this.contract.set(Contract::named(ruby, name)?);
        Ok(())
    }

    /// Ruby calls this when it is about to close a descriptor that it has taken from an IO. The hook neither waits
    /// nor switches fibers, because a finalizer may be the caller. It returns false, so that Ruby closes the
    /// descriptor: only Ruby can report errors.
    #[cfg(ruby_gte_4_0)]
    fn io_close(ruby: &Ruby, _: Obj<Self>, fd: i32) -> bool {
        closing::tell_of_close(ruby, fd);
        false
    }

    /// Raises an exception in a fiber at its wait. Any thread may call it. The first argument may also be a proxy,
    /// which stands for one wait of a fiber (Ruby 4.1) and has only `alive?` and `raise`.
    fn fiber_interrupt(ruby: &Ruby, this: Obj<Self>, target: Value, exception: Value) -> Hook<()> {
        let Some(engine) = this.engine.get().filter(|engine| !engine.is_closed()) else {
            return Ok(());
        };
        interrupt::raise_at_wait(engine, ruby, target, exception)
    }

    /// Lets the other ready fibers run once. Ruby 4.0 calls this after a trap handler has run.
    fn yield_turn(ruby: &Ruby, this: Receiver<Self>) -> Hook<()> {
        this.engine(ruby)?.yield_turn(ruby, Purpose::Turn)
    }

    fn io_select(ruby: &Ruby, this: Obj<Self>, arguments: &[Value]) -> Hook<Value> {
        let engine = this.engine(ruby)?;
        type Rest = (Option<Value>, Option<Value>, Option<Value>);
        let arguments = scan_args::<(Value,), Rest, (), (), (), ()>(arguments)?;
        let nil = ruby.qnil().as_value();
        let (writables, exceptables, timeout) = arguments.optional;
        let arrays = [
            arguments.required.0,
            writables.unwrap_or(nil),
            exceptables.unwrap_or(nil),
        ];
        select::select(engine, ruby, arrays, timeout.unwrap_or(nil))
    }

    fn address_resolve(ruby: &Ruby, this: Obj<Self>, hostname: RString) -> Hook<Value> {
        resolve::resolve(this.engine(ruby)?, ruby, hostname)
    }

    fn timeout_after(
        ruby: &Ruby,
        this: Obj<Self>,
        seconds: Value,
        exception: Value,
        message: Value,
    ) -> Hook<Value> {
        let engine = this.engine(ruby)?;
        let block = ruby.block_proc()?;
        timeout::after(engine, ruby, seconds, exception, message, block)
    }

    /// See [`children::wait`].
    fn wait_for_child(ruby: &Ruby, this: Obj<Self>, pid: i32, flags: i32) -> Hook<bool> {
        children::wait(ruby, this.engine(ruby)?, pid, flags)
    }

    /// See [`children::block`].
    fn block_for_child(ruby: &Ruby, _: Value, pid: i32, flags: i32) -> Hook<()> {
        children::block(ruby, pid, flags)
    }

    /// Does the work that Ruby handed over, in the calling thread of the pool.
    fn execute(ruby: &Ruby, _: Value, work: Value) -> Hook<()> {
        blocking::execute(ruby, work)
    }

    /// Makes a thread of the pool call `job`, which does `work`, and waits until that is done.
    fn await_job(
        ruby: &Ruby,
        this: Obj<Self>,
        threads: Value,
        work: Value,
        job: Value,
    ) -> Hook<()> {
        let submit = |token: Token| {
            let (queue, job): (Value, Value) =
                this.funcall("prepare_job", (threads, token.to_bits(), job))?;
            // This call is not in a Ruby method: an interrupt that Ruby raises in the method after the push would
            // look like a failed push.
            queue.funcall::<_, _, Value>("push", (job,)).map(|_| ())
        };
        this.engine(ruby)?
            .await_elsewhere(ruby, submit, || blocking::cancel(work))
    }

    /// The caller of the hook `blocking_operation_wait`: `:close`, `:copy` or `:other`.
    fn handed_by(ruby: &Ruby, _: Value) -> Symbol {
        ruby.to_symbol(match caller::handing() {
            caller::Handing::Close => "close",
            caller::Handing::Copy => "copy",
            caller::Handing::Other => "other",
        })
    }

    /// Reports that the job of this token is done. The pool's threads call it.
    fn job_done(&self, token: u64) {
        if let Some(engine) = self.engine.get() {
            engine.complete_elsewhere(Token::from_bits(token));
        }
    }

    /// Raises the error that every hook raises for a closed scheduler or one of another thread.
    fn check_usable(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        this.engine(ruby).map(|_| ())
    }

    /// See [`Engine::land_here`].
    fn land_here(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        this.engine(ruby)?.land_here(ruby);
        Ok(())
    }

    /// Runs until every scheduled fiber has ended.
    fn run(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        let engine = this.engine(ruby)?;
        check_outside(ruby, engine)?;
        engine.run(ruby, None).map(|_| ())
    }

    /// As `run`, for this many seconds at most. Returns true if every fiber has ended.
    fn run_for(ruby: &Ruby, this: Obj<Self>, seconds: Value) -> Hook<bool> {
        this.engine(ruby)?
            .run(ruby, duration::optional(ruby, seconds)?)
    }

    /// Raises FiberError if the current fiber is one of this scheduler's: it cannot wait for itself.
    fn check_not_inside(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        check_outside(ruby, this.engine(ruby)?)
    }

    /// Scheduled fibers that have not ended.
    fn fibers(ruby: &Ruby, this: Obj<Self>) -> Hook<RArray> {
        Ok(ruby.ary_from_iter(this.engine(ruby)?.scheduled(ruby)))
    }

    /// Raises the exception in a fiber, or kills the fiber if there is no exception. Returns when the fiber parks
    /// again or ends.
    fn interrupt(
        ruby: &Ruby,
        this: Obj<Self>,
        fiber: Fiber,
        exception: Option<Exception>,
    ) -> Hook<()> {
        this.engine(ruby)?.interrupt(ruby, fiber, exception)
    }

    /// Ends all operations and gives the backend back. Nobody can use the scheduler afterwards.
    fn release(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        if this.is_closed() {
            return Ok(());
        }
        this.engine(ruby)?.close(ruby)
    }
}

pub fn init(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Scheduler", ruby.class_object())?;
    Scheduler::class(ruby);
    ractors::refuse_copies(class)?;
    class.define_alloc_func::<Scheduler>();
    class.define_method("initialize", method!(Scheduler::initialize, -1))?;
    class.define_method("backend", method!(Scheduler::backend, 0))?;
    class.define_method("closed?", method!(Scheduler::is_closed, 0))?;
    class.define_method("stats", method!(Scheduler::stats, 0))?;
    class.define_private_method("waits", method!(Scheduler::waits, 0))?;
    class.define_private_method("recorded", method!(Scheduler::recorded, 0))?;
    class.define_method("run", method!(Scheduler::run, 0))?;
    class.define_method("fiber", method!(Scheduler::fiber, -1))?;
    class.define_method("block", method!(Scheduler::block, 2))?;
    class.define_method("unblock", method!(Scheduler::unblock, 2))?;
    class.define_method("kernel_sleep", method!(Scheduler::kernel_sleep, -1))?;
    class.define_method("io_wait", method!(Scheduler::io_wait, 3))?;
    class.define_method("io_read", method!(Scheduler::io_read, -1))?;
    class.define_method("io_write", method!(Scheduler::io_write, -1))?;
    class.define_method("io_pread", method!(Scheduler::io_pread, -1))?;
    #[cfg(ruby_gte_4_0)]
    {
        class.define_method("io_pwrite", method!(Scheduler::io_pwrite, -1))?;
        class.define_method("io_close", method!(Scheduler::io_close, 1))?;
    }
    class.define_method("fiber_interrupt", method!(Scheduler::fiber_interrupt, 2))?;
    class.define_method("yield", method!(Scheduler::yield_turn, 0))?;
    class.define_private_method("contract=", method!(Scheduler::contract, 1))?;
    class.define_method("io_select", method!(Scheduler::io_select, -1))?;
    class.define_method("address_resolve", method!(Scheduler::address_resolve, 1))?;
    class.define_method("timeout_after", method!(Scheduler::timeout_after, 3))?;
    class.define_private_method("wait_for_child", method!(Scheduler::wait_for_child, 2))?;
    class.define_private_method("block_for_child", method!(Scheduler::block_for_child, 2))?;
    class.define_private_method("await_job", method!(Scheduler::await_job, 3))?;
    class.define_private_method("handed_by", method!(Scheduler::handed_by, 0))?;
    class.define_private_method("execute", method!(Scheduler::execute, 1))?;
    class.define_private_method("job_done", method!(Scheduler::job_done, 1))?;
    class.define_private_method("check_usable", method!(Scheduler::check_usable, 0))?;
    class.define_private_method("land_here", method!(Scheduler::land_here, 0))?;
    class.define_private_method("run_for", method!(Scheduler::run_for, 1))?;
    class.define_private_method("check_not_inside", method!(Scheduler::check_not_inside, 0))?;
    class.define_private_method("fibers", method!(Scheduler::fibers, 0))?;
    class.define_private_method("interrupt", method!(Scheduler::interrupt, 2))?;
    class.define_private_method("discard", method!(Scheduler::discard, 0))?;
    class.define_private_method("release", method!(Scheduler::release, 0))?;
    Ok(())
}
