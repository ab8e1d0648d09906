//! The names of the backends.

use std::fmt;
use std::str::FromStr;

/// A way to carry out operations, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// io_uring: the driver submits operations, and completions come back (Linux 5.6).
    IoUring,
    /// epoll(7): the driver waits for readiness and then makes the call (Linux).
    Epoll,
    /// kqueue(2): the same on macOS and BSD.
    Kqueue,
    /// poll(2): the same on any Unix. A wait costs more with every descriptor that somebody waits for.
    Poll,
    /// select(2): the same for descriptors below 1024.
    Select,
}

impl BackendKind {
    /// Every backend, best first, including those that this system does not have.
    pub const ALL: [Self; 5] = [
        Self::IoUring,
        Self::Epoll,
        Self::Kqueue,
        Self::Poll,
        Self::Select,
    ];

    /// The name users write: `io_uring`, `epoll`, `kqueue`, `poll` or `select`.
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
            Self::Kqueue => "kqueue",
            Self::Poll => "poll",
            Self::Select => "select",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not that of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownBackend;

impl FromStr for BackendKind {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or(UnknownBackend)
    }
}
