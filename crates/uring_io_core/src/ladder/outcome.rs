//! The questions to the ladder, and its results: plain data.

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
    /// One thread in io_uring_enter(2), with a receive in flight for each connection.
    Uring,
    /// The same, but a kernel thread takes the submissions, and the server polls memory instead of waiting in the
    /// kernel.
    Sqpoll,
}

impl Rung {
    /// All rungs, the lowest first.
    pub const ALL: [Self; 6] = [
        Self::Threads,
        Self::Select,
        Self::Poll,
        Self::Epoll,
        Self::Uring,
        Self::Sqpoll,
    ];

    /// The name that programs use.
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

    /// The rung with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rung| rung.name() == name)
    }
}

/// Why a rung cannot serve that many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The hard limit of `RLIMIT_NOFILE`.
    Descriptors,
    /// `FD_SETSIZE` of select(2).
    SetSize,
    /// The system starts no more threads.
    Threads,
    /// The stacks of that many threads would take more than half of the free memory.
    Memory,
    /// No more local ports are free.
    Ports,
    /// The kernel refuses such a ring.
    Ring,
}

impl Cause {
    /// The name that programs use.
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

/// A limit that a rung has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The kind of the limit.
    pub cause: Cause,
    /// How many connections the limit allows, if that is known.
    pub most: Option<usize>,
    /// The kernel's error, if a call has failed.
    pub error: Option<Error>,
}

/// The outcome of one rung with a number of connections.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The rung was measured.
    Measured(Box<Measurement>),
    /// A limit prevents the measurement here.
    Limited(Limit),
    /// The caller has ended the measurement.
    Stopped,
}

/// The figures of one rung with a number of connections.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// How many connections there were.
    pub connections: usize,
    /// How many of them sent requests.
    pub active: usize,
    /// The limit that reduced the number of connections below the wanted one.
    pub cut: Option<Limit>,
    /// One request at a time, on each active connection in turn.
    pub turns: Cost,
    /// A request on every active connection at once. None when only one is active.
    pub together: Option<Cost>,
    /// The memory that the rung took.
    pub growth: Growth,
    /// The steps of one exchange.
    pub exchange: Exchange,
}

/// The total cost of many exchanges.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Requests that the server answered.
    pub exchanges: u64,
    /// System calls of the server.
    pub calls: u64,
    /// Processor time of the server's threads.
    pub cpu: Duration,
    /// The part of it that getrusage(2) counts for the program. The kernel estimates the split.
    pub user: Duration,
    /// The part of it that getrusage(2) counts for the kernel.
    pub system: Duration,
    /// Processor time of the ring's kernel thread.
    pub kernel_thread: Option<Duration>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// The median time from a request to its answer. For several requests at once, from the first request to the last
    /// answer.
    pub median: Duration,
}

/// By how many bytes memory has grown from before the rung began to serve until the end of the measurements.
#[derive(Clone, Copy, Debug, Default)]
pub struct Growth {
    /// Resident memory of this process.
    pub process: i64,
    /// Kernel stacks of all threads of the machine.
    pub kernel_stacks: i64,
    /// The slab memory of the machine, in which the kernel keeps its objects.
    pub kernel_objects: i64,
}

/// The steps of one exchange. Times are nanoseconds since the client began to send the request.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// The server's steps in order, from just before the request came until the client had the answer.
    pub steps: Vec<Step>,
    /// The server's system calls from one request to the next, in order.
    pub calls: Vec<&'static str>,
    /// When the client had the answer.
    pub answered: i64,
}

/// One step of a server.
#[derive(Clone, Debug)]
pub struct Step {
    /// The name of the system call, or of the work without one.
    pub name: &'static str,
    /// Its arguments in short, and its result.
    pub words: String,
    /// Whether the step is a system call.
    pub is_call: bool,
    /// When it began.
    pub from: i64,
    /// When it ended.
    pub to: i64,
}
