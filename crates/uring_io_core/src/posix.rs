//! System calls that exist on every system, for the readiness backends, the waker and the worker pool. Each reports its
//! errno. `platform.rs` has the calls that differ; the crate `io-uring` makes those of io_uring.
#![allow(unsafe_code)]

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::seconds;
use crate::error::{last_errno, or_errno, Error, Result};
use crate::first_use::FirstUse;
use crate::operation::{Children, Direction, Interest, LentBuffer, Target, Transfer};
use crate::platform::{self, numbers::FileStatus};

/// Adds a wakeup. Fails only when the counter or pipe is full, and then a wakeup is pending already.
pub(crate) fn write_wakeup(fd: RawFd) {
    let one = 1u64.to_ne_bytes();
    let saved = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    // SAFETY: reads eight bytes of a local array; write(2) is async-signal-safe.
    unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    platform::restore_errno(saved);
}

/// Reads until nothing is left: the last read is short, or fails with EAGAIN.
pub(crate) fn drain_wakeups(fd: RawFd) {
    let mut bytes = [0u8; 64];
    // SAFETY: the call writes at most as many bytes as `bytes`, a local, has.
    while unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) } == bytes.len() as isize
    {
    }
}

/// poll(2), with a timeout in nanoseconds where the system has one. `None` waits for ever.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> Result<usize> {
    let found = platform::poll(fds, timeout);
    if found < 0 {
        return Err(Error::last("poll"));
    }
    Ok(found as usize)
}

