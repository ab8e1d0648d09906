//! Giving control to a fiber, and getting it back.

use magnus::fiber::{Fiber, Storage};
use magnus::rb_sys::AsRawValue;
use magnus::value::Opaque;
use magnus::{Error, Ruby, Value};

use super::party::Purpose;
use super::Engine;

impl Engine {
    /// Transfers to a fiber. Returns when somebody transfers back.
    pub(super) fn switch_to(
        &self,
        ruby: &Ruby,
        fiber: Fiber,
        arguments: impl magnus::ArgList,
    ) -> Result<(), Error> {
        self.switch(ruby, fiber, arguments, || false)
    }

    /// Transfers to a fiber for the first time.
    ///
    /// A fiber that has ended keeps its stack until the garbage collector frees it. If there is no room for one more
    /// stack, Ruby up to 3.4 does not collect garbage, and the transfer fails. So this collects garbage and tries once
    /// more. `unborn` returns true until the fiber has begun to run. It must not call Ruby, which may be ending the
    /// thread.
    pub(super) fn switch_to_new(
        &self,
        ruby: &Ruby,
        fiber: Fiber,
        arguments: impl magnus::ArgList + Copy,
        unborn: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let result = self.switch(ruby, fiber, arguments, &unborn);
        if result.is_ok() || !unborn() {
            return result;
        }
        ruby.gc_start();
        self.switch(ruby, fiber, arguments, &unborn)
    }

    fn switch(
        &self,
        ruby: &Ruby,
        fiber: Fiber,
        arguments: impl magnus::ArgList,
        unborn: impl Fn() -> bool,
    ) -> Result<(), Error> {
        self.switches.set(self.switches.get() + 1);
        self.running.set(Some(Opaque::from(fiber)));
        let result = fiber.transfer::<_, Value>(arguments);
        let before = self.running.take();
        self.begun(ruby);
        if let (Err(_), Some(before)) = (&result, before) {
            // A fiber that did not start has raised nothing.
            if !unborn() {
                self.queue_raiser(ruby, ruby.get_inner(before));
            }
        }
        // Clear the mark before `result` fails: Ruby raises the exception that is pending for the main flow right here.
        let interrupted = self.interrupted.take();
        result?;
        if interrupted {
            ruby.thread_check_ints()?;
            self.renew_spare(ruby)?;
        }
        Ok(())
    }

    /// Somebody has raised in the current fiber. If the raiser was running, and is neither parked nor ended, it must
    /// get control back: Ruby has transferred here and does not return to it by itself.
    fn queue_raiser(&self, ruby: &Ruby, raiser: Fiber) {
        let address = raiser.as_raw();
        let parked = self.parked.borrow().contains_key(&address);
        if !parked && raiser.is_alive() && address != ruby.fiber_current().as_raw() {
            let token = self.park_beside(raiser, Purpose::Return);
            self.driver.wake_first(token);
        }
    }

    /// Notes that the current fiber has begun to run.
    pub fn begun(&self, ruby: &Ruby) {
        self.running.set(Some(Opaque::from(ruby.fiber_current())));
    }

    /// Gives control to the thread's main flow. A signal's exception, `Thread#raise` or `Thread#kill` then hits the
    /// code that it would hit in a blocking program, and not the fiber that happened to wait in the kernel.
    ///
    /// When a fiber that was transferred to ends, Ruby itself continues in the root fiber, or in the innermost fiber
    /// that the root has resumed (cont.c, return_fiber). So the engine transfers to a fiber that ends at once, and need
    /// not know where the main flow is.
    ///
    /// The engine makes that fiber beforehand: making one calls Ruby, which would raise the pending exception in the
    /// wrong place.
    pub(super) fn hand_over_interrupts(&self, ruby: &Ruby) -> Result<(), Error> {
        self.driver.note_stir();
        if let Some(landing) = self.landing(ruby) {
            if landing.as_raw() == ruby.fiber_current().as_raw() {
                return ruby.thread_check_ints();
            }
            self.interrupted.set(true);
            return self.switch_to(ruby, landing, ());
        }
        self.interrupted.set(true);
        let fiber = match self.spare.take() {
            Some(fiber) => ruby.get_inner(fiber),
            None => fiber_that_ends(ruby)?,
        };
        // It ends as soon as it runs.
        self.switch_to_new(ruby, fiber, (), || fiber.is_alive())
    }

    /// Makes the current fiber the landing, where the main flow goes on. Ruby continues there by itself if it is the
    /// root fiber, or one that the root fiber has resumed. If somebody has transferred to it, Ruby would continue in
    /// the root fiber instead, in the middle of the run.
    pub fn land_here(&self, ruby: &Ruby) {
        self.landing.set(Some(Opaque::from(ruby.fiber_current())));
    }

    /// The fiber that called [`land_here`](Self::land_here). Each fiber that starts then needs a carrier, which resumes
    /// it and gives control to the landing when it ends.
    pub fn landing(&self, ruby: &Ruby) -> Option<Fiber> {
        self.landing.get().map(|fiber| ruby.get_inner(fiber))
    }

    /// Makes a fiber for the next hand-over.
    pub(super) fn renew_spare(&self, ruby: &Ruby) -> Result<(), Error> {
        self.spare.set(Some(Opaque::from(fiber_that_ends(ruby)?)));
        Ok(())
    }
}

/// A fiber that does nothing.
fn fiber_that_ends(ruby: &Ruby) -> Result<Fiber, Error> {
    fn end(_: &Ruby, _: &[Value], _: Option<magnus::block::Proc>) {}
    ruby.fiber_new(Storage::Lazy, end)
}

/// Ruby refuses a transfer to a fiber that waits for one it has resumed. This ignores the refusal: the fiber goes on
/// when the other one yields, so nothing is lost.
pub(super) fn ignore_refusal(error: Error) -> Result<(), Error> {
    if error.to_string().contains("attempt to transfer to a") {
        return Ok(());
    }
    Err(error)
}
