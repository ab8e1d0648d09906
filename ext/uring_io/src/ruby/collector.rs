//! When a thread collects garbage, by the events that Ruby has for tracers of the collector (debug.h).
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

/// Told for how long the calling thread has collected until now. Ruby is still about it: nothing of Ruby's may be
/// called that makes an object or raises.
pub type Told = fn(&Ruby, Duration);

type Hook = unsafe extern "C" fn(VALUE, *mut c_void);

/// The part of each Ractor.
#[derive(Default)]
struct Events {
    /// Made when they are first asked for, and kept for as long as the process lives.
    tracepoints: Cell<Option<[VALUE; 2]>>,
    told: Cell<Option<Told>>,
    /// When the present collection has begun.
    began: Cell<Option<Instant>>,
}

static EVENTS: Local<Events> = Local::new();

/// Tells of each collection in this Ractor from now on.
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

/// Ends that.
pub fn forget(ruby: &Ruby) -> Result<(), Error> {
    let events = EVENTS.of(ruby);
    events.began.set(None);
    match events.told.take().and(events.tracepoints.get()) {
        Some(made) => each(made, rb_tracepoint_disable),
        None => Ok(()),
    }
}

fn make(event: u32, hook: Hook) -> Result<VALUE, Error> {
    // SAFETY: with the GVL; what raises is caught. Ruby marks the tracepoint for as long as the process lives.
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
        // SAFETY: a tracepoint that `make` has made; what raises is caught.
        protect(|| unsafe { change(tracepoint) })?;
    }
    Ok(())
}

unsafe extern "C" fn enter(_: VALUE, _: *mut c_void) {
    // SAFETY: Ruby calls this in a thread of its own, with the GVL.
    let ruby = unsafe { Ruby::get_unchecked() };
    // From Ruby 4.0 on a tracepoint of one Ractor hears of the others, too.
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

/// Makes what each Ractor has, before there is another one.
pub fn init() {
    EVENTS.init();
}
