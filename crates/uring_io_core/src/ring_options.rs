//! The options of a ring: plain data, which also exists where there is no io_uring.

use std::fmt;
use std::sync::Arc;

/// How to make a ring. The default is 256 entries without a polling thread.
#[derive(Clone, Debug)]
pub struct Options {
    /// Submission queue entries wanted, 1 to 32768; the kernel rounds up to a power of two. The completion queue gets
    /// four times as many. When memory is short, the ring gets fewer, down to 8.
    pub entries: u32,
    /// Lets a kernel thread take submissions off the queue.
    pub sqpoll: Option<Sqpoll>,
    /// Whether any thread may use the ring, one at a time, and not only the thread that makes it.
    pub any_thread: bool,
    /// Makes the kernel refuse operations that a scheduler does not submit itself: see `uring::submission::OPCODES`.
    pub restrict: bool,
    /// Abilities of the kernel to hide. Tests only; the default hides nothing.
    pub limits: Mask,
    /// Answers to submissions in place of the kernel's. Tests only; by default the kernel answers.
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
/// Usable from Linux 5.11 on, when it takes ordinary descriptors; by unprivileged processes from 5.13 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sqpoll {
    /// Milliseconds without a submission after which the thread sleeps; 0 is the kernel's default
    /// of one second.
    pub idle_ms: u32,
    /// CPU that the thread is bound to. Setup fails with `EINVAL` for a CPU that is not online.
    pub cpu: Option<u32>,
}

/// Abilities of the kernel that a test hides.
///
/// A mask only takes away: an ability that the real kernel lacks stays absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// `IORING_SETUP_*` bits that setup refuses with `EINVAL`, as an older kernel does.
    pub setup_flags: u32,
    /// `IORING_FEAT_*` bits that count as absent.
    pub features: u32,
    /// Operations that count as unsupported, bit *n* for opcode *n*.
    pub operations: u128,
    /// Operations that the kernel refuses with `EACCES`, bit *n* for opcode *n*, as a filter does. It works only on
    /// restricted rings, whose restrictions then leave these operations out.
    pub denied: u128,
    /// The most entries of a ring. Setup refuses a larger one with `ENOMEM`, as under a tight `RLIMIT_MEMLOCK`.
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

/// A test's answer to each call of `io_uring_enter`: how many of the queued entries the call takes, or an errno with
/// which it takes none and does nothing else. A call that takes only some of the entries does not wait, as with the
/// kernel itself.
#[derive(Clone)]
pub struct Intake(Arc<dyn Fn(u32) -> Result<u32, i32> + Send + Sync>);

impl Intake {
    /// Makes an intake. `answer` gets the number of queued entries.
    pub fn new(answer: impl Fn(u32) -> Result<u32, i32> + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    /// The answer to a call with this many queued entries.
    pub fn answer(&self, queued: u32) -> Result<u32, i32> {
        (self.0)(queued)
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Intake")
    }
}
