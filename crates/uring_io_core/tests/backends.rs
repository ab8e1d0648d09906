//! The contract of a backend: each one passes the same tests.

mod parties;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use parties::*;
use uring_io_core::{found_now, BackendKind, Interest, Target, Wakeup};

#[test]
fn a_read_brings_what_comes_later() {
    each_backend(|driver| {
        let (ours, mut theirs) = sockets();
        let mut buffer = [0; 16];
        let operation = read(fd(&ours), Target::Socket, &mut buffer);
        let (token, started) = start(&driver, 7, &operation);
        assert_eq!(started, None);
        assert_eq!(next_within(&driver, Duration::from_millis(10)), None);
        theirs.write_all(b"hello").unwrap();
        assert_eq!(next(&driver), (7, Wakeup::Completed(5)));
        assert_eq!(driver.leave(token), Some(7));
        assert_eq!(&buffer[..5], b"hello");
    });
}

#[test]
fn a_read_at_the_end_of_the_input_brings_nothing() {
    each_backend(|driver| {
        let (ours, theirs) = sockets();
        drop(theirs);
        let operation = read(fd(&ours), Target::Socket, &mut [0; 4]);
        assert_eq!(finish(&driver, &operation), 0);
    });
}

#[test]
fn a_write_waits_for_room() {
    each_backend(|driver| {
        let (reader, writer) = pipe();
        let mut reader = reader;
        let mut much = vec![7; 1 << 20];
        let mut written = 0;
        let mut received = vec![0; 1 << 16];
        while written < much.len() {
            let operation = write(
                writer.as_raw_fd(),
                Target::Stream { nonblocking: false },
                &mut much[written..],
            );
            let (token, started) = start(&driver, 0, &operation);
            let result = match started {
                Some(result) => result,
                None => loop {
                    if let Some((_, wakeup)) = next_within(&driver, Duration::from_millis(1)) {
                        let Wakeup::Completed(result) = wakeup else {
                            panic!("{wakeup:?}")
                        };
                        break result;
                    }
                    // The pipe is empty if the write has not begun, or has ended without having been reported.
                    if found_now(reader.as_raw_fd(), Interest::READABLE) != Ok(None) {
                        let _ = reader.read(&mut received[..4096]).unwrap();
                    }
                },
            };
            driver.leave(token);
            assert!(result > 0, "errno {}", -result);
            written += result as usize;
        }
    });
}

