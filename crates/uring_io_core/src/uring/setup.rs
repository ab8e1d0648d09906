//! Making a ring: setup flags from the newest kernel down to Linux 5.6, and the checks that it works.
//!
//! The tables hold, for every flag, feature and operation that the kernel can tell us about, its
//! name and the first release that has it; sources are io_uring_setup(2), io_uring_enter(2) and
//! `include/uapi/linux/io_uring.h`. What a refusal means is for `support` to say.
#![allow(unsafe_code)]

use std::io;

use io_uring::register::Restriction;
use io_uring::{opcode, Builder, IoUring, Parameters, Probe};

use crate::error::{Error, Result};
use crate::ring_options::{Mask, Options, FEAT_SQPOLL_NONFIXED};

/// A kernel release, major and minor.
type Release = (u32, u32);

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
const R_DISABLED: u32 = 1 << 6;
/// It came together with what it is for, `IORING_REGISTER_RESTRICTIONS`.
const RESTRICTIONS_SINCE: Release = (5, 10);

/// A setup flag of the ladder, and the builder's method that asks for it.
struct SetupFlag {
    name: &'static str,
    bit: u32,
    since: Release,
    ask: fn(&mut Builder) -> &mut Builder,
}

const SUBMIT_ALL: u32 = 1 << 7;
const COOP_TASKRUN: u32 = 1 << 8;
const TASKRUN_FLAG: u32 = 1 << 9;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;
const NO_SQARRAY: u32 = 1 << 16;

#[rustfmt::skip] // one row, one flag
const SETUP_FLAGS: [SetupFlag; 6] = [
    SetupFlag { name: "submit_all", bit: SUBMIT_ALL, since: (5, 18), ask: Builder::setup_submit_all },
    SetupFlag { name: "coop_taskrun", bit: COOP_TASKRUN, since: (5, 19), ask: Builder::setup_coop_taskrun },
    SetupFlag { name: "taskrun_flag", bit: TASKRUN_FLAG, since: (5, 19), ask: Builder::setup_taskrun_flag },
    SetupFlag { name: "single_issuer", bit: SINGLE_ISSUER, since: (6, 0), ask: Builder::setup_single_issuer },
    SetupFlag { name: "defer_taskrun", bit: DEFER_TASKRUN, since: (6, 1), ask: Builder::setup_defer_taskrun },
    SetupFlag { name: "no_sqarray", bit: NO_SQARRAY, since: (6, 6), ask: Builder::setup_no_sqarray },
];

/// The sets of flags to try, newest kernel first. `CLAMP` and `CQSIZE` (5.6) go with all of them.
const LADDER: [u32; 6] = [
    // 6.6
    SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG | SUBMIT_ALL | NO_SQARRAY,
    // 6.1
    SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG | SUBMIT_ALL,
    // 6.0
    SINGLE_ISSUER | COOP_TASKRUN | TASKRUN_FLAG | SUBMIT_ALL,
    // 5.19
    COOP_TASKRUN | TASKRUN_FLAG | SUBMIT_ALL,
    // 5.18
    SUBMIT_ALL,
    // 5.6
    0,
];

/// `EINVAL` next to `SQPOLL`: a polling thread runs its own task work.
const REFUSED_WITH_SQPOLL: u32 = COOP_TASKRUN | TASKRUN_FLAG | DEFER_TASKRUN;

/// What binds a ring, or the end of its operations, to the thread that submits.
const OF_ONE_THREAD: u32 = SINGLE_ISSUER | DEFER_TASKRUN | COOP_TASKRUN | TASKRUN_FLAG;

/// No ring smaller than this is tried when memory is short.
const ENTRIES_MIN: u32 = 8;

