//! How long each thread waits for the GVL, by Ruby's own events (thread.h).
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use crate::area::{area, now, Area, Thread, THREADS};
use crate::ruby::{
    rb_internal_thread_add_event_hook, rb_internal_thread_specific_get,
    rb_internal_thread_specific_key_create, rb_internal_thread_specific_set, EventData, Value,
    EXITED, READY, RESUMED,
};

/// Where a Ruby thread keeps the number of its place, and 1.
static KEY: AtomicI32 = AtomicI32::new(0);

/// Called while the program has one thread.
pub fn init() {
    // SAFETY: with the GVL, in the main Ractor. The hook stays for as long as the process.
    unsafe {
        KEY.store(rb_internal_thread_specific_key_create(), Relaxed);
        rb_internal_thread_add_event_hook(hook, READY | RESUMED | EXITED, null_mut());
    }
}

/// Ruby calls this without the GVL: it must call nothing of Ruby's but what thread.h allows.
extern "C" fn hook(event: u32, data: *const EventData, _: *mut c_void) {
    let Some(area) = area() else { return };
    // SAFETY: Ruby's own data, for as long as this call.
    let thread = unsafe { (*data).thread };
    let Some(place) = place(area, thread) else {
        return;
    };
    match event {
        // A thread that is ready has waited since the first time.
        READY => drop(place.ready.compare_exchange(0, now(), Relaxed, Relaxed)),
        RESUMED => {
            let since = place.ready.swap(0, Relaxed);
            if since != 0 {
                place.gvl.add(now().saturating_sub(since));
            }
            // It is the thread itself that calls.
            if place.id.load(Relaxed) == 0 {
                // SAFETY: it takes nothing.
                place.id.store(unsafe { libc::gettid() } as u64, Relaxed);
            }
        }
        _ => {
            place.ready.store(0, Relaxed);
            place.ended.store(1, Relaxed);
            set(thread, 0);
        }
    }
}

fn key() -> c_int {
    KEY.load(Relaxed)
}

fn set(thread: Value, number: usize) {
    // SAFETY: a thread that is alive, as Ruby has just told of it; thread.h allows this without the GVL.
    unsafe { rb_internal_thread_specific_set(thread, key(), number as *mut c_void) }
}

/// The place of a thread, which it gets when it is first told of. None while more threads live than have room.
fn place(area: &'static Area, thread: Value) -> Option<&'static Thread> {
    // SAFETY: as in `set`.
    let number = unsafe { rb_internal_thread_specific_get(thread, key()) } as usize;
    if number > 0 {
        return area.threads.get(number - 1);
    }
    let next = area.head.threads.fetch_add(1, Relaxed);
    let place = if next < THREADS { next } else { reused(area)? };
    set(thread, place + 1);
    area.threads.get(place)
}

/// The place of a thread that has ended. Its waits go to the sum of those before.
fn reused(area: &Area) -> Option<usize> {
    let found = area
        .threads
        .iter()
        .position(|place| place.ended.compare_exchange(1, 0, Relaxed, Relaxed).is_ok())?;
    let place = &area.threads[found];
    let earlier = &area.head.earlier;
    earlier
        .count
        .fetch_add(place.gvl.count.swap(0, Relaxed), Relaxed);
    earlier
        .time
        .fetch_add(place.gvl.time.swap(0, Relaxed), Relaxed);
    earlier
        .longest
        .fetch_max(place.gvl.longest.swap(0, Relaxed), Relaxed);
    place.id.store(0, Relaxed);
    Some(found)
}
