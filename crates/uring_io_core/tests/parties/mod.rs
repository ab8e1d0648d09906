//! Drivers on each backend. Their parties are plain numbers.
#![allow(dead_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use uring_io_core::support::{Releases, Support};
use uring_io_core::{
    BackendKind, Direction, Driver, Interest, Lack, LentBuffer, Mask, Operation, Options,
    RingOptions, Target, Token, Transfer, Turn, Wakeup,
};

/// Long enough for anything that comes at all, even on an emulated machine with a busy host.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn options(backend: BackendKind, entries: u32) -> Options {
    let ring = RingOptions {
        entries,
        ..RingOptions::default()
    };
    Options {
        backend,
        ring,
        workers_max: 2,
    }
}

/// A driver that closes at the end of the test, so that no operation stays in flight and keeps its memory.
pub struct Closing(pub Driver<u32>);

impl std::ops::Deref for Closing {
    type Target = Driver<u32>;

    fn deref(&self) -> &Driver<u32> {
        &self.0
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.close().unwrap();
        }
    }
}

impl Closing {
    /// Whether the kernel of this driver's ring lacks one of these operations, features or setup flags, by their names
    /// in [`Support`]. Prints which one. Other backends lack nothing.
    pub fn lacks(&self, names: &[&str]) -> bool {
        if self.backend() != BackendKind::IoUring {
            return false;
        }
        let missing = names.iter().find(|name| !kernel_has(name));
        if let Some(name) = missing {
            let (major, minor) = first_release(name);
            println!("skipped on io_uring: {name} needs Linux {major}.{minor}");
        }
        missing.is_some()
    }
}

/// Whether the kernel has an operation, a feature or a setup flag of io_uring.
pub fn kernel_has(name: &str) -> bool {
    static SUPPORT: OnceLock<Support> = OnceLock::new();
    let support = SUPPORT.get_or_init(Support::detect);
    let lists = [&support.operations, &support.features, &support.setup_flags];
    let mut all = lists.into_iter().flatten();
    let (_, is_there) = all.find(|(known, _)| *known == name).expect(name);
    *is_there
}

fn first_release(name: &str) -> (u32, u32) {
    let known = Releases::known();
    let lists = [known.operations, known.features, known.setup_flags];
    let mut all = lists.into_iter().flatten();
    all.find(|(known, _)| *known == name).expect(name).1
}

/// Makes the driver work until `is_so` returns true.
#[track_caller]
pub fn work_until(driver: &Driver<u32>, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it never came");
        driver.wait(Some(PATIENCE)).unwrap();
    }
}

/// Calls `test` with a driver on each backend that works here, and prints which ones do not.
pub fn each_backend(test: impl Fn(Closing)) {
    for backend in BackendKind::ALL {
        each_backend_named(backend, &test);
    }
}

fn each_backend_named(backend: BackendKind, test: &impl Fn(Closing)) {
    match Driver::new(&options(backend, 64)) {
        Ok(driver) => test(Closing(driver)),
        Err(error) => println!("skipped on {backend}: {error}"),
    }
}

