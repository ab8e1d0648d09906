//! How long the garbage collector runs, by the events that Ruby has for tracers of it (debug.h).
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;

use crate::area::{area, now};
use crate::ruby::{
    rb_gc_register_mark_object, rb_tracepoint_enable, rb_tracepoint_new, TraceHook, Value,
    GC_ENTER, GC_EXIT, GC_START,
};

pub fn init() {
    let hooks: [(u32, TraceHook); 3] = [(GC_START, start), (GC_ENTER, enter), (GC_EXIT, exit)];
    for (event, hook) in hooks {
        // SAFETY: with the GVL. The tracepoint is marked for as long as the process lives.
        unsafe {
            let tracepoint = rb_tracepoint_new(0, event, hook, null_mut());
            rb_gc_register_mark_object(tracepoint);
            rb_tracepoint_enable(tracepoint);
        }
    }
}

// While objects are collected nothing of Ruby's may be called: these only count.

extern "C" fn start(_: Value, _: *mut c_void) {
    if let Some(area) = area() {
        area.head.gc_count.fetch_add(1, Relaxed);
    }
}

extern "C" fn enter(_: Value, _: *mut c_void) {
    if let Some(area) = area() {
        area.head.gc_began.store(now(), Relaxed);
    }
}

extern "C" fn exit(_: Value, _: *mut c_void) {
    let Some(area) = area() else { return };
    let began = area.head.gc_began.swap(0, Relaxed);
    if began != 0 {
        let time = now().saturating_sub(began);
        area.head.gc_time.fetch_add(time, Relaxed);
        area.head.gc_longest.fetch_max(time, Relaxed);
    }
}
