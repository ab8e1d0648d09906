//! An `unblock` that comes before its `block`.
//!
//! CRuby puts a fiber on the list of those who wait for a Mutex or Queue, and calls the hook `block` then. A
//! scheduler of the program's own may do something in between: a subclass of ours whose `block` writes a
//! log, or whose `kernel_sleep` runs something else first. The wakeup that comes meanwhile is kept with the
//! fiber until it gets to its wait, because CRuby sends no other one (thread_sync.c, sync_wakeup).
//!
//! It must never end another wait: CRuby takes the end of `block` for a timeout in Thread#join (thread.c,
//! thread_join_sleep), and a plain sleep has to last. A wakeup can be left over: when it is sent to a fiber
//! that a timeout or an exception has taken out of its wait before. So it is for these kinds of wait only:
//!
//! - A `block` for the same object. Where one is left over, it does no harm there. Mutex#lock and the queues
//!   look again in a loop whether they have what they wait for.
//! - A `block` for a thread that has ended, which nobody has to wait for. Its wakeup names the thread that joins
//!   (thread.c, rb_threadptr_join_list_wakeup).
//! - Mutex#sleep, which may end early as its documentation says. ConditionVariable#wait rests on it (its
//!   wakeups name the Mutex), and so does IO#close where it waits for those who use the IO (they name the
//!   IO, and the closing thread up to Ruby 3.4), in a loop. The hook `kernel_sleep` is not told the object.
//!
//! It waits while the fiber does other things, such as writing that log. There is one for each fiber, the
//! latest. It is an instance variable of the fiber, which the GC marks, and which goes with the fiber.
#![allow(unsafe_code)]

use magnus::fiber::Fiber;
use magnus::rb_sys::{protect, AsRawId, AsRawValue, FromRawValue};
use magnus::value::{LazyId, ReprValue};
use magnus::{prelude::*, RArray, RClass, Ruby, Value};

use crate::ruby::caller;
use crate::ruby::closers::is_hidden;

/// No name of a variable, so that nobody else gets at it.
static WAKEUP: LazyId = LazyId::new("uring_io_wakeup");

/// Keeps a wakeup for a fiber that is not in a wait for one. It raises nothing: `unblock` may be called
/// anywhere.
pub fn keep(ruby: &Ruby, fiber: Fiber, blocker: Value) {
    if fiber.is_alive() && !fiber.is_frozen() {
        set(ruby, fiber, ruby.ary_new_from_values(&[blocker]).as_value());
    }
}

/// Forgets what was kept for a fiber.
pub fn forget(ruby: &Ruby, fiber: Fiber) {
    if of(ruby, fiber).is_some() {
        set(ruby, fiber, ruby.qnil().as_value());
    }
}

/// Takes what was kept for the current fiber, if it is for the wait that the fiber is about to begin: for
/// this object, or for one that nobody knows. Whether there was something.
pub fn take(ruby: &Ruby, blocker: Option<Value>) -> bool {
    let fiber = ruby.fiber_current();
    let Some(kept) = of(ruby, fiber) else {
        return false;
    };
    let is_for_it = match blocker {
        Some(blocker) => blocker.as_raw() == kept.as_raw() || is_over(ruby, blocker),
        None => false,
    } || (wakes_sleepers(ruby, kept) && caller::sleeps_with_mutex());
    if is_for_it {
        set(ruby, fiber, ruby.qnil().as_value());
    }
    is_for_it
}

/// Whether it is a thread that has ended.
fn is_over(ruby: &Ruby, blocker: Value) -> bool {
    !is_hidden(blocker)
        && blocker.is_kind_of(ruby.class_thread())
        && blocker
            .funcall("alive?", ())
            .is_ok_and(|alive: bool| !alive)
}

/// Whether CRuby names such an object when it wakes whoever sleeps with a Mutex.
fn wakes_sleepers(ruby: &Ruby, blocker: Value) -> bool {
    if is_hidden(blocker) {
        return false;
    }
    let mutex = ruby.class_thread().const_get::<_, RClass>("Mutex");
    mutex.is_ok_and(|mutex| blocker.is_kind_of(mutex))
        || blocker.is_kind_of(ruby.class_thread())
        || blocker.is_kind_of(ruby.class_io())
}

/// The object of the wakeup that was kept.
fn of(ruby: &Ruby, fiber: Fiber) -> Option<Value> {
    let name = LazyId::get_inner_with(&WAKEUP, ruby);
    // SAFETY: reads a variable of an object that is alive; it is nil when there is none.
    let kept = unsafe { Value::from_raw(rb_sys::rb_attr_get(fiber.as_raw(), name.as_raw())) };
    RArray::from_value(kept)?.entry(0).ok()
}

fn set(ruby: &Ruby, fiber: Fiber, value: Value) {
    let name = LazyId::get_inner_with(&WAKEUP, ruby);
    // SAFETY: sets a variable of an object that is alive and not frozen; what raises is caught.
    let _ =
        protect(|| unsafe { rb_sys::rb_ivar_set(fiber.as_raw(), name.as_raw(), value.as_raw()) });
}

/// Makes the name, before there is another Ractor.
pub fn init(ruby: &Ruby) {
    LazyId::force(&WAKEUP, ruby);
}
