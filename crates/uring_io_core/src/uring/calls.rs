//! Calls, chains and streams of a ring, and the tables that they use.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use io_uring::squeue::{Entry, Flags};

use super::buffers::BufferGroup;
use super::releases::{first_release, name_of};
use super::submission::Want;
use super::{entries, setup, submission, Ring};
use crate::call::opening::Opening;
use crate::call::platform::waits_in_open;
use crate::call::{Call, Link};
use crate::completion::{Completion, StartedCall};
use crate::error::{Error, Result};
use crate::operation::LentBuffer;
use crate::posix;
use crate::stats::Counts;
use crate::token::Token;

impl Ring {
    /// Queues a call, which must stay at its place until its completion. Answers `Blocking` for an open that may wait
    /// for ever, and leaves it to the caller: the open would keep one of the ring's few workers busy.
    pub fn start_call(
        &mut self,
        token: Token,
        call: &mut Call,
        counts: &Counts,
    ) -> Result<StartedCall> {
        if matches!(call, Call::RecvEach { .. } | Call::ReadEach { .. }) {
            self.make_buffers()?;
        }
        let mut entry = entries::entry(token, call);
        self.check(&entry, call)?;
        if let Some(opening) = patient_opening(call) {
            counts.direct_calls.add(1);
            match waits_in_open(&opening) {
                Some(false) => {}
                Some(true) => return Ok(StartedCall::Blocking),
                None => entry = entry.flags(Flags::ASYNC),
            }
        }
        self.push(entry, counts)?;
        self.queued.push(call.about());
        Ok(StartedCall::Submitted)
    }

    /// Queues the guard of a stream: see `in_flight/guard.rs`.
    pub fn guard(&mut self, token: Token, fd: RawFd, counts: &Counts) -> Result<()> {
        self.push(entries::guard(token, fd), counts)?;
        self.queued.push([-1, fd]);
        Ok(())
    }

    /// Adds a call to the chain that `start_chain` queues.
    pub fn link(&mut self, token: Token, call: &mut Call, link: Link, last: bool) -> Result<()> {
        let mut entry = entries::linked_entry(token, call, link, last, self.timeouts_succeed());
        if patient_opening(call).is_some() {
            // Looking at the path first would cost a system call, and the whole chain costs only one.
            entry = entry.flags(Flags::ASYNC);
        }
        let checked = self
            .unrestricted("a chain")
            .and_then(|()| self.check(&entry, call));
        match checked {
            Ok(()) => {
                self.chain.push(entry);
                self.chain_uses.push(call.about_in_chain(link));
            }
            Err(_) => self.drop_chain(),
        }
        checked
    }

    /// Queues the whole chain, or nothing of it: a chain whose end is submitted later would be two. Fails with
    /// `EBUSY` when the queue does not get enough room.
    pub fn start_chain(
        &mut self,
        counts: &Counts,
        mut take: impl FnMut(Token, Completion),
    ) -> Result<()> {
        const LONGEST: Duration = Duration::from_secs(1);
        const SPINS: usize = 100;
        let chain = std::mem::take(&mut self.chain);
        let uses = std::mem::take(&mut self.chain_uses);
        let start = Instant::now();
        let mut tries = 0;
        while tries < SPINS || start.elapsed() < LONGEST {
            tries += 1;
            self.drain_backlog();
            if self.backlog.is_empty() && submission::push_all(&mut self.ring, &chain) {
                counts.submissions.add(chain.len() as u64);
                self.queued.extend(uses);
                return Ok(());
            }
            self.enter(Want::NOTHING, counts)?;
            self.completions(counts, &mut take);
            if !self.ring.submission().is_empty() {
                // The kernel has not taken all entries. A polling thread may need this CPU.
                match tries {
                    ..SPINS => std::thread::yield_now(),
                    _ => std::thread::sleep(Duration::from_micros(50)),
                }
            }
        }
        Err(Error::new("io_uring_enter", libc::EBUSY))
    }

    /// Forgets the calls that [`link`](Self::link) has added.
    pub fn drop_chain(&mut self) {
        self.chain.clear();
        self.chain_uses.clear();
    }

    /// Whether a chain goes on after a timeout whose time has passed (`IORING_TIMEOUT_ETIME_SUCCESS`, Linux 5.16).
    /// The kernel does not report that. The feature below came with the next release.
    pub fn timeouts_succeed(&self) -> bool {
        const FEAT_CQE_SKIP: u32 = 1 << 11;
        setup::features(&self.ring, &self.limits) & FEAT_CQE_SKIP != 0
    }

