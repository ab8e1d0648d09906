//! Class UringIO::Ring: calls that no scheduler hook expresses, one at a time, many at once, in chains
//! and in streams.
//!
//! `lib/uring_io/ring.rb` has the methods, which prepare calls (`call.rs`); here they are made, on
//! the ring of the scheduler that the fiber runs under, or on the ring's own.
#![allow(unsafe_code)]

pub mod batch;
pub mod call;
pub mod registered_buffer;

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use magnus::scan_args::scan_args;
use magnus::value::{Opaque, ReprValue};
use magnus::{
    gc, method, prelude::*, typed_data::Obj, DataTypeFunctions, Error, RArray, RHash, RModule,
    Ruby, Symbol, TypedData, Value,
};
use uring_io_core::{Call, Shot, Token, Wakeup};

use self::batch::Batch;
use self::call::Prepared;
use crate::classes::options::{self, Backing};
use crate::classes::scheduler::Scheduler;
use crate::engine::chains::{Chain, ChainOutcome, Step};
use crate::engine::closing::Registry;
use crate::engine::{Engine, Flow, Purpose};
use crate::memory::held::Held;
use crate::memory::registered::Registered;
use crate::ruby::{duration, errors, ractors};

type Hook<T> = Result<T, Error>;

/// A step of a chain: see `Ring::perform_chain`.
type Row = (Obj<Prepared>, Vec<Option<usize>>, Option<usize>);

/// Memory behind a UringIO::Ring.
#[derive(TypedData, Default)]
#[magnus(class = "UringIO::Ring", mark, size, free_immediately)]
pub struct Ring {
    /// Absent until `initialize` has run.
    engine: OnceCell<Engine>,
    mailbox: Mailbox,
}

/// Objects that were sent to a ring, and who waits for some.
#[derive(Default)]
struct Mailbox {
    objects: RefCell<VecDeque<Opaque<Value>>>,
    /// The ring or scheduler whose engine each of them is parked at, and its place there.
    waiting: RefCell<VecDeque<(Opaque<Value>, Token)>>,
}

// SAFETY: Ruby objects are used by whichever thread of their Ractor holds its GVL, one at a time; all methods but
// questions and `message` refuse threads that do not own the ring. The GC's marking, and `message`, may
// run while the owner waits without the GVL, and touch only what Driver::wait leaves alone.
unsafe impl Send for Ring {}

impl DataTypeFunctions for Ring {
    fn mark(&self, marker: &gc::Marker) {
        if let Some(engine) = self.engine.get() {
            engine.mark(marker);
        }
        for object in self.mailbox.objects.borrow().iter() {
            marker.mark(*object);
        }
        for (host, _) in self.mailbox.waiting.borrow().iter() {
            marker.mark(*host);
        }
    }
}

/// The engine that makes the calls of the current fiber.
pub enum Host {
    Own(Obj<Ring>),
    Scheduler(Obj<Scheduler>),
}

impl Host {
    /// What has the engine, as `value` gave it. Raises nothing inside, not even to be caught here: that
    /// would take the place of a kill that is on its way.
    pub fn of(value: Value) -> Option<Self> {
        if value.is_kind_of(Ring::class(&Ruby::get_with(value))) {
            return Obj::try_convert(value).ok().map(Self::Own);
        }
        Obj::try_convert(value).ok().map(Self::Scheduler)
    }

    /// The engine, for whatever thread holds the GVL.
    pub fn made(&self, ruby: &Ruby) -> Hook<&Engine> {
        match self {
            Self::Own(ring) => ring.made(ruby),
            Self::Scheduler(scheduler) => scheduler.made(ruby),
        }
    }

    /// The engine, for the thread that owns it.
    pub fn engine(&self, ruby: &Ruby) -> Hook<&Engine> {
        match self {
            Self::Own(ring) => ring.own_engine(ruby),
            Self::Scheduler(scheduler) => scheduler.engine(ruby),
        }
    }

    pub fn value(&self) -> Value {
        match self {
            Self::Own(ring) => ring.as_value(),
            Self::Scheduler(scheduler) => scheduler.as_value(),
        }
    }
}

