//! Makes calls by system calls of the calling thread, as readiness backends do in place of io_uring.
#![allow(unsafe_code)]

use std::os::fd::RawFd;

use super::{platform, Call};
use crate::error::or_errno;
use crate::memory::{Memory, Vectors};
use crate::operation::{Direction, Target, Transfer};
use crate::platform::nowait;
use crate::posix;

/// A pointer to a call that is in flight. The in-flight table keeps the call in place, and leaves it alone, until the
/// driver has taken its completion.
pub(crate) struct PinnedCall(*mut Call);

// SAFETY: nobody else uses the call until its completion, see the type.
unsafe impl Send for PinnedCall {}

impl PinnedCall {
    pub fn new(call: &mut Call) -> Self {
        Self(std::ptr::from_mut(call))
    }

    /// Whether it is an open, whose result is a descriptor.
    pub fn is_opening(&self) -> bool {
        // SAFETY: the in-flight table keeps the call in place until its completion, and this only reads it.
        unsafe { &*self.0 }.opening().is_some()
    }

    /// Whether it may wait for somebody else, for ever.
    pub fn may_wait(&self) -> bool {
        // SAFETY: as above.
        unsafe { &*self.0 }.may_hang()
    }

    /// Whether it is likely to wait. For an open, this looks at the file that it names.
    pub fn is_likely_to_wait(&self) -> bool {
        // SAFETY: as above.
        let opening = unsafe { &*self.0 }.opening();
        opening.map_or(self.may_wait(), |opening| opening.names_what_waits())
    }

    /// Makes the call, and blocks for as long as it takes.
    pub fn make(&self) -> i32 {
        // SAFETY: the call completes only when this job has returned, and the job runs once.
        make(unsafe { &mut *self.0 })
    }

    /// Makes the call now that its descriptor has become ready. `-EAGAIN` when it must go on waiting.
    pub fn attempt(&self) -> i32 {
        // SAFETY: the backend attempts only calls that have not completed.
        now(unsafe { &mut *self.0 }, Attempt::Later)
    }

    /// Whether its descriptor may be ready although the call would wait.
    pub fn may_wait_in_vain(&self) -> bool {
        // SAFETY: as above; this only reads the call.
        unsafe { &*self.0 }.may_wait_in_vain()
    }
}

impl PinnedCall {
    /// The result of an ended call: the bytes that it has transferred so far, or `-ECANCELED`.
    pub fn ended(&self) -> i32 {
        // SAFETY: the backend ends only calls that have not completed.
        match unsafe { &*self.0 } {
            Call::Recv { done, .. } | Call::Send { done, .. } if *done > 0 => *done as i32,
            _ => -libc::ECANCELED,
        }
    }
}

/// Makes the first attempt at a call that waits for readiness. `-EAGAIN` when it must wait.
pub(crate) fn start(call: &mut Call) -> i32 {
    now(call, Attempt::First)
}

/// Makes the call, and blocks for as long as it takes. Returns its result, or a negative errno.
fn make(call: &mut Call) -> i32 {
    // SAFETY: every pointer leads into the call, or to memory that is lent to it until this system call returns.
    // Descriptors may be any numbers.
    let result = unsafe {
        match call {
            Call::Nop => 0,
            Call::Read { fd, target, memory } => {
                return transfer(*fd, Direction::Read, *target, memory)
            }
            Call::Write { fd, target, memory } => {
                return transfer(*fd, Direction::Write, *target, memory)
            }
            Call::Open {
                directory,
                path,
                flags,
                mode,
            } => libc::openat(*directory, path.as_ptr(), *flags, *mode),
            Call::ReadVectors {
                fd,
                target,
                vectors,
            } => return vectored(*fd, Direction::Read, *target, vectors),
            Call::WriteVectors {
                fd,
                target,
                vectors,
            } => return vectored(*fd, Direction::Write, *target, vectors),
            Call::Close { fd } => libc::close(*fd),
            Call::Install { fd } => libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 0),
            Call::Sync {
                fd,
                data_only: false,
            } => libc::fsync(*fd),
            Call::Truncate { fd, length } => libc::ftruncate(*fd, *length as i64),
            Call::Unlink {
                directory,
                path,
                flags,
            } => libc::unlinkat(*directory, path.as_ptr(), *flags),
            Call::MakeDirectory {
                directory,
                path,
                mode,
            } => libc::mkdirat(*directory, path.as_ptr(), *mode as libc::mode_t),
            Call::Symlink {
                target,
                directory,
                path,
            } => libc::symlinkat(target.as_ptr(), *directory, path.as_ptr()),
            Call::Link { from, to, flags } => {
                libc::linkat(from.0, from.1.as_ptr(), to.0, to.1.as_ptr(), *flags)
            }
            Call::Bind { fd, address } => libc::bind(
                *fd,
                std::ptr::from_ref(&address.storage).cast(),
                address.length,
            ),
            Call::Listen { fd, backlog } => libc::listen(*fd, *backlog),
            Call::SetOption {
                fd,
                level,
                option,
                value,
            } => {
                let bytes = value.lend();
                let length = bytes.length() as libc::socklen_t;
                libc::setsockopt(*fd, *level, *option, bytes.address().cast(), length)
            }
            Call::Shutdown { fd, how } => libc::shutdown(*fd, *how),
            // Some of the others differ by system. The rest wait for readiness, or need io_uring.
            _ => match platform::make(call) {
                Some(result) => return result,
                None => return now(call, Attempt::First),
            },
        }
    };
    or_errno(result)
}

