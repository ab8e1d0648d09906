//! The vocabulary of backends: operations and their arguments.
//!
//! An operation names descriptors and lent memory only. Each backend carries it out in its own way: `uring` turns it
//! into a submission queue entry, `readiness` into a system call when the descriptor is ready.

use std::os::fd::RawFd;

/// One operation.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Wait until `fd` is ready for one of `interest`, once. The result is the mask of poll(2)
    /// events that were found: see [`Interest::satisfied_by`].
    Poll {
        /// The descriptor.
        fd: RawFd,
        /// The events to wait for.
        interest: Interest,
    },
    /// Wait until a child changes its state, without reaping it. The result is 0. Only io_uring can do this (Linux
    /// 6.7): before 6.7 the result is `-EINVAL`, and on other backends `-ENOSYS`.
    WaitChild(Children),
    /// Move bytes between a descriptor and a buffer. The result is the number of bytes, 0 at the
    /// end of the input.
    Transfer(Transfer),
}

impl Operation {
    /// The descriptor that it uses, if it uses one.
    pub fn fd(&self) -> Option<RawFd> {
        match self {
            Self::Poll { fd, .. } => Some(*fd),
            Self::Transfer(transfer) => Some(transfer.fd),
            Self::WaitChild(_) => None,
        }
    }

    /// Whether its descriptor is negative. No backend gets to see such an operation.
    #[inline]
    pub(crate) fn is_on_none(&self) -> bool {
        self.fd().is_some_and(|fd| fd < 0)
    }
}

/// Arguments of [`Operation::WaitChild`], see waitid(2).
#[derive(Clone, Copy, Debug)]
pub struct Children {
    /// `P_PID`, `P_PGID` or `P_ALL`.
    pub kind: libc::idtype_t,
    /// Process or process group.
    pub id: libc::id_t,
    /// `WEXITED`, `WSTOPPED`, `WCONTINUED`.
    pub changes: i32,
}

impl Children {
    /// The children that waitpid(2) means by `pid`, and the changes that it means by `flags`.
    pub fn of_waitpid(pid: libc::pid_t, flags: i32) -> Self {
        let (kind, id) = match pid {
            -1 => (libc::P_ALL, 0),
            group if group <= 0 => (libc::P_PGID, group.unsigned_abs() as libc::id_t),
            one => (libc::P_PID, one.unsigned_abs() as libc::id_t),
        };
        let mut changes = libc::WEXITED;
        for (flag, change) in [
            (libc::WUNTRACED, libc::WSTOPPED),
            (libc::WCONTINUED, libc::WCONTINUED),
        ] {
            if flags & flag != 0 {
                changes |= change;
            }
        }
        Self { kind, id, changes }
    }
}

/// Arguments of [`Operation::Transfer`].
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Into the buffer, or out of it.
    pub direction: Direction,
    /// The descriptor.
    pub fd: RawFd,
    /// The kind of file of the descriptor: it decides how waiting for it works.
    pub target: Target,
    /// The memory, lent until the completion.
    pub buffer: LentBuffer,
}

impl Transfer {
    /// Whether the caller gets this result although it has cancelled the transfer meanwhile: some input, or all
    /// of the output.
    pub fn is_enough(&self, result: i32) -> bool {
        match self.direction {
            Direction::Read => result > 0,
            Direction::Write => usize::try_from(result) == Ok(self.buffer.length()),
        }
    }
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the descriptor into the buffer.
    Read,
    /// From the buffer to the descriptor.
    Write,
}

impl Direction {
    /// The interest that a transfer waits for when it has to wait.
    pub const fn interest(self) -> Interest {
        match self {
            Self::Read => Interest::READABLE,
            Self::Write => Interest::WRITABLE,
        }
    }
}

/// The kind of file behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A socket: recv(2) and send(2).
    Socket,
    /// A socket to write to that may keep messages apart, as sockets of datagrams do. Its send(2) comes to `EAGAIN`
    /// instead of waiting for room. When a send of io_uring waits, newer kernels (seen on Linux 6.18) go on after the
    /// bytes that they took at the first try, and the peer of a UNIX socket gets an empty message.
    SocketAtOnce,
    /// A pipe, terminal or device: read(2) and write(2), which may have to wait.
    Stream {
        /// Whether its calls answer `EAGAIN` instead of waiting (`O_NONBLOCK`).
        nonblocking: bool,
    },
    /// A regular file or block device: always ready, but slow. `None` is the file's own position.
    File {
        /// Position in bytes from the start of the file.
        offset: Option<u64>,
    },
}

