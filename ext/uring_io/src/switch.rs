//! Transferring to fibers without paying for `protect` each time: it takes longer than the
//! transfer itself.
#![allow(unsafe_code)]

use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

use magnus::fiber::Fiber;
use magnus::rb_sys::{protect, AsRawValue};
use magnus::{Error, Ruby};
use rb_sys::rb_fiber_transfer;

/// Transfers to the fibers that `next` names, one after the other, until it names none. What is
/// raised in one of them ends it.
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
