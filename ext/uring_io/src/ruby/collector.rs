//! Measures how long a thread collects garbage, by the events that Ruby has for tracers of the collector (debug.h).
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use magnus::rb_sys::protect;
use magnus::{Error, Ruby};
use rb_sys::{
    rb_gc_register_mark_object, rb_tracepoint_disable, rb_tracepoint_enable, rb_tracepoint_new,
    Qnil, RUBY_INTERNAL_EVENT_GC_ENTER, RUBY_INTERNAL_EVENT_GC_EXIT, VALUE,
};

use super::ractors::Local;

/// Called with the length of a collection, in the thread that has collected. Ruby has not finished it: the function
/// must not call anything of Ruby's that makes an object or raises.
pub type Told = fn(&Ruby, Duration);

type Hook = unsafe extern "C" fn(VALUE, *mut c_void);

/// The state of one Ractor.
#[derive(Default)]
struct Events {
    /// Made by the first [`watch`], and kept for as long as the process lives.
    tracepoints: Cell<Option<[VALUE; 2]>>,
    told: Cell<Option<Told>>,
    /// When the present collection began.
    began: Cell<Option<Instant>>,
}

static EVENTS: Local<Events> = Local::new();

/// Calls `told` at the end of each collection in this Ractor from now on.
pub fn watch(ruby: &Ruby, told: Told) -> Result<(), Error> {
    let events = EVENTS.of(ruby);
    let made = match events.tracepoints.get() {
        Some(made) => made,
        None => [
            make(RUBY_INTERNAL_EVENT_GC_ENTER, enter)?,
            make(RUBY_INTERNAL_EVENT_GC_EXIT, exit)?,
        ],
    };
    events.tracepoints.set(Some(made));
    events.told.set(Some(told));
    each(made, rb_tracepoint_enable)
}

/// Ends the calls that [`watch`] has begun.
pub fn forget(ruby: &Ruby) -> Result<(), Error> {
    let events = EVENTS.of(ruby);
    events.began.set(None);
    match events.told.take().and(events.tracepoints.get()) {
        Some(made) => each(made, rb_tracepoint_disable),
        None => Ok(()),
    }
}

fn make(event: u32, hook: Hook) -> Result<VALUE, Error> {
    // SAFETY: the caller has the GVL, and `protect` catches exceptions. rb_gc_register_mark_object keeps the tracepoint
    // alive for as long as the process lives.
    protect(|| unsafe {
        let tracepoint = rb_tracepoint_new(Qnil as VALUE, event, Some(hook), null_mut());
        rb_gc_register_mark_object(tracepoint);
        tracepoint
    })
}

fn each(
    tracepoints: [VALUE; 2],
    change: unsafe extern "C" fn(VALUE) -> VALUE,
) -> Result<(), Error> {
    for tracepoint in tracepoints {
        // SAFETY: `make` has made the tracepoint, which lives as long as the process. `protect` catches exceptions.
        protect(|| unsafe { change(tracepoint) })?;
    }
    Ok(())
}

unsafe extern "C" fn enter(_: VALUE, _: *mut c_void) {
    // SAFETY: Ruby calls this in a Ruby thread that has the GVL.
    let ruby = unsafe { Ruby::get_unchecked() };
    // From Ruby 4.0 on, Ruby also calls the tracepoint of one Ractor for collections of the others, which may have no
    // state.
    if let Some(events) = EVENTS.made(&ruby) {
        events.began.set(Some(Instant::now()));
    }
}

unsafe extern "C" fn exit(_: VALUE, _: *mut c_void) {
    // SAFETY: as above.
    let ruby = unsafe { Ruby::get_unchecked() };
    let Some(events) = EVENTS.made(&ruby) else {
        return;
    };
    if let (Some(began), Some(told)) = (events.began.take(), events.told.get()) {
        told(&ruby, began.elapsed());
    }
}

/// Makes the key of the states, before there is another Ractor.
pub fn init() {
    EVENTS.init();
}
