//! How long one party may go on before the others, over and over: a party that starts fibers goes on first when they
//! park.

use std::time::{Duration, Instant};

use crate::posix;

/// So many times a party may go on first in any case.
const FEW: usize = 8;
/// After that it may do so for this time. The limit is a time because anything may run in between: a server's loop runs
/// a whole request each time it starts a fiber. It is long so that fibers which a program starts together also begin
/// together.
const MOST: Duration = Duration::from_millis(5);
/// After this many times the limit is short.
const OFTEN: usize = 64;
const MOST_WHEN_OFTEN: Duration = Duration::from_micros(200);

/// When a party first went on before the others, and how often it has done so.
#[derive(Clone, Copy)]
pub(super) struct Lead {
    count: usize,
    since: Instant,
    /// The processor time of the thread when the time limit was over. From then on only processor time counts, because
    /// on a busy machine the time may have passed without any work. Reading it costs a system call.
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

    /// Whether the party may go on first once more.
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
