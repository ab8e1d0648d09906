//! What this machine offers: each backend tried for real and, where one is refused, why.
//!
//! An errno does not name its cause: a seccomp profile, a sysctl and a security module all answer
//! `EPERM`, a missing call and a hidden one both `ENOSYS`. So a refusal is explained by reading
//! what surrounds the process as well (`Circumstances`), and the explanation is a pure function
//! of the two. Nothing is cached here.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::time::Duration;
use std::{fmt, fs, thread};

use crate::backend_kind::BackendKind;
use crate::error::{Error, Lack, Result};
use crate::posix::{self, DescriptorSet};
#[cfg(target_os = "linux")]
use crate::{
    platform::epoll,
    ring_options::{Mask, Options as RingOptions},
    uring::{releases, setup},
    waker::Waker,
};

/// What the kernel of this machine offers to this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// The kernel that runs.
    pub kernel: Kernel,
    /// Each backend, best first.
    pub backends: [BackendSupport; 4],
    /// Operations of io_uring in the kernel's numbering, `("nop", true)` first, from
    /// `IORING_REGISTER_PROBE` (Linux 5.6). It says nothing about the flags of an operation.
    /// All false where io_uring is unavailable; empty where the system is not Linux, as are the
    /// two lists below.
    pub operations: Vec<(&'static str, bool)>,
    /// Features of io_uring by bit, see io_uring_setup(2): `("single_mmap", true)` first.
    pub features: Vec<(&'static str, bool)>,
    /// Setup flags that a ring gets here, see io_uring_setup(2): false for one that the kernel
    /// lacks and for one that a better flag replaces (`coop_taskrun` by `defer_taskrun`).
    pub setup_flags: Vec<(&'static str, bool)>,
    /// Limits of the process.
    pub limits: Limits,
}

/// The kernel that runs, as uname(2) tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Name of the system, `Linux`.
    pub sysname: String,
    /// Release as the kernel writes it, `6.18.44-generic`.
    pub release: String,
    /// Major, minor and patch number of the release; 0 for each that it does not give. Vendors
    /// backport: a lower number does not prove that something is absent.
    pub version: (u32, u32, u32),
    /// Build of the kernel, `#1 SMP ...`.
    pub build: String,
    /// Hardware name, `x86_64`.
    pub machine: String,
}

/// Limits of the process, see getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Descriptors the process may have open (`RLIMIT_NOFILE`, `ulimit -n`); None is unlimited.
    pub open_files_soft: Option<u64>,
    /// What the process may raise the soft limit to; None is unlimited.
    pub open_files_hard: Option<u64>,
    /// Bytes of locked memory (`RLIMIT_MEMLOCK`, `ulimit -l`); None is unlimited. For io_uring
    /// they are counted over all processes of the user, and not at all with `CAP_IPC_LOCK`.
    pub memlock_soft: Option<u64>,
    /// What the process may raise the soft limit to; None is unlimited.
    pub memlock_hard: Option<u64>,
    /// CPUs this process may use at once, by affinity and cgroup quota; at least 1.
    pub cpus: usize,
}

/// A backend and whether it works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSupport {
    /// The backend.
    pub kind: BackendKind,
    /// Why it does not work; None when it does.
    pub unavailable: Option<Unavailable>,
}

/// Why a backend cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// What kind of cause it is.
    pub reason: Reason,
    /// System call that failed.
    pub call: &'static str,
    /// Positive errno it gave, see errno(3).
    pub errno: i32,
    /// The cause, in sentences that name the sysctl, profile or limit.
    pub cause: String,
    /// What can be done about it, in sentences.
    pub remedy: String,
}

/// Kinds of cause for a backend that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The kernel was built without the call, or is an emulation that lacks it.
    NoSuchCall,
    /// `kernel.io_uring_disabled` forbids it (Linux 6.6).
    Sysctl,
    /// A seccomp filter denies the call, as container runtimes do by default.
    Seccomp,
    /// `RLIMIT_MEMLOCK` is too small for a ring.
    Memlock,
    /// The kernel is too old for it.
    OldKernel,
    /// A security module such as SELinux or AppArmor refused it.
    SecurityModule,
    /// No descriptor is left, in the process or in the system.
    DescriptorLimit,
    /// The system is not Linux.
    Platform,
    /// None of these; the errno is all there is.
    Other,
}

