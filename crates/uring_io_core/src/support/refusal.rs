//! Refusals: the reason why a backend does not work.

use std::fmt;

use crate::error::Error;

/// The reason why a backend does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The kind of the cause.
    pub reason: Reason,
    /// System call that failed.
    pub call: &'static str,
    /// The positive errno that the call gave, see errno(3).
    pub errno: i32,
    /// The cause, in sentences that name the sysctl, profile or limit.
    pub cause: String,
    /// The remedy, in sentences.
    pub remedy: String,
}

/// Kinds of cause for a backend that does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The kernel was built without the call, or is an emulator that lacks it.
    NoSuchCall,
    /// The sysctl `kernel.io_uring_disabled` forbids the call (Linux 6.6).
    Sysctl,
    /// A seccomp filter denies the call, as container runtimes do by default.
    Seccomp,
    /// A filter denies rings an operation that every scheduler needs (Linux 7.0).
    Filter,
    /// `RLIMIT_MEMLOCK` is too small for a ring.
    Memlock,
    /// The kernel is too old for the backend.
    OldKernel,
    /// A security module such as SELinux or AppArmor refused the call.
    SecurityModule,
    /// No descriptor is left, in the process or in the system.
    DescriptorLimit,
    /// The call belongs to other systems than this one.
    Platform,
    /// None of these reasons; only the errno is known.
    Other,
}

impl Reason {
    /// The name that users see, in snake_case.
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
    /// One line: the failed call with its errno, the cause, the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = Error::new(self.call, self.errno);
        write!(f, "{error}. {} {}", self.cause, self.remedy)
    }
}
