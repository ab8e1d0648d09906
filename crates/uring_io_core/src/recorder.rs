//! What a driver and its owner did, and when: records of one size in memory of a fixed size.
//!
//! A recorder is off until somebody hands it a log. Off, each place that records costs one branch on one byte.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use crate::address::Address;
use crate::posix;

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
    /// `party` waits at the place `token` for an operation, as in `Submitted`.
    ParkedFor,
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
    /// The thread is back from the kernel, where it was for `party` nanoseconds and brought as many submissions as
    /// the value says. Then it waited for Ruby's lock, for `token` nanoseconds.
    Entered,
    /// As `Entered`, without waiting there.
    Looked,
    /// The thread has done something of its own until now, for `party` nanoseconds: it collected garbage.
    Collected,
}

/// One record: 40 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Nanoseconds since the first log of the process was made.
    pub at: u64,
    /// Who.
    pub party: u64,
    /// The place of an operation.
    pub token: u64,
    /// What the event says.
    pub value: i32,
    /// The descriptor; -1 for none.
    pub fd: RawFd,
    /// The number of a name in the log; 0 for none.
    pub name: u16,
    /// The number of the name that says what the descriptor is.
    pub about: u16,
    /// What happened.
    pub event: Event,
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
    /// The numbers of calls' names.
    calls: Vec<(&'static str, u16)>,
    /// When it was made, as `at` of a record.
    since: u64,
    /// When the latest record was made.
    last: u64,
    /// Whether no Ruby code has run since then.
    still: bool,
    /// Who has parked for an operation that is yet to be begun, and where. Nothing was recorded since.
    parked: Option<(u64, u64)>,
    /// Whether Ruby code of a loop fiber runs after a park.
    loops: bool,
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

/// Their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u16)]
pub enum Common {
    /// None.
    #[default]
    Nothing,
    /// An operation that reads.
    Read,
    /// An operation that writes.
    Write,
    /// An operation that polls.
    Poll,
    /// An operation that waits for children.
    WaitChild,
    /// A party waits to be woken.
    Block,
    /// A party waits for time to pass.
    Sleep,
    /// A party waits for its turn.
    Turn,
    /// A party waits until the others have ended, and runs them.
    Run,
}

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

/// Nanoseconds since the first log was made.
fn now() -> u64 {
    static EPOCH: OnceLock<u64> = OnceLock::new();
    let now = posix::monotonic();
    now.saturating_sub(*EPOCH.get_or_init(|| now))
}

impl Log {
    /// One for so many records. `loops`: a party that parks gives control to a loop in Ruby.
    pub fn new(most: usize, loops: bool) -> Self {
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
            calls: Vec::new(),
            since,
            last: since,
            still: false,
            parked: None,
            loops,
            forks: posix::forks(),
        }
    }

    fn add(&mut self, event: Event, details: &Details) {
        self.settle();
        let at = self.instant(event);
        let about = self.describe(details.fd, at);
        self.push(Record {
            at,
            party: details.party,
            token: details.token,
            value: details.value,
            fd: details.fd,
            name: details.name,
            about,
            event,
        });
    }

    /// As [`add`](Self::add), of an operation that is begun, at once after the park or part before it.
    fn add_submitted(&mut self, details: &Details) {
        let at = self.last;
        let about = self.describe(details.fd, at);
        let (event, party) = match self.parked.take() {
            Some((party, token)) if token == details.token => (Event::ParkedFor, party),
            other => {
                self.parked = other;
                self.settle();
                (Event::Submitted, 0)
            }
        };
        self.push(Record {
            at,
            party,
            token: details.token,
            value: details.value,
            fd: details.fd,
            name: details.name,
            about,
            event,
        });
    }

    /// As [`add`](Self::add), of a party that parks for an operation. As a rule that is begun next, and all of it is
    /// one record.
    fn add_park(&mut self, party: u64, token: u64) {
        self.settle();
        self.instant(Event::Parked);
        self.parked = Some((party, token));
    }

    /// As [`add`](Self::add), of what has no descriptor and no name.
    #[inline(always)]
    fn add_bare(&mut self, event: Event, party: u64, token: u64, value: i32) {
        self.settle();
        let at = self.instant(event);
        self.push(Record {
            value,
            ..bare(event, at, party, token)
        });
    }

    /// Writes down who has parked.
    #[inline]
    fn settle(&mut self) {
        if let Some((party, token)) = self.parked.take() {
            self.push(bare(Event::Parked, self.last, party, token));
        }
    }

    /// When an event happens. That what runs stops running, or was in the kernel, needs a look at the clock. What
    /// follows that, up to where a party runs on, is at the same time.
    #[inline(always)]
    fn instant(&mut self, event: Event) -> u64 {
        let (is_now, still) = match event {
            Event::Parked | Event::Ended => (false, !self.loops),
            Event::Entered | Event::Looked => (false, true),
            Event::Left | Event::Started => (self.still && !self.loops, false),
            Event::Submitted | Event::ParkedFor => (true, self.still),
            Event::Done => (false, false),
            Event::Collected => (false, self.still),
            Event::Part | Event::Completed | Event::Woken | Event::Raised => {
                (self.still, self.still)
            }
        };
        self.still = still;
        if !is_now {
            self.last = now();
        }
        self.last
    }

    #[inline]
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

    /// What a descriptor is, as the number of a name; 0 where there is none. A socket's is the bytes of its address, in hexadecimal.
    fn describe(&mut self, fd: RawFd, at: u64) -> u16 {
        if fd < 0 {
            return 0;
        }
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
            None => match std::fs::read_link(format!("/proc/self/fd/{fd}")) {
                Ok(link) => format!("file {}", link.to_string_lossy()),
                Err(_) => return Common::Nothing as u16,
            },
        };
        self.name(&words)
    }

    /// The records, the oldest first; how many are gone; and the names.
    pub fn take(&mut self) -> (Vec<Record>, u64, &[String]) {
        self.settle();
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
        self.forks != posix::forks()
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

/// A record without a descriptor, name and value.
fn bare(event: Event, at: u64, party: u64, token: u64) -> Record {
    let (value, fd, name, about) = (0, -1, 0, 0);
    Record {
        at,
        party,
        token,
        value,
        fd,
        name,
        about,
        event,
    }
}

/// What a record says besides what happened and when.
pub(crate) struct Details {
    pub name: u16,
    pub fd: RawFd,
    pub party: u64,
    pub token: u64,
    pub value: i32,
}

/// In the place of a token.
pub(crate) const NOWHERE: u64 = u64::MAX;

impl Default for Details {
    fn default() -> Self {
        Self {
            name: Common::Nothing as u16,
            fd: -1,
            party: 0,
            token: NOWHERE,
            value: 0,
        }
    }
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

    /// Looks at the log, where there is one.
    pub fn with<R>(&self, look: impl FnOnce(&mut Log) -> R) -> Option<R> {
        self.log.borrow_mut().as_deref_mut().map(look)
    }

    #[cold]
    pub fn record(&self, event: Event, details: &Details) {
        self.with(|log| log.add(event, details));
    }

    #[cold]
    pub fn record_park(&self, party: u64, token: u64) {
        self.with(|log| log.add_park(party, token));
    }

    #[cold]
    pub fn record_submitted(&self, details: &Details) {
        self.with(|log| log.add_submitted(details));
    }

    #[cold]
    pub fn record_completed(&self, token: u64, result: i32) {
        self.with(|log| log.add_bare(Event::Completed, 0, token, result));
    }

    #[cold]
    pub fn record_left(&self, party: u64, token: u64) {
        self.with(|log| log.add_bare(Event::Left, party, token, 0));
    }

    #[cold]
    pub fn record_bare(&self, event: Event, party: u64, token: u64, value: i32) {
        self.with(|log| log.add_bare(event, party, token, value));
    }

    /// The number of a name.
    #[cold]
    pub fn name(&self, name: &str) -> u16 {
        self.with(|log| log.name(name)).unwrap_or_default()
    }

    /// The number of a call's name.
    #[cold]
    pub fn name_of_call(&self, call: &'static str) -> u16 {
        let number = |log: &mut Log| {
            let known = log.calls.iter().find(|(name, _)| std::ptr::eq(*name, call));
            if let Some((_, number)) = known {
                return *number;
            }
            let number = log.name(call);
            log.calls.push((call, number));
            number
        };
        self.with(number).unwrap_or_default()
    }

    /// Notes that Ruby code has run, though no party does.
    #[cold]
    pub fn stir(&self) {
        self.with(|log| log.still = false);
    }
}

/// What fits into a record.
pub(crate) fn short(value: impl TryInto<i32>) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}

/// A length of time in nanoseconds.
pub(crate) fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
