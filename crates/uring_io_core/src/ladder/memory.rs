//! What memory and kernel threads use, as /proc tells.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::calls::trim;
use super::outcome::Growth;

/// What is in use now; bytes.
pub(super) fn in_use() -> Growth {
    trim();
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let process = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    Growth {
        process: bytes(&process, "Rss:"),
        kernel_stacks: bytes(&machine, "KernelStack:"),
        kernel_objects: bytes(&machine, "Slab:"),
    }
}

/// What has come since then.
pub(super) fn growth(before: Growth, after: Growth) -> Growth {
    Growth {
        process: after.process - before.process,
        kernel_stacks: after.kernel_stacks - before.kernel_stacks,
        kernel_objects: after.kernel_objects - before.kernel_objects,
    }
}

/// What the machine, or the control group that this process sees as its root, has left; bytes. None where that is
/// not told.
pub(super) fn free() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = bytes(&machine, "MemAvailable:") as u64;
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?;
        text.trim().parse().ok()
    };
    let group = number("max").zip(number("current"));
    let group = group.map(|(max, current)| max.saturating_sub(current));
    Some(machine.min(group.unwrap_or(u64::MAX)))
}

/// The number of kilobytes in the line of this name.
fn bytes(text: &str, name: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse::<i64>().ok())
        .unwrap_or(0)
        * 1024
}

/// The thread of the kernel that polls a ring.
pub(super) struct KernelThread(PathBuf);

impl KernelThread {
    /// The folders of all such threads of this process.
    pub(super) fn all() -> Vec<PathBuf> {
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
        let folders = threads.filter_map(|thread| thread.ok().map(|thread| thread.path()));
        let polls = |folder: &PathBuf| {
            fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.starts_with("iou-sqp-"))
        };
        folders.filter(polls).collect()
    }

    /// The one that has come since; none where that cannot be told. The ring's own number for it is of no use within a
    /// container.
    pub(super) fn since(before: &[PathBuf]) -> Option<Self> {
        const TRIES: usize = 100;
        // It names itself when it first runs.
        (0..TRIES).find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            let mut now = Self::all();
            now.retain(|folder| !before.contains(folder));
            match &now[..] {
                [folder] => Some(Self(folder.join("schedstat"))),
                _ => None,
            }
        })
    }

    /// What it has had of a processor.
    pub(super) fn time(&self) -> Option<Duration> {
        let text = fs::read_to_string(&self.0).ok()?;
        let number = text.split_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(number))
    }
}
