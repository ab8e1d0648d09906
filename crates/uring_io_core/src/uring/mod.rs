//! The io_uring backend: operations become submissions, completions come back.
//!
//! One ring belongs to one thread (`IORING_SETUP_SINGLE_ISSUER`). The ring queues entries during a turn, and
//! the one call that waits submits them. A backlog keeps the entries that do not fit the submission queue, in
//! order, so that a full queue is never an error.

mod buffers;
mod calls;
mod entries;
pub(crate) mod releases;
mod restriction;
pub(crate) mod setup;
mod submission;
mod tables;
pub(crate) mod trial;

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::squeue::Entry;
use io_uring::{cqueue, types, IoUring};

use crate::completion::Completion;
use crate::error::{Error, Result};
use crate::operation::Operation;
use crate::posix;
use crate::ring_options::{Intake, Mask, Options};
use crate::stats::Counts;
use crate::token::Token;
use crate::waker::Waker;
use buffers::BufferGroup;
use releases::Operations;
use submission::{WakeBuffer, Want};
use tables::{Registered, Slots};

/// One ring, and its backlog of entries that do not fit the submission queue.
pub(crate) struct Ring {
    ring: ManuallyDrop<IoUring>,
    backlog: VecDeque<Entry>,
    waker: Arc<Waker>,
    wake_buffer: WakeBuffer,
    /// Whether a read of the waker is queued or in flight.
    wake_armed: bool,
    /// Whether a wait can carry a timeout (`IORING_FEAT_EXT_ARG`, Linux 5.11).
    timed_enter: bool,
    /// The process that made the ring: a forked child must not touch it.
    owner: u32,
    /// The user and group that made the ring, if it has a polling thread. That thread of the kernel makes all calls
    /// as this user and group.
    maker: Option<(libc::uid_t, libc::gid_t)>,
    /// The operations that the kernel has, except those that a test hides.
    operations: Operations,
    /// The operations among them that a filter refuses.
    denied: Operations,
    /// Whether the kernel allows only the operations that a scheduler submits itself.
    restricted: bool,
    limits: Mask,
    intake: Option<Intake>,
    /// The entries that [`link`](Self::link) has collected for the next chain.
    chain: Vec<Entry>,
    /// The descriptors of these entries, for `queued`.
    chain_uses: Vec<[RawFd; 2]>,
    slots: Slots,
    registered: Registered,
    /// The buffers of streams, made when first used.
    buffers: Option<BufferGroup>,
    /// How many completions the next wait asks for. After [`PATIENCE_US`] one is enough.
    wanted: u32,
    /// The descriptors of the process that the most recently queued entries use, in order: at most one pair for each
    /// entry, with -1 for none, as in [`Call::about`](crate::call::Call::about). The list covers every entry that the
    /// kernel has not taken yet. The kernel resolves a descriptor only when it takes the entry, and from Linux 5.18 on,
    /// for a later step of a chain, only when the step begins.
    queued: Vec<[RawFd; 2]>,
    /// How long a wait looks for completions by itself before it waits in the kernel. Zero without a polling thread,
    /// because nothing would bring completions meanwhile.
    spin: Duration,
}

/// How long a wait for several completions insists on all of them. After that, one is enough. A wakeup by another
/// thread can be delayed by as much.
const PATIENCE_US: u32 = 10_000;
/// The longest time that a wait looks for completions by itself, on a ring with a polling thread.
const SPIN_MAX: Duration = Duration::from_millis(20);
/// `IORING_FEAT_MIN_TIMEOUT`, Linux 6.12.
const FEAT_MIN_TIMEOUT: u32 = 1 << 15;

