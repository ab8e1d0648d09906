//! Class UringIO::Ring: calls that no scheduler hook offers, one at a time, in batches, in chains and in streams.
//!
//! `lib/uring_io/ring.rb` has the methods, which prepare calls (`call.rs`, `file_call.rs`). This file makes the calls,
//! on the engine of the fiber's scheduler or on the ring's own.

mod arguments;
mod batch;
mod call;
mod file_call;
mod host;
mod memory;
mod messages;
mod registered_buffer;
mod result;
mod ring_call;
mod shot;

use std::cell::OnceCell;

use magnus::scan_args::scan_args;
use magnus::value::ReprValue;
use magnus::{
    gc, method, prelude::*, typed_data::Obj, DataTypeFunctions, Error, RArray, RHash, RModule,
    Ruby, Symbol, TypedData, Value,
};
use uring_io_core::Call;

use self::batch::Batch;
use self::host::Host;
use self::messages::Mailbox;
use self::ring_call::RingCall;
use self::shot::Kind;
use crate::classes::options::{self, Backing};
use crate::classes::scheduler::Scheduler;
use crate::classes::trace;
use crate::engine::chains::{Chain, ChainOutcome, Step};
use crate::engine::closing::Registry;
use crate::engine::{Engine, Flow};
use crate::memory::held::Held;
use crate::memory::registered::Registered;
use crate::ruby::{duration, errors, ractors};

type Hook<T> = Result<T, Error>;

/// A step of a chain: see `Ring::perform_chain`.
type Row = (Obj<RingCall>, Vec<Option<usize>>, Option<usize>);

/// The Rust part of a UringIO::Ring.
#[derive(TypedData, Default)]
#[magnus(class = "UringIO::Ring", mark, size, free_immediately)]
pub struct Ring {
    /// Absent until `initialize` has run.
    engine: OnceCell<Engine>,
    mailbox: Mailbox,
}

// SAFETY: only the thread of its Ractor that holds the GVL uses it. All methods refuse threads that do not own the
// ring, except questions and a `message` to the ring. These, and the GC's marking, may run while the owner waits
// without the GVL, and touch only what Driver::wait leaves alone.
#[allow(unsafe_code)]
unsafe impl Send for Ring {}

impl DataTypeFunctions for Ring {
    fn mark(&self, marker: &gc::Marker) {
        if let Some(engine) = self.engine.get() {
            engine.mark(marker);
        }
        self.mailbox.mark(marker);
    }
}

impl Ring {
    /// UringIO::Ring.new(entries: 256, backend: nil, sqpoll: false, sqpoll_idle: 1, sqpoll_cpu: nil,
    /// workers: nil)
    fn initialize(ruby: &Ruby, this: Obj<Self>, arguments: &[Value]) -> Hook<()> {
        let arguments = scan_args::<(), (), (), (), RHash, ()>(arguments)?;
        if arguments.keywords.get(ruby.to_symbol("restrict")).is_some() {
            let message = "a UringIO::Ring takes no restrict:, because it would have few operations left: give it to \
                           UringIO::Scheduler or UringIO::Selector";
            return Err(errors::argument(ruby, message.to_owned()));
        }
        let Backing { driver, .. } = options::driver(ruby, arguments.keywords, 256)?;
        let engine = Engine::new(ruby, driver, Flow::Nobody);
        // Making a driver may call Ruby, and that may call `initialize` too.
        if this.engine.set(engine).is_err() {
            return Err(errors::initialized(ruby, "ring"));
        }
        Registry::of(ruby).add(this.made(ruby)?, &*this);
        Ok(())
    }

    fn made(&self, ruby: &Ruby) -> Hook<&Engine> {
        self.engine
            .get()
            .ok_or_else(|| errors::closed(ruby, "ring"))
    }

    fn own_engine(&self, ruby: &Ruby) -> Hook<&Engine> {
        self.made(ruby)?.usable(ruby, "ring")
    }

    /// The host of the current fiber's calls.
    fn host(ruby: &Ruby, this: Obj<Self>) -> Hook<Host> {
        this.own_engine(ruby)?;
        Ok(match Scheduler::current(ruby) {
            Some(scheduler) => Host::Scheduler(scheduler),
            None => Host::Own(this),
        })
    }

    fn backend(ruby: &Ruby, this: Obj<Self>) -> Hook<Symbol> {
        Ok(ruby.to_symbol(this.made(ruby)?.backend().name()))
    }

    fn is_closed(&self) -> bool {
        self.engine.get().is_none_or(Engine::is_closed)
    }

    fn close(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        if this.is_closed() {
            return Ok(());
        }
        this.own_engine(ruby)?.close(ruby)
    }

