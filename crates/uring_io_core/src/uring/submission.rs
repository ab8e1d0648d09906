//! Turns operations into submission queue entries, and enters the kernel.
#![allow(unsafe_code)]

use std::sync::atomic::{fence, Ordering};

use io_uring::{opcode, squeue::Entry, types, IoUring};

use crate::operation::{Direction, Operation, Target, Transfer};
use crate::ring_options::Intake;
use crate::token::Token;

/// The opcodes of all entries that this file makes, and that of the NOP that `trial.rs` tries. A scheduler submits no
/// others. A restricted ring takes only these, without any flags: see `restriction.rs`.
pub(super) const OPCODES: [u8; 8] = [
    opcode::Nop::CODE,
    opcode::PollAdd::CODE,
    opcode::AsyncCancel::CODE,
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::Send::CODE,
    opcode::Recv::CODE,
    opcode::WaitId::CODE,
];

/// Gives an entry its token. Debug builds check that its opcode is in the list.
fn listed(entry: Entry, token: Token) -> Entry {
    let code = entry.get_opcode() as u8;
    debug_assert!(OPCODES.contains(&code), "{code} is missing in OPCODES");
    entry.user_data(token.user_data())
}

/// The entry for an operation. Offset -1 means the file's own position (Linux 5.6).
pub(super) fn entry(token: Token, operation: &Operation) -> Entry {
    let entry = match *operation {
        Operation::Poll { fd, interest } => {
            opcode::PollAdd::new(types::Fd(fd), interest.poll_events() as u32).build()
        }
        Operation::Transfer(transfer) => transfer_entry(&transfer),
        // No place for siginfo: the caller reaps the child itself, and learns everything from that.
        Operation::WaitChild(children) => {
            opcode::WaitId::new(children.kind, children.id, children.changes | libc::WNOWAIT)
                .build()
        }
    };
    listed(entry, token)
}

fn transfer_entry(transfer: &Transfer) -> Entry {
    let fd = types::Fd(transfer.fd);
    let address = transfer.buffer.address();
    let length = transfer.buffer.length() as u32;
    match (transfer.target, transfer.direction) {
        (Target::Socket | Target::SocketAtOnce, Direction::Read) => {
            opcode::Recv::new(fd, address, length).build()
        }
        // With MSG_WAITALL the kernel goes on until it has sent all (Linux 5.19; older kernels ignore the flag).
        (Target::Socket, Direction::Write) => opcode::Send::new(fd, address, length)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build(),
        (Target::SocketAtOnce, Direction::Write) => opcode::Send::new(fd, address, length)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
            .build(),
        (Target::Stream { .. }, Direction::Read) => opcode::Read::new(fd, address, length)
            .offset(u64::MAX)
            .build(),
        (Target::Stream { .. }, Direction::Write) => opcode::Write::new(fd, address, length)
            .offset(u64::MAX)
            .build(),
        (Target::File { offset }, Direction::Read) => opcode::Read::new(fd, address, length)
            .offset(offset.unwrap_or(u64::MAX))
            .build(),
        (Target::File { offset }, Direction::Write) => opcode::Write::new(fd, address, length)
            .offset(offset.unwrap_or(u64::MAX))
            .build(),
    }
}

/// The entry that asks the kernel to end the operation of `target` early.
pub(super) fn cancel(target: Token) -> Entry {
    let entry = opcode::AsyncCancel::new(target.user_data()).build();
    listed(entry, Token::CANCEL)
}

/// Puts an entry into the submission queue; false when it is full.
pub(super) fn push(ring: &mut IoUring, entry: &Entry) -> bool {
    // SAFETY: an entry points to lent buffers, which stay valid until the driver's caller has taken the completion
    // (LentBuffer::new), or into a call, which the in-flight table keeps in place until the completion, or to the
    // waker's buffer, which the Ring frees only after the read into it has completed.
    unsafe { ring.submission().push(entry) }.is_ok()
}

/// Puts all entries into the submission queue, or none when there is no room for them.
pub(super) fn push_all(ring: &mut IoUring, entries: &[Entry]) -> bool {
    // SAFETY: as for `push`.
    unsafe { ring.submission().push_multiple(entries) }.is_ok()
}

/// How many completions an enter waits for, and how long.
#[derive(Clone, Copy)]
pub(super) struct Want<'a> {
    /// Completions; 0 for none.
    pub completions: u32,
    /// How long at most; `None` for ever.
    pub timeout: Option<&'a types::Timespec>,
    /// Microseconds after which one completion is enough (`IORING_FEAT_MIN_TIMEOUT`, Linux 6.12).
    pub patience: u32,
}

impl Want<'_> {
    pub(super) const NOTHING: Self = Self {
        completions: 0,
        timeout: None,
        patience: 0,
    };
}

const GETEVENTS: u32 = 1 << 0;

