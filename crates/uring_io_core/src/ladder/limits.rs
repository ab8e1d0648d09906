//! What this process and machine allow.

use std::fs;
use std::sync::{Mutex, PoisonError};

use super::calls::{open_files, set_open_files};
use super::memory::free;
use super::outcome::{Cause, Limit, Rung};
use crate::posix::DescriptorSet;

/// Descriptors besides those of connections: the listener, a set or ring, files of /proc, and what other threads open
/// meanwhile.
const SPARE: usize = 16;

/// What a thread takes at least: its stack in the kernel, and the pages of its own that it touches.
const THREAD_BYTES: u64 = 32 * 1024;

/// The soft limit of open files at the hard one, until the last of these is dropped: two threads may climb at once.
pub(super) struct RaisedFiles;

/// How many there are, and what the limits were before the first.
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

/// The tightest limit that leaves a rung fewer connections than these.
pub(super) fn tightest(rung: Rung, connections: usize) -> Option<Limit> {
    let open = fs::read_dir("/proc/self/fd").map_or(64, Iterator::count);
    let files = usize::try_from(open_files().rlim_cur).unwrap_or(usize::MAX);
    let mut all = vec![limit(
        Cause::Descriptors,
        files.saturating_sub(open + SPARE),
    )];
    match rung {
        // A connection gets the lowest number that is free.
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
