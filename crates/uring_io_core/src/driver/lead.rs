//! How long one party may go on before the others, again and again: who starts fibers, while those park.

use std::time::{Duration, Instant};

use crate::posix;

/// A few are always together. The first time is long, so that what a program starts together begins together. The time
/// counts as well as the number, because what runs in between may be anything: each start of a fiber by a server's loop
/// runs a whole request.
const FEW: usize = 8;
const MOST: Duration = Duration::from_millis(5);
const MOST_WHEN_OFTEN: Duration = Duration::from_micros(200);
const OFTEN: usize = 64;

/// The time since a party first went on before the others, and what it has done with it.
#[derive(Clone, Copy)]
pub(super) struct Lead {
    count: usize,
    since: Instant,
    /// The thread's processor time when that time was over. From then on its own work counts, because on a busy
    /// machine the time may have passed without any work. To know that costs a system call.
    worked: Option<Duration>,
}

impl Lead {
    pub fn new() -> Self {
        Self {
            count: 0,
            since: Instant::now(),
            worked: None,
        }
    }

    /// Whether it may go on once more.
    pub fn goes_on(&mut self) -> bool {
        self.count += 1;
        let most = if self.count > OFTEN {
            MOST_WHEN_OFTEN
        } else {
            MOST
        };
        if self.count <= FEW || self.since.elapsed() < most {
            return true;
        }
        let now = posix::thread_time();
        now.saturating_sub(*self.worked.get_or_insert(now)) < most
    }
}
