//! Refusals: why a backend does not work.

use std::fmt;

use crate::error::Error;

/// The reason why a backend does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The kind of the cause.
    pub reason: Reason,
    /// System call that failed.
    pub call: &'static str,
    /// Positive errno it gave, see errno(3).
    pub errno: i32,
    /// The cause, in sentences that name the sysctl, profile or limit.
    pub cause: String,
    /// The cure, in sentences.
    pub remedy: String,
}

/// Kinds of cause for a backend that does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The kernel was built without the call, or is an emulation that lacks it.
    NoSuchCall,
    /// `kernel.io_uring_disabled` forbids it (Linux 6.6).
    Sysctl,
    /// A seccomp filter denies the call, as container runtimes do by default.
    Seccomp,
    /// A filter denies rings an operation that a scheduler cannot do without (Linux 7.0).
    Filter,
    /// `RLIMIT_MEMLOCK` is too small for a ring.
    Memlock,
    /// The kernel is too old for it.
    OldKernel,
    /// A security module such as SELinux or AppArmor refused it.
    SecurityModule,
    /// No descriptor is left, in the process or in the system.
    DescriptorLimit,
    /// It is a call of other systems than this one.
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
            Self::Filter => "filter",
            Self::Memlock => "memlock",
            Self::OldKernel => "old_kernel",
            Self::SecurityModule => "security_module",
            Self::DescriptorLimit => "descriptor_limit",
            Self::Platform => "platform",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Unavailable {
    /// The failed call with its errno, the cause, the remedy: one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = Error::new(self.call, self.errno);
        write!(f, "{error}. {} {}", self.cause, self.remedy)
    }
}
