//! The duty of a fiber that stops waiting for a Mutex.
#![allow(unsafe_code)]

use magnus::rb_sys::{protect, AsRawValue};
use magnus::{prelude::*, Error, RClass, Ruby, Value};

use crate::hooks::remembered;
use crate::ruby::closers;

/// Makes the next fiber or thread in line try for a free Mutex. The current fiber stops waiting for the Mutex, maybe
/// after Ruby has woken it to take the Mutex. Ruby wakes only one waiter (thread_sync.c, rb_mutex_unlock_th), so
/// without this the others would wait for ever.
pub fn hand_on(ruby: &Ruby, blocker: Value) -> Result<(), Error> {
    let mutex_class: RClass = ruby.class_thread().const_get("Mutex")?;
    if !closers::is_hidden(blocker) && blocker.is_kind_of(mutex_class) {
        // SAFETY: `blocker` is a Mutex. `protect` catches a raise.
        protect(|| unsafe {
            if rb_sys::rb_mutex_trylock(blocker.as_raw()) == ruby.qtrue().as_raw() {
                rb_sys::rb_mutex_unlock(blocker.as_raw());
            }
            blocker.as_raw()
        })?;
        // The unlock may have woken the current fiber itself.
        remembered::forget(ruby, ruby.fiber_current());
    }
    Ok(())
}