impl Target {
    /// Whether the target is always ready: nobody waits for it, and a transfer takes as long as the disk.
    pub(crate) const fn is_file(self) -> bool {
        match self {
            Self::File { .. } => true,
            Self::Socket | Self::SocketAtOnce | Self::Stream { .. } => false,
        }
    }

    /// The position to transfer at; `None` for the file's own position, and for files without positions.
    pub(crate) const fn offset(self) -> Option<u64> {
        match self {
            Self::File { offset } => offset,
            Self::Socket | Self::SocketAtOnce | Self::Stream { .. } => None,
        }
    }
}

/// Memory that the kernel may use until the operation that it is lent to has completed.
#[derive(Clone, Copy, Debug)]
pub struct LentBuffer {
    address: usize,
    length: usize,
}

impl LentBuffer {
    /// Lends `length` bytes at `address`.
    ///
    /// # Safety
    ///
    /// The memory must stay allocated from the submission until the caller has taken the completion from the
    /// driver, or has closed the driver. Nobody may free or move it in that time. When the transfer reads into
    /// it, nobody else may use it either.
    #[allow(unsafe_code)]
    pub unsafe fn new(address: *mut u8, length: usize) -> Self {
        Self {
            address: address as usize,
            length,
        }
    }

    /// The memory of `bytes`, which must stay where they are until the operation is over.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::at(bytes.as_ptr().cast_mut(), bytes.len())
    }

    /// `length` bytes at an address. The maker of the call keeps the address valid until the call is over.
    pub(crate) fn at(address: *mut u8, length: usize) -> Self {
        Self {
            address: address as usize,
            length,
        }
    }

    /// Start of the memory.
    pub(crate) fn address(&self) -> *mut u8 {
        self.address as *mut u8
    }

    /// Size in bytes, at most what one system call takes on Linux (0x7ffff000).
    pub fn length(&self) -> usize {
        self.length.min(0x7fff_f000)
    }
}