#[test]
fn a_file_is_read_and_written_where_it_is_asked_to() {
    each_backend(|driver| {
        let path = std::env::temp_dir().join(format!("uring_io_{}", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let file = file.unwrap();
        let at = |offset| Target::File { offset };
        let mut text = *b"0123456789";
        assert_eq!(
            finish(&driver, &write(fd(&file), at(Some(100)), &mut text)),
            10
        );
        let mut buffer = [0; 4];
        assert_eq!(
            finish(&driver, &read(fd(&file), at(Some(103)), &mut buffer)),
            4
        );
        assert_eq!(&buffer, b"3456");
        assert_eq!(finish(&driver, &read(fd(&file), at(None), &mut buffer)), 4);
        assert_eq!(buffer, [0; 4]);
        assert_eq!(
            finish(&driver, &read(fd(&file), at(Some(200)), &mut buffer)),
            0
        );
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn readers_and_writers_of_one_descriptor_are_woken_each_for_its_own() {
    each_backend(|driver| {
        let (ours, mut theirs) = sockets();
        let (first, _) = start(&driver, 1, &poll(fd(&ours), Interest::READABLE));
        let (second, _) = start(&driver, 2, &poll(fd(&ours), Interest::READABLE));
        let (third, _) = start(&driver, 3, &poll(fd(&ours), Interest::WRITABLE));
        let (party, _) = next(&driver);
        assert_eq!(party, 3);
        assert_eq!(next_within(&driver, Duration::from_millis(10)), None);
        theirs.write_all(b"x").unwrap();
        let mut woken = [next(&driver).0, next(&driver).0];
        woken.sort_unstable();
        assert_eq!(woken, [1, 2]);
        for token in [first, second, third] {
            driver.leave(token);
        }
    });
}

#[test]
fn a_hang_up_wakes_a_writer() {
    each_backend(|driver| {
        let (reader, mut writer) = pipe();
        let filled = poll(writer.as_raw_fd(), Interest::WRITABLE);
        writer.write_all(&[0; 65536]).unwrap();
        let (token, started) = start(&driver, 1, &filled);
        assert_eq!(started, None);
        drop(reader);
        let (_, wakeup) = next(&driver);
        let Wakeup::Completed(found) = wakeup else {
            panic!("{wakeup:?}")
        };
        assert_eq!(Interest::WRITABLE.satisfied_by(found), Interest::WRITABLE);
        driver.leave(token);
    });
}

#[test]
fn a_regular_file_is_always_ready() {
    each_backend(|driver| {
        let file = File::open("/proc/self/exe").unwrap();
        let found = finish(&driver, &poll(fd(&file), Interest::READABLE));
        assert_eq!(Interest::READABLE.satisfied_by(found), Interest::READABLE);
    });
}

#[test]
fn a_descriptor_that_is_not_open_is_an_error() {
    each_backend(|driver| {
        let closed = 900;
        assert_eq!(
            finish(&driver, &poll(closed, Interest::READABLE)),
            -libc::EBADF
        );
        assert_eq!(finish(&driver, &poll(-1, Interest::READABLE)), -libc::EBADF);
        let operation = read(closed, Target::Socket, &mut [0; 4]);
        assert_eq!(finish(&driver, &operation), -libc::EBADF);
    });
}

#[test]
fn a_number_that_another_file_takes_over_is_waited_for_anew() {
    each_backend(|driver| {
        let number = 701;
        let (first, theirs) = sockets();
        let taken = renumbered(first, number);
        let (token, _) = start(&driver, 1, &poll(number, Interest::READABLE));
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
        driver.cancel(token).unwrap();
        driver.leave(token);
        drop((taken, theirs));
        let (second, mut theirs) = sockets();
        let _taken = renumbered(second, number);
        let (token, _) = start(&driver, 2, &poll(number, Interest::READABLE));
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
        theirs.write_all(b"x").unwrap();
        assert!(matches!(next(&driver), (2, Wakeup::Completed(_))));
        driver.leave(token);
    });
}

#[test]
fn deadlines_pass_in_order_and_not_early() {
    let step = Duration::from_millis(10);
    each_backend(|driver| {
        // Starts again when arming took so long that the timers may pass in another order.
        let start = loop {
            let start = Instant::now();
            let tokens = [3, 1, 2].map(|party| {
                let token = driver.park(party);
                driver.set_timeout(token, Some(party * step));
                token
            });
            if start.elapsed() < step {
                break start;
            }
            for token in tokens {
                driver.leave(token);
            }
        };
        let cancelled = driver.park(9);
        driver.set_timeout(cancelled, Some(step / 2));
        driver.set_timeout(cancelled, None);
        for party in [1, 2, 3] {
            assert_eq!(next(&driver), (party, Wakeup::TimedOut));
            assert!(start.elapsed() >= party * step);
        }
    });
}

#[test]
fn an_operation_that_timed_out_can_still_be_awaited() {
    each_backend(|driver| {
        let (ours, mut theirs) = sockets();
        let mut buffer = [0; 4];
        let operation = read(fd(&ours), Target::Socket, &mut buffer);
        let (token, _) = start(&driver, 1, &operation);
        driver.set_timeout(token, Some(Duration::from_millis(1)));
        assert_eq!(next(&driver), (1, Wakeup::TimedOut));
        theirs.write_all(b"late").unwrap();
        assert_eq!(next(&driver), (1, Wakeup::Completed(4)));
        assert_eq!(&buffer, b"late");
        driver.leave(token);
    });
}

#[test]
fn input_that_never_runs_dry_leaves_others_their_turn() {
    each_backend(|driver| {
        let zero = File::open("/dev/zero").unwrap();
        let waiting = driver.park(5);
        driver.wake(waiting);
        let mut served = None;
        for round in 0..10_000 {
            let mut buffer = [0; 1];
            let operation = read(
                fd(&zero),
                Target::Stream { nonblocking: false },
                &mut buffer,
            );
            let (token, started) = start(&driver, 1, &operation);
            if started.is_none() {
                let (party, _) = next(&driver);
                if party == 5 {
                    served = Some(round);
                    next(&driver);
                }
            }
            driver.leave(token);
            if served.is_some() {
                break;
            }
        }
        assert!(served.is_some(), "{} never came to it", driver.backend());
    });
}

#[test]
fn what_is_ready_when_a_deadline_has_passed_counts_as_in_time() {
    each_backend(|driver| {
        let (ours, _theirs) = sockets();
        let (token, _) = start(&driver, 1, &poll(fd(&ours), Interest::WRITABLE));
        driver.set_timeout(token, Some(Duration::ZERO));
        assert!(matches!(next(&driver), (1, Wakeup::Completed(_))));
        driver.leave(token);
    });
}

#[test]
fn an_empty_socket_is_asked_again_only_when_it_is_ready() {
    const READS: u64 = 100;
    each_backend(|driver| {
        if driver.backend() == BackendKind::IoUring {
            return; // the kernel itself tries to read
        }
        let (ours, mut theirs) = sockets();
        let before = driver.stats();
        for number in 0..READS as u8 {
            let mut buffer = [0; 4];
            let operation = read(fd(&ours), Target::Socket, &mut buffer);
            let (token, started) = start(&driver, number.into(), &operation);
            assert_eq!(started, None);
            theirs.write_all(&[number]).unwrap();
            let woken = (number.into(), Wakeup::Completed(1));
            assert_eq!(next(&driver), woken);
            assert_eq!(buffer[0], number);
            driver.leave(token);
        }
        let after = driver.stats();
        let watched = match driver.backend() {
            BackendKind::Epoll | BackendKind::Kqueue => READS,
            _ => 0,
        };
        let asked = after.direct_calls - before.direct_calls - watched;
        // Each read makes one call when the descriptor is ready. A few also try before that: input may come as fast as
        // the test reads it.
        let most = match driver.backend() {
            BackendKind::Select => 2 * READS + READS / 8, // it also checks whether the descriptors are open
            _ => READS + READS / 8,
        };
        assert!(asked > READS && asked < most, "{asked}");
    });
}

#[test]
fn input_that_keeps_coming_is_read_without_waiting() {
    each_backend(|driver| {
        if driver.backend() == BackendKind::IoUring {
            return;
        }
        let (ours, mut theirs) = sockets();
        let mut buffer = [0; 1];
        let operation = read(fd(&ours), Target::Socket, &mut buffer);
        let (token, started) = start(&driver, 1, &operation);
        assert_eq!(started, None);
        theirs.write_all(&[0; 200]).unwrap();
        next(&driver);
        driver.leave(token);
        let mut at_once = 0;
        for _ in 1..200 {
            let mut buffer = [0; 1];
            let operation = read(fd(&ours), Target::Socket, &mut buffer);
            let (token, started) = start(&driver, 1, &operation);
            match started {
                Some(_) => at_once += 1,
                None => drop(next(&driver)),
            }
            driver.leave(token);
        }
        assert!(at_once > 150, "{at_once}");
    });
}

#[test]
fn readers_of_one_socket_are_served_in_their_order_when_one_has_left() {
    each_backend(|driver| {
        if driver.backend() == BackendKind::IoUring {
            return; // the kernel decides which read gets which bytes
        }
        let (ours, mut theirs) = sockets();
        let mut buffers = [[0; 1]; 4];
        let mut tokens = Vec::new();
        for (number, buffer) in (0..).zip(&mut buffers) {
            let operation = read(fd(&ours), Target::Socket, buffer);
            tokens.push(start(&driver, number, &operation).0);
        }
        driver.cancel(tokens[0]).unwrap();
        assert_eq!(next(&driver), (0, Wakeup::Completed(-libc::ECANCELED)));
        theirs.write_all(&[1, 2, 3]).unwrap();
        let order = [next(&driver).0, next(&driver).0, next(&driver).0];
        assert_eq!(order, [1, 2, 3]);
        assert_eq!(buffers, [[0], [1], [2], [3]]);
        for token in tokens {
            driver.leave(token);
        }
    });
}

#[test]
fn a_transfer_that_must_wait_is_tried_once() {
    each_backend(|driver| {
        if driver.backend() == BackendKind::IoUring {
            return; // io_uring tries nothing before the submission
        }
        let (ours, theirs) = sockets();
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[0; 65536]).is_ok() {}
        let mut buffer = [0; 4096];
        let operation = write(fd(&ours), Target::Socket, &mut buffer);
        let before = driver.stats().direct_calls;
        assert_eq!(driver.attempt(&operation), None);
        let (token, started) = start(&driver, 1, &operation);
        assert_eq!(started, None);
        // The select backend first asks the kernel whether the descriptor is open.
        let looked = u64::from(driver.backend() == BackendKind::Select);
        assert_eq!(driver.stats().direct_calls - before, 1 + looked);
        drop(theirs);
        assert!(matches!(next(&driver), (1, Wakeup::Completed(_))));
        driver.leave(token);
    });
}