/// poll(2) without waiting. When nothing is ready, a pending signal ends even this call (`EINTR`), so it is repeated.
fn look(fds: &mut [libc::pollfd]) -> Result<()> {
    loop {
        match poll(fds, Some(Duration::ZERO)) {
            Err(error) if error.errno == libc::EINTR => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

/// The poll(2) events that a descriptor has now; 0 for none.
pub(crate) fn poll_now(fd: RawFd, events: i16) -> Result<i16> {
    if fd < 0 {
        // poll(2) ignores negative numbers, and would never report anything.
        return Ok(libc::POLLNVAL);
    }
    let mut fds = [libc::pollfd {
        fd,
        events,
        revents: 0,
    }];
    look(&mut fds)?;
    Ok(fds[0].revents)
}

/// The events that poll(2) finds now for `interest` on a descriptor; None when there are none. Fails with
/// `EBADF` when it is not open.
pub fn found_now(fd: RawFd, interest: Interest) -> Result<Option<i32>> {
    match poll_now(fd, interest.poll_events())? {
        0 => Ok(None),
        found if found & libc::POLLNVAL != 0 => Err(Error::new("poll", libc::EBADF)),
        found => Ok(Some(found.into())),
    }
}

/// The part of `interest` that a descriptor is ready for now; None when it is ready for nothing. Fails with `EBADF`
/// when the descriptor is not open.
pub fn readiness_now(fd: RawFd, interest: Interest) -> Result<Option<Interest>> {
    Ok(found_now(fd, interest)?.map(|found| interest.satisfied_by(found)))
}

/// For each of these descriptors, whether select(2) would find it ready for its interest now. Fails with `EBADF` when
/// one of them is not open.
pub fn ready_now(watched: &[(RawFd, Interest)]) -> Result<Vec<bool>> {
    let entry = |&(fd, interest): &(RawFd, Interest)| libc::pollfd {
        fd,
        events: interest.poll_events(),
        revents: 0,
    };
    let mut fds: Vec<_> = watched.iter().map(entry).collect();
    look(&mut fds)?;
    if fds.iter().any(|entry| entry.revents & libc::POLLNVAL != 0) {
        return Err(Error::new("poll", libc::EBADF));
    }
    let selected = fds.iter().zip(watched);
    Ok(selected
        .map(|(entry, (_, interest))| interest.is_selected_by(entry.revents.into()))
        .collect())
}

/// Makes a transfer without waiting, whatever flags the descriptor has. Returns the number of bytes or a negative
/// errno: `-EAGAIN` if it would have to wait.
pub fn transfer_now(transfer: &Transfer) -> i32 {
    let Transfer {
        direction,
        fd,
        target,
        buffer,
    } = *transfer;
    match (target, direction) {
        (Target::Socket, Direction::Read) => {
            // SAFETY: the buffer is lent to this call by the contract of LentBuffer::new.
            let got = unsafe {
                libc::recv(
                    fd,
                    buffer.address().cast(),
                    buffer.length(),
                    libc::MSG_DONTWAIT,
                )
            };
            or_errno(got as i32)
        }
        (Target::Socket | Target::SocketAtOnce, Direction::Write) => {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: as above; the call only reads from the buffer.
            let sent = unsafe { libc::send(fd, buffer.address().cast(), buffer.length(), flags) };
            or_errno(sent as i32)
        }
        (Target::Stream { nonblocking: true }, _) => {
            blocking_transfer(fd, direction, None, buffer, buffer.length())
        }
        _ => stream_now(fd, direction, buffer),
    }
}

/// One read(2) or write(2) on a pipe, terminal or device. It does not wait, even without `O_NONBLOCK`.
fn stream_now(fd: RawFd, direction: Direction, buffer: LentBuffer) -> i32 {
    match nowait(fd, direction, buffer, -1) {
        result if result != -libc::EOPNOTSUPP && result != -libc::ENOSYS => return result,
        _ => {}
    }
    let (events, length) = match direction {
        Direction::Read => (libc::POLLIN, buffer.length()),
        // A longer write could wait halfway, although poll(2) reports room.
        Direction::Write => (libc::POLLOUT, buffer.length().min(libc::PIPE_BUF)),
    };
    match poll_now(fd, events) {
        Ok(0) if direction == Direction::Write || !reads_at_once(fd) => -libc::EAGAIN,
        Ok(_) => blocking_transfer(fd, direction, None, buffer, length),
        Err(error) => -error.errno,
    }
}

/// Whether a descriptor is a terminal whose reads never wait (`VMIN` and `VTIME` are 0, termios(3)). poll(2) does not
/// report such a terminal as readable.
fn reads_at_once(fd: RawFd) -> bool {
    let mut settings = std::mem::MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the call fills `settings`, a local. It is read only after success.
    let settings = unsafe {
        if libc::tcgetattr(fd, settings.as_mut_ptr()) < 0 {
            return false;
        }
        settings.assume_init()
    };
    let waits_for = [settings.c_cc[libc::VMIN], settings.c_cc[libc::VTIME]];
    settings.c_lflag & libc::ICANON == 0 && waits_for == [0, 0]
}

/// A transfer with [`platform::nowait`], for one piece of memory.
fn nowait(fd: RawFd, direction: Direction, buffer: LentBuffer, offset: i64) -> i32 {
    let vector = libc::iovec {
        iov_base: buffer.address().cast(),
        iov_len: buffer.length(),
    };
    // SAFETY: the vector is a local. The buffer is lent to this call (LentBuffer::new).
    unsafe { platform::nowait(fd, direction, &vector, 1, offset) }
}

/// Does the same as [`transfer_now`] on a descriptor of unknown kind. For a pipe this saves asking for the kind. `None`
/// when the caller must find out the kind first. A regular file may answer `-EAGAIN`, too.
pub fn transfer_unasked(fd: RawFd, direction: Direction, buffer: LentBuffer) -> Option<i32> {
    static PIPES_CAN: FirstUse = FirstUse::new();
    if PIPES_CAN.get(|| platform::pipes_can_nowait().into()) == 0 {
        return None;
    }
    let result = nowait(fd, direction, buffer, -1);
    (![-libc::EOPNOTSUPP, -libc::ENOSYS, -libc::EINTR].contains(&result)).then_some(result)
}

/// Reads from a file, at `offset` or at its own position, only the bytes that are in the page cache (`RWF_NOWAIT`).
/// `-EAGAIN` when there are none. `-EOPNOTSUPP` when the system cannot tell: systems other than Linux, Linux before
/// 4.14, some filesystems, and `O_DIRECT`, which would make the thread wait for the disk.
pub fn read_cached(fd: RawFd, offset: Option<i64>, buffer: LentBuffer) -> i32 {
    match platform::bypasses_cache(fd) {
        Ok(false) => {}
        Ok(true) => return -libc::EOPNOTSUPP,
        Err(error) => return -error.errno,
    }
    let read = nowait(fd, Direction::Read, buffer, offset.unwrap_or(-1));
    match -read {
        libc::EOPNOTSUPP if platform::is_in_memory(fd) => {
            let offset = offset.map(|offset| offset as u64);
            blocking_transfer(fd, Direction::Read, offset, buffer, buffer.length())
        }
        libc::ENOSYS | libc::EINTR => -libc::EOPNOTSUPP,
        _ => read,
    }
}

/// A transfer that may block as long as the file does. For worker threads, and after poll(2).
pub(crate) fn blocking_transfer(
    fd: RawFd,
    direction: Direction,
    offset: Option<u64>,
    buffer: LentBuffer,
    length: usize,
) -> i32 {
    let address = buffer.address();
    loop {
        // SAFETY: the buffer is lent until the completion, which is reported after this returns
        // (LentBuffer::new); `length` is at most its length.
        let moved = unsafe {
            match (direction, offset) {
                (Direction::Read, None) => libc::read(fd, address.cast(), length),
                (Direction::Read, Some(at)) => libc::pread(fd, address.cast(), length, at as _),
                (Direction::Write, None) => libc::write(fd, address.cast(), length),
                (Direction::Write, Some(at)) => libc::pwrite(fd, address.cast(), length, at as _),
            }
        };
        let result = or_errno(moved as i32);
        if result != -libc::EINTR {
            return result;
        }
    }
}

/// Blocks the thread until a child changes its state, without reaping it: waitid(2). A signal ends
/// it with `EINTR`.
pub fn wait_for_child(children: Children) -> Result<()> {
    let Children { kind, id, changes } = children;
    let mut found = std::mem::MaybeUninit::<libc::siginfo_t>::uninit();
    // SAFETY: the kernel writes to `found`, a local, and nobody reads it.
    if unsafe { libc::waitid(kind, id, found.as_mut_ptr(), changes | libc::WNOWAIT) } < 0 {
        return Err(Error::last("waitid"));
    }
    Ok(())
}

/// The processor time that the calling thread has used.
pub(crate) fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The effective user and group of this thread.
pub(crate) fn user_and_group() -> (libc::uid_t, libc::gid_t) {
    // SAFETY: neither call takes an argument or can fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// How many descriptors the process may have open (`RLIMIT_NOFILE`).
#[allow(clippy::unnecessary_cast, reason = "the types differ by system")]
pub(crate) fn open_files_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call fills a local.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur as u64
}

/// An empty structure for waitid(2) to fill in.
pub fn empty_child() -> libc::siginfo_t {
    // SAFETY: a siginfo_t consists of integers and unions of them, for which all zeros are valid.
    unsafe { std::mem::zeroed() }
}

/// A status for statx(2) to fill in.
pub fn empty_status() -> FileStatus {
    // SAFETY: a status consists only of integers, for which all zeros are valid.
    unsafe { std::mem::zeroed() }
}

/// The pending error of a socket (`SO_ERROR`), negative; 0 when there is none.
pub(crate) fn socket_error(fd: RawFd) -> i32 {
    match socket_option(fd, libc::SO_ERROR) {
        Ok(error) | Err(error) => -error,
    }
}

/// Whether a socket keeps messages apart, as datagram sockets do, instead of having a stream of bytes. False for other
/// files than sockets.
pub fn keeps_messages(fd: RawFd) -> bool {
    socket_option(fd, libc::SO_TYPE).is_ok_and(|kind| kind != libc::SOCK_STREAM)
}

/// A socket option whose value is one int, or an errno.
fn socket_option(fd: RawFd, option: i32) -> std::result::Result<i32, i32> {
    let mut value: i32 = 0;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the call writes one int to a local.
    let asked = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            std::ptr::from_mut(&mut value).cast(),
            &mut length,
        )
    };
    if asked < 0 {
        Err(last_errno())
    } else {
        Ok(value)
    }
}

/// The time of the monotonic clock, in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to a local. Every system has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A number that grows with each fork between the first process that called this and the present one. Operations in
/// flight belong to one process and not to its children, so objects remember this number and compare it with the
/// present one.
pub fn forks() -> u32 {
    static FORKS: AtomicU32 = AtomicU32::new(0);
    static COUNTING: AtomicBool = AtomicBool::new(false);

    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }

    // Threads that come here first at the same time may all register the handler, which then counts each fork several
    // times. Letting them wait for each other would be worse: a child of a fork in between would wait for ever.
    if !COUNTING.load(Ordering::Acquire) {
        // SAFETY: the handler only adds to an atomic, which a forked child may do, and stays valid as long as the
        // library is loaded. The call fails only without memory; then forks go uncounted.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        COUNTING.store(true, Ordering::Release);
    }
    FORKS.load(Ordering::Relaxed)
}

