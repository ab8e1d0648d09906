//! What is asked of the ladder, and what comes of it: plain data.

use std::time::Duration;

use crate::error::Error;

/// A way to serve many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// A thread for each connection, in recv(2).
    Threads,
    /// One thread in select(2).
    Select,
    /// One thread in poll(2).
    Poll,
    /// One thread in epoll_wait(2).
    Epoll,
    /// One thread in io_uring_enter(2), with a receive under way for each connection.
    Uring,
    /// The same with a thread of the kernel that takes the submissions, and no thread that waits in the kernel.
    Sqpoll,
}

impl Rung {
    /// From the lowest.
    pub const ALL: [Self; 6] = [
        Self::Threads,
        Self::Select,
        Self::Poll,
        Self::Epoll,
        Self::Uring,
        Self::Sqpoll,
    ];

    /// As programs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Select => "select",
            Self::Poll => "poll",
            Self::Epoll => "epoll",
            Self::Uring => "io_uring",
            Self::Sqpoll => "sqpoll",
        }
    }

    /// The rung of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rung| rung.name() == name)
    }
}

/// What keeps a rung from so many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `RLIMIT_NOFILE`, whose hard limit counts.
    Descriptors,
    /// `FD_SETSIZE` of select(2).
    SetSize,
    /// No more threads can be started.
    Threads,
    /// The stacks of so many threads would take more than half of the free memory.
    Memory,
    /// No more local ports are free.
    Ports,
    /// The kernel makes no such ring.
    Ring,
}

impl Cause {
    /// As programs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::SetSize => "set_size",
            Self::Threads => "threads",
            Self::Memory => "memory",
            Self::Ports => "ports",
            Self::Ring => "ring",
        }
    }
}

/// A limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What limits.
    pub cause: Cause,
    /// The connections that it leaves; none where no number of them would help.
    pub most: Option<usize>,
    /// What the kernel said, where it was asked.
    pub error: Option<Error>,
}

/// What came of one rung with so many connections.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was measured.
    Measured(Box<Measurement>),
    /// It cannot be measured here.
    Limited(Limit),
    /// The caller has asked for the end.
    Stopped,
}

/// One rung with so many connections.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// How many there were.
    pub connections: usize,
    /// How many of them sent requests.
    pub active: usize,
    /// What has made that fewer than were asked for.
    pub cut: Option<Limit>,
    /// One request at a time, from one active connection after the other.
    pub turns: Cost,
    /// A request from each active connection at once; none where only one is active.
    pub together: Option<Cost>,
    /// What the rung took of memory.
    pub growth: Growth,
    /// One exchange, as it happened.
    pub exchange: Exchange,
}

/// What many exchanges cost, all of them together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Requests that were answered.
    pub exchanges: u64,
    /// System calls of the server.
    pub calls: u64,
    /// Processor time of the server's threads.
    pub cpu: Duration,
    /// As much of it as getrusage(2) gives to the program; the kernel estimates the split.
    pub user: Duration,
    /// As much of it as getrusage(2) gives to the kernel.
    pub system: Duration,
    /// Processor time of the ring's own thread in the kernel.
    pub kernel_thread: Option<Duration>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// From a request, or the first of several at once, to its answer, or the last one: half of them were faster.
    pub median: Duration,
}

/// How much more memory is in use, in bytes, when the rung has served than before it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Growth {
    /// Resident memory of this process.
    pub process: i64,
    /// Stacks that threads have in the kernel, of the whole machine.
    pub kernel_stacks: i64,
    /// What the kernel keeps objects in, of the whole machine.
    pub kernel_objects: i64,
}

/// One exchange as it happened. Times are nanoseconds after the client began to send the request.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// What the server did from before the request came until the client had the answer, in order.
    pub steps: Vec<Step>,
    /// The system calls from one request to the next, in order.
    pub calls: Vec<&'static str>,
    /// When the client had the answer.
    pub answered: i64,
}

/// One thing that a server did.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name of the system call, or what was done without one.
    pub name: &'static str,
    /// Its arguments in short, and its result.
    pub words: String,
    /// Whether it is a system call.
    pub is_call: bool,
    /// When it began.
    pub from: i64,
    /// When it was over.
    pub to: i64,
}
