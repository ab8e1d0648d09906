//! Why a backend does not work: found from the errno of the failed call and the circumstances of the process.

use std::fs;

use super::machine::{Kernel, Limits};
use super::refusal::{Reason, Unavailable};
use super::trials::plain_ring_works;
use crate::error::{Error, Lack};

/// Explains why a call that a backend needs has failed with `error`.
///
/// Reads /proc, and makes a small ring when only a trial shows the cause. Call it once, when setting up a backend has
/// failed, and not for the errors of single operations. After a failed setup of a ring, pass the error of that setup.
pub fn diagnose(error: &Error) -> Unavailable {
    Circumstances::of(error).explain(error)
}

/// The circumstances of a refusal, which reveal its cause.
#[derive(Clone)]
pub(super) struct Circumstances {
    pub kernel: Kernel,
    pub limits: Limits,
    /// Whether sysctls are readable; systemd's `ProcSubset=pid` hides them.
    has_sysctls: bool,
    /// `kernel.io_uring_disabled`: 0 allows rings, 1 demands privilege or the group, 2 forbids rings. None when the
    /// sysctl is unreadable or absent (before 6.6, or in a kernel without io_uring).
    pub io_uring_disabled: Option<i64>,
    /// `kernel.io_uring_group`, -1 for no group.
    pub io_uring_group: Option<i64>,
    /// File system group and supplementary groups: the kernel checks these.
    groups: Vec<i64>,
    /// Effective capabilities; 0 inside a user namespace, because the kernel ignores them here.
    capabilities: u64,
    /// `Seccomp:` in /proc/thread-self/status: 2 is a filter. None where there is no /proc, as in some chroots.
    pub seccomp: Option<u32>,
    /// Whether the kernel makes a small ring without options. If so, it refused one of the options.
    plain_ring_works: bool,
}

const CAP_IPC_LOCK: u64 = 1 << 14;
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// A reason, its cause, and its remedy.
pub(super) type Explanation = (Reason, String, String);

impl Circumstances {
    fn of(error: &Error) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let number = |path| read(path).trim().parse().ok();
        // Seccomp filters and credentials belong to the thread, not to the process.
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
            return self.linux_only();
        }
        match error.lack {
            Some(Lack::Kernel(major, minor)) => return self.without_restrictions((major, minor)),
            Some(Lack::Denied(operation)) => return self.filter(operation),
            _ => {}
        }
        // A call after a successful setup: the kernel has io_uring, so it has all three calls.
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

    /// Explains a failure of any call.
    fn explain_call(&self, error: &Error) -> Explanation {
        let call = error.call;
        match error.errno {
            libc::EMFILE | libc::ENFILE => self.descriptor_limit(error.errno),
            libc::ENOSYS if call == "kqueue" && self.kernel.is_linux() => self.not_on_linux(),
            libc::ENOSYS if call.starts_with("epoll") && !self.kernel.is_linux() => {
                self.linux_only()
            }
            libc::EPERM | libc::ENOSYS if self.has_seccomp_filter() => self.seccomp(call),
            libc::EPERM if self.seccomp.is_none() || !self.has_sysctls => self.hidden(call),
            libc::EPERM | libc::EACCES => self.security_module(call),
            libc::ENOMEM => (
                Reason::Other,
                "The kernel, or the memory cgroup of this process, had no memory for the call."
                    .into(),
                "Free memory, or raise the limit of the container or service.".into(),
            ),
            _ => (
                Reason::Other,
                format!("None of the known causes explains why {call} failed."),
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

    /// From 6.6 on, a kernel with io_uring has this sysctl.
    fn lacks_io_uring(&self) -> bool {
        !self.kernel.is_before(6, 6) && self.has_sysctls && self.io_uring_disabled.is_none()
    }

    /// Repeats the rule of the kernel's `io_uring_allowed()`.
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
}

#[cfg(test)]
mod tests {
    use libc::{EACCES, EINVAL, EMFILE, ENFILE, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM};

    use super::Reason::*;
    use super::*;
    use crate::support::machine::parse_release;

    const SETUP: &str = "io_uring_setup";
    const ENTER: &str = "io_uring_enter";

    /// An unprivileged process on a current kernel that forbids nothing.
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
    fn a_filter_of_operations_is_told_with_the_operation_that_it_denies() {
        let told = in_container().explain(&Error::denied(ENTER, "poll_add"));
        assert_eq!((told.reason, told.errno), (Filter, EACCES));
        assert!(told.cause.contains("poll_add"), "{told}");
    }

    #[test]
    fn a_missing_call_is_told_from_a_hidden_one() {
        free().explains(SETUP, ENOSYS, NoSuchCall, "CONFIG_IO_URING");
        in_container().explains(SETUP, ENOSYS, Seccomp, "seccomp");
        on("5.14.0", in_container()).explains(SETUP, ENOSYS, Seccomp, "seccomp");
        // From 6.6 on, a kernel with the call has the sysctl, too.
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
    fn linux_has_no_kqueue_whatever_a_filter_denies() {
        for circumstances in [free(), in_container()] {
            circumstances.explains("kqueue", ENOSYS, Platform, "macOS and BSD; this is Linux");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    fn the_groups_of_the_thread_are_read() {
        // SAFETY: the call takes nothing and returns a number.
        let group = unsafe { libc::getegid() };
        let around = Circumstances::of(&Error::new(ENTER, EPERM));
        let groups = around.groups;
        assert!(groups.contains(&i64::from(group)), "{groups:?}");
        assert!(around.seccomp.is_some());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_options_need_is_told_by_a_real_refusal() {
        use crate::ring_options::{Mask, Options, Sqpoll};
        use crate::uring::setup::create;

        let plain = Options::default();
        if create(&plain).is_err() {
            eprintln!("skipped: what_options_need_is_told_by_a_real_refusal needs io_uring");
            return;
        }
        let limits = Mask::linux(5, 9);
        let restricted = Options {
            restrict: true,
            limits,
            ..plain.clone()
        };
        let error = create(&restricted).err().unwrap();
        assert!(diagnose(&error).cause.contains("5.10"));
        let cpu = Some(u32::MAX - 1);
        let polled = Options {
            sqpoll: Some(Sqpoll { idle_ms: 1, cpu }),
            ..plain
        };
        let error = create(&polled).err().unwrap();
        assert!(diagnose(&error).cause.contains("CPU"));
    }
}
