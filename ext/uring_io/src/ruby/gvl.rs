//! Waiting without the GVL, so that other Ruby threads run meanwhile.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rb_sys::{rb_nogvl, RB_NOGVL_INTR_FAIL, RB_NOGVL_UBF_ASYNC_SAFE};
use uring_io_core::{Children, Direction, Driver, LentBuffer, Result, Target, Transfer, Waker};

struct Wait<'a, P> {
    driver: &'a Driver<P>,
    timeout: Option<Duration>,
    /// Set when the wait was really made: Ruby skips it when an interrupt is pending.
    result: Option<Result<()>>,
}

/// Waits in the driver with the GVL released. `None` means that Ruby skipped the wait because an
/// interrupt was pending. Raises nothing: the caller looks at pending interrupts.
pub fn wait<P>(driver: &Driver<P>, timeout: Option<Duration>) -> Option<Result<()>> {
    unsafe extern "C" fn enter<P>(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` is the Wait on the stack of `wait`, which does not return before this
        // does, and which nobody else touches meanwhile.
        let wait = unsafe { &mut *data.cast::<Wait<'_, P>>() };
        let run = std::panic::AssertUnwindSafe(|| wait.driver.wait(wait.timeout));
        wait.result = Some(std::panic::catch_unwind(run).unwrap_or_else(|_| std::process::abort()));
        std::ptr::null_mut()
    }

    unsafe extern "C" fn unblock(data: *mut c_void) {
        // SAFETY: `data` is the waker that `wait` keeps alive; Ruby unregisters this function
        // before `rb_nogvl` returns. Waking is one write(2): safe from any thread or signal.
        let waker = unsafe { &*data.cast::<Waker>() };
        waker.wake();
    }

    let waker = driver.waker();
    let mut wait = Wait {
        driver,
        timeout,
        result: None,
    };
    // From here to the release of the GVL no other thread can run, so none can miss the flag.
    driver.set_waiting(true);
    // SAFETY: both functions are given pointers to locals that outlive the call. The driver is
    // used without the GVL only by Driver::wait, as its documentation allows.
    unsafe {
        rb_nogvl(
            Some(enter::<P>),
            (&raw mut wait).cast(),
            Some(unblock),
            std::sync::Arc::as_ptr(&waker).cast_mut().cast(),
            (RB_NOGVL_INTR_FAIL | RB_NOGVL_UBF_ASYNC_SAFE) as i32,
        );
    }
    driver.set_waiting(false);
    driver.note_back();
    wait.result
}

/// Sleeps for a millisecond, so that other threads run in any case. Fails with an exception that somebody raises in
/// the thread meanwhile. Other fibers do not run: Ruby calls no scheduler for this.
pub fn sleep() -> std::result::Result<(), magnus::Error> {
    let length = rb_sys::timeval {
        tv_sec: 0,
        tv_usec: 1000,
    };
    magnus::rb_sys::protect(|| {
        // SAFETY: takes a length of time; what raises is caught by `protect`.
        unsafe { rb_sys::rb_thread_wait_for(length) };
        rb_sys::Qnil as rb_sys::VALUE
    })
    .map(|_| ())
}

/// Sleeps for a millisecond, so that other threads run. It returns at once when an interrupt is pending. That can be
/// the end of the thread's time slice, so do not call it in a loop without checking for interrupts. Raises nothing.
pub fn pause() {
    const LENGTH: Duration = Duration::from_millis(1);

    unsafe extern "C" fn enter(_: *mut c_void) -> *mut c_void {
        std::thread::sleep(LENGTH);
        std::ptr::dangling_mut()
    }

    // SAFETY: `enter` uses nothing, and what it returns is only compared. With the flag Ruby raises nothing.
    let slept = unsafe {
        rb_nogvl(
            Some(enter),
            std::ptr::null_mut(),
            None,
            std::ptr::null_mut(),
            RB_NOGVL_INTR_FAIL as i32,
        )
    };
    if slept.is_null() {
        std::thread::sleep(LENGTH);
    }
}

/// Reads from a file with the GVL released: bytes, or a negative errno. Nothing ends it, as nothing ends
/// read(2) of a file. Raises nothing.
pub fn read(fd: RawFd, buffer: LentBuffer) -> i32 {
    struct Read {
        transfer: Transfer,
        result: Option<i32>,
    }

    unsafe extern "C" fn enter(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` is the local of `read`, which does not return before this does.
        let read = unsafe { &mut *data.cast::<Read>() };
        read.result = Some(uring_io_core::try_transfer(&read.transfer));
        std::ptr::null_mut()
    }

    let mut read = Read {
        transfer: Transfer {
            direction: Direction::Read,
            fd,
            // Read as it is.
            target: Target::Stream { nonblocking: true },
            buffer,
        },
        result: None,
    };
    // SAFETY: `enter` is given a local that outlives the call and touches nothing of Ruby's.
    unsafe {
        rb_nogvl(
            Some(enter),
            (&raw mut read).cast(),
            None,
            std::ptr::null_mut(),
            RB_NOGVL_INTR_FAIL as i32,
        );
    }
    // Ruby skips it when an interrupt is pending.
    read.result
        .unwrap_or_else(|| uring_io_core::try_transfer(&read.transfer))
}