impl Reason {
    /// The name users see, in snake_case.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSuchCall => "no_such_call",
            Self::Sysctl => "sysctl",
            Self::Seccomp => "seccomp",
            Self::Memlock => "memlock",
            Self::OldKernel => "old_kernel",
            Self::SecurityModule => "security_module",
            Self::DescriptorLimit => "descriptor_limit",
            Self::Platform => "platform",
            Self::Other => "other",
        }
    }
}

impl BackendSupport {
    /// Whether the backend works here.
    pub fn is_available(&self) -> bool {
        self.unavailable.is_none()
    }
}

impl fmt::Display for Unavailable {
    /// The failed call with its errno, the cause, the remedy: one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = Error::new(self.call, self.errno);
        write!(f, "{error}. {} {}", self.cause, self.remedy)
    }
}

impl Support {
    /// Tries every backend once and reads the kernel and the limits.
    ///
    /// Any thread may call it. It opens a few descriptors, and has closed them when it returns.
    pub fn detect() -> Self {
        let ring = try_io_uring();
        let inventory = ring.clone().unwrap_or_else(|_| Inventory::of_no_ring());
        let tried = [
            (BackendKind::IoUring, ring.map(drop)),
            (BackendKind::Epoll, try_epoll()),
            (BackendKind::Poll, try_poll()),
            (BackendKind::Select, try_select()),
        ];
        Self {
            kernel: Kernel::detect(),
            backends: tried.map(|(kind, outcome)| BackendSupport {
                kind,
                unavailable: outcome.err().map(|error| diagnose(&error)),
            }),
            operations: inventory.operations,
            features: inventory.features,
            setup_flags: inventory.setup_flags,
            limits: Limits::detect(),
        }
    }

    /// What was found out about `kind`.
    pub fn backend(&self, kind: BackendKind) -> &BackendSupport {
        &self.backends[kind as usize]
    }

    /// The first backend that works; `Poll`, the portable floor, should none do.
    pub fn best(&self) -> BackendKind {
        let available = self.backends.iter().find(|backend| backend.is_available());
        available.map_or(BackendKind::Poll, |backend| backend.kind)
    }
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

    fn is_linux(&self) -> bool {
        self.sysname == "Linux"
    }

    fn is_before(&self, major: u32, minor: u32) -> bool {
        self.version < (major, minor, 0)
    }

