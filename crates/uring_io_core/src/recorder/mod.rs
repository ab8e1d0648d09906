//! Records what a driver and its owner did, and when: records of one size in memory of a fixed size.
//!
//! A recorder is off until somebody gives it a log. While it is off, each place that records costs one branch on one
//! byte.

mod record;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::address::Address;
use crate::first_use::FirstUse;
use crate::platform;
use crate::posix;

use record::{bare, COMMON};
pub use record::{Common, Event, Record};

/// The records of one driver.
#[derive(Debug)]
pub struct Log {
    records: Vec<Record>,
    most: usize,
    /// The index of the oldest record, once the log is full.
    next: usize,
    gone: u64,
    names: Vec<String>,
    numbers: HashMap<String, u16>,
    /// The descriptors as last looked up, by their numbers.
    descriptors: Vec<Known>,
    /// The numbers of the names of calls.
    calls: Vec<(&'static str, u16)>,
    /// When the log was made.
    since: u64,
    /// The processor's counter at that time. None when instants come from the clock; otherwise they are ticks of the
    /// counter until somebody reads the log.
    ticks: Option<u64>,
    /// When the latest record was made.
    last: u64,
    /// Whether no Ruby code has run since then.
    still: bool,
    /// A party that has parked for an operation, and its token, while the operation has not begun and nothing else was
    /// recorded.
    parked: Option<(u64, u64)>,
    /// Whether Ruby code of a loop fiber runs after a park.
    loops: bool,
    forks: u32,
}

/// A descriptor as last looked up: the number of its name, and the time and the number of closes of that look.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    name: u16,
    closes: Option<u32>,
    at: u64,
}

/// The log does not describe descriptors from this number on.
const DESCRIPTORS_MAX: usize = 1 << 16;
/// The log keeps no more names than this.
const NAMES_MAX: usize = 60_000;
/// The log looks a descriptor up again after this many nanoseconds or ticks, 4 to 20 ms, because native code may have
/// closed it.
const MOMENT: u64 = 20_000_000;

/// How often `IO#close` and the like have closed a descriptor: its number may belong to another file since. Descriptors
/// with the same number modulo the length share a count.
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
    static EPOCH: FirstUse = FirstUse::new();
    let now = posix::monotonic();
    now.saturating_sub(EPOCH.get(|| now))
}

/// The clock and the processor's counter at the same time.
fn now_and_ticks() -> (u64, u64) {
    // In one of these tries, as a rule, the kernel does not interrupt the thread between the two looks.
    const TRIES: usize = 8;
    let look = |_| {
        let before = platform::ticks();
        let now = now();
        let after = platform::ticks();
        (after.wrapping_sub(before), now, before)
    };
    let (_, now, ticks) = (0..TRIES).map(look).min().unwrap_or_default();
    (now, ticks)
}

impl Log {
    /// A log for `most` records, or for as many as there is memory for. `loops`: a party that parks gives control to a
    /// loop in Ruby.
    pub fn new(most: usize, loops: bool) -> Self {
        let mut most = most.max(1);
        // The kernel gives the memory only as the log uses it.
        let mut records = Vec::new();
        while records.try_reserve_exact(most).is_err() && most > 1 {
            most /= 2;
        }
        let (since, ticks) = now_and_ticks();
        let ticks = platform::has_ticks().then_some(ticks);
        Self {
            records,
            most,
            next: 0,
            gone: 0,
            names: COMMON.map(str::to_owned).to_vec(),
            numbers: HashMap::new(),
            descriptors: Vec::new(),
            calls: Vec::new(),
            since,
            ticks,
            last: ticks.unwrap_or(since),
            still: false,
            parked: None,
            loops,
            forks: posix::forks(),
        }
    }