    /// The records so far: see [`trace::recorded`]. Any thread may call it.
    fn recorded(ruby: &Ruby, this: Obj<Self>) -> Hook<Option<RArray>> {
        trace::recorded(ruby, this.engine.get())
    }

    /// Four counts so far: system calls that wait or submit, submissions, completions, and other system calls.
    fn counts(ruby: &Ruby, this: Obj<Self>) -> Hook<RArray> {
        let stats = this.own_engine(ruby)?.stats();
        Ok(ruby.ary_from_iter([
            stats.enters,
            stats.submissions,
            stats.completions,
            stats.direct_calls,
        ]))
    }

    /// Makes a call and returns its result: see `result::value`.
    fn perform(ruby: &Ruby, this: Obj<Self>, call: Obj<RingCall>, timeout: Value) -> Hook<Value> {
        // If another fiber makes the call already, this fails, and that fiber lets go of the objects.
        let request = call.take(ruby)?;
        let made = Self::made_call(ruby, this, &call, request, timeout);
        call.held.release(ruby);
        made
    }

    fn made_call(
        ruby: &Ruby,
        this: Obj<Self>,
        call: &RingCall,
        request: Call,
        timeout: Value,
    ) -> Hook<Value> {
        let host = Self::host(ruby, this)?;
        let limit = duration::optional(ruby, timeout)?;
        let engine = host.engine(ruby)?;
        call.check_memory(ruby, engine)?;
        match engine.call(ruby, request, limit, &call.held)? {
            Some(outcome) => {
                result::value(ruby, &outcome, call.name(), &call.held)?.map_err(Error::from)
            }
            None => Err(errors::io_timeout(
                ruby,
                format!("the operation took longer than {timeout} s"),
            )),
        }
    }

    /// Makes the calls of a batch, and returns their results in the order of the calls.
    fn perform_all(ruby: &Ruby, this: Obj<Self>, batch: Obj<Batch>) -> Hook<RArray> {
        let host = Self::host(ruby, this)?;
        Batch::make(ruby, batch, host.engine(ruby)?)
    }

    /// Makes a chain. Returns the result of each step, then the index of the step that broke the chain or nil, and
    /// then whether the timeout passed.
    ///
    /// Each of `steps` has three elements: the call; for each descriptor of the call, the number of the direct
    /// descriptor to use instead, or nil; and the number of the direct descriptor that the step opens, or nil.
    /// `descriptors` is how many direct descriptors the chain has.
    fn perform_chain(
        ruby: &Ruby,
        this: Obj<Self>,
        steps: RArray,
        descriptors: usize,
        hard: bool,
        timeout: Value,
    ) -> Hook<RArray> {
        let host = Self::host(ruby, this)?;
        let engine = host.engine(ruby)?;
        // The caller may change `steps` while the kernel uses the objects of the calls. Nobody else has this array.
        let calls = ruby.ary_new_capa(steps.len());
        let made = Self::made_chain(ruby, engine, steps, calls, (descriptors, hard, timeout));
        let lost = made.is_err() && engine.is_lost();
        for index in 0..calls.len() {
            call_at(calls, index)?.let_go(ruby, lost);
        }
        made
    }

    /// Puts the calls that it takes into `calls`, and looks them up there each time: when the GC moves objects, only
    /// those on the stack or marked keep their address.
    fn made_chain(
        ruby: &Ruby,
        engine: &Engine,
        steps: RArray,
        calls: RArray,
        (descriptors, hard, timeout): (usize, bool, Value),
    ) -> Hook<RArray> {
        if descriptors > steps.len() {
            let message = format!(
                "descriptors must be at most the number of steps, {}: {descriptors} given",
                steps.len()
            );
            return Err(errors::argument(ruby, message));
        }
        let timeout = duration::optional(ruby, timeout)?;
        let mut chain = Chain {
            steps: Vec::with_capacity(steps.len()),
            descriptors,
            hard,
            timeout,
        };
        for index in 0..steps.len() {
            let (prepared, on, into): Row = steps.entry(index as isize)?;
            prepared.check_memory(ruby, engine)?;
            let mut call = prepared.take(ruby)?;
            calls.push(prepared)?;
            let inside = |slot: &Option<usize>| slot.is_none_or(|slot| slot < descriptors);
            let fits = (on.iter().all(Option::is_none) || on.len() == call.descriptors().len())
                && (into.is_none() || call.opens())
                && on.iter().chain([&into]).all(inside);
            if !fits {
                let message = format!(
                    "{} cannot use a descriptor that a step of the chain opens: give it one of the process",
                    call.name()
                );
                return Err(errors::argument(ruby, message));
            }
            chain.steps.push(Step { call, on, into });
        }
        let held = |index: usize| {
            call_at(calls, index).map_or_else(|_| Held::default(), |call| call.held.take())
        };
        let made = engine.chain(ruby, chain, held)?;
        let values = Self::chain_values(ruby, calls, &made);
        if values.is_err() {
            made.undo();
        }
        values
    }