impl Ring {
    pub fn new(options: &Options, waker: Arc<Waker>) -> Result<Self> {
        let mut ring = setup::create(options)?;
        // A filter may deny a single one of io_uring's system calls. Then this fails: half a ring is of no use.
        let operations = setup::probe(&ring, &options.limits)?;
        if options.restrict {
            let is_allowed = |code: &u8| options.limits.denied >> code & 1 == 0;
            let allowed: Vec<u8> = submission::OPCODES.into_iter().filter(is_allowed).collect();
            restriction::restrict(&ring, &allowed, operations)?;
        }
        let denied = trial::denied(&mut ring, operations)?;
        let timed_enter = ring.params().is_feature_ext_arg() && !options.limits.hides_ext_arg();
        Ok(Self {
            ring: ManuallyDrop::new(ring),
            backlog: VecDeque::new(),
            waker,
            wake_buffer: WakeBuffer::new(),
            wake_armed: false,
            timed_enter,
            owner: std::process::id(),
            maker: options.sqpoll.map(|_| posix::user_and_group()),
            operations,
            denied,
            restricted: options.restrict,
            limits: options.limits,
            intake: options.intake.clone(),
            chain: Vec::new(),
            chain_uses: Vec::new(),
            slots: Slots::default(),
            registered: Registered::default(),
            buffers: None,
            wanted: 1,
            queued: Vec::new(),
            spin: options.sqpoll.map_or(Duration::ZERO, |sqpoll| {
                Duration::from_millis(match sqpoll.idle_ms {
                    0 => 1000,
                    idle => idle.into(),
                })
                .min(SPIN_MAX)
            }),
        })
    }

    /// Queues an operation; its completion comes later.
    pub fn start(&mut self, token: Token, operation: &Operation, counts: &Counts) -> Result<()> {
        self.push(submission::entry(token, operation), counts)?;
        self.queued.extend(operation.fd().map(|fd| [-1, fd]));
        Ok(())
    }

    /// Submits the queued entries for a descriptor that somebody is about to close: afterwards its number may belong
    /// to another file. Returns false when the kernel does not take them now. The caller has to try again then,
    /// because nobody can withdraw a queued entry.
    pub fn before_close(
        &mut self,
        fd: RawFd,
        counts: &Counts,
        mut take: impl FnMut(Token, Completion),
    ) -> Result<bool> {
        // A polling thread takes entries in its own time.
        let yields = if self.spin.is_zero() { 0 } else { 100 };
        for _ in 0..=yields {
            if !self.is_in_queued(fd) {
                break;
            }
            self.flush(counts)?;
            self.forget_taken();
            self.completions(counts, &mut take);
            if yields > 0 {
                std::thread::yield_now();
            }
        }
        Ok(!self.is_in_queued(fd))
    }

    /// Whether the kernel may still have to take an entry for this descriptor.
    pub fn has_queued(&mut self, fd: RawFd) -> bool {
        self.forget_taken();
        self.is_in_queued(fd)
    }

    fn is_in_queued(&self, fd: RawFd) -> bool {
        self.queued.iter().any(|pair| pair.contains(&fd))
    }

    /// Forgets the descriptors of entries that the kernel has taken. The list has at most one pair for each entry.
    fn forget_taken(&mut self) {
        let left = self.ring.submission().len() + self.backlog.len();
        let taken = self.queued.len().saturating_sub(left);
        self.queued.drain(..taken);
    }

    /// The descriptor of the ring.
    pub fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Makes the next wait ask for this many completions, if they come soon: see [`PATIENCE_US`].
    pub fn want(&mut self, completions: usize) {
        let most = self.ring.params().cq_entries() as usize;
        self.wanted = completions.clamp(1, most) as u32;
    }

