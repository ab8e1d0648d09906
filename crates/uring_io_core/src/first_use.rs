//! Numbers that a process finds out at their first use.
//!
//! `OnceLock` and `Once` let a thread wait while another one finds out the value. In a forked child that other thread
//! may be missing, and then the child waits for ever. Here nobody waits: threads that come at the same time may all
//! find out the number, and the first one to finish decides for everybody.

use std::sync::atomic::{AtomicU64, Ordering};

/// Holds the number plus 1, and 0 before somebody knows it.
pub(crate) struct FirstUse(AtomicU64);

impl FirstUse {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The number. Only the first users call `find`, which must not return `u64::MAX`.
    pub(crate) fn get(&self, find: impl FnOnce() -> u64) -> u64 {
        // The number is all that the threads share, so they need no order beyond that of the atomic itself.
        let known = match self.0.load(Ordering::Relaxed) {
            0 => {
                let found = find() + 1;
                let earlier =
                    self.0
                        .compare_exchange(0, found, Ordering::Relaxed, Ordering::Relaxed);
                earlier.err().unwrap_or(found)
            }
            known => known,
        };
        known - 1
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::thread;

    use super::*;

    #[test]
    fn the_first_use_finds_out_the_number_and_later_ones_take_it() {
        let (number, asked) = (FirstUse::new(), Cell::new(0));
        let find = || {
            asked.set(asked.get() + 1);
            0
        };
        assert_eq!([number.get(find), number.get(find)], [0, 0]);
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn nobody_waits_for_a_thread_that_finds_out_the_number_and_all_get_the_same() {
        let number = FirstUse::new();
        let of_the_slow_thread = number.get(|| {
            let quick = || thread::scope(|scope| scope.spawn(|| number.get(|| 2)).join());
            assert_eq!(quick().unwrap(), 2);
            1
        });
        assert_eq!([of_the_slow_thread, number.get(|| 3)], [2, 2]);
    }
}