    /// gVisor answers uname(2) with a constant build, and an old release such as 4.4.0 or
    /// 4.19.0-gvisor (`pkg/sentry/syscalls/linux/linux64.go`).
    fn is_gvisor(&self) -> bool {
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

/// Major, minor and patch of `6.18.44-generic`; 0 for what is missing.
fn parse_release(release: &str) -> (u32, u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

/// What a working ring told about its kernel.
#[derive(Clone, Default)]
struct Inventory {
    operations: Vec<(&'static str, bool)>,
    features: Vec<(&'static str, bool)>,
    setup_flags: Vec<(&'static str, bool)>,
}

impl Inventory {
    #[cfg(target_os = "linux")]
    fn of_no_ring() -> Self {
        Self {
            operations: releases::Operations::default().named(),
            features: releases::named_features(0),
            setup_flags: releases::named_setup_flags(0),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn of_no_ring() -> Self {
        Self::default()
    }
}

#[cfg(target_os = "linux")]
const SMALLEST_RING: RingOptions = RingOptions {
    entries: 1,
    sqpoll: None,
    any_thread: false,
    restrict: false,
    limits: Mask::NOTHING,
    intake: None,
};

/// Each of the three calls in turn, on the smallest ring.
#[cfg(target_os = "linux")]
fn try_io_uring() -> Result<Inventory> {
    let mut ring = setup::create(&SMALLEST_RING)?;
    let operations = setup::probe(&ring, &SMALLEST_RING.limits)?;
    setup::check_enter(&mut ring)?;
    Ok(Inventory {
        operations: operations.named(),
        features: releases::named_features(setup::features(&ring, &SMALLEST_RING.limits)),
        setup_flags: releases::named_setup_flags(setup::setup_flags(&ring)),
    })
}

#[cfg(not(target_os = "linux"))]
fn try_io_uring() -> Result<Inventory> {
    Err(Error::new("io_uring_setup", libc::ENOSYS))
}

/// Explains a call that a backend needs and that failed with `error`.
///
/// Reads /proc and, where only a trial can tell, makes a small ring; call it once, when a backend
/// could not be set up, not for the errors of single operations. For a ring that could not be
/// made, pass what making it returned.
pub fn diagnose(error: &Error) -> Unavailable {
    Circumstances::of(error).explain(error)
}

/// What surrounds a refusal and tells its cause.
#[derive(Clone)]
struct Circumstances {
    kernel: Kernel,
    limits: Limits,
    /// Whether sysctls can be read; `ProcSubset=pid` of systemd hides them.
    has_sysctls: bool,
    /// `kernel.io_uring_disabled`: 0 allows, 1 asks for privilege or the group, 2 forbids. None
    /// where it cannot be read or is absent (before 6.6, or built without io_uring).
    io_uring_disabled: Option<i64>,
    /// `kernel.io_uring_group`, -1 for no group.
    io_uring_group: Option<i64>,
    /// File system group and supplementary groups, which is what the kernel looks at.
    groups: Vec<i64>,
    /// Effective capabilities; 0 inside a user namespace, where they count for nothing here.
    capabilities: u64,
    /// `Seccomp:` in /proc/thread-self/status: 2 is a filter. None where there is no /proc, as in
    /// some chroots.
    seccomp: Option<u32>,
    /// A small ring without options can be made, so it was an option that was refused.
    plain_ring_works: bool,
}

const CAP_IPC_LOCK: u64 = 1 << 14;
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// A reason, its cause, its remedy.
type Explanation = (Reason, String, String);

const USE_EPOLL: &str = "Until then epoll does the same work.";

impl Circumstances {
    fn of(error: &Error) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let number = |path| read(path).trim().parse().ok();
        // Filters and credentials belong to the thread, not to the process.
        let status = read("/proc/thread-self/status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.strip_prefix(':')).map(str::trim)
        };
        let numbers = |name| field(name).unwrap_or_default().split_whitespace();
        let is_initial_namespace = || {
            read("/proc/self/uid_map")
                .split_whitespace()
                .eq(["0", "0", "4294967295"])
        };
        let capabilities = field("CapEff").and_then(|mask| u64::from_str_radix(mask, 16).ok());
        Self {
            kernel: Kernel::detect(),
            limits: Limits::detect(),
            has_sysctls: !read("/proc/sys/kernel/ostype").is_empty(),
            io_uring_disabled: number("/proc/sys/kernel/io_uring_disabled"),
            io_uring_group: number("/proc/sys/kernel/io_uring_group"),
            groups: (numbers("Gid").skip(3).chain(numbers("Groups")))
                .filter_map(|group| group.parse().ok())
                .collect(),
            capabilities: capabilities.filter(|_| is_initial_namespace()).unwrap_or(0),
            seccomp: (!status.is_empty()).then(|| {
                field("Seccomp")
                    .and_then(|mode| mode.parse().ok())
                    .unwrap_or(0)
            }),
            plain_ring_works: plain_ring_works(error),
        }
    }

    fn explain(&self, error: &Error) -> Unavailable {
        let (reason, cause, remedy) = if error.call.starts_with("io_uring") {
            self.explain_io_uring(error)
        } else {
            self.explain_call(error)
        };
        Unavailable {
            reason,
            call: error.call,
            errno: error.errno,
            cause,
            remedy,
        }
    }

    fn explain_io_uring(&self, error: &Error) -> Explanation {
        if !self.kernel.is_linux() {
            return self.platform();
        }
        if let Some(Lack::Kernel(major, minor)) = error.lack {
            return self.without_restrictions((major, minor));
        }
        // A call that follows a successful setup was reached, so the kernel has them all.
        let is_setup = error.call == "io_uring_setup";
        match error.errno {
            libc::ENOSYS | libc::EINVAL if self.kernel.is_gvisor() => self.no_such_call(),
            libc::ENOSYS | libc::EINVAL if self.kernel.is_before(5, 6) => self.old_kernel(),
            libc::ENOSYS if self.has_seccomp_filter() && !(is_setup && self.lacks_io_uring()) => {
                self.seccomp(error.call)
            }
            libc::ENOSYS if self.seccomp.is_none() => self.hidden(error.call),
            libc::ENOSYS => self.no_such_call(),
            libc::EPERM | libc::EACCES | libc::EINVAL | libc::EOPNOTSUPP
                if self.plain_ring_works =>
            {
                self.option(error)
            }
            libc::EPERM if is_setup && self.sysctl_forbids() => self.sysctl(),
            libc::ENOMEM if self.is_charged_for_memory() => self.memlock(),
            _ => self.explain_call(error),
        }
    }

    /// What holds for any call.
    fn explain_call(&self, error: &Error) -> Explanation {
        let call = error.call;
        match error.errno {
            libc::EMFILE | libc::ENFILE => self.descriptor_limit(error.errno),
            libc::ENOSYS if call.starts_with("epoll") && !self.kernel.is_linux() => self.platform(),
            libc::EPERM | libc::ENOSYS if self.has_seccomp_filter() => self.seccomp(call),
            libc::EPERM if self.seccomp.is_none() || !self.has_sysctls => self.hidden(call),
            libc::EPERM | libc::EACCES => self.security_module(call),
            libc::ENOMEM => (
                Reason::Other,
                "The kernel, or the memory cgroup of this process, had no memory for it.".into(),
                "Free memory, or raise the limit of the container or service.".into(),
            ),
            _ => (
                Reason::Other,
                format!("Nothing that is known to forbid {call} was found."),
                format!(
                    "Look this error up in {call}(2) and in the kernel's log. Until then another \
                     backend does the same work."
                ),
            ),
        }
    }

    fn has_seccomp_filter(&self) -> bool {
        self.seccomp == Some(2)
    }

    /// From 6.6 on, a kernel that has io_uring has its sysctl.
    fn lacks_io_uring(&self) -> bool {
        !self.kernel.is_before(6, 6) && self.has_sysctls && self.io_uring_disabled.is_none()
    }

    /// `io_uring_allowed()` of the kernel.
    fn sysctl_forbids(&self) -> bool {
        let is_in_group = || {
            self.io_uring_group
                .is_some_and(|group| self.groups.contains(&group))
        };
        match self.io_uring_disabled {
            None | Some(0) => false,
            Some(1) => self.capabilities & CAP_SYS_ADMIN == 0 && !is_in_group(),
            Some(_) => true,
        }
    }

    fn is_charged_for_memory(&self) -> bool {
        self.limits.memlock_soft.is_some() && self.capabilities & CAP_IPC_LOCK == 0
    }

    fn platform(&self) -> Explanation {
        (
            Reason::Platform,
            format!(
                "io_uring and epoll are calls of Linux; this is {}.",
                self.kernel.sysname
            ),
            "Use the poll backend, which is the default here.".into(),
        )
    }

    fn no_such_call(&self) -> Explanation {
        let release = &self.kernel.release;
        if self.kernel.is_gvisor() {
            return (
                Reason::NoSuchCall,
                format!(
                    "This is a gVisor sandbox ({release}), whose kernel has no usable io_uring."
                ),
                format!("Use a container runtime that runs on the host's kernel. {USE_EPOLL}"),
            );
        }
        (
            Reason::NoSuchCall,
            format!(
                "This kernel ({release}) has no io_uring: it was built without CONFIG_IO_URING, \
                 or an emulator that lacks the call stands in for it."
            ),
            format!("Boot a kernel that is built with CONFIG_IO_URING=y. {USE_EPOLL}"),
        )
    }

    fn old_kernel(&self) -> Explanation {
        (
            Reason::OldKernel,
            format!(
                "This kernel is {}; io_uring needs Linux 5.6.",
                self.kernel.release
            ),
            format!("Boot Linux 5.6 or newer, 6.1 or newer for full speed. {USE_EPOLL}"),
        )
    }

    /// The ring works without restrictions: no other option needs a later kernel than the ring.
    fn without_restrictions(&self, (major, minor): (u32, u32)) -> Explanation {
        (
            Reason::OldKernel,
            format!(
                "This kernel is {}; restricting a ring (restrict) needs Linux {major}.{minor}.",
                self.kernel.release
            ),
            "Make the ring without restrict, which works here, or ask for no backend: then it is \
             epoll, which has nothing to restrict."
                .into(),
        )
    }

    /// The ring works without the options given, and of these only the polling thread can fail.
    fn option(&self, error: &Error) -> Explanation {
        let (major, minor, _) = self.kernel.version;
        let without = "Make the ring without sqpoll, which works here.";
        match error.errno {
            libc::EOPNOTSUPP => (
                Reason::OldKernel,
                format!(
                    "On Linux {major}.{minor} a polling thread (sqpoll) serves registered files \
                     only; ordinary descriptors need Linux 5.11."
                ),
                without.into(),
            ),
            libc::EINVAL => (
                Reason::Other,
                "The kernel refused the polling thread (sqpoll): its CPU does not exist, is not \
                 online, or is outside the cpuset of this process."
                    .into(),
                format!("Choose another CPU or none. {without}"),
            ),
            _ if self.kernel.is_before(5, 13) => (
                Reason::OldKernel,
                format!(
                    "On Linux {major}.{minor} a polling thread (sqpoll) needs CAP_SYS_ADMIN or \
                     CAP_SYS_NICE; Linux 5.13 lets every process have one."
                ),
                without.into(),
            ),
            _ => (
                Reason::SecurityModule,
                "A security module (SELinux: class io_uring, permission sqpoll) refused the \
                 polling thread (sqpoll)."
                    .into(),
                without.into(),
            ),
        }
    }

    fn sysctl(&self) -> Explanation {
        let (cause, remedy) = if self.io_uring_disabled == Some(1) {
            let group = match self.io_uring_group {
                Some(group) if group >= 0 => format!("group {group}"),
                _ => "no group".into(),
            };
            (
                format!(
                    "The sysctl kernel.io_uring_disabled is 1: only processes with CAP_SYS_ADMIN \
                     or in the group of kernel.io_uring_group, now {group}, may make a ring, and \
                     this process is neither."
                ),
                "Have the administrator set kernel.io_uring_group to a group of this process \
                 (sysctl -w kernel.io_uring_group=GID), or kernel.io_uring_disabled to 0.",
            )
        } else {
            let value = self.io_uring_disabled.unwrap_or(2);
            (
                format!(
                    "The sysctl kernel.io_uring_disabled is {value}: no process of this machine, \
                     privileged or not, may make a ring."
                ),
                "Have the administrator set it to 0 (sysctl -w kernel.io_uring_disabled=0), or \
                 to 1 with kernel.io_uring_group set to a group of this process.",
            )
        };
        (Reason::Sysctl, cause, format!("{remedy} {USE_EPOLL}"))
    }

    fn seccomp(&self, call: &str) -> Explanation {
        if !call.starts_with("io_uring") {
            return (
                Reason::Seccomp,
                format!("A seccomp filter on this process denies {call}."),
                format!("Allow {call} in the seccomp profile of the container or service."),
            );
        }
        (
            Reason::Seccomp,
            format!(
                "A seccomp filter on this process denies {call}, as the default profiles of \
                 Docker, containerd, Podman and Kubernetes do."
            ),
            format!(
                "Allow io_uring_setup, io_uring_enter and io_uring_register: in a container by a \
                 profile of your own (docker run --security-opt seccomp=FILE, in Kubernetes \
                 seccompProfile.localhostProfile), in a systemd unit by SystemCallFilter=. This \
                 widens what the container may ask of the kernel. {USE_EPOLL}"
            ),
        )
    }

    fn security_module(&self, call: &str) -> Explanation {
        let filter = match self.seccomp {
            Some(2) => ", or the seccomp filter on this process",
            _ => "; no sysctl and no seccomp filter explains it",
        };
        (
            Reason::SecurityModule,
            format!("A security module such as SELinux or AppArmor refused {call}{filter}."),
            "Look for the denial in the audit log (ausearch -m avc, journalctl -k) and have the \
             policy allow it. Until then another backend does the same work."
                .into(),
        )
    }

    fn hidden(&self, call: &str) -> Explanation {
        (
            Reason::Other,
            format!(
                "A seccomp filter, a sysctl, a security module or the kernel's build refused \
                 {call}; which of them cannot be told, because /proc cannot be read."
            ),
            "Make all of /proc visible to this process and ask again. Until then another backend \
             does the same work."
                .into(),
        )
    }

    fn memlock(&self) -> Explanation {
        let kibibytes = self.limits.memlock_soft.unwrap_or(0) / 1024;
        (
            Reason::Memlock,
            format!(
                "The kernel had no memory for the smallest ring. A ring counts against \
                 RLIMIT_MEMLOCK, {kibibytes} KiB for all processes of this user together."
            ),
            format!(
                "Raise it (ulimit -l, LimitMEMLOCK= in a systemd unit, docker run --ulimit \
                 memlock=BYTES), or use fewer rings. {USE_EPOLL}"
            ),
        )
    }

    fn descriptor_limit(&self, errno: i32) -> Explanation {
        if errno == libc::ENFILE {
            return (
                Reason::DescriptorLimit,
                "The whole system has as many files open as fs.file-max allows.".into(),
                "Raise the sysctl fs.file-max, or find the program that leaves files open.".into(),
            );
        }
        let limit = match self.limits.open_files_soft {
            Some(limit) => limit.to_string(),
            None => "unlimited".into(),
        };
        (
            Reason::DescriptorLimit,
            format!("All descriptors the process may have are open: RLIMIT_NOFILE is {limit}."),
            "Raise it (ulimit -n, LimitNOFILE= in a systemd unit, docker run --ulimit \
             nofile=NUMBER), or find what leaves descriptors open."
                .into(),
        )
    }
}

/// For a setup that was refused in a way that options can cause, whether it works without them.
#[cfg(target_os = "linux")]
fn plain_ring_works(error: &Error) -> bool {
    const BY_OPTIONS: [i32; 4] = [libc::EPERM, libc::EACCES, libc::EINVAL, libc::EOPNOTSUPP];
    error.call == "io_uring_setup"
        && BY_OPTIONS.contains(&error.errno)
        && setup::create(&SMALLEST_RING).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn plain_ring_works(_: &Error) -> bool {
    false
}

/// Everything the epoll backend needs: a set, a waker in it, and that one's event.
#[cfg(target_os = "linux")]
fn try_epoll() -> Result<()> {
    let set = epoll::create()?;
    let waker = Waker::new()?;
    waker.wake();
    epoll::control(
        &set,
        libc::EPOLL_CTL_ADD,
        waker.fd(),
        libc::EPOLLIN as u32,
        0,
    )?;
    let mut events = Vec::with_capacity(1);
    uninterrupted(|| epoll::wait(&set, &mut events, Some(Duration::ZERO)))?;
    match events.len() {
        1 => Ok(()),
        _ => Err(Error::new("epoll_wait", libc::EIO)),
    }
}

#[cfg(not(target_os = "linux"))]
fn try_epoll() -> Result<()> {
    Err(Error::new("epoll_create1", libc::ENOSYS))
}

fn try_poll() -> Result<()> {
    uninterrupted(|| posix::poll(&mut [], Some(Duration::ZERO))).map(drop)
}

fn try_select() -> Result<()> {
    let mut sets = std::array::from_fn(|_| DescriptorSet::new());
    uninterrupted(|| posix::select(0, &mut sets, Some(Duration::ZERO))).map(drop)
}

/// Repeats a call that a signal ended: one that is pending does so even with a zero timeout.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.errno == libc::EINTR => {}
            outcome => return outcome,
        }
    }
}

fn uname() -> Option<libc::utsname> {
    let mut name = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the call fills `name`, a local, and keeps no pointer; all zeros are valid arrays of
    // characters, so it is initialized whatever the call does.
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

/// Soft and hard limit; None for no limit.
#[allow(clippy::unnecessary_cast)] // the types differ by system and by C library
fn resource_limit(resource: c_int) -> (Option<u64>, Option<u64>) {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the kernel fills `limit`, a local, before the call returns. On failure, which an
    // unknown resource alone can cause, it stays as it is: no limit known.
    unsafe { libc::getrlimit(resource as _, &mut limit) };
    let finite = |value| (value != libc::RLIM_INFINITY).then_some(value as u64);
    (finite(limit.rlim_cur), finite(limit.rlim_max))
}

#[cfg(test)]
mod tests {
    use libc::{EACCES, EINVAL, EMFILE, ENFILE, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM};

    use super::Reason::*;
    use super::*;

    const SETUP: &str = "io_uring_setup";
    const ENTER: &str = "io_uring_enter";

    /// An unprivileged process on a current kernel where nothing forbids anything.
    fn free() -> Circumstances {
        Circumstances {
            kernel: kernel("Linux", "6.18.44"),
            limits: Limits {
                open_files_soft: Some(1024),
                open_files_hard: None,
                memlock_soft: Some(8 << 20),
                memlock_hard: None,
                cpus: 2,
            },
            has_sysctls: true,
            io_uring_disabled: Some(0),
            io_uring_group: Some(-1),
            groups: vec![1000, 27],
            capabilities: 0,
            seccomp: Some(0),
            plain_ring_works: false,
        }
    }

    fn in_container() -> Circumstances {
        Circumstances {
            seccomp: Some(2),
            ..free()
        }
    }

    fn kernel(sysname: &str, release: &str) -> Kernel {
        Kernel {
            sysname: sysname.into(),
            release: release.into(),
            version: parse_release(release),
            build: "#1 SMP".into(),
            machine: "x86_64".into(),
        }
    }

    fn on(release: &str, circumstances: Circumstances) -> Circumstances {
        Circumstances {
            kernel: kernel("Linux", release),
            io_uring_disabled: None,
            ..circumstances
        }
    }

    impl Circumstances {
        /// Asserts the reason, and a word of the cause.
        #[track_caller]
        fn explains(&self, call: &'static str, errno: i32, reason: Reason, word: &str) {
            let unavailable = self.explain(&Error::new(call, errno));
            assert_eq!(unavailable.reason, reason, "{unavailable}");
            assert_eq!((unavailable.call, unavailable.errno), (call, errno));
            assert!(
                unavailable.cause.contains(word),
                "{word} is not in: {}",
                unavailable.cause
            );
            for text in [&unavailable.cause, &unavailable.remedy] {
                assert!(text.ends_with('.') && !text.contains("  "), "{text}");
            }
        }
    }

    #[test]
    fn a_missing_call_is_told_from_a_hidden_one() {
        free().explains(SETUP, ENOSYS, NoSuchCall, "CONFIG_IO_URING");
        in_container().explains(SETUP, ENOSYS, Seccomp, "seccomp");
        on("5.14.0", in_container()).explains(SETUP, ENOSYS, Seccomp, "seccomp");
        // From 6.6 on the sysctl is there when the call is.
        let built_without = on("6.18.44", in_container());
        built_without.explains(SETUP, ENOSYS, NoSuchCall, "CONFIG_IO_URING");
        in_container().explains(ENTER, ENOSYS, Seccomp, ENTER);
    }

    #[test]
    fn an_old_kernel_is_named_with_the_release_it_needs() {
        on("4.19.0", free()).explains(SETUP, ENOSYS, OldKernel, "Linux 5.6");
        on("4.19.0", in_container()).explains(SETUP, ENOSYS, OldKernel, "4.19.0");
        on("5.4.0-150-generic", free()).explains(SETUP, EINVAL, OldKernel, "5.4.0-150");
        let register = "io_uring_register";
        on("5.5.1", free()).explains(register, EINVAL, OldKernel, "5.5.1");
    }

    #[test]
    fn a_gvisor_sandbox_is_named() {
        on("4.19.0-gvisor", free()).explains(SETUP, ENOSYS, NoSuchCall, "gVisor");
        let mut sandbox = on("4.4.0", free());
        sandbox.kernel.build = "#1 SMP Sun Jan 10 15:06:54 PST 2016".into();
        sandbox.explains(SETUP, ENOSYS, NoSuchCall, "gVisor");
        sandbox.explains(SETUP, EINVAL, NoSuchCall, "gVisor");
    }

    #[test]
    fn a_permission_error_is_the_sysctls_the_filters_or_a_security_modules() {
        let forbidden = Circumstances {
            io_uring_disabled: Some(2),
            capabilities: CAP_SYS_ADMIN,
            ..in_container()
        };
        forbidden.explains(SETUP, EPERM, Sysctl, "kernel.io_uring_disabled is 2");
        in_container().explains(SETUP, EPERM, Seccomp, "Docker");
        in_container().explains(ENTER, EPERM, Seccomp, ENTER);
        free().explains(SETUP, EPERM, SecurityModule, "no sysctl");
        in_container().explains(SETUP, EACCES, SecurityModule, "SELinux");
    }

    #[test]
    fn a_cause_that_proc_hides_is_not_guessed() {
        let in_chroot = Circumstances {
            has_sysctls: false,
            io_uring_disabled: None,
            seccomp: None,
            ..free()
        };
        in_chroot.explains(SETUP, EPERM, Other, "/proc");
        in_chroot.explains(SETUP, ENOSYS, Other, "/proc");
        let only_processes = Circumstances {
            seccomp: Some(2),
            ..in_chroot
        };
        only_processes.explains(SETUP, EPERM, Seccomp, "seccomp");
        only_processes.explains(SETUP, ENOSYS, Seccomp, "seccomp");
        let unfiltered = Circumstances {
            seccomp: Some(0),
            ..only_processes
        };
        unfiltered.explains(SETUP, EPERM, Other, "/proc");
    }

    #[test]
    fn the_sysctl_at_1_spares_the_privileged_and_a_group() {
        let outsider = Circumstances {
            io_uring_disabled: Some(1),
            ..in_container()
        };
        outsider.explains(SETUP, EPERM, Sysctl, "no group");
        let other_group = Circumstances {
            io_uring_group: Some(990),
            ..outsider.clone()
        };
        other_group.explains(SETUP, EPERM, Sysctl, "group 990");
        let member = Circumstances {
            groups: vec![1000, 990],
            ..other_group
        };
        member.explains(SETUP, EPERM, Seccomp, "seccomp");
        let privileged = Circumstances {
            capabilities: CAP_SYS_ADMIN,
            ..outsider
        };
        privileged.explains(SETUP, EPERM, Seccomp, "seccomp");
    }

    #[test]
    fn a_refused_option_is_told_from_a_refused_ring() {
        let plain = |release| Circumstances {
            plain_ring_works: true,
            ..on(release, in_container())
        };
        plain("5.12.4").explains(SETUP, EPERM, OldKernel, "Linux 5.13");
        plain("5.10.0").explains(SETUP, EOPNOTSUPP, OldKernel, "Linux 5.11");
        plain("6.18.0").explains(SETUP, EINVAL, Other, "CPU");
        plain("6.18.0").explains(SETUP, EACCES, SecurityModule, "sqpoll");
    }

    #[test]
    fn a_kernel_that_cannot_restrict_a_ring_is_named() {
        let error = Error::missing("io_uring_setup", (5, 10));
        let unavailable = on("5.9.16", in_container()).explain(&error);
        assert_eq!(unavailable.reason, OldKernel);
        let cause = "This kernel is 5.9.16; restricting a ring (restrict) needs Linux 5.10.";
        assert_eq!(unavailable.cause, cause);
    }

    #[test]
    fn short_memory_is_the_limits_unless_the_process_is_exempt() {
        free().explains(SETUP, ENOMEM, Memlock, "RLIMIT_MEMLOCK, 8192 KiB");
        let exempt = Circumstances {
            capabilities: CAP_IPC_LOCK,
            ..free()
        };
        exempt.explains(SETUP, ENOMEM, Other, "cgroup");
    }

    #[test]
    fn short_descriptors_name_the_limit_of_the_process_or_the_system() {
        for call in [SETUP, "epoll_create1", "eventfd"] {
            free().explains(call, EMFILE, DescriptorLimit, "RLIMIT_NOFILE is 1024");
            free().explains(call, ENFILE, DescriptorLimit, "fs.file-max");
        }
    }

    #[test]
    fn the_readiness_calls_can_be_denied_as_well() {
        in_container().explains("epoll_wait", EPERM, Seccomp, "epoll_wait");
        free().explains("epoll_wait", EPERM, SecurityModule, "epoll_wait");
        free().explains("epoll_create1", libc::EIO, Other, "epoll_create1");
    }

    #[test]
    fn another_system_has_neither_io_uring_nor_epoll() {
        let elsewhere = Circumstances {
            kernel: kernel("Darwin", "24.1.0"),
            has_sysctls: false,
            seccomp: None,
            ..free()
        };
        elsewhere.explains(SETUP, ENOSYS, Platform, "Darwin");
        elsewhere.explains("epoll_create1", ENOSYS, Platform, "Darwin");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_groups_of_the_thread_are_read() {
        // SAFETY: takes nothing and returns a number.
        let group = unsafe { libc::getegid() };
        let around = Circumstances::of(&Error::new(ENTER, EPERM));
        let groups = around.groups;
        assert!(groups.contains(&i64::from(group)), "{groups:?}");
        assert!(around.seccomp.is_some());
    }

    #[test]
    fn releases_are_read_as_far_as_they_are_numbers() {
        assert_eq!(parse_release("6.18.44-fc-v669"), (6, 18, 44));
        assert_eq!(parse_release("5.14.0-362.el9.x86_64"), (5, 14, 0));
        assert_eq!(parse_release("6.1-rc3"), (6, 1, 0));
        assert_eq!(parse_release("99999999999.1"), (0, 1, 0));
        assert_eq!(parse_release(""), (0, 0, 0));
    }
}