/// Which attempt this is at a call that waits for readiness.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// The first one.
    First,
    /// One after the descriptor has become ready.
    Later,
}

/// Makes a call that waits for readiness, without waiting: `-EAGAIN` when it would have to.
fn now(call: &mut Call, attempt: Attempt) -> i32 {
    match call {
        Call::Read {
            fd,
            target: Some(target),
            memory,
        } => posix::transfer_now(&step(*fd, Direction::Read, *target, memory)),
        Call::Write {
            fd,
            target: Some(target),
            memory,
        } => posix::transfer_now(&step(*fd, Direction::Write, *target, memory)),
        Call::ReadVectors {
            fd,
            target: Some(target),
            vectors,
        } => vectors_now(*fd, Direction::Read, *target, vectors),
        Call::WriteVectors {
            fd,
            target: Some(target),
            vectors,
        } => vectors_now(*fd, Direction::Write, *target, vectors),
        Call::ReceiveMessage { fd, message, flags } => {
            or_errno(platform::receive_message(*fd, message, *flags | libc::MSG_DONTWAIT) as i32)
        }
        Call::SendMessage {
            fd, message, flags, ..
        } => {
            let flags = *flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the header leads into the message and the memory that is lent to it.
            or_errno(unsafe { libc::sendmsg(*fd, message.header(), flags) } as i32)
        }
        Call::Poll { fd, interest } => match posix::poll_now(*fd, interest.poll_events()) {
            Ok(0) => -libc::EAGAIN,
            Ok(found) if found & libc::POLLNVAL != 0 => -libc::EBADF,
            Ok(found) => found.into(),
            Err(error) => -error.errno,
        },
        Call::WaitForChild {
            kind,
            id,
            options,
            found,
            ..
        } => {
            // SAFETY: waitid(2) fills the structure, which belongs to the call.
            let waited = or_errno(unsafe {
                libc::waitid(*kind, *id, &mut **found, *options | libc::WNOHANG)
            });
            // SAFETY: waitid(2) fills in a child, or zeros when there is none yet.
            let nobody = unsafe { found.si_pid() } == 0;
            match waited {
                0 if nobody && *options & libc::WNOHANG == 0 => -libc::EAGAIN,
                waited => waited,
            }
        }
        Call::Recv {
            fd,
            memory,
            flags,
            done,
        } => {
            let buffer = memory.lend();
            let step_flags = *flags | libc::MSG_DONTWAIT;
            whole(*flags, done, buffer.length(), |done| {
                let (address, left) = (buffer.address().wrapping_add(done), buffer.length() - done);
                // SAFETY: the rest of memory that belongs to the call, or is lent to it.
                or_errno(unsafe { libc::recv(*fd, address.cast(), left, step_flags) as i32 })
            })
        }
        Call::Send {
            fd,
            memory,
            flags,
            done,
            ..
        } => {
            let buffer = memory.lend();
            let step_flags = *flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            whole(*flags, done, buffer.length(), |done| {
                let (address, left) = (buffer.address().wrapping_add(done), buffer.length() - done);
                // SAFETY: as above; send(2) only reads from it.
                or_errno(unsafe { libc::send(*fd, address.cast(), left, step_flags) as i32 })
            })
        }
        Call::Accept { fd, flags } => {
            without_waiting(*fd, || or_errno(platform::accept(*fd, *flags)))
        }
        Call::Connect { fd, .. } if attempt == Attempt::Later => posix::socket_error(*fd),
        Call::Connect { fd, address } => {
            let connected = without_waiting(*fd, || {
                let address_place = std::ptr::from_ref(&address.storage).cast();
                // SAFETY: the address belongs to the call.
                or_errno(unsafe { libc::connect(*fd, address_place, address.length) })
            });
            if connected == -libc::EINPROGRESS {
                -libc::EAGAIN
            } else {
                connected
            }
        }
        _ => -libc::EINVAL,
    }
}

