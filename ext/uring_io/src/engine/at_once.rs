//! Operations that a fiber does at once, without a wait. A fiber may do a limited row of them while others are ready.

use super::Engine;

impl Engine {
    /// Counts a system call that somebody made outside of the driver.
    pub fn count_direct_call(&self) {
        self.driver.count_direct_call();
    }

    /// Whether the running fiber may do one more operation at once; if so, counts it. False when others must run first.
    pub fn may_do_at_once(&self) -> bool {
        self.driver.may_do_at_once()
    }

    /// Whether the running fiber has done as many operations in a row as it may.
    pub fn is_row_over(&self) -> bool {
        self.driver.is_row_over()
    }

    /// Begins a new row for the running fiber: it had its turn, or no other fiber may run in the middle of its work.
    pub fn begin_row(&self) {
        self.driver.begin_row();
    }

    /// Whether other fibers are ready to run.
    pub fn is_busy(&self) -> bool {
        self.driver.is_busy()
    }
}
