//! The explanation of each cause of a refusal, with its remedy.

use super::diagnosis::{Circumstances, Explanation};
use super::refusal::Reason;
use crate::error::Error;

const USE_EPOLL: &str = "Until then epoll does the same work.";

impl Circumstances {
    pub(super) fn filter(&self, operation: &str) -> Explanation {
        (
            Reason::Filter,
            format!(
                "A filter on this process (task restrictions of io_uring, or a BPF filter: Linux 7.0) \
                 denies its rings the operation {operation}, and no scheduler can do without that one."
            ),
            format!(
                "Start this process with a filter that allows nop, poll_add, async_cancel, read, write, send, \
                 recv and waitid to its rings. {USE_EPOLL}"
            ),
        )
    }

    pub(super) fn linux_only(&self) -> Explanation {
        (
            Reason::Platform,
            format!(
                "io_uring and epoll are calls of Linux; this is {}.",
                self.kernel.sysname
            ),
            "Use the kqueue backend, or name none, which gives the best one that works here."
                .into(),
        )
    }

    pub(super) fn not_on_linux(&self) -> Explanation {
        (
            Reason::Platform,
            format!(
                "kqueue is a call of macOS and BSD; this is {}.",
                self.kernel.sysname
            ),
            "Use the epoll backend, or name none, which gives the best one that works here.".into(),
        )
    }

    pub(super) fn no_such_call(&self) -> Explanation {
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

    pub(super) fn old_kernel(&self) -> Explanation {
        (
            Reason::OldKernel,
            format!(
                "This kernel is {}; io_uring needs Linux 5.6.",
                self.kernel.release
            ),
            format!("Boot Linux 5.6 or newer, 6.1 or newer for full speed. {USE_EPOLL}"),
        )
    }

    /// The ring works without restrictions, because no other option needs a newer kernel than the ring itself.
    pub(super) fn without_restrictions(&self, (major, minor): (u32, u32)) -> Explanation {
        (
            Reason::OldKernel,
            format!(
                "This kernel is {}; restricting a ring (restrict) needs Linux {major}.{minor}.",
                self.kernel.release
            ),
            "Make the ring without restrict, which works here, or name no backend: the scheduler \
             then uses epoll, which has nothing to restrict."
                .into(),
        )
    }

    /// The ring works without the given options. Of these, only the polling thread can make setup fail.
    pub(super) fn option(&self, error: &Error) -> Explanation {
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

    pub(super) fn sysctl(&self) -> Explanation {
        let (cause, remedy) = if self.io_uring_disabled == Some(1) {
            let group = match self.io_uring_group {
                Some(group) if group >= 0 => format!("group {group}"),
                _ => "no group".into(),
            };
            (
                format!(
                    "The sysctl kernel.io_uring_disabled is 1: only processes with CAP_SYS_ADMIN \
                     or in the group of kernel.io_uring_group, now {group}, may make a ring, and \
                     this process has neither."
                ),
                "Ask the administrator to set kernel.io_uring_group to a group of this process \
                 (sysctl -w kernel.io_uring_group=GID), or kernel.io_uring_disabled to 0.",
            )
        } else {
            let value = self.io_uring_disabled.unwrap_or(2);
            (
                format!(
                    "The sysctl kernel.io_uring_disabled is {value}: no process of this machine, \
                     privileged or not, may make a ring."
                ),
                "Ask the administrator to set it to 0 (sysctl -w kernel.io_uring_disabled=0), or \
                 to 1 with kernel.io_uring_group set to a group of this process.",
            )
        };
        (Reason::Sysctl, cause, format!("{remedy} {USE_EPOLL}"))
    }

    pub(super) fn seccomp(&self, call: &str) -> Explanation {
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

    pub(super) fn security_module(&self, call: &str) -> Explanation {
        let filter = match self.seccomp {
            Some(2) => ", or the seccomp filter on this process",
            _ => "; no sysctl and no seccomp filter explains it",
        };
        (
            Reason::SecurityModule,
            format!("A security module such as SELinux or AppArmor refused {call}{filter}."),
            "Look for the denial in the audit log (ausearch -m avc, journalctl -k) and change the \
             policy to allow it. Until then another backend does the same work."
                .into(),
        )
    }

    pub(super) fn hidden(&self, call: &str) -> Explanation {
        (
            Reason::Other,
            format!(
                "A seccomp filter, a sysctl, a security module or the kernel's build refused \
                 {call}. Nobody can tell which of them, because this process cannot read /proc."
            ),
            "Make all of /proc visible to this process and look again. Until then another backend \
             does the same work."
                .into(),
        )
    }

    pub(super) fn memlock(&self) -> Explanation {
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

    pub(super) fn descriptor_limit(&self, errno: i32) -> Explanation {
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
            format!("This process has all the descriptors open that it may have: RLIMIT_NOFILE is {limit}."),
            "Raise it (ulimit -n, LimitNOFILE= in a systemd unit, docker run --ulimit \
             nofile=NUMBER), or find the code that leaves descriptors open."
                .into(),
        )
    }
}
