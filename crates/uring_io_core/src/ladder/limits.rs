//! The limits of this process and this machine.

use std::fs;
use std::sync::{Mutex, PoisonError};

use super::calls::{open_files, set_open_files};
use super::memory::free;
use super::outcome::{Cause, Limit, Rung};
use crate::posix::DescriptorSet;

/// Descriptors for other things than connections: the listener, an epoll set or a ring, files of /proc, and whatever
/// other threads open in the meantime.
const SPARE: usize = 16;

/// The least memory that a thread takes: its stack in the kernel, and the pages of its own that it touches.
const THREAD_BYTES: u64 = 32 * 1024;

/// Raises the soft limit of open files to the hard limit. Two threads may measure at once, so only dropping the last
/// value restores the soft limit.
pub(super) struct RaisedFiles;

/// The number of live values, and the limits before the first one.
static RAISED: Mutex<(usize, Option<libc::rlimit>)> = Mutex::new((0, None));

impl RaisedFiles {
    pub(super) fn new() -> Self {
        let mut raised = RAISED.lock().unwrap_or_else(PoisonError::into_inner);
        if raised.0 == 0 {
            let before = open_files();
            set_open_files(libc::rlimit {
                rlim_cur: before.rlim_max,
                ..before
            });
            raised.1 = Some(before);
        }
        raised.0 += 1;
        Self
    }
}

impl Drop for RaisedFiles {
    fn drop(&mut self) {
        let mut raised = RAISED.lock().unwrap_or_else(PoisonError::into_inner);
        raised.0 -= 1;
        if let (0, Some(before)) = *raised {
            set_open_files(before);
        }
    }
}

/// The tightest limit that allows a rung fewer than `connections` connections.
pub(super) fn tightest(rung: Rung, connections: usize) -> Option<Limit> {
    let open = fs::read_dir("/proc/self/fd").map_or(64, Iterator::count);
    let files = usize::try_from(open_files().rlim_cur).unwrap_or(usize::MAX);
    let mut all = vec![limit(
        Cause::Descriptors,
        files.saturating_sub(open + SPARE),
    )];
    match rung {
        // The kernel gives each connection the lowest free number.
        Rung::Select => {
            let numbers = DescriptorSet::SIZE as usize;
            all.push(limit(
                Cause::SetSize,
                numbers.saturating_sub(open + SPARE / 2),
            ));
        }
        Rung::Threads => {
            if let Some(free) = free() {
                let threads = usize::try_from(free / 2 / THREAD_BYTES).unwrap_or(usize::MAX);
                all.push(limit(Cause::Memory, threads));
            }
        }
        _ => {}
    }
    let tight = all
        .into_iter()
        .filter(|limit| limit.most < Some(connections));
    tight.min_by_key(|limit| limit.most)
}

fn limit(cause: Cause, most: usize) -> Limit {
    Limit {
        cause,
        most: Some(most),
        error: None,
    }
}
