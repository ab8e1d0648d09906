//! Operations that a fiber does at once, without a wait, and the row of them that it may do while others are ready.

use super::Engine;

impl Engine {
    /// Counts a system call that somebody made outside of the driver.
    pub fn count_direct_call(&self) {
        self.driver.count_direct_call();
    }

    /// Whether the fiber that runs may do one more thing at once, or it is the others' turn.
    pub fn may_do_at_once(&self) -> bool {
        self.driver.may_do_at_once()
    }

    /// Whether the fiber that runs has done as much in a row as it may.
    pub fn is_row_over(&self) -> bool {
        self.driver.is_row_over()
    }

    /// Lets the fiber that runs begin a new row: it had its turn, or nobody may run in the middle of its work.
    pub fn begin_row(&self) {
        self.driver.begin_row();
    }

    /// Whether others are ready to run.
    pub fn is_busy(&self) -> bool {
        self.driver.is_busy()
    }
}
