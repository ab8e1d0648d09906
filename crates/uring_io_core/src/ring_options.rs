//! How a ring is made: plain data, also where there is no io_uring.

use std::fmt;
use std::sync::Arc;

/// How to make a ring. The default is 256 entries without a polling thread.
#[derive(Clone, Debug)]
pub struct Options {
    /// Submission queue entries wanted, 1 to 32768; the kernel rounds up to a power of two. The
    /// completion queue gets four times as many. Short memory gives a smaller ring, down to 8.
    pub entries: u32,
    /// Let a kernel thread take submissions off the queue.
    pub sqpoll: Option<Sqpoll>,
    /// Whether the ring is used by any thread of the kernel, one at a time, and not by that which makes it alone.
    pub any_thread: bool,
    /// Have the kernel refuse what a scheduler does not submit itself: see `uring::submission::OPCODES`.
    pub restrict: bool,
    /// What to pretend that the kernel lacks. Tests only; the default hides nothing.
    pub limits: Mask,
    /// What to have the kernel answer to submissions. Tests only; the default lets it speak for itself.
    pub intake: Option<Intake>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            entries: 256,
            sqpoll: None,
            any_thread: false,
            restrict: false,
            limits: Mask::NOTHING,
            intake: None,
        }
    }
}

/// The kernel thread that polls the submission queue (`IORING_SETUP_SQPOLL`, io_uring_sqpoll(7)).
///
/// Usable from Linux 5.11 on, where it takes ordinary descriptors; unprivileged from 5.13 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sqpoll {
    /// Milliseconds without a submission after which the thread sleeps; 0 is the kernel's default
    /// of one second.
    pub idle_ms: u32,
    /// CPU the thread is bound to; a CPU that is not online gives `EINVAL`.
    pub cpu: Option<u32>,
}

/// What a test pretends that the kernel lacks.
///
/// It only ever takes away: what the real kernel lacks stays absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// `IORING_SETUP_*` bits that are answered with `EINVAL`, as an older kernel does.
    pub setup_flags: u32,
    /// `IORING_FEAT_*` bits that count as absent.
    pub features: u32,
    /// Operations that count as unsupported, bit *n* for opcode *n*.
    pub operations: u128,
    /// Operations that the kernel refuses with `EACCES`, bit *n* for opcode *n*, as a filter does. Of restricted rings
    /// only, whose restrictions leave these out.
    pub denied: u128,
    /// Larger rings are answered with `ENOMEM`, as under a tight `RLIMIT_MEMLOCK`.
    pub entries_max: Option<u32>,
}

/// `IORING_FEAT_SQPOLL_NONFIXED`, Linux 5.11: the polling thread takes ordinary descriptors.
pub const FEAT_SQPOLL_NONFIXED: u32 = 1 << 7;
/// `IORING_FEAT_EXT_ARG`, Linux 5.11: `io_uring_enter` takes a timeout.
pub const FEAT_EXT_ARG: u32 = 1 << 8;

impl Mask {
    /// Hides nothing.
    pub const NOTHING: Self = Self {
        setup_flags: 0,
        features: 0,
        operations: 0,
        denied: 0,
        entries_max: None,
    };

    /// Whether the feature of this `FEAT_*` bit counts as absent.
    pub fn hides_feature(&self, bit: u32) -> bool {
        self.features & bit != 0
    }

    /// Whether `io_uring_enter` counts as unable to take a timeout.
    pub fn hides_ext_arg(&self) -> bool {
        self.hides_feature(FEAT_EXT_ARG)
    }
}

/// How many of so many queued entries `io_uring_enter` takes, or the errno with which it takes none and
/// does nothing else either: what a test makes of each call. That it takes fewer is a call that does not
/// wait, as with the kernel itself.
#[derive(Clone)]
pub struct Intake(Arc<dyn Fn(u32) -> Result<u32, i32> + Send + Sync>);

impl Intake {
    /// Asked at each call, with the number of entries that are queued for it.
    pub fn new(answer: impl Fn(u32) -> Result<u32, i32> + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    /// The answer to a call with so many entries.
    pub fn answer(&self, queued: u32) -> Result<u32, i32> {
        (self.0)(queued)
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Intake")
    }
}