/// Kinds of readiness, with the numbers of `IO::READABLE`, `IO::PRIORITY` and `IO::WRITABLE` in Ruby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// Data, a connection or the end of the input is there.
    pub const READABLE: Self = Self(1);
    /// Urgent data is there.
    pub const PRIORITY: Self = Self(2);
    /// There is room for output.
    pub const WRITABLE: Self = Self(4);

    /// The interest with these bits, unless there are none or unknown ones.
    pub fn from_bits(bits: u32) -> Option<Self> {
        (bits != 0 && bits & !7 == 0).then_some(Self(bits as u8))
    }

    /// The bits.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// The events of poll(2) to ask for.
    pub(crate) fn poll_events(self) -> i16 {
        let mut events = 0;
        for (kind, event) in Self::POLL_EVENTS {
            if self.0 & kind.0 != 0 {
                events |= event;
            }
        }
        events
    }

    const POLL_EVENTS: [(Self, i16); 3] = [
        (Self::READABLE, libc::POLLIN),
        (Self::PRIORITY, libc::POLLPRI),
        (Self::WRITABLE, libc::POLLOUT),
    ];

    /// Whether the interest includes urgent input.
    pub fn is_urgent(self) -> bool {
        self.0 & Self::PRIORITY.0 != 0
    }

    /// Whether the poll(2) events of a completed poll contain anything of this interest, an error or a hang-up. They
    /// may not: io_uring wakes everybody when the peer of a socket has closed its sending side (`IO_POLL_UNMASK`,
    /// io_uring/poll.c).
    pub fn is_settled_by(self, found: i32) -> bool {
        let known = self.poll_events() | libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        found as i16 & known != 0
    }

    /// Whether select(2) calls a descriptor ready for this interest when poll(2) finds these events on it. select(2)
    /// takes a hang-up for input only. It takes an error for input and for room. It takes neither for an exceptional
    /// condition (Linux, fs/select.c).
    pub fn is_selected_by(self, found: i32) -> bool {
        Self::told_by(found).is_some_and(|told| told.0 & self.0 != 0)
    }

    /// The meaning of these poll(2) events, whatever the caller waits for, as select(2) and Ruby (thread.c,
    /// rb_thread_wait_for_single_fd) read them. `None` when they mean none of the three.
    pub fn told_by(found: i32) -> Option<Self> {
        let found = found as i16;
        let kinds = [
            (Self::READABLE, libc::POLLIN | libc::POLLHUP | libc::POLLERR),
            (Self::WRITABLE, libc::POLLOUT | libc::POLLERR),
            (Self::PRIORITY, libc::POLLPRI),
        ];
        let told = kinds.iter().filter(|(_, events)| found & events != 0);
        Self::from_bits(told.fold(0, |bits, (kind, _)| bits | kind.bits()))
    }

    /// The part of this interest that the poll(2) events `found` satisfy.
    ///
    /// An error on the descriptor satisfies everything: the next call on it will report it. A hang-up satisfies
    /// readers. When poll(2) finds nothing else of the interest, a hang-up satisfies everybody, because nothing else
    /// will come.
    pub fn satisfied_by(self, found: i32) -> Interest {
        let found = found as i16;
        let mut ready = 0;
        for (kind, event) in Self::POLL_EVENTS {
            if found & event != 0 {
                ready |= kind.0;
            }
        }
        if found & libc::POLLHUP != 0 {
            ready |= Self::READABLE.0;
        }
        ready &= self.0;
        if found & libc::POLLERR != 0 || ready == 0 {
            ready = self.0;
        }
        Self(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::Interest;

    const BOTH: Interest = Interest(5);

    #[test]
    fn only_what_was_asked_for_is_reported() {
        assert_eq!(
            Interest::READABLE
                .satisfied_by((libc::POLLIN | libc::POLLOUT).into())
                .bits(),
            1
        );
        assert_eq!(BOTH.satisfied_by(libc::POLLOUT.into()).bits(), 4);
    }

    #[test]
    fn an_error_satisfies_every_direction() {
        assert_eq!(BOTH.satisfied_by(libc::POLLERR.into()), BOTH);
        assert_eq!(
            Interest::WRITABLE.satisfied_by(libc::POLLERR.into()),
            Interest::WRITABLE
        );
    }

    #[test]
    fn a_hang_up_satisfies_readers_and_whoever_has_nothing_else_to_wait_for() {
        assert_eq!(BOTH.satisfied_by(libc::POLLHUP.into()).bits(), 1);
        assert_eq!(
            Interest::WRITABLE.satisfied_by(libc::POLLHUP.into()).bits(),
            4
        );
        assert_eq!(
            Interest::PRIORITY.satisfied_by(libc::POLLHUP.into()).bits(),
            2
        );
    }

    #[test]
    fn a_hang_up_and_an_error_are_input_an_error_is_room_and_neither_is_exceptional() {
        let told = |found: i16| Interest::told_by(found.into()).map(Interest::bits);
        assert_eq!(told(libc::POLLHUP), Some(1));
        assert_eq!(told(libc::POLLERR), Some(5));
        assert_eq!(told(libc::POLLPRI | libc::POLLOUT), Some(6));
        assert_eq!(told(0x2000), None);
        assert!(!Interest::WRITABLE.is_selected_by(libc::POLLHUP.into()));
        assert!(!Interest::PRIORITY.is_selected_by((libc::POLLHUP | libc::POLLERR).into()));
        assert!(Interest::READABLE.is_selected_by(libc::POLLHUP.into()));
    }

    #[test]
    fn a_peer_that_sends_no_more_tells_a_writer_nothing() {
        const RDHUP: i32 = 0x2000;
        assert!(!Interest::WRITABLE.is_settled_by(RDHUP));
        assert!(Interest::WRITABLE.is_settled_by(RDHUP | i32::from(libc::POLLOUT)));
        assert!(Interest::WRITABLE.is_settled_by(RDHUP | i32::from(libc::POLLHUP)));
    }

    #[test]
    fn no_bits_and_unknown_bits_are_no_interest() {
        assert_eq!(Interest::from_bits(0), None);
        assert_eq!(Interest::from_bits(8), None);
        assert_eq!(Interest::from_bits(7).map(Interest::bits), Some(7));
    }
}