/// A driver on io_uring with this many entries, limited as on an older kernel.
pub fn ring(entries: u32, limits: Mask) -> Option<Closing> {
    let mut options = options(BackendKind::IoUring, entries);
    options.ring.limits = limits;
    match Driver::new(&options) {
        Ok(driver) => Some(Closing(driver)),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// A driver with a ring that is restricted to the submissions of a scheduler.
pub fn restricted() -> Option<Closing> {
    let mut options = options(BackendKind::IoUring, 16);
    options.ring.restrict = true;
    match Driver::new(&options) {
        Ok(driver) => Some(Closing(driver)),
        Err(error) => {
            let too_old = matches!(error.lack, Some(Lack::Kernel(..)));
            assert!(too_old || ring(16, Mask::NOTHING).is_none(), "{error}");
            println!("skipped: {error}");
            None
        }
    }
}

/// Runs the driver until a party may go on. Returns the party and its reason.
#[track_caller]
pub fn next(driver: &Driver<u32>) -> (u32, Wakeup) {
    next_within(driver, PATIENCE).expect("nobody was woken")
}

/// Does the same as `next` within a limit; None when nobody was woken in time. Even with a limit of zero, the kernel
/// gets the queued entries.
pub fn next_within(driver: &Driver<u32>, limit: Duration) -> Option<(u32, Wakeup)> {
    let end = Instant::now() + limit;
    let mut left = Some(limit);
    loop {
        if let Some(token) = driver.next_ready() {
            let wakeup = driver.take_wakeup(token)?;
            let party = driver.with_payload(token, |party| *party)?;
            return Some((party, wakeup));
        }
        let Turn::Idle(timeout) = driver.begin_turn().unwrap() else {
            continue;
        };
        let most = left?;
        driver
            .wait(Some(timeout.map_or(most, |t| t.min(most))))
            .unwrap();
        left = end.checked_duration_since(Instant::now());
    }
}

/// Starts an operation. Also returns its result, if it was over at once.
pub fn start(driver: &Driver<u32>, party: u32, operation: &Operation) -> (Token, Option<i32>) {
    let token = driver.park(party);
    let started = driver.submit(token, operation).unwrap();
    (token, started)
}

/// Runs one operation to its end.
#[track_caller]
pub fn finish(driver: &Driver<u32>, operation: &Operation) -> i32 {
    let (token, started) = start(driver, 0, operation);
    let result = started.unwrap_or_else(|| match next(driver) {
        (0, Wakeup::Completed(result)) => result,
        other => panic!("{other:?} instead of a completion"),
    });
    driver.leave(token);
    result
}

pub fn poll(fd: RawFd, interest: Interest) -> Operation {
    Operation::Poll { fd, interest }
}

/// A read into memory, or a write from it. The test keeps the memory until the completion.
pub fn transfer(direction: Direction, fd: RawFd, target: Target, buffer: &mut [u8]) -> Operation {
    // SAFETY: each test keeps the buffer until it has taken the completion.
    #[allow(unsafe_code)]
    let buffer = unsafe { LentBuffer::new(buffer.as_mut_ptr(), buffer.len()) };
    Operation::Transfer(Transfer {
        direction,
        fd,
        target,
        buffer,
    })
}

pub fn read(fd: RawFd, target: Target, buffer: &mut [u8]) -> Operation {
    transfer(Direction::Read, fd, target, buffer)
}

pub fn write(fd: RawFd, target: Target, buffer: &mut [u8]) -> Operation {
    transfer(Direction::Write, fd, target, buffer)
}

/// Two connected sockets with O_NONBLOCK, as Ruby makes them.
pub fn sockets() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    b.set_nonblocking(true).unwrap();
    (a, b)
}

/// Takes ownership of a descriptor.
#[allow(unsafe_code)]
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller has just got the descriptor, and gives it away.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Reader and writer of a pipe that holds 64 KiB.
#[allow(unsafe_code)]
pub fn pipe() -> (File, File) {
    let mut fds = [-1; 2];
    // SAFETY: the array outlives the call, which fills it with two new descriptors. Only the two files own them.
    unsafe {
        assert_eq!(libc::pipe(fds.as_mut_ptr()), 0);
        (File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1]))
    }
}

/// Shrinks a pipe to one page, on systems with a call for that.
#[allow(unsafe_code)]
pub fn shrink(pipe: &impl AsRawFd) {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes numbers.
    assert!(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 4096);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

/// Writes to a descriptor that has room for all bytes.
pub fn write_all(fd: RawFd, bytes: &[u8]) {
    borrowed(fd).write_all(bytes).unwrap();
}

/// Reads from a descriptor that has enough bytes.
pub fn read_exact(fd: RawFd, bytes: &mut [u8]) {
    borrowed(fd).read_exact(bytes).unwrap();
}

/// A file that leaves its descriptor open when it is dropped.
fn borrowed(fd: RawFd) -> std::mem::ManuallyDrop<File> {
    std::mem::ManuallyDrop::new(File::from(adopt(fd)))
}

/// Moves a file to another number that no other test uses.
#[allow(unsafe_code)]
pub fn renumbered(file: impl AsRawFd, number: RawFd) -> OwnedFd {
    // SAFETY: the number is the test's own, so nobody loses a file, and only the result owns it.
    unsafe {
        assert_eq!(libc::dup2(file.as_raw_fd(), number), number);
        OwnedFd::from_raw_fd(number)
    }
}

/// A number above those that the thousands of sockets of other tests get. Each `index` gives another number.
#[allow(unsafe_code)]
pub fn far_number(index: RawFd) -> RawFd {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is a local that outlives the call.
    let answer = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    assert_eq!(answer, 0);
    limit.rlim_cur.min(60_000) as RawFd - 1 - index
}

pub fn fd(of: &impl AsRawFd) -> RawFd {
    of.as_raw_fd()
}
