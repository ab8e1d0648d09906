//! Transferring to fibers without paying for `protect` each time: it takes longer than the
//! transfer itself.
#![allow(unsafe_code)]

use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

use ::rb_sys::rb_fiber_transfer;
use magnus::fiber::Fiber;
use magnus::rb_sys::{self, protect, resume_error, AsRawValue, FromRawValue};
use magnus::{prelude::*, Error, Ruby, Value};

/// Transfers to the fibers that `next` names, one after the other, until it names none. An exception in one of
/// them ends it.
pub fn transfer_each(ruby: &Ruby, mut next: impl FnMut() -> Option<Fiber>) -> Result<(), Error> {
    let mut panicked = None;
    // A raise jumps out of this closure, which owns nothing. A panic must not leave it, as the
    // frame below is C.
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
            // SAFETY: a fiber, and no arguments; `protect` catches a raise.
            unsafe { rb_fiber_transfer(fiber, 0, std::ptr::null()) };
        }
        ruby.qnil().as_raw()
    })?;
    match panicked {
        Some(panic) => resume_unwind(panic),
        None => Ok(()),
    }
}

/// Transfers to the fiber that `choose` names, as the last thing that a method does: what comes back
/// is its value, and what is raised in it goes on by itself. nil at once when none is named.
///
/// # Safety
///
/// For functions that Ruby calls, with the GVL. A raise jumps over the caller's frame: it must own
/// nothing.
pub unsafe fn transfer_last(choose: impl FnOnce(&Ruby) -> Result<Option<Fiber>, Error>) -> Value {
    // SAFETY: the GVL is held.
    let ruby = unsafe { Ruby::get_unchecked() };
    let chosen = rb_sys::catch_unwind(AssertUnwindSafe(|| choose(&ruby))).and_then(|chosen| chosen);
    let fiber = match chosen {
        Ok(Some(fiber)) => fiber.as_raw(),
        Ok(None) => return ruby.qnil().as_value(),
        // SAFETY: what this frame owns goes with it.
        Err(error) => unsafe { resume_error(error) },
    };
    // SAFETY: a fiber, and no arguments. Nothing that would have to be dropped is left here.
    unsafe { Value::from_raw(rb_fiber_transfer(fiber, 0, std::ptr::null())) }
}