    /// The most calls that a chain can have.
    pub fn chain_length_max(&self) -> usize {
        self.ring.params().sq_entries() as usize
    }

    /// Fails when the kernel does not know the operation of an entry, refuses it to this ring, or would make the call
    /// as another user.
    fn check(&self, entry: &Entry, call: &Call) -> Result<()> {
        // The probe does not say which commands there are. Those for socket options came in the same release as
        // WAITID.
        const WAITID: u8 = 50;
        let code = entry.get_opcode() as u8;
        let told_by = match call {
            Call::SetOption { .. } => WAITID,
            _ => code,
        };
        if !self.operations.supports(told_by) {
            return Err(Error::missing(call.name(), first_release(told_by)));
        }
        if self.denied.supports(code) {
            return Err(Error::denied(call.name(), name_of(code)));
        }
        if self.restricted && !submission::OPCODES.contains(&code) {
            return Err(Error::restricted(call.name()));
        }
        let changed = |maker| maker != posix::user_and_group();
        if call.depends_on_credentials() && self.maker.is_some_and(changed) {
            return Err(Error::of_another_user(call.name()));
        }
        Ok(())
    }

    /// Fails on a restricted ring, for calls that need more than the operations of a scheduler.
    fn unrestricted(&self, what: &'static str) -> Result<()> {
        if self.restricted {
            return Err(Error::restricted(what));
        }
        Ok(())
    }

    /// Whether the kernel can make this call as a stream. The probe lists operations, not their abilities. A kernel
    /// that has the operation chosen below has the ability, too.
    pub fn can_stream(&self, call: &Call) -> bool {
        const LINKAT: u8 = 39;
        const SOCKET: u8 = 45;
        const SEND_ZC: u8 = 47;
        const READ_MULTISHOT: u8 = 49;
        let companion = match call {
            // The other streams need registered buffers, or operations that a restricted ring refuses.
            _ if self.restricted && !matches!(call, Call::PollEach { .. }) => return false,
            Call::AcceptEach { .. } => SOCKET,
            Call::RecvEach { .. } => SEND_ZC,
            Call::ReadEach { .. } => READ_MULTISHOT,
            Call::PollEach { .. } => LINKAT,
            _ => return false,
        };
        self.operations.supports(companion)
    }

    fn make_buffers(&mut self) -> Result<()> {
        self.unrestricted("provided buffers")?;
        if self.buffers.is_none() {
            let made = BufferGroup::new(&self.ring);
            let made = made.map_err(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => Error::missing("provided buffers", (5, 19)),
                _ => Error::from_io("io_uring_register", &error),
            })?;
            self.buffers = Some(made);
        }
        Ok(())
    }

    /// Takes this many free direct descriptors.
    pub fn take_slots(&mut self, count: usize) -> Result<Vec<u32>> {
        self.unrestricted("a chain")?;
        self.slots.take(&self.ring, count)
    }

    /// Gives direct descriptors back, and closes those that are open.
    pub fn give_slots(&mut self, slots: &[u32], is_open: impl Fn(u32) -> bool) -> Result<()> {
        self.slots.give(&self.ring, slots, is_open)
    }

    /// Registers memory, and returns its number.
    pub fn register(&mut self, buffer: LentBuffer) -> Result<u16> {
        self.unrestricted("registered buffers")?;
        self.registered.add(&self.ring, buffer)
    }

    /// Ends the registration of memory. Nothing in flight may use it.
    pub fn unregister(&mut self, number: u16) -> Result<()> {
        self.registered.remove(&self.ring, number)
    }
}

/// The path that a call opens, if the open may have to wait, as a FIFO waits for its other end. The kernel tries
/// every open with `O_NONBLOCK` first, which opens a FIFO without waiting, or fails (`io_openat2`,
/// io_uring/openclose.c). `IOSQE_ASYNC` leaves that try out, and costs a turn in a worker of the kernel.
fn patient_opening(call: &Call) -> Option<Opening<'_>> {
    const NEVER_WAITS: i32 = libc::O_NONBLOCK | libc::O_PATH | libc::O_DIRECTORY;
    call.opening()
        .filter(|opening| opening.flags & NEVER_WAITS == 0)
}
