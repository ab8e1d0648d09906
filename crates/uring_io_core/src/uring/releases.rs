//! The setup flags, features and operations that the kernel can report: the name of each, and the first Linux release
//! that has it.
//!
//! Sources are io_uring_setup(2), io_uring_enter(2) and `include/uapi/linux/io_uring.h`.

use io_uring::Builder;

use crate::ring_options::Mask;

/// A kernel release, major and minor.
pub(crate) type Release = (u32, u32);

impl Mask {
    /// Hides every flag, feature and operation that came after Linux `major.minor`.
    pub fn linux(major: u32, minor: u32) -> Self {
        let is_later = |since: Release| since > (major, minor);
        let mut mask = Self::default();
        for flag in SETUP_FLAGS.iter().filter(|flag| is_later(flag.since)) {
            mask.setup_flags |= flag.bit;
        }
        if is_later(RESTRICTIONS_SINCE) {
            mask.setup_flags |= R_DISABLED;
        }
        for (bit, (_, since)) in FEATURES.into_iter().enumerate() {
            mask.features |= u32::from(is_later(since)) << bit;
        }
        for (code, (_, since)) in OPERATIONS.into_iter().enumerate() {
            mask.operations |= u128::from(is_later(since)) << code;
        }
        mask
    }
}

/// `IORING_SETUP_R_DISABLED`: the ring submits nothing until it is enabled.
pub(super) const R_DISABLED: u32 = 1 << 6;
/// The first release of this flag, and of `IORING_REGISTER_RESTRICTIONS`, which it is for.
pub(super) const RESTRICTIONS_SINCE: Release = (5, 10);

/// A setup flag of `setup::LADDER`, and the builder's method that asks for it.
pub(super) struct SetupFlag {
    name: &'static str,
    pub bit: u32,
    since: Release,
    pub ask: fn(&mut Builder) -> &mut Builder,
}

pub(super) const SUBMIT_ALL: u32 = 1 << 7;
pub(super) const COOP_TASKRUN: u32 = 1 << 8;
pub(super) const TASKRUN_FLAG: u32 = 1 << 9;
pub(super) const SINGLE_ISSUER: u32 = 1 << 12;
pub(super) const DEFER_TASKRUN: u32 = 1 << 13;
pub(super) const NO_SQARRAY: u32 = 1 << 16;

#[rustfmt::skip] // one row, one flag
pub(super) const SETUP_FLAGS: [SetupFlag; 6] = [
    SetupFlag { name: "submit_all", bit: SUBMIT_ALL, since: (5, 18), ask: Builder::setup_submit_all },
    SetupFlag { name: "coop_taskrun", bit: COOP_TASKRUN, since: (5, 19), ask: Builder::setup_coop_taskrun },
    SetupFlag { name: "taskrun_flag", bit: TASKRUN_FLAG, since: (5, 19), ask: Builder::setup_taskrun_flag },
    SetupFlag { name: "single_issuer", bit: SINGLE_ISSUER, since: (6, 0), ask: Builder::setup_single_issuer },
    SetupFlag { name: "defer_taskrun", bit: DEFER_TASKRUN, since: (6, 1), ask: Builder::setup_defer_taskrun },
    SetupFlag { name: "no_sqarray", bit: NO_SQARRAY, since: (6, 6), ask: Builder::setup_no_sqarray },
];

/// The operations a kernel supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operations(pub(super) u128);

impl Operations {
    /// Whether the kernel knows the opcode `code`. Says nothing about its flags.
    pub(crate) fn supports(self, code: u8) -> bool {
        self.0
            .checked_shr(u32::from(code))
            .is_some_and(|bits| bits & 1 != 0)
    }

    /// The names of the operations in this set.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let named = self.named().into_iter();
        named
            .filter_map(|(name, is_in)| is_in.then_some(name))
            .collect()
    }

    /// Every operation that has a name here, in the kernel's numbering, and whether it is in this set.
    pub(crate) fn named(self) -> Vec<(&'static str, bool)> {
        (0..)
            .zip(OPERATIONS)
            .map(|(code, (name, _))| (name, self.supports(code)))
            .collect()
    }
}

/// The first release of each operation, by opcode.
pub(crate) fn of_operations() -> Vec<(&'static str, Release)> {
    OPERATIONS.to_vec()
}

/// The first release of each feature, by bit.
pub(crate) fn of_features() -> Vec<(&'static str, Release)> {
    FEATURES.to_vec()
}

/// The first release of each setup flag.
pub(crate) fn of_setup_flags() -> Vec<(&'static str, Release)> {
    let flags = SETUP_FLAGS.iter();
    flags.map(|flag| (flag.name, flag.since)).collect()
}

