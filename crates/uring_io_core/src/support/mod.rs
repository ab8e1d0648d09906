//! Tries every backend of this machine for real, and finds the reason when the kernel refuses one.
//!
//! An errno does not name its cause: a seccomp profile, a sysctl and a security module all answer `EPERM`; a missing
//! call and a hidden one both answer `ENOSYS`. So the explanation of a refusal also needs the circumstances of the
//! process (`Circumstances`). It depends on nothing but these two. This module caches nothing.

mod diagnosis;
mod explanations;
pub(crate) mod machine;
mod refusal;
mod trials;

use crate::backend_kind::BackendKind;
pub use diagnosis::diagnose;
pub use machine::{Kernel, Limits};
pub use refusal::{Reason, Unavailable};
use trials::{
    first_releases, try_epoll, try_io_uring, try_kqueue, try_poll, try_select, Inventory,
};

/// The backends and operations that the kernel of this machine offers to this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// The running kernel.
    pub kernel: Kernel,
    /// Each backend, best first.
    pub backends: [BackendSupport; BackendKind::ALL.len()],
    /// Operations of io_uring in the kernel's numbering, `("nop", true)` first, from `IORING_REGISTER_PROBE` (Linux
    /// 5.6). The probe does not report the flags of an operation. All false where io_uring is unavailable. This list,
    /// `features` and `setup_flags` are empty on other systems than Linux.
    pub operations: Vec<(&'static str, bool)>,
    /// Operations of a scheduler that a filter on this process refuses to rings with `EACCES`, by name. The scheduler
    /// makes them without the ring.
    pub denied: Vec<&'static str>,
    /// Features of io_uring by bit, see io_uring_setup(2): `("single_mmap", true)` first.
    pub features: Vec<(&'static str, bool)>,
    /// Setup flags that a ring gets here, see io_uring_setup(2). False for a flag that the kernel lacks, and for one
    /// that a better flag replaces (`coop_taskrun` by `defer_taskrun`).
    pub setup_flags: Vec<(&'static str, bool)>,
    /// Limits of the process.
    pub limits: Limits,
}

/// The first Linux (major and minor) with each operation, feature and setup flag of io_uring, under the names of
/// [`Support`]. Empty on other systems than Linux. The sources are io_uring_setup(2) and io_uring_enter(2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Releases {
    pub operations: Vec<(&'static str, (u32, u32))>,
    pub features: Vec<(&'static str, (u32, u32))>,
    pub setup_flags: Vec<(&'static str, (u32, u32))>,
}

impl Releases {
    /// The known ones.
    pub fn known() -> Self {
        first_releases()
    }
}

/// A backend and whether it works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSupport {
    /// The backend.
    pub kind: BackendKind,
    /// Why it does not work; None when it does.
    pub unavailable: Option<Unavailable>,
}

impl BackendSupport {
    /// Whether the backend works here.
    pub fn is_available(&self) -> bool {
        self.unavailable.is_none()
    }
}

impl Support {
    /// Tries every backend once and reads the kernel and the limits.
    ///
    /// Any thread may call it. It opens a few descriptors, and closes them before it returns.
    pub fn detect() -> Self {
        let ring = try_io_uring();
        let inventory = ring.clone().unwrap_or_else(|_| Inventory::of_no_ring());
        let tried = [
            (BackendKind::IoUring, ring.map(drop)),
            (BackendKind::Epoll, try_epoll()),
            (BackendKind::Kqueue, try_kqueue()),
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
            denied: inventory.denied,
            features: inventory.features,
            setup_flags: inventory.setup_flags,
            limits: Limits::detect(),
        }
    }

    /// The facts about `kind`.
    pub fn backend(&self, kind: BackendKind) -> &BackendSupport {
        &self.backends[kind as usize]
    }

    /// The first backend that works. If none does: `Poll`, the most portable one.
    pub fn best(&self) -> BackendKind {
        let available = self.backends.iter().find(|backend| backend.is_available());
        available.map_or(BackendKind::Poll, |backend| backend.kind)
    }
}