/// Makes one step of a transfer. With `MSG_WAITALL` it makes steps until all bytes are transferred, the input ends,
/// or the next step would have to wait. If the caller has passed `MSG_DONTWAIT`, too, one step has moved all that
/// moves without waiting. `done` counts the bytes of all attempts.
fn whole(flags: i32, done: &mut usize, length: usize, step: impl Fn(usize) -> i32) -> i32 {
    let goes_on = flags & (libc::MSG_WAITALL | libc::MSG_DONTWAIT) == libc::MSG_WAITALL;
    loop {
        let moved = step(*done);
        if !goes_on {
            return moved;
        }
        match moved {
            // After a part of the bytes, the next call reports the failure, as in the kernel.
            failed if failed < 0 && failed != -libc::EAGAIN && *done > 0 => return *done as i32,
            failed if failed < 0 => return failed,
            moved => *done += moved as usize,
        }
        if moved == 0 || *done >= length {
            return *done as i32;
        }
    }
}

/// Makes a system call that must not wait: sets `O_NONBLOCK` on its descriptor meanwhile.
fn without_waiting(fd: RawFd, call: impl FnOnce() -> i32) -> i32 {
    // SAFETY: asks for the flags of a descriptor, which may be any number.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    let waits = flags >= 0 && flags & libc::O_NONBLOCK == 0;
    if waits {
        // SAFETY: sets the flags that it has, and one more.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) };
    }
    let result = call();
    if waits {
        // SAFETY: sets the flags that it had.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
    }
    result
}

fn step(fd: RawFd, direction: Direction, target: Target, memory: &Memory) -> Transfer {
    Transfer {
        direction,
        fd,
        target,
        buffer: memory.lend(),
    }
}

fn transfer(fd: RawFd, direction: Direction, target: Option<Target>, memory: &Memory) -> i32 {
    let buffer = memory.lend();
    let offset = target.and_then(Target::offset);
    posix::blocking_transfer(fd, direction, offset, buffer, buffer.length())
}

/// A vectored transfer that blocks for as long as the file takes.
fn vectored(fd: RawFd, direction: Direction, target: Option<Target>, vectors: &Vectors) -> i32 {
    let (place, count) = vectors.place();
    let count = count as i32;
    // SAFETY: the segments lead into memory that belongs to the call or is lent to it.
    or_errno(unsafe {
        match (direction, target.and_then(Target::offset)) {
            (Direction::Read, None) => libc::readv(fd, place, count),
            (Direction::Read, Some(at)) => libc::preadv(fd, place, count, at as _),
            (Direction::Write, None) => libc::writev(fd, place, count),
            (Direction::Write, Some(at)) => libc::pwritev(fd, place, count, at as _),
        }
    } as i32)
}

/// A vectored transfer that does not wait, whatever flags the descriptor has: `-EAGAIN` when it
/// would have to.
fn vectors_now(fd: RawFd, direction: Direction, target: Target, vectors: &Vectors) -> i32 {
    let (place, count) = vectors.place();
    if target == Target::Socket {
        // SAFETY: all zeros is a valid header without data.
        let mut header = unsafe { std::mem::zeroed::<libc::msghdr>() };
        header.msg_iov = place.cast_mut();
        header.msg_iovlen = count as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the header is a local. Its segments lead into memory that belongs to the call or is lent to it.
        return or_errno(unsafe {
            match direction {
                Direction::Read => libc::recvmsg(fd, &mut header, flags),
                Direction::Write => libc::sendmsg(fd, &header, flags),
            }
        } as i32);
    }
    // SAFETY: the segments lead into memory that belongs to the call or is lent to it.
    let result = unsafe { nowait(fd, direction, place, count as i32, -1) };
    if result != -libc::EOPNOTSUPP {
        return result;
    }
    // Terminals and devices come here, and pipes before Linux 6.4.
    without_waiting(fd, || vectored(fd, direction, None, vectors))
}