/// Waits in waitid(2) with the GVL released until a child changes its state, and leaves it to be
/// reaped: the errno, 0 when there is one. `None` means that Ruby skipped the wait because an
/// interrupt was pending. Raises nothing.
pub fn wait_for_child(children: Children) -> Option<i32> {
    struct ChildWait {
        children: Children,
        errno: Option<i32>,
    }

    unsafe extern "C" fn enter(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` is the local of `wait_for_child`, which does not return before this does.
        let wait = unsafe { &mut *data.cast::<ChildWait>() };
        let waited = uring_io_core::wait_for_child(wait.children);
        wait.errno = Some(waited.map_or_else(|error| error.errno, |()| 0));
        std::ptr::null_mut()
    }

    let mut wait = ChildWait {
        children,
        errno: None,
    };
    // SAFETY: `enter` is given a local that outlives the call and touches nothing of Ruby's.
    // RUBY_UBF_IO, which Ruby writes as -1, stands for a signal to the thread.
    unsafe {
        let signal_the_thread =
            std::mem::transmute::<isize, Option<unsafe extern "C" fn(*mut c_void)>>(-1);
        rb_nogvl(
            Some(enter),
            (&raw mut wait).cast(),
            signal_the_thread,
            std::ptr::null_mut(),
            RB_NOGVL_INTR_FAIL as i32,
        );
    }
    wait.errno
}

/// Runs something with the GVL released; it ends soon after `stop` is set, which an interrupt of this thread does.
/// `None` means that Ruby skipped it because an interrupt was pending. Raises nothing.
pub fn without<R>(stop: &AtomicBool, run: impl FnOnce() -> R) -> Option<R> {
    struct Work<F, R> {
        run: Option<F>,
        result: Option<R>,
    }

    unsafe extern "C" fn enter<F: FnOnce() -> R, R>(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` is the local of `without`, which does not return before this does.
        let work = unsafe { &mut *data.cast::<Work<F, R>>() };
        if let Some(run) = work.run.take() {
            let run = std::panic::AssertUnwindSafe(run);
            let done = std::panic::catch_unwind(run).unwrap_or_else(|_| std::process::abort());
            work.result = Some(done);
        }
        std::ptr::null_mut()
    }

    unsafe extern "C" fn unblock(data: *mut c_void) {
        // SAFETY: `data` is the flag that the caller of `without` lends; Ruby unregisters this function before
        // `rb_nogvl` returns. A store is safe from any thread or signal.
        unsafe { &*data.cast::<AtomicBool>() }.store(true, Ordering::Relaxed);
    }

    fn call<F: FnOnce() -> R, R>(work: &mut Work<F, R>, stop: &AtomicBool) {
        // SAFETY: both functions are given pointers to what outlives the call.
        unsafe {
            rb_nogvl(
                Some(enter::<F, R>),
                std::ptr::from_mut(work).cast(),
                Some(unblock),
                std::ptr::from_ref(stop).cast_mut().cast(),
                (RB_NOGVL_INTR_FAIL | RB_NOGVL_UBF_ASYNC_SAFE) as i32,
            );
        }
    }

    let mut work = Work {
        run: Some(run),
        result: None,
    };
    call(&mut work, stop);
    work.result
}