/// Makes a ring with the most that the kernel grants.
///
/// The calling thread becomes the only one that may submit (`SINGLE_ISSUER`). A forked child has
/// the descriptor but not the memory of the ring. Look at `params()` for the size obtained.
///
/// Fails with what `io_uring_setup` said to the last attempt; `support::diagnose` explains it. The
/// crate maps the ring's memory in the same step, so the errno can be that of mmap(2) as well.
/// `EOPNOTSUPP` is ours: before Linux 5.11 a polling thread takes no ordinary descriptor. So is `ENOSYS`
/// with a release: that of restrictions.
///
/// One that is to be restricted is disabled: see [`restrict`].
pub(crate) fn create(options: &Options) -> Result<IoUring> {
    let mut entries = options.entries;
    let mut step = 0;
    let ring = loop {
        match build(options, entries, LADDER[step]) {
            Err(error) if error.errno == libc::EINVAL && step + 1 < LADDER.len() => step += 1,
            Err(error) if error.errno == libc::ENOMEM && entries > ENTRIES_MIN => {
                entries = (entries / 2).max(ENTRIES_MIN);
            }
            Err(error) if error.errno == libc::EINVAL && options.restrict => {
                let plain = Options {
                    restrict: false,
                    ..options.clone()
                };
                let missing = |_| Error::missing("io_uring_setup", RESTRICTIONS_SINCE);
                return Err(create(&plain).map_or(error, missing));
            }
            result => break result?,
        }
    };
    if options.sqpoll.is_some() && features(&ring, &options.limits) & FEAT_SQPOLL_NONFIXED == 0 {
        return Err(Error::new("io_uring_setup", libc::EOPNOTSUPP));
    }
    Ok(ring)
}

/// Asks once, for exactly these entries and flags.
fn build(options: &Options, entries: u32, flags: u32) -> Result<IoUring> {
    let flags = match options.sqpoll {
        Some(_) => flags & !REFUSED_WITH_SQPOLL,
        None => flags,
    };
    let flags = if options.any_thread {
        flags & !OF_ONE_THREAD
    } else {
        flags
    };
    let flags = if options.restrict {
        flags | R_DISABLED
    } else {
        flags
    };
    if flags & options.limits.setup_flags != 0 {
        return Err(Error::new("io_uring_setup", libc::EINVAL));
    }
    if options.limits.entries_max.is_some_and(|max| entries > max) {
        return Err(Error::new("io_uring_setup", libc::ENOMEM));
    }

    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_clamp()
        .setup_cqsize(entries.saturating_mul(4));
    for flag in SETUP_FLAGS.iter().filter(|flag| flags & flag.bit != 0) {
        (flag.ask)(&mut builder);
    }
    if options.restrict {
        builder.setup_r_disabled();
    }
    if let Some(sqpoll) = options.sqpoll {
        builder.setup_sqpoll(sqpoll.idle_ms);
        if let Some(cpu) = sqpoll.cpu {
            builder.setup_sqpoll_cpu(cpu);
        }
    }
    builder
        .build(entries)
        .map_err(|error| Error::from_io("io_uring_setup", &error))
}

/// The operations a kernel supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operations(u128);

impl Operations {
    /// Whether the kernel knows the opcode `code`. Says nothing about its flags.
    pub(crate) fn supports(self, code: u8) -> bool {
        self.0
            .checked_shr(u32::from(code))
            .is_some_and(|bits| bits & 1 != 0)
    }

    /// Every operation that has a name here, in the kernel's numbering.
    pub(crate) fn named(self) -> Vec<(&'static str, bool)> {
        (0..)
            .zip(OPERATIONS)
            .map(|(code, (name, _))| (name, self.supports(code)))
            .collect()
    }
}

/// The first release that has the operation `code`.
pub(crate) fn first_release(code: u8) -> (u32, u32) {
    let known = OPERATIONS.get(usize::from(code));
    known.map_or((u32::MAX, 0), |(_, since)| *since)
}

/// Asks the kernel for its operations (`IORING_REGISTER_PROBE`, Linux 5.6).
pub(crate) fn probe(ring: &IoUring, limits: &Mask) -> Result<Operations> {
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| Error::from_io("io_uring_register", &error))?;
    let supported = (0..128)
        .filter(|&code| probe.is_supported(code))
        .fold(0, |bits, code| bits | 1_u128 << code);
    Ok(Operations(supported & !limits.operations))
}

