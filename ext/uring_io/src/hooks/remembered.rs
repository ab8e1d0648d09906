//! Keeps an `unblock` that comes before its `block`.
//!
//! CRuby adds a fiber to the list of those who wait for a Mutex or Queue, and then calls the hook `block`. A
//! scheduler of the program may do something in between: a subclass of ours may write a log in `block`, or run
//! something else first in `kernel_sleep`. If the wakeup comes in that time, we keep it with the fiber until the
//! fiber gets to its wait, because CRuby sends no other one (thread_sync.c, sync_wakeup).
//!
//! A kept wakeup must never end another wait. CRuby takes the end of `block` for a timeout in Thread#join (thread.c,
//! thread_join_sleep), and a plain sleep has to last. But a wakeup can be left over: CRuby may send it to a fiber
//! that a timeout or an exception has just taken out of its wait. So it ends only these kinds of wait:
//!
//! - A `block` for the same object. A wakeup that was left over does no harm there: Mutex#lock and the queues check
//!   in a loop whether they have what they wait for.
//! - A `block` for a thread that has ended, because nobody has to wait for that. Its wakeup names the thread that
//!   joins (thread.c, rb_threadptr_join_list_wakeup).
//! - A sleep with a Mutex, as in Mutex#sleep, which may end early according to its documentation.
//!   ConditionVariable#wait sleeps like this, and its wakeups name the Mutex. IO#close does so in a loop while it
//!   waits for the users of the IO. Its wakeups name the IO, or up to Ruby 3.4 the closing thread. The hook
//!   `kernel_sleep` does not get the object.
//!
//! A kept wakeup stays while the fiber does other things, such as writing that log. Each fiber has one at most, the
//! latest, in an instance variable. The GC marks it, and it goes with the fiber.
#![allow(unsafe_code)]

use magnus::fiber::Fiber;
use magnus::rb_sys::{protect, AsRawId, AsRawValue, FromRawValue};
use magnus::value::{LazyId, ReprValue};
use magnus::{prelude::*, RArray, RClass, Ruby, Value};

use crate::ruby::caller;
use crate::ruby::closers::is_hidden;

/// This is no valid name of a variable, so Ruby code cannot reach it.
static WAKEUP: LazyId = LazyId::new("uring_io_wakeup");

/// Keeps a wakeup for a fiber that does not wait for one yet. It raises nothing, because Ruby may call `unblock`
/// anywhere.
pub fn keep(ruby: &Ruby, fiber: Fiber, blocker: Value) {
    if fiber.is_alive() && !fiber.is_frozen() {
        set(ruby, fiber, ruby.ary_new_from_values(&[blocker]).as_value());
    }
}

/// Forgets the wakeup that we keep for a fiber.
pub fn forget(ruby: &Ruby, fiber: Fiber) {
    if of(ruby, fiber).is_some() {
        set(ruby, fiber, ruby.qnil().as_value());
    }
}

/// Takes the wakeup that we keep for the current fiber, if it is for the wait that the fiber is about to begin: for
/// `blocker`, or for an unknown object. Returns whether there was one.
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

/// Whether the object is a thread that has ended.
fn is_over(ruby: &Ruby, blocker: Value) -> bool {
    !is_hidden(blocker)
        && blocker.is_kind_of(ruby.class_thread())
        && blocker
            .funcall("alive?", ())
            .is_ok_and(|alive: bool| !alive)
}

/// Whether CRuby may name this object when it wakes a fiber that sleeps with a Mutex.
fn wakes_sleepers(ruby: &Ruby, blocker: Value) -> bool {
    if is_hidden(blocker) {
        return false;
    }
    let mutex = ruby.class_thread().const_get::<_, RClass>("Mutex");
    mutex.is_ok_and(|mutex| blocker.is_kind_of(mutex))
        || blocker.is_kind_of(ruby.class_thread())
        || blocker.is_kind_of(ruby.class_io())
}

/// The object that the kept wakeup names.
fn of(ruby: &Ruby, fiber: Fiber) -> Option<Value> {
    let name = LazyId::get_inner_with(&WAKEUP, ruby);
    // SAFETY: reads a variable of an object that is alive, or nil if there is none.
    let kept = unsafe { Value::from_raw(rb_sys::rb_attr_get(fiber.as_raw(), name.as_raw())) };
    RArray::from_value(kept)?.entry(0).ok()
}

fn set(ruby: &Ruby, fiber: Fiber, value: Value) {
    let name = LazyId::get_inner_with(&WAKEUP, ruby);
    // SAFETY: sets a variable of an object that is alive and not frozen. `protect` catches a raise.
    let _ =
        protect(|| unsafe { rb_sys::rb_ivar_set(fiber.as_raw(), name.as_raw(), value.as_raw()) });
}

/// Makes the name, before there is a second Ractor.
pub fn init(ruby: &Ruby) {
    LazyId::force(&WAKEUP, ruby);
}
