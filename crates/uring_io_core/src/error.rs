//! Errors of the core: the errno and the call that gave it.

use std::fmt;
use std::io;

/// A system call that failed: its name and the errno it gave.
///
/// The binding turns this into the `Errno::*` exception of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Name of the system call, as in its man page.
    pub call: &'static str,
    /// Positive errno, see errno(3).
    pub errno: i32,
    /// The lack that makes the call impossible here, if there is one.
    pub lack: Option<Lack>,
}

/// Why nobody can make a call here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The kernel is older than the first release (major, minor) that has it.
    Kernel(u32, u32),
    /// Only io_uring can make it, and the backend is another one.
    Ring,
    /// The kernel restricts the ring to the operations that a scheduler submits itself.
    Restriction,
    /// A filter on the process refuses this operation to its rings.
    Denied(&'static str),
    /// A polling thread would make it with the credentials that the process had when it made the ring. The process
    /// has others by now.
    Credentials,
}

/// Result of everything in this crate that asks the kernel for something.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The error `errno` of `call`.
    pub fn new(call: &'static str, errno: i32) -> Self {
        Self {
            call,
            errno,
            lack: None,
        }
    }

    /// `call` came with Linux `major.minor`, and this kernel does not have it (`ENOSYS`).
    pub(crate) fn missing(call: &'static str, (major, minor): (u32, u32)) -> Self {
        Self {
            lack: Some(Lack::Kernel(major, minor)),
            ..Self::new(call, libc::ENOSYS)
        }
    }

    /// Only io_uring can make `call` (`EOPNOTSUPP`).
    pub(crate) fn without_ring(call: &'static str) -> Self {
        Self {
            lack: Some(Lack::Ring),
            ..Self::new(call, libc::EOPNOTSUPP)
        }
    }

    /// A restricted ring does not make `call` (`EACCES`, as the kernel would say).
    pub(crate) fn restricted(call: &'static str) -> Self {
        Self {
            lack: Some(Lack::Restriction),
            ..Self::new(call, libc::EACCES)
        }
    }

    /// A filter refuses `operation` to rings (`EACCES`, as the kernel says).
    pub(crate) fn denied(call: &'static str, operation: &'static str) -> Self {
        Self {
            lack: Some(Lack::Denied(operation)),
            ..Self::new(call, libc::EACCES)
        }
    }

    /// The kernel would make `call` with credentials that this process no longer has (`EPERM`).
    pub(crate) fn of_another_user(call: &'static str) -> Self {
        Self {
            lack: Some(Lack::Credentials),
            ..Self::new(call, libc::EPERM)
        }
    }

    /// The error that the last system call of this thread left in `errno`.
    pub fn last(call: &'static str) -> Self {
        Self::from_io(call, &io::Error::last_os_error())
    }

    /// The errno inside `error`; an error that carries none becomes `EIO`.
    pub fn from_io(call: &'static str, error: &io::Error) -> Self {
        Self::new(call, error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// The errno that the last system call of this thread left.
pub(crate) fn last_errno() -> i32 {
    Error::last("").errno
}

/// The result of a system call, or the negative errno that it left.
pub(crate) fn or_errno(result: i32) -> i32 {
    if result < 0 {
        -last_errno()
    } else {
        result
    }
}

/// Whether a result says that an operation ended before it did anything: `-ECANCELED`, or `-EINTR` from a kernel
/// worker whose work somebody cancelled.
pub fn is_cancellation(result: i32) -> bool {
    [-libc::ECANCELED, -libc::EINTR].contains(&result)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.call,
            io::Error::from_raw_os_error(self.errno)
        )
    }
}

impl std::error::Error for Error {}