/// Has the kernel answer `EACCES` to operations other than these, to all flags of entries
/// (`IOSQE_*`), and to everything that is registered later; then enables the ring. It cannot be taken back.
///
/// The calling thread becomes the only one that may submit (`SINGLE_ISSUER`).
pub(crate) fn restrict(ring: &IoUring, opcodes: &[u8], known: Operations) -> Result<()> {
    // From Linux 7.0 on registering is bounded only when something of it is allowed. This is what comes
    // next, and what an enabled ring refuses.
    const ENABLE_RINGS: u8 = 12;
    // A list with an operation that this kernel does not know is refused as a whole.
    let known = opcodes.iter().filter(|&&code| known.supports(code));
    let mut allowed: Vec<Restriction> = known.map(|&code| Restriction::sqe_op(code)).collect();
    allowed.push(Restriction::register_op(ENABLE_RINGS));
    let submitter = ring.submitter();
    submitter
        .register_restrictions(&mut allowed)
        .and_then(|()| submitter.register_enable_rings())
        .map_err(|error| Error::from_io("io_uring_register", &error))
}

/// Submits a NOP and takes its completion.
///
/// A seccomp filter may let `io_uring_setup` pass and deny `io_uring_enter`. For a ring that
/// nothing was submitted to yet; one that failed here still holds the NOP and must be dropped.
pub(crate) fn check_enter(ring: &mut IoUring) -> Result<()> {
    let nop = opcode::Nop::new().build();
    // SAFETY: a NOP carries no address, so there is nothing that must outlive its completion.
    unsafe { ring.submission().push(&nop) }
        .map_err(|_| Error::new("io_uring_enter", libc::EBUSY))?;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(Error::from_io("io_uring_enter", &error));
            }
            // A signal can end the wait early whatever the answer is: the queue tells.
            _ => {}
        }
        if let Some(completion) = ring.completion().next() {
            return match completion.result() {
                result if result < 0 => Err(Error::new("io_uring_enter", -result)),
                _ => Ok(()),
            };
        }
    }
}

/// The `IORING_FEAT_*` bits of a ring, less those hidden.
pub(crate) fn features(ring: &IoUring, limits: &Mask) -> u32 {
    words(ring.params())[5] & !limits.features
}

/// The `IORING_SETUP_*` bits a ring was made with.
pub(crate) fn setup_flags(ring: &IoUring) -> u32 {
    words(ring.params())[2]
}

/// Every feature that has a name here and whether `bits` has it.
pub(crate) fn named_features(bits: u32) -> Vec<(&'static str, bool)> {
    (0..)
        .zip(FEATURES)
        .map(|(bit, (name, _))| (name, bits >> bit & 1 != 0))
        .collect()
}

/// Every flag of the ladder and whether `bits` has it.
pub(crate) fn named_setup_flags(bits: u32) -> Vec<(&'static str, bool)> {
    SETUP_FLAGS
        .iter()
        .map(|flag| (flag.name, bits & flag.bit != 0))
        .collect()
}

const _: () = assert!(size_of::<Parameters>() == 120 && align_of::<Parameters>() >= 4);

