//! Memory and kernel threads in use, read from /proc.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::calls::trim;
use super::outcome::Growth;

/// The memory in use now, in bytes.
pub(super) fn in_use() -> Growth {
    trim();
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let process = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let known = |text, name| bytes(text, name).unwrap_or(0);
    Growth {
        process: known(&process, "Rss:"),
        kernel_stacks: known(&machine, "KernelStack:"),
        kernel_objects: known(&machine, "Slab:"),
    }
}

/// The difference between two readings.
pub(super) fn growth(before: Growth, after: Growth) -> Growth {
    Growth {
        process: after.process - before.process,
        kernel_stacks: after.kernel_stacks - before.kernel_stacks,
        kernel_objects: after.kernel_objects - before.kernel_objects,
    }
}

/// The free memory, in bytes, of the machine or of the control group that this process sees as its root, whichever is
/// less. None where /proc does not tell.
pub(super) fn free() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?;
        text.trim().parse().ok()
    };
    let group = number("max").zip(number("current"));
    let group = group.map(|(max, current)| max.saturating_sub(current));
    least(&machine, group)
}

fn least(machine: &str, group: Option<u64>) -> Option<u64> {
    let machine = u64::try_from(bytes(machine, "MemAvailable:")?).ok()?;
    Some(machine.min(group.unwrap_or(u64::MAX)))
}

/// The number in the line that begins with `name`, in bytes: /proc gives kilobytes.
fn bytes(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: i64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// The kernel thread that polls the submission queue of a ring.
pub(super) struct KernelThread(PathBuf);

impl KernelThread {
    /// The folders in /proc of all such threads of this process.
    pub(super) fn all() -> Vec<PathBuf> {
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
        let folders = threads.filter_map(|thread| thread.ok().map(|thread| thread.path()));
        let polls = |folder: &PathBuf| {
            fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.starts_with("iou-sqp-"))
        };
        folders.filter(polls).collect()
    }

    /// The polling thread that has started since `before`. None when there is not exactly one. Within a
    /// container, the number that the ring reports for the thread is of no use.
    pub(super) fn since(before: &[PathBuf]) -> Option<Self> {
        const TRIES: usize = 100;
        // The thread takes its name when it first runs.
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

    /// The processor time that the thread has used.
    pub(super) fn time(&self) -> Option<Duration> {
        let text = fs::read_to_string(&self.0).ok()?;
        let number = text.split_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_memory_is_that_of_the_machine_or_of_the_group_whichever_is_less() {
        let machine = "MemTotal: 16 kB\nMemAvailable:       8 kB\n";
        let found = [None, Some(4096), Some(1 << 20)].map(|group| least(machine, group));
        assert_eq!(found, [Some(8192), Some(4096), Some(8192)]);
    }

    #[test]
    fn the_free_memory_is_unknown_when_the_kernel_does_not_tell_that_of_the_machine() {
        let texts = ["", "MemTotal: 16 kB\n", "MemAvailable: many kB\n"];
        assert_eq!(texts.map(|text| least(text, Some(4096))), [None; 3]);
    }
}
