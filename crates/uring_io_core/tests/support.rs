//! Tests of the report on a machine that grants everything, and on one that refuses io_uring in each of the known ways.
#![allow(unsafe_code)]

use uring_io_core::support::{Reason, Support};
use uring_io_core::BackendKind;

#[test]
fn poll_and_select_are_available_everywhere() {
    let support = Support::detect();
    for kind in [BackendKind::Poll, BackendKind::Select] {
        assert!(support.backend(kind).is_available(), "{support:?}");
    }
}

#[test]
fn backends_are_reported_best_first_and_found_by_kind() {
    let support = Support::detect();
    assert_eq!(
        support.backends.clone().map(|backend| backend.kind),
        BackendKind::ALL
    );
    for kind in BackendKind::ALL {
        assert_eq!(support.backend(kind).kind, kind);
    }
}

#[test]
fn kernel_and_limits_are_known() {
    let support = Support::detect();
    assert!(support
        .kernel
        .release
        .starts_with(&support.kernel.version.0.to_string()));
    assert!(!support.kernel.sysname.is_empty() && !support.kernel.machine.is_empty());
    assert!(support.limits.cpus >= 1);
    assert_ne!(support.limits.open_files_soft, Some(0));
}

#[test]
fn a_backend_of_another_system_is_named_as_such_with_what_there_is_instead() {
    let support = Support::detect();
    let is_linux = cfg!(target_os = "linux");
    let (epoll, kqueue) = (BackendKind::Epoll, BackendKind::Kqueue);
    let instead = if is_linux { epoll } else { kqueue };
    for kind in BackendKind::ALL {
        let is_here = match kind {
            BackendKind::IoUring | BackendKind::Epoll => is_linux,
            BackendKind::Kqueue => !is_linux,
            BackendKind::Poll | BackendKind::Select => true,
        };
        if !is_here {
            let unavailable = support.backend(kind).unavailable.as_ref().unwrap();
            assert_eq!(unavailable.reason, Reason::Platform, "{unavailable}");
            assert!(unavailable.cause.contains(kind.name()), "{unavailable}");
            assert!(unavailable.remedy.contains(instead.name()), "{unavailable}");
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File};
    use std::os::fd::AsRawFd;
    use std::process::Command;
    use std::{env, io, thread};

    use libc::c_long;
    use uring_io_core::support::{diagnose, Reason, Support, Unavailable};
    use uring_io_core::{BackendKind, Error};

    const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";
    const CALLS: [(&str, c_long); 3] = [
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("io_uring_register", libc::SYS_io_uring_register),
        ("io_uring_enter", libc::SYS_io_uring_enter),
    ];
    const NOBODY: c_long = 65534;

    #[test]
    fn a_ring_tells_its_operations_features_and_setup_flags() {
        let _lock = lock(libc::LOCK_SH);
        if !has_io_uring("a_ring_tells_its_operations_features_and_setup_flags") {
            return;
        }
        let support = Support::detect();
        assert_eq!(support.best(), BackendKind::IoUring);
        assert_eq!(support.operations.first(), Some(&("nop", true)));
        assert_eq!(support.operations[22], ("read", true));
        assert_eq!(
            support.operations.last().map(|(name, _)| *name),
            Some("pipe")
        );
        assert_eq!(support.operations.len(), 63);
        assert!(
            support.features.contains(&("nodrop", true)),
            "{:?}",
            support.features
        );
        let (major, minor, _) = support.kernel.version;
        if (major, minor) >= (6, 1) {
            assert!(
                support.setup_flags.contains(&("defer_taskrun", true)),
                "{support:?}"
            );
        }
    }

    #[test]
    fn a_seccomp_filter_on_any_of_the_calls_is_named_whatever_errno_it_gives() {
        let _lock = lock(libc::LOCK_SH);
        if !has_io_uring("a_seccomp_filter_on_any_of_the_calls_is_named") {
            return;
        }
        for errno in [libc::EPERM, libc::ENOSYS] {
            let support = detect_without(CALLS.map(|(_, number)| number).to_vec(), errno);
            refused(
                &support,
                Reason::Seccomp,
                "io_uring_setup",
                errno,
                "seccomp",
            );
            for (name, number) in CALLS {
                let support = detect_without(vec![number], errno);
                let unavailable = refused(&support, Reason::Seccomp, name, errno, "seccomp");
                assert!(unavailable.cause.contains(name), "{unavailable}");
                for (call, _) in CALLS {
                    assert!(unavailable.remedy.contains(call), "{unavailable}");
                }
            }
        }
    }

    #[test]
    fn a_filter_on_epoll_as_well_leaves_poll() {
        let _lock = lock(libc::LOCK_SH);
        let mut calls = CALLS.map(|(_, number)| number).to_vec();
        calls.push(libc::SYS_epoll_ctl);
        let support = detect_without(calls, libc::EPERM);
        assert_eq!(support.best(), BackendKind::Poll);
        let epoll = support
            .backend(BackendKind::Epoll)
            .unavailable
            .clone()
            .unwrap();
        assert_eq!((epoll.reason, epoll.call), (Reason::Seccomp, "epoll_ctl"));
        assert!(epoll.cause.contains("epoll_ctl"), "{epoll}");
    }

    #[test]
    fn the_sysctl_that_forbids_rings_is_named() {
        let _lock = lock(libc::LOCK_EX);
        let test = "the_sysctl_that_forbids_rings_is_named";
        if !has_io_uring(test) {
            return;
        }
        let Some(forbidden) = with_sysctl("2", Support::detect) else {
            return skip(test, "the right to write kernel.io_uring_disabled");
        };
        let text = "kernel.io_uring_disabled is 2";
        refused(
            &forbidden,
            Reason::Sysctl,
            "io_uring_setup",
            libc::EPERM,
            text,
        );

        let privileged = with_sysctl("1", Support::detect).unwrap();
        assert_eq!(privileged.best(), BackendKind::IoUring);
        let setup = vec![libc::SYS_io_uring_setup];
        let filtered = with_sysctl("1", || detect_without(setup, libc::EPERM)).unwrap();
        refused(
            &filtered,
            Reason::Seccomp,
            "io_uring_setup",
            libc::EPERM,
            "seccomp",
        );
        let unprivileged = with_sysctl("1", || {
            let detection = thread::spawn(|| {
                // SAFETY: the call takes numbers. Made without libc's wrapper, it changes only this thread, which ends
                // here.
                unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
                Support::detect()
            });
            detection.join().unwrap()
        });
        let text = "kernel.io_uring_group";
        refused(
            &unprivileged.unwrap(),
            Reason::Sysctl,
            "io_uring_setup",
            libc::EPERM,
            text,
        );
    }

    #[test]
    fn a_memory_limit_is_named_with_its_size() {
        let test = "a_memory_limit_is_named_with_its_size";
        in_own_process(&format!("linux::{test}"), || {
            let _lock = lock(libc::LOCK_SH);
            // SAFETY: the call takes nothing and returns a number.
            if unsafe { libc::geteuid() } != 0 {
                return skip(test, "root");
            }
            if !has_io_uring(test) {
                return;
            }
            limit(libc::RLIMIT_MEMLOCK as _, 0);
            // SAFETY: the call takes numbers. This process runs only this test.
            assert_eq!(unsafe { libc::setresuid(65534, 65534, 65534) }, 0);
            let support = Support::detect();
            if support.best() == BackendKind::IoUring {
                // Kernels differ in this by release, and by the patches that they took from later ones.
                return skip(test, "a kernel that charges rings to RLIMIT_MEMLOCK");
            }
            let call = "io_uring_setup";
            let unavailable = refused(&support, Reason::Memlock, call, libc::ENOMEM, "0 KiB");
            assert!(
                unavailable.cause.contains("RLIMIT_MEMLOCK"),
                "{unavailable}"
            );
            assert!(unavailable.remedy.contains("ulimit -l"), "{unavailable}");
            assert_eq!(support.limits.memlock_soft, Some(0));
        });
    }

    #[test]
    fn a_descriptor_limit_is_named_and_poll_needs_no_descriptor() {
        let test = "linux::a_descriptor_limit_is_named_and_poll_needs_no_descriptor";
        in_own_process(test, || {
            let _lock = lock(libc::LOCK_SH);
            if !has_io_uring(test) {
                return;
            }
            let before = limit(libc::RLIMIT_NOFILE as _, 0);
            let support = Support::detect();
            limit(libc::RLIMIT_NOFILE as _, before);
            assert_eq!(support.best(), BackendKind::Poll);
            for (kind, call) in [
                (BackendKind::IoUring, "io_uring_setup"),
                (BackendKind::Epoll, "epoll_create1"),
            ] {
                let unavailable = support.backend(kind).unavailable.as_ref().unwrap();
                assert_eq!(unavailable.reason, Reason::DescriptorLimit, "{unavailable}");
                assert_eq!((unavailable.call, unavailable.errno), (call, libc::EMFILE));
                assert!(
                    unavailable.cause.contains("RLIMIT_NOFILE is 0"),
                    "{unavailable}"
                );
                assert!(unavailable.remedy.contains("ulimit -n"), "{unavailable}");
            }
        });
    }

    #[test]
    fn detection_leaves_no_descriptor_and_no_mapping_behind() {
        in_own_process(
            "linux::detection_leaves_no_descriptor_and_no_mapping_behind",
            || {
                let _lock = lock(libc::LOCK_SH);
                let open = || fs::read_dir("/proc/self/fd").unwrap().count();
                let before = open();
                for _ in 0..20 {
                    Support::detect();
                }
                for (_, number) in CALLS {
                    detect_without(vec![number], libc::EPERM);
                }
                detect_without(vec![libc::SYS_epoll_ctl], libc::EPERM);
                assert_eq!(open(), before);
                let mappings = fs::read_to_string("/proc/self/maps").unwrap();
                assert!(!mappings.contains("io_uring"), "{mappings}");
            },
        );
    }

    #[test]
    fn an_explanation_reads_as_call_errno_cause_and_remedy() {
        let unavailable = diagnose(&Error::new("epoll_create1", libc::EMFILE));
        let line = unavailable.to_string();
        assert!(line.starts_with("epoll_create1: "), "{line}");
        assert!(
            line.contains(&io::Error::from_raw_os_error(libc::EMFILE).to_string()),
            "{line}"
        );
        assert!(
            line.contains(&unavailable.cause) && line.ends_with(&unavailable.remedy),
            "{line}"
        );
    }

    /// Asserts that io_uring is refused for this reason, and that epoll is used instead.
    #[track_caller]
    fn refused(
        support: &Support,
        reason: Reason,
        call: &str,
        errno: i32,
        cause: &str,
    ) -> Unavailable {
        assert_eq!(support.best(), BackendKind::Epoll);
        assert!(support.backend(BackendKind::Epoll).is_available());
        let unavailable = support
            .backend(BackendKind::IoUring)
            .unavailable
            .clone()
            .unwrap();
        assert_eq!(unavailable.reason, reason, "{unavailable}");
        assert_eq!(
            (unavailable.call, unavailable.errno),
            (call, errno),
            "{unavailable}"
        );
        assert!(unavailable.cause.contains(cause), "{unavailable}");
        assert!(support.operations.iter().all(|(_, supported)| !supported));
        assert!(support.features.iter().all(|(_, supported)| !supported));
        unavailable
    }

    /// The report of a thread with a filter that answers `errno` to `calls`. The filter belongs to this thread alone,
    /// and ends with it.
    fn detect_without(calls: Vec<c_long>, errno: i32) -> Support {
        let detection = thread::spawn(move || {
            deny(&calls, errno);
            Support::detect()
        });
        detection.join().unwrap()
    }

    fn deny(calls: &[c_long], errno: i32) {
        let instruction = |code, k, jt| libc::sock_filter { code, jt, jf: 0, k };
        let load_number = instruction((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0);
        let mut program = vec![load_number];
        for (call, rest) in calls.iter().zip((0..calls.len() as u8).rev()) {
            // If equal: jump over the other comparisons and over the answer that allows the call.
            let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
            program.push(instruction(equal, *call as u32, rest + 1));
        }
        let answer = (libc::BPF_RET | libc::BPF_K) as u16;
        program.push(instruction(answer, libc::SECCOMP_RET_ALLOW, 0));
        program.push(instruction(
            answer,
            libc::SECCOMP_RET_ERRNO | errno as u32,
            0,
        ));
        let filter = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: the kernel copies the program, a local, before the second call returns.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(
                libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter),
                0
            );
        }
    }

    /// Runs `observe` while the sysctl has `value`, and restores the sysctl in any case. None without the right to
    /// change it. Meanwhile no process of the machine may get a ring: keep it short.
    fn with_sysctl<T>(value: &str, observe: impl FnOnce() -> T) -> Option<T> {
        struct Restore(String);
        impl Drop for Restore {
            fn drop(&mut self) {
                fs::write(SYSCTL, &self.0).unwrap();
            }
        }
        let restore = Restore(fs::read_to_string(SYSCTL).ok()?);
        if fs::write(SYSCTL, value).is_err() {
            std::mem::forget(restore);
            return None;
        }
        Some(observe())
    }

    /// Sets the soft limit of this process, and returns the one before.
    fn limit(resource: libc::c_int, soft: libc::rlim_t) -> libc::rlim_t {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the limit is a local that outlives both calls.
        unsafe {
            assert_eq!(libc::getrlimit(resource as _, &mut limit), 0);
            let before = std::mem::replace(&mut limit.rlim_cur, soft);
            assert_eq!(libc::setrlimit(resource as _, &limit), 0);
            before
        }
    }

    /// Runs `body`, which changes the whole process, in a process of its own: that one runs this program again, with
    /// just the test `name`.
    fn in_own_process(name: &str, body: impl FnOnce()) {
        const VARIABLE: &str = "URING_IO_TEST_IN_OWN_PROCESS";
        if env::var_os(VARIABLE).is_some() {
            return body();
        }
        let output = Command::new(env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(VARIABLE, name)
            .output()
            .unwrap();
        let [said, complained] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        eprint!("{complained}");
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }

    /// Keeps the test that changes the sysctl apart from the tests that make rings, in this process and in others that
    /// run this program. The lock is on the program's file.
    fn lock(kind: libc::c_int) -> File {
        let program = File::open(env::current_exe().unwrap()).unwrap();
        // SAFETY: the call takes numbers. The lock ends with the descriptor, which the result owns.
        assert_eq!(unsafe { libc::flock(program.as_raw_fd(), kind) }, 0);
        program
    }

    fn has_io_uring(test: &str) -> bool {
        match Support::detect()
            .backend(BackendKind::IoUring)
            .unavailable
            .as_ref()
        {
            None => true,
            Some(unavailable) => {
                skip(test, &format!("io_uring ({unavailable})"));
                false
            }
        }
    }

    fn skip(test: &str, needs: &str) {
        let release = Support::detect().kernel.release;
        eprintln!("skipped: {test} needs {needs}, Linux {release}");
    }
}