/// Blocks all signals in a worker thread: Ruby's handlers belong to Ruby's threads.
pub(crate) fn block_signals() {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set before it is read; the mask is this thread's own.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// A signal that the process does not use. Its only effect is to end a thread's wait in the kernel (`EINTR`). None when
/// every candidate is in use.
fn interrupting_signal() -> Option<i32> {
    // 0 when every candidate is in use: no signal has this number.
    static SIGNAL: FirstUse = FirstUse::new();

    extern "C" fn nothing(_: i32) {}
    let handler = nothing as extern "C" fn(i32) as usize;

    let take = |signal: &i32| {
        // SAFETY: all zeros are a valid action: the default one, without flags and without blocked signals.
        let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
        // SAFETY: the call writes the signal's action to a local.
        let asked = unsafe { libc::sigaction(*signal, std::ptr::null(), &mut action) };
        // Another thread may have just installed our handler.
        if asked < 0 || ![libc::SIG_DFL, handler].contains(&action.sa_sigaction) {
            return false;
        }
        action.sa_flags = 0; // Without SA_RESTART, which would restart the interrupted call.
        action.sa_sigaction = handler;
        // SAFETY: the handler does nothing, and stays valid as long as the library is loaded.
        unsafe { libc::sigaction(*signal, &action, std::ptr::null_mut()) == 0 }
    };
    let signal = SIGNAL.get(|| platform::spare_signals().find(take).unwrap_or(0) as u64);
    (signal != 0).then_some(signal as i32)
}

/// The calling thread, for [`interrupt`]. From now on, [`interrupt`] can end its waits.
pub(crate) fn interruptible_thread() -> libc::pthread_t {
    if let Some(signal) = interrupting_signal() {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set before it is read; the mask is this thread's own.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), signal);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
        }
    }
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::pthread_self() }
}

