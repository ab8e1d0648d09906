//! Fibers that are in Ruby's own close, and the Mutex that they need there.
//!
//! Up to Ruby 3.4, a close waits for the threads that are in a system call on the descriptor, with a Mutex that nobody
//! else knows. Under a scheduler such a thread leaves the Mutex locked: see [`after_unblock`].
#![allow(unsafe_code)]

use std::cell::RefCell;
#[cfg(ruby_lt_4_0)]
use std::time::{Duration, Instant};

#[cfg(ruby_lt_4_0)]
use magnus::{fiber::Fiber, prelude::*, rb_sys::protect};
use magnus::{rb_sys::AsRawValue, Error, Ruby, Value};
use rb_sys::VALUE;

#[cfg(ruby_lt_4_0)]
use crate::ruby::gvl;
use crate::ruby::ractors::Local;

/// A fiber in Ruby's own close, and the Mutex that it waits for there.
struct Closer {
    fiber: VALUE,
    #[cfg_attr(
        not(ruby_lt_4_0),
        expect(dead_code, reason = "nobody has to unlock it")
    )]
    mutex: Option<VALUE>,
}

static CLOSERS: Local<RefCell<Vec<Closer>>> = Local::new();

/// Calls `close`. Until it returns, the current fiber is in the list of closers.
pub fn during(ruby: &Ruby, close: impl FnOnce() -> Result<Value, Error>) -> Result<Value, Error> {
    let fiber = ruby.fiber_current();
    let known = CLOSERS.of(ruby);
    known.borrow_mut().push(Closer {
        fiber: fiber.as_raw(),
        mutex: None,
    });
    let result = close();
    let mut known = known.borrow_mut();
    if let Some(place) = known.iter().rposition(|it| it.fiber == fiber.as_raw()) {
        known.swap_remove(place);
    }
    result
}

/// Whether an object is one of Ruby's own that has no class: nobody may call a method of it.
pub fn is_hidden(object: Value) -> bool {
    // SAFETY: any value may be tested for its type, and a T_DATA is an object with a header.
    unsafe {
        let is_data = rb_sys::RB_TYPE_P(object.as_raw(), rb_sys::ruby_value_type::RUBY_T_DATA);
        is_data && (*(object.as_raw() as *const rb_sys::RBasic)).klass == 0
    }
}

/// Called when the current fiber is about to wait for `blocker`. If the fiber is in Ruby's own close, that may be the
/// Mutex that nobody else knows: see [`after_unblock`].
#[cfg(ruby_lt_4_0)]
pub fn before_block(ruby: &Ruby, blocker: Value) {
    let known = CLOSERS.of(ruby);
    if known.borrow().is_empty() {
        return;
    }
    let is_hidden = is_hidden(blocker);
    let fiber = ruby.fiber_current().as_raw();
    let mut closers = known.borrow_mut();
    let closer = closers.iter_mut().find(|closer| closer.fiber == fiber);
    if let Some(closer) = closer.filter(|_| is_hidden) {
        closer.mutex = Some(blocker.as_raw());
    }
}

/// Called when the calling thread has unblocked a fiber of another thread. If that fiber is in IO#close, it waits for
/// the calling thread, in which Ruby has interrupted a system call on the descriptor to raise IOError.
///
/// Up to Ruby 3.4, the calling thread has by now locked a Mutex that the fiber needs next. It raises the IOError before
/// it unlocks the Mutex (thread.c, thread_io_wake_pending_closer; scheduler.c, rb_fiber_scheduler_unblock), and nobody
/// else ever unlocks it. So this function does that, as soon as the fiber has noted which Mutex it waits for.
#[cfg(ruby_lt_4_0)]
pub fn after_unblock(ruby: &Ruby, blocker: Value, fiber: Fiber) {
    let known = CLOSERS.of(ruby);
    let is_from_close =
        |blocker: Value| !is_hidden(blocker) && blocker.is_kind_of(ruby.class_thread());
    if known.borrow().is_empty() || !is_from_close(blocker) {
        return;
    }
    let fiber = fiber.as_raw();
    // The fiber notes its Mutex as soon as its thread runs, unless that thread blocks outside of its scheduler.
    const PATIENCE: Duration = Duration::from_secs(60);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let closers = known.borrow();
        let closer = closers.iter().find(|closer| closer.fiber == fiber);
        let (is_closer, mutex) = (closer.is_some(), closer.and_then(|closer| closer.mutex));
        drop(closers);
        if !is_closer {
            return;
        }
        if let Some(mutex) = mutex {
            // SAFETY: the fiber waits for this Mutex and keeps it alive until it has it. If the caller does not own the
            // Mutex, rb_mutex_unlock raises, and `protect` catches that.
            let _ = protect(|| unsafe { rb_sys::rb_mutex_unlock(mutex) });
            return;
        }
        // Ruby defers interrupts during this hook.
        if gvl::sleep().is_err() {
            return;
        }
    }
}

/// Makes the key of the closers, before there is another Ractor.
pub fn init() {
    CLOSERS.init();
}
