//! Blocking work that Ruby hands over, to be done without the GVL: `Fiber::Scheduler#blocking_operation_wait`.
//!
//! From Ruby 4.0 on such work has a C interface of its own (include/ruby/fiber/scheduler.h), which can also end the
//! work. A Ruby thread must execute it: Ruby looks up the function that ends it in the calling thread.
#![allow(unsafe_code)]

use magnus::{prelude::*, Error, Ruby, Value};

/// Does the work in the calling thread, which must be a Ruby thread other than the scheduler's.
pub fn execute(ruby: &Ruby, work: Value) -> Result<(), Error> {
    #[cfg(ruby_gte_4_0)]
    if let Some(operation) = operation::Handle::of(work) {
        while !operation.execute(ruby) {
            ruby.thread_check_ints()?;
        }
        return Ok(());
    }
    let _ = ruby;
    work.funcall::<_, _, Value>("call", ()).map(|_| ())
}

/// Asks the work to end, while [`execute`] does it or is about to do it. Below Ruby 4.0 nothing can end it.
pub fn cancel(work: Value) {
    #[cfg(ruby_gte_4_0)]
    if let Some(operation) = operation::Handle::of(work) {
        operation.cancel(&Ruby::get_with(work));
    }
    let _ = work;
}

/// Prepares the count that the threads of each Ractor share, before there is a second Ractor.
pub fn init() {
    #[cfg(ruby_gte_4_0)]
    operation::CANCELLING.init();
}

#[cfg(ruby_gte_4_0)]
mod operation {
    use std::ffi::{c_int, c_void};
    use std::sync::atomic::{AtomicU32, Ordering};

    use magnus::rb_sys::{protect, AsRawValue};
    use magnus::{Ruby, Value};
    use rb_sys::{rb_nogvl, RB_NOGVL_INTR_FAIL};

    use crate::ruby::ractors::Local;

    /// How many threads of the Ractor are about to cancel work.
    pub static CANCELLING: Local<AtomicU32> = Local::new();

    #[repr(C)]
    struct Opaque {
        _private: [u8; 0],
    }

    extern "C" {
        fn rb_fiber_scheduler_blocking_operation_extract(object: rb_sys::VALUE) -> *mut Opaque;
        fn rb_fiber_scheduler_blocking_operation_execute(operation: *mut Opaque) -> c_int;
        fn rb_fiber_scheduler_blocking_operation_cancel(operation: *mut Opaque) -> c_int;
    }

    /// The work behind one of Ruby's objects. It lives as long as the object, and the fiber that waits for the work
    /// keeps the object alive.
    pub struct Handle(*mut Opaque);

    impl Handle {
        /// `None` for an object that has only `call`.
        pub fn of(work: Value) -> Option<Self> {
            let mut handle = std::ptr::null_mut();
            // SAFETY: any object may be passed. One of another class raises TypeError, which `protect` catches.
            let extracted = protect(|| unsafe {
                handle = rb_fiber_scheduler_blocking_operation_extract(work.as_raw());
                work.as_raw()
            });
            extracted.ok().map(|_| Self(handle))
        }

        /// Executes the work without the GVL, unless somebody has cancelled it. Returns false, without touching the
        /// work, if an interrupt is pending for this thread.
        pub fn execute(&self, ruby: &Ruby) -> bool {
            struct Execution<'a>(*mut Opaque, &'a AtomicU32);

            unsafe extern "C" fn enter(execution: *mut c_void) -> *mut c_void {
                // SAFETY: `execution` is the local of `execute`, which does not return before this does.
                let Execution(operation, cancelling) = unsafe { &*execution.cast() };
                // SAFETY: the handle is alive, see `Handle`, and this is a Ruby thread.
                unsafe { rb_fiber_scheduler_blocking_operation_execute(*operation) };
                // The cancelling thread puts this thread on a list: Ruby sends signals to the threads on it until
                // they come back (thread_pthread.c, ubf_select). When this thread leaves here, Ruby takes it off the
                // list. So it must be on the list by then. Added later, it would stay there beyond its end, and Ruby
                // would crash.
                while cancelling.load(Ordering::SeqCst) > 0 {
                    std::thread::yield_now();
                }
                execution
            }

            // Only threads of the same Ractor cancel this work.
            let mut execution = Execution(self.0, CANCELLING.of(ruby));
            // SAFETY: `enter` gets a local that outlives the call. It needs no function that unblocks it: only giving
            // up the pool interrupts this thread.
            let entered = unsafe {
                rb_nogvl(
                    Some(enter),
                    (&raw mut execution).cast(),
                    None,
                    std::ptr::null_mut(),
                    RB_NOGVL_INTR_FAIL as i32,
                )
            };
            !entered.is_null()
        }

        pub fn cancel(&self, ruby: &Ruby) {
            let cancelling = CANCELLING.of(ruby);
            cancelling.fetch_add(1, Ordering::SeqCst);
            // SAFETY: the handle is alive, see `Handle`. The function does nothing to work that has ended, and
            // neither raises nor waits.
            unsafe { rb_fiber_scheduler_blocking_operation_cancel(self.0) };
            cancelling.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