/// The first release that has the operation `code`.
pub(crate) fn first_release(code: u8) -> (u32, u32) {
    let known = OPERATIONS.get(usize::from(code));
    known.map_or((u32::MAX, 0), |(_, since)| *since)
}

/// The name of the operation `code`.
pub(super) fn name_of(code: u8) -> &'static str {
    OPERATIONS
        .get(usize::from(code))
        .map_or("an operation", |(name, _)| name)
}

/// Every feature that has a name here and whether `bits` has it.
pub(crate) fn named_features(bits: u32) -> Vec<(&'static str, bool)> {
    (0..)
        .zip(FEATURES)
        .map(|(bit, (name, _))| (name, bits >> bit & 1 != 0))
        .collect()
}

/// Every setup flag that has a name here and whether `bits` has it.
pub(crate) fn named_setup_flags(bits: u32) -> Vec<(&'static str, bool)> {
    SETUP_FLAGS
        .iter()
        .map(|flag| (flag.name, bits & flag.bit != 0))
        .collect()
}

/// Features by bit number.
const FEATURES: [(&str, Release); 18] = [
    ("single_mmap", (5, 4)),
    ("nodrop", (5, 5)),
    ("submit_stable", (5, 5)),
    ("rw_cur_pos", (5, 6)),
    ("cur_personality", (5, 6)),
    ("fast_poll", (5, 7)),
    ("poll_32bits", (5, 9)),
    ("sqpoll_nonfixed", (5, 11)),
    ("ext_arg", (5, 11)),
    ("native_workers", (5, 12)),
    ("rsrc_tags", (5, 13)),
    ("cqe_skip", (5, 17)),
    ("linked_file", (5, 17)),
    ("reg_reg_ring", (6, 3)),
    ("recvsend_bundle", (6, 10)),
    ("min_timeout", (6, 12)),
    ("rw_attr", (6, 14)),
    ("no_iowait", (6, 15)),
];

/// Operations by opcode.
pub(super) const OPERATIONS: [(&str, Release); 63] = [
    ("nop", (5, 1)),
    ("readv", (5, 1)),
    ("writev", (5, 1)),
    ("fsync", (5, 1)),
    ("read_fixed", (5, 1)),
    ("write_fixed", (5, 1)),
    ("poll_add", (5, 1)),
    ("poll_remove", (5, 1)),
    ("sync_file_range", (5, 2)),
    ("sendmsg", (5, 3)),
    ("recvmsg", (5, 3)),
    ("timeout", (5, 4)),
    ("timeout_remove", (5, 5)),
    ("accept", (5, 5)),
    ("async_cancel", (5, 5)),
    ("link_timeout", (5, 5)),
    ("connect", (5, 5)),
    ("fallocate", (5, 6)),
    ("openat", (5, 6)),
    ("close", (5, 6)),
    ("files_update", (5, 6)),
    ("statx", (5, 6)),
    ("read", (5, 6)),
    ("write", (5, 6)),
    ("fadvise", (5, 6)),
    ("madvise", (5, 6)),
    ("send", (5, 6)),
    ("recv", (5, 6)),
    ("openat2", (5, 6)),
    ("epoll_ctl", (5, 6)),
    ("splice", (5, 7)),
    ("provide_buffers", (5, 7)),
    ("remove_buffers", (5, 7)),
    ("tee", (5, 8)),
    ("shutdown", (5, 11)),
    ("renameat", (5, 11)),
    ("unlinkat", (5, 11)),
    ("mkdirat", (5, 15)),
    ("symlinkat", (5, 15)),
    ("linkat", (5, 15)),
    ("msg_ring", (5, 18)),
    ("fsetxattr", (5, 19)),
    ("setxattr", (5, 19)),
    ("fgetxattr", (5, 19)),
    ("getxattr", (5, 19)),
    ("socket", (5, 19)),
    ("uring_cmd", (5, 19)),
    ("send_zc", (6, 0)),
    ("sendmsg_zc", (6, 1)),
    ("read_multishot", (6, 7)),
    ("waitid", (6, 7)),
    ("futex_wait", (6, 7)),
    ("futex_wake", (6, 7)),
    ("futex_waitv", (6, 7)),
    ("fixed_fd_install", (6, 8)),
    ("ftruncate", (6, 9)),
    ("bind", (6, 11)),
    ("listen", (6, 11)),
    ("recv_zc", (6, 15)),
    ("epoll_wait", (6, 15)),
    ("readv_fixed", (6, 15)),
    ("writev_fixed", (6, 15)),
    ("pipe", (6, 16)),
];