    fn chain_values(ruby: &Ruby, calls: RArray, made: &ChainOutcome) -> Hook<RArray> {
        let values = ruby.ary_new_capa(calls.len() + 2);
        let mut failed_at = None;
        for (index, outcome) in made.outcomes.iter().enumerate() {
            let call = call_at(calls, index)?;
            let value = result::value(ruby, outcome, call.name(), &call.held)?;
            if value.is_err() {
                failed_at = failed_at.or(Some(index));
            }
            values.push(value.unwrap_or_else(|failed| failed.as_value()))?;
        }
        // A step may succeed although its value fails: a buffer may have become too small for the bytes.
        values.push(made.broken_at.into_iter().chain(failed_at).min())?;
        values.push(made.timed_out)?;
        Ok(values)
    }

    /// Lets go of the objects of calls that nobody has begun, and that nobody can make afterwards.
    fn discard(ruby: &Ruby, _: Obj<Self>, calls: RArray) -> Hook<()> {
        for index in 0..calls.len() {
            let call: Obj<RingCall> = calls.entry(index as isize)?;
            call.discard(ruby);
        }
        Ok(())
    }

    /// Makes a stream and yields its shots: bytes, events or descriptors. Returns false if the kernel does not go on
    /// with such a call by itself: then this has done nothing.
    fn stream(ruby: &Ruby, this: Obj<Self>, call: Obj<RingCall>, limit: Value) -> Hook<bool> {
        let host = Self::host(ruby, this)?;
        let engine = host.engine(ruby)?;
        let timeout = duration::optional(ruby, limit)?;
        let request = call.take_stream(ruby)?;
        if !engine.can_stream(&request) {
            return Ok(false);
        }
        let kind = Kind::of(&request);
        // The engine may be a scheduler's, which does not know when this ring is closed.
        let each = |shot| {
            let goes_on = kind.yield_shot(ruby, call.name(), shot)?;
            if goes_on {
                this.own_engine(ruby)?;
            }
            Ok(goes_on)
        };
        let waited =
            || errors::io_timeout(ruby, format!("the operation took longer than {limit} s"));
        engine.stream(ruby, &request, timeout, each, waited)?;
        Ok(true)
    }

    /// Cancels every call on this descriptor, and returns how many there were.
    fn cancel_on(ruby: &Ruby, this: Obj<Self>, fd: i32) -> Hook<usize> {
        let host = Self::host(ruby, this)?;
        let engine = host.engine(ruby)?;
        engine.cancel_on(ruby, fd)
    }

    /// Registers the memory of an IO::Buffer. The buffer stays locked.
    fn register(ruby: &Ruby, this: Obj<Self>, buffer: Value) -> Hook<Registered> {
        registered_buffer::register(ruby, &Self::host(ruby, this)?, buffer)
    }
}

fn call_at(calls: RArray, index: usize) -> Hook<Obj<RingCall>> {
    calls.entry(index as isize)
}

pub fn init(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Ring", ruby.class_object())?;
    Ring::class(ruby);
    ractors::refuse_copies(class)?;
    class.define_alloc_func::<Ring>();
    class.define_method("initialize", method!(Ring::initialize, -1))?;
    class.define_method("backend", method!(Ring::backend, 0))?;
    class.define_method("closed?", method!(Ring::is_closed, 0))?;
    class.define_method("close", method!(Ring::close, 0))?;
    class.define_private_method("counts", method!(Ring::counts, 0))?;
    class.define_private_method("recorded", method!(Ring::recorded, 0))?;
    class.define_private_method("perform", method!(Ring::perform, 2))?;
    class.define_private_method("perform_all", method!(Ring::perform_all, 1))?;
    class.define_private_method("perform_chain", method!(Ring::perform_chain, 4))?;
    class.define_private_method("discard", method!(Ring::discard, 1))?;
    class.define_private_method("stream", method!(Ring::stream, 2))?;
    class.define_private_method("cancel_on", method!(Ring::cancel_on, 1))?;
    class.define_method("register", method!(Ring::register, 1))?;
    class.define_private_method("give", method!(Ring::message, 2))?;
    class.define_private_method("take", method!(Ring::receive, 1))?;
    batch::init(ruby, class)?;
    memory::init(ruby, class)?;
    registered_buffer::init(ruby, class)?;
    let call = call::init(ruby, class)?;
    file_call::init(call)
}
