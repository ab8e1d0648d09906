//! Makes a ring: tries the setup flags of the newest kernel first, down to those of Linux 5.6. Reads its abilities.
//!
//! The module `support` explains why a ring cannot be made.
#![allow(unsafe_code)]

use io_uring::{IoUring, Parameters, Probe};

use super::releases::{
    Operations, COOP_TASKRUN, DEFER_TASKRUN, NO_SQARRAY, RESTRICTIONS_SINCE, R_DISABLED,
    SETUP_FLAGS, SINGLE_ISSUER, SUBMIT_ALL, TASKRUN_FLAG,
};
use crate::error::{Error, Result};
use crate::ring_options::{Mask, Options, FEAT_SQPOLL_NONFIXED};

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

/// Flags that the kernel rejects with `EINVAL` next to `SQPOLL`, because a polling thread runs its own task work.
const REFUSED_WITH_SQPOLL: u32 = COOP_TASKRUN | TASKRUN_FLAG | DEFER_TASKRUN;

/// The flags that bind a ring, or the completion of its operations, to the thread that submits.
const OF_ONE_THREAD: u32 = SINGLE_ISSUER | DEFER_TASKRUN | COOP_TASKRUN | TASKRUN_FLAG;

/// The smallest ring to try when memory is short.
const ENTRIES_MIN: u32 = 8;

/// Makes a ring with as many entries and flags as the kernel grants.
///
/// The calling thread becomes the only one that may submit (`SINGLE_ISSUER`). A forked child inherits the ring's
/// descriptor but not its memory. `params()` tells the size that the ring got.
///
/// Fails with the error of the last `io_uring_setup`, which `support::diagnose` explains. The crate maps the ring's
/// memory in the same step, so the errno can also be that of mmap(2). Two errors are our own: `EOPNOTSUPP` when a
/// polling thread takes no ordinary descriptors (before Linux 5.11), and `ENOSYS` with a release when the kernel has
/// no restrictions.
///
/// With `restrict`, the ring stays disabled until `restriction::restrict` enables it.
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

/// Calls io_uring_setup(2) once, with this number of entries and those of these flags that suit the options.
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

/// The `IORING_FEAT_*` bits of a ring, without those that a test hides.
pub(crate) fn features(ring: &IoUring, limits: &Mask) -> u32 {
    words(ring.params())[5] & !limits.features
}

/// The `IORING_SETUP_*` bits a ring was made with.
pub(crate) fn setup_flags(ring: &IoUring) -> u32 {
    words(ring.params())[2]
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

#[cfg(test)]
pub(super) mod tests {
    use std::thread;

    use io_uring::opcode;

    use super::*;
    use crate::ring_options::{Sqpoll, FEAT_EXT_ARG};
    use crate::support::machine::Kernel;
    use crate::uring::releases::{named_features, Release, OPERATIONS};
    use crate::uring::trial::denied;

    pub const PLAIN: Options = Options {
        any_thread: false,
        entries: 16,
        sqpoll: None,
        restrict: false,
        limits: Mask::NOTHING,
        intake: None,
    };

    pub const POLLED: Options = Options {
        sqpoll: Some(Sqpoll {
            idle_ms: 1,
            cpu: None,
        }),
        ..PLAIN
    };

    /// For each step of the ladder, in order, a release whose best step it is.
    pub const RELEASES: [Release; 6] = [(6, 6), (6, 1), (6, 0), (5, 19), (5, 18), (5, 6)];

    /// Whether this machine can make rings. If it cannot, says that the test is skipped.
    pub fn has_io_uring(test: &str) -> bool {
        let made = create(&PLAIN);
        if let Err(error) = &made {
            let release = Kernel::detect().release;
            eprintln!("skipped: {test} needs io_uring, Linux {release}: {error}");
        }
        made.is_ok()
    }

    pub fn kernel_has(release: Release) -> bool {
        let (major, minor, _) = Kernel::detect().version;
        (major, minor) >= release
    }

    fn ladder_flags(ring: &IoUring) -> u32 {
        setup_flags(ring) & LADDER.into_iter().fold(0, |all, step| all | step)
    }

    fn works(mut ring: IoUring) {
        let operations = probe(&ring, &Mask::NOTHING).unwrap();
        assert!(operations.supports(opcode::Read::CODE));
        denied(&mut ring, operations).unwrap();
        denied(&mut ring, operations).unwrap();
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

    #[test]
    fn an_absent_cpu_for_the_polling_thread_is_invalid() {
        if !has_io_uring("an_absent_cpu_for_the_polling_thread_is_invalid") {
            return;
        }
        let cpu = Some(u32::MAX - 1);
        let sqpoll = Some(Sqpoll { idle_ms: 1, cpu });
        let error = create(&Options { sqpoll, ..PLAIN }).err().unwrap();
        assert_eq!(error, Error::new("io_uring_setup", libc::EINVAL));
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
                return eprintln!("skipped: {test}: {error}");
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