    /// Looks for completions without a system call, for at most this time. Returns whether there are some.
    pub fn spin(&mut self, most: Duration) -> bool {
        let most = most.min(self.spin);
        if most.is_zero() {
            return false;
        }
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                if !self.ring.completion().is_empty() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() >= most {
                return false;
            }
        }
    }

    /// Queues a request to end the operation of `token`; its completion still comes.
    pub fn cancel(&mut self, token: Token, counts: &Counts) -> Result<()> {
        self.push(submission::cancel(token), counts)
    }

    fn push(&mut self, entry: Entry, counts: &Counts) -> Result<()> {
        counts.submissions.add(1);
        self.drain_backlog();
        if self.backlog.is_empty() && submission::push(&mut self.ring, &entry) {
            return Ok(());
        }
        let refused = !self.backlog.is_empty();
        self.backlog.push_back(entry);
        if refused {
            // An earlier push has already entered the kernel to make room. The next look does so again.
            return Ok(());
        }
        if let Err(error) = self.enter(Want::NOTHING, counts) {
            // When this fails, the caller frees the memory that the entry points to.
            self.backlog.pop_back();
            return Err(error);
        }
        self.drain_backlog();
        Ok(())
    }

    fn drain_backlog(&mut self) {
        while let Some(entry) = self.backlog.front() {
            if !submission::push(&mut self.ring, entry) {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Submits the queued entries without waiting. Makes no system call when there is nothing to do.
    pub fn flush(&mut self, counts: &Counts) -> Result<()> {
        loop {
            self.drain_backlog();
            let queue = self.ring.submission();
            let is_idle = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
            drop(queue);
            if is_idle {
                self.forget_taken(); // A polling thread takes entries without an enter.
                return Ok(());
            }
            self.enter(Want::NOTHING, counts)?;
            if self.backlog.is_empty() || self.ring.submission().is_full() {
                return Ok(());
            }
        }
    }

    /// Submits the queued entries, and waits for a completion, a wakeup, a signal or the timeout.
    pub fn wait(&mut self, timeout: Option<Duration>, counts: &Counts) -> Result<()> {
        self.drain_backlog();
        if !self.wake_armed {
            let read = self.wake_buffer.read(self.waker.fd());
            self.push(read, counts)?;
            self.wake_armed = true;
        }
        if !self.backlog.is_empty() {
            // Not all entries fit into the queue. The caller takes the completions that are there: only that makes
            // room.
            self.flush(counts)?;
            if !self.spin.is_zero() && !self.backlog.is_empty() {
                // The polling thread has not taken all entries yet. It may need this CPU.
                std::thread::yield_now();
            }
            return Ok(());
        }
        let wanted = std::mem::replace(&mut self.wanted, 1);
        if !self.spin.is_zero() {
            self.enter(Want::NOTHING, counts)?;
            if self.spin(timeout.unwrap_or(Duration::MAX)) {
                return Ok(());
            }
        }
        if timeout.is_some() && !self.timed_enter {
            self.enter(Want::NOTHING, counts)?;
            if !self.ring.submission().is_empty() {
                // The kernel has not taken all entries. They would have to wait until the timeout passes.
                return Ok(());
            }
            return self.poll(timeout.unwrap_or_default(), counts);
        }
        let timeout = timeout.map(|timeout| types::Timespec::from(timeout.min(LONGEST_WAIT)));
        let patient = wanted > 1 && self.timed_enter && self.can_be_patient();
        let want = Want {
            completions: if patient { wanted } else { 1 },
            timeout: timeout.as_ref(),
            patience: if patient { PATIENCE_US } else { 0 },
        };
        self.enter(want, counts)
    }

    fn can_be_patient(&self) -> bool {
        setup::features(&self.ring, &self.limits) & FEAT_MIN_TIMEOUT != 0
    }

    /// Waits with poll(2) on the ring's descriptor, on kernels without a timeout in io_uring_enter(2). Those have no
    /// deferred work that would keep the descriptor from becoming readable.
    fn poll(&mut self, timeout: Duration, counts: &Counts) -> Result<()> {
        let fd = self.ring.as_raw_fd();
        counts.direct_calls.add(1);
        let mut fds = [libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        }];
        match posix::poll(&mut fds, Some(timeout)) {
            Err(error) if error.errno != libc::EINTR => Err(error),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, want: Want, counts: &Counts) -> Result<()> {
        let entered = submission::enter(&mut self.ring, want, self.intake.as_ref());
        self.forget_taken();
        counts.enters.add(u64::from(!matches!(entered, Ok(false))));
        let Err(error) = entered else {
            return Ok(());
        };
        match Refusal::of(&error) {
            Refusal::EndOfWait => Ok(()),
            Refusal::ForNow => self.ease(counts),
            Refusal::Failure => Err(Error::from_io("io_uring_enter", &error)),
        }
    }

    /// Makes progress after a refusal. Entering the kernel without submitting delivers finished completions, which
    /// frees memory; a refused submission does not deliver them. Without completions this sleeps for a moment, so
    /// that the next try does not spin.
    fn ease(&mut self, counts: &Counts) -> Result<()> {
        const MOMENT: Duration = Duration::from_millis(1);
        if !self.ring.completion().is_empty() {
            return Ok(());
        }
        counts.enters.add(1);
        if let Err(error) = submission::reap(&self.ring, self.intake.as_ref()) {
            match Refusal::of(&error) {
                Refusal::EndOfWait | Refusal::ForNow => {}
                Refusal::Failure => return Err(Error::from_io("io_uring_enter", &error)),
            }
        }
        if self.ring.completion().is_empty() {
            std::thread::sleep(MOMENT);
        }
        Ok(())
    }

    /// Calls `take` with each completion that is there.
    pub fn completions(&mut self, counts: &Counts, mut take: impl FnMut(Token, Completion)) {
        for entry in self.ring.completion() {
            counts.completions.add(1);
            let token = match Token::from_user_data(entry.user_data()) {
                Token::WAKER => {
                    self.wake_armed = false;
                    continue;
                }
                Token::CANCEL => continue,
                token => token,
            };
            let flags = entry.flags();
            let mut completion = Completion::of(plain_result(entry.result()));
            if flags != 0 {
                completion.more = cqueue::more(flags);
                completion.notice = cqueue::notif(flags);
                if let (Some(number), Some(buffers)) =
                    (cqueue::buffer_select(flags), &mut self.buffers)
                {
                    let length = completion.result.max(0) as usize;
                    completion.bytes = buffers.take(number, length);
                }
            }
            take(token, completion);
        }
    }

    /// Ends the read of the waker, so that the ring itself has nothing in flight. The caller has already ended
    /// everything else.
    pub fn close(&mut self, counts: &Counts) {
        while self.wake_armed {
            self.waker.wake();
            if self.wait(None, counts).is_err() {
                return;
            }
            self.completions(counts, |_, _| {});
        }
        self.wake_buffer.free();
        self.free_buffers();
    }

    /// Frees the buffers of streams. No stream may be in flight. A forked child has not inherited the buffers.
    pub fn free_buffers(&mut self) {
        if let Some(buffers) = self.buffers.take() {
            if self.owner == std::process::id() {
                buffers.free(&self.ring);
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // While a read of the waker is in flight, the kernel may write to the buffer. Then the buffer leaks.
        if !self.wake_armed {
            self.wake_buffer.free();
        }
        if self.owner == std::process::id() {
            submission::drop_ring(&mut self.ring);
        } else {
            submission::forget_ring(&self.ring);
        }
    }
}

/// Why io_uring_enter(2) failed.
enum Refusal {
    /// The wait is over. The caller looks again.
    EndOfWait,
    /// The call may succeed soon.
    ForNow,
    /// The ring is unusable.
    Failure,
}

impl Refusal {
    fn of(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            // The timeout of the wait has passed.
            Some(libc::ETIME) => Self::EndOfWait,
            // A signal ended the wait. Its handler has to run, and after that the caller may have no reason to wait.
            Some(libc::EINTR) => Self::EndOfWait,
            // Completions have overflowed, and do not all fit into the queue. The caller first takes those in it.
            Some(libc::EBUSY) => Self::ForNow,
            // The kernel had no memory for a request. Completed requests hold some until it delivers them.
            Some(libc::EAGAIN) => Self::ForNow,
            // The kernel had no memory for its record of the submitting thread (`io_uring_alloc_task_context`).
            Some(libc::ENOMEM) => Self::ForNow,
            // All others mean that the call or the ring is wrong: EBADF, EBADFD, EEXIST, EFAULT, EINVAL, ENXIO,
            // EOPNOTSUPP, EOWNERDEAD. Trying again would spin.
            _ => Self::Failure,
        }
    }
}

/// The longest timeout of a wait. The kernel rejects what does not fit its clock, and longer waits gain nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400 * 365);

/// Turns ERESTARTSYS, which a worker of the kernel may answer after a signal, into EINTR, which callers know.
fn plain_result(result: i32) -> i32 {
    const ERESTARTSYS: i32 = 512;
    if result == -ERESTARTSYS {
        -libc::EINTR
    } else {
        result
    }
}
