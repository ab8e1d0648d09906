//! What this process and machine allow.

use std::fs;

use super::calls::{open_files, set_open_files};
use super::memory::free;
use super::outcome::{Cause, Limit, Rung};
use crate::posix::DescriptorSet;

/// Descriptors besides those of connections: the listener, a set or ring, files of /proc, and what other threads open
/// meanwhile.
const SPARE: usize = 16;

/// What a thread takes at least: its stack in the kernel, and the pages of its own that it touches.
const THREAD_BYTES: u64 = 32 * 1024;

/// The soft limit of open files at the hard one, until this is dropped.
pub(super) struct RaisedFiles(libc::rlimit);

impl RaisedFiles {
    pub(super) fn new() -> Self {
        let before = open_files();
        set_open_files(libc::rlimit {
            rlim_cur: before.rlim_max,
            ..before
        });
        Self(before)
    }
}

impl Drop for RaisedFiles {
    fn drop(&mut self) {
        set_open_files(self.0);
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
