//! The duty of a fiber that stops waiting for a Mutex.
#![allow(unsafe_code)]

use magnus::rb_sys::{protect, AsRawValue};
use magnus::{prelude::*, Error, RClass, Ruby, Value};

use crate::hooks::remembered;
use crate::ruby::closers;

/// Makes the next fiber or thread in line try for a free Mutex. The caller gives up waiting for it, maybe after
/// Ruby has woken it to take the Mutex. Ruby wakes only one waiter (thread_sync.c, rb_mutex_unlock_th), and the
/// others would wait for ever.
pub fn hand_on(ruby: &Ruby, blocker: Value) -> Result<(), Error> {
    let mutex_class: RClass = ruby.class_thread().const_get("Mutex")?;
    if !closers::is_hidden(blocker) && blocker.is_kind_of(mutex_class) {
        // SAFETY: `blocker` is a Mutex; what raises is caught by `protect`.
        protect(|| unsafe {
            if rb_sys::rb_mutex_trylock(blocker.as_raw()) == ruby.qtrue().as_raw() {
                rb_sys::rb_mutex_unlock(blocker.as_raw());
            }
            blocker.as_raw()
        })?;
        // The caller may have been the next one itself.
        remembered::forget(ruby, ruby.fiber_current());
    }
    Ok(())
}