/// The head of `struct io_uring_params`: sq_entries, cq_entries, flags, sq_thread_cpu,
/// sq_thread_idle, features, wq_fd, resv\[3\]. The crate shows only some flags and features.
fn words(params: &Parameters) -> &[u32; 10] {
    // SAFETY: `Parameters` is documented as a transparent wrapper over `struct io_uring_params`,
    // 120 bytes that begin with these ten `u32`; the ring owns it, and the result borrows from it
    // for no longer than `params` does.
    unsafe { &*std::ptr::from_ref(params).cast() }
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
const OPERATIONS: [(&str, Release); 63] = [
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

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::ring_options::{Sqpoll, FEAT_EXT_ARG};
    use crate::support::Kernel;
    use crate::uring::submission::OPCODES;

    const PLAIN: Options = Options {
        any_thread: false,
        entries: 16,
        sqpoll: None,
        restrict: false,
        limits: Mask::NOTHING,
        intake: None,
    };

    const POLLED: Options = Options {
        sqpoll: Some(Sqpoll {
            idle_ms: 1,
            cpu: None,
        }),
        ..PLAIN
    };

    /// A release in which each step of the ladder is the best, in its order.
    const RELEASES: [Release; 6] = [(6, 6), (6, 1), (6, 0), (5, 19), (5, 18), (5, 6)];

    /// Whether this machine makes rings at all; a test that cannot run says so.
    fn has_io_uring(test: &str) -> bool {
        let made = create(&PLAIN);
        if let Err(error) = &made {
            let release = Kernel::detect().release;
            eprintln!("skipped: {test} needs io_uring, Linux {release}: {error}");
        }
        made.is_ok()
    }

    fn kernel_has(release: Release) -> bool {
        let (major, minor, _) = Kernel::detect().version;
        (major, minor) >= release
    }

    fn ladder_flags(ring: &IoUring) -> u32 {
        setup_flags(ring) & LADDER.into_iter().fold(0, |all, step| all | step)
    }

    fn works(mut ring: IoUring) {
        let operations = probe(&ring, &Mask::NOTHING).unwrap();
        assert!(operations.supports(opcode::Read::CODE));
        check_enter(&mut ring).unwrap();
        check_enter(&mut ring).unwrap();
    }

    #[test]
    fn every_step_of_the_ladder_gives_a_ring_that_works() {
        if !has_io_uring("every_step_of_the_ladder_gives_a_ring_that_works") {
            return;
        }
        for ((major, minor), flags) in RELEASES.into_iter().zip(LADDER) {
            let limits = Mask::linux(major, minor);
            let ring = create(&Options { limits, ..PLAIN }).unwrap();
            if kernel_has((major, minor)) {
                assert_eq!(ladder_flags(&ring), flags, "{major}.{minor}");
            }
            works(ring);
        }
    }

    #[test]
    fn a_polling_thread_goes_with_every_step_without_the_task_work_flags() {
        if !has_io_uring("a_polling_thread_goes_with_every_step") || !kernel_has((5, 13)) {
            return;
        }
        for ((major, minor), flags) in RELEASES.into_iter().zip(LADDER) {
            let limits = Mask {
                features: 0,
                ..Mask::linux(major, minor)
            };
            let ring = create(&Options { limits, ..POLLED }).unwrap();
            assert!(ring.params().is_setup_sqpoll());
            if kernel_has((major, minor)) {
                assert_eq!(
                    ladder_flags(&ring),
                    flags & !REFUSED_WITH_SQPOLL,
                    "{major}.{minor}"
                );
            }
            works(ring);
        }
    }

    #[test]
    fn a_polling_thread_is_refused_where_it_takes_no_ordinary_descriptor() {
        if !has_io_uring("a_polling_thread_is_refused") || !kernel_has((5, 11)) {
            return;
        }
        let limits = Mask::linux(5, 10);
        let error = create(&Options { limits, ..POLLED }).err().unwrap();
        assert_eq!(error, Error::new("io_uring_setup", libc::EOPNOTSUPP));
    }

    /// A ring of these options that is restricted to a scheduler's operations; None without restrictions.
    fn restricted(options: Options, test: &str) -> Option<(IoUring, Operations)> {
        if !has_io_uring(test) || !kernel_has(RESTRICTIONS_SINCE) {
            return None;
        }
        let options = Options {
            restrict: true,
            ..options
        };
        let ring = create(&options).unwrap();
        let operations = probe(&ring, &Mask::NOTHING).unwrap();
        restrict(&ring, &OPCODES, operations).unwrap();
        Some((ring, operations))
    }

    /// What the kernel says to an entry of this operation and these flags that is all zeros but for its
    /// descriptor, which is none.
    fn answer(ring: &mut IoUring, code: u8, flags: u8) -> i32 {
        let mut bytes = [0_u8; 64];
        (bytes[0], bytes[1]) = (code, flags);
        bytes[4..8].fill(0xff);
        // SAFETY: an entry is the 64 bytes of `struct io_uring_sqe`, for which all values are valid, and
        // this one has no address that the kernel could use.
        let entry: io_uring::squeue::Entry = unsafe { std::mem::transmute(bytes) };
        // SAFETY: as above, there is nothing that must outlive the completion.
        unsafe { ring.submission().push(&entry) }.unwrap();
        ring.submit_and_wait(1).unwrap();
        let completion = ring.completion().next().unwrap();
        completion.result()
    }

    #[test]
    fn a_restricted_ring_makes_the_operations_of_its_list_without_flags_and_no_other() {
        for options in [PLAIN, POLLED] {
            let Some((mut ring, operations)) = restricted(options, "a_restricted_ring") else {
                return;
            };
            for code in (0..128).filter(|&code| operations.supports(code)) {
                let refused = answer(&mut ring, code, 0) == -libc::EACCES;
                assert_eq!(
                    refused,
                    !OPCODES.contains(&code),
                    "{}",
                    OPERATIONS[usize::from(code)].0
                );
            }
            // A read takes every flag that there is.
            for bit in 0..7 {
                let said = answer(&mut ring, opcode::Read::CODE, 1 << bit);
                assert_eq!(said, -libc::EACCES, "flag {bit}");
            }
            check_enter(&mut ring).unwrap();
        }
    }

    #[test]
    fn a_restricted_ring_registers_nothing_and_stays_restricted() {
        let Some((ring, _)) = restricted(PLAIN, "a_restricted_ring_registers_nothing") else {
            return;
        };
        let submitter = ring.submitter();
        let errno = |result: io::Result<()>| result.err().and_then(|error| error.raw_os_error());
        let refused = Some(libc::EACCES);
        assert_eq!(errno(submitter.register_files_sparse(1)), refused);
        assert_eq!(errno(submitter.register_buffers_sparse(1)), refused);
        assert_eq!(errno(submitter.register_probe(&mut Probe::new())), refused);
        assert_eq!(errno(submitter.register_restrictions(&mut [])), refused);
        assert_eq!(errno(submitter.register_enable_rings()), Some(libc::EBADFD));
    }

    #[test]
    fn every_step_of_the_ladder_can_be_restricted_where_the_kernel_can() {
        for (major, minor) in RELEASES.into_iter().take(5).chain([RESTRICTIONS_SINCE]) {
            let limits = Mask::linux(major, minor);
            let Some((mut ring, _)) = restricted(Options { limits, ..PLAIN }, "every_step") else {
                return;
            };
            check_enter(&mut ring).unwrap();
        }
        let restricted = Options {
            restrict: true,
            limits: Mask::linux(5, 9),
            ..PLAIN
        };
        let error = create(&restricted).err().unwrap();
        assert_eq!(error, Error::missing("io_uring_setup", (5, 10)));
        assert!(crate::support::diagnose(&error).cause.contains("5.10"));
    }

    #[test]
    fn an_absent_cpu_for_the_polling_thread_is_invalid() {
        if !has_io_uring("an_absent_cpu_for_the_polling_thread_is_invalid") {
            return;
        }
        let cpu = Some(u32::MAX - 1);
        let sqpoll = Some(Sqpoll { idle_ms: 1, cpu });
        let error = create(&Options { sqpoll, ..PLAIN }).err().unwrap();
        assert_eq!(error, Error::new("io_uring_setup", libc::EINVAL));
        assert!(crate::support::diagnose(&error).cause.contains("CPU"));
    }

    #[test]
    fn the_completion_queue_is_four_times_the_submission_queue_up_to_the_kernels_maximum() {
        if !has_io_uring("the_completion_queue_is_four_times_the_submission_queue") {
            return;
        }
        for (entries, got) in [(1, (1, 4)), (100, (128, 512)), (256, (256, 1024))] {
            let ring = create(&Options { entries, ..PLAIN }).unwrap();
            assert_eq!(
                (ring.params().sq_entries(), ring.params().cq_entries()),
                got
            );
        }
    }

    #[test]
    fn short_memory_halves_the_entries_down_to_eight() {
        if !has_io_uring("short_memory_halves_the_entries_down_to_eight") {
            return;
        }
        let limited = |entries, max| {
            let limits = Mask {
                entries_max: Some(max),
                ..Mask::NOTHING
            };
            create(&Options {
                entries,
                limits,
                ..PLAIN
            })
        };
        assert_eq!(limited(4096, 600).unwrap().params().sq_entries(), 512);
        assert_eq!(limited(4096, 8).unwrap().params().sq_entries(), 8);
        assert_eq!(limited(9, 8).unwrap().params().sq_entries(), 8);
        let out_of_memory = Error::new("io_uring_setup", libc::ENOMEM);
        assert_eq!(limited(4096, 7).err(), Some(out_of_memory));
        assert_eq!(limited(1, 0).err(), Some(out_of_memory));
    }

    #[test]
    fn a_memory_limit_gives_an_unprivileged_user_a_smaller_ring() {
        let test = "a_memory_limit_gives_an_unprivileged_user_a_smaller_ring";
        // SAFETY: takes nothing and returns a number.
        if !has_io_uring(test) || unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: {test} needs root");
            return;
        }
        let before = memlock(None);
        let tight = libc::rlimit {
            rlim_cur: 64 * 1024,
            ..before
        };
        memlock(Some(tight));
        let large = Options {
            entries: 8192,
            ..PLAIN
        };
        let unprivileged = thread::spawn(move || {
            let nobody: libc::c_long = 65534;
            // SAFETY: takes numbers. The bare call, unlike the C library's, changes this thread
            // only, and the thread ends with the test; root's other threads are not limited.
            unsafe { libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody) };
            create(&large).map(|ring| {
                let entries = ring.params().sq_entries();
                works(ring);
                entries
            })
        });
        let entries = unprivileged.join();
        memlock(Some(before));
        let entries = match entries.unwrap() {
            Ok(8192) => return eprintln!("skipped: {test}: this kernel does not charge for rings"),
            Err(error) if error.errno == libc::EPERM => {
                return eprintln!("skipped: {test}: {}", crate::support::diagnose(&error));
            }
            entries => entries.unwrap(),
        };
        assert!((8..8192).contains(&entries), "{entries}");
    }

    /// Sets the limit of this process, if one is given, and returns the one in force.
    fn memlock(limit: Option<libc::rlimit>) -> libc::rlimit {
        let mut now = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: both limits are locals that outlive the calls.
        unsafe {
            if let Some(limit) = limit {
                assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
            }
            assert_eq!(libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut now), 0);
        }
        now
    }

    #[test]
    fn a_mask_takes_away_what_came_after_its_release() {
        if !has_io_uring("a_mask_takes_away_what_came_after_its_release") {
            return;
        }
        let ring = create(&PLAIN).unwrap();
        let limits = Mask::linux(5, 10);
        assert!(limits.hides_ext_arg());
        assert!(!Mask::linux(5, 11).hides_ext_arg());
        assert_eq!(features(&ring, &limits) & FEAT_EXT_ARG, 0);
        let operations = probe(&ring, &limits).unwrap();
        assert!(operations.supports(opcode::Splice::CODE));
        assert!(!operations.supports(opcode::Shutdown::CODE));
        assert!(!operations.supports(128), "no opcode is that large");
    }

    #[test]
    fn the_tables_agree_with_the_crate() {
        for (name, code) in [
            ("nop", opcode::Nop::CODE),
            ("async_cancel", opcode::AsyncCancel::CODE),
            ("recv", opcode::Recv::CODE),
            ("splice", opcode::Splice::CODE),
            ("linkat", opcode::LinkAt::CODE),
            ("send_zc", opcode::SendZc::CODE),
            ("waitid", opcode::WaitId::CODE),
            ("epoll_wait", opcode::EpollWait::CODE),
            ("pipe", opcode::Pipe::CODE),
        ] {
            assert_eq!(OPERATIONS[usize::from(code)].0, name);
        }
        if !has_io_uring("the_tables_agree_with_the_crate") {
            return;
        }
        let ring = create(&PLAIN).unwrap();
        let params = ring.params();
        let features = features(&ring, &Mask::NOTHING);
        assert_eq!(features & FEAT_EXT_ARG != 0, params.is_feature_ext_arg());
        assert_eq!(
            named_features(features)[5],
            ("fast_poll", params.is_feature_fast_poll())
        );
        assert_eq!(
            setup_flags(&ring) & SINGLE_ISSUER != 0,
            params.is_setup_single_issuer()
        );
    }
}
