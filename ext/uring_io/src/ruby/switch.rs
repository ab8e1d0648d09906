//! Transfers to fibers without a `protect` for each, because `protect` takes longer than the transfer itself.
#![allow(unsafe_code)]

use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

use ::rb_sys::rb_fiber_transfer;
use magnus::fiber::Fiber;
use magnus::rb_sys::{self, protect, resume_error, AsRawValue, FromRawValue};
use magnus::{prelude::*, Error, Ruby, Value};

/// Transfers to the fibers that `next` returns, one after the other, until it returns none or one of them raises.
pub fn transfer_each(ruby: &Ruby, mut next: impl FnMut() -> Option<Fiber>) -> Result<(), Error> {
    let mut panicked = None;
    // An exception jumps out of this closure, which owns nothing. A panic must not leave it: the frame below is C.
    protect(|| {
        loop {
            let fiber = match catch_unwind(AssertUnwindSafe(&mut next)) {
                Ok(Some(fiber)) => fiber.as_raw(),
                Ok(None) => break,
                Err(panic) => {
                    panicked = Some(panic);
                    break;
                }
            };
            // SAFETY: `fiber` is a Fiber, and there are no arguments. `protect` catches exceptions.
            unsafe { rb_fiber_transfer(fiber, 0, std::ptr::null()) };
        }
        ruby.qnil().as_raw()
    })?;
    match panicked {
        Some(panic) => resume_unwind(panic),
        None => Ok(()),
    }
}

/// Transfers to the fiber that `choose` returns, as the last step of a method. Returns the value that comes back; an
/// exception goes on to the caller of the method. Returns nil at once when `choose` returns none.
///
/// # Safety
///
/// Only a function that Ruby calls with the GVL may call this. An exception jumps over the frame of that function, so
/// it must own nothing.
pub unsafe fn transfer_last(choose: impl FnOnce(&Ruby) -> Result<Option<Fiber>, Error>) -> Value {
    // SAFETY: the caller has the GVL.
    let ruby = unsafe { Ruby::get_unchecked() };
    let chosen = rb_sys::catch_unwind(AssertUnwindSafe(|| choose(&ruby))).and_then(|chosen| chosen);
    let fiber = match chosen {
        Ok(Some(fiber)) => fiber.as_raw(),
        Ok(None) => return ruby.qnil().as_value(),
        // SAFETY: this frame owns only the error, and passes it on.
        Err(error) => unsafe { resume_error(error) },
    };
    // SAFETY: `fiber` is a Fiber, and there are no arguments. This frame has nothing left to drop, so an exception may
    // jump over it.
    unsafe { Value::from_raw(rb_fiber_transfer(fiber, 0, std::ptr::null())) }
}
