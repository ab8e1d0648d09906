//! Fibers of a scheduler: making them, running them, and handling the exceptions that end them.
#![allow(unsafe_code)]

use magnus::error::ErrorType;
use magnus::fiber::{Fiber, Storage};
use magnus::rb_sys::{protect, AsRawValue, FromRawValue};
use magnus::scan_args::scan_args;
use magnus::value::ReprValue;
use magnus::{
    block::Proc, prelude::*, typed_data::Obj, Error, ExceptionClass, RArray, RClass, RHash, Ruby,
    TryConvert, Value,
};

use super::Scheduler;
use crate::engine::Engine;
use crate::ruby::errors;

type Hook<T> = Result<T, Error>;

impl Scheduler {
    pub fn fiber(ruby: &Ruby, this: Obj<Self>, arguments: &[Value]) -> Hook<Fiber> {
        let engine = this.engine(ruby)?;
        let arguments = scan_args::<(), (), RArray, (), RHash, Option<Proc>>(arguments)?;
        let block = arguments
            .block
            .ok_or_else(|| errors::argument(ruby, "a block is needed to run".to_owned()))?;
        this.stacks.make_room(ruby)?;
        let fiber = ruby.fiber_new(Storage::Inherit, fiber_main)?;
        let (splat, keywords) = (arguments.splat, arguments.keywords);
        match engine.landing(ruby) {
            None => engine.start(ruby, fiber, (this, block, splat, keywords))?,
            Some(landing) => {
                let carrier = ruby.fiber_new(Storage::Lazy, carrier_main)?;
                let arguments = (landing, fiber, this, block, splat, keywords);
                engine.start(ruby, carrier, arguments)?;
            }
        }
        Ok(fiber)
    }
}

/// Body of every scheduled fiber: runs the block, and reports an exception that ends it as Ruby does for
/// threads. An exception that is meant for the whole thread or program goes on to the thread's main flow.
fn fiber_main(ruby: &Ruby, arguments: &[Value], _: Option<Proc>) -> Hook<Value> {
    let this = Obj::<Scheduler>::try_convert(arguments[0])?;
    let block = Proc::from_value(arguments[1])
        .ok_or_else(|| errors::wrong_type(ruby, "the fiber's body is not a Proc".to_owned()))?;
    let splat = RArray::try_convert(arguments[2])?;
    let keywords = RHash::try_convert(arguments[3])?;
    if let Some(engine) = this.engine.get() {
        engine.started(ruby, || place_of(block));
    }
    let result = if keywords.is_empty() {
        block.call::<_, Value>(splat)
    } else {
        call_with_keywords(block, splat, keywords)
    };
    // If an exception came too late for the fiber's last wait, raise it now.
    let pending = || {
        this.engine
            .get()
            .map_or(Ok(()), |engine| engine.raise_pending(ruby))
    };
    let result = result.and_then(|value| pending().map(|()| value));
    let result = result.or_else(|error| report(ruby, this, error));
    if let Some(engine) = this.engine.get() {
        engine.ended(ruby.fiber_current());
    }
    result
}

/// Body of a carrier: it resumes a scheduled fiber, gets control back when that fiber ends, and transfers to the
/// landing: see [`Engine::land_here`]. A carrier does not end by itself, because Ruby would then go on in the root
/// fiber. The GC collects it.
fn carrier_main(ruby: &Ruby, arguments: &[Value], _: Option<Proc>) -> Hook<Value> {
    let landing = Fiber::try_convert(arguments[0])?;
    let fiber = Fiber::try_convert(arguments[1])?;
    let mut ended = fiber.resume::<_, Value>(&arguments[2..]);
    while ended.is_ok() && fiber.is_alive() {
        // The fiber has called Fiber.yield. Without a carrier Ruby raises this error there.
        let class: ExceptionClass = ruby.class_object().const_get("FiberError")?;
        let error = class.new_instance(("attempt to yield on a not resumed fiber",))?;
        ended = fiber.raise(error);
    }
    match ended.as_ref().map_err(Error::error_type) {
        Err(ErrorType::Exception(exception)) => landing.raise(*exception),
        Err(_) => ended,
        Ok(_) => landing.transfer(()),
    }
}

/// The place of a block in the program, for the readers of a recording.
fn place_of(block: Proc) -> String {
    let place: Result<(String, u32), Error> = block.funcall("source_location", ());
    place.map_or_else(|_| String::new(), |(file, line)| format!("{file}:{line}"))
}

fn report(ruby: &Ruby, this: Obj<Scheduler>, error: Error) -> Hook<Value> {
    let ErrorType::Exception(exception) = error.error_type() else {
        return Err(error);
    };
    let class: RClass = this.class().const_get("Shutdown")?;
    if exception.is_kind_of(class) {
        return Ok(ruby.qnil().as_value());
    }
    let for_program = exception.is_kind_of(ruby.exception_system_exit())
        || exception.is_kind_of(ruby.exception_signal());
    let aborts: bool = ruby.thread_current().funcall("abort_on_exception", ())?;
    let aborts_all: bool = ruby.class_thread().funcall("abort_on_exception", ())?;
    if for_program || aborts || aborts_all {
        return Err(error);
    }
    this.funcall("report_exception", (ruby.fiber_current(), *exception))
}

/// Calls a block with keywords.
fn call_with_keywords(block: Proc, arguments: RArray, keywords: RHash) -> Hook<Value> {
    arguments.push(keywords)?;
    let passes_keywords = 1;
    // SAFETY: a Proc and an Array whose last element is a Hash. `protect` catches a raise.
    let value = protect(|| unsafe {
        rb_sys::rb_proc_call_kw(block.as_raw(), arguments.as_raw(), passes_keywords)
    })?;
    // SAFETY: the call returned a value.
    Ok(unsafe { Value::from_raw(value) })
}

/// Raises FiberError if the current fiber is one of this scheduler's: it cannot wait for itself.
pub fn check_outside(ruby: &Ruby, engine: &Engine) -> Hook<()> {
    if !engine.is_scheduled(ruby.fiber_current()) {
        return Ok(());
    }
    Err(Error::new(
        ruby.class_object()
            .const_get::<_, ExceptionClass>("FiberError")?,
        "a fiber of this scheduler cannot wait for all its fibers, as it is one of them: call this outside of them",
    ))
}
