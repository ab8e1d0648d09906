//! Counters of a driver's work, all cumulative.

use std::cell::Cell;
use std::time::Duration;

/// A counter that its owner's thread increases.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub fn add(&self, amount: u64) {
        self.0.set(self.0.get() + amount);
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub enters: Count,
    pub submissions: Count,
    pub completions: Count,
    pub direct_calls: Count,
    pub waiting_ns: Count,
}

impl Counts {
    pub fn snapshot(&self) -> Stats {
        Stats {
            enters: self.enters.get(),
            submissions: self.submissions.get(),
            completions: self.completions.get(),
            direct_calls: self.direct_calls.get(),
            waiting: Duration::from_nanos(self.waiting_ns.get()),
        }
    }
}

/// The counts of a driver since its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// How often the driver made the backend's system call for waiting or submitting: `io_uring_enter`, `epoll_wait`,
    /// `kevent`, `poll`, `select`.
    pub enters: u64,
    /// Operations handed to the backend, including requests to cancel.
    pub submissions: u64,
    /// Completions taken from the backend, including those of requests to cancel.
    pub completions: u64,
    /// Other system calls for operations: `recv`, `send`, `epoll_ctl`, `fstat`, ...
    pub direct_calls: u64,
    /// Time spent in waits.
    pub waiting: Duration,
}