/// Ends a thread's present wait in the kernel, with `EINTR`.
///
/// # Safety
///
/// The thread has not ended.
pub(crate) unsafe fn interrupt(thread: libc::pthread_t) {
    if let Some(signal) = interrupting_signal() {
        // SAFETY: the caller promises that the thread has not ended. The handler does nothing.
        unsafe { libc::pthread_kill(thread, signal) };
    }
}

/// A set of descriptors for select(2).
#[derive(Clone)]
pub(crate) struct DescriptorSet(libc::fd_set);

impl DescriptorSet {
    /// One more than the largest descriptor a set can hold.
    pub(crate) const SIZE: RawFd = libc::FD_SETSIZE as RawFd;

    pub(crate) fn new() -> Self {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: FD_ZERO initialises the whole set.
        unsafe {
            libc::FD_ZERO(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Adds a descriptor below [`SIZE`](Self::SIZE).
    pub(crate) fn insert(&mut self, fd: RawFd) {
        assert!(
            (0..Self::SIZE).contains(&fd),
            "descriptor {fd} does not fit select's set"
        );
        // SAFETY: the assertion has checked that the number fits the set.
        unsafe { libc::FD_SET(fd, &mut self.0) };
    }

    pub(crate) fn contains(&self, fd: RawFd) -> bool {
        // SAFETY: the first condition checks that the number fits the set.
        (0..Self::SIZE).contains(&fd) && unsafe { libc::FD_ISSET(fd, &self.0) }
    }
}

/// select(2) on descriptors below `count`.
pub(crate) fn select(
    count: RawFd,
    sets: &mut [DescriptorSet; 3],
    timeout: Option<Duration>,
) -> Result<usize> {
    let [readable, writable, exceptional] = sets;
    let mut limit = timeout.map(|timeout| {
        // Rounded up: otherwise the caller would spin during the last part of a microsecond.
        let micros = timeout.as_nanos().div_ceil(1000);
        libc::timeval {
            tv_sec: seconds(micros / 1_000_000) as _,
            tv_usec: (micros % 1_000_000) as _,
        }
    });
    let limit = limit
        .as_mut()
        .map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the three sets and the timeval are valid and outlive the call.
    let found = unsafe {
        libc::select(
            count,
            &mut readable.0,
            &mut writable.0,
            &mut exceptional.0,
            limit,
        )
    };
    if found < 0 {
        return Err(Error::last("select"));
    }
    Ok(found as usize)
}
