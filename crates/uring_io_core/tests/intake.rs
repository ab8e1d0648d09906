//! Tests of a kernel that takes no submissions for a while, takes only a part of them, or is interrupted. The ring
//! loses no queued entry, submits none twice, and does not spin.
#![cfg(target_os = "linux")]

mod parties;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use parties::*;
use uring_io_core::{
    readiness_now, BackendKind, Call, Driver, Error, Intake, Interest, Link, Mask, Sqpoll, Target,
    Token, Turn, Wakeup,
};

const TRANSIENT: [i32; 4] = [libc::EBUSY, libc::EAGAIN, libc::EINTR, libc::ENOMEM];

/// A driver on a ring whose kernel gives these answers.
fn ring_that(
    entries: u32,
    limits: Mask,
    sqpoll: Option<Sqpoll>,
    answer: impl Fn(u32) -> Result<u32, i32> + Send + Sync + 'static,
) -> Option<Driver<u32>> {
    let mut options = options(BackendKind::IoUring, entries);
    options.ring.limits = limits;
    options.ring.sqpoll = sqpoll;
    options.ring.intake = Some(Intake::new(answer));
    match Driver::new(&options) {
        Ok(driver) => Some(driver),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// The kernel's answer, which a test changes while it uses the ring, and the number of times that the ring has asked.
#[derive(Default)]
struct Answer {
    errno: AtomicI32,
    /// Whether the answer holds for one call only.
    once: AtomicBool,
    asked: AtomicU64,
}

impl Answer {
    fn be(&self, errno: i32) {
        self.errno.store(errno, Ordering::Relaxed);
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// A ring whose kernel takes every submission until the test makes it refuse them.
fn refusing(entries: u32, limits: Mask) -> Option<(Driver<u32>, Arc<Answer>)> {
    let answer = Arc::new(Answer::default());
    let theirs = Arc::clone(&answer);
    let driver = ring_that(entries, limits, None, move |queued| {
        theirs.asked.fetch_add(1, Ordering::Relaxed);
        match theirs.errno.load(Ordering::Relaxed) {
            errno if errno != 0 && queued > 0 => {
                if theirs.once.load(Ordering::Relaxed) {
                    theirs.be(0);
                }
                Err(errno)
            }
            _ => Ok(queued),
        }
    })?;
    Some((driver, answer))
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The result that the test expects of an operation.
enum Due {
    /// The eight bytes at this place of the file.
    Word(u64, Box<[u8; 8]>),
    /// The number is sent once, from this memory.
    Sent { _from: Box<[u8; 8]> },
    /// This number from the socket with this index, or a cancellation before it comes.
    Heard(usize, u64, Box<[u8; 8]>),
    /// Nothing: the operation is part of a chain of calls that do nothing.
    Nothing,
}

/// Two sockets, and the party that reads from the first one. The flag says that the test has already written a number
/// for it or cancelled it.
type Line = (UnixStream, UnixStream, Option<(u32, bool)>);

struct World {
    driver: Driver<u32>,
    random: Random,
    file: File,
    due: HashMap<u32, (Token, Due)>,
    next: u32,
    sends: (UnixStream, UnixStream),
    sent: HashSet<u64>,
    hearing: Vec<Line>,
    entries: u32,
    chains: bool,
    operations: u64,
}

const WORDS: u64 = 512;
const OPERATIONS: u64 = 12_000;

impl World {
    fn new(driver: Driver<u32>, entries: u32, chains: bool, seed: u64) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("uring_io-intake-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let words: Vec<u8> = (0..WORDS).flat_map(u64::to_ne_bytes).collect();
        std::fs::write(&path, words).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        Self {
            driver,
            random: Random(seed),
            file,
            due: HashMap::new(),
            next: 0,
            sends: sockets(),
            sent: HashSet::new(),
            hearing: (0..8)
                .map(|_| sockets())
                .map(|(a, b)| (a, b, None))
                .collect(),
            entries,
            chains,
            operations: 0,
        }
    }

    fn submit(&mut self, make: impl FnOnce(&mut Self) -> (uring_io_core::Operation, Due)) -> u32 {
        let party = self.next;
        self.next += 1;
        let (operation, due) = make(self);
        let token = self.driver.park(party);
        assert_eq!(self.driver.submit(token, &operation), Ok(None));
        self.due.insert(party, (token, due));
        self.operations += 1;
        party
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0..=3 => {
                self.submit(|world| {
                    let place = world.random.below(WORDS + 1);
                    let mut word = Box::new([0; 8]);
                    let offset = Some(place * 8);
                    let target = Target::File { offset };
                    let operation = read(fd(&world.file), target, &mut word[..]);
                    (operation, Due::Word(place, word))
                });
            }
            4..=6 if self.due.len() < 200 => {
                self.submit(|world| {
                    let number = u64::from(world.next);
                    world.sent.insert(number);
                    let mut word = Box::new(number.to_ne_bytes());
                    let operation = write(fd(&world.sends.0), Target::Socket, &mut word[..]);
                    (operation, Due::Sent { _from: word })
                });
            }
            7 => {
                let socket = self.random.below(8) as usize;
                if self.hearing[socket].2.is_none() {
                    let party = self.submit(|world| {
                        let mut word = Box::new([0; 8]);
                        let from = fd(&world.hearing[socket].0);
                        let operation = read(from, Target::Socket, &mut word[..]);
                        (operation, Due::Heard(socket, world.next.into(), word))
                    });
                    self.hearing[socket].2 = Some((party, false));
                }
            }
            8 => {
                let socket = self.random.below(8) as usize;
                let (_, writer, reader) = &mut self.hearing[socket];
                if let Some((party, ended @ false)) = reader {
                    *ended = true;
                    if self.random.below(2) == 0 {
                        self.driver.cancel(self.due[party].0).unwrap();
                    } else {
                        writer
                            .write_all(&u64::from(*party + 1).to_ne_bytes())
                            .unwrap();
                    }
                }
            }
            9 if self.chains => self.chain(),
            _ => self.serve(Duration::ZERO),
        }
    }

    fn chain(&mut self) {
        let length = 1 + self.random.below(self.entries.into());
        let mut calls = Vec::new();
        for _ in 0..length {
            let token = self.driver.park(self.next);
            self.due.insert(self.next, (token, Due::Nothing));
            self.next += 1;
            calls.push((token, Call::Nop, Link::default()));
        }
        self.operations += length;
        let tokens: Vec<Token> = calls.iter().map(|(token, ..)| *token).collect();
        let started = self.driver.chain(calls);
        if started == Err(Error::new("io_uring_enter", libc::EBUSY)) {
            // The polling thread got no CPU for a second, so no call of the chain has begun.
            for token in tokens {
                let party = self.driver.leave(token).unwrap();
                self.due.remove(&party);
            }
            return;
        }
        started.unwrap();
    }

    fn serve(&mut self, limit: Duration) {
        if let Turn::Idle(_) = self.driver.begin_turn().unwrap() {
            self.driver.wait(Some(limit)).unwrap();
            self.driver.begin_turn().unwrap();
        }
        while let Some(token) = self.driver.next_ready() {
            let party = self.driver.with_payload(token, |party| *party).unwrap();
            let Some(Wakeup::Completed(result)) = self.driver.take_wakeup(token) else {
                panic!("{party} has not completed");
            };
            let due = self.due.remove(&party);
            let (known, due) = due.unwrap_or_else(|| panic!("{party} is over twice"));
            assert_eq!(known, token);
            self.check(party, result, due);
            self.driver.leave(token);
        }
        self.drain();
    }

    fn check(&mut self, party: u32, result: i32, due: Due) {
        match due {
            Due::Word(WORDS, _) => assert_eq!(result, 0),
            Due::Word(place, word) => {
                assert_eq!((result, u64::from_ne_bytes(*word)), (8, place));
            }
            Due::Sent { .. } => assert_eq!(result, 8),
            Due::Heard(socket, number, word) => {
                let reader = self.hearing[socket].2.take();
                assert_eq!(reader, Some((party, true)));
                if result != -libc::ECANCELED {
                    assert_eq!((result, u64::from_ne_bytes(*word)), (8, number));
                }
            }
            Due::Nothing => assert_eq!(result, 0),
        }
    }

    /// Receives the sent numbers.
    fn drain(&mut self) {
        let mut word = [0; 8];
        while let Ok(length) = self.sends.1.read(&mut word) {
            let number = u64::from_ne_bytes(word);
            assert_eq!(length, 8);
            assert!(self.sent.remove(&number), "{number} was sent twice");
        }
    }

    fn end(mut self) {
        for (_, writer, reader) in &mut self.hearing {
            if let Some((party, ended @ false)) = reader {
                *ended = true;
                writer
                    .write_all(&u64::from(*party + 1).to_ne_bytes())
                    .unwrap();
            }
        }
        let start = Instant::now();
        while !self.due.is_empty() {
            self.serve(Duration::from_millis(5));
            assert!(
                start.elapsed() < PATIENCE,
                "{} are never over",
                self.due.len()
            );
        }
        assert!(self.sent.is_empty(), "{:?} were not sent", self.sent);
        // Cancellations have no party, so the loop above does not wait for them. After this loop, only the read of the
        // waker is left.
        let left = |driver: &Driver<u32>| driver.stats().submissions - driver.stats().completions;
        while left(&self.driver) > 1 {
            self.serve(Duration::from_millis(5));
            assert!(
                start.elapsed() < PATIENCE,
                "{} are left",
                left(&self.driver)
            );
        }
        self.driver.close().unwrap();
        assert_eq!(left(&self.driver), 0);
    }
}

/// Runs random operations on rings with few entries. `answer` throws dice at each of a ring's calls.
fn all_are_over_once(
    limits: Mask,
    sqpoll: Option<Sqpoll>,
    chains: bool,
    answer: fn(&mut Random, u32) -> Result<u32, i32>,
) {
    for (entries, seed) in [(1, 0x9e37_79b9), (2, 0x7f4a_7c15), (8, 0xbf58_476d)] {
        let dice = Mutex::new(Random(seed + 1));
        let given = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&given);
        let Some(driver) = ring_that(entries, limits, sqpoll, move |queued| {
            let answer = answer(&mut dice.lock().unwrap(), queued);
            count.fetch_add(u64::from(answer != Ok(queued)), Ordering::Relaxed);
            answer
        }) else {
            return;
        };
        let mut world = World::new(driver, entries, chains, seed);
        while world.operations < OPERATIONS {
            world.step();
        }
        world.end();
        let given = given.load(Ordering::Relaxed);
        assert!(given > OPERATIONS / 500, "{given} faults on {entries}");
    }
}

/// A refusal or an interruption, once in four times.
fn refused_at_times(dice: &mut Random, queued: u32) -> Result<u32, i32> {
    match dice.below(16) {
        number @ 0..4 => Err(TRANSIENT[number as usize]),
        _ => Ok(queued),
    }
}

/// The same, or just a part of the queued entries, once in four times.
fn refused_or_cut(dice: &mut Random, queued: u32) -> Result<u32, i32> {
    match dice.below(4) {
        0 if queued > 1 => Ok(1 + dice.below(u64::from(queued) - 1) as u32),
        _ => refused_at_times(dice, queued),
    }
}

#[test]
fn every_operation_is_over_once_whatever_the_kernel_refuses() {
    all_are_over_once(Mask::NOTHING, None, true, refused_at_times);
}

#[test]
fn every_operation_is_over_once_when_the_kernel_takes_some_of_them() {
    all_are_over_once(Mask::NOTHING, None, false, refused_or_cut);
}

#[test]
fn every_operation_is_over_once_on_older_kernels() {
    for (major, minor) in [(6, 0), (5, 18), (5, 10)] {
        all_are_over_once(Mask::linux(major, minor), None, false, refused_or_cut);
    }
}

#[test]
fn every_operation_is_over_once_with_a_polling_thread() {
    let sqpoll = Sqpoll {
        idle_ms: 1,
        cpu: None,
    };
    all_are_over_once(Mask::NOTHING, Some(sqpoll), true, refused_at_times);
}

#[test]
fn what_is_done_is_told_while_nothing_can_be_submitted() {
    for errno in [libc::EBUSY, libc::EAGAIN, libc::ENOMEM] {
        let Some((driver, answer)) = refusing(8, Mask::NOTHING) else {
            return;
        };
        let (ours, mut theirs) = sockets();
        let (other, mut another) = sockets();
        start(&driver, 1, &poll(fd(&ours), Interest::READABLE));
        assert_eq!(next_within(&driver, Duration::from_millis(1)), None);
        answer.be(errno);
        start(&driver, 2, &poll(fd(&other), Interest::READABLE));
        another.write_all(b"x").unwrap();
        theirs.write_all(b"x").unwrap();
        assert!(matches!(next(&driver), (1, Wakeup::Completed(_))));
        assert_eq!(next_within(&driver, Duration::from_millis(20)), None);
        answer.be(0);
        assert!(matches!(next(&driver), (2, Wakeup::Completed(_))));
        driver.close().unwrap();
    }
}

/// Starts a thousand operations while the kernel refuses all submissions. Returns how often the ring asks the kernel in
/// a tenth of a second.
fn asked_in_vain(limits: Mask, errno: i32, refuses_all: bool) -> Option<u64> {
    let answer = Arc::new(Answer::default());
    let theirs = Arc::clone(&answer);
    let driver = ring_that(8, limits, None, move |queued| {
        theirs.asked.fetch_add(1, Ordering::Relaxed);
        match theirs.errno.load(Ordering::Relaxed) {
            errno if errno != 0 && (queued > 0 || refuses_all) => Err(errno),
            _ => Ok(queued),
        }
    })?;
    let (ours, mut theirs) = sockets();
    start(&driver, 0, &poll(fd(&ours), Interest::READABLE));
    assert_eq!(next_within(&driver, Duration::from_millis(1)), None);
    answer.be(errno);
    // The kernel puts this work off until the ring enters it, and a refused call does not do the work.
    theirs.write_all(b"x").unwrap();
    let pairs: Vec<_> = (0..1000).map(|_| sockets()).collect();
    let start_at = Instant::now();
    for (party, (ours, _)) in (1..).zip(&pairs) {
        start(&driver, party, &poll(fd(ours), Interest::WRITABLE));
    }
    let asked = answer.asked();
    assert!(asked <= 20, "asked {asked} times by submitting");
    while start_at.elapsed() < Duration::from_millis(100) {
        next_within(&driver, Duration::from_millis(5));
    }
    let asked = answer.asked() - asked;
    answer.be(0);
    for _ in 0..1000 {
        if next_within(&driver, PATIENCE).is_none() {
            panic!("somebody is never woken");
        }
    }
    driver.close().unwrap();
    Some(asked)
}

#[test]
fn a_kernel_that_is_out_of_memory_is_not_asked_over_and_over() {
    for limits in [Mask::NOTHING, Mask::linux(5, 10)] {
        for (errno, refuses_all) in [(libc::EAGAIN, false), (libc::ENOMEM, true)] {
            let Some(asked) = asked_in_vain(limits, errno, refuses_all) else {
                return;
            };
            // The ring asks about twice a millisecond at most, half of the bound. A slow machine asks less often.
            assert!(asked <= 400, "asked {asked} times");
        }
    }
}

#[test]
fn one_refusal_does_not_last_as_long_as_the_wait() {
    for limits in [Mask::NOTHING, Mask::linux(5, 10)] {
        for errno in TRANSIENT {
            let Some((driver, answer)) = refusing(8, limits) else {
                return;
            };
            let (ours, mut theirs) = sockets();
            theirs.write_all(b"x").unwrap();
            start(&driver, 1, &poll(fd(&ours), Interest::READABLE));
            answer.be(errno);
            answer.once.store(true, Ordering::Relaxed);
            let start = Instant::now();
            driver.wait(Some(PATIENCE)).unwrap();
            assert!(matches!(next(&driver), (1, Wakeup::Completed(_))));
            assert!(start.elapsed() < PATIENCE / 2, "{errno}");
            driver.close().unwrap();
        }
    }
}

/// Queues a read, calls `meanwhile`, closes the descriptor and gives its number to another pipe. Returns the byte that
/// the read gets.
fn read_of_a_closed_file(
    driver: &Driver<u32>,
    number: RawFd,
    meanwhile: impl FnOnce(&Driver<u32>),
) -> u8 {
    let (reader, mut writer) = pipe();
    let (other, mut another) = pipe();
    let file = renumbered(reader, number);
    let mut byte = [0];
    start(
        driver,
        1,
        &read(number, Target::Stream { nonblocking: false }, &mut byte),
    );
    meanwhile(driver);
    while !driver.before_close(number).unwrap() {}
    drop(file);
    let _taken = renumbered(other, number);
    writer.write_all(b"a").unwrap();
    another.write_all(b"b").unwrap();
    while next(driver) != (1, Wakeup::Completed(1)) {}
    byte[0]
}

#[test]
fn what_is_queued_finds_its_file_though_it_was_refused_before_the_close() {
    let Some((driver, answer)) = refusing(8, Mask::NOTHING) else {
        return;
    };
    let found = read_of_a_closed_file(&driver, far_number(0), |driver| {
        answer.be(libc::EAGAIN);
        driver.look().unwrap();
        let end = Instant::now() + Duration::from_millis(5);
        let answer = Arc::clone(&answer);
        std::thread::spawn(move || {
            std::thread::sleep(end - Instant::now());
            answer.be(0);
        });
    });
    assert_eq!(found, b'a');
    driver.close().unwrap();
}

#[test]
fn what_is_queued_finds_its_file_when_the_kernel_takes_one_at_a_time() {
    let Some(driver) = ring_that(8, Mask::NOTHING, None, |queued| Ok(queued.min(1))) else {
        return;
    };
    for party in 10..14 {
        driver.call(driver.park(party), Call::Nop).unwrap();
    }
    assert_eq!(read_of_a_closed_file(&driver, far_number(1), |_| ()), b'a');
    driver.close().unwrap();
}

#[test]
fn completions_are_taken_where_the_kernel_wants_that_first() {
    // Kernels before 5.19 answer like this after an overflow of the completion queue.
    let ring = Arc::new(AtomicI32::new(-1));
    let descriptor = Arc::clone(&ring);
    let limits = Mask::linux(5, 10);
    let Some(driver) = ring_that(4, limits, None, move |queued| {
        match readiness_now(descriptor.load(Ordering::Relaxed), Interest::READABLE) {
            Ok(Some(_)) => Err(libc::EBUSY),
            _ => Ok(queued),
        }
    }) else {
        return;
    };
    ring.store(driver.ring_descriptor().unwrap(), Ordering::Relaxed);
    let complete = |party| {
        driver.call(driver.park(party), Call::Nop).unwrap();
        driver.wait(Some(Duration::ZERO)).unwrap();
    };
    complete(10);
    let found = read_of_a_closed_file(&driver, far_number(2), |_| ());
    assert_eq!(found, b'a');
    complete(11);
    driver.call(driver.park(12), Call::Nop).unwrap();
    let tokens: Vec<Token> = (0..4).map(|party| driver.park(party)).collect();
    let calls = tokens.into_iter();
    let calls = calls.map(|token| (token, Call::Nop, Link::default()));
    driver.chain(calls.collect()).unwrap();
    let mut over: Vec<u32> = (0..6).map(|_| next(&driver).0).collect();
    over.sort_unstable();
    assert_eq!(over, [0, 1, 2, 3, 11, 12]);
    driver.close().unwrap();
}

#[test]
fn each_descriptor_of_an_entry_counts_as_queued_until_the_kernel_takes_that_entry() {
    let Some(driver) = ring_that(8, Mask::NOTHING, None, |queued| Ok(queued.min(1))) else {
        return;
    };
    let files = [pipe(), pipe(), pipe()];
    let [(a, b), (c, d), (e, _)] = &files;
    let [source, target, plain, linked, direct] = [fd(a), fd(b), fd(c), fd(d), fd(e)];
    let sync = |fd| Call::Sync {
        fd,
        data_only: false,
    };
    let splice = Call::Splice {
        from: source,
        from_offset: -1,
        to: target,
        to_offset: -1,
        length: 1,
        flags: libc::SPLICE_F_NONBLOCK,
    };
    for call in [splice, sync(plain), Call::Nop] {
        driver.call(driver.park(0), call).unwrap();
    }
    let of_ring = Link {
        direct: true,
        ..Link::default()
    };
    let steps = [(sync(linked), Link::default()), (sync(direct), of_ring)];
    let steps = steps.map(|(call, link)| (driver.park(0), call, link));
    driver.chain(steps.into()).unwrap();
    // The number of the direct descriptor is none of the process's.
    let queued = || [source, target, plain, linked, direct].map(|fd| driver.has_queued(fd));
    assert_eq!(queued(), [true, true, true, true, false]);
    let mut left = Vec::new();
    for _ in 0..4 {
        driver.look().unwrap();
        left.push(queued());
    }
    let none = [false; 5];
    let last = [false, false, false, true, false];
    assert_eq!(left, [[false, false, true, true, false], last, last, none]);
    driver.close().unwrap();
}

#[test]
fn a_chain_that_is_refused_for_long_was_not_started() {
    let Some((driver, answer)) = refusing(4, Mask::NOTHING) else {
        return;
    };
    // Takes an entry, so that the queue has no room for the whole chain.
    driver.call(driver.park(0), Call::Nop).unwrap();
    answer.be(libc::ENOMEM);
    let chain = |first| {
        let tokens: Vec<Token> = (first..first + 4).map(|party| driver.park(party)).collect();
        let calls = tokens
            .iter()
            .map(|token| (*token, Call::Nop, Link::default()));
        let started = driver.chain(calls.collect());
        if started.is_err() {
            tokens.iter().for_each(|token| {
                driver.leave(*token);
            });
        }
        started
    };
    let before = answer.asked();
    let refused = Err(Error::new("io_uring_enter", libc::EBUSY));
    assert_eq!(chain(1), refused);
    assert!(answer.asked() - before <= 4000, "{}", answer.asked());
    answer.be(0);
    chain(11).unwrap();
    let mut over: Vec<u32> = (0..5).map(|_| next(&driver).0).collect();
    over.sort_unstable();
    assert_eq!(over, [0, 11, 12, 13, 14]);
    driver.close().unwrap();
}

#[test]
fn any_other_errno_is_an_error_with_the_name_of_the_call_and_undoes_nothing() {
    for errno in [libc::EBADF, libc::EFAULT, libc::EPERM, libc::EBADR] {
        let Some((driver, answer)) = refusing(1, Mask::NOTHING) else {
            return;
        };
        let error = Error::new("io_uring_enter", errno);
        let (ours, mut theirs) = sockets();
        let mut byte = [b'y'];
        start(&driver, 1, &poll(fd(&ours), Interest::READABLE));
        answer.be(errno);
        let refused = driver.park(2);
        let sends = write(fd(&ours), Target::Socket, &mut byte);
        assert_eq!(driver.submit(refused, &sends), Err(error));
        driver.leave(refused);
        assert_eq!(driver.wait(None), Err(error));
        assert_eq!(driver.look(), Err(error));
        assert_eq!(driver.before_close(fd(&ours)), Err(error));
        answer.be(0);
        // The kernel refused the read of the waker, too. The ring must have repeated it.
        let waker = driver.waker();
        let thread = std::thread::spawn(move || waker.wake());
        assert_eq!(next_within(&driver, Duration::from_millis(1)), None);
        thread.join().unwrap();
        let start = Instant::now();
        driver.waker().wake();
        driver.wait(Some(PATIENCE)).unwrap();
        driver.wait(Some(Duration::from_millis(1))).unwrap();
        assert!(start.elapsed() < PATIENCE / 2, "the waker is not read");
        theirs.write_all(b"x").unwrap();
        assert!(matches!(next(&driver), (1, Wakeup::Completed(_))));
        driver.close().unwrap();
        let sent = theirs.read(&mut byte).map_err(|error| error.kind());
        assert_eq!(sent, Err(std::io::ErrorKind::WouldBlock), "it was refused");
    }
}

#[test]
fn closing_takes_memory_back_through_a_shortage() {
    for entries in [1, 2, 8] {
        let Some((driver, answer)) = refusing(entries, Mask::NOTHING) else {
            return;
        };
        let pairs: Vec<_> = (0..20).map(|_| sockets()).collect();
        let mut buffers = vec![[0_u8; 1]; pairs.len()];
        for ((party, (ours, _)), buffer) in (0..).zip(&pairs).zip(&mut buffers) {
            start(&driver, party, &read(fd(ours), Target::Socket, buffer));
        }
        assert_eq!(next_within(&driver, Duration::from_millis(1)), None);
        answer.be(libc::ENOMEM);
        let recovers = Arc::clone(&answer);
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            recovers.be(0);
        });
        let before = answer.asked();
        driver.close().unwrap();
        thread.join().unwrap();
        let asked = answer.asked() - before;
        assert!(asked <= 400, "asked {asked} times");
        for (_, theirs) in &pairs {
            (&*theirs).write_all(b"x").unwrap();
        }
        assert!(buffers.iter().all(|buffer| *buffer == [0]));
    }
}

#[test]
fn a_ring_that_has_failed_says_so_when_it_is_closed() {
    let Some((driver, answer)) = refusing(1, Mask::NOTHING) else {
        return;
    };
    let (ours, _theirs) = sockets();
    let mut byte = [0];
    start(&driver, 1, &read(fd(&ours), Target::Socket, &mut byte));
    assert_eq!(next_within(&driver, Duration::from_millis(1)), None);
    answer.be(libc::EBADF);
    assert_eq!(
        driver.close(),
        Err(Error::new("io_uring_enter", libc::EBADF))
    );
    answer.be(0);
    driver.close().unwrap();
}
