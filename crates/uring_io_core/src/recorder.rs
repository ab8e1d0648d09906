//! What a driver and its owner did, and when: records of one size in memory of a fixed size.
//!
//! A recorder is off until somebody hands it a log. Off, each place that records costs one branch on one byte.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::token::Token;

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// `party` has begun; its name says where.
    Started = 1,
    /// `party` has ended.
    Ended,
    /// `party` waits at the place `token`; the name says for what.
    Parked,
    /// `party` has left the place `token`, and runs.
    Left,
    /// The place `token` is one part of what `party` waits for.
    Part,
    /// An operation was begun under `token`, on the descriptor; the value is its length in bytes.
    Submitted,
    /// An operation was over at once, without a token: the value is its result.
    Done,
    /// The operation of `token` is over: the value is its result.
    Completed,
    /// The party of `token` was woken.
    Woken,
    /// `party` has an exception raised at its wait.
    Raised,
    /// The thread was in the kernel until now: the value is for how many nanoseconds, `party` how many submissions
    /// and `token` how many completions it brought.
    Entered,
    /// The thread has Ruby's lock again: the value is for how many nanoseconds it waited for that.
    Locked,
}

/// One record: 48 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Nanoseconds since the first log of the process was made.
    pub at: u64,
    /// What happened.
    pub event: Event,
    /// The number of a name in the log; 0 for none.
    pub name: u16,
    /// The number of the name that says what the descriptor is.
    pub about: u16,
    /// The descriptor; -1 for none.
    pub fd: RawFd,
    /// Who.
    pub party: u64,
    /// The place of an operation.
    pub token: u64,
    /// What the event says.
    pub value: i64,
}

/// The records of one driver.
#[derive(Debug)]
pub struct Log {
    records: Vec<Record>,
    most: usize,
    /// The oldest record, once there is no room for more.
    next: usize,
    gone: u64,
    names: Vec<String>,
    numbers: HashMap<String, u16>,
    /// What descriptors are, when that was looked up, and at which number of closes.
    descriptors: Vec<Known>,
    /// When it was made, as `at` of a record.
    since: u64,
    /// When the latest record was made, and of what.
    last: u64,
    latest: Option<Event>,
    forks: u32,
}

/// What is known of a descriptor: the number of a name, when that was found out, and at which number of closes.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    name: u16,
    closes: Option<u32>,
    at: u64,
}

/// Names that have the same number in every log, so that nothing has to be looked up for them.
const COMMON: [&str; 9] = [
    "", "read", "write", "poll", "waitid", "block", "sleep", "turn", "run",
];

/// Descriptors beyond this are not described.
const DESCRIPTORS_MAX: usize = 1 << 16;
/// Names beyond this are not kept.
const NAMES_MAX: usize = 60_000;
/// A descriptor is looked up again after so many nanoseconds, as native code may have closed it.
const DESCRIPTOR_NS: u64 = 10_000_000;

/// How often a descriptor was closed by `IO#close` and the like: its number may be another one's since. Those whose
/// numbers are the same modulo the length share a count.
static CLOSES: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];

fn closes(fd: RawFd) -> &'static AtomicU32 {
    &CLOSES[fd as usize % CLOSES.len()]
}

/// Notes that a descriptor is about to be closed.
pub fn note_close(fd: RawFd) {
    closes(fd).fetch_add(1, Ordering::Relaxed);
}

/// The number of a common name.
pub(crate) const fn common(name: Common) -> u16 {
    name as u16
}

/// The common names, in their order.
#[derive(Clone, Copy)]
pub(crate) enum Common {
    Read = 1,
    Write,
    Poll,
    WaitChild,
}

/// Nanoseconds since the first log was made.
fn now() -> u64 {
    Instant::now().saturating_duration_since(epoch()).as_nanos() as u64
}

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

