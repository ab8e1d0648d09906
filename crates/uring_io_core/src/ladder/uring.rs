//! One thread in io_uring_enter(2), with a receive in flight for each connection. One call hands over the last answers
//! and the next receives, and waits for the next request. With a polling thread, the server seldom needs that call: a
//! kernel thread takes the entries from the queue, and the server polls memory until a completion is there.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{fence, Ordering};

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types, IoUring};

use super::calls::{Packet, ANSWER, LENGTH};
use super::memory::KernelThread;
use super::meter::Meter;
use crate::error::{Error, Result};
use crate::ring_options::{Options, Sqpoll};
use crate::uring::setup;

/// Longer than any pause of the client, so that the polling thread stays awake.
const IDLE_MS: u32 = 2000;

/// `IORING_ENTER_GETEVENTS`.
const GETEVENTS: u32 = 1 << 0;

/// `IORING_ENTER_SQ_WAKEUP`.
const SQ_WAKEUP: u32 = 1 << 1;

/// The `user_data` of an answer. A receive has the number of its connection instead.
const SENT: u64 = u64::MAX;

/// Serves until the client hangs up.
pub(super) fn serve(connections: &[OwnedFd], polled: bool, meter: &mut Meter) -> Result<()> {
    let sqpoll = polled.then_some(Sqpoll {
        idle_ms: IDLE_MS,
        cpu: None,
    });
    let others = KernelThread::all();
    let mut ring = setup::create(&Options {
        sqpoll,
        ..Options::default()
    })?;
    if polled {
        meter.follow(KernelThread::since(&others));
    }
    let mut server = Server {
        quiet: ring.params().is_feature_skip_cqe_on_success(),
        polled,
        connections,
        buffers: ManuallyDrop::new(vec![[0; LENGTH]; connections.len()].into_boxed_slice()),
    };
    server.run(&mut ring, meter)?;
    // SAFETY: every receive has completed, so the kernel no longer uses any of the buffers. After an error nobody can
    // know that: the `?` above returns, and the buffers are never freed.
    unsafe { ManuallyDrop::drop(&mut server.buffers) };
    Ok(())
}

struct Server<'a> {
    /// Whether a successful send has no completion (`IOSQE_CQE_SKIP_SUCCESS`, Linux 5.17).
    quiet: bool,
    polled: bool,
    connections: &'a [OwnedFd],
    /// Memory for the next request of each connection.
    buffers: ManuallyDrop<Box<[Packet]>>,
}

impl Server<'_> {
    fn run(&mut self, ring: &mut IoUring, meter: &mut Meter) -> Result<()> {
        for number in 0..self.connections.len() {
            let entry = self.receive(number);
            self.push(ring, &entry, meter)?;
        }
        let mut open = self.connections.len();
        let mut answers = 0;
        let mut done = Vec::new();
        while open > 0 {
            self.wait(ring, meter, if self.quiet { 1 } else { answers + 1 })?;
            answers = 0;
            done.extend(ring.completion().map(|it| (it.user_data(), it.result())));
            for (data, result) in done.drain(..) {
                if data == SENT {
                    continue;
                }
                if result != LENGTH as i32 {
                    open -= 1;
                    continue;
                }
                let number = data as usize;
                meter.received(self.buffers[number][0]);
                let [answer, receive] = [self.send(number), self.receive(number)];
                self.push(ring, &answer, meter)?;
                self.push(ring, &receive, meter)?;
                answers += 1;
            }
        }
        Ok(())
    }

    fn receive(&mut self, number: usize) -> Entry {
        let fd = types::Fd(self.connections[number].as_raw_fd());
        let address = self.buffers[number].as_mut_ptr();
        opcode::Recv::new(fd, address, LENGTH as u32)
            .build()
            .user_data(number as u64)
    }

    fn send(&self, number: usize) -> Entry {
        let fd = types::Fd(self.connections[number].as_raw_fd());
        let entry = opcode::Send::new(fd, ANSWER.as_ptr(), LENGTH as u32)
            .flags(libc::MSG_NOSIGNAL)
            .build()
            .user_data(SENT);
        match self.quiet {
            true => entry.flags(Flags::SKIP_SUCCESS),
            false => entry,
        }
    }

    /// Queues an entry. When the queue is full, makes the kernel take entries first.
    fn push(&self, ring: &mut IoUring, entry: &Entry, meter: &mut Meter) -> Result<()> {
        let what = match entry.get_user_data() {
            SENT => "writes SEND",
            _ => "writes RECV",
        };
        loop {
            // SAFETY: answers are static. A buffer is freed only after its receive has completed (see `serve`), and
            // only one receive uses it at a time.
            let pushed = meter.step(what, false, words_of_queue, || unsafe {
                ring.submission().push(entry).is_ok()
            });
            if pushed {
                return Ok(());
            }
            if self.polled {
                self.rouse(ring, meter)?;
                std::hint::spin_loop();
            } else {
                enter(ring, 0, meter)?;
            }
        }
    }

    /// Hands over the queued entries, and waits for at least `completions` completions; one is enough with a polling
    /// thread.
    fn wait(&self, ring: &mut IoUring, meter: &mut Meter, completions: u32) -> Result<()> {
        if !self.polled {
            return enter(ring, completions, meter);
        }
        self.rouse(ring, meter)?;
        let words = |_: &bool| "at the completion queue".into();
        let overflowed = meter.step("looks", false, words, || loop {
            if !ring.completion().is_empty() {
                return false;
            }
            if ring.submission().cq_overflow() {
                return true;
            }
            std::hint::spin_loop();
        });
        if overflowed {
            // All clients have hung up at once, and the completion queue has overflowed. Entering the kernel delivers
            // the rest.
            return self.enter(ring, GETEVENTS, meter);
        }
        Ok(())
    }

    /// Wakes the polling thread if it sleeps.
    fn rouse(&self, ring: &mut IoUring, meter: &mut Meter) -> Result<()> {
        // The kernel must see the new tail before we read the flags: io_uring_sqpoll(7).
        fence(Ordering::SeqCst);
        if ring.submission().need_wakeup() {
            return self.enter(ring, SQ_WAKEUP, meter);
        }
        Ok(())
    }

    /// io_uring_enter(2) beside a polling thread.
    fn enter(&self, ring: &IoUring, flags: u32, meter: &mut Meter) -> Result<()> {
        let submitter = ring.submitter();
        let words = |_: &_| format!("flags {flags}");
        // SAFETY: without a set of signals, the call takes only numbers.
        let entered = meter.call("io_uring_enter", words, || unsafe {
            submitter.enter::<libc::sigset_t>(0, 0, flags, None)
        });
        unless_interrupted(entered)
    }
}

/// io_uring_enter(2): hands over the queued entries, and waits for `completions` completions.
fn enter(ring: &mut IoUring, completions: u32, meter: &mut Meter) -> Result<()> {
    let queued = ring.submission().len();
    let submitter = ring.submitter();
    let words = |_: &_| format!("hands over {queued}, waits for {completions}");
    let entered = meter.call("io_uring_enter", words, || {
        submitter.submit_and_wait(completions as usize)
    });
    unless_interrupted(entered)
}

/// A signal (EINTR) is no failure, and neither is a kernel that wants us to take completions first (EBUSY).
fn unless_interrupted(entered: std::io::Result<usize>) -> Result<()> {
    match entered {
        Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        Err(error) => Err(Error::from_io("io_uring_enter", &error)),
        Ok(_) => Ok(()),
    }
}

fn words_of_queue(_: &bool) -> String {
    "into the submission queue".into()
}