/// io_uring_enter(2): submits the queued entries and waits. Returns whether that took a system call.
pub(super) fn enter(
    ring: &mut IoUring,
    want: Want,
    intake: Option<&Intake>,
) -> std::io::Result<bool> {
    const SQ_WAKEUP: u32 = 1 << 1;
    const EXT_ARG: u32 = 1 << 3;
    const NO_IOWAIT: u32 = 1 << 7;

    let parameters = ring.params();
    let (sqpoll, no_iowait) = (
        parameters.is_setup_sqpoll(),
        parameters.is_feature_no_iowait(),
    );
    let timeout = want.timeout;
    let patience = want.patience;
    let mut want = want.completions;
    let queue = ring.submission();
    let mut queued = queue.len() as u32;
    // The kernel does deferred work and delivers overflowed completions only when an enter asks for events.
    let kernel_has_work = queue.taskrun() || queue.cq_overflow();
    let mut flags = if want > 0 || kernel_has_work {
        GETEVENTS
    } else {
        0
    };
    if want > 0 && no_iowait {
        flags |= NO_IOWAIT;
    }
    if sqpoll {
        // The kernel must see the new tail before this thread reads the flags: io_uring_sqpoll(7).
        fence(Ordering::SeqCst);
        if queue.need_wakeup() {
            flags |= SQ_WAKEUP;
        } else if want == 0 && !kernel_has_work {
            return Ok(false);
        }
    }
    drop(queue);
    if let Some(intake) = intake {
        let taken = taken(intake, queued)?;
        if taken < queued {
            (queued, want, flags) = (taken, 0, flags & !GETEVENTS);
        }
    }
    let arguments = match timeout {
        Some(timeout) => Some(types::SubmitArgs::new().timespec(timeout)),
        None => (patience > 0).then(types::SubmitArgs::new),
    };
    let arguments = arguments.map(|arguments| arguments.min_wait_usec(patience));
    // SAFETY: SubmitArgs is the kernel's argument structure of the size that EXT_ARG expects, and
    // it and the timespec it points to live until the call returns.
    unsafe {
        match &arguments {
            Some(arguments) => {
                ring.submitter()
                    .enter(queued, want, flags | EXT_ARG, Some(arguments))
            }
            None => ring
                .submitter()
                .enter::<libc::sigset_t>(queued, want, flags, None),
        }
    }
    .map(|_| true)
}

/// io_uring_enter(2) that submits nothing and does not wait: it makes the kernel do its deferred work.
pub(super) fn reap(ring: &IoUring, intake: Option<&Intake>) -> std::io::Result<()> {
    if let Some(intake) = intake {
        taken(intake, 0)?;
    }
    let submitter = ring.submitter();
    // SAFETY: without EXT_ARG, and without a set of signals, the call takes numbers only.
    unsafe { submitter.enter::<libc::sigset_t>(0, 0, GETEVENTS, None) }.map(|_| ())
}

fn taken(intake: &Intake, queued: u32) -> std::io::Result<u32> {
    intake
        .answer(queued)
        .map_err(std::io::Error::from_raw_os_error)
}

/// Eight bytes the kernel may write to at any time while a read of the waker is in flight.
pub(super) struct WakeBuffer(*mut u64);

// SAFETY: the pointer is the only reference to its allocation; whoever owns the value owns that.
unsafe impl Send for WakeBuffer {}

impl WakeBuffer {
    pub(super) fn new() -> Self {
        Self(Box::into_raw(Box::new(0)))
    }

    /// The entry that reads from the waker's descriptor into this buffer.
    pub(super) fn read(&self, fd: std::os::fd::RawFd) -> Entry {
        let length = size_of::<u64>() as u32;
        let entry = opcode::Read::new(types::Fd(fd), self.0.cast(), length)
            .offset(u64::MAX)
            .build();
        listed(entry, Token::WAKER)
    }

    /// Frees the buffer. No read into it may be in flight; otherwise leave the buffer alone.
    pub(super) fn free(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by Box::into_raw in `new`, freed once (set to null), and the caller
            // has seen the completion of the last read into it.
            drop(unsafe { Box::from_raw(self.0) });
            self.0 = std::ptr::null_mut();
        }
    }
}

/// Unmaps and closes the ring.
pub(super) fn drop_ring(ring: &mut std::mem::ManuallyDrop<IoUring>) {
    // SAFETY: called once, from the Drop of the Ring that owns it, which does not use it again.
    unsafe { std::mem::ManuallyDrop::drop(ring) };
}

/// Lets go of the ring in a forked child. The child has not inherited its mappings (`MADV_DONTFORK`), so this closes
/// the descriptor only.
pub(super) fn forget_ring(ring: &IoUring) {
    use std::os::fd::AsRawFd;
    // SAFETY: closes the child's own copy of the descriptor; the ring object is never used again.
    unsafe { libc::close(ring.as_raw_fd()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Children, Interest, LentBuffer};

    #[test]
    fn the_list_has_what_entries_are_made_with_and_nothing_else() {
        let (fd, mut waker) = (0, WakeBuffer::new());
        // SAFETY: the entries are not submitted.
        let buffer = unsafe { LentBuffer::new(std::ptr::null_mut(), 0) };
        let interest = Interest::READABLE;
        let mut operations = vec![
            Operation::Poll { fd, interest },
            Operation::WaitChild(Children::of_waitpid(-1, 0)),
        ];
        for target in [Target::Socket, Target::File { offset: None }] {
            for direction in [Direction::Read, Direction::Write] {
                operations.push(Operation::Transfer(Transfer {
                    direction,
                    fd,
                    target,
                    buffer,
                }));
            }
        }
        let entries = operations.iter().map(|it| entry(Token::CANCEL, it));
        let others = [
            waker.read(fd),
            cancel(Token::WAKER),
            opcode::Nop::new().build(),
        ];
        let mut made: Vec<u8> = entries
            .chain(others)
            .map(|it| it.get_opcode() as u8)
            .collect();
        waker.free();
        let mut listed = OPCODES.to_vec();
        made.sort_unstable();
        made.dedup();
        listed.sort_unstable();
        assert_eq!(made, listed);
    }
}