impl Log {
    /// One for so many records.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        let since = now();
        Self {
            // The kernel gives the memory as it is used.
            records: Vec::with_capacity(most),
            most,
            next: 0,
            gone: 0,
            names: COMMON.map(str::to_owned).to_vec(),
            numbers: HashMap::new(),
            descriptors: Vec::new(),
            since,
            last: since,
            latest: None,
            forks: crate::posix::forks(),
        }
    }

    fn push(&mut self, record: Record) {
        if self.records.len() < self.most {
            self.records.push(record);
            return;
        }
        self.records[self.next] = record;
        self.next += 1;
        if self.next == self.most {
            self.next = 0;
        }
        self.gone += 1;
    }

    fn name(&mut self, name: &str) -> u16 {
        if let Some(number) = COMMON.iter().position(|common| *common == name) {
            return number as u16;
        }
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if self.names.len() >= NAMES_MAX {
            return 0;
        }
        let number = self.names.len() as u16;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// What a descriptor is, as the number of a name. A socket's is the bytes of its address, in hexadecimal.
    fn describe(&mut self, fd: RawFd, at: u64) -> u16 {
        let closes = Some(closes(fd).load(Ordering::Relaxed));
        let place = fd as usize;
        match self.descriptors.get(place) {
            Some(known) if known.closes == closes && at - known.at < DESCRIPTOR_NS => {
                return known.name;
            }
            Some(_) => {}
            None if place >= DESCRIPTORS_MAX => return 0,
            None => self.descriptors.resize(place + 1, Known::default()),
        }
        let name = self.look_up(fd, self.descriptors[place].name);
        self.descriptors[place] = Known { name, closes, at };
        name
    }

    /// What a descriptor is by now. It was `former`, and as a rule is still.
    #[cold]
    fn look_up(&mut self, fd: RawFd, former: u16) -> u16 {
        let words = match Address::of_peer(fd).or_else(|| Address::of_socket(fd)) {
            Some(address) => {
                let bytes = address.as_bytes();
                if is_of_socket(&self.names[usize::from(former)], bytes) {
                    return former;
                }
                format!("{SOCKET}{}", hexadecimal(bytes))
            }
            None => std::fs::read_link(format!("/proc/self/fd/{fd}"))
                .map(|link| format!("file {}", link.to_string_lossy()))
                .unwrap_or_default(),
        };
        self.name(&words)
    }

    /// The records, the oldest first; how many are gone; and the names.
    pub fn take(&self) -> (Vec<Record>, u64, &[String]) {
        let (late, early) = self.records.split_at(self.next);
        let records = early.iter().chain(late).copied().collect();
        (records, self.gone, &self.names)
    }

    /// When it was made: logs are in this order.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Whether it belongs to the process that forked this one.
    pub fn is_inherited(&self) -> bool {
        self.forks != crate::posix::forks()
    }
}

const SOCKET: &str = "socket ";

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| digits(*byte)).collect()
}

fn digits(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
}

/// Whether a name is that of a socket with this address.
fn is_of_socket(name: &str, address: &[u8]) -> bool {
    let told = name.strip_prefix(SOCKET).unwrap_or_default();
    told.len() == 2 * address.len()
        && told
            .chars()
            .eq(address.iter().flat_map(|byte| digits(*byte)))
}

/// Records what happens, when it has a log. Whoever records has Ruby's lock, so the log needs none.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    on: Cell<bool>,
    log: RefCell<Option<Box<Log>>>,
}

/// What a record says besides what happened.
#[derive(Default)]
pub(crate) struct Details<'a> {
    /// One of its own, or else the number of a common one.
    pub name: &'a str,
    pub common: u16,
    pub fd: Option<RawFd>,
    pub party: u64,
    pub token: Option<Token>,
    pub value: i64,
}

impl Recorder {
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.get()
    }

    /// Begins to record in this log, or ends; the log before.
    pub fn set(&self, log: Option<Box<Log>>) -> Option<Box<Log>> {
        self.on.set(log.is_some());
        self.log.replace(log)
    }

    #[cold]
    pub fn record(&self, event: Event, details: &Details<'_>) {
        let mut log = self.log.borrow_mut();
        let Some(log) = log.as_mut() else { return };
        // What follows another record at once needs no look at the clock.
        let follows = matches!(event, Event::Submitted)
            || event == Event::Completed && log.latest == Some(event);
        let at = if follows { log.last } else { now() };
        log.last = at;
        log.latest = Some(event);
        let fd = details.fd.unwrap_or(-1);
        let about = if fd < 0 { 0 } else { log.describe(fd, at) };
        let name = if details.name.is_empty() {
            details.common
        } else {
            log.name(details.name)
        };
        log.push(Record {
            at,
            event,
            name,
            about,
            fd,
            party: details.party,
            token: details.token.map_or(u64::MAX, Token::to_bits),
            value: details.value,
        });
    }
}

/// A length of time in nanoseconds.
pub(crate) fn nanoseconds(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}
