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
    /// Set when the wait has taken place: Ruby skips it when an interrupt is pending.
    result: Option<Result<()>>,
}

/// Waits in the driver with the GVL released. `None` means that Ruby skipped the wait because an interrupt was pending.
/// Raises nothing: the caller checks for pending interrupts.
pub fn wait<P>(driver: &Driver<P>, timeout: Option<Duration>) -> Option<Result<()>> {
    unsafe extern "C" fn enter<P>(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` points to the Wait on the stack of `wait`. That function does not return before this one, and
        // nobody else touches the Wait meanwhile.
        let wait = unsafe { &mut *data.cast::<Wait<'_, P>>() };
        let run = std::panic::AssertUnwindSafe(|| wait.driver.wait(wait.timeout));
        wait.result = Some(std::panic::catch_unwind(run).unwrap_or_else(|_| std::process::abort()));
        std::ptr::null_mut()
    }

    unsafe extern "C" fn unblock(data: *mut c_void) {
        // SAFETY: `data` points to the waker that `wait` keeps alive; Ruby unregisters this function before `rb_nogvl`
        // returns. Waking is one write(2): safe from any thread or signal.
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
    // SAFETY: Ruby passes both functions pointers to values that outlive the call. Without the GVL only Driver::wait
    // uses the driver, as its documentation allows.
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
        // SAFETY: the argument is a length of time, and `protect` catches exceptions.
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

    // SAFETY: `enter` uses no memory, and its result is only compared with null. With this flag Ruby raises nothing.
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

/// Reads from a file with the GVL released, and returns the number of bytes or a negative errno. Nothing interrupts it,
/// as nothing interrupts read(2) of a file. Raises nothing.
pub fn read(fd: RawFd, buffer: LentBuffer) -> i32 {
    struct Read {
        transfer: Transfer,
        result: Option<i32>,
    }

    unsafe extern "C" fn enter(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` points to the local of `read`, which does not return before this function.
        let read = unsafe { &mut *data.cast::<Read>() };
        read.result = Some(uring_io_core::try_transfer(&read.transfer));
        std::ptr::null_mut()
    }

    let mut read = Read {
        transfer: Transfer {
            direction: Direction::Read,
            fd,
            // This makes it a plain read(2).
            target: Target::Stream { nonblocking: true },
            buffer,
        },
        result: None,
    };
    // SAFETY: Ruby passes `enter` a pointer to a local that outlives the call. `enter` touches nothing of Ruby's.
    unsafe {
        rb_nogvl(
            Some(enter),
            (&raw mut read).cast(),
            None,
            std::ptr::null_mut(),
            RB_NOGVL_INTR_FAIL as i32,
        );
    }
    // Ruby skips `enter` when an interrupt is pending.
    read.result
        .unwrap_or_else(|| uring_io_core::try_transfer(&read.transfer))
}

/// Waits in waitid(2), with the GVL released, until a child changes its state. It does not reap the child. Returns the
/// errno, or 0 when there is a child. `None` means that Ruby skipped the wait because an interrupt was pending. Raises
/// nothing.
pub fn wait_for_child(children: Children) -> Option<i32> {
    struct ChildWait {
        children: Children,
        errno: Option<i32>,
    }

    unsafe extern "C" fn enter(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` points to the local of `wait_for_child`, which does not return before this function.
        let wait = unsafe { &mut *data.cast::<ChildWait>() };
        let waited = uring_io_core::wait_for_child(wait.children);
        wait.errno = Some(waited.map_or_else(|error| error.errno, |()| 0));
        std::ptr::null_mut()
    }

    let mut wait = ChildWait {
        children,
        errno: None,
    };
    // SAFETY: Ruby passes `enter` a pointer to a local that outlives the call. `enter` touches nothing of Ruby's. Ruby
    // calls no function at the address -1: that is RUBY_UBF_IO, which stands for a signal to the thread.
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

/// Calls `run` with the GVL released. An interrupt of this thread sets `stop`, and `run` must end soon after that.
/// `None` means that Ruby skipped the call because an interrupt was pending. Raises nothing.
pub fn without<R>(stop: &AtomicBool, run: impl FnOnce() -> R) -> Option<R> {
    struct Work<F, R> {
        run: Option<F>,
        result: Option<R>,
    }

    unsafe extern "C" fn enter<F: FnOnce() -> R, R>(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` points to the local of `without`, which does not return before this function.
        let work = unsafe { &mut *data.cast::<Work<F, R>>() };
        if let Some(run) = work.run.take() {
            let run = std::panic::AssertUnwindSafe(run);
            let done = std::panic::catch_unwind(run).unwrap_or_else(|_| std::process::abort());
            work.result = Some(done);
        }
        std::ptr::null_mut()
    }

    unsafe extern "C" fn unblock(data: *mut c_void) {
        // SAFETY: `data` points to the flag that the caller of `without` lends; Ruby unregisters this function before
        // `rb_nogvl` returns. A store is safe from any thread or signal.
        unsafe { &*data.cast::<AtomicBool>() }.store(true, Ordering::Relaxed);
    }

    fn call<F: FnOnce() -> R, R>(work: &mut Work<F, R>, stop: &AtomicBool) {
        // SAFETY: Ruby passes both functions pointers to values that outlive the call.
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