impl Ring {
    /// UringIO::Ring.new(entries: 256, backend: nil, sqpoll: false, sqpoll_idle: 1, sqpoll_cpu: nil,
    /// workers: nil)
    fn initialize(ruby: &Ruby, this: Obj<Self>, arguments: &[Value]) -> Hook<()> {
        let arguments = scan_args::<(), (), (), (), RHash, ()>(arguments)?;
        if this.engine.get().is_some() {
            return Err(errors::base(ruby, "this ring is initialized already"));
        }
        if arguments.keywords.get(ruby.to_symbol("restrict")).is_some() {
            let message = "restrict: is for UringIO::Scheduler and UringIO::Selector: what it refuses is what a \
                           ring is for";
            return Err(errors::argument(ruby, message.to_owned()));
        }
        let Backing { driver, .. } = options::driver(ruby, arguments.keywords, 256)?;
        // Somebody else's `initialize` cannot have run in between: the check above and this
        // assignment are made without letting go of the GVL.
        let _ = this.engine.set(Engine::new(ruby, driver, Flow::Nobody));
        Registry::of(ruby).add(this.made(ruby)?);
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

    /// Where the current fiber's calls are made.
    fn host(ruby: &Ruby, this: Obj<Self>) -> Hook<Host> {
        this.own_engine(ruby)?;
        Ok(match Scheduler::current(ruby) {
            Some(scheduler) => Host::Scheduler(scheduler),
            None => Host::Own(this),
        })
    }

    fn backend(ruby: &Ruby, this: Obj<Self>) -> Hook<Symbol> {
        Ok(ruby.to_symbol(this.made(ruby)?.driver.backend().name()))
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

    /// System calls that wait or submit, submissions, completions and other system calls so far.
    fn counts(ruby: &Ruby, this: Obj<Self>) -> Hook<RArray> {
        let stats = this.own_engine(ruby)?.driver.stats();
        Ok(ruby.ary_from_iter([
            stats.enters,
            stats.submissions,
            stats.completions,
            stats.direct_calls,
        ]))
    }

    /// Makes a call: what it came to, see `call::value`.
    fn perform(ruby: &Ruby, this: Obj<Self>, call: Obj<Prepared>, timeout: Value) -> Hook<Value> {
        let made = Self::made_call(ruby, this, &call, timeout);
        call.held.release(ruby);
        made
    }

    fn made_call(ruby: &Ruby, this: Obj<Self>, call: &Prepared, timeout: Value) -> Hook<Value> {
        let host = Self::host(ruby, this)?;
        let limit = duration::optional(ruby, timeout)?;
        let engine = host.engine(ruby)?;
        let request = call.take_for(ruby, engine)?;
        match engine.call(ruby, request, limit, &call.held)? {
            Some(outcome) => {
                call::value(ruby, &outcome, call.name(), &call.held)?.map_err(Error::from)
            }
            None => Err(errors::io_timeout(
                ruby,
                format!("the operation took longer than {timeout} s"),
            )),
        }
    }

    /// Makes the calls of a batch at the same time: what they came to, in their order.
    fn perform_all(ruby: &Ruby, this: Obj<Self>, batch: Obj<Batch>) -> Hook<RArray> {
        let host = Self::host(ruby, this);
        let made = host.and_then(|host| Batch::make(ruby, batch, host.engine(ruby)?));
        if made.is_err() {
            Batch::discard(ruby, batch);
        }
        made
    }

    /// Makes a chain: for each step what it came to and whether that broke the chain; then whether the
    /// timeout passed. `steps` has for each the call, which of the chain's own descriptors each of its
    /// descriptors is, and which of them it opens, by number or nil.
    fn perform_chain(
        ruby: &Ruby,
        this: Obj<Self>,
        steps: RArray,
        descriptors: usize,
        hard: bool,
        timeout: Value,
    ) -> Hook<RArray> {
        let made = Self::made_chain(ruby, this, steps, (descriptors, hard, timeout));
        let lost = made.is_err() && Self::is_lost(ruby, this);
        for index in 0..steps.len() {
            let (call, ..): Row = steps.entry(index as isize)?;
            call.let_go(ruby, lost);
        }
        made
    }

    /// The calls stay in `steps` all the time, and are looked up there: only what is on the stack or
    /// marked keeps its place when the collector moves objects.
    fn made_chain(
        ruby: &Ruby,
        this: Obj<Self>,
        steps: RArray,
        (descriptors, hard, timeout): (usize, bool, Value),
    ) -> Hook<RArray> {
        let host = Self::host(ruby, this)?;
        let engine = host.engine(ruby)?;
        let timeout = duration::optional(ruby, timeout)?;
        let mut chain = Chain {
            steps: Vec::with_capacity(steps.len()),
            descriptors,
            hard,
            timeout,
        };
        for index in 0..steps.len() {
            let (call, on, into): Row = steps.entry(index as isize)?;
            let mut call = call.take_for(ruby, engine)?;
            let inside = |slot: &Option<usize>| slot.is_none_or(|slot| slot < descriptors);
            let fits = (on.iter().all(Option::is_none) || on.len() == call.descriptors().len())
                && (into.is_none() || call.opens())
                && on.iter().chain([&into]).all(inside);
            if !fits {
                let message = format!(
                    "{} takes no descriptor that a step of the chain opens",
                    call.name()
                );
                return Err(errors::argument(ruby, message));
            }
            chain.steps.push(Step { call, on, into });
        }
        let held = |index: usize| {
            let row = steps.entry::<Row>(index as isize);
            row.map_or_else(|_| Held::default(), |(call, ..)| call.held.take())
        };
        let made = engine.chain(ruby, chain, held)?;
        let values = Self::chain_values(ruby, steps, &made);
        if values.is_err() {
            made.undo();
        }
        values
    }

    fn chain_values(ruby: &Ruby, steps: RArray, made: &ChainOutcome) -> Hook<RArray> {
        let values = ruby.ary_new_capa(steps.len() + 1);
        for (index, (outcome, broken)) in made.outcomes.iter().zip(&made.broken).enumerate() {
            let (call, ..): Row = steps.entry(index as isize)?;
            let value = call::value(ruby, outcome, call.name(), &call.held)?;
            let value = value.unwrap_or_else(|failed| failed.as_value());
            values.push((value, *broken))?;
        }
        values.push(made.timed_out)?;
        Ok(values)
    }

    /// Whether the kernel may go on using what the current fiber's calls hold, unheard.
    fn is_lost(ruby: &Ruby, this: Obj<Self>) -> bool {
        Self::host(ruby, this).is_ok_and(|host| host.engine(ruby).is_ok_and(Engine::is_lost))
    }

    /// Lets go of what calls hold that are not going to be made.
    fn discard(ruby: &Ruby, _: Obj<Self>, calls: RArray) -> Hook<()> {
        for index in 0..calls.len() {
            let call: Obj<Prepared> = calls.entry(index as isize)?;
            call.let_go(ruby, false);
        }
        Ok(())
    }

    /// Makes a call that goes on, and yields what it brings: bytes, events or a descriptor. False where
    /// the kernel does not go on by itself: then nothing was done.
    fn stream(ruby: &Ruby, this: Obj<Self>, call: Obj<Prepared>, limit: Value) -> Hook<bool> {
        let host = Self::host(ruby, this)?;
        let engine = host.engine(ruby)?;
        let timeout = duration::optional(ruby, limit)?;
        let call = call.take(ruby)?;
        if !engine.driver.can_stream(&call) {
            return Ok(false);
        }
        let kind = Kind::of(&call);
        let each = |shot| kind.yield_shot(ruby, call.name(), shot);
        let waited =
            || errors::io_timeout(ruby, format!("the operation took longer than {limit} s"));
        engine.stream(ruby, &call, timeout, each, waited)?;
        Ok(true)
    }

    /// Tells every call on this descriptor to end: how many there were.
    fn cancel_on(ruby: &Ruby, this: Obj<Self>, fd: i32) -> Hook<usize> {
        let host = Self::host(ruby, this)?;
        let engine = host.engine(ruby)?;
        let cancelled = engine.driver.cancel_on(fd);
        cancelled.map_err(|error| engine.failure(ruby, error))
    }

    /// Registers the memory of an IO::Buffer, which stays locked.
    fn register(ruby: &Ruby, this: Obj<Self>, buffer: Value) -> Hook<Registered> {
        registered_buffer::register(ruby, &Self::host(ruby, this)?, buffer)
    }

    /// Gives an object to another ring, and wakes whoever waits there for one.
    fn message(ruby: &Ruby, this: Obj<Self>, other: Obj<Self>, object: Value) -> Hook<()> {
        let host = Self::host(ruby, this)?;
        if other.is_closed() {
            return Err(errors::closed(ruby, "ring that the message is for"));
        }
        let own = host.engine(ruby)?;
        let mailbox = &other.mailbox;
        mailbox.objects.borrow_mut().push_back(Opaque::from(object));
        loop {
            let next = mailbox.waiting.borrow_mut().pop_front();
            let Some((receiver, token)) = next else {
                return Ok(());
            };
            let Some(receiver) = Host::of(ruby.get_inner(receiver)) else {
                continue;
            };
            let engine = receiver.made(ruby)?;
            if !engine.is_closed() {
                return Self::wake(ruby, own, engine, token);
            }
        }
    }

    /// Wakes a party of another engine, by the kernel where both have a ring.
    fn wake(ruby: &Ruby, own: &Engine, engine: &Engine, token: Token) -> Hook<()> {
        let rings = (
            own.driver.ring_descriptor(),
            engine.driver.ring_descriptor(),
        );
        let (Some(from), Some(ring)) = rings else {
            engine.driver.wake(token);
            return Ok(());
        };
        if from == ring {
            engine.driver.wake(token);
            return Ok(());
        }
        let place = own.place(ruby, Purpose::Operation);
        let nudge = own.driver.call(place.token, Call::Nudge { ring, token });
        // At once: when others have run the descriptor may be that of some other ring.
        let begun = nudge.and_then(|()| own.driver.look());
        let nudged = match begun {
            Ok(()) => own.await_completion(ruby, place.token, || (), |_| false),
            // Before Linux 5.18 there is no such call.
            Err(error) if error.lack.is_some() => Ok(None),
            Err(error) => Err(own.refusal(ruby, error, None)),
        };
        if !matches!(nudged, Ok(Some(0..))) {
            engine.driver.wake(token);
        }
        nudged.map(|_| ())
    }

    /// The next object that was given to this ring, in an Array; nil when the timeout passed first.
    fn receive(ruby: &Ruby, this: Obj<Self>, timeout: Value) -> Hook<Option<RArray>> {
        let host = Self::host(ruby, this)?;
        let engine = host.engine(ruby)?;
        let timeout = duration::optional(ruby, timeout)?;
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let object = this.mailbox.objects.borrow_mut().pop_front();
            if let Some(object) = object {
                let found = ruby.ary_new();
                found.push(ruby.get_inner(object))?;
                return Ok(Some(found));
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            let place = engine.place(ruby, Purpose::Turn);
            let host = Opaque::from(host.value());
            let mut waiting = this.mailbox.waiting.borrow_mut();
            waiting.push_back((host, place.token));
            drop(waiting);
            engine.driver.set_timeout(place.token, left);
            let woken = engine.await_wakeup(ruby, place.token);
            let mut waiting = this.mailbox.waiting.borrow_mut();
            waiting.retain(|(_, token)| *token != place.token);
            drop(waiting);
            if woken.is_err() {
                // It may have been woken for an object that it does not take now.
                this.mailbox.pass_on(ruby);
            }
            if woken? == Wakeup::TimedOut && this.mailbox.objects.borrow().is_empty() {
                return Ok(None);
            }
        }
    }
}

impl Mailbox {
    /// Wakes the next who waits at this thread, if there is something to take.
    fn pass_on(&self, ruby: &Ruby) {
        if self.objects.borrow().is_empty() {
            return;
        }
        let next = self.waiting.borrow_mut().pop_front();
        let Some((host, token)) = next else { return };
        if let Some(host) = Host::of(ruby.get_inner(host)) {
            if let Ok(engine) = host.engine(ruby) {
                engine.driver.wake(token);
            }
        }
    }
}

/// What a stream brings.
#[derive(Clone, Copy)]
enum Kind {
    Descriptors,
    Bytes,
    Events(uring_io_core::Interest),
}

impl Kind {
    fn of(call: &Call) -> Self {
        match call {
            Call::AcceptEach { .. } => Self::Descriptors,
            Call::PollEach { interest, .. } => Self::Events(*interest),
            _ => Self::Bytes,
        }
    }

    /// Yields it. False when it was the end.
    fn yield_shot(self, ruby: &Ruby, name: &'static str, shot: Shot) -> Hook<bool> {
        match (self, shot.result) {
            // The connection is gone already, which is its client's doing.
            (Self::Descriptors, result) if result == -libc::ECONNABORTED => return Ok(true),
            (_, result) if result < 0 => {
                let error = uring_io_core::Error::new(name, -result);
                return Err(errors::errno(ruby, error));
            }
            (Self::Bytes, 0) => return Ok(false),
            _ => {}
        }
        let value = match self {
            Self::Descriptors => ruby.integer_from_i64(shot.result.into()).as_value(),
            Self::Bytes => ruby.str_from_slice(&shot.bytes).as_value(),
            Self::Events(interest) => {
                crate::ruby::io::events(ruby, interest.satisfied_by(shot.result))
            }
        };
        ruby.yield_value::<_, Value>(value).map(|_| true)
    }
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
    registered_buffer::init(ruby, class)?;
    call::init(ruby, class)
}
