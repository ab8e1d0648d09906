//! The running kernel, and the limits of the process.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::thread;

/// The running kernel, as uname(2) describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Name of the system, `Linux`.
    pub sysname: String,
    /// Release in the kernel's own words, `6.18.44-generic`.
    pub release: String,
    /// Major, minor and patch number of the release; 0 for each number that the release lacks. Vendors backport, so a
    /// lower number does not prove that something is absent.
    pub version: (u32, u32, u32),
    /// Build of the kernel, `#1 SMP ...`.
    pub build: String,
    /// Hardware name, `x86_64`.
    pub machine: String,
}

/// Limits of the process, see getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many descriptors the process may have open (`RLIMIT_NOFILE`, `ulimit -n`); None is unlimited.
    pub open_files_soft: Option<u64>,
    /// The highest soft limit that the process may set; None is unlimited.
    pub open_files_hard: Option<u64>,
    /// Bytes of locked memory (`RLIMIT_MEMLOCK`, `ulimit -l`); None is unlimited. For io_uring the kernel counts the
    /// bytes of all processes of the user together, and none of a process with `CAP_IPC_LOCK`.
    pub memlock_soft: Option<u64>,
    /// The highest soft limit that the process may set; None is unlimited.
    pub memlock_hard: Option<u64>,
    /// CPUs this process may use at once, by affinity and cgroup quota; at least 1.
    pub cpus: usize,
}

impl Kernel {
    /// Asks uname(2).
    pub fn detect() -> Self {
        let Some(name) = uname() else {
            return Self::default();
        };
        let release = text(&name.release);
        Self {
            sysname: text(&name.sysname),
            version: parse_release(&release),
            release,
            build: text(&name.version),
            machine: text(&name.machine),
        }
    }

    pub(super) fn is_linux(&self) -> bool {
        self.sysname == "Linux"
    }

    pub(super) fn is_before(&self, major: u32, minor: u32) -> bool {
        self.version < (major, minor, 0)
    }

    /// gVisor answers uname(2) with a constant build, and an old release such as 4.4.0 or
    /// 4.19.0-gvisor (`pkg/sentry/syscalls/linux/linux64.go`).
    pub(super) fn is_gvisor(&self) -> bool {
        self.release.contains("gvisor") || self.build == "#1 SMP Sun Jan 10 15:06:54 PST 2016"
    }
}

impl Limits {
    /// Asks getrlimit(2) and sched_getaffinity(2).
    pub fn detect() -> Self {
        let open_files = resource_limit(libc::RLIMIT_NOFILE as c_int);
        let memlock = resource_limit(libc::RLIMIT_MEMLOCK as c_int);
        Self {
            open_files_soft: open_files.0,
            open_files_hard: open_files.1,
            memlock_soft: memlock.0,
            memlock_hard: memlock.1,
            cpus: thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Major, minor and patch number of `6.18.44-generic`; 0 for each missing number.
pub(super) fn parse_release(release: &str) -> (u32, u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

fn uname() -> Option<libc::utsname> {
    let mut name = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the call fills `name`, a local, and keeps no pointer. All zeros are valid arrays of characters, so `name`
    // is initialized even if the call fails.
    unsafe { (libc::uname(name.as_mut_ptr()) == 0).then(|| name.assume_init()) }
}

/// The characters before the first NUL.
fn text(characters: &[c_char]) -> String {
    let bytes: Vec<u8> = characters
        .iter()
        .take_while(|&&c| c != 0)
        .map(|&c| c.to_ne_bytes()[0])
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Soft and hard limit; None for unlimited.
#[allow(clippy::unnecessary_cast)] // the types differ by system and by C library
fn resource_limit(resource: c_int) -> (Option<u64>, Option<u64>) {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the kernel fills `limit`, a local, before the call returns. The call fails only for an unknown resource.
    // Then `limit` keeps its values, which mean unlimited.
    unsafe { libc::getrlimit(resource as _, &mut limit) };
    let finite = |value| (value != libc::RLIM_INFINITY).then_some(value as u64);
    (finite(limit.rlim_cur), finite(limit.rlim_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_far_as_they_are_numbers() {
        assert_eq!(parse_release("6.18.44-fc-v669"), (6, 18, 44));
        assert_eq!(parse_release("5.14.0-362.el9.x86_64"), (5, 14, 0));
        assert_eq!(parse_release("6.1-rc3"), (6, 1, 0));
        assert_eq!(parse_release("99999999999.1"), (0, 1, 0));
        assert_eq!(parse_release(""), (0, 0, 0));
    }
}
