//! The part of the profiler that runs in the Ruby that it looks at (docs/profile.md). It counts in a mapped
//! file, and does nothing else: no thread, no descriptor, no signal handler.
#![allow(unsafe_code)]

mod area;
mod gc;
mod gvl;
mod ruby;
mod waits;

use std::cell::Cell;
use std::ffi::{c_int, c_void, CStr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use area::{area, now};
use ruby::{
    fixnum, number, rb_define_module, rb_define_singleton_method, rb_errinfo, rb_ext_ractor_safe,
    rb_intern, rb_io_descriptor, rb_obj_frozen_p, rb_protect, rb_set_errinfo, rb_string_value_cstr,
    rb_thread_current, rb_thread_local_aref, rb_thread_local_aset, Id, Value, FALSE, NIL, TRUE,
};

/// Bits for the nanoseconds since `BASE`: 13 days.
const TIME: u32 = 50;
/// How often the numbers of a scheduler are asked for, in nanoseconds.
const INTERVAL: u64 = 100_000_000;

static BASE: AtomicU64 = AtomicU64::new(0);
/// Set in a fiber while it waits: a hook may call another one.
static WAITS: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The counts of this thread's scheduler when we last asked for them.
    static LAST: Cell<[u64; 7]> = const { Cell::new([0; 7]) };
}

/// Begins to count. False when the folder cannot be written.
extern "C" fn install(_: Value, mut folder: Value) -> Value {
    // SAFETY: with the GVL; the argument is a String, which stays on the caller's stack.
    let folder = unsafe { CStr::from_ptr(rb_string_value_cstr(&raw mut folder)) };
    if !area::open(folder.to_bytes()) {
        return FALSE;
    }
    BASE.store(now(), Relaxed);
    gvl::init();
    gc::init();
    TRUE
}

/// A fiber is about to wait. Answers what `leave` is to be given.
extern "C" fn enter(_: Value, kind: Value, io: Value) -> Value {
    let Some(area) = area() else { return fixnum(0) };
    if !mark() {
        return fixnum(0);
    }
    let kind = number(kind);
    // SAFETY: errno is this thread's own.
    let errno = unsafe { *libc::__errno_location() };
    let place = match kind {
        waits::SOCKET if io != NIL => descriptor(io).map(|file| waits::of_file(area, file)),
        _ => None,
    };
    let place = place.unwrap_or_else(|| waits::of_kind(area, kind));
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    let waiting = area.head.fibers.fetch_add(1, Relaxed) + 1;
    area.head.fibers_most.fetch_max(waiting, Relaxed);
    let since = now().saturating_sub(BASE.load(Relaxed)) & ((1 << TIME) - 1);
    fixnum(1 << (TIME + 8) | (place as u64) << TIME | since)
}

/// The wait is over. True when the scheduler is to be asked for its numbers.
extern "C" fn leave(_: Value, entered: Value) -> Value {
    let entered = number(entered);
    if entered == 0 {
        return FALSE;
    }
    // SAFETY: with the GVL, in the fiber that has set it.
    unsafe { rb_thread_local_aset(rb_thread_current(), WAITS.load(Relaxed), NIL) };
    let Some(area) = area() else { return FALSE };
    let now = now();
    let since = BASE.load(Relaxed) + (entered & ((1 << TIME) - 1));
    // Otherwise a child was forked meanwhile, and it is the parent's wait.
    if since >= area.head.began.load(Relaxed) {
        let lessen = |waiting: u64| waiting.checked_sub(1);
        let _ = area.head.fibers.fetch_update(Relaxed, Relaxed, lessen);
        waits::add((entered >> TIME) as usize & 0xff, now.saturating_sub(since));
    }
    if now.saturating_sub(ASKED.load(Relaxed)) < INTERVAL {
        return FALSE;
    }
    ASKED.store(now, Relaxed);
    TRUE
}

/// Marks the fiber as one that waits; false when it is.
fn mark() -> bool {
    let id: Id = WAITS.load(Relaxed);
    // SAFETY: with the GVL. It is a variable of the current fiber.
    unsafe {
        let thread = rb_thread_current();
        if rb_thread_local_aref(thread, id) != NIL || rb_obj_frozen_p(thread) != FALSE {
            return false;
        }
        rb_thread_local_aset(thread, id, TRUE);
    }
    true
}

/// The number of an IO; none when it is closed.
fn descriptor(io: Value) -> Option<c_int> {
    extern "C" fn ask(io: Value) -> Value {
        // SAFETY: within rb_protect, as it raises for a closed IO.
        fixnum(unsafe { rb_io_descriptor(io) } as u64)
    }
    let mut state = 0;
    // SAFETY: with the GVL; the IO stays on the caller's stack. An exception from before stays in place.
    unsafe {
        let error = rb_errinfo();
        let found = rb_protect(ask, io, &raw mut state);
        if state != 0 {
            rb_set_errinfo(error);
            return None;
        }
        Some(number(found) as c_int)
    }
}

/// The name of the scheduler's class.
extern "C" fn scheduler(_: Value, mut name: Value) -> Value {
    let Some(area) = area() else { return NIL };
    // SAFETY: with the GVL; the argument is a String, which stays on the caller's stack.
    let name = unsafe { CStr::from_ptr(rb_string_value_cstr(&raw mut name)) }.to_bytes();
    for (place, bytes) in area.head.scheduler.iter().zip(name.chunks(8)) {
        let mut part = [0; 8];
        part[..bytes.len()].copy_from_slice(bytes);
        place.store(u64::from_ne_bytes(part), Relaxed);
    }
    NIL
}

/// Adds what a scheduler has counted since it was last asked. The counts only grow: smaller ones are
/// another scheduler's.
extern "C" fn stats(count: c_int, values: *const Value, _: Value) -> Value {
    let Some(area) = area() else { return NIL };
    // SAFETY: Ruby's arguments, so many of them.
    let values = unsafe { std::slice::from_raw_parts(values, count.max(0) as usize) };
    let mut present = [0; 7];
    present
        .iter_mut()
        .zip(values)
        .for_each(|(place, value)| *place = number(*value));
    let last = LAST.replace(present);
    let is_another = present
        .iter()
        .zip(&last)
        .take(5)
        .any(|(present, last)| present < last);
    for ((sum, present), last) in area.head.stats.iter().zip(present).zip(last) {
        let before = if is_another { 0 } else { last };
        sum.fetch_add(present.saturating_sub(before), Relaxed);
    }
    NIL
}

/// Called by Ruby when it has loaded this file.
#[no_mangle]
pub extern "C" fn Init_uring_io_agent() {
    let methods: [(&CStr, *const c_void, c_int); 5] = [
        (c"install", install as *const c_void, 1),
        (c"enter", enter as *const c_void, 2),
        (c"leave", leave as *const c_void, 1),
        (c"scheduler", scheduler as *const c_void, 1),
        (c"stats", stats as *const c_void, -1),
    ];
    // SAFETY: with the GVL. Each function takes as many values as is said here.
    unsafe {
        rb_ext_ractor_safe(true);
        WAITS.store(rb_intern(c"uring_io_profile_waits".as_ptr()), Relaxed);
        let module = rb_define_module(c"UringIOProfileAgent".as_ptr());
        for (name, function, arity) in methods {
            rb_define_singleton_method(module, name.as_ptr(), function, arity);
        }
    }
}
