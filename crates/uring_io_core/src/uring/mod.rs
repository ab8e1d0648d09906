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

/// One ring and what waits to get into it.
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
    /// As whom a thread of the kernel makes the calls, where there is one: it keeps the user and group
    /// that made the ring.
    maker: Option<(libc::uid_t, libc::gid_t)>,
    /// The operations of the kernel, without those that a test hides.
    operations: Operations,
    /// Those of them that a filter refuses.
    denied: Operations,
    /// Whether the kernel allows only the operations that a scheduler submits itself.
    restricted: bool,
    limits: Mask,
    intake: Option<Intake>,
    /// The entries of the chain that is being made.
    chain: Vec<Entry>,
    slots: Slots,
    registered: Registered,
    /// Made when first used.
    buffers: Option<BufferGroup>,
    /// Completions that the next wait is for, if they come soon.
    wanted: u32,
    /// Descriptors of the most recently queued entries, in order. The list covers at least every entry that
    /// the kernel has not taken yet: it resolves a descriptor only when it takes the entry.
    queued: Vec<RawFd>,
    /// How long to look for completions before waiting for them in the kernel: zero without a thread
    /// of the kernel that brings them meanwhile.
    spin: Duration,
}

/// How long a wait for several completions is content with all of them only. A wakeup by another thread
/// waits as long.
const PATIENCE_US: u32 = 10_000;
/// The longest that a wait looks for completions by itself where the kernel has a thread for them.
const SPIN_MAX: Duration = Duration::from_millis(20);
/// `IORING_FEAT_MIN_TIMEOUT`, Linux 6.12.
const FEAT_MIN_TIMEOUT: u32 = 1 << 15;

impl Ring {
    pub fn new(options: &Options, waker: Arc<Waker>) -> Result<Self> {
        let mut ring = setup::create(options)?;
        // A filter may deny one call alone: then the whole of it does without, not half.
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
        self.queued.extend(operation.fd());
        Ok(())
    }

    /// Submits what is queued for this descriptor: once it is closed the number may be another's. False
    /// when the kernel takes it not now: what is queued cannot be taken back.
    pub fn before_close(
        &mut self,
        fd: RawFd,
        counts: &Counts,
        mut take: impl FnMut(Token, Completion),
    ) -> Result<bool> {
        // A thread of the kernel takes entries when it comes to them.
        let yields = if self.spin.is_zero() { 0 } else { 100 };
        for _ in 0..=yields {
            if !self.queued.contains(&fd) {
                break;
            }
            self.flush(counts)?;
            self.forget_taken();
            self.completions(counts, &mut take);
            if yields > 0 {
                std::thread::yield_now();
            }
        }
        Ok(!self.queued.contains(&fd))
    }

    /// Whether an entry for this descriptor may be one that the kernel has yet to take.
    pub fn has_queued(&mut self, fd: RawFd) -> bool {
        self.forget_taken();
        self.queued.contains(&fd)
    }

    /// Forgets descriptors of entries that the kernel has taken. Each entry has one at most.
    fn forget_taken(&mut self) {
        let left = self.ring.submission().len() + self.backlog.len();
        let taken = self.queued.len().saturating_sub(left);
        self.queued.drain(..taken);
    }

    /// The descriptor of the ring.
    pub fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Tells the next wait that it is for so many completions, if they come soon.
    pub fn want(&mut self, completions: usize) {
        let most = self.ring.params().cq_entries() as usize;
        self.wanted = completions.clamp(1, most) as u32;
    }

    /// Looks for completions for some time without a system call. Whether there are some.
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
            // The kernel was asked for this one's sake already: the next look asks again.
            return Ok(());
        }
        if let Err(error) = self.enter(Want::NOTHING, counts) {
            // After a refusal the caller frees the memory that the entry points to.
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

    /// Submits what is queued, without waiting. No system call when there is nothing to do.
    pub fn flush(&mut self, counts: &Counts) -> Result<()> {
        loop {
            self.drain_backlog();
            let queue = self.ring.submission();
            if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
                return Ok(());
            }
            drop(queue);
            self.enter(Want::NOTHING, counts)?;
            if self.backlog.is_empty() || self.ring.submission().is_full() {
                return Ok(());
            }
        }
    }

    /// Submits what is queued and waits for a completion, a wakeup, a signal or the timeout.
    pub fn wait(&mut self, timeout: Option<Duration>, counts: &Counts) -> Result<()> {
        self.drain_backlog();
        if !self.wake_armed {
            let read = self.wake_buffer.read(self.waker.fd());
            self.push(read, counts)?;
            self.wake_armed = true;
        }
        if !self.backlog.is_empty() {
            // More is queued than fits: only completions can make room, so take those at hand.
            self.flush(counts)?;
            if !self.spin.is_zero() && !self.backlog.is_empty() {
                // A thread of the kernel has yet to take what is there: it may need this CPU.
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
                // Entries that the kernel has not taken would wait until the timeout passes.
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

    /// Waits on the ring's descriptor: kernels without timed enter have no deferred work that
    /// would keep it from becoming readable.
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

    /// After a refusal. Entering the kernel without submitting delivers finished completions, which frees
    /// memory; a refused submission does not deliver them. Where there are none a moment goes by, so that the
    /// next try does not spin.
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

    /// Hands over the completions that are there.
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

    /// Ends the read of the waker, so that nothing of the ring's own is in flight. The caller
    /// has seen to everything else.
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

    /// Gives the buffers of streams back. None is in flight; a forked child has none.
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
        // Without the completion of the wake read nobody knows whether the kernel is done with its buffer.
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
    /// It waited, and its wait is over. The caller looks again.
    EndOfWait,
    /// It may succeed soon.
    ForNow,
    /// The ring is of no use.
    Failure,
}

impl Refusal {
    fn of(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            // The timeout of the wait has passed.
            Some(libc::ETIME) => Self::EndOfWait,
            // A signal ended the wait: its handler is to run, and the wait may be over for its owner.
            Some(libc::EINTR) => Self::EndOfWait,
            // Completions have overflowed, and not all of them fit into the queue: those in it come first.
            Some(libc::EBUSY) => Self::ForNow,
            // The kernel had no memory for a request, and completed ones hold some.
            Some(libc::EAGAIN) => Self::ForNow,
            // It had none for what it keeps of a thread that submits (`io_uring_alloc_task_context`).
            Some(libc::ENOMEM) => Self::ForNow,
            // The rest says that the call or the ring is wrong: EBADF, EBADFD, EEXIST, EFAULT, EINVAL, ENXIO,
            // EOPNOTSUPP, EOWNERDEAD. Trying again would spin.
            _ => Self::Failure,
        }
    }
}

/// Longer waits gain nothing, and the kernel refuses what does not fit its clock.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400 * 365);

/// A worker that was signalled can let ERESTARTSYS through; callers know EINTR.
fn plain_result(result: i32) -> i32 {
    const ERESTARTSYS: i32 = 512;
    if result == -ERESTARTSYS {
        -libc::EINTR
    } else {
        result
    }
}