    /// Whether the log has no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Gives unused memory back, because the engine of this log is gone, and others may follow.
    pub fn give_back(&mut self) {
        self.records.shrink_to_fit();
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

    /// As [`add`](Self::add), for an operation that begins right after the park or part before it.
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

    /// As [`add`](Self::add), for a party that parks for an operation. As a rule the operation begins next, and one
    /// record holds both.
    fn add_park(&mut self, party: u64, token: u64) {
        self.settle();
        self.instant(Event::Parked);
        self.parked = Some((party, token));
    }

    /// As [`add`](Self::add), for an event without a descriptor and a name.
    #[inline(always)]
    fn add_bare(&mut self, event: Event, party: u64, token: u64, value: i32) {
        self.settle();
        let at = self.instant(event);
        self.push(Record {
            value,
            ..bare(event, at, party, token)
        });
    }

    /// Writes the record of a park that still waits for its operation.
    #[inline]
    fn settle(&mut self) {
        if let Some((party, token)) = self.parked.take() {
            self.push(bare(Event::Parked, self.last, party, token));
        }
    }

    /// The time of an event. It needs a look at the clock when the running code has stopped, or was in the kernel. All
    /// events after that have the same time, until a party runs again.
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
            self.last = match self.ticks {
                Some(_) => platform::ticks(),
                None => now(),
            };
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

    /// The number of a name that says what a descriptor is; 0 for none. The name of a socket holds the bytes of its
    /// address in hexadecimal.
    fn describe(&mut self, fd: RawFd, at: u64) -> u16 {
        if fd < 0 {
            return 0;
        }
        let closes = Some(closes(fd).load(Ordering::Relaxed));
        let place = fd as usize;
        match self.descriptors.get(place) {
            Some(known) if known.closes == closes && at.wrapping_sub(known.at) < MOMENT => {
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

    /// Looks up what a descriptor is now. As a rule it still is what the name `former` says.
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

    /// The records, the oldest first; the number of records that were overwritten; and the names.
    pub fn take(&mut self) -> (Vec<Record>, u64, &[String]) {
        self.settle();
        let (late, early) = self.records.split_at(self.next);
        let mut records: Vec<Record> = early.iter().chain(late).copied().collect();
        if let Some(ticks) = self.ticks {
            let (now, passed) = now_and_ticks();
            let passed = passed.saturating_sub(ticks).max(1);
            let length = now.saturating_sub(self.since) as f64 / passed as f64;
            for record in &mut records {
                let after = record.at.saturating_sub(ticks) as f64 * length;
                record.at = self.since + after as u64;
            }
        }
        (records, self.gone, &self.names)
    }

    /// Whether a party that parks gives control to a loop in Ruby.
    pub fn loops(&self) -> bool {
        self.loops
    }

    /// When the log was made: logs are sorted by it.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Whether the log belongs to the process that forked this one.
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

/// Whether a name describes a socket with this address.
fn is_of_socket(name: &str, address: &[u8]) -> bool {
    let told = name.strip_prefix(SOCKET).unwrap_or_default();
    told.len() == 2 * address.len()
        && told
            .chars()
            .eq(address.iter().flat_map(|byte| digits(*byte)))
}

/// Records events while it has a log. Every caller holds the GVL, so the log needs no lock.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    on: Cell<bool>,
    log: RefCell<Option<Box<Log>>>,
}

/// The contents of a record besides the event and its time.
pub(crate) struct Details {
    pub name: u16,
    pub fd: RawFd,
    pub party: u64,
    pub token: u64,
    pub value: i32,
}

/// Stands for a missing token.
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

    /// Begins to record in this log, or ends recording without one. Returns the previous log.
    pub fn set(&self, log: Option<Box<Log>>) -> Option<Box<Log>> {
        self.on.set(log.is_some());
        self.log.replace(log)
    }

    /// Gives the log, if there is one, to `look`.
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

    /// Notes that Ruby code has run, though no party did.
    #[cold]
    pub fn stir(&self) {
        self.with(|log| log.still = false);
    }
}

/// The value, or `i32::MAX` if it does not fit into a record.
pub(crate) fn short(value: impl TryInto<i32>) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}

/// A duration in nanoseconds.
pub(crate) fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
